/** Charts with a row for each layer: lines of several runs, bars of shares, strips of histograms. */
import { type ChartOptions, type ChartParts, frame, heading, logLabel, short } from "./chart.ts";
import { consoleText, extent, formatNumber, palette, plainLine, shorten } from "./parts.ts";
import { figure, type VegaLiteSpec } from "./vega.ts";

const LETTER = 6.4; // Pixels, of the widest system font at 11 pixels.

/** As high as its rows, and as wide as names at the left and notes at the right leave room for. */
export function size(
  options: ChartOptions,
  names: readonly string[],
  row: number,
  notes: readonly string[] = [],
): VegaLiteSpec {
  const longest = (list: readonly string[]): number =>
    LETTER * Math.max(0, ...list.map((text) => text.length));
  const left = Math.min(170, longest(names)) + 16, right = notes.length === 0 ? 12 : longest(notes) + 12;
  return {
    width: Math.max(120, Math.round((options.width ?? 560) - left - right)),
    height: options.height ?? Math.max(40, row * names.length),
    autosize: "pad",
  };
}
/** Characters of a layer's name in text. */
export const LONGEST = 24;
/** Rows of text. */
export const MOST_ROWS = 40;

/** Names in the order given; equal ones differ by characters without width, or their rows would coincide. */
export function distinctNames(names: readonly string[]): string[] {
  const seen = new Map<string, number>();
  return names.map((name) => {
    const label = plainLine(name) || "(model)", times = seen.get(label) ?? 0;
    seen.set(label, times + 1);
    return label + "\u200b".repeat(times);
  });
}

/** Rows as high as fits: readable where they are few, lines where they are many. */
export function rowHeight(rows: number, most = 20): number {
  return Math.max(3, Math.min(most, Math.floor(480 / Math.max(rows, 1))));
}

/** The axis of layers, first on top. */
export function layerAxis(names: readonly string[], title: string | null = null): VegaLiteSpec {
  return {
    field: "layer",
    type: "ordinal",
    sort: null,
    scale: { domain: names },
    title,
    axis: { labelOverlap: "greedy", labelLimit: 170, ticks: false, domain: false, labelPadding: 6 },
  };
}

/** What a chart of layers shows. */
export interface LayerSeries {
  /** From first to last. */
  readonly layers: readonly string[];
  /** By run: a number for each layer; NaN where there is none. */
  readonly runs: Readonly<Record<string, readonly number[]>>;
}

/** A line through the layers for each run, on a log scale; without lines where `dots` are no sequence. */
export function layerLines(
  options: ChartOptions & { dots?: boolean },
  { layers, runs }: LayerSeries,
): ChartParts {
  const names = distinctNames(layers), series = Object.keys(runs).map(plainLine), many = series.length > 1;
  const rows = Object.values(runs).flatMap((values, run) =>
    values.map((value, i) => ({
      layer: names[i],
      index: i,
      value: value > 0 && Number.isFinite(value) ? short(value) : null,
      series: series[run],
    }))
  );
  const notes = Object.entries(runs).flatMap(([run, values]) => {
    const of = many ? ` of ${plainLine(run)}` : "";
    const list = (test: (v: number) => boolean): string[] => layers.filter((_, i) => test(values[i]));
    const said = (what: string, names: string[]): string[] =>
      names.length === 0
        ? []
        : [`${what}${of}: ${names.length > 3 ? `${names.length} layers` : names.map(plainLine).join(", ")}`];
    return [
      ...said("zero", list((v) => v === 0)),
      ...said("none", list((v) => v === null || Number.isNaN(v))),
      ...said("infinite", list((v) => v === Infinity)),
    ];
  });
  const { low, high } = extent(rows.map((r) => r.value ?? NaN)), isFlat = !(high > low * 1.5);
  const color = many
    ? {
      color: {
        field: "series",
        type: "nominal",
        title: null,
        sort: null,
        scale: { domain: series },
        legend: { orient: "top", labelLimit: 240 },
      },
    }
    : { color: { value: palette[0] } };
  const encoding = {
    y: layerAxis(names),
    x: {
      field: "value",
      type: "quantitative",
      title: options.xTitle ?? null,
      scale: { type: "log", nice: true, ...(isFlat && low > 0 ? { domain: [low / 3, high * 3] } : {}) },
      axis: { tickCount: 6, format: "~g", labelExpr: logLabel, labelOverlap: true },
    },
    ...color,
  };
  const tooltip = [
    ...(many ? [{ field: "series", type: "nominal", title: "run" }] : []),
    { field: "layer", type: "nominal" },
    { field: "value", type: "quantitative", title: plainLine(options.xTitle ?? "value"), format: ".4~g" },
  ];
  const spec = figure({
    ...frame(options, 0, notes),
    ...size(options, names, rowHeight(names.length)),
    data: { values: rows },
    encoding,
    layer: [
      ...(options.dots ? [] : [{
        mark: { type: "line", strokeWidth: 1.6, opacity: 0.8 },
        encoding: { order: { field: "index", type: "quantitative" } },
      }]),
      {
        mark: { type: "point", filled: true, size: names.length > 40 ? 14 : 40, opacity: 1 },
        encoding: { tooltip },
      },
    ],
  });
  return { spec, text: () => layerText(options, layers, runs, true) };
}

