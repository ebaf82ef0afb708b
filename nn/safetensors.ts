/** Tensors in files: the safetensors format, written and read strictly. */
import type { Device } from "../ops/ambient.ts";
import { defaultDevice, tensor } from "../ops/create.ts";
import { bytesPerElement, type DType, packBf16, type TypedArray, unpackBf16 } from "../ops/dtype.ts";
import { readNodes } from "../ops/runs.ts";
import { nodeOf } from "../ops/node.ts";
import { Tensor } from "../ops/tensor.ts";

/** What a file holds. */
export interface SafetensorsFile {
  /** By name. */
  readonly tensors: Record<string, Tensor>;
  /** Texts by name. */
  readonly metadata: Record<string, string>;
  /** What was converted, as in "w: I64 became i32". */
  readonly notes: string[];
}

const NAMES: Record<DType, string> = {
  f32: "F32",
  f16: "F16",
  bf16: "BF16",
  f64: "F64",
  i32: "I32",
  u32: "U32",
  bool: "BOOL",
};
const TYPES = new Map(Object.entries(NAMES).map(([dtype, name]) => [name, dtype as DType]));
/** The format's own limit. */
const LARGEST_HEADER = 100_000_000;

/**
 * The bytes of a safetensors file with these tensors, which are read from their devices together: a header of JSON,
 * then the elements in little-endian order, widest types first.
 */
export async function saveSafetensors(
  tensors: Record<string, Tensor>,
  metadata: Record<string, string> = {},
): Promise<Uint8Array<ArrayBuffer>> {
  if (typeof tensors !== "object" || tensors === null) {
    throw new TypeError(
      `Cannot save a ${typeof tensors}: give tensors by name, as model.stateDict(); ` +
        `writeSafetensors(path, tensors) writes a file`,
    );
  }
  for (const [key, value] of Object.entries(metadata)) {
    if (typeof value !== "string") throw new TypeError(`Cannot save metadata ${key}: values must be strings`);
  }
  const entries = Object.entries(tensors);
  for (const [name, t] of entries) {
    if (!(t instanceof Tensor)) throw new TypeError(`Cannot save ${name}: it is not a tensor`);
    if (name === "__metadata__") {
      throw new RangeError(`Cannot save a tensor by the name of __metadata__: the format uses it`);
    }
  }
  entries.sort(([a, s], [b, t]) => bytesPerElement(t.dtype) - bytesPerElement(s.dtype) || (a < b ? -1 : 1));
  const values = await readNodes(entries.map(([, t]) => nodeOf(t)));
  const arrays = values.map((data, i) => entries[i][1].dtype === "bf16" ? packBf16(data) : data);
  const header: [string, unknown][] = Object.keys(metadata).length > 0 ? [["__metadata__", metadata]] : [];
  let at = 0;
  entries.forEach(([name, t], i) => {
    const end = at + arrays[i].byteLength;
    header.push([name, { dtype: NAMES[t.dtype], shape: t.shape, data_offsets: [at, end] }]);
    at = end;
  });
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(header)));
  const padded = Math.ceil(json.length / 8) * 8; // the elements begin aligned
  const out = new Uint8Array(8 + padded + at);
  new DataView(out.buffer).setBigUint64(0, BigInt(padded), true);
  out.fill(0x20, 8, 8 + padded);
  out.set(json, 8);
  let to = 8 + padded;
  for (const a of arrays) {
    out.set(new Uint8Array(a.buffer, a.byteOffset, a.byteLength), to);
    to += a.byteLength;
  }
  return out;
}

interface Entry {
  readonly name: string;
  readonly dtype: string;
  readonly shape: number[];
  readonly begin: number;
  readonly end: number;
}

function fail(why: string): never {
  throw new RangeError(`Cannot read safetensors: ${why}`);
}

/** Bytes of an element in the file. */
const FILE_BYTES: Record<string, number> = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U32: 4,
  U16: 2,
  U8: 1,
  BOOL: 1,
};

function parseHeader(
  bytes: Uint8Array,
): { entries: Entry[]; metadata: Record<string, string>; start: number } {
  if (!(bytes instanceof Uint8Array)) {
    throw new TypeError(
      `Cannot read safetensors from what is no Uint8Array: give the bytes, as new Uint8Array(buffer); ` +
        `readSafetensors(path) reads a file`,
    );
  }
  if (bytes.length < 8) {
    fail(`the file has ${bytes.length} bytes, and the length of the header alone takes 8`);
  }
  const claimed = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
  if (claimed > BigInt(LARGEST_HEADER)) {
    fail(`the header claims ${claimed} bytes, and at most ${LARGEST_HEADER} are allowed`);
  }
  const length = Number(claimed);
  if (length > bytes.length - 8) {
    fail(
      `the header claims ${length} bytes, and the file has ${
        bytes.length - 8
      } behind the first 8: it is truncated or not safetensors`,
    );
  }
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(8, 8 + length)));
  } catch (error) {
    fail(`the header is not JSON: ${(error as Error).message}`);
  }
  if (typeof header !== "object" || header === null || Array.isArray(header)) {
    fail("the header is not a JSON object");
  }
  const total = bytes.length - 8 - length;
  const entries: Entry[] = [], metadata: [string, string][] = [];
  for (const [name, value] of Object.entries(header)) {
    if (name === "__metadata__") {
      if (typeof value !== "object" || value === null || Array.isArray(value)) {
        fail("__metadata__ is not an object");
      }
      for (const [k, v] of Object.entries(value)) {
        if (typeof v !== "string") fail(`metadata ${k} is not a string`);
        metadata.push([k, v as string]);
      }
    } else entries.push(checkEntry(name, value, total));
  }
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let at = 0;
  for (const { name, begin, end } of entries) {
    if (begin !== at) {
      fail(
        `${name} begins at byte ${begin}, and the tensor before ends at ${at}: there must be neither gaps nor overlaps`,
      );
    }
    at = end;
  }
  if (at !== total) fail(`the tensors take ${at} bytes, and the file has ${total} for them`);
  return { entries, metadata: Object.fromEntries(metadata), start: 8 + length };
}

