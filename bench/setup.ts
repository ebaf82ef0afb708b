/** What the benchmark needs: a BLAS for the host engine, a WebGPU adapter, and a private Python with PyTorch and JAX. */
import { deno, root, run } from "../tasks/process.ts";
import { makeEnvironment, pythonOf } from "../tasks/python.ts";
import { ensureVulkan, installPackages } from "../tasks/system.ts";

const venv = `${root}.tools/bench`;
const python = pythonOf(venv);

/** Wheels for the CPU alone have an index of their own on Linux, where the usual ones bring gigabytes for a GPU. */
const packages: Record<string, { version: string; options: string[] }> = {
  torch: Deno.build.os === "linux"
    ? { version: "2.13.0+cpu", options: ["--extra-index-url", "https://download.pytorch.org/whl/cpu"] }
    : { version: "2.13.0", options: [] },
  jax: { version: "0.10.2", options: [] },
};

/** The Python that has a package, or an error that says why there is none. */
export async function pythonWith(name: "torch" | "jax"): Promise<string> {
  const { version, options } = packages[name];
  const probe = `from importlib.metadata import version; print(version("${name}"))`;
  if ((await run(python, ["-c", probe])).stdout.trim() === version) return python;
  let install = [python, "-m", "pip"];
  if ((await run(python, ["--version"])).code !== 0) {
    install = await makeEnvironment(venv, "an environment for the benchmark's peers");
  }
  console.log(`Installing ${name} ${version} into .tools/bench, once`);
  const [program, ...pip] = install;
  const { code, output } = await run(program, [
    ...[...pip, "install", "--quiet", "--no-input", "--disable-pip-version-check"],
    ...[...options, `${name}==${version}`, "numpy"],
  ]);
  if (code !== 0) {
    throw new Error(`${name} ${version} cannot be installed: ${output.trim().split("\n").at(-1)}`);
  }
  return python;
}

/** The name of the BLAS that the host engine finds, after an attempt to install one; null without. */
export async function ensureBlas(): Promise<string | null> {
  const module = JSON.stringify(new URL("../gpu/host/blas.ts", import.meta.url));
  // In a process of its own, since the engine looks once.
  const find = async (): Promise<string | null> =>
    (await deno(["eval", `import { blas } from ${module}; console.log(blas()?.name ?? "")`])).stdout.trim() ||
    null;
  const found = await find();
  if (found !== null || Deno.build.os !== "linux") return found;
  return await installPackages(["libopenblas0-pthread"], "The host engine finds no BLAS") ? find() : null;
}

/** The name of the WebGPU adapter, after an attempt to install a driver; null without. */
export const ensureAdapter = async (): Promise<string | null> => await ensureVulkan() ?? null;
