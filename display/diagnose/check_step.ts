/** How gradients are used: accumulation over steps and micro-batches, clipping, and how far updates go. */
import type { Node } from "../../ops/node.ts";
import { noGrad } from "../../ops/transforms/backward.ts";
import type { Context } from "./context.ts";
import { few, type Finding } from "./finding.ts";
import type { Snapshot } from "../layers.ts";
import type { Observation, Pass, Update } from "./observe.ts";
import { normOf, plain, type Readings } from "../readings.ts";

const short = (x: number): string => String(Number(x.toPrecision(3)));

/** Micro-batches whose gradients were cleared before the step, which used those of the last one alone. */
function overwritten(passes: readonly Pass[], update: Update, readings: Readings): () => Finding[] {
  const last = passes.at(-1)!;
  const lost = passes.slice(0, -1).filter((pass) =>
    [...last.gradients.keys()].some((p) => update.used.has(p) && pass.gradients.has(p) && !last.had.has(p))
  );
  if (lost.length === 0 || new Set(passes.map(namesOf)).size > 1) return () => [];
  const pairs = noGrad(() =>
    Array.from(last.gradients).flatMap(([p, ct]) => {
      const used = update.used.get(p) ?? null;
      if (used === null) return [];
      const u = plain(used), g = plain(ct);
      return [[u.mul(g), u.square(), g.square()].map((t) => readings.one(t.sum()))];
    })
  );
  return () =>
    // Whoever combines gradients of several losses by hand clears them in between, too.
    pairs.every(([dot, u, g]) => dot() >= 0.999 * Math.sqrt(u() * g()))
      ? [{
        cause: "overwritten",
        message: "Gradients of micro-batches are thrown away: the step uses those of the last one alone",
        evidence: `${passes.length} backward passes before the step, and gradients were cleared in between`,
        remedy:
          "call optimizer.zeroGrad() once, before the first micro-batch of a step, so that gradients add up",
      }]
      : [];
}

const namesOf = ({ graph }: Pass): string => graph.nodes.map((n) => n.op.name).join(" ");

/** The gradients a step used against those that its backward passes brought. */
export function usedGradients({ first, model, readings }: Context): () => Finding[] {
  const update = first.updates[0];
  if (update === undefined || update.after === 0) return () => [];
  const passes = first.passes.slice(0, update.after);
  const rows = noGrad(() =>
    Object.entries(model.namedParameters()).flatMap(([path, p]) => {
      const used = update.used.get(p) ?? null;
      const parts = passes.flatMap((pass) => pass.gradients.get(p) ?? []);
      if (used === null || parts.length === 0 || p.size === 0) return [];
      const raw = parts.map(plain).reduce((a, b) => a.add(b)), u = plain(used);
      return [{
        path,
        dot: readings.one(u.mul(raw).sum()),
        raw: readings.one(raw.square().sum()),
        used: readings.one(u.square().sum()),
      }];
    })
  );
  const scales = passes.map((pass) => scaleOf(pass.graph));
  const shapes = new Set(passes.map(namesOf));
  const lost = overwritten(passes, update, readings);
  return () => {
    const seen = rows.filter((r) => r.raw() > 1e-24 && r.used() > 0).map((r) => ({
      path: r.path,
      factor: r.dot() / r.raw(),
      isScaled: r.dot() >= 0.999 * Math.sqrt(r.raw() * r.used()),
      norm: Math.sqrt(r.used()),
      from: Math.sqrt(r.raw()),
    }));
    const thrown = lost();
    if (thrown.length > 0 || seen.length === 0 || !seen.every((r) => r.isScaled)) return thrown;
    const factors = seen.map((r) => r.factor), low = Math.min(...factors), high = Math.max(...factors);
    const findings: Finding[] = [];
    const cut = seen.filter((r) => r.factor < 0.999);
    if (high / low > 1.05 && high < 1.001) {
      const least = cut.reduce((x, y) => y.factor < x.factor ? y : x);
      findings.push({
        cause: "clipped-by-layer",
        message: `Gradients are clipped layer by layer: ${
          few(cut.map((r) => r.path))
        } by factors of their own`,
        evidence: `factors from ${short(low)} (${least.path}: norm ${short(least.from)} to ${
          short(least.norm)
        }) to ${short(high)}, so the step points in another direction than the gradient`,
        remedy: "clip all gradients by their norm together: clipGradNorm(model, maxNorm)",
      });
    }
    const G = passes.length, isSum = Math.abs(low - 1) < 1e-3 && Math.abs(high - 1) < 1e-3;
    const isShared = [...passes[0].gradients.keys()].some((p) =>
      passes.every((pass) => pass.gradients.has(p))
    );
    if (
      G > 1 && shapes.size === 1 && isSum && isShared &&
      passes.every((pass, i) => scales[i] * pass.seed() > 0.99 && scales[i] * pass.seed() < 1.01)
    ) {
      findings.push({
        cause: "accumulated-without-mean",
        message: `Gradients of ${G} micro-batches are added up, not averaged`,
        evidence:
          `${G} backward passes of mean losses before one step, whose gradient is their sum: ${G} times that of ` +
          "one large batch",
        remedy: `call loss.div(${G}).backward(), or divide the gradients by ${G} before the step`,
      });
    }
    return findings;
  };
}

