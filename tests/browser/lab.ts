/** JupyterLab in a headless Chromium: opening a notebook and doing with it what a reader does. */

import { type Browser, chromium, type Locator, type Page } from "playwright-core";
import { dirname, join } from "node:path";
import { root } from "../../tasks/process.ts";
import { type Lab, startLab } from "../../tasks/lab.ts";
import { ensureChromium } from "../../tasks/system.ts";

const flags = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  // Containers often have a small /dev/shm.
  "--disable-dev-shm-usage",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

const workFolder = join(root, "out/lab-test");
const screens = join(root, "out/screens");

/** Writes a notebook of the given cells. */
export async function writeNotebook(path: string, cells: readonly CodeCell[]): Promise<void> {
  await Deno.mkdir(dirname(path), { recursive: true });
  await Deno.writeTextFile(path, JSON.stringify({ ...emptyNotebook(), cells }));
}

/** Copies the notebooks to where a test may change them and the kernel still finds the repository's `deno.json`. */
async function copyNotebooks(): Promise<void> {
  await Deno.remove(workFolder, { recursive: true }).catch(() => {});
  await copyFolder(join(root, "notebooks"), join(workFolder, "notebooks"));
}

async function copyFolder(from: string, to: string): Promise<void> {
  await Deno.mkdir(to, { recursive: true });
  for await (const { name, isFile, isDirectory } of Deno.readDir(from)) {
    if (isFile) await Deno.copyFile(join(from, name), join(to, name));
    if (isDirectory && !name.startsWith(".")) await copyFolder(join(from, name), join(to, name));
  }
}

/** JupyterLab's settings of a test: every cell is in the page, in view or not. */
async function writeSettings(folder: string): Promise<void> {
  const extension = join(folder, "@jupyterlab/notebook-extension");
  await Deno.mkdir(extension, { recursive: true });
  const settings = { windowingMode: "none", autoStartDefaultKernel: true };
  await Deno.writeTextFile(join(extension, "tracker.jupyterlab-settings"), JSON.stringify(settings));
}

/** A cell as JSON, as far as tests write them. */
export interface CodeCell {
  cell_type: "code";
  id: string;
  source: string;
  metadata: { tags?: string[] };
  outputs: unknown[];
  execution_count: number | null;
}

export function codeCell(id: string, source: string): CodeCell {
  return { cell_type: "code", id, source, metadata: {}, outputs: [], execution_count: null };
}

export interface OpenNotebook {
  page: Page;
  /** How many cells there are, of all kinds. */
  length: number;
  /** The cell at an index, counted from 0 over cells of all kinds. */
  cell(index: number): Locator;
  /** What the cell has shown. */
  outputs(index: number): Locator;
  /** Starts a code cell as Shift+Enter does, without waiting for it. */
  start(index: number): Promise<void>;
  /** Waits until the kernel has worked off the cell. */
  finished(index: number, seconds?: number): Promise<void>;
  /** Waits until the cell shows the text; fails when the kernel is through with all cells before that. */
  shows(index: number, text: string, seconds?: number): Promise<void>;
  /** What cells that are not tagged with `raises-exception` wrote in red: errors and `console.error`. */
  errors(): Promise<string[]>;
  /** Starts all cells. */
  startAll(): Promise<void>;
  /** Changes the theme: `JupyterLab Dark`. */
  theme(name: string): Promise<void>;
  /** The notebook toolbar's Stop. */
  stop(): Promise<void>;
  /** Saves what the window shows, with the element in view, as `out/screens/<name>.png`. */
  screenshot(name: string, element?: Locator): Promise<void>;
}

interface Open {
  lab: Lab;
  browser: Browser;
  page: Page;
}

async function open(notebook: string): Promise<Open> {
  const executablePath = await ensureChromium();
  if (!executablePath) throw new Error("The browser test needs Chromium");
  const settings = join(workFolder, "settings");
  await writeSettings(settings);
  const lab = await startLab({
    folder: join(workFolder, "notebooks"),
    browser: false,
    env: {
      COTANGENT_QUICK: "1",
      JUPYTERLAB_SETTINGS_DIR: settings,
      JUPYTERLAB_WORKSPACES_DIR: join(workFolder, "workspaces"),
    },
  });
  const browser = await chromium.launch({ executablePath, args: flags });
  const page = await browser.newPage({ viewport: { width: 1280, height: 1600 } });
  page.setDefaultTimeout(60_000);
  await page.goto(lab.url(`/tree/${notebook}`));
  return { lab, browser, page };
}

/**
 * Opens `notebooks/<name>`, or a notebook of the given cells, with further cells added at its end, for as long as `body`
 * runs. Where it fails, `out/screens/<name>-failed.png` shows what there was to see.
 */
