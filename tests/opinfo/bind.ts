/** How names of PyTorch's become calls of ours: arguments by name, and what is skipped. */
import type { Tensor } from "../../mod.ts";
import type { Argument, Recorded } from "./fixtures.ts";

/** A sample that asks for what we do not have; the message completes "skipped: ". */
export class Skip extends Error {}

/** Tensors, or a promise of them where shapes hang on values. */
type Result = Tensor | Tensor[] | Promise<Tensor | Tensor[]>;

/** A name of PyTorch's in terms of ours. */
export interface Mapped {
  readonly call: (args: readonly Argument[], kwargs: Record<string, Argument>) => Result;
  /** Whether it is several of our ops and no op of its own. */
  readonly spelled: boolean;
  /** What OpInfo makes of results that are not unique, where it recorded that instead of them. */
  readonly processed?: (results: Tensor[], recorded: readonly Recorded[]) => Tensor[];
}

/** Arguments by name. */
export type Named = Record<string, Argument>;

function binder(spelled: boolean) {
  return (parameters: string, f: (named: Named) => Result): Mapped => {
    const names = parameters.split(/,\s*/);
    const call = (args: readonly Argument[], kwargs: Named): Result => {
      const named: Named = {};
      const put = (name: string | undefined, value: Argument): void => {
        if (value === null) return; // Python's None is an argument that was not given
        if (name === undefined || !names.includes(name)) throw new Skip(`argument ${name ?? "more"}`);
        named[name] = value;
      };
      args.forEach((value, i) => put(names[i], value));
      for (const [name, value] of Object.entries(kwargs)) put(name, value);
      return f(named);
    };
    return { call, spelled };
  };
}

/** A name that is an op of ours. */
export const op = binder(false);

/** A name that takes several ops of ours. */
export const spelled = binder(true);

/** Skips the sample unless it is within what we have. */
export const only = (yes: boolean, what: string): void => {
  if (!yes) throw new Skip(what);
};
