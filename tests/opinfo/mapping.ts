/**
 * PyTorch's names as calls of ours, one line each: `op` where we have the op, `spelled` where it takes several of ours.
 * A line names the arguments that we support; a sample that gives any other one is skipped and says so.
 */
import {
  adaptiveAvgPool1d,
  adaptiveAvgPool2d,
  adaptiveAvgPool3d,
  type AdaptiveMaxPool,
  adaptiveMaxPool1d,
  adaptiveMaxPool2d,
  adaptiveMaxPool3d,
  arange,
  atleast1d,
  atleast2d,
  atleast3d,
  avgPool1d,
  avgPool2d,
  avgPool3d,
  batchNorm,
  bceLoss,
  bceWithLogits,
  blockDiag,
  broadcastTensors,
  cartesianProd,
  cat,
  columnStack,
  combinations,
  conv1d,
  conv2d,
  conv3d,
  convTranspose1d,
  convTranspose2d,
  convTranspose3d,
  cosineEmbeddingLoss,
  cosineSimilarity,
  crossEntropy,
  dstack,
  einsum,
  embedding,
  embeddingBag,
  eye,
  full,
  gaussianNllLoss,
  gelu,
  gridSample,
  groupNorm,
  hingeEmbeddingLoss,
  hstack,
  huberLoss,
  instanceNorm,
  interpolate,
  type InterpolateMode,
  klDiv,
  l1Loss,
  layerNorm,
  linspace,
  localResponseNorm,
  logspace,
  marginRankingLoss,
  type MaxPool,
  maxPool1d,
  maxPool2d,
  maxPool3d,
  type MaxUnpool,
  maxUnpool1d,
  maxUnpool2d,
  maxUnpool3d,
  meshgrid,
  mseLoss,
  multilabelMarginLoss,
  multilabelSoftMarginLoss,
  multiMarginLoss,
  nllLoss,
  normalize,
  ones,
  poissonNllLoss,
  type Pooled,
  type ReduceOptions,
  rmsNorm,
  scaledDotProductAttention,
  searchsorted,
  smoothL1Loss,
  softMarginLoss,
  split,
  stack,
  type SumOptions,
  Tensor,
  tensor,
  type TrapezoidOptions,
  trilIndices,
  tripletMarginLoss,
  triuIndices,
  unfold,
  vstack,
  where,
  zeros,
} from "../../mod.ts";
import type { IndexKey } from "../../mod.ts";
import type { DType } from "../../ops/dtype.ts";
import { type Mapped, type Named, only, op, spelled } from "./bind.ts";
import type { Argument } from "./fixtures.ts";
import { linearAlgebra } from "./mapping_linalg.ts";

const unary = (f: (x: Tensor) => Tensor): Mapped => op("x", ({ x }) => f(x));
const binary = (f: (x: Tensor, y: Tensor | number) => Tensor): Mapped =>
  op("x, other", ({ x, other }) => f(x, other));
/** `polygamma(n, x)`, which samples give as (x, n). */
const polygamma = op("x, n", ({ x, n }) => x.polygamma(n));
/** The result for a Python number in front of a tensor. */
const reflected = (f: (x: Tensor, y: Tensor) => Tensor): Mapped =>
  spelled(
    "x, other",
    ({ x, other }) => f(typeof other === "number" ? tensor(other, { dtype: x.dtype }) : other, x),
  );

/** Elements and where they stand, as PyTorch's pair. */
const both = ({ values, indices }: Pair): Tensor[] => [values, indices];
type Pair = { values: Tensor; indices: Tensor };
const found = (f: (x: Tensor, axis: number, o: ReduceOptions) => Pair): Mapped =>
  op("x, dim, keepdim", ({ x, dim, ...o }) => both(f(x, dim ?? -1, o)));
const foundOrOne = (f: (x: Tensor, axis: number | undefined, o: ReduceOptions) => Pair | Tensor): Mapped =>
  op("x, dim, keepdim", ({ x, dim, ...o }) => {
    const y = f(x, dim, o);
    return y instanceof Tensor ? y : both(y);
  });

/** An integral by the trapezoidal rule. */
const trapezoidal = (f: (y: Tensor, o: TrapezoidOptions) => Tensor): Mapped =>
  op("y, x, dx, dim", ({ y, dim, ...o }) => f(y, dim === undefined ? o : { ...o, axis: dim }));

/** A sum over `dim`, computed in `dtype`. */
const summing = (f: (x: Tensor, axes: number | number[] | undefined, o: SumOptions) => Tensor): Mapped =>
  op("x, dim, keepdim, dtype", ({ x, dim, ...options }) => f(x, all(dim), options));
/** A reduction over `dim`. */
const reduction = (
  f: (x: Tensor, axes: number | number[] | undefined, o: { keepdim: boolean }) => Tensor,
): Mapped => op("x, dim, keepdim", ({ x, dim, keepdim = false }) => f(x, all(dim), { keepdim }));
/** No axis named is all of them to PyTorch, and none to us. */
const all = (dim: number | number[] | undefined): number | number[] | undefined =>
  Array.isArray(dim) && dim.length === 0 ? undefined : dim;

/** `var` and `std`, whose `unbiased` is a correction of 1 or 0. */
const spread = (f: (x: Tensor, axes: number | number[] | undefined, o: Named) => Tensor | Tensor[]) =>
  op("x, dim, unbiased, keepdim, correction", ({ x, dim, unbiased, keepdim = false, correction }) => {
    if (typeof dim === "boolean") [dim, unbiased] = [undefined, dim]; // var(x, unbiased)
    return f(x, all(dim), { keepdim, correction: correction ?? (unbiased === false ? 0 : 1) });
  });

const number = (x: Argument, what: string): number => {
  only(typeof x === "number", `${what} as a tensor`);
  return x;
};
/** Axis lengths, given as a list or one by one. */
const lengths = (name: string, f: (x: Tensor, shape: number[]) => Tensor): Mapped => ({
  spelled: false,
  call: ([x, ...rest], kwargs) => {
    const shape = kwargs[name] ?? (Array.isArray(rest[0]) ? rest[0] : rest);
    return f(x, shape);
  },
});
const cast = (dtype: DType): Mapped => op("x", ({ x }) => x.to(dtype));

/** A vector norm; "fro" is Frobenius'. */
const vectorNorm = (
  x: Tensor,
  ord: Argument,
  axes: number | number[] | undefined,
  keepdim = false,
): Tensor => {
  only(ord !== "nuc", "nuclear norm");
  return x.norm(axes, { keepdim, p: ord === undefined || ord === "fro" ? 2 : ord });
};

