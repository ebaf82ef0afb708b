/** New tensors: from data, filled, counted; random ones are in sampling.ts. */
import { ambient, type Device } from "./ambient.ts";
import { type DType, dtypeOf, DTYPES, isFloat, type TypedArray } from "./dtype.ts";
import { constantNode } from "./definitions/structural.ts";
import { wrap } from "./node.ts";
import { engineOf, hasEngine } from "./runs.ts";
import { checkShape, type Shape, showShape, sizeOf } from "./shape.ts";
import { checkOnDevice, checkOptions, convert, fromStorageData, type Nested, Tensor } from "./tensor.ts";

/** What new tensors are like. */
export interface TensorOptions {
  /** Element type; default f32, or that of a typed array. */
  dtype?: DType;
  /** Default: the default device. */
  device?: Device;
  /** Whether `backward` computes a gradient by it. */
  requiresGrad?: boolean;
  /** A name for pictures and errors. */
  name?: string;
}

/** The options of every creator. */
export const OPTIONS: readonly string[] = Object.keys(
  { dtype: true, device: true, requiresGrad: true, name: true } satisfies Record<keyof TensorOptions, true>,
);

const DATA_OPTIONS = [...OPTIONS, "shape"], COUNT_OPTIONS = [...OPTIONS, "start", "step"];

let fallback: Device = "host";

/** Where new tensors go from now on. */
export function setDefaultDevice(device: Device): void {
  if (device !== "host" && device !== "webgpu") {
    throw new TypeError(`Cannot use device ${device}: devices are host and webgpu`);
  }
  if (!hasEngine(device)) {
    throw new Error(
      `Cannot use ${device} as the default device: no adapter was found, or the program may not use it`,
    );
  }
  fallback = device;
}

/** Where new tensors go. */
export function defaultDevice(): Device {
  return ambient().device ?? fallback;
}

/** The tensor with what options say beyond its type and place. */
export function finish(t: Tensor, options: TensorOptions): Tensor {
  if (options.requiresGrad) t.requiresGrad = true;
  if (options.name !== undefined) t.name = options.name;
  return t;
}

/** A tensor from nested arrays or a typed array (with `shape`, else flat). Numbers become f32, booleans bool. */
export function tensor(data: Nested | TypedArray, options: TensorOptions & { shape?: Shape } = {}): Tensor {
  checkOptions("make a tensor", options, DATA_OPTIONS);
  const device = options.device ?? defaultDevice();
  if (ArrayBuffer.isView(data)) {
    const own = dtypeOf(data);
    if (own === null) {
      throw new TypeError(
        `Cannot make a tensor of a ${
          Object.prototype.toString.call(data).slice(8, -1)
        }: convert it first, as in Float32Array.from(data)`,
      );
    }
    const shape = options.shape ?? [data.length], dtype = options.dtype ?? own;
    checkShape("make a tensor", shape);
    if (sizeOf(shape) !== data.length) {
      throw new RangeError(
        `Cannot make a tensor of shape ${showShape(shape)} from ${data.length} elements: it has ${
          sizeOf(shape)
        }`,
      );
    }
    return finish(
      fromStorageData(dtype === own ? data : convert(data, dtype), shape, dtype, device),
      options,
    );
  }
  const flat: (number | boolean)[] = [];
  const shape = fill(data, flat, 0);
  const bools = flat.length > 0 && flat.every((v) => typeof v === "boolean");
  const dtype = options.dtype ?? (bools ? "bool" : "f32");
  if (!DTYPES.includes(dtype)) {
    throw new TypeError(`Cannot make a tensor of type ${dtype}: types are ${DTYPES.join(", ")}`);
  }
  if (!isFloat(dtype) && dtype !== "bool") {
    for (const v of flat) {
      if (!Number.isInteger(Number(v))) {
        throw new TypeError(
          `Cannot make a tensor of type ${dtype} from ${v}: give whole numbers, or dtype "f32"`,
        );
      }
    }
  }
  const to = options.shape ?? shape;
  checkShape("make a tensor", to);
  if (sizeOf(to) !== flat.length) {
    throw new RangeError(`Cannot make a tensor of shape ${showShape(to)} from ${flat.length} elements`);
  }
  return finish(fromStorageData(convert(flat.map(Number), dtype), to, dtype, device), options);
}

function fill(data: unknown, flat: (number | boolean)[], depth: number): number[] {
  if (typeof data === "number" || typeof data === "boolean") {
    flat.push(data);
    return [];
  }
  if (data instanceof Tensor) {
    throw new TypeError(
      "Cannot make a tensor of tensors: put them together with stack([a, b]) or cat([a, b])",
    );
  }
  if (!Array.isArray(data)) {
    const what = data instanceof Promise
      ? "a Promise (is an await missing?)"
      : data === null
      ? "null"
      : typeof data;
    throw new TypeError(
      `Cannot make a tensor of ${what}: give numbers, nested arrays of numbers, or a typed array`,
    );
  }
  let inner: number[] = [];
  for (let i = 0; i < data.length; i++) {
    const shape = fill(data[i], flat, depth + 1);
    if (i === 0) inner = shape;
    else if (shape.length !== inner.length || shape.some((n, k) => n !== inner[k])) {
      throw new RangeError(
        `Cannot make a tensor of ragged arrays: at depth ${depth + 1}, element ${i} has shape ${
          showShape(shape)
        } and element 0 ${showShape(inner)}`,
      );
    }
  }
  return [data.length, ...inner];
}

