/** Layers one after the other. */
import type { Tensor } from "../ops/tensor.ts";
import { Lambda } from "./activation.ts";
import { Module } from "./module.ts";

/**
 * y = f_n(... f_2(f_1(x))); plain functions count as layers. Parameters are named by the number of their layer.
 *
 * ```ts
 * import { Linear, randn, Sequential, type Tensor } from "@cotangent/cotangent";
 * const model = new Sequential(new Linear(4, 8), (x: Tensor) => x.relu(), new Linear(8, 2));
 * console.log(model.call(randn([5, 4])).shape); // [5, 2]
 * ```
 */
export class Sequential extends Module {
  /** In order. */
  readonly layers: readonly Module[];

  /** These layers, in order. */
  constructor(...layers: (Module | ((x: Tensor) => Tensor))[]) {
    super();
    this.layers = layers.map((layer, i) => {
      if (layer instanceof Module) return layer;
      if (typeof layer === "function") return new Lambda(layer);
      throw new TypeError(
        `Cannot put ${typeof layer} into a Sequential as layer ${i}: give modules or functions`,
      );
    });
  }

  /** Whatever the first layer takes to whatever the last gives. */
  override forward(x: Tensor): Tensor {
    let y = x;
    for (const layer of this.layers) y = layer.call(y);
    return y;
  }

  /** The layers by number, without the name of the list, as in PyTorch. */
  protected override fields(): Iterable<[string, unknown]> {
    const own = Object.entries(this).filter(([name]) => name !== "layers");
    return [...this.layers.map((layer, i): [string, unknown] => [`${i}`, layer]), ...own];
  }
}
