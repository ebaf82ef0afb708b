/** Sampling of spatial axes at places that are data themselves. */
import { composite } from "../composite.ts";
import { isFloat, isHalf, promote } from "../dtype.ts";
import type { Sample } from "../primitive.ts";
import { type Shape, showShape, sizeOf } from "../shape.ts";
import { asTensor, checkOptions, type Tensor } from "../tensor.ts";

/** Options of {@linkcode gridSample}. */
export interface GridSampleOptions {
  /** Default "bilinear", over three axes trilinear. */
  mode?: "bilinear" | "nearest";
  /** What is outside of x: zeros (default), its border, or its mirror image. */
  paddingMode?: "zeros" | "border" | "reflection";
  /** Whether -1 and 1 are the centres of the corner elements, and not the corners; default false. */
  alignCorners?: boolean;
}

/** Within [0, n - 1]; the derivative outside, and on the border, is 0. */
function clipped(at: Tensor, n: number): Tensor {
  return at.where(at.gt(0).logicalAnd(at.lt(n - 1)), at.clamp(0, n - 1).stopGradient());
}

/** Mirrored at the border as often as it takes. */
function reflected(at: Tensor, n: number, alignCorners: boolean): Tensor {
  const low = alignCorners ? 0 : -0.5, span = alignCorners ? n - 1 : n;
  if (span === 0) return at.mul(0);
  const from = at.sub(low).abs(),
    flips = from.div(span).floor().stopGradient(),
    rest = from.sub(flips.mul(span));
  return rest.where(flips.remainder(2).eq(0), rest.neg().add(span)).add(low);
}

/** x from -1 to 1 at places from -`far` to `far`. */
const sample = (x: Shape, grid: Shape, options: GridSampleOptions, far: number): Sample => ({
  shapes: [x, grid],
  call: (x, g) => gridSample(x, g, options),
  domain: [[-1, 1], [-far, far]],
  notSpecial: "whether a place just at the border is inside hangs on rounding",
});

/**
 * x `[B, C, H, W]` at the places `grid` `[B, H', W', 2]` to `[B, C, H', W']`, or x `[B, C, D, H, W]` at `[B, D', H', W',
 * 3]`: the last axis of the grid is (x, y) or (x, y, z), from -1 to 1 over the input. Differentiable by both (by the grid
 * for "bilinear" only): Jaderberg et al. (2015), "Spatial transformer networks", section 3.3.
 */
export const gridSample: (x: Tensor, grid: Tensor, options?: GridSampleOptions) => Tensor = composite({
  name: "gridSample",
  tex: ([x, g]) => `${x}(${g})`,
  samples: [
    sample([1, 2, 3, 4], [1, 2, 2, 2], {}, 1.2),
    sample([1, 1, 2, 3], [1, 1, 3, 2], { paddingMode: "border", alignCorners: true }, 1.9),
    sample([1, 1, 2, 3], [1, 1, 3, 2], { paddingMode: "reflection" }, 1.9),
    sample([1, 1, 2, 2, 3], [1, 1, 1, 2, 3], {}, 1),
    sample([1, 2, 3, 4], [1, 2, 2, 2], { mode: "nearest" }, 1),
  ],
}, (input: Tensor, places: Tensor, options: GridSampleOptions = {}): Tensor => {
  const x = asTensor("gridSample", input, "input"), grid = asTensor("gridSample", places, "grid");
  checkOptions("gridSample", options, ["mode", "paddingMode", "alignCorners"]);
  const { mode = "bilinear", paddingMode = "zeros", alignCorners = false } = options;
  const rank = x.rank - 2, I = x.shape.slice(2), [B, C] = x.shape;
  if (
    rank !== 2 && rank !== 3 || grid.rank !== x.rank || grid.shape[0] !== B ||
    grid.shape[rank + 1] !== rank ||
    I.includes(0)
  ) {
    throw new RangeError(
      `Cannot gridSample shape ${showShape(x.shape)} at a grid of shape ${
        showShape(grid.shape)
      }: they must be [B, C, H, W] and [B, H', W', 2], or [B, C, D, H, W] and [B, D', H', W', 3], with elements to sample`,
    );
  }
  if (mode !== "bilinear" && mode !== "nearest") {
    throw new RangeError(`Cannot gridSample with mode "${mode}": modes are bilinear and nearest`);
  }
  if (paddingMode !== "zeros" && paddingMode !== "border" && paddingMode !== "reflection") {
    throw new RangeError(
      `Cannot gridSample with paddingMode "${paddingMode}": it is zeros, border or reflection`,
    );
  }
  const dtype = promote(x.dtype, grid.dtype);
  if (!isFloat(x.dtype) || !isFloat(grid.dtype)) {
    throw new TypeError(
      `Cannot gridSample types ${x.dtype} and ${grid.dtype}: convert them first, as in x.to("f32")`,
    );
  }
  const wide = isHalf(dtype) ? "f32" : dtype, T = grid.shape.slice(1, -1), P = sizeOf(T);
  const flat = x.to(wide).reshape([B, C, sizeOf(I)]), g = grid.to(wide).reshape([B, P, rank]);
  // Per axis: the neighbours' places, and their weights, 0 where they are outside.
  const along = I.map((n, a) => {
    const u = g.select(2, rank - 1 - a); // [B, P]
    const raw = alignCorners ? u.add(1).mul((n - 1) / 2) : u.add(1).mul(n / 2).sub(0.5);
    const at = paddingMode === "zeros"
      ? raw
      : clipped(paddingMode === "border" ? raw : reflected(raw, n, alignCorners), n);
    const first = (mode === "nearest" ? at.round() : at.floor()).stopGradient(), f = at.sub(first);
    const ends = mode === "nearest" ? [f.onesLike()] : [f.neg().add(1), f];
    return ends.map((weight, k) => {
      const place = first.add(k), inside = place.ge(0).logicalAnd(place.le(n - 1));
      return { place: place.where(inside, 0).to("i32"), weight: weight.where(inside, 0), inside };
    });
  });
  type Corner = (typeof along)[number][number];
  const corners = along.reduce<Corner[]>(
    (all, ends, a) =>
      all.length === 0 ? ends : all.flatMap((c) =>
        ends.map((e) => ({
          place: c.place.mul(I[a]).add(e.place),
          weight: c.weight.mul(e.weight),
          inside: c.inside.logicalAnd(e.inside),
        }))
      ),
    [],
  );
  const y = corners.map(({ place, weight, inside }) => {
    const v = flat.gather(2, place.unsqueeze(1).expand([B, C, P])); // [B, C, P]
    return v.where(inside.unsqueeze(1), 0).mul(weight.unsqueeze(1));
  }).reduce((a, b) => a.add(b));
  return y.to(x.dtype).reshape([B, C, ...T]);
});
