/** Starting other programs: the repository's paths, one way to run a command, and one way to fail with a message. */

import { fileURLToPath } from "node:url";

/** The repository's folder, with a slash at its end. */
export const root = fileURLToPath(new URL("..", import.meta.url));

/** A failure that its message explains completely: commands print it without a stack. */
export class TaskError extends Error {
  override name = "TaskError";
}

export interface Outcome {
  /** The exit status; 127 where the program does not exist. */
  code: number;
  /** The signal that ended it, if one did. */
  signal: string | null;
  /** Standard output and standard error, in that order. */
  output: string;
  stdout: string;
  seconds: number;
}

export interface RunOptions {
  env?: Record<string, string>;
  cwd?: string;
  /** Shows what the program prints as it comes, and returns none of it. */
  live?: boolean;
  signal?: AbortSignal;
}

/** Runs a program to its end. A missing program is an outcome, not an exception. */
export async function run(program: string, args: string[], options: RunOptions = {}): Promise<Outcome> {
  const { env = {}, cwd = root, live = false, signal } = options;
  const start = performance.now();
  const pipe = live ? "inherit" : "piped";
  try {
    const command = new Deno.Command(program, {
      args,
      env,
      cwd,
      stdin: "null",
      stdout: pipe,
      stderr: pipe,
      ...(signal ? { signal } : {}),
    });
    const child = command.spawn();
    const text = (stream: "stdout" | "stderr") => live ? "" : new Response(child[stream]).text();
    const [status, stdout, stderr] = await Promise.all([child.status, text("stdout"), text("stderr")]);
    const seconds = (performance.now() - start) / 1000;
    return { code: status.code, signal: status.signal, output: stdout + stderr, stdout, seconds };
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound) && !(error instanceof Deno.errors.PermissionDenied)) {
      throw error;
    }
    const output = `Cannot start ${program}: ${error.message}`;
    return { code: 127, signal: null, output, stdout: "", seconds: (performance.now() - start) / 1000 };
  }
}

/** Runs this very Deno: under npx it is on no PATH. */
export function deno(args: string[], options: RunOptions = {}): Promise<Outcome> {
  const env = { NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1", ...options.env };
  return run(Deno.execPath(), args, { ...options, env });
}

/** Runs a command's body, prints a `TaskError` as one message, and ends with the exit status that it returns. */
export async function command(body: () => Promise<number>): Promise<never> {
  try {
    Deno.exit(await body());
  } catch (error) {
    if (!(error instanceof TaskError)) throw error;
    console.error(error.message);
    Deno.exit(1);
  }
}
