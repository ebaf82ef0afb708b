/** Plots as a reader of JupyterLab sees them: drawn, live and then still, with values on hover, light and dark. */
import { assert, assertEquals } from "@std/assert";
import { codeCell, isDrawn, svgImages, vegaDrawings, withNotebook } from "./lab.ts";

const cells = [
  codeCell(
    "start",
    `import * as ct from "@cotangent/cotangent";
ct.manualSeed(1);
const x = ct.randn([64, 8]), y = x.sum(1, { keepdim: true }).detach();
const model = new ct.Sequential(new ct.Linear(8, 32), new ct.Tanh(), new ct.Linear(32, 32), new ct.Tanh(), new ct.Linear(32, 1));
const loss = (m) => ct.mseLoss(m.call(x), y);
void 0;`,
  ),
  codeCell(
    "live",
    `const optimizer = new ct.Adam(model, { lr: 1e-3 });
const record = ct.recordLayers(model);
await ct.fit(model, {
  loader: [{ x, y }], epochs: Infinity, steps: 1500, clip: 1, optimizer,
  schedule: ct.schedules.cosine(1e-2, 1500),
  loss: (m) => loss(m),
  onStep: async ({ step }) => { record.note(); if (step % 10 === 0) await new Promise((go) => setTimeout(go, 20)); },
});
void 0;`,
  ),
  codeCell("record", `record`),
  codeCell("norms", `loss(model).backward();\nct.gradientNorms(model)`),
  codeCell("activations", `await ct.activationHistograms(model, loss)`),
  codeCell("map", `ct.randn([2, 24, 24]).softmax()`),
  codeCell("module", `model`),
  codeCell("optimizer", `optimizer`),
  codeCell("diagnosis", `await ct.diagnose(model, loss, { optimizer })`),
  codeCell("landscape", `await ct.lossLandscape(model, loss, { points: 11 })`),
  codeCell(
    "by hand",
    `const w = ct.tensor([4, -3], { requiresGrad: true }), sgd = new ct.SGD([w], { lr: 0.05 });
const hand = ct.trainingProgress({ total: 120, clip: 6, title: "by hand" });
for (let step = 1; step <= 120; step++) {
  const loss = w.square().sum();
  sgd.zeroGrad();
  loss.backward();
  const gradNorm = ct.clipGradNorm([w], 6);
  sgd.step();
  hand.update({ loss: step === 40 || step === 41 ? loss.mul(NaN) : step === 80 ? loss.mul(Infinity) : loss, gradNorm });
  await new Promise((go) => setTimeout(go, 15));
}
await hand.end();`,
  ),
  codeCell(
    "strays",
    `for (const [loss, norm] of [[() => NaN, () => NaN], [(i) => 1 / i, (i) => i === 30 ? 50 : 1]]) {
  const p = ct.trainingProgress({ clip: 1, title: "strays", yScale: "log" });
  for (let i = 1; i <= 40; i++) p.update({ loss: loss(i), gradNorm: norm(i), rate: 0.1 / i, another: i / 3, third: -i / 7 });
  await p.end();
}`,
  ),
  codeCell("functions", `ct.functionChart({ tanh: (x) => x.tanh(), silu: (x) => x.silu() })`),
];
const drawn = [1, 2, 3, 4, 5, 9, 10, 11, 12];

Deno.test(
  "plots are drawn in JupyterLab: live and then still, in dark and light, with values on hover",
  { sanitizeOps: false, sanitizeResources: false },
  async () => {
    await withNotebook("plots.ipynb", { cells }, async (notebook) => {
      const messages: string[] = [];
      notebook.page.on("console", (m) => {
        if (["error", "warning"].includes(m.type()) && /vega|warn|TypeError/i.test(m.text())) {
          messages.push(m.text());
        }
      });
      await notebook.start(0);
      await notebook.finished(0);
      await notebook.start(1);
      // While it runs the curve is a picture; the figure that stays is interactive.
      await svgImages(notebook.cell(1)).first().waitFor();
      await notebook.page.waitForTimeout(1500);
      await notebook.screenshot("plots-live", notebook.cell(1));
      await notebook.finished(1);
      await vegaDrawings(notebook.cell(1)).first().waitFor();
      assertEquals(await notebook.outputs(1).count(), 1);
      for (let i = 2; i < cells.length; i++) {
        await notebook.start(i);
        await notebook.finished(i);
      }
      assertEquals(await notebook.errors(), []);
      for (const i of drawn) {
        await vegaDrawings(notebook.cell(i)).first().waitFor();
        assert(await isDrawn(vegaDrawings(notebook.cell(i)).first()), `cell ${i} is empty`);
      }
      for (
        const [i, text] of [[6, "gradient norm"], [7, "root mean square"], [8, "nothing found"]] as const
      ) {
        await notebook.shows(i, text);
      }
      await notebook.cell(5).scrollIntoViewIfNeeded();
      const box = (await vegaDrawings(notebook.cell(5)).first().boundingBox())!;
      await notebook.page.mouse.move(box.x + 30, box.y + box.height - 30);
      await notebook.page.locator("#vg-tooltip-element.visible", { hasText: "value" }).waitFor();
      await notebook.screenshot("plots-light", notebook.cell(2));
      await notebook.screenshot("plots-by-hand", notebook.cell(10));
      assertEquals(await notebook.outputs(10).count(), 1);
      await notebook.page.setViewportSize({ width: 1040, height: 1600 });
      await notebook.theme("JupyterLab Dark");
      for (const i of drawn) {
        const wide = await notebook.outputs(i).evaluateAll((nodes) =>
          nodes.map((n) => [n, ...n.querySelectorAll("div")].map((k) => k.scrollWidth - n.clientWidth))
        );
        assert(wide.flat().every((over) => over <= 1), `cell ${i} is wider than its output: ${wide}`);
      }
      for (const i of [1, 2, 4, 6, 9, 10, 11]) await notebook.screenshot(`plots-dark-${i}`, notebook.cell(i));
      assertEquals(messages, []);
    });
  },
);
