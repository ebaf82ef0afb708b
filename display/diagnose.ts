/** diagnose: runs a few training steps with instruments, and says in words what is wrong with them. */
import type { Watch } from "../ops/ambient.ts";
import { Tensor } from "../ops/tensor.ts";
import { noGrad } from "../ops/transforms/backward.ts";
import { wrap } from "../ops/node.ts";
import { withSeed } from "../ops/rng.ts";
import { randnLike } from "../ops/sampling.ts";
import type { Module } from "../nn/module.ts";
import { origin } from "./diagnose/check_finite.ts";
import { deadUnits, depth, underflow } from "./diagnose/check_depth.ts";
import { customRules, probabilities, randomBackward } from "./diagnose/check_ops.ts";
import { equalUnits, reach } from "./diagnose/check_reach.ts";
import { leftOver, movements, progress, usedGradients, usedNorm } from "./diagnose/check_step.ts";
import type { Context, DiagnosedOptimizer } from "./diagnose/context.ts";
import { type Cause, type Finding, refusal, staleLoss, worstFirst } from "./diagnose/finding.ts";
import { LayerWatch } from "./layers.ts";
import { Observation } from "./diagnose/observe.ts";
import { Diagnosis, type LayerFacts } from "./diagnose/report.ts";
import { normOf, plain, Readings } from "./readings.ts";
import { type Before, withoutTrace } from "./without_trace.ts";
import { kindOf } from "./parts.ts";

export { Diagnosis } from "./diagnose/report.ts";
export type { LayerFacts } from "./diagnose/report.ts";
export type { Cause, Finding } from "./diagnose/finding.ts";
export type { DiagnosedOptimizer } from "./diagnose/context.ts";

/** Options of {@linkcode diagnose}. */
export interface DiagnoseOptions {
  /** What trains the model: steps are taken with it, and what it trains is compared with what the model has. */
  optimizer?: DiagnosedOptimizer;
  /** Steps to take, where they update anything; default 10. */
  steps?: number;
}

/** The loss of a model; or a whole training step, which calls `backward` and `step` itself. */
export type LossOrStep<M extends Module> = (model: M) => Tensor | void | Promise<Tensor | void>;

/**
 * Runs a training step, and a few more where it updates anything, with instruments; says what is wrong, worst first,
 * with the evidence and what to change. `loss` gives the loss from the model, or is a whole training step: then how it
 * accumulates, clips and updates is looked at too. Model, gradients, random numbers and optimiser stay as they were.
 *
 * ```ts
 * import { diagnose, init, Linear, mseLoss, randn, Sequential, SGD, type Tensor } from "@cotangent/cotangent";
 * const zero = { init: init.zeros };
 * const model = new Sequential(new Linear(3, 8, zero), (x: Tensor) => x.tanh(), new Linear(8, 1, zero));
 * const x = randn([32, 3]), y = x.sum(1, { keepdim: true });
 * const report = await diagnose(model, (model) => mseLoss(model.call(x), y), { optimizer: new SGD(model, { lr: 0.1 }) });
 * console.log(report.findings[0].cause); // "equal-initialisation"
 * ```
 */
export async function diagnose<M extends Module>(
  model: M,
  loss: LossOrStep<M>,
  options: DiagnoseOptions = {},
): Promise<Diagnosis> {
  check(model, loss, options);
  try {
    return await examine(model, loss, options);
  } catch (error) {
    const finding = refusal(error);
    if (finding === null) throw error;
    return new Diagnosis(model.constructor.name, model.parameterCount(), [finding], [], NaN, []);
  }
}

