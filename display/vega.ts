/** Vega-Lite specs: the look all figures share, and their rendering to SVG. */

import type { Presentation } from "./bundle.ts";
import { faint, ink, palette } from "./parts.ts";

/** A Vega-Lite v5 spec, which is the newest that JupyterLab and VS Code draw. */
export type VegaLiteSpec = Record<string, unknown>;

const config = {
  background: "transparent",
  font: "system-ui, sans-serif",
  view: { stroke: null },
  range: { category: palette },
  axis: {
    labelColor: ink,
    titleColor: ink,
    domainColor: ink,
    tickColor: ink,
    gridColor: faint,
    titleFontWeight: "normal",
    labelFontSize: 11,
    titleFontSize: 12,
  },
  legend: {
    labelColor: ink,
    titleColor: ink,
    titleFontWeight: "normal",
    labelFontSize: 11,
    symbolStrokeWidth: 3,
  },
  title: {
    color: ink,
    subtitleColor: ink,
    fontSize: 13,
    fontWeight: 600,
    anchor: "start",
    subtitleFontSize: 11,
    offset: 8,
  },
  text: { color: ink },
};

/** Adds schema and look to the body of a spec. */
export function figure(body: VegaLiteSpec): VegaLiteSpec {
  return { $schema: "https://vega.github.io/schema/vega-lite/v5.json", ...body, config };
}

/** The spec as SVG. Vega is loaded on the first call, which takes half a second. */
export async function renderSvg(spec: VegaLiteSpec): Promise<string> {
  const [vega, vegaLite] = await Promise.all([import("vega"), import("vega-lite")]);
  const silent = {
    level: () => silent,
    error: () => silent,
    warn: () => silent,
    info: () => silent,
    debug: () => silent,
  };
  const quiet = { ...spec, config: { ...spec.config as VegaLiteSpec, aria: false } }; // Labels of every mark weigh more than the marks.
  const compiled = vegaLite.compile(quiet as unknown as Parameters<typeof vegaLite.compile>[0], {
    logger: silent as never,
  });
  const view = new vega.View(vega.parse(compiled.spec), { renderer: "none", logLevel: vega.Error });
  try {
    return await view.toSVG();
  } finally {
    view.finalize();
  }
}

/** The bundle of a figure: interactive where the front end draws Vega-Lite, a picture elsewhere. */
export async function presentFigure(spec: VegaLiteSpec, still: VegaLiteSpec = spec): Promise<Presentation> {
  const data: Record<string, unknown> = { "application/vnd.vegalite.v5+json": spec };
  try {
    data["image/svg+xml"] = await renderSvg(still);
  } catch {
    // The spec alone draws in notebooks; only static pages miss the picture.
  }
  return { data };
}
