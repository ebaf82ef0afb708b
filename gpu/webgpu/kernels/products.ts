/**
 * How a product's kernel adds up: each thread reads what it multiplies, or a workgroup shares a tile of both operands in
 * its memory, in quads of lines, step by step along K.
 */
import { type Tile, tileSides } from "../heuristics.ts";

/**
 * How four neighbours of an operand are read at once: along K, across the lines (rows of the left operand, columns of
 * the right one), or not.
 */
export type Quads = "along" | "across" | "none";

/** One operand in WGSL. */
export interface Side {
  readonly name: "a" | "b";
  readonly quads: Quads;
  /** The number of its lines, and how many of them a thread has. */
  readonly lines: "M" | "N";
  readonly each: number;
  /** WGSL of an element, and of the four elements from an index divisible by 4 on. */
  readonly at: (index: string) => string;
  readonly quadAt: (index: string) => string;
}

/** `n` lines of WGSL. */
export function each(n: number, line: (i: number) => string): string {
  return Array.from({ length: n }, (_, i) => line(i)).join("\n");
}

/** Zero of a type. */
export function zeroOf(type: string): string {
  return type === "f32" ? "0.0" : type === "i32" ? "0" : "0u";
}

/** Adds products of rows and columns, whose numbers `l` and `r` name, to the results of a thread. */
export function products(
  type: string,
  [rows, columns]: readonly [number, number],
  l: (row: number) => string,
  r: (column: number) => string,
): string {
  return each(rows * columns, (i) => {
    const x = l(Math.floor(i / columns)), y = r(i % columns);
    return `    s${i} = ${type === "f32" ? `fma(${x}, ${y}, s${i})` : `s${i} + ${x} * ${y}`};`;
  });
}

/** Component of a quad. */
export function part(quad: string, i: number): string {
  return `${quad}.${"xyzw"[i & 3]}`;
}

/** Each thread reads what it multiplies. Lines beyond the last are the last once more: no index is out of range. */
export function ownProducts(type: string, a: Side, b: Side): string {
  const sides = [a, b], first = { a: "top", b: "left" };
  const turn = sides.some((s) => s.quads === "along") ? 4 : 1;
  const places = sides.map(({ name, quads, lines, each: n }) =>
    quads === "across"
      ? each(
        n / 4,
        (i) => `  let ${name}At${i} = ${name}Base + min(${first[name]} + ${4 * i}, ${lines} - 4);`,
      )
      : each(
        n,
        (i) => `  let ${name}At${i} = ${name}Base + min(${first[name]} + ${i}, ${lines} - 1) * ${name}Line;`,
      )
  );
  const reads = ({ name, quads, each: n, at, quadAt }: Side): string => {
    if (quads === "along") return each(n, (i) => `    let ${name}${i}_ = ${quadAt(`${name}At${i} + k`)};`);
    return each(turn, (q) => {
      const step = `(k + ${q}) * ${name}Step`;
      return quads === "across"
        ? each(n / 4, (i) => `    let ${name}${i}_${q} = ${quadAt(`${name}At${i} + ${step}`)};`)
        : each(n, (i) => `    let ${name}${i}_${q} = ${at(`${name}At${i} + ${step}`)};`);
    });
  };
  const value = ({ name, quads }: Side, i: number, q: number): string =>
    quads === "along"
      ? part(`${name}${i}_`, q)
      : quads === "across"
      ? part(`${name}${i >> 2}_${q}`, i)
      : `${name}${i}_${q}`;
  return `${places.join("\n")}
  for (var k = begin; k < end; k += ${turn}) {
${sides.map(reads).join("\n")}
${each(turn, (q) => products(type, [a.each, b.each], (i) => value(a, i, q), (i) => value(b, i, q)))}
  }`;
}

/** Quads from one step along K to the next: one more than there are, so that steps lie in different banks. */
const pitch = (side: number): number => side / 4 + 1;

/** The memory of a workgroup. */
export function sharedMemory(tile: Tile, type: string): string {
  const [high, wide] = tileSides(tile);
  return `var<workgroup> aTile: array<vec4<${type}>, ${tile.depth * pitch(high)}>;
var<workgroup> bTile: array<vec4<${type}>, ${tile.depth * pitch(wide)}>;`;
}

/** Fills the memory and multiplies what is there, in turns. */
export function sharedProducts(tile: Tile, type: string, a: Side, b: Side): string {
  const { down, across, rows, columns, depth } = tile, [high, wide] = tileSides(tile);
  const threads = down * across;
  return `  let x = i32(lid) % ${across}; let y = i32(lid) / ${across};
  for (var k0 = begin; k0 < end; k0 += ${depth}) {
${fill(a, type, high, depth, threads)}
${fill(b, type, wide, depth, threads)}
    workgroupBarrier();
    for (var k = 0; k < ${depth}; k++) {
${each(rows / 4, (i) => `      let l${i} = aTile[k * ${pitch(high)} + y + ${i * down}];`)}
${each(columns / 4, (i) => `      let r${i} = bTile[k * ${pitch(wide)} + x + ${i * across}];`)}
${products(type, [rows, columns], (i) => part(`l${i >> 2}`, i), (i) => part(`r${i >> 2}`, i))}
    }
    workgroupBarrier();
  }`;
}

/** Copies a tile of `side` lines into memory, in blocks of four lines by four steps. */
function fill(s: Side, type: string, side: number, depth: number, threads: number): string {
  const { name, lines } = s, blocks = side / 4 * depth / 4, first = name === "a" ? "top" : "left";
  const last = s.quads === "across" ? `${lines} - 4` : `${lines} - 1`;
  const zero = zeroOf(type), none = `vec4<${type}>(${zero})`;
  const line = (j: number): string => `${name}Base + min(first + ${j}, ${last})`;
  const reads: Record<Side["quads"], string> = {
    along: `
      if (k < end) {
${each(4, (j) => `        v${j} = ${s.quadAt(`${line(j)} * ${name}Line + k`)};`)}
      }`,
    across: each(
      4,
      (q) => `      if (k + ${q} < end) { v${q} = ${s.quadAt(`${line(0)} + (k + ${q}) * ${name}Step`)}; }`,
    ),
    none: each(4, (q) => {
      const all = [0, 1, 2, 3].map((j) => s.at(`${line(j)} * ${name}Line + (k + ${q}) * ${name}Step`));
      return `      if (k + ${q} < end) { v${q} = vec4<${type}>(${all.join(", ")}); }`;
    }),
  };
  const column = (q: number): string =>
    s.quads === "along" ? `vec4<${type}>(${[0, 1, 2, 3].map((j) => part(`v${j}`, q)).join(", ")})` : `v${q}`;
  // Neighbouring threads read neighbours in memory.
  const alongFirst = s.quads === "along" ? "true" : s.quads === "across" ? "false" : `${name}Step == 1`;
  return `    for (var i = i32(lid); i < ${blocks}; i += ${threads}) {
      let quad = select(i % ${side / 4}, i / ${depth / 4}, ${alongFirst});
      let block = select(i / ${side / 4}, i % ${depth / 4}, ${alongFirst});
      let first = ${first} + 4 * quad; let k = k0 + 4 * block; let to = 4 * block * ${pitch(side)} + quad;
${each(4, (q) => `      var v${q} = ${none};`)}
${reads[s.quads]}
${each(4, (q) => `      ${name}Tile[to + ${q * pitch(side)}] = ${column(q)};`)}
    }`;
}
