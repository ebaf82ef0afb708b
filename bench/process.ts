/** A contender's process: started when it is needed, asked in lines, ended when it does not answer in time. */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Command } from "./contenders.ts";
import type { Question } from "./worker.ts";

/** What a process says first. */
export interface Hello {
  readonly versions: Record<string, string>;
  readonly gradient: number[];
  /** From the start to its first gradient. */
  readonly ms: number;
}

/** What it answers; an error says why there is nothing else. */
export interface Answer {
  readonly error?: string;
  readonly probes?: number[][];
  readonly firstMs?: number;
  readonly ms?: number;
  readonly hostMs?: number;
  readonly bytes?: number;
  readonly by?: string;
}

const START_LIMIT = 60_000;

export class Process {
  hello: Hello | null = null;
  #child: ChildProcess | null = null;
  #lines: AsyncIterator<string> | null = null;
  #complaints = "";

  constructor(readonly name: string, readonly command: () => Promise<Command>) {}

  /** Starts it if it does not run. */
  async start(): Promise<Hello> {
    if (this.#child !== null) return this.hello!;
    const { program, args, env = {} } = await this.command();
    const start = performance.now();
    const child = this.#child = spawn(program, [...args], { env: { ...Deno.env.toObject(), ...env } });
    this.#complaints = "";
    child.stderr!.on("data", (text) => this.#complaints = (this.#complaints + text).slice(-2000));
    child.on("error", (error) => this.#complaints = error.message);
    this.#lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
    const hello = await this.#next<Omit<Hello, "ms">>(START_LIMIT);
    return this.hello = { ...hello, ms: performance.now() - start };
  }

  /** Its answer, or an error; a process that gives none within `limit` milliseconds is ended. */
  async ask(question: Question, limit: number): Promise<Answer> {
    try {
      await this.start();
      this.#child!.stdin!.write(JSON.stringify(question) + "\n");
      return await this.#next<Answer>(limit);
    } catch (error) {
      this.end();
      return { error: (error as Error).message };
    }
  }

  end(): void {
    this.#child?.kill("SIGKILL");
    this.#child = null;
  }

  async #next<T>(limit: number): Promise<T> {
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(() => late.reject(new Error(`no answer within ${limit / 1000} s`)), limit);
    try {
      for (;;) {
        const { done, value } = await Promise.race([this.#lines!.next(), late.promise]);
        if (done) throw new Error(this.#complaints.trim().split("\n").at(-1) || "it ended without a word");
        if (value.startsWith("{")) return JSON.parse(value); // the rest is its library's chatter
      }
    } catch (error) {
      this.end();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }
}
