/** Tables: HTML in a notebook, aligned columns in a terminal. */

import { Tensor } from "../ops/tensor.ts";
import { Drawing, escapeHtml, type Presentation, textOf } from "./bundle.ts";
import { consoleText, formatNumber, kindOf, plainLine, shorten } from "./parts.ts";

export { escapeHtml };

/** How a table is written. */
export interface TableOptions {
  /** Names of the columns, and their order where rows are records. */
  columns?: readonly string[];
  /** Stands above the table. */
  title?: string;
  /** Significant digits of numbers. */
  digits?: number;
}

const MOST_ROWS = 60;
const WIDEST_CELL = 60;
/** Letters of a cell from which on its column may wrap. */
const LONG_CELL = 16;

/** A table of rows, each an array of cells or a record by column. Long ones keep their first and last rows. */
export function table(
  rows: readonly (readonly unknown[] | Readonly<Record<string, unknown>>)[],
  options: TableOptions = {},
): Drawing {
  if (!Array.isArray(rows)) {
    const way = (rows as unknown) instanceof Tensor ? "table(await x.toArray())" : "table([row])";
    throw new TypeError(`Cannot make a table of ${kindOf(rows)}: it takes an array of rows, as in ${way}`);
  }
  const at = rows.findIndex((row) => typeof row !== "object" || row === null);
  if (at >= 0) {
    throw new TypeError(
      `Cannot make a table: row ${at} is ${
        kindOf(rows[at])
      }, and must be an array or a record, as in table([row])`,
    );
  }
  return new Table(rows, options);
}

interface Cell {
  text: string;
  number: boolean;
}

class Table extends Drawing {
  constructor(
    readonly rows: readonly (readonly unknown[] | Readonly<Record<string, unknown>>)[],
    readonly options: TableOptions,
  ) {
    super();
  }

  override text(): string {
    const { columns, lines, left } = this.#layOut();
    if (columns.length === 0 && lines.length === 0) return "(an empty table)";
    const grid = [
      columns,
      ...lines.map((line) => line.map(({ text, number }) => number ? consoleText(text) : text)),
    ];
    const count = Math.max(0, ...grid.map((line) => line.length));
    const widths = Array.from(
      { length: count },
      (_, j) => Math.max(...grid.map((line) => [...line[j] ?? ""].length)),
    );
    const written = grid.map((line) =>
      widths.map((width, j) => pad(line[j] ?? "", width, left[j])).join("  ").trimEnd()
    );
    const rule = widths.map((width) => "─".repeat(width)).join("  ");
    const [head, ...body] = written;
    const title = this.options.title === undefined ? [] : [plainLine(this.options.title)];
    return [...title, ...(columns.length > 0 ? [head, rule] : []), ...body].join("\n");
  }

  protected override render(): Promise<Presentation> {
    const { columns, lines, left } = this.#layOut();
    const wraps = columns.map((_, j) => lines.some((cells) => (cells[j]?.text.length ?? 0) >= LONG_CELL));
    const line = "border-bottom:1px solid rgba(128,128,128,.3)";
    const style = (j: number, extra = "") =>
      // Words of names wrap where the page is narrow; numbers and units stay in one piece.
      ` style="padding:3px 6px;${line};text-align:${left[j] ? "left" : "right"};${
        wraps[j] ? "white-space:normal" : "white-space:nowrap"
      };font-variant-numeric:tabular-nums${extra}"`;
    // Names of columns wrap at their spaces, which keeps columns of short numbers narrow.
    const head = columns.map((name, j) =>
      `<th${style(j, ";font-weight:600;white-space:normal")}>${escapeHtml(name)}</th>`
    ).join(
      "",
    );
    const body = lines.map((cells) =>
      `<tr style="background:none">${
        cells.map(({ text }, j) => `<td${style(j)}>${wraps[j] ? breakable(text) : escapeHtml(text)}</td>`)
          .join("")
      }</tr>`
    ).join("\n");
    const title = this.options.title === undefined
      ? ""
      : `<caption style="text-align:left;font-weight:600;padding:3px 8px;color:inherit">${
        escapeHtml(plainLine(this.options.title))
      }</caption>`;
    const top = columns.length === 0 ? "" : `<thead><tr style="background:none">${head}</tr></thead>\n`;
    const html =
      `<div style="overflow-x:auto"><table style="border-collapse:collapse;margin:4px 0;color:inherit;font-size:12px">${title}${top}<tbody>\n${body}\n</tbody></table></div>`;
    return Promise.resolve({ data: { "text/html": html } });
  }

  /** Cells as text; a column of numbers is aligned to the right, others to the left. */
  #layOut(): { columns: string[]; lines: Cell[][]; left: boolean[] } {
    const { rows, options } = this;
    const names = options.columns ??
      [...new Set(rows.flatMap((row) => isList(row) ? [] : Object.keys(row)))];
    const whole = rows.length <= MOST_ROWS;
    const kept = whole ? rows : [...rows.slice(0, MOST_ROWS - 10), ...rows.slice(-10)];
    const lines = kept.map((row) =>
      (isList(row) ? row : names.map((name) => row[name])).map((cell) => this.#cell(cell))
    );
    const width = Math.max(names.length, ...lines.map((line) => line.length));
    const left = Array.from({ length: width }, (_, j) => !lines.every((line) => line[j]?.number ?? true));
    if (!whole) {
      const gap = { text: `… ${formatNumber(rows.length - kept.length)} more`, number: false };
      lines.splice(MOST_ROWS - 10, 0, [gap]);
    }
    return { columns: names.map((name) => plainLine(name)), lines, left };
  }

  #cell(value: unknown): Cell {
    if (value === undefined || value === null) return { text: "", number: true };
    if (typeof value === "number") {
      return { text: formatNumber(value, this.options.digits ?? 5), number: true };
    }
    if (typeof value === "bigint") return { text: String(value), number: true };
    return { text: shorten(plainLine(textOf(value)), WIDEST_CELL), number: false };
  }
}

/** Text as HTML that may break behind the parts of paths and the words of names. */
function breakable(text: string): string {
  return text.split(/(?<=[.…])|(?<=[a-z])(?=[A-Z])/).map(escapeHtml).join("<wbr>");
}

function isList(row: readonly unknown[] | Readonly<Record<string, unknown>>): row is readonly unknown[] {
  return Array.isArray(row);
}

function pad(text: string, width: number, left: boolean | undefined): string {
  const space = " ".repeat(width - [...text].length);
  return left === false ? space + text : text + space;
}
