/** jit: records a function once for each structure of its arguments and applies the recorded graph from then on. */
import { alias, passOn, placeholder, placeholderNode, randomKey } from "../definitions/structural.ts";
import { defaultDevice } from "../create.ts";
import {
  BY_BACKWARD,
  currentTrace,
  makeLeaf,
  Node,
  nodeOf,
  outsideTraces,
  readGuarded,
  type Storage,
  wrap,
} from "../node.ts";
import { showShape } from "../shape.ts";
import { type RngState, rngState, setRngState } from "../rng.ts";
import {
  checkInterruption,
  dropStaleGraphs,
  engineOf,
  flush,
  noteTakenBack,
  registerRoot,
  settle,
  throwTakenBack,
} from "../runs.ts";
import { ambient } from "../ambient.ts";
import { areDeterministicAlgorithmsEnabled } from "../determinism.ts";
import { assignAll, Tensor } from "../tensor.ts";
import { Call, Compiled } from "./compiled.ts";
import {
  type Captured,
  changes,
  type Dependencies,
  differences,
  type Guard,
  isCurrent,
  shortest,
} from "./dependencies.ts";
import { type Program, record } from "./program.ts";
import { checkFunction, describeLeaves, flatten, type Tree, treeKey } from "./tree.ts";

interface Entry extends Dependencies {
  readonly program: Program;
  readonly rebuild: (leaves: readonly Tensor[]) => Tree;
  /** For each tensor among the arguments: itself, where it is changed or its gradient used, so that it belongs to the recording. */
  readonly own: readonly (Tensor | null)[];
  /** All handles that are changed, or whose gradients are used. */
  readonly changed: ReadonlySet<Tensor>;
  /** What fills the constants: a handle read anew, its gradient, or the node itself. */
  readonly refill: readonly ((() => Node) | null)[];
  /** Constants that are data of the recording's own. */
  readonly data: readonly Node[];
  /** Handles assigned to, then handles whose gradient was written (null: it was cleared), and whether it was read before. */
  readonly assigned: readonly Tensor[];
  readonly grads: readonly { handle: Tensor; output: number | null; isRead: boolean }[];
  readonly outputs: number;
  /** Where the random numbers stood before the recording, and how many keys it took. */
  readonly random: RngState;
  readonly draws: number;
  /** It captured part of a transform around it, so that it serves this call only. */
  readonly passing: boolean;
  /** By output, what it replaces: the position among the constants of a hole whose handle, or gradient, is assigned to. */
  readonly replaced: ReadonlyMap<number, number>;
  /** Made at the first call that may use it; null where it cannot be. */
  compiled: Compiled | null | undefined;
}

/** A recorded function, and what it recorded. */
export interface Jitted<A extends unknown[], Y> {
  (...x: A): Y;
  /** Number of recordings so far: one for each structure of arguments, modes and captured state. */
  readonly recordings: () => number;
  /** Why each recording after the first was made: what differs from the nearest one before it. */
  readonly explain: () => string[];
}

/**
 * Records `f` at its first call and repeats the recorded graph at later ones, without running its JavaScript.
 * Tensors older than the recording that it reads (parameters, optimiser state) are read anew at each call, what it
 * assigns (`step`, running statistics, `.grad`) is assigned at each call, random numbers are drawn anew. Other
 * JavaScript values in the arguments, and modes of modules, are part of the key; new shapes record anew, and so does an
 * argument that is assigned to, or whose `.grad` is used, when it is another tensor; `explain()` says why. A call costs host time for what it takes and gives, not for the ops inside; one that assigns or calls
 * backward runs at once, and gives the memory of replaced values back where nothing else can see them.
 */
