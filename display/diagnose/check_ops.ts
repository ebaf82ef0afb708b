/** Ops in the wrong place: softmax twice or unfused, rules that are not derivatives, randomness in the backward pass. */
import { isFloat } from "../../ops/dtype.ts";
import { makeNode, type Node, wrap } from "../../ops/node.ts";
import type { Tuple, TupleContext } from "../../ops/primitive.ts";
import { sameShape } from "../../ops/shape.ts";
import type { Tensor } from "../../ops/tensor.ts";
import { withSeed } from "../../ops/rng.ts";
import { randn } from "../../ops/sampling.ts";
import { noGrad } from "../../ops/transforms/backward.ts";
import type { Context } from "./context.ts";
import type { Finding } from "./finding.ts";
import type { Snapshot } from "../layers.ts";
import { plain } from "../readings.ts";

const LOGARITHMS = new Set(["log", "log2", "log10"]);
/** Ops that a probability goes through on its way to a logarithm. */
const ON_THE_WAY = new Set(["add", "clamp", "maximum", "gather", "embedding"]);

/** Softmax or sigmoid where the loss expects logits, or under a logarithm. */
export function probabilities({ first, layers }: Context): Finding[] {
  const twice = new Map<string, string>(), unfused = new Map<string, string>();
  for (const { graph } of first.passes) {
    const probability = (n: Node): Node | null => {
      let x = graph.source(n);
      while (ON_THE_WAY.has(x.op.name)) x = graph.source(graph.inputs.get(x)![0]);
      return isSoftmax(graph, x) || x.op.name === "sigmoid" ? x : null;
    };
    const place = (x: Node): string =>
      `${x.op.name === "div" ? "softmax by hand" : x.op.name} (${layers.placeOf(x)})`;
    for (const n of graph.nodes) {
      const operand = graph.inputs.get(n)![0];
      if (operand === undefined || n.track === 0) continue;
      const p = graph.source(operand), { name } = n.op;
      if ((name === "crossEntropy" || name === "softmax" || name === "logSoftmax") && isSoftmax(graph, p)) {
        twice.set(place(p), name);
      } else if (
        name === "softplus" && p.op.name === "sigmoid" && graph.nodes.some((m) => isLogitLoss(graph, m, n, p))
      ) {
        twice.set(place(p), "bceWithLogits");
      } else if (LOGARITHMS.has(name) || name === "binaryCrossEntropy") {
        const q = probability(operand);
        if (q !== null) unfused.set(place(q), name);
      }
    }
  }
  return [
    ...Array.from(twice, ([place, loss]): Finding => ({
      cause: "softmax-twice",
      message: `The ${place} is taken before ${loss}, which takes it itself`,
      evidence:
        "what is given as logits are probabilities: they lie between 0 and 1, so the second softmax is " +
        "nearly flat and gradients are small",
      remedy: `give ${loss} the output before the ${place.split(" ")[0]}; keep that for predictions alone`,
    })),
    ...Array.from(unfused, ([place, log]): Finding => ({
      cause: "softmax-not-fused",
      message: `A logarithm (${log}) is taken of the ${place}, as two ops`,
      evidence: log === "binaryCrossEntropy"
        ? "a probability that rounds to 0 or 1 in f32 has a logarithm cut off at -100 and no gradient: what is most " +
          "wrong learns nothing; with large logits this happens"
        : "a probability below 1e-38 is 0 in f32, its logarithm is -infinity and the gradient NaN or lost; " +
          "with large logits this happens",
      remedy: place.startsWith("softmax")
        ? "use crossEntropy(logits, target), or logits.logSoftmax()"
        : "use bceWithLogits(logits, target), or logits.logSigmoid()",
    })),
  ];
}

/** A softmax, as one op or by hand: exp(x) / sum(exp(x)). */
function isSoftmax(graph: Snapshot, x: Node): boolean {
  if (x.op.name !== "div") return x.op.name === "softmax";
  const [above, below] = graph.inputs.get(x)!, exp = graph.source(above);
  if (exp.op.name !== "exp") return false;
  const operand = (n: Node): Node => graph.source(graph.inputs.get(n)![0]);
  return [...graph.below(below)].some((n) => n.op.name === "exp" && operand(n) === operand(exp));
}

