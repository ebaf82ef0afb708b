/** `deno task theory [--quick] [--no-html] [--out=folder] [notebook]`: executes a notebook and shows where its result is. */

import { basename, join, relative } from "node:path";
import { execute, toHtml } from "./notebook.ts";
import { command, root, TaskError } from "./process.ts";
import { ensureVulkan } from "./system.ts";

interface Flags {
  quick: boolean;
  html: boolean;
  out: string;
  notebook: string;
}

function parse(args: string[]): Flags {
  const flags = {
    quick: false,
    html: true,
    out: join(root, "out"),
    notebook: join(root, "notebooks/theory.ipynb"),
  };
  for (const arg of args) {
    if (arg === "--quick") flags.quick = true;
    else if (arg === "--no-html") flags.html = false;
    else if (arg.startsWith("--out=")) flags.out = arg.slice("--out=".length);
    else if (arg.startsWith("-")) {
      throw new TaskError(`Unknown flag ${arg}: use --quick, --no-html or --out=folder`);
    } else flags.notebook = arg;
  }
  return flags;
}

await command(async () => {
  const { quick, html, out, notebook } = parse(Deno.args);
  const device = Deno.env.get("COTANGENT_DEVICE");
  if (device === "webgpu" && !await ensureVulkan()) {
    throw new TaskError("COTANGENT_DEVICE=webgpu needs a WebGPU adapter");
  }
  const here = (path: string) => relative(Deno.cwd(), path) || path;
  const output = join(out, basename(notebook));
  const on = device ? ` on ${device}` : "";
  console.log(`Executing ${here(notebook)}${on}${quick ? ", quick profile" : ""}`);
  const { code } = await execute(notebook, { output, quick, live: true });
  if (code === 2) return code;
  const page = html ? await toHtml(output) : undefined;
  if (page && page.code !== 0) console.error(`${page.output.trim()}\nCannot draw ${here(output)} as HTML`);
  console.log(`The executed notebook: ${here(output)}`);
  if (page?.code === 0) console.log(`As a page for the browser: ${here(output.replace(/ipynb$/, "html"))}`);
  return code || (page?.code ?? 0);
});
