/** What a diagnosis found, as a list in a notebook and as lines in a terminal. */
import { type Bundle, Drawing, escapeHtml, type Presentation } from "../bundle.ts";
import { formatNumber, ink, palette, plainLine } from "../parts.ts";
import type { Finding } from "./finding.ts";

/** What a layer did in the first step. */
export interface LayerFacts {
  /** Its path in the model. */
  readonly layer: string;
  /** Root mean square of its output. */
  readonly output: number;
  /** Norm of the cotangent of its output; null where none came. */
  readonly gradient: number | null;
}

/** What `diagnose` found; the last line of a cell or `console.log` shows it. */
export class Diagnosis extends Drawing {
  /** Made by `diagnose`. */
  constructor(
    /** The model's class. */
    readonly model: string,
    /** Elements trained. */
    readonly parameters: number,
    /** What is wrong, worst first. */
    readonly findings: readonly Finding[],
    /** The loss before each step. */
    readonly losses: readonly number[],
    /** Norm of all gradients in the first step. */
    readonly gradient: number,
    /** Layers with parameters, from first to last. */
    readonly layers: readonly LayerFacts[],
  ) {
    super();
  }

  /** Nothing was found. */
  get isHealthy(): boolean {
    return this.findings.length === 0;
  }

  #facts(): string {
    const [from] = this.losses, to = this.losses.at(-1);
    const loss = from === undefined
      ? []
      : this.losses.length === 1
      ? [`loss ${formatNumber(from)}`]
      : [`loss ${formatNumber(from)} to ${formatNumber(to!)} in ${this.losses.length - 1} steps`];
    return [
      `${formatNumber(this.parameters)} parameters`,
      ...(this.layers.length === 0
        ? []
        : [`${this.layers.length} layer${this.layers.length === 1 ? "" : "s"}`]),
      ...loss,
      ...(from === undefined && Number.isNaN(this.gradient)
        ? ["no step was taken"]
        : [`gradient norm ${formatNumber(this.gradient)}`]),
    ].join(", ");
  }

  #heading(): string {
    const n = this.findings.length;
    return `${plainLine(this.model)}: ${
      n === 0 ? "nothing found" : n === 1 ? "1 finding" : `${n} findings, worst first`
    }`;
  }

  /** The report as lines. */
  override text(): string {
    const lines = this.findings.flatMap((f, i) => [
      `${i + 1}. ${plainLine(f.message)} [${f.cause}]`,
      `   evidence: ${plainLine(f.evidence)}`,
      `   change:   ${plainLine(f.remedy)}`,
    ]);
    return [this.#heading(), `   ${this.#facts()}`, ...lines].join("\n");
  }

  /** The report as a list. */
  protected override render(): Promise<Presentation> {
    const line = (label: string, text: string): string =>
      `<div style="padding-left:22px"><span style="color:${ink}">${label}</span> ${
        escapeHtml(plainLine(text))
      }</div>`;
    const items = this.findings.map((f, i) =>
      `<div style="margin:8px 0"><div style="padding-left:22px;text-indent:-22px"><span style="display:inline-block;width:22px;text-indent:0;color:${
        palette[1]
      };font-weight:600">` +
      `${i + 1}</span><b>${
        escapeHtml(plainLine(f.message))
      }</b> <span style="color:${ink}">${f.cause}</span></div>` +
      `${line("evidence", f.evidence)}${line("change", f.remedy)}</div>`
    ).join("\n");
    const mark = this.isHealthy ? `<span style="color:${palette[2]}">✓</span> ` : "";
    const html = `<div style="max-width:760px;font-size:13px;line-height:1.45"><div>${mark}<b>${
      escapeHtml(this.#heading())
    }</b></div><div style="color:${ink}">${escapeHtml(this.#facts())}</div>\n${items}</div>`;
    const data: Bundle = { "text/html": html };
    return Promise.resolve({ data });
  }
}
