/** Modules: parameters and buffers in fields, found by walking them, and a forward function. */
import type { Device } from "../ops/ambient.ts";
import { type DType, isFloat } from "../ops/dtype.ts";
import { currentScope, readGuarded, setScope } from "../ops/node.ts";
import { displayHolder, type MimeBundle, printedIn, type PrintedPlace } from "../ops/presenter.ts";
import { dropStaleGraphs } from "../ops/runs.ts";
import { sameShape, type Shape, showShape } from "../ops/shape.ts";
import { assignAll, refuseDevice, Tensor } from "../ops/tensor.ts";
import type { Tree } from "../ops/transforms/tree.ts";
import { type ForwardHook, type ForwardPreHook, type FullBackwardHook, withBackwardHooks } from "./hooks.ts";
import { nameByPath, replaceValue, type Role, roleOf } from "./parameter.ts";

/** Tensors nested in plain objects as modules nest. */
export interface ParameterTree {
  /** By name. */
  [name: string]: Tensor | ParameterTree;
}

/** A tensor of a module: `first` is false where a tied tensor is reached again. */
export interface Member {
  /** Names of the fields that lead to it, joined by dots. */
  readonly path: string;
  /** The handle. */
  readonly tensor: Tensor;
  /** Trained, or only saved. */
  readonly role: Role;
  /** False where it was reached before. */
  readonly first: boolean;
}

/** What `loadStateDict` did not find. */
export interface LoadReport {
  /** Members that the dict did not have. */
  readonly missing: string[];
  /** Names in the dict that the module does not have. */
  readonly unexpected: string[];
}

/**
 * Base of all layers and models. Public fields that hold a {@linkcode parameter}, a leaf tensor that requires
 * gradients, a {@linkcode buffer}, a module, or arrays and plain objects of these, are its members; their paths
 * join with dots. A tensor reached twice (tied weights) counts once. JavaScript's private `#fields` are not seen.
 *
 * ```ts
 * import { Linear, Module, randn, type Tensor } from "@cotangent/cotangent";
 * class Net extends Module {
 *   hidden = new Linear(4, 8);
 *   output = new Linear(8, 2);
 *   forward(x: Tensor): Tensor {
 *     return this.output.call(this.hidden.call(x).relu());
 *   }
 * }
 * const net = new Net();
 * console.log(net.call(randn([5, 4])).shape, Object.keys(net.namedParameters())); // [5, 2], ["hidden.weight", ...]
 * ```
 */
export abstract class Module {
  #training = true;
  #named = false;
  /** In the outermost module that was called. */
  #path = "";
  #calledWith: readonly unknown[] | null = null;
  #preHooks: ForwardPreHook[] = [];
  #hooks: ForwardHook[] = [];
  #backwardHooks: FullBackwardHook[] = [];

  /** The equation of the layer; call it with {@linkcode Module.call}, which runs the hooks. */
  // deno-lint-ignore no-explicit-any
  abstract forward(...x: any[]): any;

