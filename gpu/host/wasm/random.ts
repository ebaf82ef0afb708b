/** Random bits in vectors: Threefry-2x32 of four counters at a time, several vectors side by side. */
import { ROTATIONS } from "../../../ops/definitions/random.ts";
import { Frame } from "./frame.ts";
import { passes } from "./passes.ts";
import { add, get, i32, mul, set } from "./text.ts";

const four = (op: string) => (a: string, b: string): string => `(i32x4.${op} ${a} ${b})`;
const plus = four("add");
const splat = (x: string): string => `(i32x4.splat ${x})`;

/** Text of a module with `bits(y, from, to, key0, key1)`: the first words for counters `from` to `to`, at y + 4 counter. */
export function randomText(): string {
  const frame = new Frame();
  const start = [
    set(frame.local("k0", "v128"), splat(get("key0"))),
    set(frame.local("k1", "v128"), splat(get("key1"))),
    set(
      frame.local("k2", "v128"),
      splat(`(i32.xor (i32.xor ${get("key0")} ${get("key1")}) ${i32(0x1bd11bda)})`),
    ),
    set(frame.local("lanes", "v128"), "(i32x4.splat (i32.const 0))"),
    ...[1, 2, 3].map((i) => set("lanes", `(i32x4.replace_lane ${i} ${get("lanes")} ${i32(i)})`)),
  ];
  const body = passes(frame, get("from"), get("to"), 4, ({ vectors, single }) =>
    frame.within(() => {
      const pairs = Array.from({ length: vectors }, () => [frame.fresh("a"), frame.fresh("b")]);
      pairs.forEach(([a, b], u) => {
        const counter = plus(splat(get("j")), plus(get("lanes"), frame.constant(splat(i32(4 * u)))));
        frame.emit(set(a, plus(counter, get("k0"))));
        frame.emit(set(b, get("k1")));
      });
      for (let group = 0; group < 5; group++) {
        for (let r = 0; r < 4; r++) {
          const by = ROTATIONS[(group % 2) * 4 + r];
          for (const [a, b] of pairs) {
            frame.emit(set(a, plus(get(a), get(b))));
            const [left, right] = [
              `(i32x4.shl ${get(b)} ${i32(by)})`,
              `(i32x4.shr_u ${get(b)} ${i32(32 - by)})`,
            ];
            frame.emit(set(b, `(v128.xor (v128.or ${left} ${right}) ${get(a)})`));
          }
        }
        for (const [a, b] of pairs) {
          frame.emit(set(a, plus(get(a), get(`k${(group + 1) % 3}`))));
          const key = plus(get(`k${(group + 2) % 3}`), frame.constant(splat(i32(group + 1))));
          frame.emit(set(b, plus(get(b), key)));
        }
      }
      const at = add(get("y"), mul(get("j"), i32(4)));
      pairs.forEach(([a], u) =>
        frame.emit(
          single ? `(v128.store32_lane 0 ${at} ${get(a)})` : `(v128.store offset=${16 * u} ${at} ${get(a)})`,
        )
      );
    }));
  const params = ["y", "from", "to", "key0", "key1"].map((p) => `(param $${p} i32)`).join(" ");
  return frame.function("bits", params, `${start.join("\n")}\n${body}`);
}
