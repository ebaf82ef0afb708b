/** What charts are given: series and points in arrays or tensors, and what is said of anything else. */
import { Tensor } from "../ops/tensor.ts";
import { isPlainObject } from "./bundle.ts";
import { kindOf, plainLine } from "./parts.ts";

/** Numbers that are there. */
export type Values = ArrayLike<number>;

/** Numbers in any array, or a tensor with one axis; not-finite ones leave gaps and are counted. */
export type Numbers = Values | Tensor;

/** Points by their coordinates. */
export interface Points {
  /** Abscissae. */
  x: Numbers;
  /** Ordinates, as many. */
  y: Numbers;
}

/** A line or a cloud. */
export interface Series<Array = Values> {
  /** What it is called. */
  name: string;
  /** Abscissae. */
  x: Array;
  /** Ordinates. */
  y: Array;
}

/** Series as they are given, with names. */
export function namedSeries(
  series: Numbers | readonly Numbers[] | Record<string, Numbers | Points>,
  x?: Numbers,
): Series<Numbers>[] {
  const named: [string, Numbers | Points][] = isNumbers(series)
    ? [["", series]]
    : Array.isArray(series)
    ? series.map((values, i) => [String(i), values])
    : Object.entries(series);
  return named.map(([name, values]) => {
    if (isPoints(values)) return { name: plainLine(name), x: values.x, y: values.y };
    return {
      name: plainLine(name),
      x: x ?? Array.from({ length: lengthOf(values) }, (_, i) => i),
      y: values,
    };
  });
}

/** One list of numbers, and not a list of lists. */
export function isNumbers(series: unknown): series is Numbers {
  return series instanceof Tensor || ArrayBuffer.isView(series) ||
    (Array.isArray(series) && (typeof series[0] !== "object" || series[0] === null));
}

/** Points by their coordinates. */
export function isPoints(value: unknown): value is Points {
  const { x, y } = (value ?? {}) as Partial<Points>;
  return !(value instanceof Tensor) && isNumbers(x) && isNumbers(y);
}

function lengthOf(values: Numbers): number {
  return values instanceof Tensor ? values.shape[0] ?? 0 : values?.length ?? 0;
}

/** Throws where the options of a chart do not hold what it draws. */
export function checkHolds(chart: string, options: unknown, key: string, way: string): void {
  if (!isPlainObject(options)) {
    throw new TypeError(`Cannot draw ${chart} of ${kindOf(options)}: it takes options, as in ${way}`);
  }
  const held = options[key];
  if (typeof held === "object" && held !== null && !(held instanceof Promise)) return;
  const what = held === undefined ? `without ${key}` : `with ${key} ${kindOf(held)}`;
  throw new TypeError(`Cannot draw ${chart} ${what}: give them, as in ${way}`);
}

/** ` points a`, or ` points` of what has no name. */
export const called = (role: string, name: string): string =>
  name === "" ? ` ${role}` : ` ${role} ${plainLine(name)}`;

/** Throws where values are not numbers in a row. */
export function checkNumbers(what: string, values: unknown): void {
  if (values instanceof Tensor) {
    if (values.rank === 1) return;
    throw new RangeError(
      `Cannot draw ${what} of shape [${values.shape}]: it has one axis, as x.reshape([-1]) has; ` +
        `a number is read with await x.item()`,
    );
  }
  if (values instanceof BigInt64Array || values instanceof BigUint64Array || values instanceof DataView) {
    throw new TypeError(`Cannot draw ${what} of ${kindOf(values)}: convert it to numbers`);
  }
  if (ArrayBuffer.isView(values)) return;
  if (!Array.isArray(values)) {
    throw new TypeError(
      `Cannot draw ${what} of ${kindOf(values)}: it is an array, or a tensor with one axis`,
    );
  }
  const at = values.findIndex((v) => v !== null && v !== undefined && typeof v !== "number");
  if (at < 0) return;
  const way = values[at] instanceof Tensor ? "read it first, as in await x.item()" : "convert it to a number";
  throw new TypeError(`Cannot draw ${what}: element ${at} is ${kindOf(values[at])}; ${way}`);
}

/** Throws where a series is not as many numbers as its x has. */
export function checkSeries(role: string, { name, x, y }: Series<Numbers>): void {
  const what = called(role, name).trim();
  checkNumbers(what, y);
  checkNumbers(`the x of ${what}`, x);
  if (lengthOf(x) === lengthOf(y)) return;
  throw new RangeError(
    `Cannot draw ${what}: x has ${lengthOf(x)} values and y ${lengthOf(y)}, which must be equally many`,
  );
}
