/** What a kernel is: WGSL for any shape, its bindings and the size of its parameters. */
import { type DType, isHalf } from "../../../ops/dtype.ts";
import { preludeFor } from "../prelude.ts";

/** A compiled-once kernel; shapes, strides and offsets come in its parameters. */
export interface Kernel {
  readonly source: string;
  /** For each storage binding: "r" read, "w" read and write. */
  readonly access: string;
  /** For each storage binding: the bytes of what it is an array of. */
  readonly sizes: readonly number[];
  /** 32-bit words of parameters, a multiple of 4. */
  readonly words: number;
}

/** Threads of a workgroup, where a kernel does not say otherwise. */
export const THREADS = 256;

/** The type of elements in memory; booleans are stored as 0 and 1, bf16 in halves of words. */
export function storedType(dtype: DType): "f32" | "f16" | "i32" | "u32" {
  switch (dtype) {
    case "f32":
    case "f16":
    case "i32":
    case "u32":
      return dtype;
    case "bool":
    case "bf16":
      return "u32";
    case "f64":
      throw new Error("Internal: f64 in a kernel");
  }
}

/** The type of a result's elements in memory: neighbours write halves of one word at a time. */
export function resultType(dtype: DType): "f32" | "f16" | "i32" | "u32" | "atomic<u32>" {
  return dtype === "bf16" ? "atomic<u32>" : storedType(dtype);
}

/** The type that kernels compute in. */
export function valueType(dtype: DType): "f32" | "i32" | "u32" | "bool" {
  return dtype === "bool" ? "bool" : dtype === "i32" || dtype === "u32" ? dtype : "f32";
}

/** WGSL of the value of an element of a binding. */
export function load(dtype: DType, binding: string, index: string): string {
  if (dtype === "bf16") return `unpackBf16(${binding}[(${index}) >> 1u], ${index})`;
  const element = `${binding}[${index}]`;
  return dtype === "f16" ? `f32(${element})` : dtype === "bool" ? `(${element} != 0u)` : element;
}

/** The type of four neighbouring elements in memory, for bindings that are read by fours. */
export function quadType(dtype: DType): string {
  return dtype === "bf16" ? "vec2<u32>" : `vec4<${storedType(dtype)}>`;
}

/** WGSL of the values of four neighbours in such a binding, from an index divisible by 4 on. */
export function loadQuad(dtype: DType, binding: string, index: string): string {
  const quad = `${binding}[(${index}) >> 2u]`;
  switch (dtype) {
    case "f16":
      return `vec4<f32>(${quad})`;
    case "bf16":
      return `unpackBf16Quad(${quad})`;
    case "bool":
      return `(${quad} != vec4<u32>())`;
    default:
      return quad;
  }
}

/** WGSL statement that stores a value as an element of a result's binding. */
export function store(dtype: DType, binding: string, index: string, value: string): string {
  if (dtype === "bf16") {
    return `{ let half = ${index}; let shift = u32(half & 1) << 4u; let bits = packBf16(${value});
  atomicAnd(&${binding}[half >> 1u], ~(0xffffu << shift)); atomicOr(&${binding}[half >> 1u], bits << shift); }`;
  }
  const element = dtype === "f16" ? `f16(${value})` : dtype === "bool" ? `select(0u, 1u, ${value})` : value;
  return `${binding}[${index}] = ${element};`;
}

/** WGSL statement that stores four values as neighbours in such a binding. */
export function storeQuad(dtype: DType, binding: string, index: string, value: string): string {
  return `${binding}[(${index}) >> 2u] = ${quadOf(dtype, value)};`;
}

function quadOf(dtype: DType, value: string): string {
  switch (dtype) {
    case "f16":
      return `vec4<f16>(${value})`;
    case "bf16":
      return `packBf16Quad(${value})`;
    case "bool":
      return `select(vec4<u32>(), vec4<u32>(1u), ${value})`;
    default:
      return value;
  }
}

