/** Parameters that the loss does not reach, and units that stay identical. */
import { wrap } from "../../ops/node.ts";
import type { Node } from "../../ops/node.ts";
import type { Tensor } from "../../ops/tensor.ts";
import { noGrad } from "../../ops/transforms/backward.ts";
import type { Context } from "./context.ts";
import { few, type Finding } from "./finding.ts";
import { plain } from "../readings.ts";

/** Which parameters get no gradient, and why. */
export function reach({ model, first, layers, optimizer }: Context): Finding[] {
  const named = Object.entries(model.namedParameters());
  const reached = new Set(first.passes.flatMap((pass) => [...pass.gradients.keys()]));
  const missed = named.filter(([, p]) => p.requiresGrad && !reached.has(p));
  const findings: Finding[] = [...trained(named, optimizer)];
  const cut = new Map<string, string[]>(), flat = new Map<string, string[]>(), unused: string[] = [];
  for (const [path, p] of missed) {
    const node = first.valueOf(p);
    const graphs = first.passes.map((pass) => pass.graph).filter((g) => g.inputs.has(node));
    if (graphs.length === 0) {
      unused.push(path);
      continue;
    }
    // On every path from the parameter to the loss something stops the derivative: the ops that do.
    const stops = graphs.flatMap((graph) =>
      graph.nodes.filter((n) => stopsAt(n, graph.inputs.get(n)!) && graph.below(n).has(node))
    );
    const detached = stops.filter((n) => n.cut);
    const where = few([...new Set((detached.length > 0 ? detached : stops).map((n) => layers.placeOf(n)))]);
    const list = detached.length > 0 ? cut : flat;
    list.set(where, [...list.get(where) ?? [], path]);
  }
  for (const [where, paths] of cut) {
    findings.push({
      cause: "detached",
      message: `The loss depends on ${few(paths)}, but no gradient comes back: the graph is cut`,
      evidence: `the path to the loss goes through detach, stopGradient or noGrad (${where})`,
      remedy:
        "compute the loss from the tensor itself: take the detach (or noGrad) out of the forward pass, " +
        "or freeze the parameter if it is not to be trained",
    });
  }
  for (const [where, paths] of flat) {
    findings.push({
      cause: "zero-derivative",
      message: `The gradient of ${few(paths)} is zero everywhere: an op on the way has no slope`,
      evidence: `the path to the loss goes through ${where || "ops whose derivative is zero"}`,
      remedy: "use a smooth op in its place, or straightThrough around the discrete step alone",
    });
  }
  if (unused.length > 0) {
    const called = new Set(layers.calls.map((c) => c.module));
    const owners = Object.entries(model.namedModules()).filter(([, m]) =>
      layers.weightsOf(m).some((p) => missed.some(([path, q]) => q === p && unused.includes(path)))
    );
    const idle = owners.filter(([, m]) => !called.has(m)).map(([path]) => path || "the model");
    findings.push({
      cause: "unused",
      message: `The loss does not depend on ${few(unused)}`,
      evidence: idle.length > 0
        ? `${few(idle)} ${idle.length > 1 ? "were" : "was"} not called`
        : "the modules were called, but nothing that they returned leads to the loss",
      remedy: "use it in forward (through call, not forward), take it out of the model, or freeze it",
    });
  }
  return findings;
}

/** A node where derivatives end though its operands have some. */
function stopsAt(node: Node, inputs: readonly Node[]): boolean {
  if (!inputs.some((x) => x.track !== 0)) return false;
  if (node.track === 0) return true;
  return node.op.family === "elementwise" && node.op.partials.every((partial) => partial === null);
}

/** What the optimiser trains against what the model has. */
function trained(named: [string, Tensor][], optimizer: Context["optimizer"]): Finding[] {
  if (named.every(([, p]) => !p.requiresGrad)) {
    return [{
      cause: "frozen",
      message: "All parameters are frozen: there is nothing to train",
      evidence: `requiresGrad is false for each of ${named.length}`,
      remedy: "model.unfreeze(), or model.unfreeze((path) => ...) for some",
    }];
  }
  if (optimizer === null) return [];
  const ours = new Set(named.map(([, p]) => p)), theirs = new Set(optimizer.parameters);
  const foreign = optimizer.parameters.filter((p) => !ours.has(p));
  const left = named.filter(([, p]) => p.requiresGrad && !theirs.has(p)).map(([path]) => path);
  const frozen = named.filter(([, p]) => !p.requiresGrad && theirs.has(p)).map(([path]) => path);
  const findings: Finding[] = [];
  if (foreign.length > 0 && left.length > 0) {
    findings.push({
      cause: "replaced",
      message: `${few(left)} ${left.length > 1 ? "are" : "is"} not what the optimiser trains`,
      evidence:
        `the optimiser has ${foreign.length} tensor${
          foreign.length > 1 ? "s" : ""
        } that the model no longer ` +
        `has (${few(foreign.map((p) => p.name ?? `[${p.shape}]`))}), and lacks ${left.length} that it has`,
      remedy: "make the optimiser after the last replacement of a parameter, or change its value with " +
        "p.assign(value) or model.loadStateDict(...), which keep the tensor",
    });
  }
  if (frozen.length > 0) {
    findings.push({
      cause: "frozen",
      message: `${few(frozen)} ${frozen.length > 1 ? "are" : "is"} frozen, though the optimiser was given ` +
        `${frozen.length > 1 ? "them" : "it"}`,
      evidence: "requiresGrad is false, so no step changes the value",
      remedy: "model.unfreeze((path) => ...) if it is to be trained; else make the optimiser without it",
    });
  }
  return findings;
}

/** Layers all of whose units are equal and get equal gradients: they stay equal for ever. */
export function equalUnits({ model, first, readings }: Context): () => Finding[] {
  const spread = (t: Tensor): Tensor => {
    const rows = plain(t).reshape([t.shape[0], -1]);
    return rows.sub(rows.narrow(0, 0, 1)).abs().amax();
  };
  const asked = noGrad(() =>
    Object.entries(model.namedParameters()).flatMap(([path, p]) => {
      const gradient = first.gradientOf(p);
      if (p.rank < 2 || p.shape[0] < 2 || p.size === 0 || gradient === null) return [];
      const value = wrap(first.valueOf(p));
      return [{
        path,
        units: p.shape[0],
        value: readings.one(spread(value)),
        any: readings.one(plain(value).narrow(0, 0, 1).reshape([-1]).narrow(0, 0, 1)),
        gradient: readings.one(spread(gradient)),
        most: readings.one(plain(gradient).abs().amax()),
      }];
    })
  );
  return () => {
    const same = asked.filter((a) => a.value() === 0 && a.gradient() <= 1e-5 * a.most());
    if (same.length === 0) return [];
    const zero = same.every((a) => a.any() === 0);
    return [{
      cause: "equal-initialisation",
      message: `All units of ${few(same.map((a) => a.path))} are equal and stay so: they get equal gradients`,
      evidence: `${same[0].units} units of ${same[0].path} with the same weights (the first is ${
        Number(same[0].any().toPrecision(3))
      }), and ${
        same[0].gradient() === 0
          ? "equal gradients"
          : `gradients that differ by ${same[0].gradient().toExponential(0)}`
      }`,
      remedy:
        `start from random values, as init.heNormal (relu) or init.xavierUniform (tanh) do, instead of ` +
        (zero ? "zeros" : "one number") + "; zeros are right for biases, and for a last layer",
    }];
  };
}
