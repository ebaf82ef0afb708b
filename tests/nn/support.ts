/** Small helpers of the nn tests. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import "../../mod.ts";
import { defaultDevice, tensor } from "../../ops/create.ts";
import { collect } from "../../ops/lower.ts";
import type { RunKey } from "../../ops/structure.ts";
import { type Engine, engineOf, setEngine } from "../../ops/runs.ts";
import type { Tensor } from "../../ops/tensor.ts";

/** A parameter in double precision. */
export function f64(data: number[] | number[][], name?: string): Tensor {
  const x = tensor(data, { dtype: "f64", device: "host", requiresGrad: true });
  if (name !== undefined) x.name = name;
  return x;
}

/** The elements as plain numbers. */
export async function numbers(x: Tensor): Promise<number[]> {
  return Array.from(await x.data());
}

/** Whether all bits agree. */
export async function sameBits(a: Record<string, Tensor>, b: Record<string, Tensor>): Promise<boolean> {
  for (const [name, t] of Object.entries(a)) {
    const x = await t.data(), y = await b[name].data();
    if (x.length !== y.length || x.some((v, i) => !Object.is(v, y[i]))) return false;
  }
  return true;
}

/** Runs `f` and lists the structural key of every run on the default device meanwhile. */
export async function keysOf(f: () => void | Promise<void>): Promise<RunKey[]> {
  const engine = engineOf(defaultDevice()), keys: RunKey[] = [];
  const spy: Engine = new Proxy(engine, {
    get(target, name) {
      if (name === "run") {
        return (roots: Parameters<Engine["run"]>[0]) => {
          keys.push(collect(roots).key);
          target.run(roots);
        };
      }
      const value = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  setEngine(spy);
  try {
    await f();
  } finally {
    setEngine(engine);
  }
  return keys;
}

setFlagsFromString("--expose-gc");
/** Forces a collection, so that finalizers run at the next macrotask. */
export const collectGarbage: () => void = runInNewContext("gc");
