/** The formulas of primitives as plain text, for tooltips and terminals. */

const WORDS: Record<string, string> = {
  cdot: "·",
  ln: "ln ",
  exp: "exp",
  sin: "sin ",
  cos: "cos ",
  tanh: "tanh ",
  max: "max",
  min: "min",
  sum: "Σ ",
  prod: "Π ",
  sigma: "σ",
  Phi: "Φ",
  infty: "∞",
  le: "≤",
  ge: "≥",
  ne: "≠",
  lnot: "not ",
  land: "and",
  lor: "or",
  lfloor: "⌊",
  rfloor: "⌋",
  rceil: "⌉",
  bmod: "mod",
  top: "ᵀ",
  sqrt: "√",
  square: "□",
  bar: "",
  left: "",
  right: "",
  tfrac12: "½",
};

/** Signs that stand between two operands. */
const SPACED = new Set(["cdot", "le", "ge", "ne", "land", "lor", "bmod"]);

/** The argument in braces that starts at `at`, and where it ends. */
function argument(tex: string, at: number): [string, number] {
  if (tex[at] !== "{") return [tex[at] ?? "", at + 1];
  let depth = 0;
  for (let i = at; i < tex.length; i++) {
    if (tex[i] === "{") depth++;
    else if (tex[i] === "}" && --depth === 0) return [tex.slice(at + 1, i), i + 1];
  }
  return [tex.slice(at + 1), tex.length];
}

const SUPERSCRIPT: Record<string, string> = { "2": "²", "3": "³", "\\top": "ᵀ", "-1": "⁻¹" };

/** LaTeX of the kind that records use, as one line of Unicode. */
export function texText(tex: string): string {
  let out = "";
  for (let i = 0; i < tex.length;) {
    const c = tex[i];
    if (c === "\\") {
      const name = /^[a-zA-Z]+/.exec(tex.slice(i + 1))?.[0];
      if (name === undefined) {
        out += tex[i + 1] === "," ? " " : tex[i + 1] === "#" ? "#" : tex[i + 1] === "\\" ? "; " : "";
        i += 2;
        continue;
      }
      i += 1 + name.length;
      if (name === "frac" || name === "tfrac") {
        const [a, j] = argument(tex, i), [b, k] = argument(tex, j);
        const group = (s: string): string => /^[\w.²³]+$/.test(s) ? s : `(${s})`;
        out += `${group(texText(a))}/${group(texText(b))}`;
        i = k;
      } else if (name === "operatorname" || name === "text" || name === "mathrel") {
        const [a, j] = argument(tex, i);
        out += texText(a);
        if (tex[j] === " ") out += " ";
        i = j;
      } else if (name === "begin" || name === "end") {
        i = argument(tex, i)[1];
      } else {
        out += WORDS[name] ?? `${name} `;
        // A space behind a command ends its name and is not one.
        if (tex[i] === " ") {
          if (SPACED.has(name)) out += " ";
          i++;
        }
      }
    } else if (c === "^") {
      const [a, j] = tex[i + 1] === "\\"
        ? [/^\\[a-z]+/.exec(tex.slice(i + 1))![0], i + 1 + /^\\[a-z]+/.exec(tex.slice(i + 1))![0].length]
        : argument(tex, i + 1);
      out += SUPERSCRIPT[a] ?? `^${a.length > 1 ? `(${texText(a)})` : texText(a)}`;
      i = j;
    } else if (c === "_") {
      const [a, j] = argument(tex, i + 1);
      out += `_${texText(a)}`;
      i = j;
    } else if (c === "{" || c === "}") {
      i++;
    } else {
      out += c === "&" ? " if " : c;
      i++;
    }
  }
  return out.replaceAll(/ +/g, " ").trim();
}
