/** Limits to gradients between `backward` and `step`; part of the same run, nothing is read. */
import { cat } from "../ops/functions.ts";
import { isHalf } from "../ops/dtype.ts";
import type { Tensor } from "../ops/tensor.ts";
import { noGrad } from "../ops/transforms/backward.ts";
import type { Module } from "./module.ts";

/** Options of {@linkcode clipGradNorm}. */
export interface ClipOptions {
  /** Euclidean norm (2, default) or largest magnitude (Infinity). */
  normType?: 2 | typeof Infinity;
  /** Reads the norm and throws, before anything is changed, if it is not finite; the result is then a promise. */
  errorIfNonfinite?: boolean;
}

function withGradients(parameters: Module | Iterable<Tensor>): Tensor[] {
  const list = Symbol.iterator in parameters ? [...parameters] : parameters.parameters();
  return list.filter((p) => p.grad !== null);
}

/**
 * Scales all gradients by min(1, maxNorm / (n + 1e-6)), where n is their norm taken together, and returns n: Pascanu
 * et al. (2013), "On the difficulty of training recurrent neural networks". A norm of NaN makes all gradients NaN.
 */
export function clipGradNorm(
  parameters: Module | Iterable<Tensor>,
  maxNorm: number | Tensor,
  options: ClipOptions & { errorIfNonfinite: true },
): Promise<Tensor>;
/** The same without a check, which would wait for the device. */
export function clipGradNorm(
  parameters: Module | Iterable<Tensor>,
  maxNorm: number | Tensor,
  options?: ClipOptions,
): Tensor;
export function clipGradNorm(
  parameters: Module | Iterable<Tensor>,
  maxNorm: number | Tensor,
  options: ClipOptions = {},
): Tensor | Promise<Tensor> {
  const list = withGradients(parameters), { normType = 2 } = options;
  if (list.length === 0) {
    throw new Error("Cannot clip gradients: no parameter has one; call loss.backward() before");
  }
  if (normType !== 2 && normType !== Infinity) {
    throw new RangeError(`Cannot clip by norm ${normType}: it is 2 or Infinity`);
  }
  // All of them as one, [P]: one each would be as many kernels as there are parameters.
  const flat = noGrad(() =>
    cat(list.map(({ grad }) => (isHalf(grad!.dtype) ? grad!.to("f32") : grad!).reshape([-1])))
  );
  const norm = noGrad(() => normType === 2 ? flat.square().sum().sqrt() : flat.abs().amax());
  norm.name = "gradient norm";
  const scale = (): Tensor =>
    noGrad(() => {
      const scaled = flat.mul(norm.add(1e-6).reciprocal().mul(maxNorm).minimum(1));
      let at = 0;
      for (const p of list) {
        const { dtype, shape, size } = p.grad!;
        p.grad = scaled.narrow(0, at, size).reshape(shape).to(dtype);
        at += size;
      }
      return norm;
    });
  if (options.errorIfNonfinite !== true) return scale();
  return norm.item().then((value) => {
    if (Number.isFinite(value)) return scale();
    throw new RangeError(
      `Cannot clip gradients: their norm is ${value}; see detectAnomaly for where it comes from`,
    );
  });
}

/** Limits every element of every gradient to [−limit, limit]. */
export function clipGradValue(parameters: Module | Iterable<Tensor>, limit: number): void {
  if (!(limit > 0)) throw new RangeError(`Cannot clip gradients to ±${limit}: the limit is positive`);
  noGrad(() => {
    for (const p of withGradients(parameters)) p.grad = p.grad!.clamp(-limit, limit);
  });
}
