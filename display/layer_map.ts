/** Maps of layers by steps. */
import { type ChartOptions, type ChartParts, frame, heading } from "./chart.ts";
import { distinctNames, layerAxis, LONGEST, MOST_ROWS, rowHeight, size } from "./layer_charts.ts";
import { consoleText, extent, formatNumber, plainLine, shorten } from "./parts.ts";
import { figure } from "./vega.ts";

/** Numbers by layer and step. */
export interface LayerHistory {
  /** From first to last. */
  readonly layers: readonly string[];
  /** The steps, in order. */
  readonly steps: readonly number[];
  /** For each step a number for each layer; NaN where there is none. */
  readonly values: readonly ArrayLike<number>[];
}

const MOST_COLUMNS = 120, MOST_CELLS = 4096;

/** Neighbouring steps joined to their geometric mean, so that the map stays small. */
function joinSteps({ layers, steps, values }: LayerHistory): { step: number; logs: number[] }[] {
  const most = Math.max(1, Math.min(MOST_COLUMNS, Math.floor(MOST_CELLS / Math.max(layers.length, 1))));
  const each = Math.max(1, Math.ceil(steps.length / most)); // Columns of equal length meet without seams.
  return Array.from({ length: Math.ceil(steps.length / each) }, (_, k) => {
    const from = k * each, to = Math.min(steps.length, from + each);
    const logs = layers.map((_, i) => {
      let sum = 0, count = 0;
      for (let at = from; at < to; at++) {
        const v = values[at][i];
        if (!(v > 0) || v === Infinity) continue;
        sum += Math.log10(v);
        count++;
      }
      return count === 0 ? NaN : sum / count;
    });
    return { step: steps[from], logs };
  });
}

/** A map of layers by steps, coloured by powers of ten; around `middle`, if given, blue below and orange above. */
export function layerMap(options: ChartOptions & { middle?: number }, history: LayerHistory): ChartParts {
  const names = distinctNames(history.layers), columns = joinSteps(history);
  const step = columns.length > 1 ? columns[1].step - columns[0].step : 1;
  const box = size(options, names, rowHeight(names.length), ["1e-12", "      "]);
  const across = Math.max(1, columns.length), width = Math.floor(box.width as number / across) * across;
  const rows = columns.flatMap(({ step: from, logs }) =>
    logs.map((log, i) => ({
      layer: names[i],
      from,
      to: from + step,
      log: Number.isFinite(log) ? Number(log.toFixed(2)) : null,
    }))
  );
  const { low, high } = extent(rows.map((r) => r.log ?? NaN));
  const middle = options.middle === undefined ? null : Math.log10(options.middle);
  const reach = middle === null ? 0 : Math.max(1, high - middle, middle - low);
  const color = {
    field: "log",
    type: "quantitative",
    title: null,
    scale: middle === null
      ? { scheme: "viridis", zero: false }
      : { scheme: "blueorange", domain: [middle - reach, middle + reach] },
    legend: {
      format: ".0f",
      labelExpr: "'1e' + replace(datum.label, '−', '-')",
      tickMinStep: 1,
      gradientThickness: 10,
    },
    condition: { test: "datum.log === null", value: "#80808040" },
  };
  const spec = figure({
    ...frame(options, 0, []),
    ...box,
    width: width > 0 ? width : box.width,
    data: { values: rows },
    transform: [{
      calculate: "datum.log === null ? 'zero or none' : format(pow(10, datum.log), '.3~g')",
      as: "value",
    }],
    mark: { type: "rect", tooltip: true },
    encoding: {
      y: layerAxis(names),
      x: {
        field: "from",
        type: "quantitative",
        title: options.xTitle ?? "step",
        scale: {
          nice: false,
          zero: false,
          domain: [columns[0]?.step ?? 0, (columns.at(-1)?.step ?? 0) + step],
        },
        axis: { tickMinStep: 1, tickCount: 6, grid: false },
      },
      x2: { field: "to" },
      color,
      tooltip: [
        { field: "layer", type: "nominal" },
        { field: "from", type: "quantitative", title: "step" },
        { field: "value", type: "nominal" },
      ],
    },
  });
  return { spec, text: () => mapText(options, history, columns, low, high) };
}

function mapText(
  options: ChartOptions,
  { layers, steps }: LayerHistory,
  columns: { logs: number[] }[],
  low: number,
  high: number,
): string {
  const shades = " ░▒▓█",
    width = Math.min(LONGEST, Math.max(1, ...layers.map((l) => [...plainLine(l)].length)));
  const every = Math.max(1, Math.ceil(columns.length / 48)),
    step = Math.max(1, Math.ceil(layers.length / MOST_ROWS));
  const lines = layers.flatMap((layer, i) => {
    if (i % step !== 0) return [];
    const cells = columns.filter((_, k) => k % every === 0).map(({ logs }) => {
      if (Number.isNaN(logs[i])) return "×";
      return shades[high > low ? Math.min(4, Math.floor((logs[i] - low) / (high - low) * 5)) : 2];
    });
    const last = columns.at(-1)?.logs[i] ?? NaN;
    const end = Number.isNaN(last) ? "none" : consoleText(formatNumber(10 ** last, 2));
    return [`${shorten(plainLine(layer) || "(model)", width).padEnd(width)} |${cells.join("")}| ${end}`];
  });
  const scale = low <= high
    ? `${consoleText(formatNumber(10 ** low, 2))} (light) to ${
      consoleText(formatNumber(10 ** high, 2))
    } (dark)`
    : "no values";
  return [
    heading(
      options,
      `${layers.length} layers, ${steps.length} ${steps.length === 1 ? "step" : "steps"}, ${scale}`,
    ),
    ...lines,
  ].join("\n");
}
