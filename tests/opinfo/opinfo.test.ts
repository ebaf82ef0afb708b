/**
 * PyTorch's own samples (OpInfo) against our ops: values, gradients, double gradients and forward mode in f64 on the
 * host, values and gradients in f32 on WebGPU. `OPINFO=name,name` picks some names and shows every failure.
 */
import { assert, assertEquals } from "@std/assert";
import { jvp, Tensor, tensor, vjp } from "../../mod.ts";
import type { DType } from "../../ops/dtype.ts";
import { convert } from "../../ops/tensor.ts";
import { type Backend, test, testEach } from "../support/engines.ts";
import { assertClose, read } from "../support/numbers.ts";
import { type Argument, load, Recorded, type Sample } from "./fixtures.ts";
import { type Mapped, Skip } from "./bind.ts";
import { mapping } from "./mapping.ts";
import { listed, whyLeftOut } from "./left_out.ts";
import { type Difference, differences, hostTolerance, webgpuTolerance } from "./tolerances.ts";

const { torch, names } = await load();
const chosen = Deno.env.get("OPINFO")?.split(",");

/** Our type for PyTorch's: index types are i32, and float64 is the engine's widest. */
function typeOf(dtype: string, backend: Backend): DType {
  switch (dtype) {
    case "f64":
      return backend.float;
    case "f32":
    case "f16":
    case "i32":
    case "bool":
      return dtype;
    case "i64":
      return "i32";
    default:
      throw new Skip(`dtype ${dtype}`);
  }
}

/** A read that is due, and what it must give. */
interface Due {
  readonly what: string;
  readonly tensor: Tensor;
  readonly expected: Recorded;
}

/** `f` of what there is, or of what there will be. */
function then<A, B>(x: A | Promise<A>, f: (x: A) => B): B | Promise<B> {
  return x instanceof Promise ? x.then(f) : f(x);
}

/** The graph of everything that a sample asks for on an engine. */
async function graphOf(sample: Sample, { call, processed }: Mapped, backend: Backend): Promise<Due[]> {
  const due: Due[] = [], tensors: Tensor[] = [];
  const make = (r: Recorded): Tensor => {
    const dtype = typeOf(r.dtype, backend);
    return tensor(convert(r.data, dtype), { shape: r.shape, dtype });
  };
  const prepare = (x: Argument): Argument => {
    if (x instanceof Recorded) return tensors[tensors.push(make(x)) - 1];
    if (Array.isArray(x)) return x.map(prepare);
    if (x === null || typeof x !== "object") return x;
    if ("dtype" in x) return typeOf(x.dtype, backend);
    return Object.fromEntries(Object.entries(x).map(([k, v]) => [k, prepare(v)]));
  };
  const args = sample.args.map(prepare);
  const kwargs = Object.fromEntries(Object.entries(sample.kwargs).map(([k, v]) => [k, prepare(v)]));
  const wrt = (sample.wrt ?? []).map((i) => tensors[i]);
  // Functions of a promise are differentiated as such.
  type F = (...w: Tensor[]) => Tensor[];
  const f = ((...w: Tensor[]) => {
    const replace = (x: Argument): Argument => {
      if (x instanceof Tensor) return wrt.includes(x) ? w[wrt.indexOf(x)] : x;
      if (Array.isArray(x)) return x.map(replace);
      return x;
    };
    const y = call(
      args.map(replace),
      Object.fromEntries(Object.entries(kwargs).map(([k, v]) => [k, replace(v)])),
    );
    return then(y, (y) => {
      const results = Array.isArray(y) ? y : [y];
      return sample.processed ? processed!(results, sample.out) : results;
    });
  }) as F;
  const add = (what: string, got: readonly Tensor[], expected: readonly (Recorded | null)[]): void => {
    assertEquals(got.length, expected.length, `${what}: number of tensors`);
    expected.forEach((e, i) => {
      if (e === null) return;
      assertEquals(got[i].shape, e.shape, `${what} ${i}: shape`);
      assertEquals(got[i].dtype, typeOf(e.dtype, backend), `${what} ${i}: type`);
      due.push({ what: `${what} ${i}`, tensor: got[i], expected: e });
    });
  };
  add("value", await f(...wrt), sample.out);
  const { ct, grad, v, gg, jvp: tangents } = sample;
  if (ct === undefined) return due;
  const smooth = ((...w: Tensor[]) => then(f(...w), (y) => y.filter((_, i) => ct[i] !== null))) as F;
  const cts = ct.filter((c) => c !== null).map(make);
  const gradient = ((...w: Tensor[]) => then(vjp(smooth, ...w), ([, pullback]) => pullback(cts))) as F;
  add("gradient", await gradient(...wrt), grad!);
  if (backend.float !== "f64") return due;
  const vs = v!.map(make);
  if (gg !== undefined) add("double gradient", (await vjp(gradient, ...wrt))[1](vs), gg);
  if (tangents !== undefined) {
    add(
      "forward mode",
      (await jvp(smooth, wrt, vs))[1],
      tangents.filter((t) => t !== null),
    );
  }
  return due;
}

async function check(due: readonly Due[], tolerance: number, backend: Backend): Promise<void> {
  const values = await read(due.map((d) => d.tensor));
  due.forEach(({ what, expected }, i) =>
    assertClose(values[i], expected.data, { tolerance, each: backend.float === "f64" }, what)
  );
}

