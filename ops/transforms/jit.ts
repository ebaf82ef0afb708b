/** jit: records a function once for each structure of its arguments and applies the recorded graph from then on. */
import { placeholderNode, randomKey } from "../definitions/structural.ts";
import { defaultDevice } from "../create.ts";
import { BY_BACKWARD, currentTrace, makeLeaf, type Node, nodeOf, wrap } from "../node.ts";
import { type RngState, rngState, setRngState } from "../rng.ts";
import { checkInterruption, flush, registerRoot } from "../runs.ts";
import { ambient } from "../ambient.ts";
import { assignAll, Tensor } from "../tensor.ts";
import { type Program, record } from "./program.ts";
import { checkFunction, flatten, type Tree, treeKey } from "./tree.ts";

interface Entry {
  readonly program: Program;
  readonly rebuild: (leaves: readonly Tensor[]) => Tree;
  /** What fills the constants: a handle read anew, its gradient, or the node itself. */
  readonly refill: readonly ((() => Node) | null)[];
  /** Handles assigned to, then handles whose gradient was written (null: it was cleared). */
  readonly assigned: readonly Tensor[];
  readonly grads: readonly { handle: Tensor; output: number | null }[];
  readonly outputs: number;
  readonly guards: readonly { read: () => unknown; value: unknown }[];
  /** Where the random numbers stood before the recording, and how many keys it took. */
  readonly random: RngState;
  readonly draws: number;
  /** It captured part of a transform around it, so that it serves this call only. */
  readonly passing: boolean;
}

/** A recorded function, and what it recorded. */
export interface Jitted<A extends unknown[], Y> {
  (...x: A): Y;
  /** Number of recordings so far: one for each structure of arguments, modes and captured state. */
  readonly recordings: () => number;
  /** Why each recording after the first was made. */
  readonly explain: () => string[];
}

/**
 * Records `f` at its first call and repeats the recorded graph at later ones, without running its JavaScript.
 * Tensors older than the recording that it reads (parameters, optimiser state) are read anew at each call, what it
 * assigns (`step`, running statistics, `.grad`) is assigned at each call, random numbers are drawn anew. Other
 * JavaScript values in the arguments, and modes of modules, are part of the key; new shapes record anew.
 */
export function jit<A extends Tree[], Y extends Tree>(f: (...x: A) => Y): Jitted<A, Y> {
  checkFunction("jit", f);
  const entries = new Map<string, Entry[]>();
  const reasons: string[] = [];
  let count = 0;
  const call = (...args: A): Y => {
    const flat = flatten(args, "jit a function of");
    const key = `${treeKey(args)}|${ambient().noGrad}`;
    const list = entries.get(key) ?? [];
    entries.set(key, list);
    let entry = list.find((e) => e.guards.every((g) => Object.is(g.read(), g.value)));
    if (entry === undefined) {
      if (count > 0) {
        reasons.push(
          list.length > 0
            ? "a mode, or whether a gradient was there, is other than recorded"
            : `new arguments: ${treeKey(args)}`,
        );
      }
      entry = recordEntry(f, flat);
      if (!entry.passing) list.push(entry);
      count++;
    }
    return apply(entry, flat.leaves);
  };
  return Object.assign(call, { recordings: () => count, explain: () => [...reasons] });
}

