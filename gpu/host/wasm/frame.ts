/** A function of WebAssembly while it is written: its statements, its locals, and its constants. */
import { get, set } from "./text.ts";

/** Statements in order. Names of locals that are asked for are new ones. */
export class Frame {
  readonly #locals = new Map<string, string>();
  /** The local of each constant. */
  readonly #constants = new Map<string, string>();
  #statements: string[] = [];
  #made = 0;

  /** Declares a local; the same name may be declared again. */
  local(name: string, type: string): string {
    this.#locals.set(name, type);
    return name;
  }

  /** A vector in a local that nothing else sets. */
  fresh(name: string): string {
    return this.local(`${name}_${this.#made++}`, "v128");
  }

  /** The value of a vector of equal lanes, made once at the start: in a loop making one costs as much as using it. */
  constant(text: string): string {
    let name = this.#constants.get(text);
    if (name === undefined) {
      this.#constants.set(text, name = this.local(`constant${this.#constants.size}`, "v128"));
    }
    return get(name);
  }

  emit(statement: string): void {
    this.#statements.push(statement);
  }

  /** The statements that `write` emits, as text. */
  within(write: () => void): string {
    const outer = this.#statements;
    this.#statements = [];
    write();
    const text = this.#statements.join("\n");
    this.#statements = outer;
    return text;
  }

  /** The function around `body`. */
  function(name: string, signature: string, body: string): string {
    const locals = [...this.#locals].map(([name, type]) => `(local $${name} ${type})`).join(" ");
    const constants = [...this.#constants].map(([text, name]) => set(name, text)).join("\n");
    return `(func $${name} ${signature} ${locals}\n${constants}\n${body})`;
  }
}
