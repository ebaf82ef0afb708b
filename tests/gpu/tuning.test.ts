/** The search for tiles: what it finds is used, right, kept, and left aside where bits must repeat. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { tensor, tuneProducts, useDeterministicAlgorithms } from "../../mod.ts";
import { classOf, productTile, productTiles, type Tiles } from "../../gpu/webgpu/heuristics.ts";
import { loadTiles, saveTiles, tilesPath } from "../../gpu/webgpu/tiles_file.ts";
import { engine, test } from "./webgpu.ts";

const shape = { M: 60, K: 50, N: 70, batches: 1 };

test("a search measures every shape, and products with what it found are right", async () => {
  try {
    const found = await tuneProducts({ shapes: [[64, 64, 64], [5, 300, 20]], save: false });
    assertEquals(found.map((f) => f.shape), [[64, 64, 64], [5, 300, 20]]);
    for (const { before, after, tile } of found) {
      assert(before > 0 && after > 0 && after <= before);
      assert(/^\d+ x \d+, \d+ x \d+ a thread$/.test(tile));
    }
  } finally {
    engine().assume({});
  }
});

test("every tile computes the same products", async () => {
  const numbers = (n: number, by: number) => Array.from({ length: n }, (_, i) => i * by % 11 - 5);
  const { M, K, N } = shape, a = numbers(M * K, 7), b = numbers(K * N, 5);
  const expected = Array.from({ length: M * N }, (_, at) => {
    let sum = 0;
    for (let k = 0; k < K; k++) sum += a[Math.floor(at / N) * K + k] * b[k * N + at % N];
    return sum;
  });
  try {
    for (const isSoftware of [true, false]) {
      for (const tile of productTiles({ ...engine().limits, isSoftware })) {
        engine().assume({ isSoftware, tiles: new Map([[classOf(shape), tile]]) });
        assertEquals(productTile(shape, engine().limits), tile);
        const y = tensor(a, { shape: [M, K], device: "webgpu" }).matmul(
          tensor(b, { shape: [K, N], device: "webgpu" }),
        );
        assertEquals([...await y.data()], expected);
      }
    }
  } finally {
    engine().assume({});
  }
});

test("where bits must repeat the rule picks tiles", () => {
  const rule = productTile(shape, { ...engine().limits, tiles: new Map() });
  const other = productTiles(engine().limits).find((t) => JSON.stringify(t) !== JSON.stringify(rule))!;
  const limits = { ...engine().limits, tiles: new Map([[classOf(shape), other]]) };
  assertEquals(productTile(shape, limits), other);
  useDeterministicAlgorithms(true);
  try {
    assertEquals(productTile(shape, limits), rule);
  } finally {
    useDeterministicAlgorithms(false);
  }
});

test("tiles are kept in a file; what is no tile of ours, and no file of ours, is not read", () => {
  const folder = Deno.makeTempDirSync(), path = `${folder}/deep/tiles.json`, { limits } = engine();
  try {
    assertEquals(loadTiles(path, limits), undefined);
    const tiles: Tiles = new Map([[classOf(shape), productTiles(limits)[1]]]);
    assert(saveTiles(path, tiles));
    assertEquals(loadTiles(path, limits), tiles);
    assertEquals([...Deno.readDirSync(`${folder}/deep`)].map((f) => f.name), ["tiles.json"]);
    const text = Deno.readTextFileSync(path);
    for (
      const bad of [
        "",
        "[]",
        "null",
        text.replace("tiles 1", "tiles 0"),
        text.replace(/"rows": \d/, '"rows": 3'),
      ]
    ) {
      Deno.writeTextFileSync(path, bad);
      assertEquals(loadTiles(path, limits), undefined);
    }
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

test("each adapter has a file of its own", () => {
  const { info } = engine(), path = tilesPath(info);
  if (path === null) return; // there is no home folder
  assert(/[/\\]cotangent\/tiles-[A-Za-z0-9.-]+\.json$/.test(path));
  assert(path !== tilesPath({ ...info, description: "another" }));
});

test("shapes that are none are refused", async () => {
  await assertRejects(() => tuneProducts({ shapes: [[0, 1, 1]] }), RangeError, "must be [M, K, N]");
  await assertRejects(() => tuneProducts({ shapes: 3 as never }), TypeError, "list");
  await assertRejects(() => tuneProducts({ sizes: [] } as never), TypeError, "sizes");
});