function recordEntry(
  f: (...x: Tree[]) => Tree,
  flat: { leaves: Tensor[]; rebuild: (l: readonly Tensor[]) => Tree },
): Entry {
  const holes = new Map<Tensor, Node>();
  const refills = new Map<Node, () => Node>();
  const gradHoles = new Map<Tensor, Tensor>();
  const written = new Map<Tensor, Tensor | null>();
  const guards: Entry["guards"][number][] = [];
  let passing = false;
  const guard = (read: () => unknown): void => {
    guards.push({ read, value: read() });
  };
  const capture = (handle: Tensor): Node => {
    let hole = holes.get(handle);
    if (hole === undefined) {
      guard(() => `${handle.requiresGrad} ${handle.dtype} ${handle.shape} ${handle.device}`);
      // Part of the evaluation of a transform around this call: another call has another one.
      if ((handle.node.track & ~BY_BACKWARD) !== 0) passing = true;
      hole = placeholderNode(handle.node, handle.device, handle.node.track);
      hole.cell = handle.node.cell;
      holes.set(handle, hole);
      refills.set(hole, () => nodeOf(handle));
    }
    return hole;
  };
  const grads = {
    read: (handle: Tensor, grad: Tensor | null): Tensor | null => {
      if (written.has(handle)) return grad;
      guards.push({ read: () => handle.grad === null, value: grad === null }); // reading it here would come back here
      if (grad === null) return null;
      let hole = gradHoles.get(handle);
      if (hole === undefined) {
        hole = new Tensor(placeholderNode(grad.node, grad.device, grad.node.track));
        gradHoles.set(handle, hole);
        refills.set(hole.node, () => nodeOf(handle.grad!));
      }
      return hole;
    },
    write: (handle: Tensor, before: Tensor | null): void => {
      if (!written.has(handle)) written.set(handle, before);
    },
  };
  let rebuild: (leaves: readonly Tensor[]) => Tree;
  let outputs = 0;
  const gradOutputs: Entry["grads"][number][] = [];
  const avals = flat.leaves.map((t) => ({ shape: t.shape, dtype: t.dtype, track: t.node.track }));
  // A leaf argument that requires gradients gets them through its hole.
  const restore = (): void => {
    for (const [handle, before] of written) handle.grad = before;
  };
  let recording, draws = 0;
  const random = rngState();
  try {
    recording = record(avals, (params) => {
      params.forEach((t, i) => t.node.cell = flat.leaves[i].node.cell);
      const y = f(...flat.rebuild(params));
      if (y instanceof Promise) return y as never;
      const out = flatten(y, "jit a function that returns");
      rebuild = out.rebuild;
      outputs = out.leaves.length;
      const extra: Tensor[] = [];
      for (const handle of written.keys()) {
        const grad = handle.grad;
        gradOutputs.push({ handle, output: grad === null ? null : outputs + extra.length });
        if (grad !== null) extra.push(grad);
      }
      return [...out.leaves, ...extra];
    }, {
      kind: "jit",
      device: flat.leaves[0]?.device ?? defaultDevice(),
      capture,
      grads,
      guard,
    });
  } finally {
    restore();
    draws = rngState().count - random.count;
    setRngState(random); // the recording itself draws nothing
  }
  const { program, effects } = recording;
  return {
    program,
    rebuild: rebuild!,
    refill: program.consts.map((c) => refills.get(c) ?? null),
    assigned: effects,
    grads: gradOutputs,
    outputs,
    guards,
    random,
    draws,
    passing,
  };
}

function apply(entry: Entry, leaves: readonly Tensor[]): Tree {
  const { program, random, draws } = entry;
  // What the last call left, as backward does: steps do not pile up into one run.
  if (currentTrace() === null && entry.assigned.length > 0) {
    checkInterruption();
    flush();
  }
  const state = rngState();
  const consts = program.consts.map((c, i) => {
    const refill = entry.refill[i];
    if (refill !== null) return refill();
    if (c.op !== randomKey) return c;
    // The same count after the start as in the recording, so the numbers are those without jit; withSeed has its own.
    const [seed, count] = c.p.value, k = count - random.count;
    const own = seed !== random.seed || k < 0 || k >= draws;
    return own ? c : makeLeaf(randomKey, { value: [state.seed, (state.count + k) >>> 0] }, c, c.device);
  });
  setRngState({ ...state, count: state.count + draws });
  const nodes = program.fill(leaves.map((t) => nodeOf(t)), consts);
  const n = nodes.length - entry.assigned.length;
  for (const { handle, output } of entry.grads) {
    handle.grad = output === null ? null : wrap(nodes[output]);
    if (output !== null && currentTrace() === null) registerRoot(nodes[output]);
  }
  if (entry.assigned.length > 0) {
    assignAll(entry.assigned.map((handle, i) => [handle, wrap(nodes[n + i])] as const), "a jitted step");
  }
  const ys = nodes.slice(0, entry.outputs).map(wrap);
  // A call with effects runs anyway; its results come along, before the values they depend on are replaced.
  if ((entry.assigned.length > 0 || entry.grads.length > 0) && currentTrace() === null) {
    for (const y of ys) registerRoot(y.node);
  }
  return entry.rebuild(ys);
}
