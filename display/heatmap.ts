/** Heat maps of matrices, as Vega-Lite, as SVG and as shades of text. */

import type { TypedArray } from "../ops/dtype.ts";
import { Tensor } from "../ops/tensor.ts";
import { Chart, type ChartOptions, type ChartParts, frame, heading, range, short } from "./chart.ts";
import { checkHolds, checkNumbers, type Numbers, type Values } from "./chart_input.ts";
import { extent, formatNumber, palette, plainLine } from "./parts.ts";
import { tensorMap } from "./tensor_map.ts";
import { figure } from "./vega.ts";

/** What a heat map shows. */
export interface HeatmapOptions extends ChartOptions {
  /** Rows from top to bottom, or a tensor with two axes. */
  values: readonly Numbers[] | Tensor;
  /** Labels of the columns; their indices if left out. */
  x?: readonly (string | number)[];
  /** Labels of the rows. */
  y?: readonly (string | number)[];
  /** Write the number into each cell; only where there are at most 200. */
  numbers?: boolean;
}

// Averaged beyond that: cells would be smaller than four pixels, or too many.
const MOST_CELLS = 4096, MOST_ROWS = 105, MOST_COLUMNS = 120;

/** A matrix whose cells are means of blocks. */
interface Coarse {
  readonly values: readonly Values[];
  /** Rows and columns in a block. */
  readonly down: number;
  readonly across: number;
}

/**
 * A heat map of a matrix, as of a Jacobian, a Hessian or attention weights, with its values on hover. Colours diverge
 * around 0 where the values have both signs. A tensor with more axes is a map for each matrix.
 */
export function heatmap(
  values: Tensor | HeatmapOptions,
  more: Omit<HeatmapOptions, "values"> = {},
): Chart {
  const options = values instanceof Tensor ? { ...more, values } : values;
  checkHolds("a heat map", options, "values", "heatmap(x) or heatmap({ values: x })");
  const given = options.values;
  if (given instanceof Tensor) {
    if (given.rank !== 2) {
      return new Chart([given], ([bits]) => tensorMap(bits as TypedArray, given.shape, options));
    }
    const [rows, columns] = given.shape;
    return new Chart([given], ([all]) => {
      const line = (i: number): number[] => Array.from({ length: columns }, (_, j) => all[i * columns + j]);
      return heatParts(options, Array.from({ length: rows }, (_, i) => line(i)));
    });
  }
  const rows = Array.from(given),
    length = (row: Numbers) => row instanceof Tensor ? row.shape[0] : row.length;
  rows.forEach((row, i) => checkNumbers(`row ${i} of a heat map`, row));
  const other = rows.find((row) => length(row) !== length(rows[0]));
  if (other !== undefined) {
    throw new RangeError(
      `Cannot draw a heat map of rows of lengths ${length(rows[0])} and ${
        length(other)
      }, which must be equal`,
    );
  }
  return new Chart(rows, (rows) => heatParts(options, rows));
}

function heatParts(options: HeatmapOptions, matrix: readonly Values[]): ChartParts {
  const { values, down, across } = coarsen(matrix);
  const all = extent(values.flatMap((line) => Array.from(line)));
  const whole = values === matrix ? all : extentOf(matrix);
  const bound = Math.max(Math.abs(all.low), Math.abs(all.high));
  // Decimals that the largest has too: more of a small one would not fit its cell. Zero has no sign.
  const decimals = Math.max(0, Math.min(100, 2 - Math.floor(Math.log10(bound || 1))));
  const written = (value: number): number => bound < 1e-4 ? value : Number(value.toFixed(decimals)) + 0;
  const rows = values.length, columns = widthOf(values);
  const rowLabels = distinct(rows, down, options.y), columnLabels = distinct(columns, across, options.x);
  const cells = values.flatMap((line, i) =>
    Array.from(line, (value, j) => ({
      row: rowLabels[i],
      column: columnLabels[j],
      value: Number.isFinite(value) ? short(value) : null,
      text: formatNumber(written(value), 2),
    }))
  );
  const bothSigns = all.low < 0 && all.high > 0;
  const color = {
    field: "value",
    type: "quantitative",
    title: null,
    scale: bothSigns ? { scheme: "blueorange", domain: [-bound, bound] } : { scheme: "viridis", zero: false },
    condition: { test: "datum.value === null", value: palette[6] },
  };
  // Cells are square, of whole pixels so that no seams show, until they would not fit.
  const room = Math.min((options.width ?? 480) / Math.max(columns, 1), 420 / Math.max(rows, 1));
  const side = Math.floor(Math.max(4, Math.min(40, room)));
  const axis = (field: string, title: string | undefined, labels: string[], given: boolean) => ({
    field,
    type: "ordinal",
    sort: null,
    title: title ?? null,
    axis: {
      labelOverlap: true,
      labelSeparation: given ? 2 : 10,
      ...(field === "row" || labels.every((label) => !given || label.length * 6 < side)
        ? { labelAngle: 0 }
        : {}),
      labelPadding: 5,
      ticks: false,
      domain: false,
    },
  });
  const other = matrix.reduce((n, line) => n + extent(Array.from(line)).other, 0);
  const subtitle = other > 0 ? [`${other} value${other > 1 ? "s" : ""} not finite`] : [];
  if (down * across > 1) {
    subtitle.push(`each cell is the mean of ${formatNumber(down)} × ${formatNumber(across)} values`);
  }
  const encoding = {
    x: axis("column", options.xTitle, columnLabels, options.x !== undefined),
    y: axis("row", options.yTitle, rowLabels, options.y !== undefined),
  };
  const cell = {
    mark: { type: "rect", tooltip: true, invalid: null },
    encoding: {
      color,
      tooltip: [{ field: "row" }, { field: "column" }, { field: "text", title: "value" }].map((part) => ({
        ...part,
        type: "nominal",
      })),
    },
  };
  const numbers = {
    mark: { type: "text", fontSize: 10, baseline: "middle" },
    encoding: {
      text: { field: "text", type: "nominal" },
      color: { value: "#111111", condition: { test: darkCell(bothSigns, all, bound), value: "#f4f4f4" } },
    },
  };
  const spec = figure({
    ...frame(options, 0, subtitle),
    width: side * columns,
    height: side * rows,
    autosize: "pad",
    data: { values: cells },
    encoding,
    layer: options.numbers === true && cells.length <= 200 ? [cell, numbers] : [cell],
  });
  return { spec, text: () => heatText(options, matrix, values, all, { ...whole, other }) };
}

