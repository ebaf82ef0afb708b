/** Type-checks the code cells of notebooks, which nothing else does. */

import { basename, join } from "node:path";
import { pathToFileURL } from "node:url";
import { type NotebookModule, notebookModule } from "./notebook_code.ts";
import { deno, type Outcome, root } from "./process.ts";

/** `deno check` passes over excluded folders such as `out`, so the modules there get a configuration of their own. */
async function writeConfiguration(folder: string): Promise<string> {
  const { name, exports, imports, compilerOptions } = JSON.parse(
    await Deno.readTextFile(join(root, "deno.json")),
  );
  const own = Object.entries(exports as Record<string, string>).map(([key, file]) => [
    key.replace(/^\./, name),
    pathToFileURL(join(root, file)).href,
  ]);
  const path = join(folder, "deno.json");
  const configuration = { imports: { ...imports, ...Object.fromEntries(own) }, compilerOptions };
  await Deno.writeTextFile(path, JSON.stringify(configuration, null, 2));
  return path;
}

/** Type-checks the code cells; errors name the notebook, the cell and the line in it. */
export async function checkNotebooks(notebooks: string[]): Promise<Outcome> {
  // Without a file to check, deno would check whatever an earlier call has left here.
  if (!notebooks.length) {
    return { code: 1, signal: null, output: "There are no notebooks", stdout: "", seconds: 0 };
  }
  const folder = join(root, "out/check");
  await Deno.mkdir(folder, { recursive: true });
  const config = await writeConfiguration(folder);
  const modules = new Map<string, { notebook: string; module: NotebookModule }>();
  for (const notebook of notebooks) {
    const { cells } = JSON.parse(await Deno.readTextFile(join(root, notebook)));
    const module = notebookModule(cells);
    const path = join(folder, `${basename(notebook, ".ipynb")}.ts`);
    await Deno.writeTextFile(path, module.text);
    modules.set(pathToFileURL(path).href, { notebook, module });
  }
  const files = [...modules.keys()];
  const outcome = await deno(["check", "--quiet", "--no-lock", "--config", config, ...files], {
    cwd: folder,
  });
  const output = outcome.output.replace(/(file:\S+?\.ts):(\d+):(\d+)/g, (place, url, line, column) => {
    const found = modules.get(url);
    const origin = found?.module.origins.get(Number(line));
    return origin ? `${found!.notebook}, cell ${origin.cell}, line ${origin.line}, column ${column}` : place;
  });
  return { ...outcome, output };
}

/** The notebooks of the repository, as paths from its root. */
export async function notebookFiles(): Promise<string[]> {
  const entries = await Array.fromAsync(Deno.readDir(join(root, "notebooks")));
  return entries.map(({ name }) => `notebooks/${name}`).filter((path) => path.endsWith(".ipynb")).sort();
}
