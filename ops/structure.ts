/** Structural keys of runs: equal structures have one key, found by a hash and compared word by word. */
import type { Node } from "./node.ts";
import type { Attributes, Primitive } from "./primitive.ts";
import { sameShape, type Shape } from "./shape.ts";

/** The structure of a run; there is one for each, so that a key is compared as an object. */
export interface RunKey {
  /** For each node the number of what it is and the places of its operands; then the places of the roots. */
  readonly words: Int32Array;
}

/** Everything about a node that is structure, but where its operands are. */
interface Signature {
  readonly id: number;
  readonly dtype: string;
  readonly shape: Shape;
  readonly operands: number;
  /** Attributes as they are, or as text where they have a key or hold more than plain data. */
  readonly p: unknown;
  /** Another one with the same hash. */
  readonly next: Signature | null;
}

/** Signatures by op (null: a value that is there) and hash. */
const signatures = new Map<Primitive | null, Map<number, Signature>>();
let signatureCount = 0, kept = 0;
/** Signatures that are kept; those forgotten get a new number. */
const SIGNATURES = 1 << 17;

function mix(hash: number, word: number): number {
  const h = Math.imul(hash ^ word, 0x9e3779b1);
  return h ^ (h >>> 15);
}

const NOT_PLAIN = -1;

/** A hash of plain data, or `NOT_PLAIN`: of numbers, strings, booleans, null, and arrays and objects of them. */
function hashOf(value: unknown): number {
  switch (typeof value) {
    case "number":
      return (value | 0) === value ? value & 0x3fffffff : mix(7, (value * 65537) | 0) & 0x3fffffff;
    case "string": {
      let h = value.length;
      for (let i = 0; i < value.length; i++) h = mix(h, value.charCodeAt(i));
      return h & 0x3fffffff;
    }
    case "boolean":
      return value ? 3 : 5;
    case "undefined":
      return 11;
    case "object": {
      if (value === null) return 13;
      let h = 17;
      if (Array.isArray(value)) {
        for (let i = 0; i < value.length; i++) {
          const x = hashOf(value[i]);
          if (x === NOT_PLAIN) return NOT_PLAIN;
          h = mix(h, x);
        }
        return h & 0x3fffffff;
      }
      if (Object.getPrototypeOf(value) !== Object.prototype) return NOT_PLAIN;
      for (const key in value) {
        const x = hashOf((value as Record<string, unknown>)[key]);
        if (x === NOT_PLAIN) return NOT_PLAIN;
        h = mix(h, x);
      }
      return h & 0x3fffffff;
    }
    default:
      return NOT_PLAIN;
  }
}

/** Whether plain data are alike, keys in the same order. */
function same(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a)) {
    if (!Array.isArray(b) || a.length !== b.length) return false;
    for (let i = 0; i < a.length; i++) if (!same(a[i], b[i])) return false;
    return true;
  }
  if (Array.isArray(b)) return false;
  const keys = Object.keys(a), others = Object.keys(b);
  if (keys.length !== others.length) return false;
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i];
    if (key !== others[i]) return false;
    if (!same((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key])) return false;
  }
  return true;
}

const identities = new WeakMap<object, number>();
let identityCount = 0;

/** Attributes as text; programs and functions count by identity. */
function structureOf(p: Attributes): string {
  return JSON.stringify(p, (_, value) => {
    if (
      typeof value === "function" ||
      (typeof value === "object" && value !== null && !Array.isArray(value) &&
        Object.getPrototypeOf(value) !== Object.prototype)
    ) {
      let id = identities.get(value);
      if (id === undefined) identities.set(value, id = ++identityCount);
      return `#${id}`;
    }
    return value;
  });
}

/** A number for everything about a node that is structure, but where its operands are. */
function signature(node: Node, operands: number): number {
  const { dtype, shape } = node, op = node.value === null ? node.op : null;
  let p: unknown = null, h = operands;
  if (op !== null && node.p !== null) {
    p = op.key !== undefined ? op.key(node.p) : node.p;
    let x = hashOf(p);
    if (x === NOT_PLAIN) x = hashOf(p = structureOf(p));
    h = mix(h, x);
  }
  h = mix(h, dtype.charCodeAt(0) + (dtype.charCodeAt(1) << 8));
  for (let i = 0; i < shape.length; i++) h = mix(h, shape[i]);
  h &= 0x3fffffff;
  let table = signatures.get(op);
  if (table === undefined) signatures.set(op, table = new Map());
  const first = table.get(h);
  for (let s = first ?? null; s !== null; s = s.next) {
    if (s.operands === operands && s.dtype === dtype && sameShape(s.shape, shape) && same(s.p, p)) {
      return s.id;
    }
  }
  if (++kept > SIGNATURES) {
    signatures.clear();
    signatures.set(op, table = new Map());
    kept = 1;
  }
  const id = signatureCount++;
  table.set(h, { id, dtype, shape, operands, p, next: kept === 1 ? null : first ?? null });
  return id;
}

interface Interned extends RunKey {
  next: Interned | null;
}

const keys = new Map<number, Interned>();
let keyWords = 0;
/** Keys that are kept, and words in all of them; a forgotten key does not find what was made for it. */
const KEYS = 8192, KEY_WORDS = 1 << 23;
let words = new Int32Array(1 << 12);

/** The key of nodes that know their `place` among them. */
export function keyOf(nodes: readonly Node[], roots: readonly number[]): RunKey {
  let n = 0, hash = nodes.length;
  for (let i = 0; i < nodes.length; i++) {
    const node = nodes[i], inputs = node.value === null ? node.inputs : NONE;
    if (n + inputs.length + 1 > words.length) grow(n + inputs.length + 1);
    const id = signature(node, inputs.length);
    hash = mix(hash, words[n++] = id);
    for (let k = 0; k < inputs.length; k++) hash = mix(hash, words[n++] = inputs[k].place);
  }
  if (n + roots.length > words.length) grow(n + roots.length);
  for (let i = 0; i < roots.length; i++) hash = mix(hash, words[n++] = roots[i]);
  hash &= 0x3fffffff;
  const first = keys.get(hash);
  for (let key = first ?? null; key !== null; key = key.next) {
    if (!startsWith(words, key.words, n)) continue;
    if (keys.size > KEYS >> 1) {
      // Last used, last in the map; while there is plenty of room the order does not matter.
      keys.delete(hash);
      keys.set(hash, first!);
    }
    return key;
  }
  const key: Interned = { words: words.slice(0, n), next: first ?? null };
  keys.set(hash, key);
  keyWords += n;
  for (const [h, old] of keys) {
    if ((keys.size <= KEYS && keyWords <= KEY_WORDS) || old === key) break;
    keys.delete(h);
    for (let k: Interned | null = old; k !== null; k = k.next) keyWords -= k.words.length;
  }
  return key;
}

const NONE: readonly Node[] = [];

function grow(least: number): void {
  const larger = new Int32Array(Math.max(least, 2 * words.length));
  larger.set(words);
  words = larger;
}

function startsWith(a: Int32Array, b: Int32Array, n: number): boolean {
  if (b.length !== n) return false;
  for (let i = 0; i < n; i++) if (a[i] !== b[i]) return false;
  return true;
}
