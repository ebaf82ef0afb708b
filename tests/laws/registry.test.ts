/** Laws that every record of the registry obeys, on every engine: no test here knows any op by name. */
import { assert, assertEquals } from "@std/assert";
import { grad, jit, jvp, stack, type Tensor, tensor, vjp, vmap } from "../../mod.ts";
import { apply } from "../../ops/node.ts";
import { type DType, isFloat, isHalf, type TypedArray } from "../../ops/dtype.ts";
import { type Composite, composites } from "../../ops/composite.ts";
import { type Primitive, primitives } from "../../ops/primitive.ts";
import { type Shape, sizeOf } from "../../ops/shape.ts";
import { type Backend, byReference, test, testEach } from "../support/engines.ts";
import { assertClose, draw, drawWhole, inner, random, read, seedOf, stored } from "../support/numbers.ts";
import { type Case, casesOf, operandTypes, strayNames } from "./samples.ts";

/** What laws are about. */
type Op = Primitive | Composite;

/** Host data of one call's inputs. */
interface Input {
  readonly data: number[];
  readonly shape: Shape;
  readonly dtype: DType;
}

/** Numbers for input `i` of a case; `turn` gives the elements of a batch values of their own. */
function inputOf(c: Case, i: number, float: DType, rng: () => number, turn = 0): Input {
  const shape = c.shapes[i], n = sizeOf(shape), dtype = c.dtypes?.[i] ?? float;
  const fixed = c.values?.[i];
  if (fixed !== undefined) return { shape, dtype, data: fixed.map((_, k) => fixed[(k + turn) % n]) };
  const domain = c.domain?.[i] ?? [-1.5, 1.5];
  if (isFloat(dtype)) {
    // What f32 can hold, so that all engines see the same numbers in any type.
    return { shape, dtype, data: stored(draw(rng, n, domain), isHalf(dtype) ? dtype : "f32") };
  }
  return {
    shape,
    dtype,
    data: dtype === "bool"
      ? drawWhole(rng, n, 0, 1)
      : drawWhole(rng, n, domain[0] < 0 && dtype === "i32" ? -6 : 1, 6),
  };
}

const make = (x: Input, data: readonly number[] = x.data): Tensor =>
  tensor([...data], { shape: x.shape, dtype: x.dtype });
const list = (y: Tensor | Tensor[]): Tensor[] => Array.isArray(y) ? y : [y];

/** A case as a function of what is differentiated, with data and directions. */
interface Problem {
  readonly inputs: Input[];
  /** Inputs that derivatives are taken by. */
  readonly wrt: number[];
  readonly x: Tensor[];
  /** Floating point results from the inputs in `wrt`. */
  readonly f: (...w: Tensor[]) => Tensor[];
  readonly dx: number[][];
  readonly v: number[][];
  readonly ct: number[][];
  readonly outputs: { shape: Shape; dtype: DType }[];
}

function problemOf(record: Op, c: Case, float: DType): Problem | null {
  const rng = random(seedOf(record.name + c.label));
  const inputs = c.shapes.map((_, i) => inputOf(c, i, float, rng));
  const wrt = c.wrt ?? inputs.flatMap((x, i) => isFloat(x.dtype) ? [i] : []);
  const x = inputs.map((i) => make(i));
  const f = (...w: Tensor[]): Tensor[] => {
    const all = [...x];
    wrt.forEach((i, k) => all[i] = w[k]);
    return list(c.call(...all)).filter((y) => isFloat(y.dtype));
  };
  const outputs = f(...wrt.map((i) => x[i])).map((y) => ({ shape: y.shape, dtype: y.dtype }));
  if (wrt.length === 0 || outputs.length === 0) return null;
  const like = (a: { shape: Shape }): number[] => stored(draw(rng, sizeOf(a.shape), [-1, 1]), "f16");
  return {
    inputs,
    wrt,
    x,
    f,
    outputs,
    dx: wrt.map((i) => like(inputs[i])),
    v: wrt.map((i) => like(inputs[i])),
    ct: outputs.map(like),
  };
}

