/** Calls of modules as hooks see them, and which of them made a node of the graph. */
import { currentTrace, nextSerial, type Node } from "../ops/node.ts";
import { Tensor } from "../ops/tensor.ts";
import type { Module } from "../nn/module.ts";

/** One call of one module. */
export interface LayerCall {
  /** The module's path; with the number of the call where there are several. */
  name: string;
  /** The module's path in the model, "" for the model itself. */
  readonly path: string;
  /** The module. */
  readonly module: Module;
  /** Nodes from this serial on, and before `to`, were made inside. */
  readonly from: number;
  /** The first serial after the call. */
  to: number;
  /** Tensors that came out. */
  outputs: readonly Node[];
  /** Made while a transform recorded: its tensors have no values. */
  readonly isTraced: boolean;
}

/** A module's path; where that ends in a number, with its kind. */
export function layerName(path: string, module: Module | undefined): string {
  return /(^|\.)\d+$/.test(path) && module !== undefined ? `${path} ${module.constructor.name}` : path;
}

/** Calls of a model's modules, in the order in which they began. */
export class LayerWatch {
  /** All calls seen. */
  readonly calls: LayerCall[] = [];
  readonly #undo: (() => void)[] = [];

  /** Watches from now on. */
  constructor(readonly model: Module) {
    for (const [path, module] of Object.entries(model.namedModules())) {
      const open: LayerCall[] = [];
      this.#undo.push(
        module.registerForwardPreHook(() => {
          const call: LayerCall = {
            name: layerName(path, module),
            path,
            module,
            from: nextSerial(),
            to: Infinity,
            outputs: [],
            isTraced: currentTrace() !== null,
          };
          open.push(call);
          this.calls.push(call);
        }),
        module.registerForwardHook((_module, _args, output) => {
          const call = open.pop();
          if (call === undefined) return;
          call.to = nextSerial();
          call.outputs = tensorsIn(output).map((t) => t.node);
        }),
      );
    }
  }

  /** Removes the hooks; names calls of a module that was called more than once. */
  stop(): void {
    this.#undo.splice(0).forEach((undo) => undo());
    const times = new Map<Module, number>();
    for (const { module } of this.calls) times.set(module, (times.get(module) ?? 0) + 1);
    const seen = new Map<Module, number>();
    for (const call of this.calls) {
      if (times.get(call.module) === 1) continue;
      const i = (seen.get(call.module) ?? 0) + 1;
      seen.set(call.module, i);
      call.name = `${call.name}, call ${i}`;
    }
  }

  /** The innermost call that made a node, or null. */
  makerOf(node: Node): LayerCall | null {
    let found: LayerCall | null = null;
    for (const call of this.calls) {
      if (call.from <= node.serial && node.serial < call.to && (found === null || call.from >= found.from)) {
        found = call;
      }
    }
    return found;
  }

  /** Where a node was made, in words: its layer, or the layer before it. */
  placeOf(node: Node): string {
    const maker = this.makerOf(node);
    if (maker !== null && maker.path !== "" && Object.keys(maker.module.children()).length === 0) {
      return maker.name;
    }
    const before = this.calls.filter((c) => c.to <= node.serial && this.owns(c.module)).at(-1);
    const name = node.op.name;
    return before === undefined ? `${name} before the first layer` : `${name} after ${before.name}`;
  }

  /** Whether a module has parameters of its own. */
  owns(module: Module): boolean {
    return this.weightsOf(module).length > 0;
  }

  /** The parameters of a module that are not those of a module inside. */
  weightsOf(module: Module): Tensor[] {
    const inner = new Set(Object.values(module.children()).flatMap((m) => m.parameters()));
    return module.parameters().filter((p) => !inner.has(p));
  }

  /** Calls of modules with parameters of their own whose output has values, in order. */
  weighted(): LayerCall[] {
    const owning = new Map<Module, boolean>();
    return this.calls.filter((c) => {
      if (!owning.has(c.module)) owning.set(c.module, this.owns(c.module));
      return owning.get(c.module)! && !c.isTraced && c.outputs.length > 0;
    });
  }
}

/** All tensors in what a module returned. */
function tensorsIn(value: unknown): Tensor[] {
  if (value instanceof Tensor) return [value];
  if (Array.isArray(value)) return value.flatMap(tensorsIn);
  if (typeof value === "object" && value !== null) return Object.values(value).flatMap(tensorsIn);
  return [];
}

/** The graph below a node as it is now: values that appear later make nodes let go of their operands. */
export class Snapshot {
  /** Operands first. */
  readonly nodes: Node[] = [];
  /** Operands by node. */
  readonly inputs = new Map<Node, readonly Node[]>();

  /** Walks everything that `root` is computed from. */
  constructor(readonly root: Node) {
    const stack: Node[] = [root], next: number[] = [0], seen = new Set([root]);
    this.inputs.set(root, root.inputs);
    while (stack.length > 0) {
      const top = stack.length - 1, node = stack[top], inputs = this.inputs.get(node)!;
      if (next[top] >= inputs.length) {
        this.nodes.push(node);
        stack.pop(), next.pop();
        continue;
      }
      const x = inputs[next[top]++];
      if (seen.has(x)) continue;
      seen.add(x);
      this.inputs.set(x, x.inputs);
      stack.push(x), next.push(0);
    }
  }

  /** What a node is, behind those that only rearrange it, pass it on or change its type. */
  source(node: Node): Node {
    let x = node;
    for (;;) {
      const [first] = this.inputs.get(x) ?? [];
      const passes = x.op.family === "movement" || x.op.family === "identity" || x.op.name === "cast";
      if (!passes || first === undefined) return x;
      x = first;
    }
  }

  /** Everything that `node` is computed from, itself included. */
  below(node: Node): Set<Node> {
    const seen = new Set([node]), stack = [node];
    while (stack.length > 0) {
      for (const x of this.inputs.get(stack.pop()!) ?? []) {
        if (seen.has(x)) continue;
        seen.add(x);
        stack.push(x);
      }
    }
    return seen;
  }
}
