/** Which devices there are, and which one new tensors go to. */
import { setDefaultDevice } from "../ops/create.ts";
import { setEngine } from "../ops/runs.ts";
import { createHostEngine } from "./host/engine.ts";
import { createWebGpuEngine } from "./webgpu/mod.ts";

export { DeviceLostError } from "./webgpu/mod.ts";

/** The choice in the environment, if the program may read it without asking. */
function chosen(): string | null {
  try {
    const query = { name: "env", variable: "COTANGENT_DEVICE" } as const;
    if (Deno.permissions.querySync(query).state !== "granted") return null;
    return Deno.env.get("COTANGENT_DEVICE") ?? null;
  } catch {
    return null; // not Deno
  }
}

/**
 * Starts the engines. The default device is WebGPU on real hardware and the host elsewhere; the environment variable
 * COTANGENT_DEVICE decides otherwise. Choosing the host skips the search for a GPU.
 */
export async function startDevices(report: (error: Error, where: string) => void): Promise<void> {
  setEngine(createHostEngine());
  const choice = chosen();
  if (choice !== null && choice !== "" && choice !== "host" && choice !== "webgpu") {
    throw new TypeError(`Cannot use COTANGENT_DEVICE=${choice}: it is host or webgpu`);
  }
  if (choice === "host") return;
  const gpu = await createWebGpuEngine();
  if (gpu === null) {
    if (choice === "webgpu") {
      throw new Error(
        "Cannot use COTANGENT_DEVICE=webgpu: no WebGPU adapter was found. Install a Vulkan driver (on Debian and Ubuntu " +
          "in software: apt-get install mesa-vulkan-drivers libvulkan1), or use COTANGENT_DEVICE=host",
      );
    }
    return;
  }
  gpu.reportFault = (error) => report(error, "WebGPU");
  setEngine(gpu);
  if (choice === "webgpu" || !gpu.isSoftware) setDefaultDevice("webgpu");
}
