/** Every picture of the package where it is read without a kernel: an untrusted notebook, in dark and light, and an exported page. */

import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { root } from "../../tasks/process.ts";
import { execute, toHtml } from "../../tasks/notebook.ts";
import { type CodeCell, codeCell, isDrawn, vegaDrawings, withNotebook, writeNotebook } from "./lab.ts";

// Browsers and servers close their connections when they like.
const options = { sanitizeOps: false, sanitizeResources: false };

/** Cells that show a picture each, by what it is drawn as. */
const pictures: readonly (CodeCell & { drawnAs: "chart" | "table" | "report" })[] = [
  ...([
    ["tensor", `ct.randn([24, 24])`],
    ["neuron", `a.mul(b).add(c).tanh().mul(a).graph({ title: "y = a tanh(a b + c)" })`],
    ["model", `ct.graph(loss)`],
    [
      "scan",
      `ct.graph(ct.scan((h, x) => [h.mul(a).add(x).tanh(), h], ct.zeros([3]), ct.randn([9, 3]))[0].sum())`,
    ],
    ["program", `ct.program(loss)`],
    ["norms", `ct.gradientNorms(model)`],
    [
      "jacobian",
      `ct.heatmap(ct.jacrev((x) => x.softmax())(ct.randn([6])), { title: "Jacobian of softmax" })`,
    ],
    [
      "functions",
      `ct.functionChart({ tanh: (x) => x.tanh(), silu: (x) => x.silu() }, { title: "Activations" })`,
    ],
    ["spectrum", `ct.singularValues({ weight: model.head.weight, noise: ct.randn([10, 16]) })`],
    [
      "memory",
      `ct.memoryChart({ plain: () => ct.grad(f((g) => g))(wide), checkpointed: () => ct.grad(f(ct.checkpoint))(wide) })`,
    ],
  ] as const).map(([id, source]) => ({ ...codeCell(id, source), drawnAs: "chart" as const })),
  ...([
    ["module", `model`],
    ["optimizer", `new ct.Adam(model, { lr: 1e-3 })`],
    ["profile", `await ct.profile(() => lossOf(model).item())`],
  ] as const).map(([id, source]) => ({ ...codeCell(id, source), drawnAs: "table" as const })),
  { ...codeCell("diagnosis", `await ct.diagnose(model, lossOf)`), drawnAs: "report" },
];
interface Box {
  scrollWidth: number;
  clientWidth: number;
  querySelectorAll(selector: string): Iterable<Box>;
}

const within = { chart: ".jp-RenderedSVG img", table: "table", report: ".jp-RenderedHTMLCommon" };

const start = codeCell(
  "start",
  `import * as ct from "@cotangent/cotangent";
ct.manualSeed(1);
const leaf = (value, name) => Object.assign(ct.tensor(value, { requiresGrad: true }), { name });
const [a, b, c] = [leaf(2, "a"), leaf(-3, "b"), leaf(7, "<c>")];
class Model extends ct.Module {
  blocks = Array.from({ length: 12 }, () => new ct.TransformerEncoderLayer(16, 2, { feedforward: 32, normFirst: true }));
  head = new ct.Linear(16, 10);
  forward(x) {
    return this.head.call(this.blocks.reduce((h, block) => block.call(h), x));
  }
}
const model = new Model(), x = ct.randn([1, 4, 16]), y = ct.randint(0, 10, [4]);
const lossOf = (m) => ct.crossEntropy(m.call(x).reshape([4, 10]), y);
const loss = lossOf(model);
lossOf(model).backward();
const wide = ct.randn([64, 64], { requiresGrad: true }), layer = (h) => h.sin().exp().mul(0.1), f = (of) => (t) => [1, 2, 3, 4, 5, 6].reduce((h) => of(layer)(h), t).sum();
void 0;`,
);

Deno.test(
  "untrusted notebooks and exported pages show every picture, in dark and light, at 600 px",
  options,
  async () => {
    const source = join(root, "out/gallery/source.ipynb"), executed = join(root, "out/gallery/gallery.ipynb");
    await writeNotebook(source, [start, ...pictures]);
    const ran = await execute(source, { output: executed });
    assertEquals(ran.code, 0, ran.output);
    const exported = await toHtml(executed);
    assertEquals(exported.code, 0, exported.output);

    const { cells } = JSON.parse(await Deno.readTextFile(executed)) as { cells: CodeCell[] };
    await withNotebook("gallery.ipynb", { cells }, async (notebook) => {
      const { page } = notebook, complaints: string[] = [];
      page.on("console", (message) => {
        if (["error", "warning"].includes(message.type())) complaints.push(message.text());
      });
      page.on("pageerror", (error) => complaints.push(String(error)));
      // What another session computed is not trusted, and nothing runs here.
      await page.setViewportSize({ width: 1040, height: 1600 });
      assertEquals((await notebook.outputs(1).first().boundingBox())!.width, 600);
      const wide: string[] = [];
      for (const [theme, name] of [["JupyterLab Dark", "dark"], ["JupyterLab Light", "light"]]) {
        await notebook.theme(theme);
        for (const [i, { id, drawnAs }] of pictures.entries()) {
          const cell = notebook.cell(i + 1);
          if (drawnAs === "chart") {
            const drawing = vegaDrawings(cell).first();
            await drawing.waitFor();
            assert(await isDrawn(drawing), `${id} is empty`);
          } else await cell.locator(`.jp-OutputArea ${within[drawnAs]}`).first().waitFor();
          await notebook.screenshot(`gallery-${name}-${id}`, cell);
          // Not wider than the page: nothing in the output scrolls.
          const [inside, outside] = await notebook.outputs(i + 1).first().evaluate((node: Box) => {
            const all = [node, ...node.querySelectorAll("div")];
            const width = Math.max(...all.map((inner) => inner.scrollWidth));
            return [width, node.clientWidth];
          });
          if (inside > outside + 1) wide.push(`${name} ${id}: ${inside} in ${outside}`);
        }
      }
      assertEquals(complaints.filter((text) => /vega|svg|graph|sanitiz/i.test(text)), []);
      assertEquals(wide, []);

      const reader = await page.context().browser()!.newPage(), messages: string[] = [];
      reader.on("console", (message) => messages.push(message.text()));
      reader.on("pageerror", (error) => messages.push(String(error)));
      // The page's own scripts (formulas) come from the network, which is not what is tested.
      await reader.route(/^https?:/, (route) => route.fulfill({ body: "" }));
      await reader.setViewportSize({ width: 600, height: 1600 });
      await reader.goto(`file://${executed.replace(/\.ipynb$/, ".html")}`);
      for (const [i, { id, drawnAs }] of pictures.entries()) {
        const output = reader.locator(".jp-Cell").nth(i + 1).locator(
          within[drawnAs],
        );
        await output.first().waitFor();
        assert(await isDrawn(output.first()), `the page does not show ${id}`);
      }
      await reader.screenshot({ path: join(root, "out/screens/gallery-page.png"), fullPage: true });
      assertEquals(messages, []);
    });
  },
);