/** bceWithLogits is softplus(z) - z y: a difference of a softplus and a product of the same z. */
function isLogitLoss(graph: Snapshot, m: Node, softplus: Node, z: Node): boolean {
  if (m.op.name !== "sub") return false;
  const [a, b] = graph.inputs.get(m)!;
  if (graph.source(a) !== softplus) return false;
  const product = graph.source(b);
  return product.op.name === "mul" && graph.inputs.get(product)!.some((x) => graph.source(x) === z);
}

/** Random numbers drawn while cotangents are built: what is recomputed is not what was computed. */
export function randomBackward({ first }: Context): Finding[] {
  const draws = Math.max(0, ...first.passes.map((pass) => pass.draws));
  if (draws === 0) return [];
  return [{
    cause: "random-backward",
    message:
      "The backward pass draws random numbers of its own: what it recomputes differs from the forward pass",
    evidence:
      `${draws} draw${draws > 1 ? "s" : ""} between the loss and its gradients; a mask that is drawn again ` +
      "belongs to another function",
    remedy:
      "recompute with checkpoint(f), whose masks repeat themselves, or draw the mask once and save it for " +
      "the backward rule",
  }];
}

/** Custom rules checked so far, and elements that a check may cost. */
const MOST_RULES = 6, MOST_ELEMENTS = 2 ** 20;

/** Custom rules against differences, and straight-through estimators that stand over more than the discrete step. */
export function customRules({ first, readings, layers }: Context): () => Finding[] {
  const pending: (() => Finding | null)[] = [];
  for (const { graph } of first.passes) {
    const rules = graph.nodes.filter((n) => n.op.name === "customVjp" || n.op.name === "customJvp");
    for (const rule of rules.slice(0, MOST_RULES)) {
      const check = noGrad(() => checkRule(rule, graph, readings, layers.placeOf(rule)));
      if (check !== null) pending.push(check);
    }
  }
  return () => {
    const found = new Map<string, Finding>();
    for (const check of pending) {
      const finding = check();
      if (finding !== null && !found.has(finding.message)) found.set(finding.message, finding);
    }
    return [...found.values()];
  };
}

function checkRule(
  rule: Node,
  graph: Snapshot,
  readings: Context["readings"],
  place: string,
): (() => Finding | null) | null {
  const inputs = graph.inputs.get(rule)!, { nx, ny } = rule.p as { nx: number; ny: number };
  const xs = inputs.slice(0, nx), ys = inputs.slice(nx, nx + ny);
  const floats = xs.flatMap((x, i) => isFloat(x.dtype) && x.shape.every((n) => n > 0) ? [i] : []);
  const size = [...xs, ...ys].reduce((n, x) => n + x.shape.reduce((a, b) => a * b, 1), 0);
  if (floats.length === 0 || size > MOST_ELEMENTS || ys.some((y) => !isFloat(y.dtype) || y.value !== null)) {
    return null;
  }
  const inner = interior(ys, new Set(xs), graph);
  if (inner === null) return null;
  const steps = inner.filter(isStep);
  // A comparison has no smooth stand-in.
  if (inner.some((n) => n.dtype === "bool")) return null;
  return withSeed(7, () => {
    const ct = ys.map((y) => randn(y.shape, { dtype: y.dtype, device: y.device }));
    const back = pullback(rule, inputs, ct);
    const isStraight = nx === 1 && ny === 1 && back[0]?.node === ct[0].node;
    if (steps.length > 0 && !isStraight) return null; // A surrogate for a discrete step has no derivative to agree with.
    const smooth = isStraight ? new Set(steps) : new Set<Node>();
    // In a random direction: <ct, f(x + h d) - f(x - h d)> / 2h against <rule(ct), d>.
    const trials = [0, 1, 2].map(() => {
      const d = floats.map((i) => randn(xs[i].shape, { dtype: xs[i].dtype, device: xs[i].device }));
      const h = floats.map((i) => plain(wrap(xs[i])).abs().mean().add(0.1).mul(1e-2));
      const at = (sign: number): Tensor[] => {
        const moved = [...xs];
        floats.forEach((i, k) => {
          moved[i] = wrap(xs[i]).stopGradient().add(d[k].mul(h[k].mul(sign).to(xs[i].dtype))).node;
        });
        return replay(ys, inner, xs, moved, smooth, graph).map(wrap);
      };
      const up = at(1), down = at(-1);
      const dot = (a: Tensor, b: Tensor): Tensor => plain(a).mul(plain(b)).sum();
      const numeric = ct.map((c, i) => dot(c, plain(up[i]).sub(plain(down[i])).mul(0.5)))
        .reduce((a, b) => a.add(b));
      const analytic = floats.map((i, k) =>
        back[i] === null ? d[k].scalarLike(0).to("f32") : dot(back[i]!, d[k]).mul(h[k])
      )
        .reduce((a, b) => a.add(b));
      return { numeric: readings.one(numeric), analytic: readings.one(analytic) };
    });
    return () => {
      const off = trials.map((t) => {
        const n = t.numeric(), a = t.analytic(), scale = Math.abs(n) + Math.abs(a);
        return { n, a, error: scale < 1e-12 ? 0 : Math.abs(n - a) / scale };
      });
      if (!off.every(({ error }) => error > 0.08)) return null;
      const worst = off.reduce((x, y) => y.error > x.error ? y : x);
      const number = (x: number): string => String(Number(x.toPrecision(3)));
      if (isStraight) {
        return {
          cause: "straight-through-too-wide",
          message: `straightThrough stands over more than the discrete step (${place}): the slope of ${
            named(inner.filter((n) => !isStep(n)))
          } inside is taken for 1`,
          evidence: `with the step itself as identity, a directional derivative is ${
            number(worst.n)
          } by differences and ${number(worst.a)} by the estimator`,
          remedy:
            "apply it to the discrete op alone, as in straightThrough((w) => w.round())(f(w)), so that f keeps " +
            "its own derivative",
        };
      }
      return {
        cause: "wrong-derivative",
        message: `The rule of a ${rule.op.name} (${place}) is not the derivative of its forward function`,
        evidence:
          `a directional derivative is ${number(worst.n)} by central differences and ${
            number(worst.a)
          } by the ` +
          `rule, in three random directions of three`,
        remedy:
          "correct backward: gradcheck((x) => f(x), [x]) in f64 names the worst element; leave it if the rule is " +
          "a surrogate on purpose",
      };
    };
  });
}

