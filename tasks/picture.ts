/** The picture at the top of the README: a graph with its backward pass, drawn by the package. */

import { graph, type Tensor, tensor } from "../mod.ts";

function named(value: Tensor, name: string): Tensor {
  value.name = name;
  return value;
}

/** The picture as SVG. */
export async function picture(): Promise<string> {
  const leaf = (value: number, name: string): Tensor =>
    named(tensor(value, { requiresGrad: true, device: "host" }), name);
  const a = leaf(0.5, "a"), b = leaf(-1.2, "b"), c = leaf(0.9, "c");
  const d = named(a.mul(b).add(c), "d"), L = named(d.tanh().mul(a), "L");
  const { data } = await graph(L, { title: "graph(L), where L = a · tanh(a · b + c)" }).present();
  return `${data["image/svg+xml"]}\n`;
}
