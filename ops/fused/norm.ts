/** Normalisation of rows, fused: forward and backward kernels, which keep the operand alone for the way back. */
import { isHalf } from "../dtype.ts";
import { allBatched, custom } from "../families.ts";
import { apply } from "../node.ts";
import type { Custom, HostArray } from "../primitive.ts";
import { sameShape, type Shape, showShape, sizeOf } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import { rowsKernel, type RowStyle } from "./norm_wgsl.ts";
import { f32Bits } from "./uniforms.ts";
import { type Definition, jvpOf, vjpOf } from "../transforms/by_definition.ts";

/** Attributes of a normalisation: how many axes at the end, and what comes behind the operand. */
export interface NormAttributes {
  /** Number of axes that are normalised over. */
  readonly axes: number;
  /** Added to the variance. */
  readonly eps: number;
  /** Whether a scale is the next operand. */
  readonly weight: boolean;
  /** Whether a shift is the last operand. */
  readonly bias: boolean;
}

const tail = (shape: Shape, axes: number): Shape => shape.slice(shape.length - axes);
const lastAxes = (n: number): number[] => Array.from({ length: n }, (_, i) => i - n);
/** Sums of half precision go through single. */
function sumIn(t: Tensor, shape: Shape, like: Tensor): Tensor {
  return t.sumTo(shape).to(like.dtype);
}
const wide = (t: Tensor): Tensor => isHalf(t.dtype) ? t.to("f32") : t;

/** Mean (0 unless `centred`) and 1 / standard deviation of a row. */
function statistics(x: HostArray, at: number, D: number, eps: number, centred: boolean): [number, number] {
  let mean = 0, square = 0;
  if (centred) {
    for (let j = 0; j < D; j++) mean += x.data[at + j];
    mean /= D;
  }
  for (let j = 0; j < D; j++) square += (x.data[at + j] - mean) ** 2;
  return [mean, 1 / Math.sqrt(square / D + eps)];
}

/** WGSL of the same for a row of an operand, `mean` and `r`. */
const statisticsWgsl = ({ loop, read, type }: RowStyle, operand: number, centred: boolean): string => `
  var sum = ${type}(); var square = ${type}();
  ${
  centred
    ? `${loop(`sum += ${read(operand, "at + j")};`)} let mean = total(lid, sum) / f32(D);`
    : "let mean = 0.0;"
}
  ${loop(`let c = ${read(operand, "at + j")} - mean; square += c * c;`)}
  let v = total(lid, square) / f32(D) + bitcast<f32>(u(2));
  let r = select(1.0 / sqrt(v), nan(), v < 0.0);`;

/** Numbers of rows and of elements in each. */
const lengths = (p: NormAttributes, shape: Shape): [number, number] => {
  const D = sizeOf(tail(shape, p.axes));
  return [D === 0 ? 0 : sizeOf(shape) / D, D];
};
const eps = (p: NormAttributes): number[] => [f32Bits(p.eps)];

interface Normalisation {
  /** gamma (x - mean) / sqrt(variance + eps) + beta, for operands [x, gamma?, beta?]. */
  readonly op: Custom;
  /** The same in terms of other ops. */
  readonly definition: Definition;
}