/** WGSL of parameter word `k`, a whole number. */
export function word(k: number): string {
  return `p.w[${k >> 2}].${"xyzw"[k & 3]}`;
}

/** Runs that can be unchecked at a time; more share the last slot. */
export const FAULT_SLOTS = 1024;

/** WGSL of `fault(index)`: tells which call failed, the last one of a run, and the index of the first thread to say so. */
export function faultFunction(binding: string, slot: number, number: number): string {
  return `fn fault(index: i32) {
  let mine = u32(${word(number)});
  if (atomicMax(&${binding}[${word(slot)}], mine) < mine) {
    atomicStore(&${binding}[${word(slot)} + ${FAULT_SLOTS}], u32(index));
  }
}`;
}

/** Bytes of one element on the device. */
export function storedBytes(dtype: DType): number {
  return isHalf(dtype) ? 2 : 4;
}

/** Puts a kernel together: bindings `b0`, `b1` ... of the given types, `p` the parameters, `body` the main function. */
export function kernel(
  { access, types, words, body, globals = "", threads = THREADS }: {
    access: string;
    types: readonly string[];
    words: number;
    /** Statements; `group` (u32) and `lid` (u32) number workgroups and threads in them. */
    body: string;
    /** Functions and workgroup variables. */
    globals?: string;
    /** Threads of a workgroup. */
    threads?: number;
  },
): Kernel {
  const rounded = Math.max(4, Math.ceil(words / 4) * 4);
  const bindings = types.map((type, i) =>
    `@group(0) @binding(${i + 1}) var<storage, ${
      access[i] === "r" ? "read" : "read_write"
    }> b${i}: array<${type}>;`
  );
  const source = `${
    /\bf16\b/.test(types + globals + body) ? "enable f16;\n" : ""
  }struct Params { w: array<vec4<i32>, ${rounded / 4}> }
@group(0) @binding(0) var<uniform> p: Params;
${bindings.join("\n")}
${preludeFor(globals + body)}
${globals}
@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nw: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let group = wid.x + wid.y * nw.x;
${body}
}`;
  return { source, access, sizes: types.map(sizeOfType), words: rounded };
}

/** Bytes of a type of elements. */
function sizeOfType(type: string): number {
  const scalar = /f16/.test(type) ? 2 : 4, many = /^vec(\d)/.exec(type);
  return many === null ? scalar : Number(many[1]) * scalar;
}

/** Forms which are remembered; plans hold on to their own kernels. */
const FORMS = 4096;
const kernels = new Map<string, Kernel>();

/** The kernel of a form, made when it is first asked for. */
export function cachedKernel(form: string, make: () => Kernel): Kernel {
  let k = kernels.get(form);
  if (k !== undefined) return k;
  if (kernels.size >= FORMS) kernels.delete(kernels.keys().next().value!);
  kernels.set(form, k = make());
  return k;
}

/** WGSL which splits the whole number `rest` into indices `i0`, `i1` ... of axes with lengths at `at`. */
export function splitIndex(prefix: string, rest: string, rank: number, at: number): string {
  const out = [`var ${prefix}rest = ${rest};`];
  for (let axis = rank - 1; axis > 0; axis--) {
    out.push(
      `let ${prefix}${axis} = ${prefix}rest % ${word(at + axis)}; ${prefix}rest = ${prefix}rest / ${
        word(at + axis)
      };`,
    );
  }
  if (rank > 0) out.push(`let ${prefix}0 = ${prefix}rest;`);
  return out.join("\n  ");
}

/** WGSL of the sum of indices times steps which stand at `at`. */
export function dot(prefix: string, rank: number, at: number): string {
  return Array.from({ length: rank }, (_, axis) => ` + ${prefix}${axis} * ${word(at + axis)}`).join("");
}

/** How many workgroups along each axis make at least `n`, none over the limit. */
export function foldGroups(n: number, limit: number): [number, number] {
  if (n <= limit) return [n, 1];
  const y = Math.ceil(n / limit);
  return [Math.ceil(n / y), y];
}
