/** Copies of functions for types of arrays: V8 optimises a function well that only ever sees one type. */

const copies = new Map<string, unknown>();

/**
 * A copy of `f` of its own for `key`. `f` must be self-contained: it names nothing outside of its own text but
 * JavaScript's globals.
 */
export function specialise<F>(f: F & ((...x: never[]) => unknown), key: string): F {
  const name = `${f.name}/${key}`;
  let copy = copies.get(name) as F | undefined;
  if (copy === undefined) {
    // The comment keeps the compiler's cache from handing out one function for equal texts.
    copy = new Function(`return (${f.toString()}); // ${name}`)() as F;
    copies.set(name, copy);
  }
  return copy;
}