  /** Applies the module: hooks, then `forward`, then hooks. */
  call(...args: Parameters<this["forward"]>): ReturnType<this["forward"]> {
    if (!this.#named) {
      this.#named = true;
      this.members();
    }
    let x: Tree[] = args;
    for (const hook of [...this.#preHooks]) {
      const changed = hook(this, x);
      if (changed !== undefined) x = Array.isArray(changed) ? changed : [changed];
    }
    if (currentScope() === null) this.#calledWith = args.map((x) => outline(x));
    const scope = { path: this.#path, kind: this.constructor.name, outer: currentScope() };
    let y: ReturnType<this["forward"]>;
    setScope(scope);
    try {
      y = this.#backwardHooks.length === 0
        ? this.forward(...x)
        : withBackwardHooks(this, this.#backwardHooks, x, (inner) => this.forward(...inner)) as never;
    } finally {
      setScope(scope.outer);
    }
    if (this.#hooks.length === 0) return y;
    const after = (output: Tree): Tree => {
      for (const hook of [...this.#hooks]) output = hook(this, x, output) ?? output;
      return output;
    };
    return (y as unknown) instanceof Promise
      ? (y as unknown as Promise<Tree>).then(after) as never
      : after(y);
  }

  /** What the module was last called with from outside of others, each tensor as its outline; null before. */
  get calledWith(): readonly unknown[] | null {
    return this.#calledWith;
  }

  /** Calls `hook(module, args)` before each forward pass; returns how to remove it. */
  registerForwardPreHook(hook: ForwardPreHook): () => void {
    return register(this.#preHooks, hook);
  }
  /** Calls `hook(module, args, output)` after each forward pass; returns how to remove it. */
  registerForwardHook(hook: ForwardHook): () => void {
    return register(this.#hooks, hook);
  }
  /**
   * Calls `hook(module, gradInput, gradOutput)` in each backward pass through calls made from now on; returns how
   * to remove it. It sees lazy cotangents, and runs when the graph of the backward pass is built.
   */
  registerFullBackwardHook(hook: FullBackwardHook): () => void {
    return register(this.#backwardHooks, hook);
  }

  // ---- members -----------------------------------------------------------------------------------------------

  /** The named values in which members are looked for; a container may name its layers differently. */
  protected fields(): Iterable<[string, unknown]> {
    return Object.entries(this);
  }

  /** All tensors of this module and those inside, in the order of the fields; names them by their paths. */
  members(): Member[] {
    const found: Member[] = [], seen = new Set<Tensor>();
    visit(this, "", new Set(), (path, value) => {
      if (value instanceof Module && path.length > value.#path.length) value.#path = path;
      if (!(value instanceof Tensor)) return;
      const role = roleOf(value);
      if (role === null) return;
      if (!seen.has(value)) nameByPath(value, path);
      found.push({ path, tensor: value, role, first: !seen.has(value) });
      seen.add(value);
    });
    return found;
  }

  #tensors(role: Role): Record<string, Tensor> {
    const own = this.members().filter((m) => m.first && m.role === role);
    return Object.fromEntries(own.map((m) => [m.path, m.tensor]));
  }

  /** What is trained, each tensor once. */
  parameters(): Tensor[] {
    return Object.values(this.#tensors("parameter"));
  }
  /** What is trained, by path. */
  namedParameters(): Record<string, Tensor> {
    return this.#tensors("parameter");
  }
  /** What is trained, nested as the modules are: a tree for `grad` and {@linkcode functionalCall}. */
  parameterTree(): ParameterTree {
    const tree: ParameterTree = {};
    for (const [path, tensor] of Object.entries(this.namedParameters())) {
      const keys = path.split(".");
      let at = tree;
      for (const key of keys.slice(0, -1)) at = (at[key] ??= {}) as ParameterTree;
      at[keys[keys.length - 1]] = tensor;
    }
    return tree;
  }
  /** Number of trained elements. */
  parameterCount(): number {
    return this.parameters().reduce((n, p) => n + p.size, 0);
  }
  /** State that is saved and not trained. */
  buffers(): Tensor[] {
    return Object.values(this.#tensors("buffer"));
  }
  /** State that is saved and not trained, by path. */
  namedBuffers(): Record<string, Tensor> {
    return this.#tensors("buffer");
  }
  /** This module and all inside, each once, by path (this one's is ""). */
  namedModules(): Record<string, Module> {
    const found: Record<string, Module> = {}, seen = new Set<Module>();
    visit(this, "", new Set(), (path, value) => {
      if (!(value instanceof Module) || seen.has(value)) return;
      seen.add(value);
      found[path] = value;
    });
    return found;
  }
  /** This module and all inside, each once. */
  modules(): Module[] {
    return Object.values(this.namedModules());
  }
  /** The modules directly inside, by path. */
  children(): Record<string, Module> {
    const found: Record<string, Module> = {}, seen = new Set<Module>();
    for (const [name, value] of this.fields()) {
      visitField(value, name, (path, inner) => {
        if (!(inner instanceof Module)) return true;
        if (!seen.has(inner)) found[path] = inner;
        seen.add(inner);
        return false;
      });
    }
    return found;
  }
  /** Calls `f` on every module inside and then on this one. */
  apply(f: (module: Module) => void): this {
    this.modules().reverse().forEach((m) => f(m));
    return this;
  }

  // ---- modes -------------------------------------------------------------------------------------------------

  /** Whether dropout drops and BatchNorm uses the statistics of the batch; jit records anew when it changes. */
  get training(): boolean {
    return readGuarded(() => this.#training, `training of ${this.constructor.name}`);
  }
  /** Training mode on (or off), for all modules inside too. */
  train(on = true): this {
    for (const m of this.modules()) m.#training = on;
    return this;
  }
  /** Evaluation mode: no dropout, running statistics. */
  eval(): this {
    return this.train(false);
  }

  /** Stops training parameters (all, or those chosen by path) and forgets their gradients. */
  freeze(which: (path: string, parameter: Tensor) => boolean = () => true): this {
    return this.#requireGrad(false, which);
  }
  /** Trains parameters again. */
  unfreeze(which: (path: string, parameter: Tensor) => boolean = () => true): this {
    return this.#requireGrad(true, which);
  }
  #requireGrad(on: boolean, which: (path: string, parameter: Tensor) => boolean): this {
    for (const [path, p] of Object.entries(this.namedParameters())) {
      if (!which(path, p)) continue;
      p.requiresGrad = on;
      if (!on) p.grad = null;
    }
    return this;
  }
  /** Forgets all gradients. */
  zeroGrad(): void {
    for (const p of this.parameters()) p.grad = null;
  }

  // ---- state -------------------------------------------------------------------------------------------------

  /** Parameters and buffers by path, as they are now: later steps do not change them. */
  stateDict(): Record<string, Tensor> {
    return Object.fromEntries(
      this.members().filter((m) => m.first).map(({ path, tensor }) => {
        const copy = tensor.detach();
        copy.name = path;
        return [path, copy];
      }),
    );
  }

  /**
   * Takes parameters and buffers from a state dict; nothing changes if one does not fit. With `strict: false`,
   * missing and unexpected names are only reported. Float types are converted.
   */
  loadStateDict(dict: Record<string, Tensor>, options: { strict?: boolean } = {}): LoadReport {
    const members = this.members(), known = new Map(members.map((m) => [m.path, m.tensor]));
    const given = new Set(members.filter((m) => Object.hasOwn(dict, m.path)).map((m) => m.tensor));
    const missing = members.filter((m) => m.first && !given.has(m.tensor)).map((m) => m.path);
    const unexpected = Object.keys(dict).filter((path) => !known.has(path));
    const faults: string[] = [];
    if (options.strict ?? true) {
      if (missing.length > 0) faults.push(`missing: ${list(missing)}`);
      if (unexpected.length > 0) faults.push(`unexpected: ${list(unexpected)}`);
    }
    const pairs = new Map<Tensor, Tensor>();
    for (const { path, tensor } of members) {
      if (!Object.hasOwn(dict, path) || pairs.has(tensor)) continue;
      const value = dict[path];
      if (!(value instanceof Tensor)) faults.push(`${path} is not a tensor`);
      else if (!sameShape(value.shape, tensor.shape)) {
        faults.push(`${path} has shape ${showShape(value.shape)} and must have ${showShape(tensor.shape)}`);
      } else if (value.dtype !== tensor.dtype && !(isFloat(value.dtype) && isFloat(tensor.dtype))) {
        faults.push(`${path} has type ${value.dtype} and must have ${tensor.dtype}`);
      } else if (value.device !== tensor.device) {
        faults.push(
          `${path} is on ${value.device} and must be on ${tensor.device}, as by await x.toDevice("${tensor.device}")`,
        );
      } else pairs.set(tensor, value);
    }
    if (faults.length > 0) {
      throw new Error(`Cannot load a state dict into ${this.constructor.name}: ${faults.join("; ")}`);
    }
    assignAll([...pairs].map(([t, value]) => [t, value.to(t.dtype).detach()] as const), "loadStateDict");
    return { missing, unexpected };
  }

  /** Converts parameters and float buffers to another float type; gradients are forgotten. Make optimisers after. */
  to(dtype: DType): this {
    refuseDevice(dtype);
    if (!isFloat(dtype)) {
      throw new TypeError(`Cannot convert a module to ${dtype}: parameters are floating point`);
    }
    for (const { tensor, first } of this.members()) {
      if (first && isFloat(tensor.dtype)) replaceValue(tensor, tensor.stopGradient().to(dtype), "to");
    }
    dropStaleGraphs();
    return this;
  }

  /** Moves parameters and buffers to another device; gradients are forgotten. Make optimisers after. */
  async toDevice(device: Device): Promise<this> {
    const tensors = this.members().filter((m) => m.first).map((m) => m.tensor);
    const moved = await Promise.all(tensors.map((t) => t.detach().toDevice(device)));
    tensors.forEach((t, i) => replaceValue(t, moved[i], "toDevice"));
    dropStaleGraphs();
    return this;
  }

  // ---- text --------------------------------------------------------------------------------------------------

  /** What the text of the module says in its parentheses. */
  details(): string {
    return "";
  }
  /** The module and those inside, a line each. */
  toString(): string {
    if (told.has(this)) return "[Circular]";
    const inner = Object.entries(this.children());
    const head = `${this.constructor.name}(${this.details()}`;
    if (inner.length === 0) return `${head})`;
    told.add(this);
    try {
      const lines = inner.map(([name, m]) => `  (${name}): ${m.toString().replaceAll("\n", "\n  ")}`);
      return `${head}\n${lines.join("\n")}\n)`;
    } finally {
      told.delete(this);
    }
  }
  /** What `console.log` shows. */
  [Symbol.for("Deno.customInspect")](_inspect?: unknown, place?: PrintedPlace): string {
    return printedIn(place, this.toString());
  }
  /** What a notebook shows: a table by layer. */
  [Symbol.for("Jupyter.display")](): Promise<MimeBundle> {
    return displayHolder(this);
  }
}

/** Modules whose text is being made, since one may contain itself. */
const told = new Set<Module>();

/** Shape, type and device of a tensor that is not kept. */
export class TensorOutline {
  /** Of a tensor. */
  constructor(readonly shape: Shape, readonly dtype: DType, readonly device: Device) {}
}

/** An argument without its tensors' values; what else is no plain data becomes undefined. */
function outline(x: unknown): unknown {
  if (x instanceof Tensor) return new TensorOutline(x.shape, x.dtype, x.device);
  if (Array.isArray(x)) return x.map(outline);
  if (typeof x !== "object" || x === null) return typeof x === "function" ? undefined : x;
  if (Object.getPrototypeOf(x) !== Object.prototype) return undefined;
  return Object.fromEntries(Object.entries(x).map(([key, value]) => [key, outline(value)]));
}

/** Calls `f` on each tensor and module below a field; goes into plain containers, and further where `f` says so. */
function visitField(value: unknown, path: string, f: (path: string, value: object) => boolean): void {
  if (typeof value !== "object" || value === null) return;
  if (value instanceof Tensor || value instanceof Module) return void f(path, value);
  if (Array.isArray(value)) {
    // A long list of numbers holds no members.
    if (typeof value[0] === "object") value.forEach((v, i) => visitField(v, `${path}.${i}`, f));
    return;
  }
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return;
  for (const [key, v] of Object.entries(value)) visitField(v, `${path}.${key}`, f);
}

/** Calls `f` on a module and everything inside; `open` guards against modules that contain themselves. */
function visit(
  module: Module,
  path: string,
  open: Set<Module>,
  f: (path: string, value: object) => void,
): void {
  if (open.has(module)) return;
  open.add(module);
  f(path, module);
  // deno-lint-ignore no-explicit-any
  for (const [name, value] of (module as any).fields()) {
    visitField(value, path === "" ? name : `${path}.${name}`, (inner, member) => {
      if (member instanceof Module) visit(member, inner, open, f);
      else f(inner, member);
      return false;
    });
  }
  open.delete(module);
}

function register<T>(hooks: T[], hook: T): () => void {
  hooks.push(hook);
  return () => {
    const i = hooks.indexOf(hook);
    if (i >= 0) hooks.splice(i, 1);
  };
}

function list(names: readonly string[]): string {
  return names.length <= 8
    ? names.join(", ")
    : `${names.slice(0, 8).join(", ")} and ${names.length - 8} more`;
}
