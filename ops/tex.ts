/** The formulas of primitives as plain text, for tooltips, terminals and error messages. */

/** Named functions and signs that are read before their operand. */
const FUNCTIONS: Record<string, string> = {
  ln: "ln",
  exp: "exp",
  sin: "sin",
  cos: "cos",
  tanh: "tanh",
  max: "max",
  min: "min",
  sum: "Σ",
  prod: "Π",
  lnot: "not",
};

const SIGNS: Record<string, string> = {
  cdot: "·",
  sigma: "σ",
  Phi: "Φ",
  infty: "∞",
  le: "≤",
  ge: "≥",
  ne: "≠",
  land: "and",
  lor: "or",
  lfloor: "⌊",
  rfloor: "⌋",
  rceil: "⌉",
  bmod: "mod",
  top: "ᵀ",
  square: "□",
  odot: "⊙",
  otimes: "⊗",
  times: "×",
  partial: "∂",
  nabla: "∇",
  star: "⋆",
  int: "∫",
  lambda: "λ",
  delta: "δ",
  alpha: "α",
  beta: "β",
  epsilon: "ε",
  pi: "π",
  leftarrow: "←",
  langle: "⟨",
  rangle: "⟩",
  lVert: "‖",
  rVert: "‖",
  ldots: "…",
  left: "",
  right: "",
};

/** Signs that stand between two operands. */
const SPACED = new Set([
  "cdot",
  "le",
  "ge",
  "ne",
  "land",
  "lor",
  "bmod",
  "odot",
  "otimes",
  "times",
  "star",
  "leftarrow",
]);

const SUPERSCRIPT: Record<string, string> = { "2": "²", "3": "³", "ᵀ": "ᵀ", "-ᵀ": "⁻ᵀ", "-1": "⁻¹" };

/** A name as LaTeX, letter by letter what the program calls it. */
export function texName(name: string): string {
  return `\\text{${name.replaceAll(/[\\{}&]/g, " ")}}`;
}

/** A number as LaTeX, in parentheses where a sign would change what stands around it. */
export function texNumber(value: number): string {
  return value < 0 || Object.is(value, -0) ? `(${value})` : `${value}`;
}

/** The group in braces, the command or the character that starts at `at`, and where it ends. */
function argument(tex: string, at: number): [string, number] {
  const command = /^\\(text|bar|hat)(?=\{)|^\\[a-zA-Z]+/.exec(tex.slice(at));
  if (command !== null) {
    const behind = at + command[0].length, end = command[1] === undefined ? behind : argument(tex, behind)[1];
    return [tex.slice(at, end), end];
  }
  if (tex[at] !== "{") return [tex[at] ?? "", at + 1];
  let depth = 0;
  for (let i = at; i < tex.length; i++) {
    if (tex[i] === "\\") i++;
    else if (tex[i] === "{") depth++;
    else if (tex[i] === "}" && --depth === 0) return [tex.slice(at + 1, i), i + 1];
  }
  return [tex.slice(at + 1), tex.length];
}

const wrapped = (text: string): string => /^\([^()]*\)$/.test(text) ? text : `(${text})`;
/** What stands for itself beside any sign; all else is put in parentheses. */
const group = (text: string): string => /^[^\s+\-·/()]+$/.test(text) ? text : wrapped(text);

/** The name with a bar or a hat above it: each letter of a short one, `bar(name)` of a long one. */
function accented(accent: "bar" | "hat", name: string): string {
  if (!/^[\p{L}\p{N}]{1,3}$/u.test(name) || (accent === "hat" && [...name].length > 1)) {
    return `${accent}(${name})`;
  }
  if (accent === "hat") return `${name}\u0302`;
  // A macron on a letter, an overline that joins over several.
  return name.replaceAll(/./gu, [...name].length === 1 ? "$&\u0304" : "$&\u0305");
}

/** LaTeX of the kind that records use, as one line of Unicode. */
export function texText(tex: string): string {
  const cases = /^(.*)\\begin\{cases\}(.*)\\end\{cases\}(.*)$/s.exec(tex);
  if (cases !== null) {
    const rows = cases[2].split("\\\\").map((row) => {
      const [value, condition] = row.split("&").map(texText);
      return condition === "else" ? `else ${value}` : `${value} if ${condition}`;
    });
    return `${texText(cases[1])}${rows.join(", ")}${texText(cases[3])}`;
  }
  let out = "";
  for (let i = 0; i < tex.length;) {
    const c = tex[i];
    if (c === "\\") {
      const name = /^[a-zA-Z]+/.exec(tex.slice(i + 1))?.[0];
      if (name === undefined) {
        out += tex[i + 1] === "," || tex[i + 1] === ";" ? " " : tex[i + 1] ?? "";
        i += 2;
        continue;
      }
      i += 1 + name.length;
      if (name === "frac" || name === "tfrac") {
        const [a, j] = argument(tex, i), [b, k] = argument(tex, j);
        out += a === "1" && b === "2" ? "½" : `${group(texText(a))}/${group(texText(b))}`;
        i = k;
      } else if (name === "text") {
        [out, i] = [out + argument(tex, i)[0], argument(tex, i)[1]];
      } else if (name === "mathrel") {
        [out, i] = [out + texText(argument(tex, i)[0]), argument(tex, i)[1]];
      } else if (name === "bar" || name === "hat" || name === "sqrt") {
        if (tex[i] === " ") i++;
        const [a, j] = argument(tex, i);
        out += name === "sqrt" ? `√${group(texText(a))}` : accented(name, texText(a));
        i = j;
      } else if (name === "operatorname" || name in FUNCTIONS) {
        const [word, j] = name === "operatorname" ? argument(tex, i) : [FUNCTIONS[name], i];
        out += word;
        i = tex[j] === " " ? j + 1 : j;
        if (i < tex.length && !"(^_)]".includes(tex[i])) out += " ";
      } else {
        if (name === "rfloor" || name === "rceil") out = out.trimEnd();
        out += SIGNS[name] ?? `${name} `;
        // A space behind a command ends its name and is one only between operands and behind brackets.
        if (tex[i] === " ") {
          if (SPACED.has(name) || name === "rfloor" || name === "rceil" || name === "top") out += " ";
          i++;
        }
      }
    } else if (c === "^" || c === "_") {
      const [a, j] = argument(tex, i + 1), text = texText(a);
      out += c === "^" && text in SUPERSCRIPT
        ? SUPERSCRIPT[text]
        : c + (/^[\p{L}\p{N}\p{M}.]+$/u.test(text) ? text : wrapped(text));
      i = j;
    } else {
      if (c !== "{" && c !== "}") out += c;
      i++;
    }
  }
  // A negative number that stands alone needs no parentheses of its own.
  return out.replaceAll(/ +/g, " ").replaceAll(/(?<=^|[(,] ?)\((-[^()]*)\)(?=$|[,)])/g, "$1").trim();
}
