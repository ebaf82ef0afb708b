/** Data by rows: arrays, typed arrays and tensors as columns whose rows can be gathered into batches. */
import type { Device } from "../ops/ambient.ts";
import { tensor, type TensorOptions } from "../ops/create.ts";
import { allocate, type DType, dtypeOf, type TypedArray } from "../ops/dtype.ts";
import { embedding, stack } from "../ops/functions.ts";
import { type Shape, showShape, sizeOf } from "../ops/shape.ts";
import { convert, Tensor } from "../ops/tensor.ts";
import type { Tree } from "../ops/transforms/tree.ts";

/** A typed array with the shape of the whole, `[N, ...]`, and the type of its batches. */
export interface ArrayColumn {
  /** All rows, one after the other. */
  readonly data: TypedArray;
  /** Default `[N]`. */
  readonly shape?: Shape;
  /** Default that of the array. */
  readonly dtype?: DType;
}

/** Examples that are made when they are asked for. */
export interface Dataset {
  /** Number of examples. */
  readonly length: number;
  /** An example: numbers, nested arrays, tensors, typed arrays, or objects of these. */
  at(i: number): Tree | Promise<Tree>;
}

/** Rows that can be gathered. */
export interface Rows {
  /** Number of rows, N. */
  readonly length: number;
  /** A batch of these rows, `[B, ...]` for each column, in the order asked for. */
  gather(rows: Int32Array<ArrayBuffer>): Tree | Promise<Tree>;
}

/** Whether a list is a tuple of columns and not a list of examples. */
function isTuple(data: readonly unknown[]): boolean {
  return data.length > 0 &&
    data.every((c) => c instanceof Tensor || ArrayBuffer.isView(c) || isArrayColumn(c));
}

function isArrayColumn(x: unknown): x is ArrayColumn {
  return typeof x === "object" && x !== null && ArrayBuffer.isView((x as ArrayColumn).data);
}

/** Rows of any supported data; `device` is where batches of host data go. */
export function rowsOf(data: Tree, device: Device): Rows {
  if (data instanceof Tensor) return tensorRows(data);
  if (ArrayBuffer.isView(data)) return arrayRows({ data: data as TypedArray }, device);
  if (isArrayColumn(data)) return arrayRows(data, device);
  if (Array.isArray(data)) {
    return isTuple(data)
      ? joined(data.map((c) => rowsOf(c, device)), (parts) => parts)
      : exampleRows(data, device);
  }
  if (typeof data === "object" && data !== null) {
    if (typeof data.at === "function" && typeof data.length === "number") return exampleRows(data, device);
    const keys = Object.keys(data), columns = keys.map((k) => rowsOf(data[k], device));
    return joined(columns, (parts) => Object.fromEntries(keys.map((k, i) => [k, parts[i]])), keys);
  }
  throw new TypeError(
    `Cannot load batches of ${
      data === null ? "null" : typeof data
    }: give tensors, typed arrays, a list of examples, ` +
      `or an object or tuple of columns`,
  );
}

function joined(columns: readonly Rows[], build: (parts: Tree[]) => Tree, names?: readonly string[]): Rows {
  if (columns.length === 0) throw new RangeError("Cannot load batches of no columns");
  const label = (i: number): string => names?.[i] ?? `${i}`;
  columns.forEach(({ length }, i) => {
    if (length !== columns[0].length) {
      throw new RangeError(
        `Cannot load batches of columns of different lengths: ${label(0)} has ${columns[0].length} rows and ${
          label(i)
        } ${length}`,
      );
    }
  });
  return {
    length: columns[0].length,
    gather: (rows) => {
      const parts = columns.map((c) => c.gather(rows));
      return parts.some((p) => p instanceof Promise) ? Promise.all(parts).then(build) : build(parts);
    },
  };
}

/** Rows of a tensor are gathered on its device, as part of the run that uses the batch. */
function tensorRows(x: Tensor): Rows {
  if (x.rank === 0) throw new RangeError("Cannot load batches of a scalar: the first axis counts examples");
  const table = x.requiresGrad ? x.detach() : x;
  return {
    length: x.shape[0],
    gather: (rows) => embedding(table, tensor(rows, { dtype: "i32", device: x.device })),
  };
}

function arrayRows({ data, shape = [data.length], dtype }: ArrayColumn, device: Device): Rows {
  const own = dtypeOf(data), to = dtype ?? own;
  if (own === null || to === null) {
    throw new TypeError(
      `Cannot load batches of a ${
        Object.prototype.toString.call(data).slice(8, -1)
      }: convert it first, as in Float32Array.from(data)`,
    );
  }
  if (own === "bool" && dtype === undefined) {
    throw new TypeError(
      `Cannot load batches of a Uint8Array: it may hold bytes or booleans; say which, as in { data, dtype: "f32" }`,
    );
  }
  if (shape.length === 0 || sizeOf(shape) !== data.length) {
    throw new RangeError(
      `Cannot load batches of an array of ${data.length} elements with shape ${showShape(shape)}: ` +
        `the shape is that of the whole, [N, ...]`,
    );
  }
  const width = sizeOf(shape.slice(1));
  return {
    length: shape[0],
    gather: (rows) => {
      const batch = allocate(own, rows.length * width);
      rows.forEach((row, i) => batch.set(data.subarray(row * width, (row + 1) * width), i * width));
      return tensor(own === to ? batch : convert(batch, to), {
        shape: [rows.length, ...shape.slice(1)],
        dtype: to,
        device,
      });
    },
  };
}

function exampleRows(data: Dataset, device: Device): Rows {
  return {
    length: data.length,
    gather: (rows) => {
      const examples = Array.from(rows, (row) => data.at(row));
      return examples.some((e) => e instanceof Promise)
        ? Promise.all(examples).then((list) => collate(list, { device }))
        : collate(examples, { device });
    },
  };
}

/** A batch from a list of examples of one structure: numbers and arrays become tensors with one more axis in front. */
export function collate(examples: readonly Tree[], options: TensorOptions = {}): Tree {
  const first = examples[0];
  if (first instanceof Tensor) return stack(examples as Tensor[]);
  if (ArrayBuffer.isView(first)) {
    const own = dtypeOf(first);
    if (own === null || own === "bool") {
      throw new TypeError(
        `Cannot put examples that are ${
          Object.prototype.toString.call(first).slice(8, -1)
        } into a batch: convert them first`,
      );
    }
    const width = (first as TypedArray).length, all = allocate(own, examples.length * width);
    examples.forEach((e, i) => all.set(e, i * width));
    return tensor(all, { shape: [examples.length, width], ...options });
  }
  if (typeof first === "number" || typeof first === "boolean") return tensor(examples as number[], options);
  if (Array.isArray(first)) {
    const numbers = (x: unknown): boolean =>
      typeof x === "number" || typeof x === "boolean" ||
      (Array.isArray(x) && (x.length === 0 || numbers(x[0])));
    if (
      first.length > 0 && first.every(numbers) &&
      first.every((x) => Array.isArray(x) === Array.isArray(first[0]))
    ) {
      return tensor(examples, options);
    }
    return first.map((_, i) => collate(examples.map((e) => e[i]), options));
  }
  if (typeof first === "object" && first !== null) {
    return Object.fromEntries(
      Object.keys(first).map((k) => [k, collate(examples.map((e) => e[k]), options)]),
    );
  }
  throw new TypeError(`Cannot put examples of ${first === null ? "null" : typeof first} into a batch`);
}
