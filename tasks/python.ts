/** Private Python environments: which Python can make one, and how packages get into it. */

import { relative } from "node:path";
import { root, run, TaskError } from "./process.ts";
import { installPackages } from "./system.ts";

/** The Python of the environment in the folder `venv`. */
export const pythonOf = (venv: string): string =>
  Deno.build.os === "windows" ? `${venv}/Scripts/python.exe` : `${venv}/bin/python`;

interface FoundPython {
  program: string;
  version: string;
  hasEnsurepip: boolean;
}

/** The first Python 3.9 or later that can make environments with pip; without one, the first that lacks only that. */
async function findPython(what: string): Promise<FoundPython> {
  const names = ["python3", ...[14, 13, 12, 11, 10, 9].map((minor) => `python3.${minor}`), "python"];
  const probe = "import sys, importlib.util as u; " +
    "print('.'.join(map(str, sys.version_info[:3])), sys.version_info >= (3, 9), bool(u.find_spec('ensurepip')))";
  const seen: string[] = [];
  let withoutPip: FoundPython | undefined;
  for (const program of names) {
    const [version, isNew, pip] = (await run(program, ["-c", probe])).stdout.trim().split(" ");
    if (isNew !== "True") {
      if (version) seen.push(`${program} is ${version}`);
      continue;
    }
    if (pip === "True") return { program, version, hasEnsurepip: true };
    withoutPip ??= { program, version, hasEnsurepip: false };
  }
  if (withoutPip) return withoutPip;
  throw new TaskError(
    `Cannot find Python 3.9 or later${
      seen.length ? ` (${seen.join(", ")})` : ""
    }, which ${what} needs. Install it, ` +
      "for example with apt-get install python3 python3-venv, brew install python or from https://www.python.org",
  );
}

/** Makes the empty environment that `what` needs; returns the command that installs packages into it. */
export async function makeEnvironment(venv: string, what: string): Promise<string[]> {
  const { program, version } = await findPython(what);
  console.log(`Making ${what} in ${relative(root, venv)} with Python ${version}, once; this takes a while`);
  const python = pythonOf(venv), pipInside = [python, "-m", "pip"];
  const plain = await run(program, ["-m", "venv", "--clear", venv]);
  if (plain.code === 0) return pipInside;
  // Debian splits pip out of venv. A pip beside this Python can install into an environment that has none.
  const bare = await run(program, ["-m", "venv", "--clear", "--without-pip", venv]);
  if (bare.code === 0 && (await run(program, ["-m", "pip", "--python", python, "--version"])).code === 0) {
    return [program, "-m", "pip", "--python", python];
  }
  const debianPackage = program === "python3" ? "python3-venv" : `${program}-venv`;
  const why = `${program} (${version}) cannot make environments`;
  if (await installPackages([debianPackage], why)) {
    const again = await run(program, ["-m", "venv", "--clear", venv]);
    if (again.code === 0) return pipInside;
  }
  throw new TaskError(
    `${plain.output.trim()}\n${why}: install its venv and pip modules (${debianPackage} on Debian)`,
  );
}
