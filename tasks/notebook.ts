/** Executing a notebook on the Deno kernel with our runner, and drawing the result as a page. */

import { basename, dirname, join, resolve } from "node:path";
import { ensureJupyter, python } from "./jupyter.ts";
import { type Outcome, root, run, TaskError } from "./process.ts";

export interface Execution {
  /** Where the executed notebook goes. */
  output: string;
  /** Runs the notebooks' short profile. */
  quick?: boolean;
  /** Seconds that a cell may take. */
  timeout?: number;
  /** Shows the progress as it comes, and returns none of it. */
  live?: boolean;
  /** Leaves out the line for each cell. */
  quiet?: boolean;
  env?: Record<string, string>;
}

/** Executes a notebook from top to bottom: status 0 where every cell ran and showed what it declares. */
export async function execute(notebook: string, execution: Execution): Promise<Outcome> {
  const { output, quick = false, timeout = 300, live = false, quiet = false, env = {} } = execution;
  const path = resolve(notebook);
  try {
    await Deno.stat(path);
  } catch {
    throw new TaskError(`Cannot execute ${notebook}: there is no such file`);
  }
  const variables = {
    ...await ensureJupyter(),
    COTANGENT_DETERMINISTIC: "1",
    ...(quick ? { COTANGENT_QUICK: "1" } : {}),
    ...env,
  };
  const args = [`${root}tasks/run_notebook.py`, path, resolve(output), "--timeout", `${timeout}`];
  return await run(python, quiet ? [...args, "--quiet"] : args, { env: variables, live });
}

/** Draws an executed notebook as an HTML page beside it. */
export async function toHtml(notebook: string): Promise<Outcome> {
  const page = basename(notebook).replace(/\.ipynb$/, ".html");
  const flags = ["--to", "html", "--log-level", "ERROR", "--output-dir", dirname(resolve(notebook))];
  const args = ["-m", "nbconvert", ...flags, "--output", page, resolve(notebook)];
  return await run(python, args, { env: await ensureJupyter(), cwd: join(root, "out") });
}
