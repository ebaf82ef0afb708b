/**
 * `deno task bench`: ours and the peers on the same works, in turns. Prints ratios (below 1: ours is faster) and writes
 * `bench/results/<device>.json`, where a run of some works replaces their rows.
 *
 *     deno task bench --device host --work softmax,gpt --peers torch,jaxjs --rounds 5 --limit 20
 *
 * `--limit` is in seconds a step. A run without all peers is not written.
 */
import { cpus, totalmem } from "node:os";
import { parseArgs } from "node:util";
import type { Device } from "../mod.ts";
import { command, TaskError } from "../tasks/process.ts";
import { contenders, ours as allOurs } from "./contenders.ts";
import { type Entry, measure, type Row } from "./measure.ts";
import { Process } from "./process.ts";
import { ensureAdapter, ensureBlas } from "./setup.ts";
import { judge, type Verdict } from "./targets.ts";
import { type Work, works } from "./works.ts";

const { values: options } = parseArgs({
  options: {
    device: { type: "string", default: "host" },
    work: { type: "string", default: "" },
    peers: { type: "string" },
    rounds: { type: "string", default: "7" },
    limit: { type: "string", default: "20" },
  },
});

interface Results {
  device: Device;
  machine: Record<string, unknown>;
  versions: Record<string, Record<string, string>>;
  targets: Verdict[];
  rows: Row[];
}

const listed = (text: string): string[] => text.split(",").map((part) => part.trim()).filter(Boolean);

function selection(device: Device): { selected: Work[]; names: string[]; ours: string[] } {
  const parts = listed(options.work).map((part) => part.toLowerCase());
  const selected = works.filter(({ name }) =>
    parts.length === 0 || parts.some((part) => name.toLowerCase().includes(part))
  );
  if (selected.length === 0) {
    throw new TaskError(
      `No work is named like ${options.work}: there are ${works.map((w) => w.name).join("; ")}`,
    );
  }
  const there = Object.keys(contenders[device]), ours = there.filter((name) => allOurs.includes(name));
  const peers = options.peers === undefined ? there : listed(options.peers);
  const unknown = peers.filter((name) => !there.includes(name));
  if (unknown.length > 0) {
    throw new TaskError(
      `No contender on ${device} is named ${unknown.join(", ")}: there are ${there.join(", ")}`,
    );
  }
  return { selected, names: there.filter((name) => ours.includes(name) || peers.includes(name)), ours };
}

function cell({ ms, bytes, note = "" }: Entry): string {
  if (bytes !== undefined) return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  if (ms !== undefined) return `${ms.toPrecision(3)} ms`;
  return /^differs/.test(note) ? "differs" : /beyond|no answer/.test(note) ? "too slow" : "-";
}

function show(rows: readonly Row[], verdicts: readonly Verdict[]): void {
  const ratios = rows.flatMap(({ work, entries, ratios }) =>
    Object.entries(ratios).map(([mine, list]) => ({ work, ours: mine, ms: entries[mine].ms, ...list }))
  );
  console.log("\nOurs / theirs (below 1: ours is faster)");
  console.table(ratios);
  console.log("\nThe issue's bounds");
  console.table(verdicts.map(({ met, ...rest }) => ({ ...rest, met: met ? "yes" : "NO" })));
}

await command(async () => {
  if (options.device !== "host" && options.device !== "webgpu") {
    throw new TaskError(`No device is named ${options.device}: it is host or webgpu`);
  }
  const device: Device = options.device, { selected, names, ours } = selection(device);
  const settings = { rounds: Number(options.rounds), limit: 1000 * Number(options.limit), ours };
  if (!(settings.rounds >= 1 && settings.limit > 0)) {
    throw new TaskError("--rounds and --limit are positive numbers");
  }

  const file = new URL(`results/${device}.json`, import.meta.url);
  const old: Partial<Results> = await Deno.readTextFile(file).then(JSON.parse).catch(() => ({}));
  const rows = new Map<string, Row>((old.rows ?? []).map((row) => [row.work, row]));
  const machine = {
    ...{
      os: `${Deno.build.os} ${Deno.osRelease()}`,
      cpu: cpus()[0]?.model,
      cores: navigator.hardwareConcurrency,
    },
    memory: `${(totalmem() / 2 ** 30).toFixed(0)} GiB`,
    deno: Deno.version.deno,
    ...device === "host" ? { blas: await ensureBlas() } : { adapter: await ensureAdapter() },
  };
  console.log(machine);

  const processes = names.map((name) => new Process(name, contenders[device][name]));
  const versions: Record<string, Record<string, string>> = { ...old.versions };
  for (const process of processes) {
    await process.start().then((hello) => versions[process.name] = hello.versions)
      .catch((error) => console.log(`${process.name} cannot take part: ${error.message}`));
  }
  try {
    console.log(["", ...names].map((text, i) => text.padEnd(i === 0 ? 44 : 14)).join(""));
    for (const w of selected) {
      const row = await measure(w, processes, settings);
      rows.set(w.name, row);
      console.log(
        [w.name, ...names.map((name) => cell(row.entries[name]))]
          .map((text, i) => text.padEnd(i === 0 ? 44 : 14)).join(""),
      );
      for (const [name, { note }] of Object.entries(row.entries)) {
        if (note) console.log(`    ${name}: ${note}`);
      }
      if (options.peers !== undefined) continue;
      const kept = works.flatMap(({ name }) => rows.get(name) ?? []);
      const results: Results = { device, machine, versions, targets: judge(works, rows), rows: kept };
      await Deno.writeTextFile(file, JSON.stringify(results, null, 1) + "\n");
    }
  } finally {
    for (const process of processes) process.end();
  }
  show(selected.map(({ name }) => rows.get(name)!), judge(selected, rows));
  return 0;
});
