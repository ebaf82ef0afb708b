/** The WebGPU engine. */
export { createWebGpuEngine, WebGpuEngine } from "./engine.ts";
export { adapterInfo, type AdapterReport, DeviceLostError } from "./device.ts";
