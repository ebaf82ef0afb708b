/** Random programs as source text: a failing seed prints what to run again. */
import * as api from "../../mod.ts";
import { stack, type Tensor } from "../../mod.ts";
import type { Shape } from "../../ops/shape.ts";
import { random } from "../support/numbers.ts";

/** What programs call: the package, or a stand-in that says the same with loops. */
export type Api = Pick<
  typeof api,
  | "grad"
  | "vjp"
  | "jvp"
  | "vmap"
  | "jit"
  | "checkpoint"
  | "scan"
  | "cond"
  | "cat"
  | "stack"
  | "embedding"
  | "tensor"
  | "hvp"
>;

/** A program: a function of three tensors, as text and as itself. */
export interface Program {
  readonly text: string;
  readonly run: (ct: Api, a: Tensor, b: Tensor, c: Tensor) => Tensor;
}

/** Shapes of the three inputs of every program. */
export const INPUTS: Shape[] = [[3], [2, 3], []];

interface Value {
  readonly name: string;
  readonly shape: Shape;
}

const sizeOf = (s: Shape): number => s.reduce((n, m) => n * m, 1);
const same = (a: Shape, b: Shape): boolean => a.length === b.length && a.every((n, i) => n === b[i]);
const show = (s: Shape): string => `[${s.join(", ")}]`;

/** Writes one program from random choices. */
class Writer {
  #names = 0;
  constructor(readonly rng: () => number) {}

  int(n: number): number {
    return Math.floor(this.rng() * n);
  }
  pick<T>(list: readonly T[]): T {
    return list[this.int(list.length)];
  }
  name(): string {
    return `v${this.#names++}`;
  }

  /** A value as another shape. */
  fit(v: Value, shape: Shape): string {
    if (same(v.shape, shape)) return v.name;
    if (sizeOf(v.shape) === sizeOf(shape)) return `${v.name}.reshape(${show(shape)})`;
    return shape.length === 0 ? `${v.name}.mean()` : `${v.name}.mean().expand(${show(shape)})`;
  }

  /** Statements that end in a value; `scope` is what they may use, the last entries most likely. */
  block(scope: Value[], steps: number, depth: number, indent: string): { lines: string[]; result: Value } {
    const own = [...scope], lines: string[] = [];
    let last = scope[scope.length - 1];
    for (let i = 0; i < steps; i++) {
      const x = this.rng() < 0.6 ? last : this.pick(own);
      const { text, shape } = depth > 0 && this.rng() < 0.4
        ? this.transform(x, own, depth, indent)
        : this.op(x, own);
      const v = { name: this.name(), shape };
      lines.push(`${indent}const ${v.name} = ${text};`);
      own.push(v);
      last = v;
    }
    // What was made on the way lives on in the result, so that little of it is dead.
    const made = own.slice(scope.length - 1, -1);
    if (made.length > 0 && this.rng() < 0.8) {
      const v = { name: this.name(), shape: last.shape };
      lines.push(
        `${indent}const ${v.name} = ${last.name}.add(${this.fit(this.pick(made), last.shape)}${
          this.rng() < 0.5 ? ".sin()" : ""
        });`,
      );
      last = v;
    }
    return { lines, result: last };
  }

