/** `deno task lab [--no-browser] [folder]`: opens JupyterLab on the notebooks, with the private Jupyter. */

import { join } from "node:path";
import { ensureJupyter, python } from "./jupyter.ts";
import { command, root, TaskError } from "./process.ts";

export interface Lab extends AsyncDisposable {
  /** The address with its token; everything after the path of `lab` goes behind it. */
  url(path?: string): string;
  /** Ends when the server does. */
  status: Promise<Deno.CommandStatus>;
}

export interface LabOptions {
  folder?: string;
  browser?: boolean;
  env?: Record<string, string>;
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

async function answers(url: string): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(5000) });
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false;
  }
}

/** Starts JupyterLab on a folder and waits until it answers. */
export async function startLab(options: LabOptions = {}): Promise<Lab> {
  const { folder = join(root, "notebooks"), browser = true, env = {} } = options;
  const variables = { ...await ensureJupyter(), ...env };
  const port = freePort();
  const token = crypto.randomUUID().replaceAll("-", "");
  const url = (path = "") => `http://127.0.0.1:${port}/lab${path}?token=${token}`;
  const args = [
    ...["-m", "jupyterlab", "-y", "--no-browser", `--port=${port}`, "--port-retries=0", "--ip=127.0.0.1"],
    `--ServerApp.root_dir=${folder}`,
    `--IdentityProvider.token=${token}`,
    ...["--log-level=ERROR", "--LabApp.log_level=ERROR"],
    // Kernels that other programs have installed for all users are not offered.
    ...["--KernelSpecManager.ensure_native_kernel=False", "--KernelSpecManager.allowed_kernelspecs=deno"],
    "--LabApp.extension_manager=readonly",
    ...(Deno.build.os !== "windows" && Deno.uid() === 0 ? ["--allow-root"] : []),
  ];
  const server = new Deno.Command(python, { args, env: variables, cwd: folder, stdin: "null" }).spawn();
  let ended = false;
  const status = server.status.finally(() => ended = true);
  const deadline = Date.now() + 60_000;
  while (!await answers(`http://127.0.0.1:${port}/api/status?token=${token}`)) {
    if (ended || Date.now() > deadline) {
      if (!ended) server.kill();
      throw new TaskError("JupyterLab did not start: its report is above");
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  if (browser) openInBrowser(url());
  return {
    url,
    status,
    async [Symbol.asyncDispose]() {
      if (!ended) server.kill("SIGTERM");
      await status;
    },
  };
}

function openInBrowser(url: string): void {
  const openers = { darwin: "open", windows: "explorer", linux: "xdg-open" } as Record<string, string>;
  try {
    const opener = new Deno.Command(openers[Deno.build.os] ?? "xdg-open", {
      args: [url],
      stdout: "null",
      stderr: "null",
    });
    opener.spawn().unref();
  } catch { /* The printed address is enough. */ }
}

if (import.meta.main) {
  await command(async () => {
    const browser = !Deno.args.includes("--no-browser");
    const folder = Deno.args.find((arg) => !arg.startsWith("-"));
    await using lab = await startLab({ browser, ...(folder ? { folder } : {}) });
    console.log(`JupyterLab: ${lab.url()}\nStop it with Ctrl-C`);
    // Kernels live in their own sessions: only Jupyter, ended in order, ends them.
    const stop = Promise.withResolvers<"stopped">();
    const signals: Deno.Signal[] = Deno.build.os === "windows" ? ["SIGINT"] : ["SIGINT", "SIGTERM", "SIGHUP"];
    for (const signal of signals) Deno.addSignalListener(signal, () => stop.resolve("stopped"));
    const end = await Promise.race([stop.promise, lab.status]);
    return end === "stopped" ? 0 : end.code;
  });
}
