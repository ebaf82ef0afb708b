/** diagnose: runs a few training steps with instruments, and says in words what is wrong with them. */
import type { Watch } from "../ops/ambient.ts";
import { AnomalyError, detectAnomaly } from "../ops/anomaly.ts";
import { Tensor } from "../ops/tensor.ts";
import { noGrad } from "../ops/transforms/backward.ts";
import type { Module } from "../nn/module.ts";
import { type Bundle, Drawing, escapeHtml, type Presentation } from "./bundle.ts";
import { deadUnits, depth, underflow } from "./diagnose/check_depth.ts";
import { customRules, probabilities, randomBackward } from "./diagnose/check_ops.ts";
import { equalUnits, reach } from "./diagnose/check_reach.ts";
import { leftOver, movements, progress, usedGradients, usedNorm } from "./diagnose/check_step.ts";
import type { Context, DiagnosedOptimizer } from "./diagnose/context.ts";
import { type Cause, type Finding, worstFirst } from "./diagnose/finding.ts";
import { LayerWatch } from "./layers.ts";
import { Observation } from "./diagnose/observe.ts";
import { normOf, plain, Readings } from "./readings.ts";
import { type Before, withoutTrace } from "./without_trace.ts";
import { formatNumber, ink, kindOf, palette, plainLine } from "./parts.ts";

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

