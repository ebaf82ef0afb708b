/** Notebooks made by tests: written under `out`, where the kernel finds the repository's `deno.json`. */

import { join } from "node:path";
import { root } from "../../tasks/process.ts";

/** An output as it stands in a notebook file. */
export interface Output {
  output_type: "stream" | "display_data" | "execute_result" | "error";
  name?: string;
  text?: string | string[];
  data?: Record<string, unknown>;
  ename?: string;
}

export interface CodeCell {
  source: string;
  metadata?: Record<string, unknown>;
}

/** The text of a field that a notebook stores whole or in lines. */
export function joined(text: unknown): string {
  return Array.isArray(text) ? text.join("") : String(text ?? "");
}

/** Writes a notebook of code cells and returns its path. */
export async function writeNotebook(name: string, cells: (string | CodeCell)[]): Promise<string> {
  const folder = join(root, "out/test-notebooks");
  await Deno.mkdir(folder, { recursive: true });
  const path = join(folder, `${name}.ipynb`);
  const notebook = {
    nbformat: 4,
    nbformat_minor: 5,
    metadata: {
      kernelspec: { name: "deno", display_name: "Deno", language: "typescript" },
      language_info: { name: "typescript", file_extension: ".ts" },
    },
    cells: cells.map((cell, index) => {
      const { source, metadata = {} } = typeof cell === "string" ? { source: cell } : cell;
      return { id: `c${index}`, cell_type: "code", execution_count: null, metadata, outputs: [], source };
    }),
  };
  await Deno.writeTextFile(path, JSON.stringify(notebook));
  return path;
}

/** The outputs of each code cell of an executed notebook. */
export async function readOutputs(path: string): Promise<Output[][]> {
  const { cells } = JSON.parse(await Deno.readTextFile(path));
  return cells.filter((cell: { cell_type: string }) => cell.cell_type === "code")
    .map((cell: { outputs: Output[] }) => cell.outputs);
}

/** All streams of one name, joined. */
export function streamText(outputs: Output[], name = "stdout"): string {
  return outputs.filter((output) => output.name === name).map(({ text }) => joined(text)).join("");
}

/** The plain texts of results or of displays. */
export function plainTexts(outputs: Output[], type: Output["output_type"]): string[] {
  return outputs.filter(({ output_type }) => output_type === type).map(({ data }) =>
    joined(data?.["text/plain"])
  );
}
