/** Tensors of any size as small maps of colour: a facet for each matrix, blocks of elements averaged. */
import type { TypedArray } from "../ops/dtype.ts";
import { type Shape, sizeOf } from "../ops/shape.ts";
import { type ChartOptions, type ChartParts, short, wrapped } from "./chart.ts";
import { consoleText, extent, formatNumber, ink, palette, plainLine } from "./parts.ts";
import { figure, type VegaLiteSpec } from "./vega.ts";

/** Facets, and cells in all of them: more would weigh more than they show. */
const MOST_FACETS = 12, MOST_CELLS = 2400;
/** As many elements as this are shown each, so that matrices of usual sizes are not averaged. */
const FEW = 5000;

/** A tensor cut into facets of averaged blocks. */
interface Facets {
  /** Facets shown, of `all`. */
  readonly shown: number;
  readonly all: number;
  /** Rows and columns of a facet after averaging. */
  readonly rows: number;
  readonly columns: number;
  /** Elements that a cell stands for, down and across. */
  readonly high: number;
  readonly wide: number;
  /** Means of the finite elements, facet by facet, row by row; null where there is none. */
  readonly cells: (number | null)[];
}

function facetsOf(bits: TypedArray, shape: Shape): Facets {
  const C = shape.at(-1) ?? 1, R = shape.at(-2) ?? 1, all = sizeOf(shape.slice(0, -2));
  const shown = Math.min(all, MOST_FACETS), budget = MOST_CELLS / shown;
  const isWhole = shown * R * C <= FEW && C <= 120 && R <= 80;
  const aspect = Math.min(4, Math.max(1 / 4, C / R));
  const mostColumns = isWhole
    ? C
    : Math.min(C, Math.max(8, Math.min(96, Math.round(Math.sqrt(budget * aspect)))));
  const wide = Math.ceil(C / mostColumns), columns = Math.ceil(C / wide);
  const high = isWhole ? 1 : Math.ceil(R / Math.max(1, Math.min(R, 64, Math.floor(budget / columns)))),
    rows = Math.ceil(R / high);
  const sums = new Float64Array(shown * rows * columns), counts = new Uint32Array(sums.length);
  for (let f = 0; f < shown; f++) {
    for (let i = 0; i < R; i++) {
      const from = (f * R + i) * C, to = (f * rows + Math.floor(i / high)) * columns;
      for (let j = 0; j < C; j++) {
        const v = bits[from + j], at = to + Math.floor(j / wide);
        if (!Number.isFinite(v)) continue;
        sums[at] += v;
        counts[at]++;
      }
    }
  }
  const cells = Array.from(sums, (s, i) => counts[i] === 0 ? null : short(s / counts[i]));
  return { shown, all, rows, columns, high, wide, cells };
}

/** Least, mean, largest and spread of the elements, and how many are zero or not finite. */
export function statistics(bits: TypedArray, dtype: string): string {
  if (bits.length === 0) return "no elements";
  let sum = 0, squares = 0, zeros = 0;
  const { low, high, finite, other } = extent(bits as Iterable<number>);
  for (const v of bits) {
    if (v === 0) zeros++;
    if (Number.isFinite(v)) sum += v;
  }
  const mean = sum / finite;
  if (dtype === "bool") return `${formatNumber(bits.length - zeros)} of ${formatNumber(bits.length)} true`;
  for (const v of bits) if (Number.isFinite(v)) squares += (v - mean) ** 2;
  const share = (n: number): string =>
    n === bits.length ? "all" : `${formatNumber(100 * n / bits.length, 2)} %`;
  return [
    ...(finite === 0 ? [] : [
      `min ${formatNumber(low)}`,
      `mean ${formatNumber(mean)}`,
      `max ${formatNumber(high)}`,
      `std ${formatNumber(Math.sqrt(squares / finite))}`,
    ]),
    ...(zeros > bits.length / 20 ? [`${share(zeros)} zero`] : []),
    ...(other > 0 ? [`${formatNumber(other)} not finite (${share(other)})`] : []),
  ].join(" · ");
}