export function jit<A extends Tree[], Y extends Tree>(f: (...x: A) => Y): Jitted<A, Y> {
  checkFunction("jit", f);
  const entries = new Map<string, Entry[]>();
  const reasons: string[] = [], seen: Map<string, string>[] = [];
  let count = 0;
  const call = (...args: A): Y => {
    // Instruments look on at what is done, which a recording does not do again.
    if (ambient().watch !== null && currentTrace() === null) return f(...args);
    const flat = flatten(args, "jit a function of");
    const { noGrad } = ambient(), isFixed = areDeterministicAlgorithmsEnabled(), device = defaultDevice();
    const key = `${treeKey(args)}|${noGrad}|${isFixed}|${device}`;
    let list = entries.get(key);
    if (list === undefined) {
      entries.set(key, list = []);
      if (entries.size > STRUCTURES) entries.delete(entries.keys().next().value!);
    }
    // What a lost device took of a recording is recorded anew.
    let entry = list.find((e) =>
      isFor(e, flat.leaves) && isCurrent(e) && e.data.every((c) => c.value!.error === null)
    );
    if (entry === undefined) {
      const leaves = new Map([
        ["noGrad", `${noGrad}`],
        ["deterministic algorithms", `${isFixed}`],
        ["the default device", device],
      ]);
      args.forEach((x, i) => describeLeaves(x, `argument ${i}`, leaves));
      count++;
      if (count > 1) {
        const why = list.length > 0 ? shortest(list.map(changes)) : differences(leaves, seen);
        reasons.push(
          `recording ${count}: ${why.join("; ") || "the one before served one call, or other objects"}`,
        );
      }
      seen.push(leaves);
      if (seen.length > COMPARED) seen.shift();
      const like = list.at(-1)?.own;
      entry = recordEntry(f, flat, flat.leaves.map((x, i) => like?.[i] ? x : null));
      if (!entry.passing) list.push(entry);
      if (list.length > RECORDINGS) list.shift();
    } else if (currentTrace() !== null) {
      // A recording around this one depends on the same modes; gradients have told it already, as they were read.
      for (const { read, what, isMode } of entry.guards) if (isMode) readGuarded(read, what);
    }
    return apply(entry, flat.leaves);
  };
  return Object.assign(call, { recordings: () => count, explain: () => [...reasons] });
}

/** Structures of arguments whose recordings are kept, recordings of each, and those that a new one is compared with. */
const STRUCTURES = 512, RECORDINGS = 64, COMPARED = 16;

/** Whether the tensor itself, or the leaf that it is a version of, is among `changed`. */
function isChanged(x: Tensor, changed: ReadonlySet<Tensor>): boolean {
  const { cell } = x.node;
  return changed.has(x) || (cell !== null && changed.has(cell));
}

/** Whether a recording changes of these arguments those that it is meant to change. */
function isFor({ own, changed }: Entry, leaves: readonly Tensor[]): boolean {
  if (changed.size === 0) return true;
  return leaves.every((x, i) => own[i] === null ? !isChanged(x, changed) : own[i] === x);
}

