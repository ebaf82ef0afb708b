/** The engines that tests run on, from one place: the reference interpreter, the host engine and WebGPU. */
import "../../mod.ts";
import type { Device } from "../../ops/ambient.ts";
import type { DType } from "../../ops/dtype.ts";
import { ReferenceEngine } from "../../ops/reference.ts";
import { type Engine, engineOf, flush, hasEngine, setEngine } from "../../ops/runs.ts";
import { setDefaultDevice } from "../../ops/create.ts";

/** One engine under test. */
export interface Backend {
  readonly name: "reference" | "host" | "webgpu";
  readonly device: Device;
  /** Null where it cannot run here; `missing` says why. */
  readonly engine: Engine | null;
  readonly missing: string;
  /** The widest floating point type, which derivatives are checked in. */
  readonly float: DType;
  /** Relative error that a few operations in `float` may have. */
  readonly tolerance: number;
}

type Found = { engine: Engine | null; missing: string };

/** Engines arrive as files: the first of `paths` that exists and exports `create` is taken. */
async function create(paths: string[], name: string): Promise<Found> {
  for (const path of paths) {
    const url = new URL(`../../${path}`, import.meta.url).href;
    try {
      const room = await import(url);
      if (typeof room[name] !== "function") continue;
      const engine = await room[name]() as Engine | null;
      return engine === null ? { engine, missing: "there is no adapter" } : { engine, missing: "" };
    } catch (error) {
      const { message } = error as Error;
      if (/not found/i.test(message) && message.includes(path)) continue;
      return { engine: null, missing: `${path} does not start: ${message}` };
    }
  }
  return { engine: null, missing: `no file exports ${name} yet` };
}

const reference: Backend = {
  name: "reference",
  device: "host",
  engine: new ReferenceEngine(),
  missing: "",
  float: "f64",
  tolerance: 1e-12,
};

async function load(): Promise<Backend[]> {
  const wired = hasEngine("webgpu") ? engineOf("webgpu") : null;
  const gpu = wired !== null
    ? { engine: wired, missing: "" }
    : await create(["gpu/webgpu/mod.ts", "gpu/webgpu/engine.ts"], "createWebGpuEngine");
  if (gpu.engine !== null) {
    const how = Deno.env.get("COTANGENT_FUSION");
    if (how !== undefined) Object.assign(gpu.engine, { fusion: how });
    setEngine(gpu.engine);
  }
  const host = await create(["gpu/host/mod.ts", "gpu/host/engine.ts"], "createHostEngine");
  return [
    reference,
    { name: "host", device: "host", float: "f64", tolerance: 1e-12, ...host },
    { name: "webgpu", device: "webgpu", float: "f32", tolerance: 2e-5, ...gpu },
  ];
}

const chosen = Deno.env.get("COTANGENT_ENGINES")?.split(",");

/**
 * All engines, present or not; `COTANGENT_FUSION=always` (or `never`) has every run on WebGPU fuse, and not only those
 * of structures that return; `COTANGENT_ENGINES=reference,host` picks some while one works on them. */
export const backends: readonly Backend[] = (await load()).filter((b) => chosen?.includes(b.name) ?? true);

const isRequired = Deno.env.get("CI") === "true" || Deno.env.get("COTANGENT_REQUIRE_WEBGPU") === "1";

/** Makes a backend compute from here on. */
export function use(backend: Backend): void {
  try {
    flush(); // what an earlier test left pending
  } catch {
    // Its tensors have the error.
  }
  if (backend.engine === null) throw new Error(`The engine ${backend.name} is missing: ${backend.missing}`);
  setEngine(backend.engine);
  setDefaultDevice(backend.device);
}

/** Lets the reference interpreter compute `f`, then goes on with `backend`. */
export async function byReference<T>(backend: Backend, f: () => Promise<T>): Promise<T> {
  use(reference);
  try {
    return await f();
  } finally {
    use(backend);
  }
}

/** Waits for what an engine does and compiles between turns, so that the next test has its ops to itself. */
async function settled({ engine }: Backend): Promise<void> {
  await engine?.sync().catch(() => {}); // a device that the test lost
  const compiling = engine as { readonly isCompiling?: boolean } | null;
  while (compiling?.isCompiling) await new Promise((resolve) => setTimeout(resolve));
}

/** Options of tests that are made by a helper. */
export interface TestOptions {
  /** Which engines; default all. */
  only?: readonly Backend["name"][];
}

/** Declares a test for each engine; a missing WebGPU is ignored aloud, or fails where it is required. */
export function testEach(
  name: string,
  f: (backend: Backend, t: Deno.TestContext) => void | Promise<void>,
  options: TestOptions = {},
): void {
  for (const backend of backends) {
    if (options.only !== undefined && !options.only.includes(backend.name)) continue;
    const missing = backend.engine === null;
    Deno.test({
      name: missing ? `${name} [${backend.name}: NOT RUN, ${backend.missing}]` : `${name} [${backend.name}]`,
      ignore: missing && backend.name === "webgpu" && !isRequired,
      // A device keeps resources open, and its callbacks come when they come; the host engine keeps its threads.
      sanitizeOps: backend.name !== "webgpu",
      sanitizeResources: backend.name === "reference",
      fn: async (t) => {
        use(backend);
        try {
          await f(backend, t);
        } finally {
          await settled(backend);
          use(reference);
        }
      },
    });
  }
}

/** Declares a test of what no engine decides; it runs on the reference interpreter. */
export function test(name: string, f: (t: Deno.TestContext) => void | Promise<void>): void {
  Deno.test(name, async (t) => {
    use(reference);
    await f(t);
  });
}
