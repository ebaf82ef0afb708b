/** Pipelines of one device, one for each kernel, and the layouts that they share. */
import type { Kernel } from "./kernels/kernel.ts";

/** A kernel on a device. */
export interface Compiled {
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
}

const COMPUTE = 0x4; // GPUShaderStage.COMPUTE

/** Compiles kernels when they are first run. */
export class Pipelines {
  /** Pipelines go with the last plan that has their kernel, once its form is forgotten. */
  readonly #compiled = new WeakMap<Kernel, Compiled>();
  readonly #layouts = new Map<string, { group: GPUBindGroupLayout; pipeline: GPUPipelineLayout }>();

  constructor(readonly device: GPUDevice) {}

  /** The pipeline of a kernel; `fail` hears why it does not compile. */
  get(kernel: Kernel, fail: (error: Error) => void): Compiled {
    let compiled = this.#compiled.get(kernel);
    if (compiled === undefined) {
      const layout = this.#layout(kernel);
      this.device.pushErrorScope("validation");
      const module = this.device.createShaderModule({ code: kernel.source });
      const pipeline = this.device.createComputePipeline({
        layout: layout.pipeline,
        compute: { module, entryPoint: "main" },
      });
      this.device.popErrorScope().then((error) => {
        if (error === null) return;
        this.#compiled.delete(kernel);
        fail(
          new Error(`Internal: a kernel does not compile: ${error.message}\n${kernel.source}`, {
            cause: error,
          }),
        );
      }, () => {}); // the device is lost, which is told elsewhere
      this.#compiled.set(kernel, compiled = { pipeline, layout: layout.group });
    }
    return compiled;
  }

  #layout({ access, words }: Kernel): { group: GPUBindGroupLayout; pipeline: GPUPipelineLayout } {
    const key = `${access}${words}`;
    let layout = this.#layouts.get(key);
    if (layout === undefined) {
      const group = this.device.createBindGroupLayout({
        entries: [
          {
            binding: 0,
            visibility: COMPUTE,
            buffer: { type: "uniform", hasDynamicOffset: true, minBindingSize: words * 4 },
          },
          ...[...access].map((a, i): GPUBindGroupLayoutEntry => ({
            binding: i + 1,
            visibility: COMPUTE,
            buffer: { type: a === "r" ? "read-only-storage" : "storage" },
          })),
        ],
      });
      layout = { group, pipeline: this.device.createPipelineLayout({ bindGroupLayouts: [group] }) };
      this.#layouts.set(key, layout);
    }
    return layout;
  }
}
