/** The WebGPU engine. */
export { createWebGpuEngine, WebGpuEngine } from "./engine.ts";
export { type TunedProduct, type TuneOptions, tuneProducts } from "./tuning.ts";
export { adapterInfo, type AdapterReport, DeviceLostError } from "./device.ts";