/** By what the loss is a multiple of a mean: 1 for a mean, 1 / G for one divided by G. */
function scaleOf(graph: Snapshot): number {
  let x = graph.source(graph.root), factor = 1;
  for (;;) {
    const inputs = graph.inputs.get(x)!, { name } = x.op;
    if (name === "sum") {
      factor *= elements(inputs[0]) / elements(x);
      x = graph.source(inputs[0]);
      continue;
    }
    if (name !== "mul" && name !== "div") return factor;
    const constants = inputs.map((y) => graph.source(y)).map((y) =>
      y.op.name === "constant" ? y.p.value as number : null
    );
    if (constants[1] !== null) factor *= name === "mul" ? constants[1] : 1 / constants[1];
    else if (name === "mul" && constants[0] !== null) factor *= constants[0];
    else return factor;
    x = graph.source(inputs[constants[1] !== null ? 0 : 1]);
  }
}

const elements = (n: Node): number => n.shape.reduce((a, b) => a * b, 1);

/** Gradients of the step before that a step still has when backward passes add to them. */
export function leftOver(steps: readonly Observation[], norms: readonly (() => number)[]): Finding[] {
  if (steps.length < 2) return [];
  const trained = new Set(steps[0].updates.flatMap((update) => [...update.used.keys()]));
  const left = [...trained].filter((p) => {
    const update = steps[1].updates.find(({ used }) => used.has(p));
    const passes = steps[1].passes.slice(0, update?.after).filter((pass) => pass.gradients.has(p));
    // What is cleared between two of them is not used.
    return passes.length > 0 && passes.every((pass) => pass.had.has(p));
  });
  if (left.length === 0) return [];
  const sizes = norms.map((norm) => norm());
  return [{
    cause: "missing-zero-grad",
    message: "Gradients of earlier steps are still there when backward adds new ones: zeroGrad is missing",
    evidence:
      `${left.length} parameters had a gradient when the second step's backward pass began; the norm used by the ` +
      `steps: ${sizes.slice(0, 5).map(short).join(", ")}`,
    remedy: "call optimizer.zeroGrad() before loss.backward() in every step",
  }];
}

/** The norm of all gradients that an update used. */
export function usedNorm(step: Observation, readings: Readings): (() => number) | null {
  const used = [...step.updates[0]?.used.values() ?? []].filter((g) => g !== null);
  if (used.length === 0) return null;
  const parts = noGrad(() => used.map((g) => readings.one(normOf(g))));
  return () => Math.hypot(...parts.map((part) => part()));
}

/** How far the weights moved in a step, relative to their size. */
export interface Movement {
  /** The parameter. */
  readonly path: string;
  /** ||new - old|| / ||old||. */
  readonly ratio: () => number;
}

/** How far each weight matrix moves in the first update. */
export function movements({ first, model, readings }: Context): Movement[] {
  const update = first.updates[0];
  if (update === undefined) return [];
  return noGrad(() =>
    Object.entries(model.namedParameters()).flatMap(([path, p]): Movement[] => {
      const from = update.from.get(p);
      if (from === undefined || p.rank < 2 || p.size === 0) return [];
      const far = readings.one(normOf(plain(p).sub(plain(from)))), size = readings.one(normOf(from));
      return [{ path, ratio: () => far() / size() }];
    })
  );
}

