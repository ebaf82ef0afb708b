/** Who takes part on which device, and how its process is started. */
import { fileURLToPath } from "node:url";
import type { Device } from "../mod.ts";
import { pythonWith } from "./setup.ts";

/** How to start a process. */
export interface Command {
  readonly program: string;
  readonly args: readonly string[];
  readonly env?: Record<string, string>;
}

const file = (name: string): string => fileURLToPath(new URL(`contenders/${name}`, import.meta.url));

// The peers' packages are none of this project's, so they stay out of its lock file.
const deno = (name: string, args: string[] = [], env: Record<string, string> = {}) => (): Promise<Command> =>
  Promise.resolve({
    program: Deno.execPath(),
    args: ["run", "-A", "--quiet", "--no-check", "--no-lock", file(name), ...args],
    env,
  });

const python =
  (library: "torch" | "jax", name: string, args: string[] = []) => async (): Promise<Command> => ({
    program: await pythonWith(library),
    args: [file(name), ...args],
  });

/** Names to what starts them; ours first. */
export const contenders: Record<Device, Record<string, () => Promise<Command>>> = {
  host: {
    wasm: deno("ours.ts", [], { COTANGENT_DEVICE: "host", COTANGENT_BLAS: "0" }),
    blas: deno("ours.ts", [], { COTANGENT_DEVICE: "host", COTANGENT_BLAS: "1" }),
    jaxjs: deno("jaxjs.ts", ["wasm"]),
    tfjs: deno("tfjs.ts", ["wasm"]),
    torch: python("torch", "pytorch.py"),
    "torch-fused": python("torch", "pytorch.py", ["fused"]),
    jax: python("jax", "jax_python.py"),
  },
  webgpu: {
    webgpu: deno("ours.ts", [], { COTANGENT_DEVICE: "webgpu" }),
    jaxjs: deno("jaxjs.ts", ["webgpu"]),
    tfjs: deno("tfjs.ts", ["webgpu"]),
  },
};

/** Which of them are this library. */
export const ours: readonly string[] = ["wasm", "blas", "webgpu"];
