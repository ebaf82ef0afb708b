/** Advice: said once where a program is right but another way is better, or where it is likely not what was meant. */

let tell: ((text: string) => void) | null = (text) => console.warn(text);
const said = new Set<string>();

/**
 * Where advice goes: to a function, to `console.warn` (`true`, as it is by default) or nowhere (`false`). What was said
 * before is said again.
 */
export function setAdvice(to: boolean | ((text: string) => void)): void {
  said.clear();
  tell = typeof to === "function" ? to : to ? (text) => console.warn(text) : null;
}

/** Says something once in the life of the program; `topic` tells what has been said. */
export function advise(topic: string, text: string): void {
  if (tell === null || said.has(topic)) return;
  said.add(topic);
  tell(`Advice: ${text}. This is said once; setAdvice(false) turns advice off`);
}
