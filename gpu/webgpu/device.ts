/** Getting a device: the adapter's own limits and features, what it is, and the error for its loss. */
// The specification's types, over Deno's own where it has none.
import type { RepeatLimits } from "../rematerialise.ts";
import type {} from "@webgpu/types";
import type { Tiles } from "./heuristics.ts";
import { loadTiles, tilesPath } from "./tiles_file.ts";

/** What plans need to know of a device. */
export interface Limits {
  /** Bytes that one binding can reach. */
  readonly binding: number;
  /** Bytes of the largest buffer. */
  readonly buffer: number;
  /** Workgroups along one axis of a dispatch. */
  readonly groups: number;
  /** Distance between parameter blocks of two dispatches, in bytes. */
  readonly uniformAlign: number;
  /** Storage buffers that one kernel can bind. */
  readonly storageBuffers: number;
  /** Bytes that the threads of a workgroup can share. */
  readonly workgroupMemory: number;
  /** Whether kernels can store 16-bit floats. */
  readonly f16: boolean;
  /** Whether a CPU runs the kernels. */
  readonly isSoftware: boolean;
  /** Tiles of products that were measured to be the fastest, by class of shape; none where nobody searched. */
  readonly tiles?: Tiles;
  /** When kernels are done again so that what they make need not wait for the backward pass; for tests. */
  readonly repeats?: RepeatLimits;
}

/** A device and what is known of it. */
export interface OpenDevice {
  /** Opened with the adapter's own limits for storage and workgroups. */
  readonly device: GPUDevice;
  /** What the device grants, rounded for plans. */
  readonly limits: Limits;
  /** The adapter it was opened on. */
  readonly info: AdapterReport;
}

/** What computes, for diagnostics. */
export interface AdapterReport {
  /** In Deno a decimal PCI or Vulkan number: "4318" is NVIDIA. */
  readonly vendor: string;
  /** Family of the GPU; empty where the platform does not tell. */
  readonly architecture: string;
  /** Name of the GPU, as its driver gives it. */
  readonly description: string;
  /** A rasteriser on the CPU: right, but slower than the host engine. */
  readonly isSoftware: boolean;
  /** All that the adapter offers, by WebGPU's names; the device asks for few of them. */
  readonly features: readonly string[];
  /** The adapter's limits, by WebGPU's names; sizes in bytes. */
  readonly limits: Readonly<Record<string, number>>;
}

/** The device went away (driver reset, unplugged, destroyed) with all that lived only on it. */
export class DeviceLostError extends Error {
  /** Tells it from other errors where `instanceof` cannot: across copies of the package. */
  override readonly name = "DeviceLostError";
}

/** Limits which are worth asking for beyond the defaults. */
const WANTED = [
  "maxStorageBufferBindingSize",
  "maxBufferSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupSizeX",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupStorageSize",
  "minUniformBufferOffsetAlignment",
] as const;

const SOFTWARE = /llvmpipe|lavapipe|swiftshader|softpipe|basic render|software/i;

async function requestAdapter(): Promise<GPUAdapter | null> {
  const gpu = globalThis.navigator?.gpu;
  if (gpu === undefined) return null;
  try {
    return await gpu.requestAdapter({ powerPreference: "high-performance" });
  } catch {
    return null;
  }
}

function report(adapter: GPUAdapter): AdapterReport {
  const { info } = adapter;
  const fallback = (info as { isFallbackAdapter?: boolean }).isFallbackAdapter ??
    (adapter as { isFallbackAdapter?: boolean }).isFallbackAdapter ?? false;
  const limits: Record<string, number> = {};
  for (const key in adapter.limits) {
    const value: unknown = (adapter.limits as unknown as Record<string, unknown>)[key];
    if (typeof value === "number") limits[key] = value;
  }
  return {
    vendor: info.vendor,
    architecture: info.architecture,
    description: info.description,
    isSoftware: fallback ||
      SOFTWARE.test(`${info.vendor} ${info.architecture} ${info.device} ${info.description}`),
    features: [...adapter.features],
    limits,
  };
}

/** What the adapter says of itself, or null where there is none. */
export async function adapterInfo(): Promise<AdapterReport | null> {
  const adapter = await requestAdapter();
  return adapter === null ? null : report(adapter);
}

/** Opens the fastest adapter, or null where there is none. */
export async function openDevice(): Promise<OpenDevice | null> {
  const adapter = await requestAdapter();
  if (adapter === null) return null;
  const info = report(adapter);
  const requiredLimits: Record<string, number> = {};
  for (const key of WANTED) requiredLimits[key] = info.limits[key];
  const requiredFeatures = (["shader-f16", "timestamp-query"] as GPUFeatureName[]).filter((f) =>
    adapter.features.has(f)
  );
  const device = await adapter.requestDevice({ requiredFeatures, requiredLimits });
  const { limits } = device;
  const known: Limits = {
    // Kernels count elements in i32.
    binding: Math.floor(Math.min(limits.maxStorageBufferBindingSize, 2 ** 33 - 256) / 256) * 256,
    buffer: Math.floor(limits.maxBufferSize / 256) * 256,
    groups: limits.maxComputeWorkgroupsPerDimension,
    uniformAlign: Math.max(16, limits.minUniformBufferOffsetAlignment),
    storageBuffers: limits.maxStorageBuffersPerShaderStage,
    workgroupMemory: limits.maxComputeWorkgroupStorageSize,
    f16: device.features.has("shader-f16"),
    isSoftware: info.isSoftware,
  };
  const path = tilesPath(info), tiles = path === null ? undefined : loadTiles(path, known);
  return { device, info, limits: tiles === undefined ? known : { ...known, tiles } };
}
