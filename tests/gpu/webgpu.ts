/** Tests of what is inside the WebGPU engine: they need an adapter, and say aloud where there is none. */
import { WebGpuEngine } from "../../gpu/webgpu/mod.ts";
import { flush } from "../../ops/runs.ts";
import { backends, testEach } from "../support/engines.ts";

/** The engine that the tests share. */
export function engine(): WebGpuEngine {
  const found = backends.find((b) => b.name === "webgpu")?.engine;
  if (!(found instanceof WebGpuEngine)) throw new Error("There is no WebGPU engine");
  return found;
}

/** Declares a test that runs on WebGPU only. */
export function test(name: string, f: (t: Deno.TestContext) => void | Promise<void>): void {
  testEach(name, (_, t) => f(t), { only: ["webgpu"] });
}

/** Computes what is pending now. */
export { flush };

/** The error of a promise that must be rejected. */
export async function rejection(promise: Promise<unknown>): Promise<Error> {
  try {
    await promise;
  } catch (error) {
    return error as Error;
  }
  throw new Error("It did not fail");
}

/** One macrotask, in which finalisers run. */
export function macrotask(ms = 0): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Turns of the event loop until no plan is on its way. */
export async function compiled(): Promise<void> {
  while (engine().isCompiling) await macrotask();
}
