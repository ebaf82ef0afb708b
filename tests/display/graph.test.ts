import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { displayHook } from "../../display/bundle.ts";
import { drawGraph, type GraphNode, type GraphPicture } from "../../display/graph.ts";
import { layOut } from "../../display/graph_layout.ts";

const leaf = (id: string, rest: Partial<GraphNode> = {}): GraphNode => ({
  id,
  kind: "leaf",
  label: id,
  shape: [],
  dtype: "f32",
  ...rest,
});
const op = (id: string, label: string, rest: Partial<GraphNode> = {}): GraphNode => ({
  ...leaf(id),
  kind: "op",
  label,
  ...rest,
});

const micrograd: GraphPicture = {
  nodes: [
    leaf("a", { value: 2, cotangent: -3 }),
    leaf("b", { value: -3, cotangent: 2 }),
    op("m", "mul", { value: -6, formula: "a b", derivative: "b" }),
    op("L", "sum", { kind: "output", name: "L", shape: [2, 3] }),
  ],
  edges: [{ from: "a", to: "m" }, { from: "b", to: "m" }, { from: "m", to: "L" }],
};

Deno.test("a graph is a tree from its output in a terminal", () => {
  assertEquals(drawGraph(micrograd, { title: "G" })[displayHook] !== undefined, true);
  assertEquals(
    drawGraph(micrograd, { title: "G" }).text(),
    `G
L = sum  f32[2,3]
└─ mul  f32  data -6
   ├─ a  f32  data 2  grad -3
   └─ b  f32  data -3  grad 2`,
  );
});

Deno.test("what a terminal has shown before is only named", () => {
  const shared = drawGraph({
    nodes: [leaf("x"), op("h", "tanh"), op("y", "mul")],
    edges: [{ from: "x", to: "h" }, { from: "h", to: "y", label: "left" }, {
      from: "h",
      to: "y",
      label: "right",
    }],
  });
  assertStringIncludes(shared.text(), "├─ left: tanh  f32\n│  └─ x  f32\n└─ right: tanh  (above)");
});

Deno.test("a graph has a spec with tooltips, an SVG and text", async () => {
  const bundle = await drawGraph(micrograd)[displayHook]();
  assertEquals(Object.keys(bundle), ["application/vnd.vegalite.v5+json", "image/svg+xml", "text/plain"]);
  const spec = JSON.stringify(bundle["application/vnd.vegalite.v5+json"]);
  assertStringIncludes(spec, '"formula":"a b"');
  assertStringIncludes(spec, '"derivative":"b"');
  assertStringIncludes(String(bundle["image/svg+xml"]), "data −6");
});

Deno.test("names of nodes cannot inject markup", async () => {
  const evil = "</text><script>alert(1)</script>";
  const picture = { nodes: [leaf("x", { name: evil, value: evil, formula: evil })], edges: [] };
  const svg = String((await drawGraph(picture, { title: evil })[displayHook]())["image/svg+xml"]);
  assert(!svg.includes("<script"));
});

Deno.test("edges run from border to border and boxes of a layout do not overlap", async () => {
  const boxes = Array.from({ length: 30 }, (_, i) => ({ id: i, width: 40 + 13 * (i % 5), height: 30 }));
  const edges = boxes.slice(2).flatMap(({ id }) => [{ from: id >> 1, to: id }, { from: id - 1, to: id }]);
  for (const direction of ["down", "right"] as const) {
    const { boxes: placed, routes } = await layOut(boxes, edges, direction);
    for (const a of placed) {
      for (const b of placed) {
        if (a === b) continue;
        const apart = Math.abs(a.x - b.x) >= (a.width + b.width) / 2 - 0.01 ||
          Math.abs(a.y - b.y) >= (a.height + b.height) / 2 - 0.01;
        assert(apart, `${direction}: ${a.id} and ${b.id} overlap`);
      }
    }
    for (const { from, to, points } of routes) {
      const source = placed[Number(from)], target = placed[Number(to)];
      const [start, end] = [points[0], points[points.length - 1]];
      if (direction === "down") {
        assertEquals(start[1], source.y + source.height / 2);
        assertEquals(end[1], target.y - target.height / 2);
      } else {
        assertEquals(start[0], source.x + source.width / 2);
        assertEquals(end[0], target.x - target.width / 2);
      }
    }
  }
});

Deno.test("parallel edges enter side by side", async () => {
  const boxes = [{ id: "x", width: 50, height: 30 }, { id: "y", width: 50, height: 30 }];
  const { routes } = await layOut(boxes, [{ from: "x", to: "y" }, { from: "x", to: "y" }], "down");
  assert(routes[0].points.at(-1)![0] < routes[1].points.at(-1)![0]);
});

Deno.test("a chain of 100,000 nodes is folded, not recursed into", () => {
  const nodes = Array.from({ length: 100_000 }, (_, i) => op(String(i), "add"));
  const edges = nodes.slice(1).map((_, i) => ({ from: String(i), to: String(i + 1) }));
  const lines = drawGraph({ nodes, edges }).text().split("\n");
  assertEquals(lines, ["100,000 nodes and 99,999 edges", "├─ add  f32", "└─ add × 99,999  (99,999 ops)"]);
});

Deno.test("graphs that are empty, broken or cyclic never make the hook throw", async () => {
  const pictures: GraphPicture[] = [
    { nodes: [], edges: [] },
    { nodes: [leaf("x")], edges: [{ from: "x", to: "nowhere" }] },
    { nodes: [op("a", "a"), op("b", "b")], edges: [{ from: "a", to: "b" }, { from: "b", to: "a" }] },
    { nodes: [op("a", "a")], edges: [{ from: "a", to: "a" }] },
  ];
  for (const picture of pictures) assert("text/plain" in await drawGraph(picture)[displayHook]());
});