async function examine<M extends Module>(
  model: M,
  loss: LossOrStep<M>,
  options: DiagnoseOptions,
): Promise<Diagnosis> {
  const { optimizer = null, steps = 10 } = options;
  let current: Observation | null = null;
  const watch: Watch = {
    backward: (root, seed) => current?.watch.backward(root, seed) ?? null,
    assign: (handle, node, by) => current?.watch.assign(handle, node, by),
  };
  return await withoutTrace(model, watch, async (before) => {
    const parameters = model.parameters();
    let isStep: boolean | null = null, given: Tensor | null = null, isStale = false;
    const take = async (seen: Observation | null): Promise<Tensor | null> => {
      current = seen;
      before.sameNumbers();
      const value = await loss(model) ?? null;
      isStep ??= first.passes.length > 0;
      isStale ||= !isStep && value !== null && value === given;
      given = value;
      return isStep ? checkLoss(value, true) : finishStep(checkLoss(value, false), optimizer, seen, before);
    };
    const readings = new Readings(), layers = new LayerWatch(model);
    const first = new Observation(parameters, readings, layers);
    let value: Tensor | null;
    try {
      value = await take(first);
    } finally {
      layers.stop();
      current = null;
    }
    const context: Context = { model, first, readings, layers, optimizer };
    const asked = {
      equal: equalUnits(context),
      rules: customRules(context),
      used: usedGradients(context),
      moved: movements(context),
      norm: usedNorm(first, readings),
      size: noGrad(() => parameters.map((p) => readings.one(normOf(wrap(first.valueOf(p)))))),
      loss: value === null ? null : readings.one(plain(value).mean()),
      gradient: noGrad(() =>
        parameters.flatMap((p) => {
          const g = first.gradientOf(p);
          return g === null ? [] : [readings.one(normOf(g))];
        })
      ),
    };
    await readings.read();
    const gradient = Math.hypot(...asked.gradient.map((norm) => norm()));
    const losses = asked.loss === null ? [] : [asked.loss()];
    const findings: Finding[] = [...reach(context), ...probabilities(context), ...randomBackward(context)];
    if (!Number.isFinite(gradient) || losses.some((l) => !Number.isFinite(l))) {
      before.rewind();
      findings.push(await origin(() => take(null), context, losses[0], gradient));
    } else {
      findings.push(...asked.equal(), ...asked.rules(), ...depth(context), ...deadUnits(context));
      findings.push(...underflow(context), ...asked.used());
      if (first.updates.length > 0) {
        const seen = [first], norms = [asked.norm ?? (() => 0)];
        while (seen.length < steps && losses.every(Number.isFinite)) {
          const more = new Readings(), next = new Observation(parameters, more, null);
          const result = await take(next), l = result === null ? null : more.one(plain(result).mean());
          const norm = usedNorm(next, more);
          await more.read();
          seen.push(next);
          if (norm !== null) norms.push(norm);
          if (l !== null) losses.push(l());
        }
        findings.push(...leftOver(seen, norms));
        before.rewind();
        const again = await take(null),
          repeated = again === null ? NaN : (await plain(again).mean().data())[0];
        const lr = optimizer?.lr ?? null, size = Math.hypot(...asked.size.map((norm) => norm()));
        // What no step of the weights' own size would change is a point without slope.
        const isStationary = gradient * size <= 1e-3 * Math.abs(losses[0]);
        const judged = progress(
          losses,
          asked.moved,
          gradient,
          isStationary,
          lr,
          Object.is(repeated, losses[0]),
        );
        const isStuck = judged.some((f) => f.cause === "stuck");
        if (isStale) findings.push(staleLoss("each call gave the same tensor"));
        else if (
          !isStuck || !isStationary || !await isMinimum(parameters, losses[0], before, () => take(null))
        ) {
          findings.push(...judged);
        }
      }
    }
    const facts = first.layers.map((l): LayerFacts => ({
      layer: l.name,
      output: l.size(),
      gradient: l.gradient?.() ?? null,
    }));
    return new Diagnosis(
      model.constructor.name,
      model.parameterCount(),
      worstFirst(explained(findings)),
      losses,
      gradient,
      facts,
    );
  });
}