export async function withNotebook(
  name: string,
  { cells, added = [] }: { cells?: CodeCell[]; added?: CodeCell[] },
  body: (notebook: OpenNotebook) => Promise<void>,
): Promise<void> {
  await copyNotebooks();
  await Deno.mkdir(screens, { recursive: true });
  const path = join(workFolder, "notebooks", name);
  const notebook: { cells: CodeCell[] } = cells ? emptyNotebook() : JSON.parse(await Deno.readTextFile(path));
  notebook.cells.push(...cells ?? [], ...added);
  await Deno.writeTextFile(path, JSON.stringify(notebook));
  const { lab, browser, page } = await open(name);
  await using _server = lab;
  try {
    await body(await notebookIn(page, notebook.cells));
  } catch (error) {
    await page.screenshot({ path: join(screens, `${name.replace(".ipynb", "")}-failed.png`) });
    throw error;
  } finally {
    await browser.close();
  }
}

async function notebookIn(page: Page, cells: CodeCell[]): Promise<OpenNotebook> {
  const { length } = cells;
  const panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)");
  const cell = (index: number) => panel.locator(".jp-Notebook .jp-Cell").nth(index);
  const prompt = (index: number) => cell(index).locator(".jp-InputPrompt").first();
  const promptIs = async (index: number, text: RegExp, timeout: number) => {
    await prompt(index).filter({ hasText: text }).waitFor({ state: "attached", timeout });
  };
  await panel.locator(".jp-Notebook .jp-Cell").nth(length - 1).waitFor({ state: "attached" });
  // The indicator beside the notebook says idle before there is a connection, and a cell started then can get lost.
  await page.locator("#jp-main-statusbar").getByText("Deno | Idle").waitFor();

  return {
    page,
    length,
    cell,
    outputs: (index) => cell(index).locator(".jp-OutputArea-output"),
    async start(index) {
      // The prompt selects the cell and starts no editing.
      await prompt(index).click();
      await page.keyboard.press("Shift+Enter");
    },
    finished: (index, seconds = 120) => promptIs(index, /^\[\d+\]:$/, seconds * 1000),
    async shows(index, text, seconds = 120) {
      const outputs = cell(index).locator(".jp-OutputArea-output").filter({ hasText: text });
      const running = panel.locator(".jp-InputPrompt").filter({ hasText: "[*]:" });
      const deadline = Date.now() + seconds * 1000;
      while (await outputs.count() === 0) {
        if (await running.count() > 0 && Date.now() < deadline) {
          await page.waitForTimeout(100);
          continue;
        }
        // The last output may come together with the end.
        await page.waitForTimeout(500);
        if (await outputs.count() > 0) return;
        const shown = await panel.locator(".jp-OutputArea-output").allInnerTexts();
        throw new Error(
          `Cell ${index + 1} does not show "${text}"; the last outputs are:\n${shown.slice(-3).join("\n")}`,
        );
      }
    },
    async errors() {
      // Deno's tracebacks have no terminal colours, so JupyterLab shows an error as it shows standard error.
      const error = '.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.stderr"]';
      const texts = cells.map(async ({ metadata }: CodeCell, index: number) =>
        metadata.tags?.includes("raises-exception") ? [] : await cell(index).locator(error).allInnerTexts()
      );
      return (await Promise.all(texts)).flat();
    },
    async startAll() {
      await page.locator(".lm-MenuBar-itemLabel", { hasText: /^Run$/ }).click();
      await page.locator('.lm-Menu-item[data-command="runmenu:run-all"]').click();
    },
    async theme(name) {
      await page.locator(".lm-MenuBar-itemLabel", { hasText: /^Settings$/ }).click();
      await page.locator(".lm-Menu-itemLabel", { hasText: /^Theme$/ }).hover();
      await page.locator(".lm-Menu-itemLabel", { hasText: new RegExp(`^${name}$`) }).click();
      await page.waitForTimeout(500);
    },
    async stop() {
      await panel.locator('[data-command="notebook:interrupt-kernel"], [title^="Interrupt"]').first().click();
    },
    async screenshot(name, element) {
      await element?.scrollIntoViewIfNeeded();
      await page.screenshot({ path: join(screens, `${name}.png`) });
    },
  };
}

function emptyNotebook() {
  return {
    nbformat: 4,
    nbformat_minor: 5,
    metadata: { kernelspec: { name: "deno", display_name: "Deno", language: "typescript" } },
    cells: [] as CodeCell[],
  };
}

/** Vega's drawings, each a canvas or an SVG that its view has filled. */
export const vegaDrawings = (within: Locator): Locator =>
  within.locator(".vega-embed canvas, .vega-embed svg.marks");

/** SVG outputs, which JupyterLab draws as images. */
export const svgImages = (within: Locator): Locator => within.locator(".jp-RenderedSVG img");

/** Whether the drawing has a size, and an image its content. */
export async function isDrawn(drawing: Locator): Promise<boolean> {
  const box = await drawing.boundingBox();
  const loaded = await drawing.evaluate((node: { naturalWidth?: number }) => node.naturalWidth !== 0);
  return loaded && box !== null && box.width > 10 && box.height > 10;
}
