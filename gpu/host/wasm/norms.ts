/** Normalisation of rows of f32, and its pullback: statistics in double precision, the row once from memory. */
import { Rows } from "./row_function.ts";
import { get, madd, set } from "./text.ts";
import { Vectorizer } from "./vector.ts";

const perElement = (sum: string): string => `(f64.div ${get(sum)} (f64.convert_i32_s ${get("n")}))`;
const lanes = (x: string): string => `(f32x4.splat (f32.demote_f64 ${x}))`;
/** 1 / standard deviation, of squares in `square`. */
const INVERSE = `(f64.div (f64.const 1) (f64.sqrt (f64.add ${
  perElement("square")
} (f64.promote_f32 (f32.reinterpret_i32 ${get("eps")})))))`;

/**
 * Text of a module with `layerNorm(x, y, n, rows, weight, bias, eps)` and `rmsNorm(...)`, y = (x - mean) / deviation times
 * weight plus bias; and `layerNormGrad(g, y, n, rows, x, eps)` and `rmsNormGrad(...)`, the pullback of what neither scales
 * nor shifts. eps is the bits of an f32.
 */
export function normsText(fused: boolean): string {
  const vectors = new Vectorizer(new Map(), fused);
  const names = ["layerNorm", "rmsNorm"].flatMap((name) => {
    const centred = name === "layerNorm";
    const mean = (r: Rows, x: string): string =>
      centred ? `${r.sums(["sum"], [x], (v) => v)} ${r.local("mean", lanes(perElement("sum")))}` : "";
    const apart = (x: string): string => centred ? `(f32x4.sub ${x} ${get("mean")})` : x;

    const forward = new Rows(vectors);
    const normalise = `${mean(forward, "x")}
${forward.sums(["square"], ["x"], ([x]) => [`(f32x4.mul ${apart(x)} ${apart(x)})`])}
${forward.local("r", lanes(INVERSE))}
${
      forward.map(
        ["x", "weight", "bias"],
        ([x, w, b]) => madd(fused, `(f32x4.mul ${apart(x)} ${get("r")})`, w, b),
        "y",
      )
    }`;

    // r (g - mean g - r² d mean(g d)), d = x - mean, as a (g - mean g) + b d.
    const back = new Rows(vectors), deviation = back.number("deviation");
    const pullback = `${mean(back, "z")}
${
      back.sums(
        ["square", "along", "level"],
        ["x", "z"],
        ([g, z]) => [`(f32x4.mul ${apart(z)} ${apart(z)})`, `(f32x4.mul ${g} ${apart(z)})`, g],
      )
    }
${set(deviation, INVERSE)}
${back.local("a", lanes(get(deviation)))}
${
      back.local(
        "b",
        lanes(
          `(f64.neg (f64.mul (f64.mul (f64.mul ${get(deviation)} ${get(deviation)}) ${get(deviation)}) ${
            perElement("along")
          }))`,
        ),
      )
    }
${centred ? back.local("level4", lanes(perElement("level"))) : ""}
${
      back.map(["x", "z"], ([g, z]) => {
        const centredG = centred ? `(f32x4.sub ${g} ${get("level4")})` : g;
        return madd(fused, apart(z), get("b"), `(f32x4.mul ${centredG} ${get("a")})`);
      }, "y")
    }`;
    return [
      forward.function(name, ["weight", "bias", "eps"], normalise, ["x", "y"], []),
      back.function(`${name}Grad`, ["z", "eps"], pullback, ["x", "y", "z"], []),
    ];
  });
  return names.join("\n");
}