/** The map of a tensor; `lines` stand below its title. */
export function tensorMap(
  bits: TypedArray,
  shape: Shape,
  options: ChartOptions & { lines?: readonly string[] } = {},
): ChartParts {
  const facets = facetsOf(bits, shape), { shown, all, rows, columns, high, wide, cells } = facets;
  const { low, high: top, finite } = extent(cells.map((c) => c ?? NaN));
  const bound = Math.max(Math.abs(low), Math.abs(top)), bothSigns = low < 0 && top > 0;
  const perRow = shown === 1 ? 1 : Math.max(1, Math.min(shown, columns > 48 ? 2 : columns > 24 ? 3 : 4));
  const room = (options.width ?? 500) / perRow - (shown > 1 ? 14 : 30);
  const wideCell = Math.max(2, Math.min(22, Math.floor(room / columns)));
  const highCell = Math.max(2, Math.min(22, Math.floor((shown > perRow ? 130 : 260) / rows)));
  const side = Math.min(wideCell, highCell), isSquare = wide === high && side >= 3;
  const notes = [
    ...(all > shown ? [`${shown} of ${formatNumber(all)} matrices`] : []),
    ...(wide * high > 1 ? [`a cell is the mean of ${high} × ${wide} elements`] : []),
  ];
  const lead = shape.slice(0, -2);
  const title = {
    text: options.title === undefined ? [] : [plainLine(options.title)],
    subtitle: [...options.lines ?? [], ...notes].flatMap((line) => wrapped(line)),
  };
  const cell: VegaLiteSpec = {
    width: (isSquare ? side : wideCell) * columns,
    height: (isSquare ? side : highCell) * rows,
    mark: { type: "rect", tooltip: true, invalid: null },
    encoding: {
      x: { field: "j", type: "ordinal", title: null, axis: axis(shown === 1, wide) },
      y: { field: "i", type: "ordinal", title: null, axis: axis(shown === 1, high) },
      color: {
        condition: { test: "datum.v === null", value: palette[6] },
        field: "v",
        type: "quantitative",
        title: null,
        scale: bothSigns ? { scheme: "blueorange", domain: [-bound, bound] } : {
          scheme: "viridis",
          zero: false,
          ...(finite === 0 || low === top ? { domain: [low - 1, low + 1] } : {}),
        },
        legend: finite === 0 || low === top ? null : {
          gradientThickness: 10,
          gradientLength: Math.max(40, Math.min(120, highCell * rows)),
          format: ".3~g",
        },
      },
      tooltip: [
        ...(all > 1 ? [{ field: "facet", type: "nominal", title: "at" }] : []),
        { field: "row", type: "nominal" },
        { field: "column", type: "nominal" },
        { field: "value", type: "nominal" },
      ],
    },
  };
  const place = (index: string, by: number, most: number): string =>
    by === 1 ? index : `${index} * ${by} + ' to ' + min(${most - 1}, ${index} * ${by} + ${by - 1})`;
  const per = rows * columns;
  const spec = figure({
    ...(title.text.length + title.subtitle.length === 0 ? {} : {
      title: title.text.length > 0 ? title : { text: title.subtitle, fontSize: 11, fontWeight: "normal" },
    }),
    // Numbers alone, since names in each would weigh several times as much.
    data: { values: cells.map((c) => c ?? "NaN") },
    transform: [
      { window: [{ op: "row_number", as: "n" }] },
      { calculate: "isNumber(datum.data) ? datum.data : null", as: "v" },
      { calculate: `floor((datum.n - 1) / ${per})`, as: "f" },
      { calculate: `floor(((datum.n - 1) % ${per}) / ${columns})`, as: "i" },
      { calculate: `(datum.n - 1) % ${columns}`, as: "j" },
      { calculate: place("datum.i", high, shape.at(-2) ?? 1), as: "row" },
      { calculate: place("datum.j", wide, shape.at(-1) ?? 1), as: "column" },
      { calculate: "datum.v === null ? 'not finite' : format(datum.v, '.4~g')", as: "value" },
      ...(all > 1 ? [{ calculate: places(lead), as: "facet" }] : []),
    ],
    ...(shown === 1 ? { autosize: "pad", ...cell } : {
      facet: {
        field: "facet",
        type: "nominal",
        title: null,
        sort: { field: "f", op: "min" },
        header: { labelColor: ink, labelFontSize: 10, labelPadding: 3 },
      },
      columns: perRow,
      spacing: 12,
      spec: cell,
    }),
  });
  return { spec, text: () => mapText(options, facets, low, top, notes) };
}

/** Few labels, where each cell has a number of its own or where its block begins. */
const axis = (isShown: boolean, each: number): VegaLiteSpec | null =>
  isShown
    ? {
      ticks: false,
      domain: false,
      labelAngle: 0,
      labelOverlap: "greedy",
      labelSeparation: 14,
      labelExpr: `datum.value * ${each}`,
    }
    : null;

/** `[0, 2]` of facet number `f`. */
function places(lead: Shape): string {
  const parts = lead.map((n, axis) => `floor(datum.f / ${sizeOf(lead.slice(axis + 1))}) % ${n}`);
  return `'[' + ${parts.join(" + ', ' + ")} + ']'`;
}

function mapText(
  options: ChartOptions,
  { shown, rows, columns, cells }: Facets,
  low: number,
  high: number,
  notes: string[],
): string {
  const shades = " ░▒▓█",
    rowStep = Math.ceil(rows / 16),
    columnStep = Math.ceil(columns / 36),
    lines: string[] = [];
  for (let f = 0; f < Math.min(shown, 3); f++) {
    for (let i = 0; i < rows; i += rowStep) {
      let line = "";
      for (let j = 0; j < columns; j += columnStep) {
        const v = cells[(f * rows + i) * columns + j],
          share = high === low || v === null ? 0.5 : (v - low) / (high - low);
        line += v === null ? "××" : shades[Math.min(4, Math.floor(share * 5))].repeat(2);
      }
      lines.push(line.trimEnd());
    }
    if (f + 1 < Math.min(shown, 3)) lines.push("");
  }
  const range = low <= high
    ? [consoleText(`${formatNumber(low)} (light) to ${formatNumber(high)} (dark)`)]
    : [];
  return [[options.title ?? "", ...range, ...notes].filter(Boolean).join(" · "), ...lines].join("\n");
}
