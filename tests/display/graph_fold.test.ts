/** Folding of graphs: modules, repeats and long stretches become boxes; frames and lines lie where they belong. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { drawGraph, type GraphGroup, type GraphNode, type GraphPicture } from "../../display/graph.ts";
import { fold } from "../../display/graph_fold.ts";
import { boxesOf, framesOf, type GroupItem } from "../../display/graph_items.ts";
import { planFrames } from "../../display/graph_frames.ts";
import { findRepeats } from "../../display/graph_repeats.ts";
import { highwayOf } from "../../display/graph_flow.ts";
import { groupTitle } from "../../display/graph_text.ts";

const op = (id: number | string, label: string, within?: string | number): GraphNode => ({
  id,
  kind: "op",
  label,
  shape: [4],
  dtype: "f32",
  ...(within === undefined ? {} : { within }),
});
const leaf = (id: string, within?: string): GraphNode => ({
  ...op(id, "parameter", within),
  kind: "leaf",
  name: id,
});

/** A chain of blocks x + tanh(x w), each in a group of its own inside a model. */
function residual(blocks: number): GraphPicture {
  const nodes: GraphNode[] = [{ ...leaf("x"), label: "data" }], edges = [];
  const groups: GraphGroup[] = [{ id: "m", label: "Model" }];
  let last = "x";
  for (let i = 0; i < blocks; i++) {
    groups.push({ id: `b${i}`, label: "Block", name: `blocks.${i}`, within: "m" });
    nodes.push(leaf(`blocks.${i}.w`), op(`mul${i}`, "mul", `b${i}`), op(`tanh${i}`, "tanh", `b${i}`));
    nodes.push(op(`add${i}`, "add", `b${i}`));
    edges.push({ from: last, to: `mul${i}` }, { from: `blocks.${i}.w`, to: `mul${i}` });
    edges.push({ from: `mul${i}`, to: `tanh${i}` }, { from: last, to: `add${i}` }, {
      from: `tanh${i}`,
      to: `add${i}`,
    });
    last = `add${i}`;
  }
  nodes.push(op("loss", "sum"));
  edges.push({ from: last, to: "loss" });
  return { nodes, edges, groups };
}

const groupsIn = (root: GroupItem): string[] =>
  [...framesOf(root), ...boxesOf(root).filter((item) => item.kind === "group")].map((group) =>
    groupTitle(group as GroupItem)
  );

Deno.test("repeats are found with their period, the longest first, and light ones only where they are many", () => {
  const repeats = (text: string, weight = 4): string[] =>
    findRepeats([...text].map((c) => c.charCodeAt(0)), [...text].map(() => weight), 4)
      .map(({ at, period, times }) => `${text.slice(at, at + period)}${times > 1 ? `×${times}` : ""}`);
  assertEquals(repeats("xabcabcabcy"), ["x", "abc×3", "y"]);
  assertEquals(repeats("aaaa"), ["a×4"]);
  assertEquals(repeats("abab"), ["ab×2"]);
  assertEquals(repeats("aabb", 1), ["a", "a", "b", "b"]);
  assertEquals(repeats("aaaab", 1), ["a×4", "b"]);
  assertEquals(repeats("abcdabcd", 1), ["abcd×2"]);
  assertEquals(repeats(""), []);
});

Deno.test("equal blocks are one frame with their number, and parameters stand in the box of their reader", () => {
  const { root, boxes } = fold(residual(12));
  assertEquals(groupsIn(root), ["blocks.0 … 11: Block × 12"]);
  assertEquals(boxes, 6); // x, w, mul, tanh, add, loss
  assertEquals(
    drawGraph(residual(20)).text(),
    `82 nodes and 101 edges
├─ x  f32[4]
├─ blocks.0 … 19: Block × 20  (60 ops, 80 parameters)
│  ├─ w  f32[4]
│  ├─ mul  f32[4]
│  ├─ tanh  f32[4]
│  └─ add  f32[4]
└─ sum  f32[4]`,
  );
});

Deno.test("depth opens groups level by level", () => {
  const shown = (depth: number): number => fold(residual(12), depth).boxes;
  assertEquals([shown(0), shown(1)], [3, 6]);
});

Deno.test("a residual highway is one line through blocks", () => {
  const few = fold(residual(4)), lines = highwayOf(few);
  const names = few.edges.filter((edge) => lines.has(edge)).map(({ from, to }) =>
    [from, to].map((item) => item.kind === "node" ? item.node.id : item.name).join(" → ")
  );
  assertEquals(names, ["x → add0", "add0 → add1", "add1 → add2", "add2 → add3", "add3 → loss"]);
});

Deno.test("a graph of 10,000 different nodes is drawn with at most 300 boxes at any depth", () => {
  const labels = ["sin", "mul", "add", "exp", "tanh", "neg"];
  const nodes = Array.from(
    { length: 10_000 },
    (_, i) => op(i, labels[Math.floor(6 * Math.abs(Math.sin(i * i)))]),
  );
  const edges = nodes.slice(1).map(({ id }) => ({ from: Number(id) - 1, to: id }));
  for (const depth of [undefined, 0, 1, 2, 5]) {
    const { boxes } = fold({ nodes, edges }, depth);
    assert(boxes <= (depth === undefined ? 40 : 300) && boxes >= 20, `${boxes} boxes at depth ${depth}`);
  }
});