/** What became of the samples of each name on the host. */
const counts = new Map<string, { passed: number; skipped: Map<string, number>; failed: boolean }>();

/** Differences that a sample showed, on any engine. */
const shown = new Set<Difference>();

/** A sample's arguments in short, for messages. */
function show(x: Argument): string {
  if (x instanceof Recorded) return `${x.dtype}[${x.shape}]`;
  if (Array.isArray(x)) return `[${x.map(show).join(", ")}]`;
  if (x === null || typeof x !== "object") return String(x);
  return `{${Object.entries(x).map(([k, v]) => `${k}: ${show(v)}`).join(", ")}}`;
}

const describe = (s: Sample): string => `(${[...s.args, s.kwargs].map(show).join(", ")})`;

async function run(name: string, backend: Backend): Promise<void> {
  const { samples } = names.get(name)!, mapped = mapping[name];
  const tolerance = (backend.float === "f64" ? hostTolerance : webgpuTolerance)(name);
  const count = { passed: 0, skipped: new Map<string, number>(), failed: true };
  const skip = (reason: string): unknown => count.skipped.set(reason, (count.skipped.get(reason) ?? 0) + 1);
  if (backend.name === "host") counts.set(name, count);
  const failures: string[] = [], graphs: [Sample, Due[]][] = [];
  const fail = (sample: Sample, error: Error): void => {
    const known = differences.find((d) => d.names.test(name) && d.message.test(error.message));
    if (known !== undefined) shown.add(known), skip(known.reason);
    else failures.push(`${describe(sample)}: ${error.message}`);
  };
  for (const sample of samples) {
    try {
      if (sample.processed && mapped.processed === undefined) throw new Skip("result processed by OpInfo");
      graphs.push([sample, await graphOf(sample, mapped, backend)]);
    } catch (error) {
      // The feature is optional; that the error comes is tested elsewhere.
      if (error instanceof Skip || /lacks shader-f16/.test((error as Error).message)) {
        skip((error as Error).message);
      } else fail(sample, error as Error);
    }
  }
  try {
    // All in one run, which is several times as fast.
    await check(graphs.flatMap(([, due]) => due), tolerance, backend);
    count.passed = graphs.length;
  } catch {
    for (const [sample, due] of graphs) {
      try {
        await check(due, tolerance, backend);
        count.passed++;
      } catch (error) {
        fail(sample, error as Error);
      }
    }
  }
  if (failures.length > 0) {
    const some = chosen === undefined ? failures.slice(0, 3) : failures;
    throw new Error(`${failures.length} of ${samples.length} samples of ${name} fail:\n${some.join("\n")}`);
  }
  count.failed = false;
}

for (const name of Object.keys(mapping)) {
  if (chosen !== undefined && !chosen.includes(name)) continue;
  testEach(`OpInfo ${name}`, (backend) => run(name, backend), { only: ["host", "webgpu"] });
}

test("OpInfo: every name is mapped or has one reason to be left out", () => {
  for (const name of [...Object.keys(mapping), ...listed]) {
    assert(names.has(name), `PyTorch has no name ${name}`);
  }
  assertEquals(listed.filter((name) => name in mapping), [], "mapped, and listed as left out");
  assertEquals(listed.filter((name, i) => listed.indexOf(name) !== i), [], "listed twice");
});

/** `name (3), name` by reason. */
function table(groups: Map<string, string[]>): string {
  return [...groups].map(([reason, list]) => `  ${reason} (${list.length}): ${list.join(" ")}`).join("\n");
}

function group(groups: Map<string, string[]>, reason: string, item: string): void {
  groups.set(reason, [...groups.get(reason) ?? [], item]);
}

test("OpInfo: what passed and what is left out", () => {
  if (counts.size < Object.keys(mapping).length) return; // a part of the tests was asked for
  const passed = [...counts].filter(([, c]) => !c.failed && c.passed > 0);
  const own = passed.filter(([name]) => !mapping[name].spelled);
  const partly = passed.filter(([, c]) => c.skipped.size > 0);
  const samples = passed.reduce((n, [, c]) => n + c.passed, 0);
  const skipped = new Map<string, string[]>(), left = new Map<string, string[]>();
  for (const [name, c] of counts) {
    for (const [reason, n] of c.skipped) group(skipped, reason, `${name}×${n}`);
    if (!c.failed && c.passed === 0) group(left, "mapped, but every sample is skipped", name);
  }
  for (const [name, { samples, skipped }] of names) {
    if (name in mapping) continue;
    const why = whyLeftOut(name);
    const none = samples.length === 0 && !why.startsWith("out of scope")
      ? `, no sample: ${Object.keys(skipped)[0]}`
      : "";
    group(left, why + none, name);
  }
  console.log(
    `PyTorch ${torch}: ${passed.length} of ${names.size} names pass on the host, ${samples} samples: ${own.length} ops of ` +
      `ours, ${passed.length - own.length} spelled by several; ${partly.length} have samples skipped\n` +
      `Samples skipped, by reason:\n${table(skipped)}\nNames left out, by reason:\n${table(left)}`,
  );
  assertEquals(
    differences.filter((d) => !shown.has(d)).map((d) => d.reason),
    [],
    "no sample differs so any more",
  );
  assert(passed.length >= AT_LEAST, `only ${passed.length} names pass; there were ${AT_LEAST}`);
});

/** Names that passed when this was last raised: it only goes up. */
const AT_LEAST = 475;
