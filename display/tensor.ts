/** How a tensor looks: its values as text and as a shaded table, never more than fits. */
import { escapeHtml } from "./table.ts";
import { extent, formatNumber, plainNumber } from "./parts.ts";
import type { Tensor } from "../ops/tensor.ts";
import type { TypedArray } from "../ops/dtype.ts";
import type { MimeBundle } from "../ops/presenter.ts";

/** More elements than this are shortened to the ends of each axis. */
const ALL = 1000;
const EDGE = 3;

function header(x: Tensor): string {
  const parts = [`Tensor ${x.name === null ? "" : `${x.name} `}[${x.shape.join(", ")}]`, x.dtype, x.device];
  if (x.requiresGrad) parts.push(x.isLeaf ? "requiresGrad" : "computed from parameters");
  return parts.join(" · ");
}

/** Places of an axis that are shown; -1 stands for a gap. */
function shown(n: number, edge: number, whole: boolean): number[] {
  if (whole || n <= 2 * edge) return Array.from({ length: n }, (_, i) => i);
  return [
    ...Array.from({ length: edge }, (_, i) => i),
    -1,
    ...Array.from({ length: edge }, (_, i) => n - edge + i),
  ];
}

function element(v: number, dtype: string, format = plainNumber): string {
  return dtype === "bool" ? (v !== 0 ? "true" : "false") : format(v);
}

/** The values as nested brackets, one row a line, columns aligned. */
function brackets(bits: TypedArray, shape: readonly number[], dtype: string): string {
  if (shape.length === 0) return element(bits[0], dtype);
  const whole = bits.length <= ALL;
  const cells = (axis: number, at: number): string[] => {
    const n = shape[axis], step = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
    return shown(n, EDGE, whole).flatMap((i) =>
      i < 0 ? [] : axis === shape.length - 1 ? [element(bits[at + i], dtype)] : cells(axis + 1, at + i * step)
    );
  };
  const width = bits.length === 0 ? 0 : Math.max(...cells(0, 0).map((s) => s.length));
  const write = (axis: number, at: number, indent: string): string => {
    const n = shape[axis], step = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
    const places = shown(n, EDGE, whole);
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
  const value = x.node.value;
  const why = value?.error ? value.error.message : value === null ? "not computed yet" : "on the device";
  return `${header(x)} (${why}; read it with await x.toArray())`;
}

function summary(bits: TypedArray, dtype: string): string {
  if (bits.length < 2 || dtype === "bool") return "";
  const { low, high, finite, other } = extent(bits as Iterable<number>);
  let mean = 0;
  for (const v of bits) if (Number.isFinite(v)) mean += v / finite;
  const parts = finite > 0
    ? [`min ${formatNumber(low)}`, `mean ${formatNumber(mean)}`, `max ${formatNumber(high)}`]
    : [];
  if (other > 0) parts.push(`${other} not finite`);
  return parts.join(" · ");
}

/** Blue below zero, orange above, stronger the farther from zero; translucent, so that it suits any theme. */
function shade(v: number, most: number): string {
  if (Number.isNaN(v)) return "rgba(200,40,40,0.55)";
  const share = most === 0 ? 0 : Math.min(1, Math.abs(v) / most);
  return v < 0
    ? `rgba(47,134,210,${(0.6 * share).toFixed(2)})`
    : `rgba(217,119,11,${(0.6 * share).toFixed(2)})`;
}

const ROWS = 12, COLUMNS = 12, MATRICES = 3;

function matrixHtml(
  bits: TypedArray,
  at: number,
  rows: number,
  columns: number,
  dtype: string,
  most: number,
): string {
  const line = (i: number): string =>
    shown(columns, COLUMNS / 2, columns <= COLUMNS).map((j) => {
      if (i < 0 || j < 0) return `<td style="text-align:center;padding:1px 6px">…</td>`;
      const v = bits[at + i * columns + j];
      return `<td style="text-align:right;padding:1px 6px;background:${shade(v, most)}">${
        escapeHtml(element(v, dtype, formatNumber))
      }</td>`;
    }).join("");
  return `<table style="border-collapse:collapse;font-variant-numeric:tabular-nums;margin:2px 12px 2px 0;display:inline-table">` +
    shown(rows, ROWS / 2, rows <= ROWS).map((i) => `<tr style="background:none">${line(i)}</tr>`).join("") +
    `</table>`;
}

/** What a notebook shows for a tensor. */
export async function displayTensor(x: Tensor): Promise<MimeBundle> {
  const bits = await x.data();
  const text = `${header(x)}\n${brackets(bits, x.shape, x.dtype)}`;
  const rank = x.rank, columns = rank > 0 ? x.shape[rank - 1] : 1, rows = rank > 1 ? x.shape[rank - 2] : 1;
  const matrices = bits.length === 0 ? 0 : bits.length / (rows * columns);
  const most = Math.max(
    0,
    ...[extent(bits as Iterable<number>)].flatMap((e) =>
      e.finite > 0 ? [Math.abs(e.low), Math.abs(e.high)] : []
    ),
  );
  const tables = Array.from(
    { length: Math.min(matrices, MATRICES) },
    (_, k) => matrixHtml(bits, k * rows * columns, rows, columns, x.dtype, most),
  ).join("");
  const more = matrices > MATRICES
    ? `<div style="opacity:0.7">… ${matrices - MATRICES} more like these</div>`
    : "";
  const facts = summary(bits, x.dtype);
  const html = `<div style="font-size:13px"><div style="opacity:0.75">${escapeHtml(header(x))}${
    facts ? ` — ${escapeHtml(facts)}` : ""
  }</div>${tables}${more}</div>`;
  return { "text/plain": text, "text/html": html };
}