function checkEntry(name: string, value: unknown, total: number): Entry {
  const isCount = (n: unknown): n is number => Number.isSafeInteger(n) && (n as number) >= 0;
  if (typeof value !== "object" || value === null) fail(`${name} is not described by an object`);
  const { dtype, shape, data_offsets: offsets } = value as Record<string, unknown>;
  if (typeof dtype !== "string" || !Object.hasOwn(FILE_BYTES, dtype)) {
    fail(
      `${name} has type ${JSON.stringify(dtype)}, which is not among ${Object.keys(FILE_BYTES).join(", ")}`,
    );
  }
  if (!Array.isArray(shape) || !shape.every(isCount)) {
    fail(`${name} has shape ${JSON.stringify(shape)}, which is not a list of lengths`);
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    fail(`${name} has offsets ${JSON.stringify(offsets)}, which are not two places`);
  }
  const [begin, end] = offsets as [number, number];
  if (begin > end || end > total) fail(`${name} lies at bytes ${begin} to ${end}, and there are ${total}`);
  // Lengths multiply exactly or stop: a product beyond the file's size cannot fit.
  let size = 1;
  for (const n of shape) size = n === 0 || size === 0 ? 0 : Math.min(size * n, Number.MAX_SAFE_INTEGER);
  if (size * FILE_BYTES[dtype] !== end - begin) {
    fail(
      `${name} of type ${dtype} and shape [${shape}] takes ${size * FILE_BYTES[dtype]} bytes, and has ${
        end - begin
      }`,
    );
  }
  return { name, dtype, shape, begin, end };
}

/** The tensors in the bytes of a safetensors file; every fault of the file is a RangeError that names it. */
export function loadSafetensors(bytes: Uint8Array, options: { device?: Device } = {}): SafetensorsFile {
  const { entries, metadata, start } = parseHeader(bytes);
  const notes: string[] = [];
  const tensors = entries.map(({ name, dtype, shape, begin, end }): [string, Tensor] => {
    // A copy, so that the elements are aligned; a Node.js buffer's own slice would be none.
    const raw = new Uint8Array(bytes.buffer, bytes.byteOffset + start + begin, end - begin).slice()
      .buffer as ArrayBuffer;
    const own = TYPES.get(dtype);
    const data = own === undefined ? widen(name, dtype, raw) : elements(name, own, raw);
    if (own === undefined) notes.push(`${name}: ${dtype} became i32`);
    // The GPU has no double precision.
    const stay = dtype === "F64" && (options.device ?? defaultDevice()) === "webgpu";
    if (stay) notes.push(`${name}: F64 is on the host, since webgpu has no double precision`);
    const t = tensor(data, {
      shape,
      ...own === undefined ? {} : { dtype: own },
      ...options,
      ...stay ? { device: "host" as const } : {},
    });
    t.name = name;
    return [name, t];
  });
  return { tensors: Object.fromEntries(tensors), metadata, notes };
}

function elements(name: string, dtype: DType, raw: ArrayBuffer): TypedArray {
  switch (dtype) {
    case "f32":
      return new Float32Array(raw);
    case "f16":
      return new Float16Array(raw);
    case "bf16":
      return unpackBf16(new Uint16Array(raw));
    case "f64":
      return new Float64Array(raw);
    case "i32":
      return new Int32Array(raw);
    case "u32":
      return new Uint32Array(raw);
    case "bool": {
      const bits = new Uint8Array(raw);
      if (bits.some((b) => b > 1)) fail(`${name} of type BOOL has bytes other than 0 and 1`);
      return bits;
    }
  }
}

/** Types that tensors do not have: whole numbers of other widths become i32. */
function widen(name: string, dtype: string, raw: ArrayBuffer): TypedArray {
  switch (dtype) {
    case "I64": {
      const whole = new BigInt64Array(raw);
      if (whole.some((v) => v !== BigInt.asIntN(32, v))) {
        fail(`${name} of type I64 has numbers that do not fit in i32`);
      }
      return Int32Array.from(whole, Number);
    }
    case "I16":
      return Int32Array.from(new Int16Array(raw));
    case "I8":
      return Int32Array.from(new Int8Array(raw));
    case "U16":
      return Int32Array.from(new Uint16Array(raw));
    case "U8":
      return Int32Array.from(new Uint8Array(raw));
  }
  throw new Error(`Internal: file type ${dtype}`);
}

/** Writes a file: whole under another name first, so that a crash leaves the old one. */
export async function writeSafetensors(
  path: string | URL,
  tensors: Record<string, Tensor>,
  metadata: Record<string, string> = {},
): Promise<void> {
  const bytes = await saveSafetensors(tensors, metadata), part = partOf(path);
  await Deno.writeFile(part, bytes);
  await Deno.rename(part, path);
}

function partOf(path: string | URL): string | URL {
  return typeof path === "string" ? `${path}.part` : new URL(`${path.href}.part`);
}

/** Reads a file. */
export async function readSafetensors(
  path: string | URL,
  options: { device?: Device } = {},
): Promise<SafetensorsFile> {
  return loadSafetensors(await Deno.readFile(path), options);
}
