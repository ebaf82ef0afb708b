/** The picture of a training: loss, norm of the gradients with clipping and spikes, learning rate; live and for good. */
import { Chart, type ChartParts, short, thin, wrapped } from "./chart.ts";
import { escapeHtml } from "./bundle.ts";
import { extent, formatNumber, ink, palette, plainLine } from "./parts.ts";
import { figure, type VegaLiteSpec } from "./vega.ts";

const MOST_POINTS = 1000; // Kept; beyond that neighbours are joined.

/** Points by step, of bounded number: when it is full, neighbours are joined and from then on twice as many are. */
export class Curve {
  x: number[] = [];
  y: number[] = [];
  #each = 1;
  #value = 0;
  #count = 0;

  /** Neighbours are joined to their mean, or to the largest of them, which keeps spikes. */
  constructor(readonly keeps: "mean" | "largest" = "mean") {}

  /** Adds a point. */
  add(step: number, value: number): void {
    this.#value = this.#count === 0 ? value : this.#join(this.#value, value, this.#count);
    if (++this.#count < this.#each) return;
    this.x.push(step);
    this.y.push(this.#value);
    this.#count = 0;
    if (this.y.length < MOST_POINTS) return;
    const { x, y } = this;
    this.x = x.filter((_, i) => i % 2 === 1);
    this.y = this.x.map((_, i) => this.#join(y[2 * i], y[2 * i + 1], 1));
    this.#each *= 2;
  }

  /** `a` stands for `count` values. */
  #join(a: number, b: number, count: number): number {
    return this.keeps === "mean" ? (a * count + b) / (count + 1) : Math.max(a, b);
  }
}

/** Points of a curve. */
export interface CurvePoints {
  /** Steps. */
  readonly x: readonly number[];
  /** Values. */
  readonly y: readonly number[];
}

/** What a training has shown so far. */
export interface TrainingCurves {
  /** The loss. */
  readonly loss: CurvePoints;
  /** Norms of the gradients, before clipping. */
  readonly norm?: CurvePoints;
  /** Learning rates. */
  readonly rate?: CurvePoints;
  /** The largest norm that clipping lets through. */
  readonly clip?: number;
  /** Of the loss; linear if left out. */
  readonly yScale?: "linear" | "log";
}

const SPIKE = 4;
const WINDOW = 32;

/** Places of norms that are several times the median of those before, or not finite. */
export function spikes(y: readonly number[]): number[] {
  const found: number[] = [];
  for (let i = 4; i < y.length; i++) {
    const before = y.slice(Math.max(0, i - WINDOW), i).filter(Number.isFinite).sort((a, b) => a - b);
    const median = before[before.length >> 1];
    if (!Number.isFinite(y[i]) || (median > 0 && y[i] > SPIKE * median)) found.push(i);
  }
  return found;
}

/** Where values stop being finite. */
export function strays(y: readonly number[]): number[] {
  return y.flatMap((v, i) => !Number.isFinite(v) && (i === 0 || Number.isFinite(y[i - 1])) ? [i] : []);
}

/** A rate that changes is worth a panel. */
const varies = (curve: CurvePoints | undefined): curve is CurvePoints =>
  curve !== undefined && curve.y.length > 1 && curve.y.some((v) => v !== curve.y[0]);

const has = (curve: CurvePoints | undefined): curve is CurvePoints =>
  curve !== undefined && curve.y.length > 1;

interface Box {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

interface PanelOptions {
  readonly label?: string;
  readonly color: string;
  readonly log?: boolean;
  readonly rule?: number;
  readonly marks?: readonly number[];
}

const svgText = (x: number, y: number, content: string, rest = ""): string =>
  `<text x="${x}" y="${y}" font-family="system-ui, sans-serif" font-size="11" fill="${ink}"${rest}>${
    escapeHtml(content)
  }</text>`;

const DIGIT = 6.6; // Pixels, of the widest system font at 11 pixels.

function panel(
  box: Box,
  { x, y }: CurvePoints,
  { label, color, log = false, rule, marks = [] }: PanelOptions,
): string {
  const scale = (v: number): number => log ? Math.log(v > 0 ? v : NaN) : v;
  const scaled = y.map(scale), across = extent(x);
  const up = extent(rule === undefined ? scaled : [...scaled, scale(rule)]);
  const shown = extent((rule === undefined ? y : [...y, rule]).filter((v) => Number.isFinite(scale(v))));
  const labels = up.finite === 0 ? [] : [formatNumber(shown.high, 3), formatNumber(shown.low, 3)];
  const left = box.left +
    Math.max(46, Math.ceil(10 + DIGIT * Math.max(0, ...labels.map((text) => text.length))));
  const place = (value: number, low: number, high: number, from: number, to: number): number =>
    high === low ? (from + to) / 2 : from + (value - low) / (high - low) * (to - from);
  const atX = (v: number): string => place(v, across.low, across.high, left, box.right).toFixed(1);
  const atY = (v: number): string => place(v, up.low, up.high, box.bottom, box.top).toFixed(1);
  let path = "", pen = "M";
  scaled.forEach((value, i) => {
    if (!Number.isFinite(value)) return void (pen = "M");
    path += `${pen}${atX(x[i])} ${atY(value)}`;
    pen = "L";
  });
  const number = (y: number, content = ""): string =>
    content === "" ? "" : svgText(left - 6, y, content, ' text-anchor="end" dominant-baseline="middle"');
  const line = rule === undefined || !Number.isFinite(scale(rule))
    ? ""
    : `<path d="M${left} ${atY(scale(rule))}H${box.right}" stroke="${
      palette[1]
    }" stroke-width="1" stroke-dasharray="4 3"/>`;
  const dots = marks.map((i) =>
    `<circle cx="${atX(x[i])}" cy="${Number.isFinite(scaled[i]) ? atY(scaled[i]) : box.top}" r="2.6" fill="${
      palette[6]
    }"/>`
  ).join("");
  return (label === undefined ? "" : svgText(left, box.top - 7, label)) +
    number(box.top + 4, labels[0]) + number(box.bottom - 4, labels[1]) +
    `<path d="M${left} ${box.top}V${box.bottom}H${box.right}" fill="none" stroke="${ink}" stroke-opacity=".5"/>` +
    `<path d="${path}" fill="none" stroke="${color}" stroke-width="1.6" stroke-linejoin="round"/>` + line +
    dots;
}

/** Most letters of a line of a figure's status, and its height. */
const LETTERS = 80, LINE = 15;

/** A status as lines that fit, which end between its parts. */
function partsIn(status: string): string[] {
  const lines: string[] = [];
  for (const part of status.split(" · ")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 3 + part.length <= LETTERS) {
      lines[lines.length - 1] += ` · ${part}`;
    } else lines.push(...wrapped(part, LETTERS));
  }
  return lines;
}

/** The curves so far as a small SVG, in about a millisecond: Vega would take a tenth of the time between two drawings. */
export function liveSvg(title: string | undefined, status: string, curves: TrainingCurves): string {
  const { loss, norm, rate, clip, yScale } = curves;
  const head = partsIn([title === undefined ? "" : plainLine(title), status].filter(Boolean).join(" · "));
  const down = LINE * (head.length - 1), below = has(norm) || varies(rate);
  const width = 560, height = (below ? 250 : 150) + down;
  const main = panel({ left: 0, top: 30 + down, right: width - 8, bottom: 142 + down }, loss, {
    color: palette[0],
    log: yScale === "log",
    marks: strays(loss.y),
  });
  const middle = has(norm) && varies(rate) ? 340 : width - 8;
  const small = { top: 174 + down, bottom: 242 + down };
  const second = has(norm)
    ? panel({ left: 0, right: middle, ...small }, norm, {
      label: clip === undefined ? "gradient norm" : `gradient norm, clipped to ${formatNumber(clip)}`,
      color: palette[2],
      log: true,
      ...(clip === undefined ? {} : { rule: clip }),
      marks: spikes(norm.y),
    })
    : "";
  const third = varies(rate)
    ? panel({ left: has(norm) ? middle + 6 : 0, right: width - 8, ...small }, rate, {
      label: "learning rate",
      color: palette[5],
    })
    : "";
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">` +
    head.map((line, i) => svgText(4, 16 + LINE * i, line)).join("") + main + second + third + "</svg>";
}

const many = (n: number): string[] => n === 0 ? [] : [`${n} spike${n > 1 ? "s" : ""}`];

/** The figure that stays. */
export function trainingFigure(title: string | undefined, status: string, curves: TrainingCurves): Chart {
  const { loss, norm, rate, clip, yScale = "linear" } = curves, isRateShown = varies(rate);
  const isNormShown = has(norm), width = 470;
  const main = unit(loss, { color: palette[0], scale: yScale, width, height: 190, marks: strays(loss.y) });
  const small = isNormShown && isRateShown ? { width: 200, height: 90 } : { width, height: 90 };
  const marks = isNormShown ? spikes(norm.y) : [];
  const rows = [
    ...(isNormShown
      ? [unit(norm, {
        name: [
          "gradient norm",
          ...(clip === undefined ? [] : [`clipped to ${formatNumber(clip)}`]),
          ...many(marks.length),
        ]
          .join(", "),
        color: palette[2],
        scale: "log",
        ...small,
        ...(clip === undefined ? {} : { rule: clip }),
        marks,
      })]
      : []),
    ...(isRateShown
      ? [unit(rate, { name: "learning rate", color: palette[5], scale: "linear", ...small })]
      : []),
  ];
  const name = title === undefined ? [] : [plainLine(title)], under = partsIn(status);
  const head = {
    title: name.length > 0
      ? { text: name, subtitle: under }
      : { text: under, fontSize: 11, fontWeight: "normal" },
  };
  const below = rows.length === 1 ? rows[0] : { spacing: 24, hconcat: rows };
  const spec = figure(
    rows.length === 0
      ? { ...head, ...main, autosize: "pad" }
      : { ...head, spacing: 8, vconcat: [main, below] },
  );
  return new Chart([], (): ChartParts => ({ spec, text: () => [...name, status].join("\n") }));
}

interface UnitOptions {
  /** Stands above a small panel. */
  readonly name?: string;
  readonly color: string;
  readonly scale: "linear" | "log";
  readonly width: number;
  readonly height: number;
  readonly rule?: number;
  readonly marks?: readonly number[];
}

function unit(
  { x, y }: CurvePoints,
  { name, color, scale, width, height, rule, marks = [] }: UnitOptions,
): VegaLiteSpec {
  const drawn = (v: number): number | null =>
    Number.isFinite(v) && (scale !== "log" || v > 0) ? short(v) : null;
  const kept = new Set([...thin(y, 1000), ...marks]);
  const rows = [...kept].sort((a, b) => a - b).map((i) => ({
    step: x[i],
    value: drawn(y[i]),
    ...(!marks.includes(i) ? {} : Number.isFinite(y[i]) ? { spike: true } : { stray: formatNumber(y[i]) }),
  }));
  // Without anything finite there is no domain, of which front ends would warn; nor is there of a layer without points.
  const isEmpty = rows.every(({ value }) => value === null);
  const domainX = [x[0] ?? 0, x.at(-1) ?? 1], domainY = scale === "log" ? [1, 10] : [0, 1];
  const isStray = rows.some((row) => "stray" in row), isSpike = rows.some((row) => "spike" in row);
  const tooltip = [
    { field: "step", type: "quantitative" },
    { field: "value", type: "quantitative", title: name ?? "loss", format: ".5~g" },
  ];
  const axisX = { grid: false, tickCount: 5, tickMinStep: 1 };
  return {
    ...(name === undefined ? {} : { title: { text: name, fontSize: 11, fontWeight: "normal", offset: 4 } }),
    width,
    height,
    data: { values: rows },
    encoding: {
      x: {
        field: "step",
        type: "quantitative",
        title: "step",
        scale: { zero: false, nice: false, ...(isEmpty ? { domain: domainX } : {}) },
        axis: axisX,
      },
      y: {
        field: "value",
        type: "quantitative",
        title: name === undefined ? "loss" : null,
        scale: {
          type: scale,
          ...(scale === "log" ? {} : { zero: false }),
          nice: true,
          ...(isEmpty ? { domain: domainY } : {}),
        },
        axis: { tickCount: height < 120 ? 3 : 6, format: "~g" },
      },
    },
    layer: [
      { mark: { type: "line", strokeWidth: 1.6, strokeJoin: "round", color } },
      ...(rule === undefined || !(rule > 0) ? [] : [{
        mark: { type: "rule", color: palette[1], strokeDash: [4, 3] },
        encoding: { x: null, y: { datum: rule } },
      }]),
      ...(!isSpike ? [] : [{
        transform: [{ filter: "datum.spike === true" }],
        mark: { type: "point", filled: true, color: palette[6], size: 36, opacity: 1 },
      }]),
      ...(!isStray ? [] : [{
        // What has no place on the axis stands above it.
        transform: [{ filter: "isValid(datum.stray)" }],
        mark: { type: "point", filled: true, color: palette[6], size: 36, opacity: 1 },
        encoding: {
          y: { value: 4 },
          tooltip: [tooltip[0], { field: "stray", type: "nominal", title: name ?? "loss" }],
        },
      }]),
      { mark: { type: "point", filled: true, size: 70, opacity: 0, tooltip: true }, encoding: { tooltip } },
    ],
  };
}