/** Python's `x[...]`. */
function index(x: Tensor, key: Argument): Tensor {
  // A list of numbers alone is a list of places, else the keys of the axes.
  const isList = Array.isArray(key) && key.every((k) => typeof k === "number");
  return x.index(...(isList || !Array.isArray(key) ? [key] : key).map(keyOf));
}
function keyOf(k: Argument): IndexKey {
  only(!(k instanceof Tensor && k.dtype === "bool"), "index by a mask");
  if (Array.isArray(k)) return Int32Array.from(k);
  if (k?.ellipsis) return "...";
  return k instanceof Tensor || !k?.slice ? k : range(k.slice);
}
const range = ([start, stop, step]: (number | null)[]): [number | null, number | null, number] => [
  start,
  stop,
  step ?? 1,
];

/** Lengths to pad by, last axis first, as axes in order. */
const padding = (pad: number[]): [number, number][] => {
  return Array.from({ length: pad.length / 2 }, (_, i) => [pad[2 * i], pad[2 * i + 1]] as [number, number])
    .reverse();
};

/** A loss of predictions against targets with these options, which PyTorch writes with underlines. */
const pairLoss = (options: string, f: (x: Tensor, target: Tensor, o: Named) => Tensor): Mapped =>
  op(`x, target, reduction, ${options}`, ({ x, target, ...named }) => {
    const camel = (name: string): string => name.replace(/_([a-z])/g, (_, c) => c.toUpperCase());
    return f(x, target, Object.fromEntries(Object.entries(named).map(([k, v]) => [camel(k), v])));
  });
/** Classes are PyTorch's axis 1; without a batch, axis 0. */
const classesSecond = (x: Tensor, o: Named): Named => ({ ...o, axis: x.rank > 1 ? 1 : 0 });

const padded = op(
  "x, pad, mode, value",
  ({ x, pad, mode = "constant", value = 0 }) => x.pad(padding(pad), { mode, value }),
);
const scattered = op(
  "x, dim, index, src, reduce, include_self",
  ({ x, dim, index, src, reduce, include_self }) =>
    x.scatterReduce(dim, index, src, reduce, { includeSelf: include_self ?? true }),
);
const reducedSlices = op(
  "x, dim, index, source, reduce, include_self",
  ({ x, dim, index, source, reduce, include_self }) =>
    x.indexReduce(dim, index, source, reduce, { includeSelf: include_self ?? true }),
);
/** Any number of tensors. */
const variadic = (f: (...tensors: Tensor[]) => Tensor | Tensor[]): Mapped => ({
  spelled: false,
  call: (args) => f(...args),
});
/** One tensor or a list of them. */
const oneOrAll = (f: (x: Tensor) => Tensor): Mapped => op("x", ({ x }) => Array.isArray(x) ? x.map(f) : f(x));

const newLike = "x, dtype, device"; // the result's type is compared

type Conv = (x: Tensor, weight: Tensor, o: Named) => Tensor;
const conv = (f: Conv): Mapped =>
  op(
    "x, weight, bias, stride, padding, dilation, groups",
    ({ x, weight, ...options }) => f(x, weight, options),
  );
const convTranspose = (f: Conv): Mapped =>
  op(
    "x, weight, bias, stride, padding, output_padding, groups, dilation",
    ({ x, weight, output_padding: outputPadding = 0, ...options }) =>
      f(x, weight, { ...options, outputPadding }),
  );

/** A maximum pool, with its places where a sample asks for them. */
const pooled = ({ values, indices }: Pooled): Tensor[] => [values, indices];
const maxPool = (f: MaxPool): Mapped =>
  op(
    "x, kernel_size, stride, padding, dilation, ceil_mode, return_indices",
    ({ x, kernel_size: kernel, ceil_mode: ceilMode, return_indices: returnIndices = false, ...rest }) => {
      const options = given({ ...rest, ceilMode });
      return returnIndices
        ? pooled(f(x, kernel, { ...options, returnIndices: true }))
        : f(x, kernel, options);
    },
  );
const maxUnpool = (f: MaxUnpool): Mapped =>
  op(
    "x, indices, kernel_size, stride, padding, output_size",
    ({ x, indices, kernel_size: kernel, stride, padding, output_size: size }) =>
      f(x, indices, kernel, given({ stride, padding, outputSize: size?.slice(2) })),
  );
const adaptiveMaxPool = (f: AdaptiveMaxPool): Mapped =>
  op(
    "x, size, return_indices",
    ({ x, size, return_indices: returnIndices = false }) =>
      returnIndices ? pooled(f(x, size, { returnIndices: true })) : f(x, size),
  );
const avgPool = (f: (x: Tensor, kernel: number | number[], o: Named) => Tensor): Mapped =>
  op(
    "x, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override",
    ({ x, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override }) =>
      f(
        x,
        kernel,
        given({
          stride,
          padding,
          ceilMode: ceil_mode,
          countIncludePad: count_include_pad,
          divisorOverride: divisor_override,
        }),
      ),
  );
const resample = (mode?: InterpolateMode, alignCorners?: boolean): Mapped =>
  (mode === undefined ? op : spelled)(
    "x, size, scale_factor, mode, align_corners, recompute_scale_factor",
    ({ x, size, scale_factor, align_corners, recompute_scale_factor, ...named }) =>
      interpolate(
        x,
        given({
          size,
          scaleFactor: scale_factor,
          mode: mode ?? named.mode,
          alignCorners: alignCorners ?? align_corners,
          recomputeScaleFactor: recompute_scale_factor,
        }),
      ),
  );
/** Options without those that a sample does not give. */
const given = (options: Named): Named =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));

