/** What the program may know of its environment without asking. */

/** A variable, or null where it is not set, or where the program may not read it. */
export function variable(name: string): string | null {
  try {
    if (Deno.permissions.querySync({ name: "env", variable: name }).state !== "granted") return null;
    return Deno.env.get(name) ?? null;
  } catch {
    return null; // not Deno
  }
}