/** Everything that the derivative laws speak of, as numbers. */
interface Derivatives {
  y: TypedArray[];
  dy: TypedArray[];
  g: TypedArray[];
  /** Tangents of the pullback: forward over reverse. */
  dg: TypedArray[];
  /** Gradients of <pullback, v>: reverse over reverse, and of <ct, pushforward of v>: reverse over forward. */
  h: TypedArray[];
  r: TypedArray[];
  /** The pushforward as the transpose of the pullback. */
  back: TypedArray[];
  /** The pullback in graphs recorded by jit, at another point first. */
  jitted: TypedArray[];
}

const total = (ts: Tensor[]): Tensor => ts.map((t) => t.sum()).reduce((a, b) => a.add(b));

async function derivativesOf(q: Problem): Promise<Derivatives> {
  const w = q.wrt.map((i) => q.x[i]);
  const dx = q.wrt.map((i, k) => make(q.inputs[i], q.dx[k])),
    v = q.wrt.map((i, k) => make(q.inputs[i], q.v[k]));
  const ct = q.outputs.map((o, k) => tensor(q.ct[k], o));
  const [y, dy] = jvp(q.f, w, dx);
  const pull = (...u: Tensor[]): Tensor[] => vjp(q.f, ...u)[1](ct);
  const [, pullback] = vjp(q.f, ...w);
  const g = pullback(ct);
  const [, dg] = jvp(pull, w, dx);
  const argnums = w.map((_, i) => i);
  const h = grad((...u: Tensor[]) => total(pull(...u).map((t, k) => t.mul(v[k]))), { argnums })(...w);
  const r = grad((...u: Tensor[]) => total(jvp(q.f, u, v)[1].map((t, k) => t.mul(ct[k]))), { argnums })(...w);
  const back = vjp((...c: Tensor[]) => pullback(c), ...ct)[1](dx);
  const recorded = jit(pull);
  recorded(...v);
  const jitted = recorded(...w);
  g.forEach((t: Tensor, k: number) => {
    assertEquals(t.shape, w[k].shape, "a gradient has the shape of its input");
    assertEquals(t.dtype, w[k].dtype, "a gradient has the type of its input");
  });
  dy.forEach((t: Tensor, k: number) => {
    assertEquals(t.shape, q.outputs[k].shape, "a tangent has the shape of its output");
    assertEquals(t.dtype, q.outputs[k].dtype, "a tangent has the type of its output");
  });
  const groups: Tensor[][] = [y, dy, g, dg, h, r, back, jitted];
  const flat = await read(groups.flat());
  let at = 0;
  const [a, b, d, e, i, j, k, l] = groups.map((group) => flat.slice(at, at += group.length));
  return { y: a, dy: b, g: d, dg: e, h: i, r: j, back: k, jitted: l };
}

const sumInner = (a: ArrayLike<number>[], b: ArrayLike<number>[]): number =>
  a.reduce((s, x, i) => s + inner(x, b[i]), 0);

function assertLists(actual: TypedArray[], expected: TypedArray[], tolerance: number, what: string): void {
  assertEquals(actual.length, expected.length, what);
  actual.forEach((a, i) => assertClose(a, expected[i], tolerance, `${what} ${i}`));
}

/** Inner products, equal orders of differentiation, double transposition: on one engine by itself. */
function assertConsistent(q: Problem, d: Derivatives, tolerance: number): void {
  const ct = q.ct, dx = q.dx, v = q.v;
  assertClose([sumInner(ct, d.dy)], [sumInner(d.g, dx)], tolerance, "<ct, J dx> = <J^T ct, dx>");
  assertClose([sumInner(d.h, dx)], [sumInner(d.dg, v)], tolerance, "the second derivative is symmetric");
  assertLists(d.r, d.h, tolerance, "reverse over forward = reverse over reverse, by input");
  assertLists(d.back, d.dy, tolerance, "the transpose of the transpose = J dx, output");
  assertLists(d.jitted, d.g, tolerance, "pullback under jit = pullback, by input");
}

