/** Statements of functions as vectors: branches become masks, so that every lane takes the path that it would alone. */
import { get, ONES, set, ZEROS } from "./text.ts";
import type { Lane, Scope } from "./vector.ts";
import { type Statement, Unsupported } from "./wgsl.ts";

/** What happens on a branch happens to the lanes of its mask. */
export class Block {
  /** Locals of the result and of the lanes that have none yet, where lanes leave at different places. */
  #result = "";
  #live = "";

  constructor(readonly scope: Scope, readonly type: Lane) {}

  /** The value that a function with this body returns. */
  function(body: readonly Statement[]): string {
    const last = body[body.length - 1];
    if (last?.kind === "return" && !body.slice(0, -1).some(returns)) {
      this.#statements(body.slice(0, -1), null);
      return this.scope.value(last.value, this.type).text;
    }
    const { frame } = this.scope;
    this.#result = frame.fresh("result");
    // Not what the lanes before left there, which this would then wait for.
    frame.emit(set(this.#result, frame.constant(ZEROS)));
    this.#statements(body, null);
    return get(this.#result);
  }

  #statements(list: readonly Statement[], mask: string | null): void {
    for (const s of list) this.#statement(s, mask);
  }

  #statement(s: Statement, mask: string | null): void {
    const { scope } = this, { frame } = scope;
    switch (s.kind) {
      case "let": {
        const { type, text } = scope.value(s.value), local = frame.fresh(s.name);
        frame.emit(set(local, text));
        scope.names.set(s.name, { type, text: get(local) });
        return;
      }
      case "assign": {
        const to = scope.names.get(s.name);
        if (to === undefined) throw new Unsupported(s.name);
        const { text } = scope.value(s.value, to.type);
        frame.emit(
          `(local.set ${to.text.slice(11, -1)} ${
            mask === null ? text : `(v128.bitselect ${text} ${to.text} ${mask})`
          })`,
        );
        return;
      }
      case "return": {
        const { text } = scope.value(s.value, this.type), live = this.#live === "" ? null : get(this.#live);
        // Lanes that left earlier keep what they left with.
        const where = mask === null ? live : live === null ? mask : `(v128.and ${mask} ${live})`;
        frame.emit(
          set(this.#result, where === null ? text : `(v128.bitselect ${text} ${get(this.#result)} ${where})`),
        );
        if (mask === null) return;
        if (live === null) this.#live = frame.fresh("live");
        frame.emit(set(this.#live, `(v128.andnot ${live ?? frame.constant(ONES)} ${mask})`));
        return;
      }
      case "while": {
        // Lanes leave one by one; the loop ends with the last.
        const name = frame.fresh("mask"), got = get(name);
        if (s.body.some(returns)) throw new Unsupported("return from a loop");
        frame.emit(set(name, mask ?? frame.constant(ONES)));
        const body = frame.within(() => {
          const condition = scope.value(s.condition).text;
          // A lane whose own path does not come here may hold anything: only what any whole number ends is safe.
          if (!/\(i32x4\.(gt|lt|ne)/.test(condition)) throw new Unsupported("a loop over real numbers");
          frame.emit(set(name, `(v128.and ${condition} ${got})`));
          frame.emit(`(br_if $${name}_end (i32.eqz (v128.any_true ${got})))`);
          this.#statements(s.body, got);
        });
        frame.emit(`(block $${name}_end (loop $${name}_next ${body} (br $${name}_next)))`);
        return;
      }
      case "if": {
        const name = frame.fresh("mask"), got = get(name);
        const condition = scope.value(s.condition).text;
        frame.emit(set(name, mask === null ? condition : `(v128.and ${condition} ${mask})`));
        if (this.#live === "" && returns(s)) {
          this.#live = frame.fresh("live");
          frame.emit(set(this.#live, frame.constant(ONES)));
        }
        frame.emit(`(if (v128.any_true ${got}) (then ${frame.within(() => this.#statements(s.yes, got))}))`);
        if (s.no.length === 0) return;
        const other = frame.fresh("mask");
        frame.emit(set(other, mask === null ? `(v128.not ${got})` : `(v128.andnot ${mask} ${got})`));
        this.#statements(s.no, get(other));
      }
    }
  }
}

function returns(s: Statement): boolean {
  return s.kind === "return" || (s.kind === "while" && s.body.some(returns)) ||
    (s.kind === "if" && [...s.yes, ...s.no].some(returns));
}