  /** One op, kept to moderate values. */
  op(x: Value, scope: Value[]): { text: string; shape: Shape } {
    const { name, shape } = x, rank = shape.length, axis = rank > 0 ? this.int(rank) : 0;
    const without = shape.filter((_, i) => i !== axis);
    const other = this.pick(scope);
    const unary = [
      "sin()",
      "cos()",
      "tanh()",
      "sigmoid()",
      "softplus()",
      "silu()",
      "mul(0.7)",
      "add(0.3)",
      "neg()",
      "tanh().exp()",
      "square().add(1).log()",
      "square().add(0.5).sqrt()",
      "relu()",
      "abs()",
      "square().add(1).reciprocal()",
      "clamp(-1, 1)",
      "square().add(0.5).pow(0.3)",
      "mul(0.5).pow(2)",
    ];
    const kind = this.int(rank > 0 ? 16 : 8);
    switch (kind) {
      case 0:
      case 1:
      case 2:
        return { text: `${name}.${this.pick(unary)}`, shape };
      case 3:
        return { text: `${name}.add(${this.fit(other, shape)})`, shape };
      case 4:
        return { text: `${name}.mul(${this.fit(other, shape)}).tanh()`, shape };
      case 5:
        return { text: `${name}.maximum(${this.fit(other, shape)}.sub(0.2))`, shape };
      case 6: {
        const mask = `${name}.gt(${this.fit(other, shape)}.mul(0.9).add(0.05))`;
        return { text: `${name}.where(${mask}, ${this.fit(other, shape)}.sin())`, shape };
      }
      case 7:
        return sizeOf(shape) * 2 > 24
          ? { text: `${name}.sin()`, shape }
          : { text: `ct.stack([${name}, ${this.fit(other, shape)}])`, shape: [2, ...shape] };
      case 8:
        return {
          text: `${name}.${this.pick(["sum", "mean", "amax", "logsumexp"])}(${axis})`,
          shape: without,
        };
      case 9:
        return { text: `${name}.${this.pick(["softmax", "cumsum", "logSoftmax"])}(${axis}).sin()`, shape };
      case 10:
        return { text: `${name}.tanh().cumprod(${axis})`, shape };
      case 11:
        return { text: `${name}.sort(${axis}).values`, shape };
      case 12:
        return rank === 2
          ? { text: `${name}.matmul(${name}.mT().sin()).tanh()`, shape: [shape[0], shape[0]] }
          : { text: `${name}.flip(${axis})`, shape };
      case 13:
        return rank >= 2
          ? { text: `${name}.movedim(0, -1)`, shape: [...shape.slice(1), shape[0]] }
          : { text: `${name}.tanh().prod()`, shape: [] };
      case 14: {
        const ids = [this.int(shape[0]), this.int(shape[0])];
        return {
          text: `ct.embedding(${name}, ct.tensor([${ids}], { dtype: "i32" }))`,
          shape: [2, ...shape.slice(1)],
        };
      }
      default: {
        const from = this.int(shape[axis]), n = 1 + this.int(shape[axis] - from);
        return {
          text: `${name}.narrow(${axis}, ${from}, ${n})`,
          shape: shape.map((m, i) => i === axis ? n : m),
        };
      }
    }
  }

  /** A function of one new variable and what is around it, as text. */
  closure(
    param: Value,
    scope: Value[],
    depth: number,
    indent: string,
    end: (r: Value) => { text: string; shape: Shape },
  ) {
    const visible = [...scope.filter(() => this.rng() < 0.5), param];
    const { lines, result } = this.block(visible, 1 + this.int(3), depth - 1, `${indent}  `);
    const { text, shape } = end(result);
    return {
      text: `(${param.name}) => {\n${lines.join("\n")}\n${indent}  return ${text};\n${indent}}`,
      shape,
    };
  }