function recordEntry(
  f: (...x: Tree[]) => Tree,
  flat: { leaves: Tensor[]; rebuild: (l: readonly Tensor[]) => Tree },
  own: readonly (Tensor | null)[],
): Entry {
  const holes = new Map<Tensor, Node>();
  const refills = new Map<Node, () => Node>();
  const gradHoles = new Map<Tensor, Tensor>();
  const written = new Map<Tensor, Tensor | null>();
  const removals: (() => void)[] = [];
  const guards: Guard[] = [], captured: Captured[] = [], looked = new Set<Tensor>();
  let passing = false;
  const guard = (read: () => unknown, what: string): void => {
    guards.push({ read, value: read(), what, isMode: true });
  };
  const capture = (handle: Tensor): Node => {
    let hole = holes.get(handle);
    if (hole === undefined) {
      const { shape, dtype, device } = handle;
      captured.push({ handle, node: { shape, dtype, device }, requiresGrad: handle.requiresGrad });
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
      looked.add(handle);
      const aval = (g: Tensor | null): string => g === null ? "null" : `${g.dtype} ${showShape(g.shape)}`;
      // Reading it here would come back here.
      guards.push({
        read: () => aval(handle.grad),
        value: aval(grad),
        what: `the gradient of ${handle.name ?? "a tensor"}`,
        isMode: false,
      });
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
    outsideTraces(() => {
      for (const [handle, before] of written) handle.grad = before;
    });
  };
  let recording, failure: unknown = null, draws = 0, assignedTo: readonly boolean[] = [];
  const random = rngState();
  try {
    recording = record(avals, (params) => {
      params.forEach((t, i) => t.node.cell = flat.leaves[i].node.cell);
      const holes = params.map((t) => t.node);
      let y;
      try {
        y = f(...flat.rebuild(params.map((t, i) => own[i] ?? t)));
      } finally {
        assignedTo = params.map((t, i) => t.node !== holes[i]);
      }
      if (y instanceof Promise) return y as never;
      if (rngState().seed !== random.seed) {
        throw new Error(
          "Cannot seed inside jit, which does it once only: call manualSeed outside, or withSeed inside",
        );
      }
      const out = flatten(y, "jit a function that returns");
      rebuild = out.rebuild;
      outputs = out.leaves.length;
      const extra: Tensor[] = [];
      for (const handle of written.keys()) {
        const grad = handle.grad;
        const output = grad === null ? null : outputs + extra.length;
        gradOutputs.push({ handle, output, isRead: looked.has(handle) });
        if (grad !== null) extra.push(passedOn(grad));
      }
      return [...out.leaves.map(passedOn), ...extra];
    }, {
      kind: "jit",
      device: flat.leaves[0]?.device ?? defaultDevice(),
      capture,
      grads,
      guard,
      hooked: (remove) => removals.push(remove),
    });
  } catch (error) {
    failure = error;
  } finally {
    restore();
    draws = rngState().count - random.count;
    setRngState(random); // the recording itself draws nothing
  }
  const changed = new Set([...recording?.effects ?? [], ...written.keys(), ...looked]);
  const mine = flat.leaves.map((x, i) => own[i] ?? (assignedTo[i] || isChanged(x, changed) ? x : null));
  const isAgain = mine.some((x, i) => x !== own[i]);
  if (isAgain || recording === undefined) removals.forEach((remove) => remove());
  // As a hole it may have failed, since only the tensor itself is trained once it is assigned to.
  if (isAgain) return recordEntry(f, flat, mine);
  if (recording === undefined) throw failure;
  // A recording around this one depends on the same gradients and modes.
  for (const { read } of guards) read();
  const { program, effects } = recording;
  return {
    program,
    rebuild: rebuild!,
    own,
    changed,
    refill: program.consts.map((c) => refills.get(c) ?? null),
    data: program.consts.filter((c) => c.value !== null && !refills.has(c)),
    assigned: effects,
    grads: gradOutputs,
    outputs,
    guards,
    captured,
    random,
    draws,
    passing,
    replaced: new Map([
      ...effects.map((handle, i) =>
        [program.outputs.length - effects.length + i, holes.get(handle)] as const
      ),
      ...gradOutputs.map(({ handle, output }) => [output ?? -1, gradHoles.get(handle)?.node] as const),
    ].flatMap(([output, hole]) => {
      const at = hole === undefined ? -1 : program.consts.indexOf(hole);
      return at < 0 || output < 0 ? [] : [[output, at]];
    })),
    compiled: undefined,
  };
}

/** A result of its own, where it is only an argument or a tensor from outside: whoever disposes of it keeps that one. */
function passedOn(t: Tensor): Tensor {
  const node = nodeOf(t);
  return node.op === placeholder ? new Tensor(passOn(node, node.track)) : t;
}

const BY = "a jitted step";

function apply(entry: Entry, leaves: readonly Tensor[]): Tree {
  // What the last call left, as backward does: steps do not pile up into one run.
  if (currentTrace() === null && entry.assigned.length > 0) {
    checkInterruption();
    flush();
  }
  const call = callOf(entry, leaves);
  const taken = call === null ? null : take(entry, call);
  return taken === null ? instantiate(entry, leaves) : taken.result;
}

/** The program of a recording for an engine, where that can be. */
function compile({ program, refill, passing, replaced }: Entry): Compiled | null {
  if (passing) return null;
  const device = (program.params[0] ?? program.outputs[0])?.device;
  if (device === undefined || engineOf(device).compile === undefined) return null;
  const { params, consts } = program;
  if ([...params, ...consts].some((n) => n.device !== device)) return null;
  // A hole of something around it, or one that leaked.
  if (consts.some((c, i) => c.op === placeholder && refill[i] === null)) return null;
  return new Compiled(program, device, replaced);
}

/** The call as a run of its own, or null where others must see its graph: inside transforms, or looking for an anomaly. */
function callOf(entry: Entry, leaves: readonly Tensor[]): Call | null {
  if (currentTrace() !== null || ambient().anomaly !== null) return null;
  if (entry.compiled === undefined) entry.compiled = compile(entry);
  const { compiled, program, refill } = entry;
  if (compiled === null || engineOf(compiled.device) !== compiled.engine) return null;
  const inputs = leaves.map((t) => t.node);
  for (const at of compiled.consts) inputs.push(refill[at]?.() ?? program.consts[at]);
  for (const x of inputs) if ((x.track & ~BY_BACKWARD) !== 0) return null;
  const state = rngState();
  return new Call(compiled, inputs, compiled.keys.map((at) => keyWords(entry, program.consts[at], state)));
}

/** The words of a random key of the recording in a call that finds the random numbers at `state`. */
function keyWords({ random, draws }: Entry, key: Node, state: RngState): readonly number[] {
  // The same count after the start as in the recording, so the numbers are those without jit; withSeed has its own.
  const [seed, count] = key.p.value, k = count - random.count;
  const own = seed !== random.seed || k < 0 || k >= draws;
  return own ? key.p.value : [state.seed, (state.count + k) >>> 0];
}

function advance(entry: Entry): void {
  if (entry.draws === 0) return;
  const state = rngState();
  setRngState({ ...state, count: state.count + entry.draws });
}

/** The results of a call, once its effects are done; null where the engine cannot now. */
function take(entry: Entry, call: Call): { result: Tree } | null {
  const { compiled } = call, { assigned, grads } = entry;
  const ys = Array.from({ length: entry.outputs }, (_, i) => call.result(i));
  if (assigned.length === 0 && grads.length === 0) {
    call.defer();
    advance(entry);
    return { result: entry.rebuild(ys.map(wrap)) };
  }
  // The error of an earlier call is thrown before anything is changed; that of this one is its results', or the next call's
  // where nobody looks at them.
  throwTakenBack();
  const first = compiled.params.length;
  for (const { error } of call.inputs.flatMap((x) => x.value ?? [])) if (error !== null) throw error;
  const gradNodes = grads.map(({ output }) => output === null ? null : call.result(output));
  // Gradients that the call writes without reading them make room for it.
  for (const { handle, isRead } of grads) {
    const before = isRead ? null : handle.replaceGrad(null);
    if (before !== null) giveBack(before.node);
  }
  // Before the run, which gives what it replaces away where no result's graph leads there.
  const holes = new Set(entry.replaced.values());
  call.keepGraphs(new Set(compiled.consts.flatMap((at, i) => holes.has(at) ? [first + i] : [])), BY);
  const values = call.realise();
  if (values === null) return null;
  if (values instanceof Error) {
    noteTakenBack(values);
    for (const node of [...ys, ...gradNodes]) if (node?.origin === call) node.inputs = [];
    return { result: entry.rebuild(ys.map(wrap)) };
  }
  advance(entry);
  grads.forEach(({ handle, output }, i) => {
    const node = gradNodes[i], before = handle.replaceGrad(node === null ? null : wrap(node));
    if (before !== null) giveBack(before.node);
    if (node !== null && output !== null && node.origin === null) {
      node.isExclusive = call.isOwn(output);
    }
  });
  const wrapped = ys.map(wrap), offset = compiled.outputs.length - assigned.length;
  const nodes = assigned.map((handle, i): Node => {
    const at = compiled.outputs[offset + i];
    if (at >= 0) {
      call.inputs[at].isExclusive = false;
      return valueNode(handle, call.inputs[at].value!, false);
    }
    return valueNode(handle, values[-1 - at], call.isOwn(offset + i));
  });
  replaceAll(assigned, nodes, BY);
  for (const node of [...ys, ...gradNodes]) if (node !== null && node.origin === call) settle(node);
  return { result: entry.rebuild(wrapped) };
}

/** A value that is there, as `assign` puts it behind a handle. */
function valueNode(handle: Tensor, value: Storage, isExclusive: boolean): Node {
  const { shape, dtype, device } = handle, isTrained = handle.requiresGrad && handle.node.cell === handle;
  const node = new Node(alias, [], null, shape, dtype, device, isTrained ? BY_BACKWARD : 0, 0, !isTrained);
  node.value = value;
  if (value.label) value.label.name = handle.name;
  node.cell = handle;
  node.isExclusive = isExclusive;
  return node;
}

/** Puts new nodes behind handles, and gives back the memory of the old ones. */
function replaceAll(handles: readonly Tensor[], nodes: readonly Node[], by: string): void {
  let isTrained = false;
  handles.forEach((handle, i) => {
    const { node: old } = handle, node = nodes[i];
    handle.node = node;
    handle.version++;
    handle.replacedBy = by;
    ambient().tidy?.escaped.push(node);
    isTrained ||= node.track !== 0;
    if (old.cell === handle) giveBack(old);
  });
  if (isTrained) dropStaleGraphs();
}

/** Gives back the memory of a replaced node that nothing else sees. */
function giveBack(node: Node): void {
  if (node.isExclusive && node.value !== null && node.value.error === null) {
    engineOf(node.device).release?.(node.value);
  }
}

/** The results as nodes of a copy of the recorded graph. */
function instantiate(entry: Entry, leaves: readonly Tensor[]): Tree {
  const { program } = entry, state = rngState();
  const consts = program.consts.map((c, i) => {
    const refill = entry.refill[i];
    if (refill !== null) return refill();
    if (c.op !== randomKey) return c;
    const value = keyWords(entry, c, state);
    return value === c.p.value ? c : makeLeaf(randomKey, { value }, c, c.device);
  });
  advance(entry);
  const nodes = program.fill(leaves.map((t) => nodeOf(t)), consts);
  const n = nodes.length - entry.assigned.length;
  for (const { handle, output } of entry.grads) {
    handle.grad = output === null ? null : wrap(nodes[output]);
    if (output !== null && currentTrace() === null) registerRoot(nodes[output]);
  }
  if (entry.assigned.length > 0) {
    assignAll(entry.assigned.map((handle, i) => [handle, wrap(nodes[n + i])] as const), BY);
  }
  const ys = nodes.slice(0, entry.outputs).map(wrap);
  // A call with effects runs anyway; its results come along, before the values they depend on are replaced.
  if ((entry.assigned.length > 0 || entry.grads.length > 0) && currentTrace() === null) {
    for (const y of ys) registerRoot(y.node);
  }
  return entry.rebuild(ys);
}