function normalisation(name: string, centred: boolean, statisticsTex: string): Normalisation {
  const centre = (t: Tensor, axes: number[]): Tensor => centred ? t.sub(t.mean(axes, { keepdim: true })) : t;
  /** Normalised rows and 1 / standard deviation. */
  const standardised = (x: Tensor, p: NormAttributes): [Tensor, Tensor, number[]] => {
    const axes = lastAxes(p.axes), c = centre(x, axes);
    const r = c.square().mean(axes, { keepdim: true }).add(p.eps).sqrt().reciprocal();
    return [c.mul(r), r, axes];
  };
  const definition: Definition = (x, p: NormAttributes) => {
    let y = standardised(x[0], p)[0], at = 1;
    if (p.weight) y = y.mul(x[at++]);
    return p.bias ? y.add(x[at]) : y;
  };
  const gradDefinition: Definition = ([g, x], p) => {
    const [y, r, axes] = standardised(x, p);
    return centre(g, axes).sub(y.mul(g.mul(y).mean(axes, { keepdim: true }))).mul(r);
  };
  const bare = (p: NormAttributes): NormAttributes => ({ ...p, weight: false, bias: false });

  const op: Custom = custom({
    name,
    tex: ([x, ...rest], p) =>
      `${p.weight ? rest[0] : ""} ${statisticsTex.replaceAll("x", x)}${
        p.bias ? ` + ${rest[rest.length - 1]}` : ""
      }`,
    // With \hat{x} for the normalised row and the cotangent g of that.
    texPullbacks: ([x, ...rest], y, p) => {
      const g = p.weight ? `\\bar{${y}}\\,${rest[0]}` : `\\bar{${y}}`, hat = `\\hat{${x}}`;
      const inner = `${
        centred ? `g - \\operatorname{mean} g` : "g"
      } - ${hat} \\operatorname{mean}(g\\,${hat})`;
      const below = /\\sqrt\{.*\}(?=\}$)/.exec(statisticsTex)![0].replaceAll("x", x);
      return [
        `\\frac{${inner}}{${below}}, \\; g = ${g}`,
        ...p.weight ? [`\\sum ${hat}\\,\\bar{${y}}`] : [],
        ...p.bias ? [`\\sum \\bar{${y}}`] : [],
      ];
    },
    infer: ([x, ...rest], p) => {
      const shape = tail(x.shape, p.axes);
      for (const a of rest) {
        if (a.dtype !== x.dtype || !sameShape(a.shape, shape)) {
          throw new RangeError(
            `Cannot ${name} a tensor of shape ${
              showShape(x.shape)
            }, ${x.dtype} with a scale or shift of shape ${showShape(a.shape)}, ${a.dtype}: it must be ${
              showShape(shape)
            }, ${x.dtype}`,
          );
        }
      }
      return { shape: x.shape, dtype: x.dtype };
    },
    host: ([x, ...rest], y, p: NormAttributes) => {
      const D = sizeOf(tail(x.shape, p.axes));
      const weight = p.weight ? rest[0].data : null, bias = p.bias ? rest[rest.length - 1].data : null;
      for (let at = 0; at < y.data.length; at += D) {
        const [mean, r] = statistics(x, at, D, p.eps, centred);
        for (let j = 0; j < D; j++) {
          const z = (x.data[at + j] - mean) * r;
          y.data[at + j] = (weight === null ? z : z * weight[j]) + (bias === null ? 0 : bias[j]);
        }
      }
    },
    wgsl: rowsKernel(lengths, eps, (style, p: NormAttributes) => {
      const { loop, read, write } = style, shift = p.bias ? ` + ${read(p.weight ? 2 : 1, "j")}` : "";
      const z = `(${read(0, "at + j")} - mean) * r${p.weight ? ` * ${read(1, "j")}` : ""}${shift}`;
      return `${statisticsWgsl(style, 0, centred)} ${loop(write(z))}`;
    }),
    definition,
    flops: ([x]) => 8 * sizeOf(x.shape),
    vjp: (ct, { x: [x, ...rest], p, needs }) => {
      const out: (Tensor | null)[] = [
        needs[0] ? apply(grad, [p.weight ? ct.mul(rest[0]) : ct, x], bare(p)) : null,
      ];
      if (p.weight) {
        const y = needs[1] ? apply(op, [wide(x)], bare(p)) : null;
        out.push(y === null ? null : sumIn(wide(ct).mul(y), rest[0].shape, rest[0]));
      }
      const shift = rest[rest.length - 1];
      if (p.bias) out.push(needs[needs.length - 1] ? sumIn(wide(ct), shift.shape, shift) : null);
      return out;
    },
    jvp: (dx, { x: [x, ...rest], y, p }) => {
      const terms: Tensor[] = [];
      if (dx[0] !== null) {
        const d = apply(grad, [dx[0], x], bare(p));
        terms.push(p.weight ? d.mul(rest[0]) : d);
      }
      if (p.weight && dx[1] !== null) terms.push(apply(op, [x], bare(p)).mul(dx[1]));
      if (p.bias && dx[dx.length - 1] !== null) terms.push(dx[dx.length - 1]!.expand(y.shape));
      return terms.length === 0 ? null : terms.reduce((a, b) => a.add(b));
    },
    batch: ([x, ...rest], batched, p: NormAttributes, B) => {
      if (!batched.slice(1).includes(true)) return apply(op, [x, ...rest], p);
      const lead = x.rank - p.axes - (batched[0] ? 1 : 0);
      // Scales of their own for each element: [B, 1, ..., tail].
      const along = (i: number): Tensor =>
        batched[i + 1] ? rest[i].reshape([B, ...Array(lead).fill(1), ...rest[i].shape.slice(1)]) : rest[i];
      let y = apply(op, [x], bare(p)), at = 0;
      if (p.weight) y = y.mul(along(at++));
      return p.bias ? y.add(along(at)) : y;
    },
  });

  // The Jacobian of a row is symmetric, so its transpose is itself, and it is its own pushforward.
  const grad: Custom = custom({
    name: `${name}Grad`,
    tex: ([g, x]) =>
      `\\left(\\tfrac{\\partial}{\\partial ${x}} \\left[${
        statisticsTex.replaceAll("x", x)
      }\\right]\\right) ${g}`,
    texPullbacks: ([, x], y) => [
      `\\left(\\tfrac{\\partial}{\\partial ${x}} \\left[${
        statisticsTex.replaceAll("x", x)
      }\\right]\\right) \\bar{${y}}`,
      `\\left(\\tfrac{\\partial ${y}}{\\partial ${x}}\\right)^\\top \\bar{${y}}`,
    ],
    infer: ([g]) => ({ shape: g.shape, dtype: g.dtype }),
    host: ([g, x], y, p: NormAttributes) => {
      const D = sizeOf(tail(x.shape, p.axes));
      for (let at = 0; at < y.data.length; at += D) {
        const [mean, r] = statistics(x, at, D, p.eps, centred);
        let level = 0, along = 0;
        for (let j = 0; j < D; j++) {
          level += g.data[at + j];
          along += g.data[at + j] * (x.data[at + j] - mean) * r;
        }
        level = centred ? level / D : 0;
        along /= D;
        for (let j = 0; j < D; j++) {
          y.data[at + j] = r * (g.data[at + j] - level - (x.data[at + j] - mean) * r * along);
        }
      }
    },
    wgsl: rowsKernel(lengths, eps, (style) => {
      const { loop, read, write, type } = style, g = read(0, "at + j"), x = read(1, "at + j");
      return `${statisticsWgsl(style, 1, centred)}
        var levels = ${type}(); var parts = ${type}();
        ${loop(`let g = ${g}; levels += g; parts += g * (${x} - mean) * r;`)}
        let level = ${
        centred ? "total(lid, levels) / f32(D)" : "0.0"
      }; let along = total(lid, parts) / f32(D);
        ${loop(write(`r * (${g} - level - (${x} - mean) * r * along)`))}`;
    }),
    definition: gradDefinition,
    flops: ([g]) => 14 * sizeOf(g.shape),
    vjp: (ct, c) => [
      c.needs[0] ? apply(grad, [ct, c.x[1]], c.p) : null,
      vjpOf(gradDefinition)(ct, { ...c, needs: [false, c.needs[1]] })[1],
    ],
    jvp: ([dg, dx], c) => {
      const first = dg === null ? null : apply(grad, [dg, c.x[1]], c.p);
      const second = dx === null ? null : jvpOf(gradDefinition)([null, dx], c)!;
      return first === null ? second : second === null ? first : first.add(second);
    },
    batch: (x, batched, p, B) => apply(grad, allBatched(x, batched, B), p),
  });

  return { op, definition };
}

/** gamma (x - mean) / sqrt(variance + eps) + beta: Ba, Kiros and Hinton (2016), "Layer normalization". */
export const layerNorm: Normalisation = normalisation(
  "layerNorm",
  true,
  `\\frac{x - \\mu}{\\sqrt{\\sigma^2 + \\epsilon}}`,
);

/** gamma x / sqrt(mean(x^2) + eps): Zhang and Sennrich (2019), "Root mean square layer normalization". */
export const rmsNorm: Normalisation = normalisation(
  "rmsNorm",
  false,
  `\\frac{x}{\\sqrt{\\operatorname{mean} x^2 + \\epsilon}}`,
);