/** A row of text for each layer: its name, a bar and the number. */
function layerText(
  options: ChartOptions,
  layers: readonly string[],
  runs: LayerSeries["runs"],
  log: boolean,
): string {
  const width = Math.min(LONGEST, Math.max(1, ...layers.map((l) => [...plainLine(l)].length)));
  const lines: string[] = [];
  for (const [run, values] of Object.entries(runs)) {
    const scale = (v: number): number => log ? Math.log(v > 0 ? v : NaN) : v;
    const { low, high } = log ? extent(values.map(scale)) : { low: 0, high: 1 };
    if (Object.keys(runs).length > 1) lines.push(plainLine(run));
    const step = Math.max(1, Math.ceil(layers.length / MOST_ROWS));
    for (let i = 0; i < layers.length; i += step) {
      const v = values[i], share = high > low ? (scale(v) - low) / (high - low) : 1;
      const bar = Number.isFinite(share)
        ? "█".repeat(log ? 1 + Math.round(share * 19) : Math.round(share * 20))
        : "";
      const text = Number.isNaN(v)
        ? "none"
        : log
        ? consoleText(formatNumber(v, 3))
        : `${Math.round(v * 100)} %`;
      lines.push(
        `${shorten(plainLine(layers[i]) || "(model)", width).padEnd(width)} ${
          (v > 0 ? bar : "").padEnd(20)
        } ${text}`,
      );
    }
    if (step > 1) lines.push(`(every ${step}th of ${layers.length} layers)`);
  }
  return [heading(options, options.xTitle ?? ""), ...lines].filter(Boolean).join("\n");
}

/** A share for each row. */
export interface LayerShare {
  /** The row. */
  readonly layer: string;
  /** What it is a share of: the colour. */
  readonly kind: string;
  /** From 0 to 1. */
  readonly share: number;
}

/** A bar from 0 to 100 % for each row, coloured by kind. */
export function layerShares(options: ChartOptions, shares: readonly LayerShare[]): ChartParts {
  const names = distinctNames(shares.map((s) => s.layer)), kinds = [...new Set(shares.map((s) => s.kind))];
  const rows = shares.map((s, i) => ({
    layer: names[i],
    kind: s.kind,
    share: Number.isFinite(s.share) ? short(s.share) : null,
    label: `${Math.round(s.share * 100)} %`,
  }));
  const spec = figure({
    ...frame(options, 0, []),
    ...size(options, names, rowHeight(names.length)),
    data: { values: rows },
    encoding: {
      y: layerAxis(names),
      x: {
        field: "share",
        type: "quantitative",
        title: options.xTitle ?? null,
        scale: { domain: [0, 1] },
        axis: { format: ".0%", tickCount: 5 },
      },
    },
    layer: [
      {
        mark: { type: "bar", cornerRadiusEnd: 2, height: { band: 0.72 } },
        encoding: {
          color: {
            field: "kind",
            type: "nominal",
            title: null,
            scale: { domain: kinds },
            legend: { orient: "top" },
          },
          tooltip: [
            { field: "layer", type: "nominal" },
            { field: "kind", type: "nominal" },
            { field: "share", type: "quantitative", format: ".1%" },
          ],
        },
      },
      ...(names.length > 32 ? [] : [{
        mark: { type: "text", align: "left", dx: 4, fontSize: 10 },
        encoding: { text: { field: "label", type: "nominal" } },
      }]),
    ],
  });
  const text = (): string =>
    layerText(options, shares.map((s) => s.layer), { "": shares.map((s) => s.share) }, false);
  return { spec, text };
}

