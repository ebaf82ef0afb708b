/** How a tensor looks: its values as text and as a shaded table, never more than fits. */
import { escapeHtml } from "./bundle.ts";
import { consoleText, extent, formatNumber, formatWhole, plainLine, plainNumber } from "./parts.ts";
import { statistics, tensorMap } from "./tensor_map.ts";
import { presentFigure } from "./vega.ts";
import type { Tensor } from "../ops/tensor.ts";
import type { TypedArray } from "../ops/dtype.ts";
import { currentTrace } from "../ops/node.ts";
import type { MimeBundle } from "../ops/presenter.ts";
import { sizeOf } from "../ops/shape.ts";

/** More elements than this are shortened to the ends of each axis. */
const ALL = 1000;
/** Elements at the front and the back of an axis: as many as there is room for. */
const ENDS = [[3, 3], [2, 2], [1, 1], [1, 0]] as const;

function header(x: Tensor): string {
  const parts = [
    `Tensor ${x.name === null ? "" : `${plainLine(x.name)} `}[${x.shape.join(", ")}]`,
    x.dtype,
    x.device,
  ];
  if (x.requiresGrad) parts.push(x.isLeaf ? "requiresGrad" : "computed from parameters");
  return parts.join(" · ");
}

/** Places of an axis that are shown; -1 stands for a gap. */
function shown(n: number, front: number, back: number): number[] {
  if (n <= front + back) return Array.from({ length: n }, (_, i) => i);
  return [
    ...Array.from({ length: front }, (_, i) => i),
    -1,
    ...Array.from({ length: back }, (_, i) => n - back + i),
  ];
}

/** Front and back of each axis for at most `ALL` elements in all. */
function endsOf(shape: readonly number[]): readonly [number, number] {
  if (sizeOf(shape) <= ALL) return [ALL, 0];
  return ENDS.find(([front, back]) => sizeOf(shape.map((n) => Math.min(n, front + back))) <= ALL)!;
}

function element(v: number, dtype: string, format = plainNumber): string {
  if (dtype === "bool") return v !== 0 ? "true" : "false";
  // A whole number is shown in full: it may be a place, a class or a seed.
  return dtype === "i32" || dtype === "u32"
    ? (format === plainNumber ? String(v) : formatWhole(v))
    : format(v);
}

/** The values as nested brackets, one row a line, columns aligned. */
function brackets(bits: TypedArray, shape: readonly number[], dtype: string): string {
  if (shape.length === 0) return element(bits[0], dtype);
  const [front, back] = endsOf(shape);
  const cells = (axis: number, at: number): string[] => {
    const n = shape[axis], step = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
    return shown(n, front, back).flatMap((i) =>
      i < 0 ? [] : axis === shape.length - 1 ? [element(bits[at + i], dtype)] : cells(axis + 1, at + i * step)
    );
  };
  const width = bits.length === 0 ? 0 : Math.max(...cells(0, 0).map((s) => s.length));
  const write = (axis: number, at: number, indent: string): string => {
    const n = shape[axis], step = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
    const places = shown(n, front, back);
    if (axis === shape.length - 1) {
      return `[${places.map((i) => i < 0 ? "…" : element(bits[at + i], dtype).padStart(width)).join("  ")}]`;
    }
    return `[${
      places.map((i) => i < 0 ? "…" : write(axis + 1, at + i * step, indent + " ")).join(`\n${indent} `)
    }]`;
  };
  return write(0, 0, "");
}

/** Text for consoles: does not wait for the device. */
export function inspectTensor(x: Tensor): string {
  const bits = x.peek();
  if (bits !== null) return `${header(x)}\n${brackets(bits, x.shape, x.dtype)}`;
  const value = x.node.value, trace = currentTrace();
  if (value?.error) return `${header(x)} (${value.error.message})`;
  if (trace !== null || x.node.op.name === "placeholder") {
    const place = trace === null ? "" : ` inside ${trace.kind}`;
    return `${header(x)} (without a value${place}; return it from the function and read it outside)`;
  }
  return `${header(x)} (${
    value === null ? "not computed yet" : "on the device"
  }; read it with await x.toArray())`;
}

/** Blue below zero, orange above, stronger the farther from zero; translucent, so that it suits any theme. */
function shade(v: number, most: number): string {
  if (Number.isNaN(v)) return "rgba(200,40,40,0.55)";
  const share = most === 0 ? 0 : Math.min(1, Math.abs(v) / most);
  return v < 0
    ? `rgba(47,134,210,${(0.6 * share).toFixed(2)})`
    : `rgba(217,119,11,${(0.6 * share).toFixed(2)})`;
}

/** What is shown element by element, and the elements named where it is not. */
const ROWS = 12, COLUMNS = 12, MATRICES = 3, FIRST = 8;

function matrixHtml(
  bits: TypedArray,
  at: number,
  rows: number,
  columns: number,
  dtype: string,
  most: number,
): string {
  const line = (i: number): string =>
    Array.from({ length: columns }, (_, j) => {
      const v = bits[at + i * columns + j];
      return `<td style="text-align:right;padding:1px 6px;background:${shade(v, most)}">${
        escapeHtml(element(v, dtype, formatNumber))
      }</td>`;
    }).join("");
  return `<table style="border-collapse:collapse;font-variant-numeric:tabular-nums;margin:2px 12px 2px 0;display:inline-table">` +
    Array.from({ length: rows }, (_, i) => `<tr style="background:none">${line(i)}</tr>`).join("") +
    `</table>`;
}

/** What a notebook shows for a tensor: its elements in shaded tables, or a map of colour where they are many. */
export async function displayTensor(x: Tensor): Promise<MimeBundle> {
  const bits = await x.data();
  const text = `${header(x)}\n${brackets(bits, x.shape, x.dtype)}`;
  const rank = x.rank, columns = rank > 0 ? x.shape[rank - 1] : 1, rows = rank > 1 ? x.shape[rank - 2] : 1;
  if (bits.length === 0) return { "text/plain": text };
  const matrices = bits.length / (rows * columns);
  const facts = bits.length < 2 ? "" : statistics(bits, x.dtype);
  if (rows > ROWS || columns > COLUMNS || matrices > MATRICES) {
    const first = Array.from(bits.subarray(0, FIRST), (v) => element(v, x.dtype, formatNumber)).join(", ");
    const lines = [facts, `first ${first}${bits.length > FIRST ? ", …" : ""}`];
    const { spec } = tensorMap(bits, x.shape, { title: header(x), lines });
    const { data } = await presentFigure(spec);
    return { ...data, "text/plain": facts === "" ? text : `${text}\n${consoleText(facts)}` };
  }
  const { low, high, finite } = extent(bits as Iterable<number>);
  const most = finite === 0 ? 0 : Math.max(Math.abs(low), Math.abs(high));
  const tables = Array.from(
    { length: matrices },
    (_, k) => matrixHtml(bits, k * rows * columns, rows, columns, x.dtype, most),
  ).join("");
  const html = `<div style="font-size:13px"><div style="opacity:0.75">${escapeHtml(header(x))}${
    facts ? ` — ${escapeHtml(facts)}` : ""
  }</div>${tables}</div>`;
  return { "text/plain": text, "text/html": html };
}
