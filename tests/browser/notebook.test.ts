/** A reader in JupyterLab: graphs and charts are drawn, Stop ends a loop, and the kernel goes on with its state. */

import { assert, assertEquals } from "@std/assert";
import { codeCell, isDrawn, type OpenNotebook, svgImages, vegaDrawings, withNotebook } from "./lab.ts";

// Browsers and servers close their connections when they like.
const options = { sanitizeOps: false, sanitizeResources: false };

const chart = {
  $schema: "https://vega.github.io/schema/vega-lite/v5.json",
  width: 300,
  height: 150,
  data: { values: [1, 4, 9, 16].map((y, x) => ({ x, y })) },
  mark: { type: "line", point: true },
  encoding: { x: { field: "x", type: "quantitative" }, y: { field: "y", type: "quantitative" } },
};
const drawing =
  `<svg xmlns="http://www.w3.org/2000/svg" width="80" height="40"><rect width="80" height="40"/></svg>`;

/** Cells for the end of any notebook: a training loop without an end, and what must work after Stop. */
const stoppable = [
  codeCell(
    "stop-train",
    `import { grad as gradOf, interruptSignal as signalNow, tensor as tensorOf } from "@cotangent/cotangent";
const endless = { parameter: tensorOf([3, -4]), steps: 0, stopped: signalNow() };
const slopeAt = gradOf((w) => w.square().sum());
console.log("training");
while (!endless.stopped.aborted) {
  endless.parameter = endless.parameter.sub(slopeAt(endless.parameter).mul(0.01));
  await endless.parameter.data();
  endless.steps++;
}
console.log("stopped");`,
  ),
  codeCell(
    "stop-after",
    `const endlessLoss = await endless.parameter.square().sum().item();
console.log("goes on:", endless.steps > 0, endlessLoss < 25, signalNow().aborted);`,
  ),
];

/** Cells with an ordinary loop, which does not look at the signal: Stop ends it with an error. */
const ordinary = [
  codeCell(
    "ordinary-train",
    `import { SGD, tensor } from "@cotangent/cotangent";
const weight = tensor([3, -4], { requiresGrad: true });
const optimizer = new SGD([weight], { lr: 0.001 });
let taken = 0;
console.log("looping");
for (;;) {
  optimizer.zeroGrad();
  const loss = weight.square().sum();
  loss.backward();
  optimizer.step();
  await loss.item();
  taken++;
}`,
  ),
  codeCell("ordinary-after", `console.log("kept:", taken > 0, await weight.square().sum().item() < 25);`),
];

/** Presses Stop in the running loop of `stoppable`, the last two cells, and computes with what it left. */
async function stopAndGoOn(notebook: OpenNotebook, screen: string): Promise<void> {
  const [training, after] = [notebook.length - 2, notebook.length - 1];
  await notebook.stop();
  await notebook.shows(training, "stopped", 20);
  await notebook.start(after);
  await notebook.shows(after, "goes on: true true false", 20);
  await notebook.screenshot(screen, notebook.cell(after));
}

Deno.test("a chart, an SVG and a live display are drawn, and Stop keeps the state", options, async () => {
  const show = `await Deno.jupyter.display`;
  const small = {
    cells: [
      codeCell("package", `import "@cotangent/cotangent";\nvoid 0;`),
      codeCell(
        "chart",
        `${show}({ "application/vnd.vegalite.v5+json": ${JSON.stringify(chart)} }, { raw: true });`,
      ),
      codeCell("svg", `${show}({ "image/svg+xml": ${JSON.stringify(drawing)} }, { raw: true });`),
      codeCell(
        "live",
        `for (const [i, state] of ["first", "last"].entries()) {
  ${show}({ "text/plain": state }, { raw: true, display_id: "live", update: i > 0 });
}`,
      ),
      ...ordinary,
      ...stoppable,
    ],
  };
  await withNotebook("small.ipynb", small, async (notebook) => {
    for (const index of [0, 1, 2, 3]) {
      await notebook.start(index);
      await notebook.finished(index);
    }
    await vegaDrawings(notebook.cell(1)).waitFor();
    assert(await isDrawn(vegaDrawings(notebook.cell(1))));
    await svgImages(notebook.cell(2)).waitFor();
    assert(await isDrawn(svgImages(notebook.cell(2))));
    assertEquals(await notebook.outputs(3).allInnerTexts(), ["last"]);
    await notebook.start(4);
    await notebook.shows(4, "looping");
    await notebook.stop();
    await notebook.shows(4, "AbortError: Stopped", 20);
    await notebook.start(5);
    await notebook.shows(5, "kept: true true", 20);
    await notebook.start(notebook.length - 2);
    await notebook.shows(notebook.length - 2, "training");
    await stopAndGoOn(notebook, "small");
  });
});

Deno.test(
  "the theory notebook runs, draws its graphs and charts, and Stop keeps the state",
  options,
  async () => {
    await withNotebook("theory.ipynb", { added: stoppable }, async (notebook) => {
      await notebook.startAll();
      await notebook.shows(notebook.length - 2, "training", 600);
      assertEquals(await notebook.errors(), []);
      const cells = notebook.page.locator(".jp-Notebook");
      const drawings = [...await vegaDrawings(cells).all(), ...await svgImages(cells).all()];
      assert(drawings.length >= 2, `The notebook drew ${drawings.length} graphs and charts`);
      for (const [index, drawing] of drawings.entries()) {
        await drawing.scrollIntoViewIfNeeded();
        assert(await isDrawn(drawing), `Drawing ${index + 1} of ${drawings.length} is empty`);
        if (index < 3) await notebook.screenshot(`theory-drawing-${index + 1}`, drawing);
      }
      await stopAndGoOn(notebook, "theory-stop");
    });
  },
);
