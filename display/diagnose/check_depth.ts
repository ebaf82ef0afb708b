/** What happens from layer to layer: gradients that vanish or explode, ReLUs that are dead, half precision that loses. */
import type { Context } from "./context.ts";
import { few, type Finding } from "./finding.ts";
import type { ActivationSeen, LayerSeen, Observation } from "./observe.ts";
import type { Snapshot } from "../layers.ts";

/** A gradient that changes by more than this over the depth of the model is ill. */
const MOST_CHANGE = 1e3;
/** Fewer layers than this have no depth to speak of. */
const LEAST_LAYERS = 4;

const short = (x: number): string => String(Number(x.toPrecision(2)));

/** Norms that gradients along time change by before it is worth a word; a module is called at least so often. */
const MOST_CHANGE_IN_TIME = 1e6, LEAST_STEPS = 8;

interface Link {
  readonly layer: LayerSeen;
  readonly norm: number;
}

/** Calls of one module, in order. */
function callsOf(links: readonly Link[]): Map<string, Link[]> {
  const calls = new Map<string, Link[]>();
  for (const link of links) calls.set(link.layer.path, [...calls.get(link.layer.path) ?? [], link]);
  return calls;
}

/** The layer, or the time step, where gradients begin to vanish or explode, with the likely cause; once numbers are read. */
export function depth(context: Context): Finding[] {
  const links = context.first.layers.flatMap((layer) =>
    layer.gradient === null ? [] : [{ layer, norm: layer.gradient() }]
  );
  if (links.some(({ norm }) => !Number.isFinite(norm))) return [];
  const calls = callsOf(links);
  // What is called again and again learns from the call that most comes back to.
  const chain = [...calls.values()].map((list) => list.reduce((x, y) => y.norm > x.norm ? y : x));
  return [...alongLayers(context, chain), ...alongTime(calls)];
}

/** Gradients of early calls of one module against those of late ones. */
function alongTime(calls: ReadonlyMap<string, Link[]>): Finding[] {
  for (const [path, list] of calls) {
    if (list.length < LEAST_STEPS) continue;
    const last = list.at(-1)!, first = list[0], ratio = first.norm / last.norm;
    if (!(last.norm > 0) || (ratio >= 1 / MOST_CHANGE_IN_TIME && ratio <= MOST_CHANGE_IN_TIME)) continue;
    const isVanishing = ratio < 1;
    const reach = isVanishing
      ? list.length - list.findIndex(({ norm }) => norm > 1e-3 * last.norm)
      : list.length;
    return [{
      cause: isVanishing ? "vanishing" : "exploding",
      message: `Gradients ${isVanishing ? "vanish" : "explode"} through time in ${path}: ${
        isVanishing
          ? `no more than the last ${reach} of ${list.length} steps count`
          : `the first of ${list.length} steps outweighs all`
      }`,
      evidence: `the norm of the cotangent goes from ${short(last.norm)} at the last call to ${
        short(first.norm)
      } at the first: x ${short(Math.max(ratio, 1e-45) ** (1 / (list.length - 1)))} a step`,
      remedy: isVanishing
        ? "use gated cells (LSTM, GRU), start the recurrent weight from an orthogonal matrix, or attend to earlier steps"
        : "clip the gradient (clipGradNorm), start the recurrent weight from an orthogonal matrix, or truncate the backward pass",
    }];
  }
  return [];
}

function alongLayers({ first }: Context, chain: readonly Link[]): Finding[] {
  if (chain.length < LEAST_LAYERS) return [];
  const top = chain.at(-1)!, bottom = chain[0];
  if (top.norm === 0) return [];
  const ratio = bottom.norm / top.norm;
  const isVanishing = ratio < 1 / MOST_CHANGE;
  if (!isVanishing && ratio <= MOST_CHANGE) return [];
  // Halfway, in logarithms, between no change and the mean change of a layer.
  const each = Math.max(ratio, 1e-45) ** (1 / (chain.length - 1)), limit = Math.sqrt(each);
  let begin = chain.length - 2;
  while (begin > 0) {
    const local = chain[begin].norm / chain[begin + 1].norm;
    if (isVanishing ? local < limit : local > limit) break;
    begin--;
  }
  const at = chain[begin].layer, above = chain[begin + 1].layer;
  const { cause, remedy } = isVanishing
    ? whyVanishing(first, chain.map((c) => c.layer), begin)
    : whyExploding(chain.map((c) => c.layer), begin);
  return [{
    cause: isVanishing ? "vanishing" : "exploding",
    message: `Gradients ${
      isVanishing ? "vanish" : "explode"
    } on the way back: it begins at ${at.name} (below ${above.name}), likely by ${cause}`,
    evidence: `the norm of the cotangent goes from ${short(top.norm)} at ${top.layer.name} to ${
      short(bottom.norm)
    } at ${bottom.layer.name}: ${
      bottom.norm === 0 ? "to nothing" : `x ${short(each)} a layer`
    } over ${chain.length} layers`,
    remedy,
  }];
}

