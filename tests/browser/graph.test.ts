/** Graphs in JupyterLab: drawn without scripts, formulas where they are pointed at, a slider for the backward pass, zoom. */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import type { Locator, Page } from "playwright-core";
import { codeCell, isDrawn, vegaDrawings, withNotebook } from "./lab.ts";

// Browsers and servers close their connections when they like.
const options = { sanitizeOps: false, sanitizeResources: false };

const cells = [
  codeCell(
    "neuron",
    `import { crossEntropy, graph, Linear, Module, program, randint, tensor, TransformerEncoderLayer } from "@cotangent/cotangent";
const leaf = (value, name) => Object.assign(tensor(value, { requiresGrad: true }), { name });
const [a, b, c] = [leaf(2, "a"), leaf(-3, "b"), leaf(7, "<c>")];
const neuron = a.mul(b).add(c).tanh().mul(a);
neuron.graph({ title: "y = a tanh(a b + c)" })`,
  ),
  codeCell(
    "model",
    `class Model extends Module {
  blocks = Array.from({ length: 12 }, () => new TransformerEncoderLayer(16, 2, { feedforward: 32, normFirst: true }));
  head = new Linear(16, 10);
  forward(x) {
    return this.head.call(this.blocks.reduce((h, block) => block.call(h), x));
  }
}
const scores = new Model().call(tensor(Array.from({ length: 64 }, (_, i) => Math.sin(i))).reshape([1, 4, 16]));
const loss = crossEntropy(scores.reshape([4, 10]), randint(0, 10, [4]));
graph(loss)`,
  ),
  codeCell("program", `program(neuron)`),
];

/** Points at the drawing, a grid of places in turn, until the tooltip says `text`. */
async function pointedAt(page: Page, drawing: Locator, text: string): Promise<string> {
  await drawing.scrollIntoViewIfNeeded();
  const box = (await drawing.boundingBox())!;
  for (let y = 20; y < Math.min(box.height, 600); y += 10) { // titles of frames are 13 high
    for (let x = 20; x < box.width; x += 30) {
      await page.mouse.move(box.x + x, box.y + y);
      const tooltip = page.locator("#vg-tooltip-element.visible");
      const shown = await tooltip.count() > 0 ? await tooltip.innerText() : "";
      if (shown.includes(text)) return shown;
    }
  }
  throw new Error(`No place of the drawing tells "${text}"`);
}

Deno.test("graphs are drawn, explain themselves, walk the backward pass and zoom", options, async () => {
  await withNotebook("graphs.ipynb", { cells }, async (notebook) => {
    const { page } = notebook, complaints: string[] = [];
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) complaints.push(message.text());
    });
    page.on("pageerror", (error) => complaints.push(String(error)));
    const drawings: Locator[] = [];
    for (const index of cells.keys()) {
      await notebook.start(index);
      await notebook.finished(index);
      const drawing = vegaDrawings(notebook.cell(index)).first();
      await drawing.waitFor();
      assert(await isDrawn(drawing), `cell ${index + 1} draws nothing`);
      await notebook.screenshot(`graph-${cells[index].id}`, drawing);
      drawings.push(drawing);
    }
    const [neuron, model] = drawings;
    const shown = await pointedAt(page, neuron, "numbers");
    assert(shown.includes("formula") && shown.includes("derivative") && shown.includes("ct = "), shown);
    await notebook.screenshot("graph-tooltip", neuron);
    await pointedAt(page, model, "TransformerEncoderLayer × 12");

    // The slider moves what is lit.
    const slider = notebook.cell(0).locator(".vega-bind input[type=range]"),
      before = await neuron.screenshot();
    await slider.click();
    assertNotEquals(await slider.inputValue(), "0");
    await page.waitForTimeout(300);
    const lit = await neuron.screenshot();
    assert(!before.equals(lit), "the slider changes nothing");
    await notebook.screenshot("graph-step", neuron);

    // Ctrl and the wheel zoom.
    const box = (await neuron.boundingBox())!;
    await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
    await page.keyboard.down("Control");
    await page.mouse.wheel(0, -300);
    await page.keyboard.up("Control");
    await page.waitForTimeout(300);
    assert(!lit.equals(await neuron.screenshot()), "Ctrl and the wheel change nothing");
    await notebook.screenshot("graph-zoomed", neuron);

    await notebook.theme("JupyterLab Dark");
    await page.setViewportSize({ width: 1000, height: 1600 });
    for (const [i, drawing] of drawings.entries()) {
      await notebook.screenshot(`graph-dark-${cells[i].id}`, drawing);
    }
    assertEquals(await notebook.errors(), []);
    assertEquals(complaints.filter((text) => /vega|svg|graph/i.test(text)), []);
  });
});