/** Central differences in f64: of the function for first derivatives, of its pullback for second ones. */
async function assertDifferences(q: Problem, d: Derivatives): Promise<void> {
  const step = 1e-5,
    at = (s: number): Tensor[] =>
      q.wrt.map((i, k) => make(q.inputs[i], q.inputs[i].data.map((x, j) => x + s * q.dx[k][j])));
  const ct = q.outputs.map((o, k) => tensor(q.ct[k], o));
  const pull = (u: Tensor[]): Tensor[] => vjp(q.f, ...u)[1](ct);
  const [plus, minus] = [at(step), at(-step)];
  const groups = [q.f(...plus), q.f(...minus), pull(plus), pull(minus)];
  const flat = await read(groups.flat());
  let start = 0;
  const [fp, fm, gp, gm] = groups.map((g) => flat.slice(start, start += g.length));
  const slope = (p: TypedArray, m: TypedArray): number[] => Array.from(p, (x, i) => (x - m[i]) / (2 * step));
  d.dy.forEach((dy, k) =>
    assertClose(dy, slope(fp[k], fm[k]), 1e-6, `J dx = central differences, output ${k}`)
  );
  d.dg.forEach((dg, k) =>
    assertClose(dg, slope(gp[k], gm[k]), 1e-6, `second derivative = central differences, input ${k}`)
  );
}

/** The value by the record's own host function, without any of the interpreter's indexing. */
async function assertElementwiseValue(
  record: Extract<Primitive, { family: "elementwise" }>,
  c: Case,
  inputs: Input[],
): Promise<void> {
  const [y] = list(c.call(...inputs.map((x) => make(x))));
  const [got] = await read([y]);
  const expected = stored(
    Array.from(
      { length: y.size },
      (_, at) => record.host(...inputs.map((x) => x.data[broadcastIndex(at, y.shape, x.shape)])),
    ),
    y.dtype,
  );
  assertClose(got, expected, 1e-12, "value by the host function");
}

/** Where element `at` of a result reads an operand that is broadcast to it. */
function broadcastIndex(at: number, to: Shape, from: Shape): number {
  let index = 0, stride = 1;
  for (let k = 1; k <= to.length; k++) {
    const i = at % to[to.length - k];
    at = Math.floor(at / to[to.length - k]);
    if (k > from.length) continue;
    const n = from[from.length - k];
    if (n !== 1) index += i * stride;
    stride *= n;
  }
  return index;
}

async function derivativeLaws(record: Op, c: Case, b: Backend): Promise<void> {
  const q = problemOf(record, c, b.float);
  if (q === null) return;
  const d = await derivativesOf(q);
  const low = q.inputs.some((x) => x.dtype === "f16") || q.outputs.some((o) => o.dtype === "f16");
  const slack = c.slack ?? 1;
  const loose = low
    ? 1e-2
    : slack * (b.float === "f64" && q.outputs.every((o) => o.dtype === "f64") ? 1e-10 : 2e-4);
  if (c.differences !== false || c.shapes.length === 0) assertConsistent(q, d, loose);
  if (b.name === "reference") {
    if (c.differences !== false && q.inputs.every((x) => x.dtype === "f64" || !isFloat(x.dtype))) {
      await assertDifferences(q, d);
    }
    return;
  }
  const truth = await byReference(b, () => derivativesOf(problemOf(record, c, "f64")!));
  for (const k of ["y", "dy", "g", "dg", "h"] as const) {
    assertLists(d[k], truth[k], loose, `${k} as the reference has it`);
  }
}

/** Which of `n` operands carry a batch axis: every choice but none. */
function subsets(n: number): boolean[][] {
  return Array.from(
    { length: 2 ** n - 1 },
    (_, m) => Array.from({ length: n }, (_, i) => ((m + 1) >> i & 1) === 1),
  );
}

const B = 2;

