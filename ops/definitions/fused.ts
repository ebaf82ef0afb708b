/** Ops that the tests hold to a definition in terms of others, with kernels that save memory or precision. */
import { allBatched, custom } from "../families.ts";
import { showShape, sizeOf } from "../shape.ts";
import { apply } from "../node.ts";
import type { Aval } from "../primitive.ts";
import type { Tensor } from "../tensor.ts";

/** Checks rows `[..., C]` and class numbers `[...]`. */
function checkClasses(loss: string, what: string, z: Aval, y: Aval): void {
  const classes = z.shape[z.shape.length - 1];
  if (
    z.shape.length < 1 || z.shape.length !== y.shape.length + 1 || y.shape.some((n, i) => n !== z.shape[i])
  ) {
    throw new RangeError(
      `Cannot take the ${loss} of ${what} ${showShape(z.shape)} against targets ${showShape(y.shape)}: ` +
        `${what} have one more axis, the classes, at the end`,
    );
  }
  if (y.dtype !== "i32" && y.dtype !== "u32") {
    throw new TypeError(
      `Cannot take the ${loss} against targets of type ${y.dtype}: targets are class numbers, as in target.to("i32")`,
    );
  }
  if (classes === 0) {
    throw new RangeError(`Cannot take the ${loss} of ${what} ${showShape(z.shape)}: there are no classes`);
  }
}

/** What is said of a class that there is not. */
export function noSuchClass(loss: string, label: number, classes: number): string {
  const padding = label === -100 ? "; rows of class -100 are left out with { ignoreIndex: -100 }" : "";
  return `Cannot take the ${loss} against class ${label}: there are ${classes} classes, 0 to ${
    classes - 1
  }${padding}`;
}

/** Whether each class is the target, `[..., C]`. */
function isTarget(x: Tensor, target: Tensor): Tensor {
  return target.unsqueeze(-1).eq(x.arangeLike(x.shape[x.rank - 1], "i32"));
}

/** `p - e_y` for each row. */
function probabilitiesMinusTarget(logits: Tensor, target: Tensor): Tensor {
  return logits.softmax(-1).sub(isTarget(logits, target).to(logits.dtype));
}

/** Cross-entropy of logits `[..., C]` against class numbers `[...]`: one loss for each row. */
export const crossEntropy = custom({
  name: "crossEntropy",
  tex: ([z, y]) => `-\\ln \\operatorname{softmax}(${z})_{${y}}`,
  texPartials: ([z, y]) => [`\\operatorname{softmax}(${z}) - e_{${y}}`, "0"],
  infer: ([z, y]) => {
    checkClasses("crossEntropy", "logits", z, y);
    return { shape: y.shape, dtype: z.dtype };
  },
  host: ([z, target], y) => {
    const C = z.shape[z.shape.length - 1];
    for (let row = 0; row < y.data.length; row++) {
      const at = row * C, label = target.data[row];
      if (!(label >= 0 && label < C)) {
        throw new RangeError(noSuchClass("crossEntropy", label, C));
      }
      let m = -Infinity, s = 0;
      for (let k = 0; k < C; k++) m = Math.max(m, z.data[at + k]);
      for (let k = 0; k < C; k++) s += Math.exp(z.data[at + k] - m);
      y.data[row] = Math.log(s) + (m - z.data[at + label]);
    }
  },
  wgsl: {
    threads: (_, y) => sizeOf(y.shape),
    uniforms: ([z]) => [z.shape[z.shape.length - 1]],
    body: () => `
      let C = u(0); let at = t * C; var k = i32(x1(t)); if (k < 0 || k >= C) { fault(k); k = 0; }
      var m = -inf(); var s = 0.0;
      for (var j = 0; j < C; j++) { m = maxf(m, x0(at + j)); }
      for (var j = 0; j < C; j++) { s += expf(x0(at + j) - m); }
      put(t, logf(s) + (m - x0(at + k)));`,
  },
  definition: ([z, target]) => z.logsumexp(-1).sub(z.gather(-1, target.unsqueeze(-1)).squeeze(-1)),
  flops: ([z]) => 13 * sizeOf(z.shape),
  vjp: (ct, { x: [z, target] }) => [probabilitiesMinusTarget(z, target).mul(ct.unsqueeze(-1)), null],
  jvp: ([dz], { x: [z, target] }) => dz === null ? null : probabilitiesMinusTarget(z, target).mul(dz).sum(-1),
  batch: ([z, target], batched, p, B) =>
    apply(crossEntropy, [
      batched[0] ? z : z.expand([B, ...z.shape]),
      batched[1] ? target : target.expand([B, ...target.shape]),
    ], p),
});

/** -x_y for each row `[..., C]` and its class number: linear in x. */
export const nllLoss = custom({
  name: "nllLoss",
  tex: ([x, y]) => `-{${x}}_{${y}}`,
  texPartials: ([, y]) => [`-e_{${y}}`, "0"],
  infer: ([x, y]) => {
    checkClasses("nllLoss", "log-probabilities", x, y);
    return { shape: y.shape, dtype: x.dtype };
  },
  host: ([x, target], y) => {
    const C = x.shape[x.shape.length - 1];
    for (let row = 0; row < y.data.length; row++) {
      const label = target.data[row];
      if (!(label >= 0 && label < C)) throw new RangeError(noSuchClass("nllLoss", label, C));
      y.data[row] = -x.data[row * C + label];
    }
  },
  wgsl: {
    threads: (_, y) => sizeOf(y.shape),
    uniforms: ([x]) => [x.shape[x.shape.length - 1]],
    body: () =>
      `let C = u(0); var k = i32(x1(t)); if (k < 0 || k >= C) { fault(k); k = 0; } put(t, -x0(t * C + k));`,
  },
  definition: ([x, target]) => x.gather(-1, target.unsqueeze(-1)).squeeze(-1).neg(),
  flops: ([, y]) => sizeOf(y.shape),
  vjp: (
    ct,
    { x: [x, target] },
  ) => [ct.neg().unsqueeze(-1).expand(x.shape).where(isTarget(x, target), 0), null],
  jvp: ([dx], { x: [, target] }) => dx === null ? null : apply(nllLoss, [dx, target]),
  batch: (x, batched, p, B) => apply(nllLoss, allBatched(x, batched, B), p),
});