/** A histogram of one layer. */
export interface LayerHistogram {
  /** The row. */
  readonly layer: string;
  /** Elements in each interval. */
  readonly counts: ArrayLike<number>;
  /** What stands at the right of the row. */
  readonly note: string;
}

/** What the intervals of strips are. */
export interface Intervals {
  /** Where the first begins. */
  readonly low: number;
  /** Where the last ends. */
  readonly high: number;
  /** How values are written: as they are, or as powers of ten of them. */
  readonly powers?: boolean;
}

/** A strip for each layer, darker where more of its elements are. */
export function layerStrips(
  options: ChartOptions,
  histograms: readonly LayerHistogram[],
  { low, high, powers = false }: Intervals,
): ChartParts {
  const names = distinctNames(histograms.map((h) => h.layer));
  const rows = histograms.flatMap(({ counts }, i) => {
    const list = Array.from(counts), most = Math.max(...list), total = list.reduce((a, b) => a + b, 0);
    const step = (high - low) / list.length;
    return list.flatMap((count, k) =>
      count > 0
        ? [{
          layer: names[i],
          from: short(low + k * step),
          to: short(low + (k + 1) * step),
          shade: short(count / most),
          share: short(count / total),
        }]
        : []
    );
  });
  const labels = histograms.map(({ note }, i) => ({ layer: names[i], note }));
  const noted = names.length > 32 ? [] : labels.map((l) => l.note);
  const axis = powers
    ? {
      labelExpr: "datum.value == 0 ? '1' : '1e' + replace(datum.label, '−', '-')",
      tickMinStep: 1,
      format: "d",
    }
    : {};
  const spec = figure({
    ...frame(options, 0, []),
    ...size(options, names, rowHeight(names.length, 24), noted),
    layer: [
      {
        data: { values: rows },
        mark: { type: "rect", tooltip: true, height: { band: 0.86 }, color: palette[0] },
        encoding: {
          y: layerAxis(names),
          x: {
            field: "from",
            type: "quantitative",
            title: options.xTitle ?? null,
            scale: { domain: [low, high], nice: false, zero: false },
            axis: { tickCount: 6, ...axis },
          },
          x2: { field: "to" },
          opacity: {
            field: "shade",
            type: "quantitative",
            scale: { type: "sqrt", domain: [0, 1], range: [0.04, 1] },
            legend: null,
          },
          tooltip: [
            { field: "layer", type: "nominal" },
            { field: "from", type: "quantitative", title: powers ? "from 10^" : "from", format: ".3~g" },
            { field: "to", type: "quantitative", title: powers ? "to 10^" : "to", format: ".3~g" },
            { field: "share", type: "quantitative", format: ".2%" },
          ],
        },
      },
      ...(names.length > 32 ? [] : [{
        data: { values: labels },
        mark: { type: "text", align: "left", dx: 6, fontSize: 10 },
        encoding: {
          y: layerAxis(names),
          x: { datum: high },
          text: { field: "note", type: "nominal" },
        },
      }]),
    ],
  });
  return { spec, text: () => stripText(options, histograms) };
}

function stripText(options: ChartOptions, histograms: readonly LayerHistogram[]): string {
  const width = Math.min(LONGEST, Math.max(1, ...histograms.map((h) => [...plainLine(h.layer)].length)));
  const shades = " ░▒▓█", step = Math.max(1, Math.ceil(histograms.length / MOST_ROWS));
  const lines = histograms.filter((_, i) => i % step === 0).map(({ layer, counts, note }) => {
    const list = Array.from(counts), each = Math.max(1, Math.floor(list.length / 32));
    const joined = Array.from(
      { length: Math.ceil(list.length / each) },
      (_, k) => list.slice(k * each, (k + 1) * each).reduce((a, b) => a + b, 0),
    );
    const most = Math.max(...joined);
    const bar = joined.map((n) => n === 0 ? " " : shades[Math.max(1, Math.ceil(n / most * 4))]).join("");
    return `${shorten(plainLine(layer) || "(model)", width).padEnd(width)} |${bar}| ${note}`;
  });
  return [heading(options, options.xTitle ?? ""), ...lines].filter(Boolean).join("\n");
}
