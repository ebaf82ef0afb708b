/** The file that keeps what a search for tiles has found on an adapter. */
import { variable } from "../environment.ts";
import type { AdapterReport, Limits } from "./device.ts";
import { productTiles, type Tile, type Tiles } from "./heuristics.ts";

/** Where tiles of an adapter are kept; null where the program may not know. */
export function tilesPath({ vendor, architecture, description }: AdapterReport): string | null {
  const home = variable("HOME") || variable("USERPROFILE");
  const places: Record<string, string | null> = {
    darwin: home && `${home}/Library/Caches`,
    windows: variable("LOCALAPPDATA"),
  };
  const folder = variable("XDG_CACHE_HOME") || places[Deno.build.os] || (home && `${home}/.cache`);
  if (!folder) return null;
  const name = [vendor, architecture, description].join(" ").trim().replace(/[^A-Za-z0-9.]+/g, "-");
  return `${folder}/cotangent/tiles-${name}.json`;
}

/** What the file says it is: one that says otherwise is not read. */
const FORMAT = "cotangent tiles 1";
const KEYS = ["down", "across", "rows", "columns", "depth"] as const;

/** Whether two tiles are cut alike. */
export function isSame(a: Tile, b: Tile): boolean {
  return KEYS.every((key) => a[key] === b[key]);
}

/** Writes tiles; false where the program may not. */
export function saveTiles(path: string, tiles: Tiles): boolean {
  if (Deno.permissions.querySync({ name: "write", path }).state !== "granted") return false;
  Deno.mkdirSync(path.slice(0, path.lastIndexOf("/")), { recursive: true });
  const part = `${path}.${Deno.pid}`;
  Deno.writeTextFileSync(part, JSON.stringify({ format: FORMAT, tiles: Object.fromEntries(tiles) }, null, 1));
  Deno.renameSync(part, path); // whoever reads it finds all of it
  return true;
}

/** Tiles that were kept, of those that there are; undefined where there are none, or the program may not read them. */
export function loadTiles(path: string, limits: Limits): Tiles | undefined {
  if (Deno.permissions.querySync({ name: "read", path }).state !== "granted") return undefined;
  try {
    const { format, tiles } = JSON.parse(Deno.readTextFileSync(path));
    if (format !== FORMAT) return undefined;
    const known = productTiles(limits);
    const entries = Object.entries(tiles as Record<string, Tile>).flatMap(([name, tile]) => {
      const same = known.find((t) => isSame(t, tile));
      return same === undefined ? [] : [[name, same] as const];
    });
    return entries.length > 0 ? new Map(entries) : undefined;
  } catch {
    return undefined; // nobody searched, or the file is not ours
  }
}
