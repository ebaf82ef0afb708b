/** Movements of elements: views where strides can say it, and their transposes. */
import { movement } from "../families.ts";
import type { View } from "../primitive.ts";
import { inversePermutation, type Shape, showShape, sizeOf, stridesOf } from "../shape.ts";

export const reshape = movement({
  name: "reshape",
  tex: ([x]) => `\\operatorname{reshape} ${x}`,
  texPullbacks: (_, y) => [`\\operatorname{reshape} \\bar{${y}}`],
  infer: ([x], p) => {
    if (sizeOf(x.shape) !== sizeOf(p.shape)) {
      throw new RangeError(
        `Cannot reshape ${showShape(x.shape)} to ${showShape(p.shape)}: ` +
          `${sizeOf(x.shape)} elements do not fill ${sizeOf(p.shape)} places`,
      );
    }
    return { shape: p.shape, dtype: x.dtype };
  },
  view: (x, p) => reshapeView(x, p.shape),
  transpose: (ct, { x: [x] }) => ct.reshape(x.shape),
  batched: (p, B) => ({ shape: [B, ...p.shape] }),
});

/** Strides of a view under another shape, or null where no strides can say it. */
export function reshapeView(x: View, shape: Shape): View | null {
  if (sizeOf(shape) === 0) return { shape, strides: stridesOf(shape), offset: x.offset };
  // Axes of length 1 say nothing.
  const lengths: number[] = [], steps: number[] = [];
  x.shape.forEach((n, i) => {
    if (n !== 1) {
      lengths.push(n);
      steps.push(x.strides[i]);
    }
  });
  const strides = new Array<number>(shape.length).fill(0);
  let i = lengths.length - 1; // old axis
  let j = shape.length - 1; // new axis
  while (j >= 0 || i >= 0) {
    if (j >= 0 && shape[j] === 1) {
      strides[j--] = 0;
      continue;
    }
    if (i < 0 || j < 0) return null;
    // A group of old axes which together make a group of new axes must be evenly strided.
    let oldSize = lengths[i], newSize = shape[j];
    let step = steps[i];
    strides[j] = step;
    while (oldSize !== newSize) {
      if (newSize < oldSize) {
        step = strides[j] * shape[j];
        j--;
        if (j < 0) return null;
        strides[j] = step;
        newSize *= shape[j];
      } else {
        if (i === 0 || steps[i - 1] !== steps[i] * lengths[i]) return null;
        i--;
        oldSize *= lengths[i];
      }
    }
    i--;
    j--;
  }
  return { shape, strides, offset: x.offset };
}

const permuteTex = (x: string, axes: number[]): string =>
  axes.length !== 2 ? `\\operatorname{permute} ${x}` : axes[0] === 1 ? `{${x}}^\\top` : x;

export const permute = movement({
  name: "permute",
  tex: ([x], p) => permuteTex(x, p.axes),
  texPullbacks: (_, y, p) => [permuteTex(`\\bar{${y}}`, p.axes)],
  infer: ([x], p) => ({ shape: p.axes.map((a: number) => x.shape[a]), dtype: x.dtype }),
  view: (x, p) => ({
    shape: p.axes.map((a: number) => x.shape[a]),
    strides: p.axes.map((a: number) => x.strides[a]),
    offset: x.offset,
  }),
  transpose: (ct, { p }) => ct.permute(inversePermutation(p.axes)),
  batched: (p) => ({ axes: [0, ...p.axes.map((a: number) => a + 1)] }),
});

/** Repeats along axes of length 1 and along new ones in front. */
export const expand = movement({
  name: "expand",
  tex: ([x]) => `\\operatorname{expand} ${x}`,
  texPullbacks: (_, y) => [`\\sum \\bar{${y}}`],
  infer: ([x], p) => {
    const shape: Shape = p.shape, extra = shape.length - x.shape.length;
    if (extra < 0 || x.shape.some((n, i) => n !== shape[i + extra] && n !== 1)) {
      throw new RangeError(
        `Cannot expand ${showShape(x.shape)} to ${showShape(shape)}: ` +
          `an axis must keep its length or grow from 1, new axes come in front`,
      );
    }
    return { shape, dtype: x.dtype };
  },
  view: (x, p) => {
    const extra = p.shape.length - x.shape.length;
    return {
      shape: p.shape,
      strides: p.shape.map((n: number, i: number) =>
        i < extra || (x.shape[i - extra] === 1 && n !== 1) ? 0 : x.strides[i - extra]
      ),
      offset: x.offset,
    };
  },
  transpose: (ct, { x: [x] }) => ct.sumTo(x.shape),
  batched: (p, B) => ({ shape: [B, ...p.shape] }),
  align: (x, p) =>
    x.reshape([x.shape[0], ...Array(p.shape.length - x.rank + 1).fill(1), ...x.shape.slice(1)]),
});

/** A window: from `starts`, `sizes` elements, every `steps`-th. Where it starts is data, not structure. */
export const slice = movement({
  name: "slice",
  tex: ([x]) => `${x}[\\cdot]`,
  texPullbacks: (_, y) => [`\\operatorname{pad} \\bar{${y}}`],
  key: (p) => `${p.sizes}|${p.steps}`,
  infer: ([x], p) => ({ shape: p.sizes, dtype: x.dtype }),
  view: (x, p) => ({
    shape: p.sizes,
    strides: x.strides.map((s, i) => s * p.steps[i]),
    offset: x.offset + x.strides.reduce((sum, s, i) => sum + s * p.starts[i], 0),
  }),
  transpose: (ct, { x: [x], p }) => ct.scatterWindow(x.shape, p.starts, p.steps),
  batched: (p, B) => ({ starts: [0, ...p.starts], sizes: [B, ...p.sizes], steps: [1, ...p.steps] }),
});

export const flip = movement({
  name: "flip",
  tex: ([x]) => `\\operatorname{flip} ${x}`,
  texPullbacks: (_, y) => [`\\operatorname{flip} \\bar{${y}}`],
  infer: ([x]) => ({ shape: x.shape, dtype: x.dtype }),
  view: (x, p) => ({
    shape: x.shape,
    strides: x.strides.map((s, i) => p.axes.includes(i) ? -s : s),
    offset: x.offset +
      x.strides.reduce(
        (sum, s, i) => p.axes.includes(i) && x.shape[i] > 0 ? sum + s * (x.shape[i] - 1) : sum,
        0,
      ),
  }),
  transpose: (ct, { p }) => ct.flip(p.axes),
  batched: (p) => ({ axes: p.axes.map((a: number) => a + 1) }),
});

/** The contiguous view of a whole array. */
export function wholeView(shape: Shape): View {
  return { shape, strides: stridesOf(shape), offset: 0 };
}

/** Whether a view reads its elements in row-major order without gaps. */
export function isContiguous(v: View): boolean {
  let step = 1;
  for (let i = v.shape.length - 1; i >= 0; i--) {
    if (v.shape[i] !== 1 && v.strides[i] !== step) return false;
    step *= v.shape[i];
  }
  return true;
}