/** Losses so small are those of a model that has learned all; what they do is rounding. */
const CONVERGED = 1e-6;

/** What the losses of equal steps, and how far weights move, say of the learning rate. */
export function progress(
  losses: readonly number[],
  moved: readonly Movement[],
  gradient: number,
  isStationary: boolean,
  lr: number | null,
  isRepeatable: boolean,
): Finding[] {
  const ratios = moved.map((m) => ({ path: m.path, ratio: m.ratio() })).filter((m) =>
    Number.isFinite(m.ratio)
  );
  const median = [...ratios].sort((a, b) => a.ratio - b.ratio)[ratios.length >> 1];
  const rate = lr === null ? "the learning rate" : `the learning rate (${lr})`;
  const n = losses.length - 1, start = losses[0], end = losses[n];
  const path = thinned(losses).map(short).join(", ");
  const bad = losses.findIndex((l) => !Number.isFinite(l));
  const moves = median === undefined
    ? ""
    : `; ${median.path} moves by ${short(median.ratio)} of its size in the first step`;
  if (bad > 0) {
    return [{
      cause: "diverging",
      message: `The loss is not finite after ${bad} step${bad > 1 ? "s" : ""}`,
      evidence: `losses ${path}${moves}`,
      remedy: `divide ${rate} by 10, warm it up (schedules.linearWarmup), or clip with clipGradNorm`,
    }];
  }
  if (n < 4 || !isRepeatable) return [];
  const change = losses.slice(1).map((l, i) => l - losses[i]);
  const turns = change.slice(1).filter((c, i) => c * change[i] < 0).length;
  const swing = Math.max(...change.map(Math.abs));
  if (Math.min(...losses.slice(n >> 1)) > 1.5 * Math.abs(start) + CONVERGED) {
    return [{
      cause: "update-too-large",
      message: "Updates are too large: the loss rises on the batch that it is trained on",
      evidence: `losses ${path}${moves}`,
      remedy: `divide ${rate} by 10, warm it up, or clip with clipGradNorm`,
    }];
  }
  // The last steps, since many a run shakes at its start.
  const late = change.slice(n >> 1);
  const lateTurns = late.slice(1).filter((c, i) => c * late[i] < 0).length;
  if (
    turns >= 0.6 * (n - 1) && lateTurns >= 0.6 * (late.length - 1) && swing > 0.05 * Math.abs(start) &&
    end > 0.3 * start
  ) {
    const large = median !== undefined && median.ratio > 0.5;
    return [{
      cause: large ? "update-too-large" : "oscillating",
      message: large
        ? "Updates are too large: the loss jumps to and fro on one batch"
        : "The loss oscillates on one batch: steps go beyond the valley",
      evidence: `${turns} turns in ${n} steps: ${path}${moves}`,
      remedy: `divide ${rate} by 3 to 10; less momentum or a larger batch helps too`,
    }];
  }
  if (Math.abs(end - start) > 1e-4 * Math.abs(start) || Math.abs(start) < CONVERGED) return [];
  if (median !== undefined && median.ratio < 1e-5 && !isStationary) {
    return [{
      cause: "update-too-small",
      message: "Updates are too small: weights hardly move and the loss stays",
      evidence:
        `${median.path} moves by ${
          short(median.ratio)
        } of its size a step (about 0.001 is usual), with a gradient ` +
        `of norm ${short(gradient)}; losses ${path}`,
      remedy: `raise ${rate} by 10 to 1000`,
    }];
  }
  return [{
    cause: "stuck",
    message: "The loss is stuck: it does not change from step to step",
    evidence: `losses ${path}, with a gradient of norm ${short(gradient)}`,
    remedy: isStationary
      ? "the point is stationary and no minimum (a plateau or a saddle): other initial values, momentum or noise leave it"
      : "check that the optimiser has these parameters, and raise the learning rate",
  }];
}

function thinned(list: readonly number[]): number[] {
  return list.length <= 8 ? [...list] : [...list.slice(0, 4), ...list.slice(-4)];
}
