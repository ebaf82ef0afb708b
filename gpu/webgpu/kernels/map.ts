/** Kernels of primitives with a body of their own, one thread a work item. */
import type { DType } from "../../../ops/dtype.ts";
import {
  cachedKernel,
  faultFunction,
  type Kernel,
  kernel,
  load,
  loadQuad,
  quadType,
  resultType,
  store,
  storedType,
  storeQuad,
  THREADS,
  valueType,
  word,
} from "./kernel.ts";

/** Everything about a map kernel that is not a parameter. */
export interface MapForm {
  readonly body: string;
  /** Of threads that work together: their number, and what they share; null where each works alone. */
  readonly workgroup: { readonly threads: number; readonly globals: string } | null;
  /** Operands; `isQuads`: whether the binding is read by fours. */
  readonly operands: readonly {
    readonly dtype: DType;
    readonly binding: number;
    readonly isQuads: boolean;
  }[];
  readonly result: DType;
  /** Number of `u(k)`. */
  readonly uniforms: number;
  /** The result's binding is the last of these; a kernel that calls fault() has one more. */
  readonly access: string;
}

/** Where the parameters of a form stand. */
export const MAP = {
  /** Number of threads; the word that faults go to, and the number that stands for this dispatch. */
  n: 0,
  faultSlot: 1,
  faultNumber: 2,
  turn: 3,
  operand: (j: number): number => 4 + j,
  uniforms: (operands: number): number => 4 + operands,
};

/** Whether a body can fail. */
export function canFault(body: string): boolean {
  return /\bfault\(/.test(body);
}

/** Whether WGSL reads operand `j` by fours. */
export function readsQuads(text: string, j: number): boolean {
  return text.includes(`q${j}(`);
}

/** The kernel of a form. */
export function mapKernel(f: MapForm): Kernel {
  const faults = canFault(f.body), k = f.operands.length, first = MAP.uniforms(k);
  // Few sizes, so that kernels whose number of uniforms depends on the rank are shared.
  const words = Math.ceil((first + f.uniforms) / 16) * 16;
  const { workgroup } = f, text = (workgroup?.globals ?? "") + f.body;
  const key = `m|${text}|${workgroup?.threads}|${
    f.operands.map((o) => `${o.dtype}${o.binding}${o.isQuads}`)
  }|${f.result}|${words}|${f.access}`;
  return cachedKernel(key, () => {
    const result = f.access.length - 1;
    const types = new Array<string>(f.access.length);
    const globals = [`fn u(k: i32) -> i32 { let j = k + ${first}; return p.w[j >> 2u][j & 3]; }`];
    f.operands.forEach((o, j) => {
      types[o.binding] = o.isQuads ? quadType(o.dtype) : storedType(o.dtype);
      const type = valueType(o.dtype), at = `i + ${word(MAP.operand(j))}`, from = `b${o.binding}`;
      const one = o.isQuads ? `${loadQuad(o.dtype, from, at)}[(${at}) & 3]` : load(o.dtype, from, at);
      globals.push(`fn x${j}(i: i32) -> ${type} { return ${one}; }`);
      if (readsQuads(text, j)) {
        const four = [0, 1, 2, 3].map((c) => `x${j}(i + ${c})`).join(", ");
        const quad = o.isQuads ? loadQuad(o.dtype, from, at) : `vec4<${type}>(${four})`;
        globals.push(`fn q${j}(i: i32) -> vec4<${type}> { return ${quad}; }`);
      }
    });
    const value = valueType(f.result), to = `b${result}`, byFours = /\bput4\(/.test(text);
    types[result] = byFours ? quadType(f.result) : resultType(f.result);
    globals.push(
      byFours
        ? `fn put4(i: i32, v: vec4<${value}>) { ${storeQuad(f.result, to, "i", "v")} }`
        : `fn put(i: i32, v: ${value}) { ${store(f.result, to, "i", "v")} }`,
    );
    // Threads may read back what they have written (not in bf16, whose neighbours share a word).
    if (/\by\(/.test(text)) {
      globals.push(`fn y(i: i32) -> ${valueType(f.result)} { return ${load(f.result, `b${result}`, "i")}; }`);
    }
    if (faults) {
      types.push("atomic<u32>");
      globals.push(
        faultFunction(`b${result + 1}`, MAP.faultSlot, MAP.faultNumber),
      );
    }
    return kernel({
      access: faults ? f.access + "w" : f.access,
      types,
      words,
      globals: globals.concat(workgroup?.globals ?? []).join("\n"),
      threads: workgroup?.threads ?? THREADS,
      body: `${
        workgroup === null
          ? `  let t = i32(group * ${THREADS}u + lid);\n  if (t >= ${word(MAP.n)}) { return; }`
          : `  if (i32(group) >= ${word(MAP.n)}) { return; }`
      }
  let turn = ${word(MAP.turn)};
  ${f.body}`,
    });
  });
}

const specialised = new WeakMap<Kernel, Map<string, Kernel>>();

/** The kernel with its `u(k)` as literals, so that compilers know how far loops go; bits of floats stay parameters. */
export function forUniforms(generic: Kernel, uniforms: readonly number[]): Kernel {
  const key = uniforms.join();
  let all = specialised.get(generic);
  if (all === undefined) specialised.set(generic, all = new Map());
  let found = all.get(key);
  if (found === undefined) {
    const source = generic.source.replace(
      /(?<!bitcast<f32>\()\bu\((\d+)\)/g,
      (_, k) => `(${uniforms[Number(k)]})`,
    );
    all.set(key, found = { ...generic, source });
  }
  return found;
}
