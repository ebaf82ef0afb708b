/** Rectangles, lines and text in the coordinates of a drawing, as layers of a Vega-Lite spec that can be zoomed. */

import { FONT_SIZE } from "./graph_cards.ts";
import type { VegaLiteSpec } from "./vega.ts";

/** A layer with its own data. */
export interface Layer extends VegaLiteSpec {
  readonly data: { readonly values: readonly unknown[] };
}

/** A rectangle by its borders. */
export interface Area {
  readonly x: number;
  readonly x2: number;
  readonly y: number;
  readonly y2: number;
}

/** The plane of a drawing. */
export class Canvas {
  readonly #zoom: string;
  readonly x: VegaLiteSpec;
  readonly y: VegaLiteSpec;
  /** A colour that is in the data. */
  readonly colors: VegaLiteSpec = { field: "color", type: "nominal", scale: null, legend: null };

  /** `left` and `top` are where the origin of the layout lies; sizes follow the zoom where the drawing is `live`. */
  constructor(
    width: number,
    height: number,
    readonly scale: number,
    readonly left: number,
    readonly top: number,
    readonly isLive: boolean,
  ) {
    const at = (field: string, domain: [number, number]): VegaLiteSpec => ({
      field,
      type: "quantitative",
      axis: null,
      scale: { domain, nice: false, zero: false },
    });
    this.x = at("x", [0, width]);
    this.y = at("y", [height, 0]);
    this.#zoom = `${tenth(width)} / (domain('x')[1] - domain('x')[0])`;
  }

  /** A length on the screen that grows with the zoom. */
  px(pixels: number): unknown {
    const size = Math.round(pixels * this.scale * 100) / 100;
    return this.isLive ? { expr: `${size} * ${this.#zoom}` } : size;
  }

  /** A surface on the screen that grows with the zoom. */
  squarePx(pixels: number): unknown {
    const size = Math.round(pixels * this.scale * this.scale * 100) / 100;
    return this.isLive ? { expr: `${size} * pow(${this.#zoom}, 2)` } : size;
  }

  /** Where something that was laid out lies. */
  area({ x, y, width, height }: { x: number; y: number; width: number; height: number }): Area {
    const left = x + this.left, top = y + this.top;
    return { x: tenth(left), x2: tenth(left + width), y: tenth(top), y2: tenth(top + height) };
  }

  /** Where a point of the layout lies. */
  point([x, y]: readonly [number, number]): { x: number; y: number } {
    return { x: tenth(x + this.left), y: tenth(y + this.top) };
  }

  rects(values: readonly unknown[], mark: VegaLiteSpec, encoding: VegaLiteSpec = {}): Layer {
    return {
      data: { values },
      mark: { type: "rect", clip: this.isLive, ...mark },
      encoding: { x: this.x, x2: { field: "x2" }, y: this.y, y2: { field: "y2" }, ...encoding },
    };
  }

  texts(values: readonly unknown[], mark: VegaLiteSpec, encoding: VegaLiteSpec = {}): Layer {
    const { size = FONT_SIZE, ...style } = mark as VegaLiteSpec & { size?: number };
    return {
      data: { values },
      mark: {
        type: "text",
        clip: this.isLive,
        font: "ui-monospace, Menlo, Consolas, monospace",
        fontSize: this.px(size),
        ...style,
      },
      encoding: { x: this.x, y: this.y, text: { field: "text", type: "nominal" }, ...encoding },
    };
  }

  points(values: readonly unknown[], mark: VegaLiteSpec, encoding: VegaLiteSpec = {}): Layer {
    return {
      data: { values },
      mark: { type: "point", clip: this.isLive, filled: true, opacity: 1, ...mark },
      encoding: { x: this.x, y: this.y, ...encoding },
    };
  }

  /** Smooth curves: values with the number of their curve in `edge` and their place in it in `i`. */
  curves(values: readonly unknown[], mark: VegaLiteSpec, encoding: VegaLiteSpec = {}): Layer {
    return {
      data: { values },
      mark: { type: "line", clip: this.isLive, interpolate: "basis", ...mark },
      encoding: {
        x: this.x,
        y: this.y,
        detail: { field: "edge", type: "nominal" },
        order: { field: "i", type: "quantitative" },
        ...encoding,
      },
    };
  }
}

/** Tenths of a pixel are enough. */
export function tenth(value: number): number {
  return Math.round(value * 10) / 10;
}
