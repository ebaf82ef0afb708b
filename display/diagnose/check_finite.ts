/** Where the first value that is not finite comes from, in words. */
import { AnomalyError, detectAnomaly } from "../../ops/anomaly.ts";
import { plain } from "../readings.ts";
import type { Context } from "./context.ts";
import { few, type Finding } from "./finding.ts";

/** Where the first value that is not finite comes from. */
export async function origin(
  step: () => Promise<unknown>,
  { model, first, layers }: Context,
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
  const short = (x: number): string => String(Number(x.toPrecision(3)));
  const state = `loss ${loss === undefined ? "unknown" : short(loss)}, gradient norm ${short(gradient)}`;
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
    const bad: string[] = [];
    for (const [name, p] of Object.entries(model.namedParameters())) {
      if (p.size > 0 && !(await plain(p).isfinite().all().item())) bad.push(name);
    }
    const are = bad.length > 1 ? "have" : "has";
    return {
      cause: "not-finite",
      message: bad.length > 0
        ? `Loss or gradients are not finite, and were given so: ${few(bad)} ${are} NaN or infinity`
        : "Loss or gradients are not finite, and were given so: the parameters are finite, the data are not",
      evidence: `${state}; no op made NaN or infinity of finite operands`,
      remedy: bad.length > 0
        ? "load a checkpoint from before, or initialise anew; then look for the step that did it"
        : "look at the data: x.isfinite().all() is false for some of them",
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