/** What the user's function gave, checked; a whole step may give nothing. */
function checkLoss(value: unknown, isStep: boolean): Tensor | null {
  if (isStep && value === null) return null;
  if (value === null) {
    throw new TypeError(
      "Cannot diagnose a function that gives no loss and calls no backward: return the loss, or take a whole step in it",
    );
  }
  if (!(value instanceof Tensor)) {
    throw new TypeError(`Cannot diagnose ${kindOf(value)} as a loss: it is a tensor with one element`);
  }
  if (value.size !== 1) {
    throw new RangeError(
      `Cannot diagnose a loss of shape [${value.shape}]: it has one element, as loss.mean()`,
    );
  }
  return value;
}

/** Backward and the optimiser's step, for a function that only gives the loss. */
function finishStep(
  loss: Tensor | null,
  optimizer: DiagnosedOptimizer | null,
  seen: Observation | null,
  before: Before,
): Tensor | null {
  if (loss === null || !loss.requiresGrad) {
    if (loss !== null) seen?.withoutGradients(loss);
    return loss;
  }
  before.forget();
  loss.backward();
  if (optimizer !== null && optimizer.parameters.some((p) => p.grad !== null)) optimizer.step();
  return loss;
}

/** Whether the loss rises in every random direction from here: then it is learned, and not stuck. */
async function isMinimum(
  parameters: readonly Tensor[],
  loss: number,
  before: Before,
  take: () => Promise<Tensor | null>,
): Promise<boolean> {
  for (let k = 0; k < 4; k++) {
    before.rewind();
    withSeed(k, () =>
      noGrad(() => {
        for (const p of parameters.filter((p) => p.requiresGrad && p.size > 0)) {
          const far = plain(p).square().mean().sqrt().mul(0.05).add(1e-3).to(p.dtype);
          p.assign(p.add(randnLike(p).mul(far)));
        }
      }));
    const value = await take();
    if (value === null || !((await plain(value).mean().data())[0] > loss)) return false;
  }
  return true;
}

function check(model: unknown, loss: unknown, { steps, optimizer }: DiagnoseOptions): void {
  const way = "diagnose(model, (model) => mseLoss(model.call(x), y))";
  if (typeof (model as Module | null)?.namedModules !== "function") {
    throw new TypeError(`Cannot diagnose ${kindOf(model)}: it takes a module, as in ${way}`);
  }
  if (typeof loss !== "function") {
    throw new TypeError(
      `Cannot diagnose a model with ${
        kindOf(loss)
      } as its loss: give a function that computes it anew, as in ${way}`,
    );
  }
  if ((model as Module).parameters().length === 0) {
    throw new RangeError(`Cannot diagnose ${(model as Module).constructor.name}: it has no parameters`);
  }
  if (steps !== undefined && (!Number.isInteger(steps) || steps < 1)) {
    throw new RangeError(`Cannot diagnose with ${steps} steps: it is a whole number from 1 on`);
  }
  if (optimizer !== undefined && typeof optimizer?.step !== "function") {
    throw new TypeError(
      `Cannot diagnose with ${kindOf(optimizer)} as optimizer: give one, as new SGD(model, { lr: 0.1 })`,
    );
  }
}

/** Findings that another one does not explain. */
function explained(findings: readonly Finding[]): Finding[] {
  const has = (...causes: Cause[]): boolean => findings.some((f) => causes.includes(f.cause));
  return findings.filter(({ cause }) => {
    if (cause === "vanishing") return !has("dead-relu", "equal-initialisation");
    if (cause === "dead-relu") return !has("equal-initialisation");
    if (cause === "stuck" || cause === "update-too-small") {
      return !has(
        "detached",
        "replaced",
        "zero-derivative",
        "equal-initialisation",
        "dead-relu",
        "vanishing",
        "unused",
      );
    }
    if (cause === "diverging" || cause === "update-too-large" || cause === "oscillating") {
      return !has("missing-zero-grad", "exploding", "accumulated-without-mean");
    }
    return true;
  });
}