/** The table. */
export const mapping: Record<string, Mapped> = {
  ...linearAlgebra,

  // ---- arithmetic
  "add": op("x, other", ({ x, other }) => x.add(other)),
  "sub": op("x, other", ({ x, other }) => x.sub(other)),
  "mul": binary((x, y) => x.mul(y)),
  "div/no_rounding_mode": op("x, other, rounding_mode", ({ x, other }) => x.div(other)),
  "true_divide": binary((x, y) => x.div(y)),
  "div/floor_rounding": op(
    "x, other, rounding_mode",
    ({ x, other, rounding_mode }) => x.div(other, { rounding: rounding_mode }),
  ),
  "div/trunc_rounding": op(
    "x, other, rounding_mode",
    ({ x, other, rounding_mode }) => x.div(other, { rounding: rounding_mode }),
  ),
  "floor_divide": binary((x, y) => x.floorDivide(y)),
  "remainder": binary((x, y) => x.remainder(y)),
  "pow": binary((x, y) => x.pow(y)),
  "float_power": binary((x, y) => x.floatPower(y)),
  "fmod": binary((x, y) => x.fmod(y)),
  "hypot": binary((x, y) => x.hypot(y)),
  "atan2": binary((x, y) => x.atan2(y)),
  "copysign": binary((x, y) => x.copysign(y)),
  "logaddexp": binary((x, y) => x.logaddexp(y)),
  "logaddexp2": binary((x, y) => x.logaddexp2(y)),
  "xlogy": binary((x, y) => x.xlogy(y)),
  "special.xlog1py": binary((x, y) => x.xlog1py(y)),
  "ldexp": binary((x, y) => x.ldexp(y)),
  "fmax": binary((x, y) => x.fmax(y)),
  "fmin": binary((x, y) => x.fmin(y)),
  "heaviside": binary((x, y) => x.heaviside(y)),
  "lerp": op("x, end, weight", ({ x, end, weight }) => x.lerp(end, weight)),
  "addcmul": op("x, a, b, value", ({ x, a, b, value }) => x.addcmul(a, b, value)),
  "addcdiv": op("x, a, b, value", ({ x, a, b, value }) => x.addcdiv(a, b, value)),
  "nan_to_num": op(
    "x, nan, posinf, neginf",
    ({ x, nan, posinf, neginf }) => x.nanToNum(nan, posinf, neginf),
  ),
  "maximum": binary((x, y) => x.maximum(y)),
  "minimum": binary((x, y) => x.minimum(y)),
  "max/binary": binary((x, y) => x.maximum(y)),
  "min/binary": binary((x, y) => x.minimum(y)),
  "__radd__": reflected((x, y) => x.add(y)),
  "__rmul__": reflected((x, y) => x.mul(y)),
  "__rsub__": reflected((x, y) => x.sub(y)),
  "rsub": reflected((x, y) => x.sub(y)),
  "__rdiv__": reflected((x, y) => x.div(y)),
  "__rmod__": reflected((x, y) => x.remainder(y)),
  "__rpow__": reflected((x, y) => x.pow(y)),
  "where": op("x, condition, other", ({ x, condition, other }) => where(condition, x, other)),
  "masked_fill": op("x, mask, value", ({ x, mask, value }) => x.maskedFill(mask, value)),
  "clamp": op("x, min, max", ({ x, min, max }) => x.clamp(min, max)),
  "clamp_min": op("x, min", ({ x, min }) => x.clamp(min)),
  "clamp_max": op("x, max", ({ x, max }) => x.clamp(undefined, max)),

  // ---- comparisons
  "eq": binary((x, y) => x.eq(y)),
  "ne": binary((x, y) => x.ne(y)),
  "lt": binary((x, y) => x.lt(y)),
  "le": binary((x, y) => x.le(y)),
  "gt": binary((x, y) => x.gt(y)),
  "ge": binary((x, y) => x.ge(y)),
  "logical_not": unary((x) => x.logicalNot()),
  "logical_and": op("x, other", ({ x, other }) => x.logicalAnd(other)),
  "logical_or": op("x, other", ({ x, other }) => x.logicalOr(other)),
  "logical_xor": op("x, other", ({ x, other }) => x.logicalXor(other)),
  "isnan": unary((x) => x.isnan()),
  "isinf": unary((x) => x.isinf()),
  "isposinf": unary((x) => x.isposinf()),
  "isneginf": unary((x) => x.isneginf()),
  "signbit": unary((x) => x.signbit()),
  "isclose": op(
    "x, other, rtol, atol, equal_nan",
    ({ x, other, rtol, atol, equal_nan }) => x.isclose(other, { rtol, atol, equalNan: equal_nan }),
  ),
  "isfinite": unary((x) => x.isfinite()),

  // ---- functions
  "abs": unary((x) => x.abs()),
  "neg": unary((x) => x.neg()),
  "sign": unary((x) => x.sign()),
  "sgn": unary((x) => x.sign()),
  "floor": unary((x) => x.floor()),
  "ceil": unary((x) => x.ceil()),
  "trunc": unary((x) => x.trunc()),
  "frac": unary((x) => x.frac()),
  "round": unary((x) => x.round()),
  "round/decimals_0": op("x, decimals", ({ x, decimals }) => x.round(decimals)),
  "round/decimals_3": op("x, decimals", ({ x, decimals }) => x.round(decimals)),
  "round/decimals_neg_3": op("x, decimals", ({ x, decimals }) => x.round(decimals)),
  "square": unary((x) => x.square()),
  "sqrt": unary((x) => x.sqrt()),
  "reciprocal": unary((x) => x.reciprocal()),
  "exp": unary((x) => x.exp()),
  "log": unary((x) => x.log()),
  "sin": unary((x) => x.sin()),
  "cos": unary((x) => x.cos()),
  "tanh": unary((x) => x.tanh()),
  "sigmoid": unary((x) => x.sigmoid()),
  "rsqrt": unary((x) => x.rsqrt()),
  "exp2": unary((x) => x.exp2()),
  "expm1": unary((x) => x.expm1()),
  "log1p": unary((x) => x.log1p()),
  "log2": unary((x) => x.log2()),
  "log10": unary((x) => x.log10()),
  "tan": unary((x) => x.tan()),
  "asin": unary((x) => x.asin()),
  "acos": unary((x) => x.acos()),
  "atan": unary((x) => x.atan()),
  "sinh": unary((x) => x.sinh()),
  "cosh": unary((x) => x.cosh()),
  "asinh": unary((x) => x.asinh()),
  "acosh": unary((x) => x.acosh()),
  "atanh": unary((x) => x.atanh()),
  "deg2rad": unary((x) => x.deg2rad()),
  "rad2deg": unary((x) => x.rad2deg()),
  "erf": unary((x) => x.erf()),
  "erfc": unary((x) => x.erfc()),
  "erfinv": unary((x) => x.erfinv()),
  "lgamma": unary((x) => x.lgamma()),
  "digamma": unary((x) => x.digamma()),
  "polygamma/polygamma_n_0": polygamma,
  "polygamma/polygamma_n_1": polygamma,
  "polygamma/polygamma_n_2": polygamma,
  "polygamma/polygamma_n_3": polygamma,
  "polygamma/polygamma_n_4": polygamma,
  "special.polygamma/special_polygamma_n_0": polygamma,
  "logit": op("x, eps", ({ x, eps }) => x.logit(eps)),
  "sinc": unary((x) => x.sinc()),
  "nn.functional.relu": unary((x) => x.relu()),
  "nn.functional.silu": unary((x) => x.silu()),
  "nn.functional.mish": unary((x) => x.mish()),
  "nn.functional.logsigmoid": unary((x) => x.logSigmoid()),
  "nn.functional.softplus": op(
    "x, beta, threshold",
    ({ x, beta, threshold }) => x.softplus({ beta, threshold }),
  ),
  "nn.functional.elu": op("x, alpha", ({ x, alpha }) => x.elu(alpha)),
  "nn.functional.celu": op("x, alpha", ({ x, alpha }) => x.celu(alpha)),
  "nn.functional.selu": unary((x) => x.selu()),
  "nn.functional.gelu": op("x, approximate", ({ x, approximate }) => gelu(x, { approximate })),
  "nn.functional.leaky_relu": op("x, slope", ({ x, slope }) => x.leakyRelu(slope)),
  "nn.functional.prelu": op("x, weight", ({ x, weight }) => x.prelu(weight)),
  "nn.functional.relu6": unary((x) => x.relu6()),
  "nn.functional.hardtanh": op(
    "x, min_val, max_val",
    ({ x, min_val, max_val }) => x.hardtanh(min_val, max_val),
  ),
  "nn.functional.hardsigmoid": unary((x) => x.hardsigmoid()),
  "nn.functional.hardswish": unary((x) => x.hardswish()),
  "nn.functional.softsign": unary((x) => x.softsign()),
  "nn.functional.tanhshrink": unary((x) => x.tanhshrink()),
  "nn.functional.softshrink": op("x, lambd", ({ x, lambd }) => x.softshrink(lambd)),
  "nn.functional.hardshrink": op("x, lambd", ({ x, lambd }) => x.hardshrink(lambd)),
  "nn.functional.threshold": op(
    "x, threshold, value",
    ({ x, threshold, value }) => x.threshold(threshold, value),
  ),
  "nn.functional.glu": op("x, dim", ({ x, dim }) => x.glu(dim)),
  "float": cast("f32"),
  "half": cast("f16"),
  "int": cast("i32"),
  "long": cast("i32"),
  "bool": cast("bool"),
  "double": op("x", ({ x }) => {
    only(x.device === "host", "f64 on WebGPU");
    return x.to("f64");
  }),

  // ---- reductions
  "sum": summing((x, axes, o) => x.sum(axes, o)),
  "mean": summing((x, axes, o) => x.mean(axes, o)),
  "prod": summing((x, axes, o) => x.prod(axes, o)),
  "nansum": summing((x, axes, o) => x.nansum(axes, o)),
  "nanmean": summing((x, axes, o) => x.nanmean(axes, o)),
  "amax": reduction((x, axes, o) => x.amax(axes, o)),
  "amin": reduction((x, axes, o) => x.amin(axes, o)),
  "any": reduction((x, axes, o) => x.any(axes, o)),
  "all": reduction((x, axes, o) => x.all(axes, o)),
  "logsumexp": reduction((x, axes, o) => x.logsumexp(axes, o)),
  "max/reduction_no_dim": unary((x) => x.amax()),
  "min/reduction_no_dim": unary((x) => x.amin()),
  "max/reduction_with_dim": found((x, axis, o) => x.max(axis, o)),
  "min/reduction_with_dim": found((x, axis, o) => x.min(axis, o)),
  "median": foundOrOne((x, axis, o) => axis === undefined ? x.median() : x.median(axis, o)),
  "nanmedian": foundOrOne((x, axis, o) => axis === undefined ? x.nanmedian() : x.nanmedian(axis, o)),
  "mode": found((x, axis, o) => x.mode(axis, o)),
  "kthvalue": op("x, k, dim, keepdim", ({ x, k, dim, ...o }) => both(x.kthvalue(k, dim, o))),
  "topk": op("x, k, dim, largest, sorted", ({ x, k, dim, largest }) => both(x.topk(k, dim, { largest }))),
  "quantile": op("x, q, dim, keepdim, interpolation", ({ x, q, dim, ...o }) => x.quantile(q, dim, o)),
  "nanquantile": op("x, q, dim, keepdim, interpolation", ({ x, q, dim, ...o }) => x.nanquantile(q, dim, o)),
  "cummax": op("x, dim", ({ x, dim }) => both(x.cummax(dim))),
  "cummin": op("x, dim", ({ x, dim }) => both(x.cummin(dim))),
  "logcumsumexp": op("x, dim", ({ x, dim }) => x.logcumsumexp(dim)),
  "searchsorted": op(
    "sorted, values, out_int32, right, side, sorter",
    ({ sorted, values, right, side, sorter }) => searchsorted(sorted, values, { right, side, sorter }),
  ),
  "bucketize": op(
    "x, boundaries, out_int32, right",
    ({ x, boundaries, right }) => x.bucketize(boundaries, { right }),
  ),
  "isin": op("x, elements", ({ x, elements }) => x.isin(elements)),
  "count_nonzero": op("x, dim", ({ x, dim }) => x.countNonzero(all(dim))),
  "aminmax": op("x, dim, keepdim", ({ x, dim, ...o }) => {
    const { min, max } = x.aminmax(dim, o);
    return [min, max];
  }),
  "var": spread((x, axes, o) => x.variance(axes, o)),
  "var/unbiased": spread((x, axes, o) => x.variance(axes, o)),
  "std": spread((x, axes, o) => x.std(axes, o)),
  "std/unbiased": spread((x, axes, o) => x.std(axes, o)),
  "var_mean": {
    ...spread((x, axes, o) => [x.variance(axes, o), x.mean(axes, { keepdim: o.keepdim })]),
    spelled: true,
  },
  "var_mean/unbiased": {
    ...spread((x, axes, o) => [x.variance(axes, o), x.mean(axes, { keepdim: o.keepdim })]),
    spelled: true,
  },
  "std_mean": {
    ...spread((x, axes, o) => [x.std(axes, o), x.mean(axes, { keepdim: o.keepdim })]),
    spelled: true,
  },
  "std_mean/unbiased": {
    ...spread((x, axes, o) => [x.std(axes, o), x.mean(axes, { keepdim: o.keepdim })]),
    spelled: true,
  },
  "norm": op("x, p, dim, keepdim", ({ x, p, dim, keepdim }) => vectorNorm(x, p, all(dim), keepdim)),
  "norm/fro": op("x, p, dim, keepdim", ({ x, p, dim, keepdim }) => vectorNorm(x, p, all(dim), keepdim)),
  "norm/inf": op("x, p, dim, keepdim", ({ x, p, dim, keepdim }) => vectorNorm(x, p, all(dim), keepdim)),
  "softmax": op("x, dim, dtype", ({ x, dim, dtype }) => x.softmax(dim, { dtype })),
  "softmax/with_dtype": op("x, dim, dtype", ({ x, dim, dtype }) => x.softmax(dim, { dtype })),
  "log_softmax": op("x, dim, dtype", ({ x, dim, dtype }) => x.logSoftmax(dim, { dtype })),
  "log_softmax/with_dtype": op("x, dim, dtype", ({ x, dim, dtype }) => x.logSoftmax(dim, { dtype })),
  "argmax": op("x, dim, keepdim", ({ x, dim, ...o }) => x.argmax(dim, o)),
  "argmin": op("x, dim, keepdim", ({ x, dim, ...o }) => x.argmin(dim, o)),
  "cumsum": op("x, dim, dtype", ({ x, dim, ...o }) => x.cumsum(dim, o)),
  "cumprod": op("x, dim, dtype", ({ x, dim, ...o }) => x.cumprod(dim, o)),
  "argsort": op("x, dim, descending, stable", ({ x, dim, descending }) => x.argsort(dim, { descending })),
  "sort": op("x, dim, descending, stable", ({ x, dim, descending }) => {
    const { values, indices } = x.sort(dim, { descending });
    return [values, indices];
  }),
  "msort": unary((x) => x.msort()),

  "nn.functional.softmin": op("x, dim, dtype", ({ x, dim, ...o }) => x.softmin(dim, o)),
  "nn.functional.softmin/with_dtype": op("x, dim, dtype", ({ x, dim, ...o }) => x.softmin(dim, o)),
  "diff": op("x, n, dim, prepend, append", ({ x, n, dim, ...o }) => x.diff(n, dim, o)),
  "trapezoid": trapezoidal((y, o) => y.trapezoid(o)),
  "trapz": trapezoidal((y, o) => y.trapezoid(o)),
  "cumulative_trapezoid": trapezoidal((y, o) => y.cumulativeTrapezoid(o)),
  "cov": op("x, correction, fweights, aweights", ({ x, ...o }) => x.cov(o)),
  "corrcoef": unary((x) => x.corrcoef()),
  "histc": op("x, bins, min, max", ({ x, bins, ...o }) => x.histc(bins, o)),

  // ---- what hangs on values
  "nonzero": op("x, as_tuple", async ({ x, as_tuple = false }) => {
    const places = await (as_tuple && x.rank === 0 ? x.reshape([1]) : x).nonzero();
    return as_tuple ? Array.from({ length: places.shape[1] }, (_, a) => places.select(1, a)) : places;
  }),
  "argwhere": spelled("x", ({ x }) => x.nonzero()),
  "masked_select": op("x, mask", ({ x, mask }) => x.maskedSelect(mask)),
  "unique": op("x, sorted, return_inverse, return_counts, dim", async ({ x, dim: axis, ...flags }) => {
    const { values, inverse, counts } = await x.unique({ axis });
    return [values, ...flags.return_inverse ? [inverse] : [], ...flags.return_counts ? [counts] : []];
  }),
  "unique_consecutive": op("x, return_inverse, return_counts, dim", async ({ x, dim: axis, ...flags }) => {
    const { values, inverse, counts } = await x.uniqueConsecutive({ axis });
    return [values, ...flags.return_inverse ? [inverse] : [], ...flags.return_counts ? [counts] : []];
  }),
  // Counts weighed by whole numbers are PyTorch's widest floats.
  "bincount": op(
    "x, weights, minlength",
    ({ x, weights, minlength }) =>
      x.bincount({ weights: weights?.to(x.device === "host" ? "f64" : "f32"), minlength }),
  ),

  // ---- movement
  "reshape": lengths("shape", (x, shape) => x.reshape(shape)),
  "view": lengths("shape", (x, shape) => x.reshape(shape)),
  "view_copy": lengths("size", (x, shape) => x.reshape(shape)),
  "reshape_as": op("x, other", ({ x, other }) => x.reshape(other.shape)),
  "view_as": op("x, other", ({ x, other }) => x.viewAs(other)),
  "permute": lengths("dims", (x, axes) => x.permute(axes)),
  "permute_copy": lengths("dims", (x, axes) => x.permute(axes)),
  "transpose": op("x, dim0, dim1", ({ x, dim0, dim1 }) => x.transpose(dim0, dim1)),
  "transpose_copy": op("x, dim0, dim1", ({ x, dim0, dim1 }) => x.transpose(dim0, dim1)),
  "mT": unary((x) => x.mT()),
  "mH": unary((x) => x.mT()),
  "t": spelled("x", ({ x }) => x.rank < 2 ? x.reshape(x.shape) : x.mT()),
  "t_copy": spelled("x", ({ x }) => x.rank < 2 ? x.reshape(x.shape) : x.mT()),
  "T": spelled("x", ({ x }) => x.permute(x.shape.map((_: number, i: number) => x.rank - 1 - i))),
  "H": spelled("x", ({ x }) => x.permute(x.shape.map((_: number, i: number) => x.rank - 1 - i))),
  "movedim": op("x, source, destination", ({ x, source, destination }) => x.movedim(source, destination)),
  "expand": lengths("size", (x, shape) => x.expand(shape)),
  "expand_copy": lengths("size", (x, shape) => x.expand(shape)),
  "broadcast_to": lengths("size", (x, shape) => x.broadcastTo(shape)),
  "expand_as": op("x, other", ({ x, other }) => x.expandAs(other)),
  "broadcast_tensors": { spelled: false, call: (args) => broadcastTensors(...args) },
  "sum_to_size": lengths("size", (x, shape) => x.sumTo(shape)),
  "unsqueeze": op("x, dim", ({ x, dim }) => x.unsqueeze(dim)),
  "unsqueeze_copy": op("x, dim", ({ x, dim }) => x.unsqueeze(dim)),
  "squeeze": op("x, dim", ({ x, dim }) => x.squeeze(dim)),
  "squeeze_copy": op("x, dim", ({ x, dim }) => x.squeeze(dim)),
  "squeeze/multiple": op("x, dim", ({ x, dim }) => x.squeeze(dim)),
  "flatten": op("x, start_dim, end_dim", ({ x, start_dim, end_dim }) => x.flatten(start_dim, end_dim)),
  "ravel": unary((x) => x.ravel()),
  "flip": op("x, dims", ({ x, dims }) => x.flip(dims)),
  "fliplr": unary((x) => x.fliplr()),
  "flipud": unary((x) => x.flipud()),
  "unflatten": op("x, dim, sizes", ({ x, dim, sizes }) => x.unflatten(dim, sizes)),
  "repeat": lengths("repeats", (x, times) => x.repeat(times)),
  "tile": lengths("dims", (x, times) => x.tile(times)),
  "repeat_interleave": op("x, repeats, dim, output_size", ({ x, repeats, dim }) => {
    only(typeof repeats === "number", "repeats as a tensor");
    return x.repeatInterleave(repeats, dim);
  }),
  "roll": op("x, shifts, dims", ({ x, shifts, dims }) => x.roll(shifts, dims)),
  "rot90": op("x, k, dims", ({ x, k, dims }) => x.rot90(k, dims)),
  "unfold": op("x, dim, size, step", ({ x, dim, size, step }) => x.unfold(dim, size, step)),
  "unfold_copy": op("x, dim, size, step", ({ x, dim, size, step }) => x.unfold(dim, size, step)),
  "nn.functional.pixel_shuffle": op(
    "x, upscale_factor",
    ({ x, upscale_factor }) => x.pixelShuffle(upscale_factor),
  ),
  "nn.functional.pixel_unshuffle": op(
    "x, downscale_factor",
    ({ x, downscale_factor }) => x.pixelUnshuffle(downscale_factor),
  ),
  "nn.functional.channel_shuffle": op("x, groups", ({ x, groups }) => x.channelShuffle(groups)),
  "narrow": op(
    "x, dim, start, length",
    ({ x, dim, start, length }) => x.narrow(dim, number(start, "start"), length),
  ),
  "narrow_copy": op(
    "x, dim, start, length",
    ({ x, dim, start, length }) => x.narrow(dim, number(start, "start"), length),
  ),
  "select": op("x, dim, index", ({ x, dim, index }) => x.select(dim, index)),
  "slice_scatter": op(
    "x, src, dim, start, end, step",
    ({ x, src, dim = 0, start = null, end = null, step = null }) =>
      x.sliceScatter(src, [...Array.from({ length: dim }, () => ":" as const), range([start, end, step])]),
  ),
  "slice": op(
    "x, dim, start, end, step",
    ({ x, dim = 0, start = null, end = null, step = null }) =>
      x.slice(...Array.from({ length: dim }, () => ":" as const), range([start, end, step])),
  ),
  "__getitem__": op("x, key", ({ x, key }) => index(x, key)),
  "constant_pad_nd": op("x, pad, value", ({ x, pad, value }) => x.pad(padding(pad), value)),
  "nn.functional.pad/constant": padded,
  "nn.functional.pad/reflect": padded,
  "nn.functional.pad/replicate": padded,
  "nn.functional.pad/replicate_negative": padded,
  "nn.functional.pad/circular": padded,
  "diagonal": op(
    "x, offset, dim1, dim2",
    ({ x, offset, dim1 = 0, dim2 = 1 }) => x.diagonal(offset, dim1, dim2),
  ),
  "diagonal_copy": op(
    "x, offset, dim1, dim2",
    ({ x, offset, dim1 = 0, dim2 = 1 }) => x.diagonal(offset, dim1, dim2),
  ),
  "linalg.diagonal": op(
    "x, offset, dim1, dim2",
    ({ x, offset, dim1, dim2 }) => x.diagonal(offset, dim1, dim2),
  ),
  "diag_embed": op("x, offset, dim1, dim2", ({ x, offset, dim1, dim2 }) => x.diagEmbed(offset, dim1, dim2)),
  "diag": op("x, diagonal", ({ x, diagonal }) => x.diag(diagonal)),
  "diagflat": op("x, offset", ({ x, offset }) => x.diagflat(offset)),
  "trace": unary((x) => x.trace()),
  "diagonal_scatter": op(
    "x, src, offset, dim1, dim2",
    ({ x, src, offset, dim1 = 0, dim2 = 1 }) => x.diagonalScatter(src, offset, dim1, dim2),
  ),
  "select_scatter": op("x, src, dim, index", ({ x, src, dim, index }) => x.selectScatter(src, dim, index)),
  "tril": op("x, diagonal", ({ x, diagonal }) => x.tril(diagonal)),
  "triu": op("x, diagonal", ({ x, diagonal }) => x.triu(diagonal)),
  "cat": op("tensors, dim", ({ tensors, dim }) => cat(tensors, dim)),
  "stack": op("tensors, dim", ({ tensors, dim }) => stack(tensors, dim)),
  "split": op("x, size, dim", ({ x, size, dim }) => split(x, size, dim)),
  "unsafe_split": op("x, size, dim", ({ x, size, dim }) => split(x, size, dim)),
  "split/list_args": op("x, size, dim", ({ x, size, dim }) => split(x, size, dim)),
  "split_with_sizes": op("x, size, dim", ({ x, size, dim }) => split(x, size, dim)),
  "split_with_sizes_copy": op("x, size, dim", ({ x, size, dim }) => split(x, size, dim)),
  "chunk": op("x, chunks, dim", ({ x, chunks, dim }) => x.chunk(chunks, dim)),
  "unsafe_chunk": op("x, chunks, dim", ({ x, chunks, dim }) => x.chunk(chunks, dim)),
  "unbind": op("x, dim", ({ x, dim }) => x.unbind(dim)),
  "unbind_copy": op("x, dim", ({ x, dim }) => x.unbind(dim)),
  "tensor_split": op("x, where, dim", ({ x, where, dim }) => {
    only(!(where instanceof Tensor), "places as a tensor");
    return x.tensorSplit(where, dim);
  }),
  "hsplit": op("x, where", ({ x, where }) => x.hsplit(where)),
  "vsplit": op("x, where", ({ x, where }) => x.vsplit(where)),
  "dsplit": op("x, where", ({ x, where }) => x.dsplit(where)),
  "hstack": op("tensors", ({ tensors }) => hstack(tensors)),
  "vstack": op("tensors", ({ tensors }) => vstack(tensors)),
  "dstack": op("tensors", ({ tensors }) => dstack(tensors)),
  "column_stack": op("tensors", ({ tensors }) => columnStack(tensors)),
  "atleast_1d": oneOrAll(atleast1d),
  "atleast_2d": oneOrAll(atleast2d),
  "atleast_3d": oneOrAll(atleast3d),
  "block_diag": variadic(blockDiag),
  "cartesian_prod": variadic(cartesianProd),
  "combinations": op(
    "x, r, with_replacement",
    ({ x, r, with_replacement }) => combinations(x, r, { withReplacement: with_replacement ?? false }),
  ),
  "meshgrid/list_of_tensors": op(
    "tensors, indexing",
    ({ tensors, indexing = "ij" }) => meshgrid(tensors, { indexing }),
  ),
  "meshgrid/variadic_tensors": {
    spelled: false,
    call: (tensors, { indexing = "ij" }) => meshgrid(tensors, { indexing }),
  },

  // ---- indexing
  "gather": op("x, dim, index", ({ x, dim, index }) => x.gather(dim, index)),
  "scatter_add": op("x, dim, index, src", ({ x, dim, index, src }) => x.scatterAdd(dim, index, src)),
  "index_select": op("x, dim, index", ({ x, dim, index }) => x.indexSelect(dim, index)),
  "index_add": op(
    "x, dim, index, source, alpha",
    ({ x, dim, index, source, alpha = 1 }) => x.indexAdd(dim, index, source, { alpha }),
  ),
  "index_copy": op("x, dim, index, source", ({ x, dim, index, source }) => x.indexCopy(dim, index, source)),
  "index_fill": op("x, dim, index, value", ({ x, dim, index, value }) => x.indexFill(dim, index, value)),
  "index_put": op(
    "x, indices, values, accumulate",
    ({ x, indices, values, accumulate = false }) => x.indexPut(indices.map(keyOf), values, { accumulate }),
  ),
  "index_reduce/amax": reducedSlices,
  "index_reduce/amin": reducedSlices,
  "index_reduce/mean": reducedSlices,
  "index_reduce/prod": reducedSlices,
  "take": op("x, index", ({ x, index }) => x.take(index)),
  "put": op(
    "x, index, source, accumulate",
    ({ x, index, source, accumulate = false }) => x.put(index, source, { accumulate }),
  ),
  "take_along_dim": op("x, index, dim", ({ x, index, dim }) => x.takeAlongDim(index, dim)),
  "scatter": op("x, dim, index, src", ({ x, dim, index, src }) => x.scatter(dim, index, src)),
  "scatter_reduce/sum": scattered,
  "scatter_reduce/prod": scattered,
  "scatter_reduce/mean": scattered,
  "scatter_reduce/amax": scattered,
  "scatter_reduce/amin": scattered,
  "masked_scatter": op("x, mask, source", ({ x, mask, source }) => x.maskedScatter(mask, source)),
  "nn.functional.one_hot": op("x, num_classes", ({ x, num_classes = -1 }) => {
    only(num_classes > 0, "number of classes from the data");
    return x.oneHot(num_classes, "i32");
  }),
  "nn.functional.embedding": op(
    "weight, ids, padding_idx",
    ({ weight, ids, padding_idx }) =>
      embedding(weight, ids, padding_idx === undefined ? {} : { paddingIdx: padding_idx }),
  ),
  "nn.functional.embedding_bag": op(
    "weight, ids, offsets, max_norm, norm_type, scale_grad_by_freq, mode, sparse, per_sample_weights, include_last_offset, padding_idx",
    ({ weight, ids, offsets, mode, per_sample_weights, include_last_offset, padding_idx }) =>
      embeddingBag(weight, ids, {
        ...offsets && { offsets },
        ...mode && { mode },
        ...per_sample_weights && { perSampleWeights: per_sample_weights },
        ...include_last_offset && { includeLastOffset: true },
        ...padding_idx !== undefined && { paddingIdx: padding_idx },
      }),
  ),

  // ---- contraction
  "einsum": op("tensors, equation", ({ tensors, equation }) => einsum(equation, ...tensors)),
  "nn.functional.linear": spelled("x, weight, bias", ({ x, weight, bias }) => {
    const y = x.matmul(weight.rank < 2 ? weight : weight.mT());
    return bias === undefined ? y : y.add(bias);
  }),

  // ---- losses and layers
  "nn.functional.mse_loss": pairLoss("weight", mseLoss),
  "nn.functional.l1_loss": pairLoss("weight", l1Loss),
  "nn.functional.smooth_l1_loss": pairLoss("beta", smoothL1Loss),
  "nn.functional.huber_loss": pairLoss("delta", huberLoss),
  "nn.functional.binary_cross_entropy": pairLoss("weight", bceLoss),
  "nn.functional.binary_cross_entropy_with_logits": pairLoss("weight, pos_weight", bceWithLogits),
  "nn.functional.kl_div": pairLoss("log_target", klDiv),
  "nn.functional.hinge_embedding_loss": pairLoss("margin", hingeEmbeddingLoss),
  "nn.functional.soft_margin_loss": pairLoss("", softMarginLoss),
  "nn.functional.multilabel_soft_margin_loss": pairLoss("weight", multilabelSoftMarginLoss),
  "nn.functional.multilabel_margin_loss": pairLoss("", multilabelMarginLoss),
  "nn.functional.multi_margin_loss": pairLoss("p, margin, weight", multiMarginLoss),
  "nn.functional.poisson_nll_loss": pairLoss("log_input, full, eps", poissonNllLoss),
  "nn.functional.nll_loss": pairLoss("weight, ignore_index", (x, y, o) => nllLoss(x, y, classesSecond(x, o))),
  "nn.functional.cross_entropy": pairLoss(
    "weight, ignore_index, label_smoothing",
    (x, y, o) => crossEntropy(x, y, classesSecond(x, o)),
  ),
  "nn.functional.gaussian_nll_loss": op(
    "x, target, variance, full, eps, reduction",
    ({ x, target, variance, ...o }) => gaussianNllLoss(x, target, variance, o),
  ),
  "nn.functional.margin_ranking_loss": op(
    "a, b, target, margin, reduction",
    ({ a, b, target, ...o }) => marginRankingLoss(a, b, target, o),
  ),
  "nn.functional.cosine_embedding_loss": op(
    "a, b, target, margin, reduction",
    ({ a, b, target, ...o }) => cosineEmbeddingLoss(a, b, target, o),
  ),
  "nn.functional.triplet_margin_loss": op(
    "a, p, n, margin, order, eps, swap, reduction",
    ({ a, p, n, order, ...o }) => tripletMarginLoss(a, p, n, order === undefined ? o : { ...o, p: order }),
  ),
  "nn.functional.cosine_similarity": op(
    "x, y, dim, eps",
    ({ x, y, dim = 1, eps = 1e-8 }) => cosineSimilarity(x, y, { axis: dim, eps }),
  ),
  "nn.functional.normalize": op(
    "x, p, dim, eps",
    ({ x, p = 2, dim = 1, eps = 1e-12 }) => normalize(x, { p, axis: dim, eps }),
  ),
  "nn.functional.scaled_dot_product_attention": op(
    "query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa",
    ({ query, key, value, attn_mask: mask, dropout_p = 0, is_causal = false, scale, enable_gqa = false }) => {
      only(dropout_p === 0, "dropout by PyTorch's own generator");
      const more = { ...mask === undefined ? {} : { mask }, ...scale === undefined ? {} : { scale } };
      return scaledDotProductAttention(query, key, value, {
        causal: is_causal,
        groupedHeads: enable_gqa,
        ...more,
      });
    },
  ),
  "nn.functional.layer_norm": op(
    "x, shape, weight, bias, eps",
    ({ x, shape, ...o }) => layerNorm(x, shape, o),
  ),
  "nn.functional.rms_norm": op("x, shape, weight, eps", ({ x, shape, ...o }) => rmsNorm(x, shape, o)),
  "nn.functional.group_norm": op(
    "x, groups, weight, bias, eps",
    ({ x, groups, ...o }) => groupNorm(x, groups, o),
  ),
  // Statistics are effects of training, which PyTorch's op has too, but does not return.
  "nn.functional.instance_norm": op(
    "x, running_mean, running_var, weight, bias, use_input_stats, momentum, eps",
    (
      {
        x,
        running_mean: runningMean = null,
        running_var: runningVar = null,
        use_input_stats = true,
        momentum: _,
        ...o
      },
    ) => instanceNorm(x, use_input_stats ? o : { ...o, runningMean, runningVar }),
  ),
  "nn.functional.batch_norm": op(
    "x, mean, variance, weight, bias, training, momentum, eps",
    ({ x, mean: runningMean = null, variance: runningVar = null, training = false, momentum: _, ...o }) => {
      only(x.rank >= 2, "batch norm of an empty vector");
      return batchNorm(x, training ? o : { ...o, runningMean, runningVar });
    },
  ),

  // ---- new tensors
  "zeros": op("size, dtype, device", ({ size, dtype }) => zeros(size, { dtype })),
  "ones": op("size, dtype, device", ({ size, dtype }) => ones(size, { dtype })),
  "full": op("size, fill, dtype, device", ({ size, fill, dtype }) => full(size, fill, { dtype })),
  "eye": op("n, m, dtype, device, requires_grad", ({ n, m, dtype }) => {
    only(m === undefined || m === n, "eye that is not square");
    return eye(n, { dtype });
  }),
  "linspace": op("start, end, steps, dtype, device", ({ start, end, steps, dtype }) => {
    only(dtype !== undefined, "PyTorch's default type");
    return linspace(start, end, steps, { dtype });
  }),
  "logspace": op("start, end, steps, base, dtype, device", ({ start, end, steps, base = 10, dtype }) => {
    only(dtype !== undefined, "PyTorch's default type");
    return logspace(start, end, steps, { base, dtype });
  }),
  "tril_indices": op(
    "rows, columns, offset, dtype, device",
    ({ rows, columns, offset }) => trilIndices(rows, columns, offset),
  ),
  "triu_indices": op(
    "rows, columns, offset, dtype, device",
    ({ rows, columns, offset }) => triuIndices(rows, columns, offset),
  ),
  "arange": op("start, end, step, dtype, device", ({ start, end, step = 1, dtype }) => {
    only(dtype !== undefined, "a type by that of the arguments");
    if (end === undefined) [start, end] = [0, start];
    return arange(Math.ceil((end - start) / step), { start, step, dtype });
  }),
  "zeros_like": op(newLike, ({ x }) => x.zerosLike()),
  "ones_like": op(newLike, ({ x }) => x.onesLike()),
  "full_like": spelled(
    "x, fill, dtype, device",
    ({ x, fill, dtype }) => full(x.shape, fill, { dtype: dtype ?? x.dtype }),
  ),
  "new_full": spelled(
    "x, size, fill, dtype, device",
    ({ x, size, fill, dtype }) => full(size, fill, { dtype: dtype ?? x.dtype }),
  ),
  "new_zeros": spelled(
    "x, size, dtype, device",
    ({ x, size, dtype }) => zeros(size, { dtype: dtype ?? x.dtype }),
  ),
  "new_ones": spelled(
    "x, size, dtype, device",
    ({ x, size, dtype }) => ones(size, { dtype: dtype ?? x.dtype }),
  ),
  "scalar_tensor": op("value, dtype, device, requires_grad", ({ value, dtype }) => tensor(value, { dtype })),

  // ---- convolution and pooling
  "nn.functional.conv1d": conv(conv1d),
  "nn.functional.conv2d": conv(conv2d),
  "nn.functional.conv3d": conv(conv3d),
  "nn.functional.conv_transpose1d": convTranspose(convTranspose1d),
  "nn.functional.conv_transpose2d": convTranspose(convTranspose2d),
  "nn.functional.conv_transpose3d": convTranspose(convTranspose3d),
  "nn.functional.max_pool1d": maxPool(maxPool1d),
  "nn.functional.max_pool2d": maxPool(maxPool2d),
  "nn.functional.max_pool3d": maxPool(maxPool3d),
  "nn.functional.adaptive_max_pool1d": adaptiveMaxPool(adaptiveMaxPool1d),
  "nn.functional.adaptive_max_pool2d": adaptiveMaxPool(adaptiveMaxPool2d),
  "nn.functional.adaptive_max_pool3d": adaptiveMaxPool(adaptiveMaxPool3d),
  "nn.functional.avg_pool1d": avgPool(avgPool1d),
  "nn.functional.avg_pool2d": avgPool(avgPool2d),
  "nn.functional.avg_pool3d": avgPool(avgPool3d),
  "nn.functional.adaptive_avg_pool1d": op("x, size", ({ x, size }) => adaptiveAvgPool1d(x, size)),
  "nn.functional.adaptive_avg_pool2d": op("x, size", ({ x, size }) => adaptiveAvgPool2d(x, size)),
  "nn.functional.adaptive_avg_pool3d": op("x, size", ({ x, size }) => adaptiveAvgPool3d(x, size)),
  "nn.functional.max_unpool1d": maxUnpool(maxUnpool1d),
  "nn.functional.max_unpool1d/grad": maxUnpool(maxUnpool1d),
  "nn.functional.max_unpool2d": maxUnpool(maxUnpool2d),
  "nn.functional.max_unpool2d/grad": maxUnpool(maxUnpool2d),
  "nn.functional.max_unpool3d": maxUnpool(maxUnpool3d),
  "nn.functional.max_unpool3d/grad": maxUnpool(maxUnpool3d),
  "nn.functional.grid_sample": op(
    "x, grid, mode, padding_mode, align_corners",
    ({ x, grid, mode, padding_mode: paddingMode, align_corners: alignCorners }) => {
      only(mode !== "bicubic", "bicubic");
      return gridSample(x, grid, { mode, paddingMode, alignCorners });
    },
  ),
  "nn.functional.local_response_norm": op(
    "x, size, alpha, beta, k",
    ({ x, size, ...options }) => localResponseNorm(x, size, options),
  ),
  "nn.functional.unfold": op(
    "x, kernel, dilation, padding, stride",
    ({ x, kernel, ...options }) => unfold(x, kernel, options),
  ),
  "nn.functional.interpolate/nearest": resample(),
  "nn.functional.interpolate/nearest-exact": resample(),
  "nn.functional.interpolate/linear": resample(),
  "nn.functional.interpolate/bilinear": resample(),
  "nn.functional.interpolate/bicubic": resample(),
  "nn.functional.interpolate/trilinear": resample(),
  "nn.functional.interpolate/area": resample(),
  "nn.functional.upsample_bilinear": resample("bilinear", true),
  "nn.functional.upsample_nearest": resample("nearest"),
};