/** A label for each row or column; equal ones differ by characters without width, or their cells would coincide. */
function distinct(count: number, factor: number, labels: readonly (string | number)[] | undefined): string[] {
  const seen = new Map<string, number>();
  return Array.from({ length: count }, (_, i) => {
    const label = labels === undefined || factor > 1 ? String(i * factor) : plainLine(labels[i] ?? i);
    const times = seen.get(label) ?? 0;
    seen.set(label, times + 1);
    return label + "\u200b".repeat(times);
  });
}

/** Averages blocks of a matrix with too many rows, columns or cells. */
function coarsen(values: readonly Values[]): Coarse {
  const rows = values.length, columns = widthOf(values);
  let down = Math.max(1, Math.ceil(rows / MOST_ROWS)),
    across = Math.max(1, Math.ceil(columns / MOST_COLUMNS));
  if (Math.ceil(rows / down) * Math.ceil(columns / across) > MOST_CELLS) {
    const both = Math.ceil(Math.sqrt(rows * columns / MOST_CELLS));
    [down, across] = [Math.max(down, both), Math.max(across, both)];
  }
  if (down === 1 && across === 1) return { values, down, across };
  const blocks = Array.from({ length: Math.ceil(rows / down) }, (_, i) => {
    const sums = new Float64Array(Math.ceil(columns / across)), counts = new Float64Array(sums.length);
    for (const line of values.slice(i * down, (i + 1) * down)) {
      for (let j = 0; j < line.length; j++) {
        if (!Number.isFinite(line[j])) continue;
        sums[Math.floor(j / across)] += line[j];
        counts[Math.floor(j / across)]++;
      }
    }
    return sums.map((sum, j) => sum / counts[j]); // NaN where none is finite
  });
  return { values: blocks, down, across };
}

function widthOf(values: readonly Values[]): number {
  return values.reduce((most, line) => Math.max(most, line.length), 0);
}

/** An expression that is true where dark digits would not be read. */
function darkCell(bothSigns: boolean, { low, high }: { low: number; high: number }, bound: number): string {
  return bothSigns
    ? `abs(datum.value) > ${0.6 * bound}`
    : `datum.value !== null && datum.value < ${low + 0.55 * (high - low)}`;
}

type Extent = ReturnType<typeof extent>;

/** The extent of all rows. */
function extentOf(matrix: readonly Values[]): Extent {
  return extent(matrix.flatMap((line) => {
    const { low, high, other } = extent(Array.from(line));
    return other === line.length ? [] : [low, high];
  }));
}

function heatText(
  options: HeatmapOptions,
  matrix: readonly Values[],
  cells: readonly Values[],
  all: Extent,
  whole: Extent,
): string {
  const shades = " ░▒▓█";
  const columns = widthOf(cells);
  const rowStep = Math.ceil(cells.length / 20), columnStep = Math.ceil(columns / 40);
  const lines: string[] = [];
  for (let i = 0; i < cells.length; i += rowStep) {
    let line = "";
    for (let j = 0; j < columns; j += columnStep) {
      const value = cells[i][j];
      const share = all.high === all.low ? 0.5 : (value - all.low) / (all.high - all.low);
      line += Number.isFinite(value) ? shades[Math.min(4, Math.floor(share * 5))].repeat(2) : "××";
    }
    lines.push(line);
  }
  const size = `${matrix.length} × ${widthOf(matrix)}`;
  const thinned = rowStep * columnStep > 1 ? ", not every cell shown" : "";
  return [heading(options, `${size}, ${range(whole)}${thinned}`), ...lines].join("\n");
}
