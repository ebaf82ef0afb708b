/** Pipelines of one device, one for each kernel, and the layouts that they share. */
import type { Kernel } from "./kernels/kernel.ts";

/** A kernel on a device. */
export interface Compiled {
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
}

/**
 * Kernels with the same key have the same layout of bindings. Sizes are part of it: Deno (2.9.6) goes on with those of the
 * pipeline before where layouts are the same.
 */
export function layoutKey({ access, sizes, words }: Kernel): string {
  return `${access}${sizes}|${words}`;
}

const COMPUTE = 0x4; // GPUShaderStage.COMPUTE
const UNIFORM = 0x40, STORAGE = 0x80;
/** Bytes of memory that empty dispatches bind, and distance of the bindings. */
const SPARE = 2 ** 16, APART = 256;

/** Compiles kernels: at once when they are run, or before. */
export class Pipelines {
  /** Pipelines go with the last plan that has their kernel, once its form is forgotten. */
  readonly #compiled = new WeakMap<Kernel, Compiled>();
  readonly #layouts = new Map<string, { group: GPUBindGroupLayout; pipeline: GPUPipelineLayout }>();
  /** Memory to read and to write in empty dispatches. */
  #spare: { readonly r: GPUBuffer; readonly w: GPUBuffer } | null = null;

  /** `isLate`: the driver compiles a kernel when it is first dispatched, as rasterisers do. */
  constructor(readonly device: GPUDevice, readonly isLate: boolean) {}

  /** The pipeline of a kernel; `fail` hears why it does not compile. */
  get(kernel: Kernel, fail: (error: Error) => void): Compiled {
    let compiled = this.#compiled.get(kernel);
    if (compiled === undefined) {
      const layout = this.#layout(kernel);
      this.device.pushErrorScope("validation");
      const pipeline = this.device.createComputePipeline(this.#describe(kernel));
      this.device.popErrorScope().then((error) => {
        if (error === null) return;
        this.#compiled.delete(kernel);
        fail(refused(kernel, error));
      }, () => {}); // the device is lost, which is told elsewhere
      this.#compiled.set(kernel, compiled = { pipeline, layout: layout.group });
    }
    return compiled;
  }

  /** Compiles a kernel before it is needed, aside where the runtime can; rejects with why it does not compile. */
  async prepare(kernel: Kernel): Promise<void> {
    if (this.#compiled.has(kernel)) return;
    this.device.pushErrorScope("validation");
    const made = this.device.createComputePipelineAsync(this.#describe(kernel));
    const [pipeline, scope] = await Promise.allSettled([made, this.device.popErrorScope()]);
    if (pipeline.status === "rejected") throw refused(kernel, pipeline.reason);
    if (scope.status === "rejected" || scope.value !== null) {
      throw refused(kernel, scope.status === "rejected" ? scope.reason : scope.value);
    }
    const compiled = { pipeline: pipeline.value, layout: this.#layout(kernel).group };
    if (this.isLate) this.#dispatchEmpty(kernel, compiled);
    if (!this.#compiled.has(kernel)) this.#compiled.set(kernel, compiled);
  }

  #describe(kernel: Kernel): GPUComputePipelineDescriptor {
    return {
      layout: this.#layout(kernel).pipeline,
      compute: { module: this.device.createShaderModule({ code: kernel.source }), entryPoint: "main" },
    };
  }

  /** A dispatch of no workgroups, after which the kernel is compiled. */
  #dispatchEmpty({ access, words }: Kernel, { pipeline, layout }: Compiled): void {
    const { device } = this;
    this.#spare ??= {
      r: device.createBuffer({ size: SPARE, usage: UNIFORM | STORAGE }),
      w: device.createBuffer({ size: SPARE, usage: STORAGE }),
    };
    const { r, w } = this.#spare;
    const group = device.createBindGroup({
      layout,
      entries: [
        { binding: 0, resource: { buffer: r, size: words * 4 } },
        ...[...access].map((a, i) => ({
          binding: i + 1,
          resource: { buffer: a === "r" ? r : w, offset: i * APART, size: APART },
        })),
      ],
    });
    const encoder = device.createCommandEncoder(), pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group, [0]);
    pass.dispatchWorkgroups(0);
    pass.end();
    device.queue.submit([encoder.finish()]);
    // Asking when work is done waits for it, without awaiting, which other work would hold up.
    device.queue.onSubmittedWorkDone().catch(() => {});
  }

  #layout(kernel: Kernel): { group: GPUBindGroupLayout; pipeline: GPUPipelineLayout } {
    const { access, sizes, words } = kernel, key = layoutKey(kernel);
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
            buffer: { type: a === "r" ? "read-only-storage" : "storage", minBindingSize: sizes[i] },
          })),
        ],
      });
      layout = { group, pipeline: this.device.createPipelineLayout({ bindGroupLayouts: [group] }) };
      this.#layouts.set(key, layout);
    }
    return layout;
  }
}

function refused(kernel: Kernel, cause: { readonly message: string }): Error {
  return new Error(`Internal: a kernel does not compile: ${cause.message}\n${kernel.source}`, { cause });
}
