/** Numbers on the device that are asked for one by one and read together. */
import { isFloat, isHalf, type TypedArray } from "../ops/dtype.ts";
import type { Node } from "../ops/node.ts";
import { readNodes } from "../ops/runs.ts";
import type { Tensor } from "../ops/tensor.ts";

/** Numbers that are asked for now and read later, all together. */
export class Readings {
  readonly #nodes: Node[] = [];
  #values: TypedArray[] = [];

  /** Asks for a tensor's elements; what it returns gives them after `read`. */
  ask(t: Tensor): () => TypedArray {
    const i = this.#nodes.push(t.keep().node) - 1;
    return () => this.#values[i];
  }

  /** Asks for a scalar. */
  one(t: Tensor): () => number {
    const get = this.ask(t);
    return () => get()[0];
  }

  /** Reads what was asked for. */
  async read(): Promise<void> {
    this.#values = this.#nodes.length === 0 ? [] : await readNodes(this.#nodes);
  }
}

/** Single precision at least, and no graph. */
export function plain(t: Tensor): Tensor {
  const x = t.stopGradient();
  return isHalf(x.dtype) || !isFloat(x.dtype) ? x.to("f32") : x;
}

/** The Euclidean norm, also of numbers whose squares vanish. */
export function normOf(t: Tensor): Tensor {
  const x = plain(t);
  if (x.size === 0) return x.scalarLike(0);
  const most = x.abs().amax(), divisor = most.where(most.gt(0), 1);
  return x.div(divisor).square().sum().sqrt().mul(most);
}