/** What a layer did in the first step. */
export interface LayerFacts {
  /** Its path in the model. */
  readonly layer: string;
  /** Root mean square of its output. */
  readonly output: number;
  /** Norm of the cotangent of its output; null where none came. */
  readonly gradient: number | null;
}

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
  const { optimizer = null, steps = 10 } = options;
  let current: Observation | null = null;
  const watch: Watch = {
    backward: (root, seed) => current?.watch.backward(root, seed) ?? null,
    assign: (handle, node, by) => current?.watch.assign(handle, node, by),
  };
  return await withoutTrace(model, watch, async (before) => {
    const parameters = model.parameters();
    let isStep: boolean | null = null;
    const take = async (seen: Observation | null): Promise<Tensor | null> => {
      current = seen;
      before.sameNumbers();
      const value = await loss(model) ?? null;
      isStep ??= first.passes.length > 0;
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
        const lr = optimizer?.lr ?? null;
        findings.push(...progress(losses, asked.moved, gradient, lr, Object.is(repeated, losses[0])));
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

/** Where the first value that is not finite comes from. */
async function origin(
  step: () => Promise<unknown>,
  { first, layers }: Context,
  loss: number | undefined,
  gradient: number,
): Promise<Finding> {
  let error: AnomalyError | null = null;
  try {
    await detectAnomaly(step);
  } catch (e) {
    if (e instanceof AnomalyError) error = e;
    else throw e;
  }
  const state = `loss ${loss ?? "unknown"}, gradient norm ${gradient}`;
  const nodes = first.passes.flatMap((pass) => pass.graph.nodes);
  const large = nodes.find((n) =>
    n.op.name === "constant" && n.dtype === "f16" && Math.abs(n.p.value) > 65504
  );
  if (large !== undefined) {
    return {
      cause: "half-overflow",
      message: `The number ${large.p.value} is too large for half precision`,
      evidence: `${state}; the largest f16 is 65,504`,
      remedy: 'compute this op in f32 (x.to("f32")), or use bf16',
    };
  }
  if (error === null) {
    return {
      cause: "not-finite",
      message: "Loss or gradients are not finite, and were given so",
      evidence: `${state}; no op made NaN or infinity of finite operands`,
      remedy: "look at the data and at the parameters: one of them has NaN or infinity (x.isfinite().all())",
    };
  }
  const where = error.message.replaceAll("\n", " ").replace(/\s+/g, " ");
  const isLog = /^(log|log2|log10|logit|xlogy)$/.test(error.op);
  if (isLog) {
    const node = nodes.find((n) => n.op.name === error.op);
    return {
      cause: "log-of-zero",
      message:
        `A logarithm of zero (or of a negative number) makes the ${error.backward ? "gradient" : "loss"} ` +
        `${error.message.includes("NaN") ? "NaN" : "infinite"}${
          node === undefined ? "" : ` (${layers.placeOf(node)})`
        }`,
      evidence: `${where}; ${state}`,
      remedy:
        "use the fused form (crossEntropy, logSoftmax, logSigmoid, log1p), or keep the operand away from zero: " +
        "x.clamp(1e-12).log()",
    };
  }
  if (nodes.some((n) => n.dtype === "f16") && error.message.includes("infinity")) {
    return {
      cause: "half-overflow",
      message: `A value is too large for half precision: ${error.op} makes infinity`,
      evidence: `${where}; ${state}; the largest f16 is 65,504`,
      remedy:
        'compute this op in f32 (x.to("f32")), use bf16, or scale its operands (attention: q divided by the root ' +
        "of the width before the product)",
    };
  }
  const remedies: Record<string, string> = {
    div: "keep the divisor away from zero: y.div(x.add(1e-8))",
    sqrt: "the slope of the root at 0 is infinite: x.add(1e-12).sqrt()",
    exp: "take the largest value out first, as softmax and logsumexp do, or clamp the exponent",
    pow: "keep the base away from zero, or positive where the exponent is a fraction",
    norm: "add a small number under the root: x.square().sum().add(1e-12).sqrt()",
  };
  return {
    cause: "not-finite",
    message: `The ${
      error.backward ? "backward pass of " : ""
    }${error.op} makes the first value that is not finite`,
    evidence: `${where}; ${state}`,
    remedy: remedies[error.op] ??
      "look at its operands at that line; a smaller learning rate, other initial values or " +
        "a clamp keeps them in range",
  };
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

/** What {@linkcode diagnose} found; the last line of a cell or `console.log` shows it. */
export class Diagnosis extends Drawing {
  /** Made by `diagnose`. */
  constructor(
    /** The model's class. */
    readonly model: string,
    /** Elements trained. */
    readonly parameters: number,
    /** What is wrong, worst first. */
    readonly findings: readonly Finding[],
    /** The loss before each step. */
    readonly losses: readonly number[],
    /** Norm of all gradients in the first step. */
    readonly gradient: number,
    /** Layers with parameters, from first to last. */
    readonly layers: readonly LayerFacts[],
  ) {
    super();
  }

  /** Nothing was found. */
  get isHealthy(): boolean {
    return this.findings.length === 0;
  }

  #facts(): string {
    const [from] = this.losses, to = this.losses.at(-1);
    const loss = from === undefined
      ? []
      : this.losses.length === 1
      ? [`loss ${formatNumber(from)}`]
      : [`loss ${formatNumber(from)} to ${formatNumber(to!)} in ${this.losses.length - 1} steps`];
    return [
      `${formatNumber(this.parameters)} parameters`,
      `${this.layers.length} layers`,
      ...loss,
      `gradient norm ${formatNumber(this.gradient)}`,
    ].join(", ");
  }

  #heading(): string {
    const n = this.findings.length;
    return `${plainLine(this.model)}: ${
      n === 0 ? "nothing found" : n === 1 ? "1 finding" : `${n} findings, worst first`
    }`;
  }

  /** The report as lines. */
  override text(): string {
    const lines = this.findings.flatMap((f, i) => [
      `${i + 1}. ${plainLine(f.message)} [${f.cause}]`,
      `   evidence: ${plainLine(f.evidence)}`,
      `   change:   ${plainLine(f.remedy)}`,
    ]);
    return [this.#heading(), `   ${this.#facts()}`, ...lines].join("\n");
  }

  /** The report as a list. */
  protected override render(): Promise<Presentation> {
    const line = (label: string, text: string): string =>
      `<div style="padding-left:22px"><span style="color:${ink}">${label}</span> ${
        escapeHtml(plainLine(text))
      }</div>`;
    const items = this.findings.map((f, i) =>
      `<div style="margin:8px 0"><div><span style="display:inline-block;width:20px;color:${
        palette[1]
      };font-weight:600">` +
      `${i + 1}</span><b>${
        escapeHtml(plainLine(f.message))
      }</b> <span style="color:${ink}">${f.cause}</span></div>` +
      `${line("evidence", f.evidence)}${line("change", f.remedy)}</div>`
    ).join("\n");
    const mark = this.isHealthy ? `<span style="color:${palette[2]}">✓</span> ` : "";
    const html = `<div style="max-width:760px;font-size:13px;line-height:1.45"><div>${mark}<b>${
      escapeHtml(this.#heading())
    }</b></div><div style="color:${ink}">${escapeHtml(this.#facts())}</div>\n${items}</div>`;
    const data: Bundle = { "text/html": html };
    return Promise.resolve({ data });
  }
}
