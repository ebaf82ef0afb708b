/** Charts of lines and points, as Vega-Lite, as SVG and as a few lines of text. */

import { Node, wrap } from "../ops/node.ts";
import { readNodes } from "../ops/runs.ts";
import { Tensor } from "../ops/tensor.ts";
import { Drawing, messageOf, type Presentation } from "./bundle.ts";
import {
  brailleDots,
  consoleText,
  extent,
  formatNumber,
  kindOf,
  palette,
  plainLine,
  shorten,
  sparkline,
} from "./parts.ts";
import {
  called,
  checkHolds,
  checkSeries,
  isNumbers,
  isPoints,
  namedSeries,
  type Numbers,
  type Points,
  type Series,
  type Values,
} from "./chart_input.ts";
import { figure, presentFigure, type VegaLiteSpec } from "./vega.ts";

export type { Numbers, Points, Values } from "./chart_input.ts";

/** What all charts take: titles, and the size in pixels with axes and legend. */
export interface ChartOptions {
  /** Stands above the chart. */
  title?: string;
  /** Stands below the title, smaller. */
  subtitle?: string;
  /** Names the horizontal axis. */
  xTitle?: string;
  /** Names the vertical axis. */
  yTitle?: string;
  /** 560 pixels if left out. */
  width?: number;
  /** Suits the kind of chart if left out. */
  height?: number;
}

/** What a line chart shows. */
export interface LineChartOptions extends ChartOptions {
  /** One series, a list, or series by name; each as values, or as points with their own x. */
  series: Numbers | readonly Numbers[] | Record<string, Numbers | Points>;
  /** The x of every series given as values; 0, 1, 2, ... if left out. */
  x?: Numbers;
  /** Linear if left out. */
  xScale?: "linear" | "log";
  /** Linear if left out. */
  yScale?: "linear" | "log";
  /** Names of series that are drawn dashed. */
  dashed?: readonly string[];
}

/** What a scatter chart shows. */
export interface ScatterChartOptions extends ChartOptions {
  /** One cloud, or clouds by name. */
  points: Points | Record<string, Points>;
  /** Linear if left out. */
  xScale?: "linear" | "log";
  /** Linear if left out. */
  yScale?: "linear" | "log";
}

const MOST_LINE_POINTS = 2000; // Of a series: more are thinned to the extremes of equal stretches.
const MOST_SCATTER_POINTS = 5000;

/** What a chart is made of once its numbers are there. `still` is the spec without what only a pointer can reach. */
export interface ChartParts {
  /** The figure as Vega-Lite v5. */
  spec: VegaLiteSpec;
  /** The spec for pictures; the same if left out. */
  still?: VegaLiteSpec;
  /** The chart as a few lines of text. */
  text: () => string;
}

/** A chart. `spec` is plain Vega-Lite, to be changed or written to a file. */
export class Chart extends Drawing {
  /** Nodes of tensors as they were given: a later step gives a parameter new values. */
  readonly #inputs: readonly (Values | Node)[];
  readonly #build: (values: Values[]) => ChartParts;
  #parts: ChartParts | null = null;

