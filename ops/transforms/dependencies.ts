/** What a recording of jit depends on beside its arguments, and in words why another one was made. */
import type { Device } from "../ambient.ts";
import type { Aval } from "../primitive.ts";
import { sameShape, showShape } from "../shape.ts";
import type { Tensor } from "../tensor.ts";

/** Something beside tensors that a recording depends on. */
export interface Guard {
  readonly read: () => unknown;
  readonly value: unknown;
  readonly what: string;
  /** A mode or an option; else a gradient. */
  readonly isMode: boolean;
}

/** A handle that is read, as it was. */
export interface Captured {
  readonly handle: Tensor;
  readonly node: Aval & { readonly device: Device };
  readonly requiresGrad: boolean;
}

/** Everything that a call must find as it was. */
export interface Dependencies {
  readonly guards: readonly Guard[];
  readonly captured: readonly Captured[];
}

/** Whether all that a recording depends on is as it was. */
export function isCurrent({ guards, captured }: Dependencies): boolean {
  for (let i = 0; i < captured.length; i++) if (!isAsRecorded(captured[i])) return false;
  for (let i = 0; i < guards.length; i++) if (!Object.is(guards[i].read(), guards[i].value)) return false;
  return true;
}

function isAsRecorded({ handle, node, requiresGrad }: Captured): boolean {
  const now = handle.node;
  return handle.requiresGrad === requiresGrad && now.dtype === node.dtype &&
    now.device === node.device && sameShape(now.shape, node.shape);
}

/** What is not as an entry recorded it. */
export function changes({ guards, captured }: Dependencies): string[] {
  const show = (x: Aval & { device: Device }, grad: boolean): string =>
    `${x.dtype} ${showShape(x.shape)} on ${x.device}${grad ? ", with gradients" : ""}`;
  const handles = captured.filter((c) => !isAsRecorded(c)).map(({ handle, node, requiresGrad }) =>
    `${handle.name ?? "a captured tensor"} is ${show(handle, handle.requiresGrad)}, not ${
      show(node, requiresGrad)
    }`
  );
  const modes = guards.filter((g) => !Object.is(g.read(), g.value))
    .map((g) => `${g.what} is ${String(g.read())}, not ${String(g.value)}`);
  return [...new Set([...handles, ...modes])];
}

/** The shortest list, the first of equals. */
export function shortest(lists: readonly (readonly string[])[]): readonly string[] {
  return lists.reduce((least, list) => list.length < least.length ? list : least);
}

/** In what arguments differ from those of the nearest recording. */
export function differences(
  leaves: Map<string, string>,
  seen: readonly Map<string, string>[],
): readonly string[] {
  return shortest(
    seen.map((before) =>
      [...new Set([...leaves.keys(), ...before.keys()])]
        .filter((path) => leaves.get(path) !== before.get(path))
        .map((path) => `${path} is ${leaves.get(path) ?? "missing"}, not ${before.get(path) ?? "missing"}`)
    ),
  );
}
