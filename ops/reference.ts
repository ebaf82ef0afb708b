/** The reference interpreter: slow, obvious, and what every engine is checked against. */
import { allocate, type DType, packBf16, roundTo, type TypedArray, unpackBf16 } from "./dtype.ts";
import { wholeView } from "./definitions/movement.ts";
import { eachIndex } from "./definitions/indexing.ts";
import { collect, lower, type Step } from "./lower.ts";
import type { Node, Storage } from "./node.ts";
import type { Label } from "./out_of_memory.ts";
import type { HostArray } from "./primitive.ts";
import type { Engine, MemoryReport } from "./runs.ts";
import { broadcastStrides, sizeOf, stridesOf } from "./shape.ts";

/** An array as it is kept: bf16 as bits. */
export type StoredArray = TypedArray | Uint16Array<ArrayBuffer>;

/** A value on the host. */
export class HostStorage implements Storage {
  readonly device = "host";
  error: Error | null = null;
  constructor(readonly data: StoredArray, readonly label: Label | null = null) {}
}

/** What is kept of a result of a type. */
export function kept(values: TypedArray, dtype: DType): StoredArray {
  return dtype === "bf16" ? packBf16(values) : values;
}

/** The elements of what is kept: the array itself, where it holds them as they are. */
export function elementsOf({ data }: HostStorage): TypedArray {
  return data instanceof Uint16Array ? unpackBf16(data) : data;
}

/** What computes results of a type: modulo 2^32 where that needs another function. */
export function hostOf<F>(op: { readonly host: F; readonly hostInteger?: F }, dtype: DType): F {
  return (dtype === "i32" || dtype === "u32") && op.hostInteger !== undefined ? op.hostInteger : op.host;
}

/** Evaluates one step on contiguous arrays. */
export function evaluate(step: Step, p: Step["p"], x: HostArray[]): HostArray {
  const y: HostArray = {
    shape: step.shape,
    dtype: step.dtype,
    data: allocate(step.dtype, sizeOf(step.shape)),
  };
  const op = step.op!;
  switch (op.family) {
    case "elementwise": {
      const strides = x.map(({ shape }) => broadcastStrides({ shape, strides: stridesOf(shape) }, y.shape));
      const host = hostOf(op, y.dtype);
      eachIndex(y.shape, (index, at) => {
        const values = x.map((a, k) => a.data[index.reduce((sum, i, axis) => sum + i * strides[k][axis], 0)]);
        y.data[at] = roundTo(y.dtype, host(...values));
      });
      return y;
    }
    case "movement": {
      let view = op.view(wholeView(x[0].shape), p, y);
      if (view === null) view = wholeView(y.shape);
      eachIndex(y.shape, (index, at) => {
        y.data[at] = x[0].data[view.offset + index.reduce((sum, i, axis) => sum + i * view.strides[axis], 0)];
      });
      return y;
    }
    case "reduction": {
      // Accumulates in double precision and rounds once.
      const sums = new Float64Array(y.data.length).fill(op.init(x[0].dtype));
      const rest = x[0].shape.map((_, i) => i).filter((i) => !p.axes.includes(i));
      const strides = stridesOf(y.shape), host = hostOf(op, y.dtype);
      eachIndex(x[0].shape, (index, at) => {
        const to = rest.reduce((sum, axis, k) => sum + index[axis] * strides[k], 0);
        sums[to] = host(sums[to], x[0].data[at]);
      });
      sums.forEach((s, i) => y.data[i] = roundTo(y.dtype, s));
      return y;
    }
    case "contraction": {
      const [a, b] = x, rank = y.shape.length;
      const [M, N] = y.shape.slice(rank - 2), K = a.shape[rank - 1];
      const batches = sizeOf(y.shape.slice(0, rank - 2)), isInteger = y.dtype === "i32" || y.dtype === "u32";
      for (let t = 0; t < batches; t++) {
        for (let i = 0; i < M; i++) {
          for (let j = 0; j < N; j++) {
            let s = 0;
            for (let k = 0; k < K; k++) {
              const l = a.data[(t * M + i) * K + k], r = b.data[(t * K + k) * N + j];
              s = isInteger ? (s + Math.imul(l, r)) | 0 : s + l * r;
            }
            y.data[(t * M + i) * N + j] = roundTo(y.dtype, s);
          }
        }
      }
      return y;
    }
    case "custom":
      op.host(x, y, p);
      if (y.dtype === "bf16") roundAll(y);
      return y;
  }
}

/** Rounds what a kernel stored to the type, where its array is wider. */
export function roundAll({ data, dtype }: HostArray): void {
  for (let i = 0; i < data.length; i++) data[i] = roundTo(dtype, data[i]);
}

/** Bits of a random key or a number. */
export function leafArray(step: Step, p: Step["p"]): TypedArray {
  const data = allocate(step.dtype, sizeOf(step.shape));
  if (step.leaf === "constant") data[0] = roundTo(step.dtype, p.value);
  else data.set(p.value);
  return data;
}

/** Computes on the host, one node after the other, keeping everything until the run ends. */
export class ReferenceEngine implements Engine {
  readonly device = "host";

  upload(data: TypedArray, dtype: DType): Storage {
    return new HostStorage(dtype === "bf16" ? packBf16(data) : data.slice());
  }

  run(roots: Node[]): void {
    const graph = collect(roots);
    const { steps, roots: results } = lower(graph);
    const values: HostArray[] = [];
    for (const step of steps) {
      const p = step.source < 0 ? step.p : graph.nodes[step.source].p;
      if (step.leaf === "input") {
        const storage = graph.nodes[step.source].value as HostStorage;
        values.push({ shape: step.shape, dtype: step.dtype, data: elementsOf(storage) });
      } else if (step.leaf !== null) {
        values.push({ shape: step.shape, dtype: step.dtype, data: leafArray(step, p) });
      } else values.push(evaluate(step, p, step.inputs.map((i) => values[i])));
    }
    graph.roots.forEach((r, i) => {
      const { data, dtype } = values[results[i]];
      graph.nodes[r].value ??= new HostStorage(kept(data, dtype));
    });
  }

  read(values: { storage: Storage }[]): Promise<TypedArray[]> {
    return Promise.resolve(values.map(({ storage }) => elementsOf(storage as HostStorage).slice()));
  }

  peek(storage: Storage): TypedArray | null {
    return storage instanceof HostStorage ? elementsOf(storage) : null;
  }

  sync(): Promise<void> {
    return Promise.resolve();
  }

  free(storage: Storage): void {
    storage.error = new Error("Cannot use a tensor after dispose()");
  }

  memory(): MemoryReport {
    return { live: 0, pooled: 0, arena: 0, peak: 0, budget: Infinity };
  }
}
