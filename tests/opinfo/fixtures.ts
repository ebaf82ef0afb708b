/** Reads fixtures.bin.gz, which make_fixtures.py describes. */
import type { Shape } from "../../ops/shape.ts";

/** A recorded tensor: PyTorch's element type, lengths, elements. */
export class Recorded {
  constructor(readonly dtype: string, readonly shape: Shape, readonly data: Float64Array) {}
}

/** An argument: tensor, number, text, list, or an object for what JSON does not know. */
// deno-lint-ignore no-explicit-any
export type Argument = any;

/** One call with what PyTorch made of it. */
export interface Sample {
  readonly args: Argument[];
  readonly kwargs: Record<string, Argument>;
  readonly out: Recorded[];
  /** Whether `out` is not the op's own result, but what OpInfo made of it. */
  readonly processed?: boolean;
  /** Which of the tensors among the arguments are differentiated by. */
  readonly wrt?: number[];
  /** A cotangent for each differentiable result. */
  readonly ct?: (Recorded | null)[];
  readonly grad?: Recorded[];
  /** Directions of the double gradient and of forward mode. */
  readonly v?: Recorded[];
  readonly gg?: Recorded[];
  readonly jvp?: (Recorded | null)[];
}

/** One name and variant. */
export interface Fixture {
  readonly samples: Sample[];
  /** Samples that the script left out, by reason. */
  readonly skipped: Record<string, number>;
  /** What OpInfo puts around the op so that any argument fits. */
  readonly wrapper?: string;
}

const WIDTHS = { h: 2, f: 4, d: 6, b: 1, i: 4 };
type Encoding = keyof typeof WIDTHS;

/** The elements of a section, whose bytes are stored by place. */
function unpack(encoding: Encoding, planes: Uint8Array, n: number): Float64Array {
  const width = WIDTHS[encoding], stride = encoding === "d" ? 8 : width, shift = stride - width;
  const bytes = new Uint8Array(n * stride);
  for (let b = 0; b < width; b++) {
    for (let i = 0; i < n; i++) bytes[i * stride + shift + b] = planes[b * n + i];
  }
  switch (encoding) {
    case "h":
      return Float64Array.from(new Float16Array(bytes.buffer));
    case "f":
      return Float64Array.from(new Float32Array(bytes.buffer));
    case "d":
      return new Float64Array(bytes.buffer);
    case "b":
      return Float64Array.from(new Int8Array(bytes.buffer));
    case "i":
      return Float64Array.from(new Int32Array(bytes.buffer));
  }
}

/** All names and variants, in PyTorch's order. */
export async function load(): Promise<{ torch: string; names: Map<string, Fixture> }> {
  const url = new URL("fixtures.bin.gz", import.meta.url);
  const stream = (await Deno.open(url)).readable.pipeThrough(new DecompressionStream("gzip"));
  const raw = new Uint8Array(await new Response(stream).arrayBuffer());
  const length = new DataView(raw.buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(raw.subarray(4, 4 + length)));
  const sections = new Map<string, Float64Array>(), next = new Map<string, number>();
  let at = 4 + length;
  for (const [encoding, n] of Object.entries(head.sections) as [Encoding, number][]) {
    const bytes = n * WIDTHS[encoding];
    sections.set(encoding, unpack(encoding, raw.subarray(at, at + bytes), n));
    at += bytes;
  }
  const recorded = (text: string): Recorded => {
    const [dtype, lengths, encoding] = text.split(" ");
    const shape = lengths === "" ? [] : lengths.split(",").map(Number);
    const size = shape.reduce((n, m) => n * m, 1);
    if (encoding === "z") return new Recorded(dtype, shape, new Float64Array(size));
    const from = next.get(encoding) ?? 0;
    next.set(encoding, from + size);
    return new Recorded(dtype, shape, sections.get(encoding)!.subarray(from, from + size));
  };
  // Elements come in the order of the document, so everything is walked once.
  const walk = (x: Argument): Argument => {
    if (Array.isArray(x)) return x.map(walk);
    if (x === null || typeof x !== "object") return x;
    if ("$" in x) return recorded(x.$);
    if ("number" in x) {
      return Number({ inf: "Infinity", "-inf": "-Infinity", nan: "NaN" }[x.number as string]);
    }
    return Object.fromEntries(Object.entries(x).map(([k, v]) => [k, walk(v)]));
  };
  const names = new Map<string, Fixture>();
  for (const [name, fixture] of Object.entries(head.names)) names.set(name, walk(fixture));
  return { torch: head.torch, names };
}