/** vmap is a loop, of the op and of its pullback, whichever operands are batched. */
async function batchLaw(record: Op, c: Case, b: Backend): Promise<void> {
  const rng = random(seedOf(record.name + c.label));
  const rows = Array.from({ length: B }, (_, t) => c.shapes.map((_, i) => inputOf(c, i, b.float, rng, t)));
  const single = rows.map((row) => row.map((x) => make(x)));
  const stacked = c.shapes.map((_, i) => stack(single.map((row) => row[i])));
  const actual: Tensor[] = [], expected: Tensor[] = [], names: string[] = [];
  const compare = (what: string, got: Tensor[], want: Tensor[][]): void => {
    got.forEach((t, k) => {
      const e = stack(want.map((row) => row[k]));
      assertEquals([t.shape, t.dtype], [e.shape, e.dtype], what);
      actual.push(t), expected.push(e), names.push(`${what}, result ${k}`);
    });
  };
  for (const flags of subsets(c.shapes.length)) {
    const what = `operands ${flags.flatMap((f, i) => f ? [i] : [])} batched`;
    const args = flags.map((f, i) => f ? stacked[i] : single[0][i]);
    const inAxes = flags.map((f) => f ? 0 : null);
    const each = (t: number): Tensor[] => flags.map((f, i) => single[f ? t : 0][i]);
    const call = (...x: Tensor[]): Tensor[] => list(c.call(...x));
    const want = single.map((_, t) => call(...each(t)));
    compare(what, vmap(call, { inAxes })(...args), want);
    const wrt = c.wrt ?? rows[0].flatMap((x, i) => isFloat(x.dtype) ? [i] : []);
    if (wrt.length === 0 || !want[0].some((y) => isFloat(y.dtype))) continue;
    const pull = (...x: Tensor[]): Tensor[] => {
      const f = (...w: Tensor[]): Tensor[] => {
        const all = [...x];
        wrt.forEach((i, k) => all[i] = w[k]);
        return call(...all).filter((y) => isFloat(y.dtype));
      };
      const [y, pullback] = vjp(f, ...wrt.map((i) => x[i]));
      return pullback(y.map((t) => t.mul(0.5).add(1)));
    };
    compare(`pullback, ${what}`, vmap(pull, { inAxes })(...args), single.map((_, t) => pull(...each(t))));
  }
  const got = await read(actual), want = await read(expected);
  const low = [...actual, ...single[0]].some((t) => t.dtype === "f16");
  const close = (b.float === "f32" ? 2e-5 : 1e-6) * (c.slack ?? 1);
  got.forEach((x, i) => assertClose(x, want[i], low ? 1e-2 : close, names[i]));
}

/** A batch axis elsewhere than in front, in and out. */
async function axisLaw(record: Op, c: Case, b: Backend): Promise<void> {
  const rng = random(seedOf(record.name + c.label));
  const rows = Array.from({ length: B }, (_, t) => c.shapes.map((_, i) => inputOf(c, i, b.float, rng, t)));
  const front = c.shapes.map((_, i) => stack(rows.map((row) => make(row[i]))));
  const back = front.map((t) => t.movedim(0, -1));
  const call = (...x: Tensor[]): Tensor[] => list(c.call(...x));
  const want = vmap(call)(...front), got = vmap(call, { inAxes: -1, outAxes: -1 })(...back);
  const values = await read([...want, ...got.map((t) => t.movedim(-1, 0))]);
  want.forEach((_, k) =>
    assertClose(values[want.length + k], values[k], 1e-6, `batch axis last, result ${k}`)
  );
}

/** jit repeats the recording on new data, and gives what the plain call gives. */
async function jitLaw(record: Op, c: Case, b: Backend): Promise<void> {
  const rng = random(seedOf(record.name + c.label));
  const [first, second] = [0, 1].map((t) => c.shapes.map((_, i) => make(inputOf(c, i, b.float, rng, t))));
  const call = (...x: Tensor[]): Tensor[] => list(c.call(...x)), recorded = jit(call);
  const got = [...recorded(...first), ...recorded(...second)], want = [...call(...first), ...call(...second)];
  assertEquals(recorded.recordings(), 1, "the second call repeats the first recording");
  assertEquals(got.map((t) => [t.shape, t.dtype]), want.map((t) => [t.shape, t.dtype]));
  const a = await read(got), e = await read(want);
  const close = (b.float === "f32" ? 2e-5 : 1e-9) * (c.slack ?? 1);
  a.forEach((x, i) => assertClose(x, e[i], close, `under jit, result ${i}`));
}

