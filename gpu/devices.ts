/** Which devices there are, and which one new tensors go to. */
import { setDefaultDevice } from "../ops/create.ts";
import { useDeterministicAlgorithms } from "../ops/determinism.ts";
import { setEngine } from "../ops/runs.ts";
import { variable } from "./environment.ts";
import { createHostEngine } from "./host/engine.ts";
import { createWebGpuEngine } from "./webgpu/mod.ts";

export { DeviceLostError, type TunedProduct, type TuneOptions, tuneProducts } from "./webgpu/mod.ts";

/**
 * Starts the engines. The default device is WebGPU on real hardware and the host elsewhere; the environment variable
 * COTANGENT_DEVICE decides otherwise. Choosing the host skips the search for a GPU. COTANGENT_DETERMINISTIC=1 has
 * everything computed in one way.
 */
export async function startDevices(report: (error: Error, where: string) => void): Promise<void> {
  setEngine(createHostEngine());
  const choice = variable("COTANGENT_DEVICE"), isFixed = variable("COTANGENT_DETERMINISTIC");
  if (isFixed !== null && isFixed !== "" && isFixed !== "0" && isFixed !== "1") {
    throw new TypeError(`Cannot use COTANGENT_DETERMINISTIC=${isFixed}: it is 0 or 1`);
  }
  if (isFixed === "1") useDeterministicAlgorithms(true);
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