Deno.test("a group with something computed in between is parted, since it would run in a circle", () => {
  const nodes = [
    op("a", "sin", "g"),
    op("b", "sin", "g"),
    op("c", "cos"),
    op("d", "sin", "g"),
    op("e", "sin", "g"),
  ];
  const edges = [{ from: "x", to: "a" }, { from: "a", to: "b" }, { from: "b", to: "c" }, {
    from: "c",
    to: "d",
  }, { from: "d", to: "e" }];
  const picture = { nodes: [leaf("x"), ...nodes], edges, groups: [{ id: "g", label: "G", name: "shared" }] };
  assertEquals(groupsIn(fold(picture).root), ["shared: G", "shared: G"]);
});

Deno.test("groups that name themselves, or nothing, do no harm", () => {
  const picture = {
    nodes: [leaf("x"), op("y", "sin", "a"), op("z", "sin", "missing")],
    edges: [{ from: "x", to: "y" }, { from: "y", to: "z" }],
    groups: [{ id: "a", label: "A", within: "b" }, { id: "b", label: "B", within: "a" }],
  };
  assertEquals(fold(picture).boxes, 3);
});

Deno.test("frames hold their boxes, boxes do not overlap, and lines join from border to border", async () => {
  const folded = fold(residual(3));
  const { boxes, frames, stretches, width, height } = await planFrames(
    folded,
    () => ({ width: 60, height: 30 }),
    "down",
  );
  assertEquals(frames.length, 3);
  for (const frame of frames) {
    const inside = boxes.filter(({ item }) => item.parent === frame.item);
    assertEquals(inside.length, 4);
    for (const box of inside) {
      assert(box.x > frame.x && box.x + box.width < frame.x + frame.width);
      assert(box.y > frame.y && box.y + box.height < frame.y + frame.height);
    }
  }
  for (const a of boxes) {
    for (const b of boxes) {
      const apart = Math.abs(2 * (a.x - b.x) + a.width - b.width) >= a.width + b.width - 0.01 ||
        Math.abs(2 * (a.y - b.y) + a.height - b.height) >= a.height + b.height - 0.01;
      assert(a === b || apart, "two boxes overlap");
    }
  }
  // Every stretch that begins at a border begins where another ends.
  const ends = stretches.map(({ points }) => points[points.length - 1]);
  for (const { points: [[x, y]], begins } of stretches) {
    assert(x >= 0 && x <= width && y >= 0 && y <= height);
    if (!begins) {
      assert(ends.some(([a, b]) => Math.hypot(a - x, b - y) < 0.01), `nothing leads to ${x}, ${y}`);
    }
  }
});

Deno.test("names of groups cannot inject markup", async () => {
  const evil = `"><script>alert(1)</script>`;
  const picture = residual(3);
  const groups = picture.groups!.map((group) => ({ ...group, label: evil, name: `${evil}${group.id}` }));
  const bundle = await drawGraph({ ...picture, groups }).present();
  assert(!String(bundle.data["image/svg+xml"]).includes("<script"));
  assertStringIncludes(String(bundle.data["image/svg+xml"]), "&lt;script&gt;");
});

Deno.test("instances that carry a value on say so, and modules of other names are not joined", () => {
  const nodes: GraphNode[] = [{ ...leaf("h"), label: "data" }], edges = [], groups: GraphGroup[] = [];
  let last = "h";
  for (let t = 0; t < 20; t++) {
    groups.push({ id: `c${t}`, label: "Cell", name: "cell" });
    for (const part of ["queries", "keys"]) {
      groups.push({ id: `${part}${t}`, label: "Linear", name: `cell.${part}`, within: `c${t}` });
      nodes.push(op(`${part}a${t}`, "mul", `${part}${t}`), op(`${part}b${t}`, "add", `${part}${t}`));
      edges.push({ from: last, to: `${part}a${t}` }, { from: `${part}a${t}`, to: `${part}b${t}` });
    }
    nodes.push(op(`sum${t}`, "add", `c${t}`));
    edges.push({ from: `queriesb${t}`, to: `sum${t}` }, { from: `keysb${t}`, to: `sum${t}` });
    last = `sum${t}`;
  }
  const folded = fold({ nodes, edges, groups });
  assertEquals(groupsIn(folded.root), ["cell: Cell × 20", "queries: Linear", "keys: Linear"]);
  assertEquals([...folded.carries].map((item) => item.kind === "node" && item.node.id), ["sum0"]);
});

Deno.test("what is alike is opened together", () => {
  const picture = residual(3);
  // Three frames of four boxes and two boxes beside them are more than ten.
  const opened = framesOf(fold(picture).root).length;
  assert(opened === 0 || opened === 3);
});