function whyVanishing(
  first: Observation,
  chain: readonly LayerSeen[],
  begin: number,
): { cause: string; remedy: string } {
  // The nearest to where it begins is named first.
  const from = chain[begin].to,
    full = first.activations.filter((a) => a.op !== "relu")
      .sort((a, b) => Math.abs(a.serial - from) - Math.abs(b.serial - from));
  const saturated = full.filter((a) => a.share() > 0.5);
  const gains = chain.slice(0, begin + 2).flatMap((l) => l.gain === null ? [] : [l.gain()]);
  const gain = gains.length === 0
    ? 1
    : Math.exp(gains.reduce((s, g) => s + Math.log(Math.max(g, 1e-30)), 0) / gains.length);
  const ideal = first.activations.some((a) => a.op === "relu") ? Math.SQRT2 : 1;
  const dead = first.activations.filter((a) => a.op === "relu" && a.share() > 0.9);
  if (saturated.length > 0) {
    const big = gain > 2 * ideal ? ` (weights ${short(gain / ideal)} times too large push them there)` : "";
    return {
      cause:
        `saturation: ${Math.round(100 * saturated[0].share())} % of the values of ${
          saturated[0].place
        } are past ` +
        `0.97 of the range${big}`,
      remedy:
        "start from smaller weights (init.xavierUniform), normalise before the activation (LayerNorm, BatchNorm), " +
        "or use relu or gelu",
    };
  }
  if (dead.length > 0) {
    return {
      cause: `dead ReLUs: ${Math.round(100 * dead[0].share())} % of the units of ${
        dead[0].place
      } are 0 for every example`,
      remedy:
        "start biases at 0 and weights from init.heNormal, lower the learning rate, or use leakyRelu or gelu",
    };
  }
  const sigmoids = full.filter((a) => a.op === "sigmoid");
  if (sigmoids.length >= chain.length / 2 && gain < 4) {
    return {
      cause: `the sigmoids: their slope is at most 0.25, here ${
        short(mean(sigmoids.map((a) => a.slope())))
      } on average`,
      remedy: "use relu, gelu or silu with init.heNormal, and residual connections where it is deep",
    };
  }
  if (gain < 0.7 * ideal) {
    return {
      cause: `the scale of the initial weights: it is ${
        short(gain / ideal)
      } of what keeps the variance from layer to layer`,
      remedy: `start from init.${ideal > 1 ? "kaimingNormal" : "xavierNormal"}, or normalise between layers`,
    };
  }
  return {
    cause: first.passes.some((pass) => hasResidual(pass.graph))
      ? "what the residual path itself goes through"
      : "depth without residual connections",
    remedy: "add residual connections (x.add(layer.call(x))) with a normalisation before each layer",
  };
}

function whyExploding(chain: readonly LayerSeen[], begin: number): { cause: string; remedy: string } {
  const gains = chain.slice(1, begin + 2).flatMap((l) => l.gain === null ? [] : [l.gain()]);
  const gain = gains.length === 0 ? 1 : Math.exp(mean(gains.map((g) => Math.log(Math.max(g, 1e-30)))));
  return {
    cause: gain > 1.5
      ? `the scale of the initial weights: a layer makes its input ${short(gain)} times as large`
      : "a product of layers that each make a little larger, without normalisation",
    remedy:
      "start from init.heNormal or init.xavierNormal, normalise between layers (LayerNorm, BatchNorm); " +
      "clipGradNorm limits the damage of single steps",
  };
}

const mean = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0) / list.length;

/** A sum of a value with something computed from it. */
function hasResidual(graph: Snapshot): boolean {
  return graph.nodes.some((n) => {
    if (n.op.name !== "add" || n.track === 0) return false;
    const [a, b] = graph.inputs.get(n)!;
    if (a.track === 0 || b.track === 0 || a.cell !== null || b.cell !== null) return false;
    return a.shape.join() === b.shape.join() && (graph.below(a).has(b) || graph.below(b).has(a));
  });
}

/** ReLU layers most of whose units give 0 for every example. */
export function deadUnits({ first }: Context): Finding[] {
  const dead = first.activations.filter((a) => a.op === "relu" && a.perUnit >= 8 && a.share() > 0.65);
  if (dead.length === 0) return [];
  const worst = dead.reduce((x, y) => y.share() > x.share() ? y : x);
  return [{
    cause: "dead-relu",
    message: `Most ReLUs are dead in ${
      few(dead.map((a: ActivationSeen) => a.place))
    }: they give 0 for every example`,
    evidence:
      `${
        Math.round(100 * worst.share())
      } % of the units of ${worst.place} are 0 for all of ${worst.perUnit} ` +
      "values; nothing comes back through them, so they stay so",
    remedy:
      "lower the learning rate, start biases at 0 and weights from init.heNormal, normalise before the " +
      "ReLU, or use leakyRelu, gelu or silu",
  }];
}

/** Gradients that half precision rounds to zero. */
export function underflow({ first, model }: Context): Finding[] {
  const names = new Map(Object.entries(model.namedParameters()).map(([path, p]) => [p, path]));
  const lossy = [...first.lost].flatMap(([p, { gone, there }]) => {
    const share = there() === 0 ? 0 : gone() / there();
    return share > 0.02 ? [{ name: names.get(p) ?? "a tensor", share }] : [];
  });
  if (lossy.length === 0) return [];
  const worst = lossy.reduce((x, y) => y.share > x.share ? y : x);
  return [{
    cause: "half-underflow",
    message: `Gradients of ${few(lossy.map((l) => l.name))} are lost in half precision: they round to zero`,
    evidence:
      `${
        Math.max(1, Math.round(100 * worst.share))
      } % of the elements of ${worst.name}'s gradient are 0, and are ` +
      "not when the loss is 1,024 times as large; the smallest f16 is 6e-8",
    remedy:
      "scale the loss: loss.mul(1024).backward(), and divide the gradients by 1024 in f32 before the step; or use " +
      "bf16, which has the range of f32",
  }];
}
