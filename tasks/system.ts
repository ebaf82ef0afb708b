/** What only the operating system can give: a Vulkan driver for WebGPU and a Chromium for the browser test. */

import { deno, run } from "./process.ts";

const isDebian = await run("apt-get", ["--version"]).then(({ code }) => code === 0);

/** Installs Debian packages where that is possible, and otherwise says how to do it. */
export async function installPackages(packages: string[], why: string): Promise<boolean> {
  const install = ["install", "-y", "--no-install-recommends", ...packages];
  const sudo = Deno.uid() === 0 ? "" : "sudo ";
  const byHand = `${sudo}apt-get update && ${sudo}apt-get ${install.join(" ")}`;
  if (!isDebian) {
    console.log(`${why}. Install what provides ${packages.join(", ")} (on Debian and Ubuntu: ${byHand})`);
    return false;
  }
  if (Deno.uid() !== 0) {
    console.log(`${why}. Run: ${byHand}`);
    return false;
  }
  console.log(`${why}. Installing ${packages.join(", ")} with apt-get`);
  const env = { DEBIAN_FRONTEND: "noninteractive" };
  // A repository that is out of reach need not be the one that holds these packages, so the update may fail.
  await run("apt-get", ["update", "-qq"], { env });
  // Another apt-get may hold the lock for a while on a machine that has just started.
  const { code, output } = await run("apt-get", ["-o", "DPkg::Lock::Timeout=300", "-qq", ...install], {
    env,
  });
  if (code === 0) return true;
  console.log(`${output.trim()}\nThe installation failed. Run: ${byHand}`);
  return false;
}

// OpenGL's software rasteriser, which WebGPU falls back to, stores no 16-bit floats: it counts as no adapter.
const probe = `
const adapter = await navigator.gpu?.requestAdapter();
const device = await adapter?.requestDevice();
const { vendor, device: model, description, isFallbackAdapter } = adapter?.info ?? {};
const isEnough = device && !(isFallbackAdapter && !adapter.features.has("shader-f16"));
console.log(isEnough ? "adapter: " + (description || model || vendor || "unnamed") : "none");
Deno.exit();
`;

/** The name of the default WebGPU adapter as a new process sees it. A driver that crashes counts as none. */
async function findAdapter(env: Record<string, string> = {}): Promise<string | undefined> {
  const { stdout } = await deno(["eval", "--no-config", probe], { env });
  return stdout.match(/^adapter: (.*)$/m)?.[1];
}

/** The description files of Mesa's software rasteriser. */
function softwareDrivers(): string[] {
  const found = [];
  for (const folder of ["/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d"]) {
    try {
      for (const { name } of Deno.readDirSync(folder)) {
        if (/^lvp_icd\..*json$/.test(name)) found.push(`${folder}/${name}`);
      }
    } catch { /* A missing folder holds no driver. */ }
  }
  return found;
}

async function adapterWithAnyDriver(): Promise<string | undefined> {
  const adapter = await findAdapter();
  if (adapter) return adapter;
  for (const driver of softwareDrivers()) {
    // A broken hardware driver must not hide the software one. VK_ICD_FILENAMES is what old loaders read.
    const env = { VK_DRIVER_FILES: driver, VK_ICD_FILENAMES: driver };
    const software = await findAdapter(env);
    if (!software) continue;
    for (const [name, value] of Object.entries(env)) Deno.env.set(name, value);
    return software;
  }
  return undefined;
}

let vulkan: Promise<string | undefined> | undefined;

/** Finds or installs a driver that WebGPU accepts: its name, or undefined. */
export function ensureVulkan(): Promise<string | undefined> {
  vulkan ??= (async () => {
    const adapter = await adapterWithAnyDriver();
    // Only Linux has the software driver as a package; elsewhere WebGPU uses Metal or Direct3D.
    if (adapter || Deno.build.os !== "linux") return adapter;
    const packages = ["mesa-vulkan-drivers", "libvulkan1"];
    return await installPackages(packages, "WebGPU finds no Vulkan adapter")
      ? adapterWithAnyDriver()
      : undefined;
  })();
  return vulkan;
}

const chromiums = [
  "chromium",
  "chromium-browser",
  "google-chrome",
  "google-chrome-stable",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
  "/Applications/Chromium.app/Contents/MacOS/Chromium",
  "C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe",
];

async function findChromium(): Promise<string | undefined> {
  const chosen = Deno.env.get("CHROMIUM");
  for (const name of chosen ? [chosen] : chromiums) {
    // Ubuntu's package is a stub that asks for a snap: it exists and does not start.
    const { code, stdout } = await run(name, ["--version"]);
    if (code !== 0 || !/Chrom/.test(stdout)) continue;
    if (name.includes("/") || name.includes("\\")) return name;
    return (await run("sh", ["-c", `command -v ${name}`])).stdout.trim();
  }
  return undefined;
}

let chromium: Promise<string | undefined> | undefined;

/** Finds or installs a Chromium: the path of the program, or undefined. `CHROMIUM` names another one. */
export function ensureChromium(): Promise<string | undefined> {
  chromium ??= (async () => {
    const found = await findChromium();
    if (found || Deno.build.os !== "linux") return found;
    const packages = ["chromium", "fonts-dejavu-core"];
    return await installPackages(packages, "There is no Chromium for the browser test")
      ? findChromium()
      : undefined;
  })();
  return chromium;
}
