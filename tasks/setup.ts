/** `deno task setup`: gets everything that the other commands need, so that they can run without a network. */

import { ensureJupyter } from "./jupyter.ts";
import { command, deno } from "./process.ts";
import { ensureChromium, ensureVulkan } from "./system.ts";

await command(async () => {
  await ensureJupyter();
  console.log("Jupyter: ready in .tools");
  const packages = await deno(["install"]);
  console.log(packages.code === 0 ? "Packages of deno.json: ready" : packages.output.trim());
  const adapter = await ensureVulkan();
  console.log(
    adapter ? `WebGPU: ${adapter}` : "WebGPU: none, so the host engine does the work and tests will say so",
  );
  const chromium = await ensureChromium();
  console.log(chromium ? `Chromium: ${chromium}` : "Chromium: none, so the browser test cannot run");
  return packages.code;
});