// Beyond 1e4 the sine of an f32 is noise; 3e38 and its square test overflow.
const SPECIAL = [
  0,
  -0,
  1,
  -1,
  0.5,
  -0.5,
  1.5,
  2.5,
  2,
  -2,
  3,
  -3,
  100,
  -100,
  1e-3,
  88.8,
  1e4,
  -1e4,
  3e38,
  -3e38,
  Infinity,
  -Infinity,
  NaN,
];
const LINES = [0, -0, 1, 1, -1, 2, 0.5, 100, -100, Infinity, -Infinity, NaN];

/** Inputs of special numbers: all combinations for elementwise records, random picks elsewhere. */
function specialInputs(record: Op, c: Case, float: DType, round: number): Input[] {
  const rng = random(seedOf(record.name + c.label) + round);
  const plain = c.shapes.map((_, i) => inputOf(c, i, float, rng));
  if (record.family !== "elementwise" || record.inputs > 2) {
    const pick = record.family === "elementwise"
      ? SPECIAL
      : round === 0
      ? LINES.filter((v) => Number.isFinite(v))
      : LINES;
    return plain.map((x, i) =>
      isFloat(x.dtype) && c.values?.[i] === undefined
        ? { ...x, data: x.data.map(() => stored([pick[Math.floor(rng() * pick.length)]], x.dtype)[0]) }
        : x
    );
  }
  const n = SPECIAL.length, size = n ** record.inputs;
  return plain.map((x, i) => ({
    ...x,
    shape: [size],
    data: stored(Array.from({ length: size }, (_, k) => SPECIAL[Math.floor(k / n ** i) % n]), x.dtype),
  }));
}

/** At zeros, ties, large numbers, infinities and NaN an engine has what the reference has, derivatives too. */
async function specialLaw(record: Op, c: Case, b: Backend): Promise<void> {
  const rounds = record.family === "elementwise" && record.inputs <= 2 ? 1 : 6;
  for (let round = 0; round < rounds; round++) {
    const inputs = specialInputs(record, c, "f32", round);
    const compute = async (): Promise<TypedArray[]> => {
      const x = inputs.map((i) => make(i)), y = list(c.call(...x));
      const floats = inputs.flatMap((i, k) => isFloat(i.dtype) ? [k] : []);
      let g: Tensor[] = [];
      if (floats.length > 0 && y.some((t) => isFloat(t.dtype))) {
        const [ys, pullback] = vjp((...w: Tensor[]) => {
          const all = [...x];
          floats.forEach((i, k) => all[i] = w[k]);
          return list(c.call(...all)).filter((t) => isFloat(t.dtype));
        }, ...floats.map((i) => x[i]));
        g = pullback(ys.map((t) => t.onesLike()));
      }
      return await read([...y, ...g]);
    };
    const got = await compute(), want = await byReference(b, compute);
    got.forEach((a, k) => {
      const what = `at special points, result ${k}, operands ${
        JSON.stringify(inputs.map((i) => i.data.slice(0, 24).map(String)))
      }`;
      assertEquals(a.length, want[k].length, what);
      for (let i = 0; i < a.length; i++) {
        const at = record.family === "elementwise" && record.inputs <= 2
          ? `${what.split(", operands")[0]}, operands ${inputs.map((x) => x.data[i])}`
          : what;
        assertSpecial(a[i], want[k][i], at);
      }
    });
  }
}

function assertSpecial(a: number, e: number, what: string): void {
  if (a === e || (Number.isNaN(a) && Number.isNaN(e))) return;
  // Next to the largest f32, engines may round to it or to infinity.
  if (Math.abs(a) > 3.4e38 && Math.abs(e) > 3.4e38 && Math.sign(a) === Math.sign(e)) return;
  const near = Math.abs(a - e) <= 1e-30 + 2e-4 * Math.abs(e) || Math.abs(a - e) <= 5e-6;
  assert(near, `${what}: ${a}, the reference has ${e}`);
}