  transform(x: Value, scope: Value[], depth: number, indent: string): { text: string; shape: Shape } {
    const param = { name: this.name(), shape: x.shape };
    const as = (v: Value): { text: string; shape: Shape } => ({ text: v.name, shape: v.shape });
    const scalar = (v: Value): { text: string; shape: Shape } => ({
      text: `${v.name}.sin().sum()`,
      shape: [],
    });
    switch (this.int(9)) {
      case 0:
      case 1: {
        const f = this.closure(param, scope, depth, indent, scalar);
        return { text: `ct.grad(${f.text})(${x.name})`, shape: x.shape };
      }
      case 2: {
        const f = this.closure(param, scope, depth, indent, as);
        return {
          text: `ct.vjp(${f.text}, ${x.name})[1](${this.fit(this.pick(scope), f.shape)}.cos())[0]`,
          shape: x.shape,
        };
      }
      case 3: {
        const f = this.closure(param, scope, depth, indent, as);
        return {
          text: `ct.jvp(${f.text}, [${x.name}], [${this.fit(this.pick(scope), x.shape)}.sin()])[1]`,
          shape: f.shape,
        };
      }
      case 4: {
        if (x.shape.length === 0) return this.op(x, scope);
        const row = { name: param.name, shape: x.shape.slice(1) };
        const f = this.closure(row, scope, depth, indent, as);
        return { text: `ct.vmap(${f.text})(${x.name})`, shape: [x.shape[0], ...f.shape] };
      }
      case 5: {
        const f = this.closure(param, scope, depth, indent, as);
        return { text: `ct.jit(${f.text})(${x.name})`, shape: f.shape };
      }
      case 6: {
        const f = this.closure(param, scope, depth, indent, as);
        return { text: `ct.checkpoint(${f.text})(${x.name})`, shape: f.shape };
      }
      case 7: {
        const f = this.closure(param, scope, depth, indent, as);
        const other = { name: this.name(), shape: x.shape };
        const g = this.closure(
          other,
          scope,
          depth,
          indent,
          (v) => ({ text: this.fit(v, f.shape), shape: f.shape }),
        );
        const test = `${this.pick(scope).name}.sum().gt(0.1)`;
        return { text: `ct.cond(${test}, ${f.text}, ${g.text}, ${x.name})`, shape: f.shape };
      }
      default: {
        const xs = x.shape.length > 0 ? x : null;
        const carry = { name: this.name(), shape: this.pick(scope).shape };
        const row = { name: param.name, shape: xs === null ? [] : xs.shape.slice(1) };
        const visible = [...scope.filter(() => this.rng() < 0.4), ...(xs === null ? [] : [row]), carry];
        const { lines, result } = this.block(visible, 1 + this.int(3), depth - 1, `${indent}  `);
        const next = this.fit(result, carry.shape);
        const init = this.fit(this.pick(scope), carry.shape),
          over = xs === null ? "null, { length: 5 }" : `${xs.name}, { reverse: ${this.rng() < 0.3} }`;
        const body = `(${carry.name}, ${row.name}) => {\n${
          lines.join("\n")
        }\n${indent}  return [${next}.tanh(), ${result.name}];\n${indent}}`;
        return this.rng() < 0.5 ? { text: `ct.scan(${body}, ${init}, ${over})[0]`, shape: carry.shape } : {
          text: `ct.scan(${body}, ${init}, ${over})[1]`,
          shape: [xs === null ? 5 : xs.shape[0], ...result.shape],
        };
      }
    }
  }
}

/** The program of a seed. */
export function programOf(seed: number): Program {
  const w = new Writer(random(seed));
  const scope = ["a", "b", "c"].map((name, i) => ({ name, shape: INPUTS[i] }));
  const { lines, result } = w.block(scope, 2 + w.int(4), 3, "  ");
  const text = `(ct, a, b, c) => {\n${lines.join("\n")}\n  return ${result.name};\n}`;
  return { text, run: new Function(`return ${text}`)() };
}

/** The same functions without their machinery: jit and checkpoint do nothing, vmap and scan are loops, cond selects, jvp is a double vjp. */
export const plain: Api = {
  ...api,
  jit: ((f: unknown) => f) as typeof api.jit,
  checkpoint: ((f: unknown) => f) as typeof api.checkpoint,
  vmap:
    ((f: (x: Tensor) => Tensor) => (x: Tensor) =>
      stack(Array.from({ length: x.shape[0] }, (_, i) => f(x.select(0, i))))) as unknown as typeof api.vmap,
  scan: ((
    body: (c: Tensor, x: Tensor | null) => [Tensor, Tensor],
    init: Tensor,
    xs: Tensor | null,
    options: { length?: number; reverse?: boolean },
  ) => {
    const T = options.length ?? xs!.shape[0], ys: Tensor[] = [];
    let carry = init;
    for (let k = 0; k < T; k++) {
      const t = options.reverse ? T - 1 - k : k;
      [carry, ys[t]] = body(carry, xs === null ? null : xs.select(0, t));
    }
    return [carry, stack(ys)];
  }) as unknown as typeof api.scan,
  cond:
    ((p: Tensor, f: (x: Tensor) => Tensor, g: (x: Tensor) => Tensor, x: Tensor) =>
      f(x).where(p, g(x))) as unknown as typeof api.cond,
  jvp: ((f: (x: Tensor) => Tensor, [x]: Tensor[], [dx]: Tensor[]) => {
    const [y, pullback] = api.vjp(f, x);
    return [y, api.vjp((ct: Tensor) => pullback(ct)[0], y.zerosLike())[1](dx)[0]];
  }) as unknown as typeof api.jvp,
};
