/** What a diagnosis says: findings in words, worst first, with their evidence and what to change. */
import { plainLine } from "../parts.ts";

/** What is wrong, as a word that programs can compare. */
export type Cause =
  | "device-lost"
  | "stale-loss"
  | "not-finite"
  | "log-of-zero"
  | "half-overflow"
  | "diverging"
  | "missing-zero-grad"
  | "overwritten"
  | "detached"
  | "replaced"
  | "unused"
  | "frozen"
  | "zero-derivative"
  | "equal-initialisation"
  | "wrong-derivative"
  | "straight-through-too-wide"
  | "random-backward"
  | "vanishing"
  | "exploding"
  | "dead-relu"
  | "half-underflow"
  | "softmax-twice"
  | "softmax-not-fused"
  | "clipped-by-layer"
  | "accumulated-without-mean"
  | "update-too-large"
  | "update-too-small"
  | "oscillating"
  | "stuck";

/** One thing that is wrong. */
export interface Finding {
  /** What it is. */
  readonly cause: Cause;
  /** In a sentence, with the place. */
  readonly message: string;
  /** The numbers that show it. */
  readonly evidence: string;
  /** What to change. */
  readonly remedy: string;
}

// Worst first: what makes training impossible, then what makes it wrong, then what makes it slow.
const ORDER: readonly Cause[] = [
  "device-lost",
  "stale-loss",
  "log-of-zero",
  "half-overflow",
  "not-finite",
  "missing-zero-grad",
  "overwritten",
  "replaced",
  "detached",
  "zero-derivative",
  "equal-initialisation",
  "dead-relu",
  "vanishing",
  "exploding",
  "wrong-derivative",
  "straight-through-too-wide",
  "random-backward",
  "diverging",
  "update-too-large",
  "softmax-twice",
  "half-underflow",
  "unused",
  "frozen",
  "accumulated-without-mean",
  "clipped-by-layer",
  "oscillating",
  "stuck",
  "update-too-small",
  "softmax-not-fused",
];

/** The findings, worst first. */
export function worstFirst(findings: readonly Finding[]): Finding[] {
  return [...findings].sort((a, b) => ORDER.indexOf(a.cause) - ORDER.indexOf(b.cause));
}

/** The finding that an error is, of what no step can be taken with; null where it is the caller's own. */
export function refusal(error: unknown): Finding | null {
  if (!(error instanceof Error)) return null;
  if (error.name === "DeviceLostError") {
    return {
      cause: "device-lost",
      message: "The model's values went with their device",
      evidence: plainLine(error.message),
      remedy: "load a checkpoint, or make the model anew",
    };
  }
  if (!error.message.startsWith("Cannot differentiate a graph built before")) return null;
  return staleLoss(plainLine(error.message));
}

/** The finding of a loss that is not computed anew. */
export function staleLoss(evidence: string): Finding {
  return {
    cause: "stale-loss",
    message: "The loss was computed before the last step of the optimiser",
    evidence,
    remedy: "compute the loss inside of the function that is given, from the model as it is then",
  };
}

/** A few names of many. */
export function few(names: readonly string[], most = 4): string {
  return names.length <= most
    ? names.join(", ")
    : `${names.slice(0, most).join(", ")} and ${names.length - most} more`;
}