  /** Tensors among the inputs are read when the chart is drawn. */
  constructor(inputs: readonly Numbers[], build: (values: Values[]) => ChartParts) {
    super();
    this.#inputs = inputs.map((x) => x instanceof Tensor ? x.node : x);
    this.#build = build;
    if (!this.#inputs.some(isNode)) this.#parts = build(this.#inputs as Values[]);
  }

  /** The figure as Vega-Lite v5. */
  get spec(): VegaLiteSpec {
    const parts = this.#known();
    if (parts !== null) return parts.spec;
    throw new TypeError(
      "Cannot give the spec of a chart of tensors that are not read yet: draw it first, or chart await x.toArray()",
    );
  }

  /** The chart as a few lines of text. */
  override text(): string {
    return this.#known()?.text() ??
      "a chart of tensors that are not read yet; draw it with await show(chart), or chart await x.toArray()";
  }

  /** Every representation; waits for tensors. */
  override async present(): Promise<Presentation> {
    try {
      if (this.#known() === null) {
        const bits = await readNodes(this.#inputs.filter(isNode));
        this.#parts = this.#build(this.#inputs.map((x) => isNode(x) ? bits.shift()! : x));
      }
    } catch (error) {
      return { data: { "text/plain": `(drawing failed: ${messageOf(error)})` } };
    }
    return await super.present();
  }

  /** Vega-Lite and SVG. */
  protected override render(): Promise<Presentation> {
    const { spec, still } = this.#known()!;
    return presentFigure(spec, still);
  }

  /** The parts, if all tensors are on the host already. */
  #known(): ChartParts | null {
    if (this.#parts !== null) return this.#parts;
    const values = this.#inputs.map((x) => isNode(x) ? wrap(x).peek() : x);
    if (values.some((x) => x === null)) return null;
    return this.#parts = this.#build(values as Values[]);
  }
}

function isNode(x: Values | Node): x is Node {
  return x instanceof Node;
}

/** A chart of series, whose numbers may have to be read. */
function chartOf(given: Series<Numbers>[], parts: (series: Series[]) => ChartParts): Chart {
  return new Chart(
    given.flatMap(({ x, y }) => [x, y]),
    (values) => parts(given.map(({ name }, i) => ({ name, x: values[2 * i], y: values[2 * i + 1] }))),
  );
}

/** A chart of one or more lines. Values that are not finite, or not positive on a log scale, leave gaps. */
export function lineChart(options: LineChartOptions): Chart {
  const way = "lineChart({ series: { loss: values } })";
  checkHolds("a line chart", options, "series", way);
  const series = namedSeries(options.series, options.x);
  for (const one of series) checkSeries("series", one);
  return chartOf(series, (series) => lineParts(options, series));
}

function lineParts(options: LineChartOptions, series: Series[]): ChartParts {
  const rows: Row[] = [];
  const counts = { hidden: 0, thinned: 0 };
  for (const { name, x, y } of series) {
    const indices = thin(y, MOST_LINE_POINTS);
    if (indices.length < y.length) counts.thinned++;
    for (const i of indices) rows.push(row(name, x[i], y[i], options, counts));
  }
  const encoding = coordinates(options, series, rows);
  const color = colors(series, options.width);
  const dashed = options.dashed?.map((name) => plainLine(name)) ?? [];
  const dash = dashed.length === 0 ? {} : {
    strokeDash: {
      condition: { test: `indexof(${JSON.stringify(dashed)}, datum.series) >= 0`, value: [5, 3] },
      value: [1, 0],
    },
  };
  const line = {
    mark: { type: "line", strokeWidth: 1.8, strokeJoin: "round" },
    encoding: { ...color, ...dash },
  };
  // A line through a point that stands alone is invisible.
  const few = series.every(({ y }) => y.length <= 24);
  const dots = { mark: { type: "point", filled: true, size: 26, opacity: 1 }, encoding: color };
  const touch = {
    mark: { type: "point", filled: true, size: 90, opacity: 0, tooltip: true },
    encoding: { ...color, tooltip: tooltip(options, series.length > 1) },
  };
  const base = {
    ...frame(options, 300, notes(counts, options, series)),
    data: { values: rows },
    encoding,
  };
  const drawn = few ? [line, dots] : [line];
  const still = figure({ ...base, layer: drawn });
  const [first, ...others] = series.length > 1 ? drawn.map(dimming) : drawn;
  const choice = series.length > 1 ? legendChoice : {};
  const spec = figure({ ...base, layer: [{ ...first, ...choice }, ...others, touch] });
  return { spec, still, text: () => lineText(options, series) };
}

/** A chart of one or more clouds of points. */
export function scatterChart(options: ScatterChartOptions): Chart {
  const way = "scatterChart({ points: { x, y } })";
  checkHolds("a scatter chart", options, "points", way);
  const clouds = isPoints(options.points) ? { "": options.points } : options.points;
  if (clouds instanceof Tensor || isNumbers(clouds)) {
    throw new TypeError(`Cannot draw points of ${kindOf(clouds)}: they have coordinates, as in ${way}`);
  }
  const series = Object.entries(clouds).map(([name, points]) => {
    if (!isPoints(points)) {
      throw new TypeError(
        `Cannot draw${called("points", name)} of ${kindOf(points)}: they have coordinates, as in ${way}`,
      );
    }
    return { name: plainLine(name), x: points.x, y: points.y };
  });
  for (const one of series) checkSeries("points", one);
  return chartOf(series, (series) => scatterParts(options, series));
}

function scatterParts(options: ScatterChartOptions, series: Series[]): ChartParts {
  const rows: Row[] = [];
  const counts = { hidden: 0, thinned: 0 };
  for (const { name, x, y } of series) {
    const step = Math.max(1, y.length * series.length / MOST_SCATTER_POINTS);
    if (step > 1) counts.thinned++;
    for (let i = 0; i < y.length; i += step) {
      rows.push(row(name, x[Math.floor(i)], y[Math.floor(i)], options, counts));
    }
  }
  const unit = {
    mark: { type: "point", filled: true, opacity: 0.75, size: rows.length > 500 ? 16 : 36, tooltip: true },
    encoding: {
      ...coordinates(options, series, rows),
      ...colors(series, options.width),
      ...(series.length > 1 ? { shape: { field: "series", type: "nominal", legend: null } } : {}),
      tooltip: tooltip(options, series.length > 1),
    },
  };
  const base = { ...frame(options, 340, notes(counts, options, series)), data: { values: rows } };
  const still = figure({ ...base, ...unit });
  const spec = series.length > 1 ? figure({ ...base, ...dimming(unit), ...legendChoice }) : still;
  const text = (): string => {
    if (series.length === 0) return heading(options, NOTHING);
    const points = series.flatMap(({ x, y }) => Array.from(y, (value, i) => [x[i], value] as const));
    const across = extent(points.map(([x]) => x)), up = extent(points.map(([, y]) => y));
    const names = series.map(({ name, y }) => `${name === "" ? "points" : name} (${y.length})`).join(", ");
    return [
      heading(options, names),
      ...brailleDots(points),
      `${options.xTitle ?? "x"} ${range(across)}   ${options.yTitle ?? "y"} ${range(up)}`,
    ].join("\n");
  };
  return { spec, still, text };
}

type Row = { x: number | null; y: number | null; series: string };
type Scales = { xScale?: "linear" | "log"; yScale?: "linear" | "log" };

function row(name: string, x: number, y: number, scales: Scales, counts: { hidden: number }): Row {
  const drawn = (value: number, scale?: string) => Number.isFinite(value) && (scale !== "log" || value > 0);
  const whole = drawn(x, scales.xScale) && drawn(y, scales.yScale);
  if (!whole) counts.hidden++;
  return { x: drawn(x, scales.xScale) ? short(x) : null, y: whole ? short(y) : null, series: name };
}

/** Seven digits: more cannot be seen, and would double the notebook. */
export const short = (value: number): number => Number(value.toPrecision(7));

/** The indices that keep the shape of a line: first, last, and the extremes of equal stretches. */
export function thin(values: Values, most: number): number[] {
  const length = values.length;
  if (length <= most) return Array.from({ length }, (_, i) => i);
  const kept = new Set([0, length - 1]);
  const stretches = most >> 1;
  for (let stretch = 0; stretch < stretches; stretch++) {
    const start = Math.floor(stretch * length / stretches);
    const end = Math.floor((stretch + 1) * length / stretches);
    let low = -1, high = -1, gap = -1;
    for (let i = start; i < end; i++) {
      if (!Number.isFinite(values[i])) gap = i;
      else {
        if (low < 0 || values[i] < values[low]) low = i;
        if (high < 0 || values[i] > values[high]) high = i;
      }
    }
    for (const i of [low, high, gap]) if (i >= 0) kept.add(i);
  }
  return [...kept].sort((a, b) => a - b);
}

/** Labels on a log scale: none stays none, and very small and very large numbers are powers, not rows of zeros. */
export const logLabel: string = "datum.label === '' ? '' : datum.value < 1e-3 || datum.value >= 1e5 " +
  "? replace(format(datum.value, '~e'), '+', '') : datum.label";

function coordinates(options: ChartOptions & Scales, series: Series[], rows: Row[]): VegaLiteSpec {
  const indices = series.every(({ x }) => Array.from(x).every((value) => Number.isInteger(value)));
  const axis = (field: "x" | "y", title: string | undefined, scale: "linear" | "log" | undefined) => {
    const { low, high } = extent(rows.map((row) => row[field] ?? NaN));
    // One value alone has no extent to draw.
    const flat = low === high && scale !== "log";
    return {
      field,
      type: "quantitative",
      title: title ?? null,
      scale: {
        type: scale ?? "linear",
        ...(scale === "log" ? {} : { zero: false }),
        nice: field === "y",
        ...(flat ? { domain: [low - 0.5, high + 0.5] } : {}),
      },
      axis: {
        tickCount: scale === "log" ? 5 : 6,
        ...(scale === "log" ? { format: "~g", labelExpr: logLabel } : {}),
        ...(field === "x" ? { grid: false, ...(indices ? { tickMinStep: 1 } : {}) } : {}),
      },
    };
  };
  return { x: axis("x", options.xTitle, options.xScale), y: axis("y", options.yTitle, options.yScale) };
}

function colors(series: Series[], width = 560): VegaLiteSpec {
  if (series.length < 2) return { color: { value: palette[0] } };
  const domain = series.map(({ name }) => name);
  // As many columns as the longest name leaves room for, with 34 pixels for symbol and gap. Letters take 6 pixels, but
  // where SVG is made without a screen the renderer counts 9.
  const longest = Math.max(...domain.map((name) => name.length)) * 9 + 34;
  const columns = Math.max(1, Math.min(5, domain.length, Math.floor(width / longest)));
  const legend = { orient: "top", columns, labelLimit: Math.floor(width / columns) - 34 };
  return { color: { field: "series", type: "nominal", title: null, sort: null, scale: { domain }, legend } };
}

// A click on an entry of the legend dims the other series.
const legendChoice = {
  params: [{ name: "chosen", select: { type: "point", fields: ["series"] }, bind: "legend" }],
};

function dimming<Layer extends { encoding: VegaLiteSpec }>(layer: Layer): Layer {
  const opacity = { condition: { param: "chosen", value: 0.9, empty: true }, value: 0.1 };
  return { ...layer, encoding: { ...layer.encoding, opacity } };
}

function tooltip(options: ChartOptions, named: boolean): VegaLiteSpec[] {
  const number = (field: string, title: string) => ({ field, type: "quantitative", title, format: ".5~g" });
  return [
    ...(named ? [{ field: "series", type: "nominal", title: "series" }] : []),
    number("x", plainLine(options.xTitle ?? "x")),
    number("y", plainLine(options.yTitle ?? "y")),
  ];
}

/** A line as several that fit. */
export function wrapped(text: string, letters = 92): string[] {
  const lines: string[] = [];
  for (const word of plainLine(text).split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= letters) {
      lines[lines.length - 1] = `${last} ${word}`;
    } else lines.push(word);
  }
  return lines;
}

// Letters that the renderer of SVG, which counts 9 pixels for each, takes for as wide as a chart: a longer line would make
// the plot itself smaller.
const TITLE_LETTERS = 52, LINE_LETTERS = 62;

/** Size and title of a chart. */
export function frame(options: ChartOptions, height: number, subtitle: string[]): VegaLiteSpec {
  const title = options.title === undefined ? [] : wrapped(options.title, TITLE_LETTERS);
  const lines = [...options.subtitle === undefined ? [] : [options.subtitle], ...subtitle]
    .flatMap((line) => wrapped(line, LINE_LETTERS));
  const [first, ...others] = lines;
  return {
    width: options.width ?? 560,
    height: options.height ?? height,
    autosize: { type: "fit", contains: "padding" },
    ...(title.length > 0
      ? { title: { text: title.length === 1 ? title[0] : title, subtitle: lines } }
      : first === undefined
      ? {}
      : { title: { text: first, subtitle: others } }),
  };
}

/** What is said of a chart that was given no series. */
const NOTHING = "nothing to draw: no series was given";

/** What a reader must know of points that are not drawn. */
function notes(
  counts: { hidden: number; thinned: number },
  scales: Scales,
  series: readonly Series[],
): string[] {
  const lines: string[] = series.length === 0 ? [NOTHING] : [];
  const log = scales.xScale === "log" || scales.yScale === "log";
  if (counts.hidden > 0) {
    lines.push(
      `${counts.hidden} value${counts.hidden > 1 ? "s" : ""} not finite${log ? " or not positive" : ""}`,
    );
  }
  if (counts.thinned > 0) lines.push("thinned to the extremes of equal stretches");
  return lines;
}

/** `low … high`, and how many values are not finite, for a console. */
export const range = ({ low, high, finite, other }: ReturnType<typeof extent>): string =>
  (finite === 0 ? "no finite value" : consoleText(`${formatNumber(low)} … ${formatNumber(high)}`)) +
  (other > 0 ? `, ${other} not finite` : "");

/** The first line of a chart as text. */
export function heading(options: ChartOptions, rest: string): string {
  return [options.title === undefined ? "" : plainLine(options.title), rest].filter(Boolean).join(" · ");
}

function lineText(options: LineChartOptions, series: Series[]): string {
  const width = Math.min(16, Math.max(0, ...series.map(({ name }) => [...name].length)));
  const lines = series.map(({ name, y }) => {
    const label = width === 0 ? "" : shorten(name, width).padEnd(width) + " ";
    const last = y.length === 0
      ? ""
      : `, last ${consoleText(formatNumber(y[y.length - 1]))}, ${y.length} values`;
    const bars = sparkline(y, 40, options.yScale === "log");
    return `${label}${bars}  ${range(extent(Array.from(y)))}${last}`;
  });
  const axes = [options.yTitle, options.xTitle].filter((title) => title !== undefined).map(plainLine).join(
    " over ",
  );
  return [heading(options, axes), ...series.length === 0 ? [NOTHING] : lines].filter(Boolean).join("\n");
}