/** Every type that an elementwise record takes gives what its host function gives, rounded to the type. */
async function typeLaw(
  record: Extract<Primitive, { family: "elementwise" }>,
  c: Case,
  b: Backend,
): Promise<void> {
  const types: DType[] = b.device === "host"
    ? ["f32", "f64", "f16", "bf16", "i32", "u32", "bool"]
    : ["f32", "f16", "bf16", "i32", "u32", "bool"];
  for (const dtype of types) {
    const operands = operandTypes(record, dtype);
    if (operands === null) continue;
    const rng = random(seedOf(record.name + dtype));
    const inputs = c.shapes.map((_, i) => inputOf({ ...c, dtypes: operands }, i, dtype, rng));
    const [y] = list(c.call(...inputs.map((x) => make(x))));
    const [got] = await read([y]);
    const expected = Array.from(
      { length: y.size },
      (_, at) => record.host(...inputs.map((x) => x.data[broadcastIndex(at, y.shape, x.shape)])),
    );
    const tolerance = { f64: 1e-14, f32: 4e-6, f16: 2e-3, bf16: 1.6e-2, i32: 0, u32: 0, bool: 0 }[y.dtype];
    assertClose(got, isFloat(y.dtype) ? expected : stored(expected, y.dtype), tolerance, `in ${dtype}`);
  }
}

/** In 16 bits everything is within the error of the format, gradients in it too. */
async function halfLaw(record: Op, c: Case, b: Backend, half: "f16" | "bf16"): Promise<void> {
  const low = problemOf(record, c, half);
  if (low === null || low.inputs.some((x) => isFloat(x.dtype) && x.dtype !== half)) return;
  const ct = (q: Problem): Tensor[] => q.outputs.map((o, k) => tensor(q.ct[k], o));
  const run = async (q: Problem): Promise<TypedArray[]> => {
    const [y, pullback] = vjp(q.f, ...q.wrt.map((i) => q.x[i])), g = pullback(ct(q));
    g.forEach((t: Tensor, k: number) =>
      assertEquals(t.dtype, q.x[q.wrt[k]].dtype, "a gradient has the type of its input")
    );
    return await read([...y, ...g]);
  };
  const got = await run(low);
  const want = await byReference(b, () => {
    const q = problemOf(record, c, half)!;
    const wide = q.inputs.map((x) => ({ ...x, dtype: isFloat(x.dtype) ? "f64" as const : x.dtype }));
    const x = wide.map((i) => make(i));
    const f = (...w: Tensor[]): Tensor[] => {
      const all = [...x];
      q.wrt.forEach((i, k) => all[i] = w[k]);
      return list(c.call(...all)).filter((y) => isFloat(y.dtype));
    };
    const outputs = f(...q.wrt.map((i) => x[i])).map((y) => ({ shape: y.shape, dtype: y.dtype }));
    return run({ ...q, inputs: wide, x, f, outputs });
  });
  got.forEach((a, k) =>
    assertClose(
      a,
      want[k],
      half === "f16" ? 2e-2 : 1e-1,
      `in ${half}, ${k < low.outputs.length ? "output" : "gradient"} ${k}`,
    )
  );
}

/** A fused record's kernel and rules are those of its definition. */
async function definitionLaw(
  record: Extract<Primitive, { family: "custom" }>,
  c: Case,
  b: Backend,
): Promise<void> {
  const q = problemOf(record, c, b.float);
  const rng = random(seedOf(record.name + c.label));
  const x = c.shapes.map((_, i) => make(inputOf(c, i, b.float, rng)));
  // The record's own attributes: those of its node in the graph of the call.
  const found: { inputs: readonly { shape: Shape; dtype: DType }[]; p: unknown }[] = [];
  const stackOfNodes = list(c.call(...x)).map((t) => t.node);
  while (stackOfNodes.length > 0) {
    const node = stackOfNodes.pop()!;
    if (node.op === record) found.push(node);
    stackOfNodes.push(...node.inputs);
  }
  assert(found.length > 0, `the sample does not use ${record.name}`);
  const { inputs, p } = found[0];
  const values = inputs.map((a, i) =>
    c.values?.[i] ?? stored(draw(rng, sizeOf(a.shape), [-1.5, 1.5]), "f32")
  );
  const args = inputs.map((a, i) => tensor([...values[i]], { shape: a.shape, dtype: a.dtype }));
  const floats = args.flatMap((t, i) => isFloat(t.dtype) ? [i] : []);
  const results = (f: (x: Tensor[]) => Tensor): Tensor[] => {
    const of = (...w: Tensor[]): Tensor => {
      const all = [...args];
      floats.forEach((i, k) => all[i] = w[k]);
      return f(all);
    };
    const w = floats.map((i) => args[i]);
    const ct = (y: Tensor): Tensor => y.sin().add(1);
    const [y, dy] = jvp(of, w, w.map((t) => t.cos()));
    const pull = (...u: Tensor[]): Tensor[] => {
      const [z, pullback] = vjp(of, ...u);
      return pullback(ct(z));
    };
    return [y, dy, ...pull(...w), ...jvp(pull, w, w.map((t) => t.cos()))[1]];
  };
  const fused = results((all) => apply(record, all, p)), plain = results((all) => record.definition!(all, p));
  const a = await read(fused), e = await read(plain);
  assertEquals(a.length, e.length);
  a.forEach((v, i) =>
    assertClose(v, e[i], b.float === "f32" ? 2e-4 : 1e-9, `kernel = definition, result ${i}`)
  );
  assert(q !== null);
}

