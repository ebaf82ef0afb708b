/** The private Jupyter: a Python environment and a Deno kernel under `.tools`, which touch nothing of the user's. */

import { deno, root, run, TaskError } from "./process.ts";
import { makeEnvironment, pythonOf } from "./python.ts";

const tools = `${root}.tools`;
const venv = `${tools}/venv`;
const stamp = `${venv}/requirements.sha256`;
const requirements = `${root}tasks/requirements.txt`;
const windows = Deno.build.os === "windows";

/** The Python of the private environment. */
export const python = pythonOf(venv);

async function readText(path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  }
}

async function requirementsHash(): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", await Deno.readFile(requirements));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function isUsable(hash: string): Promise<boolean> {
  if (await readText(stamp) !== hash) return false;
  // The stamp survives an upgrade of the system's Python, which leaves the packages behind.
  const modules = ["jupyterlab", "jupyter_client", "nbclient", "nbconvert", "nbformat"];
  const probe = `import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, ${
    JSON.stringify(modules)
  })))`;
  return (await run(python, ["-c", probe])).code === 0;
}

async function install(hash: string): Promise<void> {
  const [program, ...pip] = await makeEnvironment(venv, "a private Jupyter");
  // The file names every package, so nothing is left to pip's search, which took an old pip over ten minutes.
  const flags = [
    "--no-deps",
    "--disable-pip-version-check",
    "--no-input",
    "--no-warn-script-location",
    "--quiet",
  ];
  const { code, output, seconds } = await run(program, [...pip, "install", ...flags, "-r", requirements]);
  if (code !== 0) {
    throw new TaskError(
      `${output.trim()}\nCannot install tasks/requirements.txt into .tools/venv (pip's report is above)`,
    );
  }
  await Deno.writeTextFile(stamp, hash);
  console.log(`Installed Jupyter in ${seconds.toFixed(0)} s`);
}

/** Writes a file that a process starting at this moment reads either whole or not at all. */
async function writeWhole(path: string, text: string): Promise<void> {
  const temporary = `${path}.${Deno.pid}`;
  await Deno.writeTextFile(temporary, text);
  await Deno.rename(temporary, path);
}

/** Under npx the path of Deno is in a cache that can vanish, so the kernel is described anew for each command. */
async function configure(): Promise<void> {
  const folder = `${tools}/jupyter/kernels/deno`;
  const lab = `${tools}/jupyter/config/labconfig`;
  for (const path of [folder, lab, `${tools}/home`]) await Deno.mkdir(path, { recursive: true });
  await Deno.mkdir(`${tools}/run`, { recursive: true, mode: 0o700 });
  const kernel = {
    argv: [Deno.execPath(), "jupyter", "--kernel", "--conn", "{connection_file}"],
    display_name: "Deno",
    language: "typescript",
  };
  await writeWhole(`${folder}/kernel.json`, JSON.stringify(kernel, null, 2));
  const settings = {
    "@jupyterlab/apputils-extension:notification": { fetchNews: "false", checkForUpdates: false },
  };
  await writeWhole(`${lab}/default_setting_overrides.json`, JSON.stringify(settings));
}

async function isWritable(folder: string | undefined): Promise<boolean> {
  if (!folder) return false;
  const path = `${folder}/.cotangent-${Deno.pid}`;
  try {
    await Deno.writeTextFile(path, "");
    await Deno.remove(path);
    return true;
  } catch {
    return false;
  }
}

/** Where the running Deno keeps npm packages, so that a kernel with another home does not fetch them again. */
async function denoFolder(): Promise<string> {
  return Deno.env.get("DENO_DIR") ?? JSON.parse((await deno(["info", "--json"])).stdout).denoDir;
}

/** The variables that keep Jupyter's settings, histories and connection files inside `.tools`. */
async function privateVariables(): Promise<Record<string, string>> {
  const jupyter = `${tools}/jupyter`;
  const runtime = Deno.env.get("XDG_RUNTIME_DIR");
  const home = Deno.env.get("HOME");
  return {
    JUPYTER_PATH: jupyter,
    JUPYTER_DATA_DIR: jupyter,
    JUPYTER_CONFIG_DIR: `${jupyter}/config`,
    JUPYTER_RUNTIME_DIR: `${jupyter}/runtime`,
    JUPYTER_PLATFORM_DIRS: "0",
    IPYTHONDIR: `${tools}/ipython`,
    PYTHONPATH: "",
    PYTHONNOUSERSITE: "1",
    PYTHONUNBUFFERED: "1",
    DENO_DIR: await denoFolder(),
    DENO_NO_UPDATE_CHECK: "1",
    ...(windows || await isWritable(home) ? {} : { HOME: `${tools}/home` }),
    ...(windows || runtime ? {} : { XDG_RUNTIME_DIR: `${tools}/run` }),
  };
}

/** Makes the private Jupyter if it is not there, and returns the variables to start its programs with. */
export async function ensureJupyter(): Promise<Record<string, string>> {
  await Deno.mkdir(tools, { recursive: true });
  // Two commands that start together must not install into the same folder.
  using lock = await Deno.open(`${tools}/lock`, { create: true, write: true });
  await lock.lock(true);
  const hash = await requirementsHash();
  if (!await isUsable(hash)) await install(hash);
  await configure();
  return await privateVariables();
}
