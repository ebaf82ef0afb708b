/** How much memory the machine can still give, where the program may know. */

let isKnown: boolean | undefined;

/** Bytes that new allocations may take; Infinity without the permission to ask, which is never asked for. */
export function availableMemory(): number {
  try {
    isKnown ??= Deno.permissions.querySync({ name: "sys", kind: "systemMemoryInfo" }).state === "granted";
    return isKnown ? Deno.systemMemoryInfo().available : Infinity;
  } catch {
    isKnown = false; // not Deno
    return Infinity;
  }
}

/** From so many bytes on a request is worth asking the system: systems promise more than they have. */
export const LARGE_REQUEST = 2 ** 28;