function named(nodes: readonly Node[]): string {
  const names = [
    ...new Set(
      nodes.filter((n) => n.op.family !== "identity" && n.op.family !== "leaf").map((n) => n.op.name),
    ),
  ];
  return names.slice(0, 4).join(", ") || "other ops";
}

/** An op of one operand that is constant between jumps: round, sign and their like. */
function isStep(n: Node): boolean {
  return n.op.family === "elementwise" && n.op.inputs === 1 && n.op.partials[0] === null && isFloat(n.dtype);
}

/** Nodes between `given` and `ys`, operands first; null if they cannot be computed again from there. */
function interior(ys: readonly Node[], given: ReadonlySet<Node>, graph: Snapshot): Node[] | null {
  const found: Node[] = [], depends = new Map<Node, boolean>();
  const inside = new Set(ys.flatMap((y) => [...graph.below(y)]));
  for (const n of graph.nodes) {
    if (given.has(n)) {
      depends.set(n, true);
      continue;
    }
    if (!inside.has(n)) continue;
    const hangs = graph.inputs.get(n)!.some((x) => depends.get(x));
    depends.set(n, hangs);
    if (hangs) found.push(n);
  }
  return ys.every((y) => depends.get(y)) ? found : null;
}

/** The results for other operands; steps in `smooth` pass their operand on. */
function replay(
  ys: readonly Node[],
  inner: readonly Node[],
  from: readonly Node[],
  to: readonly Node[],
  smooth: ReadonlySet<Node>,
  graph: Snapshot,
): Node[] {
  const map = new Map<Node, Node>(from.map((x, i) => [x, to[i]]));
  for (const n of inner) {
    const inputs = graph.inputs.get(n)!.map((x) => map.get(x) ?? x);
    map.set(
      n,
      smooth.has(n) && sameShape(inputs[0].shape, n.shape) ? inputs[0] : makeNode(n.op, inputs, n.p, true),
    );
  }
  return ys.map((y) => map.get(y)!);
}

function pullback(rule: Node, inputs: readonly Node[], ct: Tensor[]): (Tensor | null)[] {
  const { nx, ny } = rule.p as { nx: number; ny: number };
  const context: TupleContext = {
    x: inputs.map((x) => wrap(x).stopGradient()),
    y: inputs.slice(nx, nx + ny).map((y) => wrap(y).stopGradient()),
    p: rule.p,
    needs: inputs.map(() => true),
  };
  return (rule.op as Tuple).vjp(ct, context);
}
