/** JavaScript text of the commonest elementwise functions, so that generated loops need not call them. */

/** The text of one function. */
interface Expression {
  /** From the names of the operands. */
  readonly text: (...x: string[]) => string;
  /** Whether the result for operands of one float type is of that type already, so that it needs no rounding. */
  readonly exact?: boolean;
  /** For records with a `hostInteger`: the text of that. */
  readonly integer?: (...x: string[]) => string;
}

// `+(a > b)` compiles to a flag, where `a > b ? 1 : 0` compiles to a jump: 1.2 against 7 ns on random data.
const table: Record<string, Expression> = {
  neg: { text: (x) => `-${x}`, exact: true },
  add: { text: (x, y) => `${x} + ${y}` },
  sub: { text: (x, y) => `${x} - ${y}` },
  mul: { text: (x, y) => `${x} * ${y}`, integer: (x, y) => `Math.imul(${x}, ${y})` },
  div: { text: (x, y) => `${x} / ${y}` },
  reciprocal: { text: (x) => `1 / ${x}` },
  maximum: { text: (x, y) => `Math.max(${x}, ${y})`, exact: true },
  minimum: { text: (x, y) => `Math.min(${x}, ${y})`, exact: true },
  where: { text: (c, x, y) => `${c} !== 0 ? ${x} : ${y}`, exact: true },
  eq: { text: (x, y) => `+(${x} === ${y})`, exact: true },
  ne: { text: (x, y) => `+(${x} !== ${y})`, exact: true },
  lt: { text: (x, y) => `+(${x} < ${y})`, exact: true },
  le: { text: (x, y) => `+(${x} <= ${y})`, exact: true },
  gt: { text: (x, y) => `+(${x} > ${y})`, exact: true },
  ge: { text: (x, y) => `+(${x} >= ${y})`, exact: true },
  logicalNot: { text: (x) => `+(${x} === 0)`, exact: true },
  logicalAnd: { text: (x, y) => `+(${x} !== 0) & +(${y} !== 0)`, exact: true },
  logicalOr: { text: (x, y) => `+(${x} !== 0) | +(${y} !== 0)`, exact: true },
  isnan: { text: (x) => `+(${x} !== ${x})`, exact: true },
  isfinite: { text: (x) => `+(${x} - ${x} === 0)`, exact: true },
  exp: { text: (x) => `Math.exp(${x})` },
  log: { text: (x) => `Math.log(${x})` },
  sin: { text: (x) => `Math.sin(${x})` },
  cos: { text: (x) => `Math.cos(${x})` },
  tanh: { text: (x) => `Math.tanh(${x})` },
  relu: { text: (x) => `${x} <= 0 ? 0 : ${x}`, exact: true },
  sqrt: { text: (x) => `Math.sqrt(${x})` },
  abs: { text: (x) => `Math.abs(${x})`, exact: true },
  square: { text: (x) => `${x} * ${x}`, integer: (x) => `Math.imul(${x}, ${x})` },
  floor: { text: (x) => `Math.floor(${x})`, exact: true },
  cast: { text: (x) => x },
};

/** What generated code says for an elementwise primitive, or null where it calls `record.host`. */
export function expressionOf(name: string): Expression | null {
  return Object.hasOwn(table, name) ? table[name] : null;
}

/** Names of the primitives that have a text here. */
export function expressionNames(): string[] {
  return Object.keys(table);
}