test("every op of the registry has samples, and every sample an op", () => {
  const all: Op[] = [...primitives().values(), ...composites().values()];
  const missing = all.filter((r) => r.family !== "leaf" && r.family !== "output" && casesOf(r).length === 0);
  assertEquals(
    missing.map((r) => r.name),
    [],
    "ops without a sample: add `samples` to the record, or a row to tests/laws/samples.ts",
  );
  assertEquals(strayNames(), []);
});

test("exceptions from the laws have reasons, which are printed", () => {
  const all: Op[] = [...primitives().values(), ...composites().values()];
  const reasons = all.flatMap((r) => [
    ...new Set(casesOf(r).flatMap((c) => c.notSpecial === undefined ? [] : [`${r.name}: ${c.notSpecial}`])),
  ]);
  if (reasons.length > 0) console.log(`No law at special points for\n  ${reasons.join("\n  ")}`);
  assert(reasons.every((r) => r.split(": ")[1].length > 10));
});

for (const record of [...primitives().values(), ...composites().values()] as Op[]) {
  const cases = casesOf(record);
  if (cases.length === 0) continue;
  testEach(`laws of ${record.name}`, async (b, t) => {
    const each = async (law: string, check: (c: Case) => Promise<void>): Promise<void> => {
      await t.step(law, async () => {
        for (const c of cases) {
          try {
            await check(c);
          } catch (error) {
            throw new Error(`${record.name}, ${c.label}: ${(error as Error).message}`, { cause: error });
          }
        }
      });
    };
    if (record.family === "elementwise" && b.name === "reference" && record.name !== "cast") {
      await each("value", async (c) => {
        const rng = random(seedOf(record.name + c.label));
        await assertElementwiseValue(record, c, c.shapes.map((_, i) => inputOf(c, i, b.float, rng)));
      });
    }
    await each("derivatives", (c) => derivativeLaws(record, c, b));
    await each("vmap is a loop", (c) => batchLaw(record, c, b));
    await t.step("vmap takes and puts its axis anywhere", () => axisLaw(record, cases[0], b));
    await each("jit is plain", (c) => jitLaw(record, c, b));
    if (b.name !== "reference") {
      const some = record.family === "elementwise" && record.inputs <= 2 && record.name !== "cast"
        ? cases.slice(0, 1)
        : cases;
      await t.step("special points", async () => {
        for (const c of some) if (c.notSpecial === undefined) await specialLaw(record, c, b);
      });
    }
    if (record.family === "elementwise" && record.name !== "cast") {
      const { name } = record;
      await t.step(
        "types",
        () =>
          typeLaw(record, cases.find((c) => c.shapes.length === record.inputs)!, b).catch((error) => {
            throw new Error(`${name}: ${error.message}`, { cause: error });
          }),
      );
    }
    await each("half precision", (c) => halfLaw(record, c, b, "f16"));
    await each("brain floats", (c) => halfLaw(record, c, b, "bf16"));
    if (record.family === "custom" && record.definition !== undefined) {
      await each("kernel = definition", (c) => definitionLaw(record, c, b));
    }
  });
}
