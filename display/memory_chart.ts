/** Memory over the life of a run: how many bytes of intermediates live after each op, from the graph alone. */
import { bytesOf } from "../ops/cost.ts";
import { lower } from "../ops/lower.ts";
import type { Node } from "../ops/node.ts";
import { flatten, type Tree } from "../ops/transforms/tree.ts";
import { isPlainObject } from "./bundle.ts";
import { type Chart, type ChartOptions, lineChart, type Points } from "./chart.ts";
import { Snapshot } from "./layers.ts";
import { byteUnit, formatBytes, kindOf, plainLine } from "./parts.ts";

/** Bytes of intermediates that live after each op of a run which computes `roots`; what is there already is not counted. */
export function liveBytes(roots: readonly Node[]): number[] {
  const nodes: Node[] = [], seen = new Set<Node>();
  for (const root of roots) {
    for (const n of root.value === null ? new Snapshot(root).nodes : [root]) {
      if (seen.has(n)) continue;
      seen.add(n);
      nodes.push(n);
    }
  }
  const { steps, roots: ends } = lower({ nodes, roots: roots.map((r) => nodes.indexOf(r)) });
  // A view keeps what it looks at; it has no bytes of its own.
  const holder = steps.map((_, i) => i);
  steps.forEach((s, i) => {
    if (s.op?.family === "movement") holder[i] = holder[s.inputs[0]];
  });
  const last = steps.map((_, i) => i);
  steps.forEach((s, i) => s.inputs.forEach((x) => last[holder[x]] = i));
  for (const end of ends) last[holder[end]] = steps.length;
  const freed = new Map<number, number>();
  const live: number[] = [];
  let bytes = 0;
  steps.forEach((s, i) => {
    if (s.op === null || holder[i] !== i) return;
    const own = bytesOf(s);
    bytes += own;
    freed.set(last[i], (freed.get(last[i]) ?? 0) + own);
    live.push(bytes);
    bytes -= freed.get(i) ?? 0;
    freed.delete(i);
  });
  return live;
}

/**
 * The memory of intermediates over the ops of a run, for computations by name: checkpointed and not, say. Each function
 * gives what is computed, as gradients; nothing is run. Engines that fuse ops need less.
 *
 * ```ts
 * import { checkpoint, grad, memoryChart, randn, type Tensor } from "@cotangent/cotangent";
 * const block = (x: Tensor): Tensor => x.sin().exp().tanh().sigmoid(), x = randn([1000]);
 * const deep = (layer: (x: Tensor) => Tensor) => () =>
 *   grad((x: Tensor) => [1, 2, 3, 4].reduce((h) => layer(h), x).sum())(x);
 * const chart = memoryChart({ plain: deep(block), checkpointed: deep(checkpoint(block)) });
 * ```
 */
export function memoryChart(runs: Readonly<Record<string, () => Tree>>, options: ChartOptions = {}): Chart {
  if (!isPlainObject(runs) || Object.values(runs).some((f) => typeof f !== "function")) {
    throw new TypeError(
      `Cannot draw the memory of ${kindOf(runs)}: give functions by name, as in { plain: () => grad(f)(x) }`,
    );
  }
  const lives: Record<string, number[]> = {}, peaks: string[] = [];
  let most = 0;
  for (const [name, f] of Object.entries(runs)) {
    const live = liveBytes(
      flatten(f(), "draw the memory of a function that returns").leaves.map((t) => t.node),
    );
    const peak = live.reduce((a, b) => Math.max(a, b), 0);
    peaks.push(`${plainLine(name)}: peak ${formatBytes(peak)}`);
    most = Math.max(most, peak);
    lives[name] = live;
  }
  const unit = byteUnit(most), series: Record<string, Points> = {};
  for (const [name, live] of Object.entries(lives)) {
    series[name] = { x: live.map((_, i) => i + 1), y: live.map((b) => b / unit.size) };
  }
  return lineChart({
    title: "memory of intermediates over a run",
    subtitle: `${peaks.join(", ")}; op by op, without fusion`,
    xTitle: "op",
    yTitle: unit.name,
    height: 260,
    ...options,
    series,
  });
}