/** All elements `value`. */
export function full(shape: Shape, value: number, options: TensorOptions = {}): Tensor {
  checkShape("make a tensor", shape);
  checkOptions("make a tensor", options, OPTIONS);
  const dtype = options.dtype ?? "f32", device = options.device ?? defaultDevice();
  checkOnDevice(dtype, device);
  if (!isFloat(dtype) && !Number.isInteger(value)) {
    throw new TypeError(
      `Cannot fill a tensor of type ${dtype} with ${value}: give a whole number, or dtype "f32"`,
    );
  }
  const scalar = wrap(constantNode(value, dtype, device));
  return finish(scalar.expand(shape), options);
}

/** All elements 0. */
export function zeros(shape: Shape, options: TensorOptions = {}): Tensor {
  return full(shape, 0, options);
}

/** All elements 1. */
export function ones(shape: Shape, options: TensorOptions = {}): Tensor {
  return full(shape, 1, options);
}

/** The unit matrix of n rows. */
export function eye(n: number, options: TensorOptions = {}): Tensor {
  checkOptions("make a tensor", options, OPTIONS);
  const device = options.device ?? defaultDevice(), k = arange(n, { dtype: "i32", device });
  return finish(k.unsqueeze(1).eq(k).to(options.dtype ?? "f32"), options);
}

/** A function of the places 0 to n - 1. */
function counted(
  n: number,
  f: (i: number) => number,
  dtype: DType,
  device: Device,
  options: TensorOptions,
): Tensor {
  checkOnDevice(dtype, device);
  engineOf(device).admit?.(n, dtype, `make ${n} numbers`);
  const bits = Float64Array.from({ length: n }, (_, i) => f(i));
  return finish(fromStorageData(convert(bits, dtype), [n], dtype, device), options);
}

/** 0, 1, ... n - 1, or from `start` by `step`. */
export function arange(n: number, options: TensorOptions & { start?: number; step?: number } = {}): Tensor {
  if (!Number.isInteger(n) || n < 0) {
    throw new RangeError(`Cannot count to ${n}: the number of elements is a whole number`);
  }
  checkOptions("make a tensor", options, COUNT_OPTIONS);
  const { start = 0, step = 1 } = options,
    dtype = options.dtype ?? "f32",
    device = options.device ?? defaultDevice();
  return counted(n, (i) => start + i * step, dtype, device, options);
}

/** `n` numbers from `start` to `end`, both included, evenly spaced. */
export function linspace(start: number, end: number, n: number, options: TensorOptions = {}): Tensor {
  if (!Number.isInteger(n) || n < 0) {
    throw new RangeError(`Cannot space ${n} numbers: the number of elements is a whole number`);
  }
  checkOptions("make a tensor", options, OPTIONS);
  const dtype = options.dtype ?? "f32", device = options.device ?? defaultDevice();
  return counted(n, (i) => n === 1 ? start : start + (end - start) * (i / (n - 1)), dtype, device, options);
}

/** `n` numbers from `base` to the power `start` to `base` to the power `end`, evenly spaced in their exponents. */
export function logspace(
  start: number,
  end: number,
  n: number,
  options: TensorOptions & { base?: number } = {},
): Tensor {
  if (!Number.isInteger(n) || n < 0) {
    throw new RangeError(`Cannot space ${n} numbers: the number of elements is a whole number`);
  }
  checkOptions("make a tensor", options, [...OPTIONS, "base"]);
  const { base = 10, dtype = "f32", device = defaultDevice() } = options;
  const exponent = (i: number): number => n === 1 ? start : start + (end - start) * (i / (n - 1));
  return counted(n, (i) => base ** exponent(i), dtype, device, options);
}

/** Rows and columns (i32, `[2, count]`) of the places for which `inside` holds, row by row. */
function places(
  rows: number,
  columns: number,
  offset: number,
  options: { device?: Device },
  inside: (i: number, j: number) => boolean,
): Tensor {
  checkShape("find places in a matrix", [rows, columns]);
  if (!Number.isInteger(offset)) {
    throw new RangeError(`Cannot find places beside diagonal ${offset}: its number is whole`);
  }
  checkOptions("find places in a matrix", options, ["device"]);
  const at: number[][] = [[], []];
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) if (inside(i, j)) at[0].push(i), at[1].push(j);
  }
  const device = options.device ?? defaultDevice();
  return fromStorageData(Int32Array.from(at.flat()), [2, at[0].length], "i32", device);
}

/** Rows and columns (i32, `[2, count]`) of the lower triangle of a matrix: columns up to row + `offset`. */
export function trilIndices(
  rows: number,
  columns: number,
  offset = 0,
  options: { device?: Device } = {},
): Tensor {
  return places(rows, columns, offset, options, (i, j) => j <= i + offset);
}

/** Rows and columns (i32, `[2, count]`) of the upper triangle of a matrix: columns from row + `offset` on. */
export function triuIndices(
  rows: number,
  columns: number,
  offset = 0,
  options: { device?: Device } = {},
): Tensor {
  return places(rows, columns, offset, options, (i, j) => j >= i + offset);
}
