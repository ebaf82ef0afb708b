/** Folding: modules, repeated blocks and long stretches of a graph become boxes that open level by level. */

import {
  boxOf,
  contents,
  countOf,
  type Folded,
  type FoldedEdge,
  type GroupItem,
  type Item,
  type NodeItem,
  nodesOf,
} from "./graph_items.ts";
import type { GraphEdge, GraphGroup, GraphNode, GraphPicture } from "./graph_picture.ts";
import { findRepeats } from "./graph_repeats.ts";
import { plainLine } from "./parts.ts";

/** Boxes up to which parameters have boxes of their own; that are readable together; most that are drawn. */
const FEW = 24, READABLE = 40, MOST = 300;
/** A sequence longer than this is cut into about so many stretches. */
const LONG = 64, STRETCHES = 32, SHORTEST = 8;
/** From so many times on single ops in a row are one box. */
const OFTEN = 4;

/**
 * Folds a graph so that few enough boxes are left, `readable` or so; `depth` levels of groups are opened where that is given.
 */
export function fold(picture: GraphPicture, depth?: number, readable = READABLE): Folded {
  const builder = new Builder(picture), root = builder.build();
  open(root, depth, builder.told, readable);
  if (countOf(root) > FEW || readable < READABLE) builder.tellOperands();
  const { edges, carries } = builder.edges();
  return { root, edges, carries, boxes: countOf(root), size: picture.nodes.length };
}

/** Opens groups from the outside in, in each level the largest first, while boxes are few; `told` are those that need none. */
function open(
  root: GroupItem,
  depth: number | undefined,
  told: ReadonlySet<Item>,
  readable: number,
): void {
  const most = depth === undefined ? readable : MOST;
  const boxesIn = (group: GroupItem): number => group.items.filter((item) => !told.has(item)).length;
  root.open = true;
  let boxes = boxesIn(root), level: GroupItem[] = [root];
  for (let opened = 0; opened < (depth ?? Infinity) && level.length > 0; opened++) {
    const next = level.filter((group) => group.open).flatMap(({ items }) => items)
      .filter((item) => item.kind === "group" && item.items.length > 1) as GroupItem[];
    // What is alike is opened together or not at all.
    const kinds = new Map<string, GroupItem[]>();
    for (const group of next) kinds.set(group.label, [...kinds.get(group.label) ?? [], group]);
    const sizes = new Map(Array.from(kinds.values(), (groups) => [groups, groups.flatMap(nodesOf).length]));
    for (const groups of [...kinds.values()].sort((a, b) => sizes.get(b)! - sizes.get(a)!)) {
      const more = groups.reduce((sum, group) => sum + boxesIn(group) - 1, 0);
      if (boxes + more > most) continue;
      for (const group of groups) group.open = true;
      boxes += more;
    }
    level = next;
  }
}

/** Nodes so that each stands behind what it reads; an error where they run in a circle. */
function inOrder({ nodes, edges }: GraphPicture): readonly GraphNode[] {
  const place = new Map(nodes.map(({ id }, i) => [id, i]));
  const readers: number[][] = nodes.map(() => []), waits = nodes.map(() => 0);
  let isSorted = true;
  for (const { from, to } of edges) {
    const a = place.get(from), b = place.get(to);
    if (a === undefined || b === undefined || a === b) continue;
    readers[a].push(b);
    waits[b]++;
    isSorted &&= a < b;
  }
  if (isSorted) return nodes;
  const ready = nodes.flatMap((_, i) => waits[i] === 0 ? [i] : []).reverse(), order: GraphNode[] = [];
  while (ready.length > 0) {
    const i = ready.pop()!;
    order.push(nodes[i]);
    for (const reader of readers[i]) if (--waits[reader] === 0) ready.push(reader);
  }
  if (order.length < nodes.length) throw new Error("the graph has a cycle");
  return order;
}

/** Says what is in a stretch of items. */
function contentsOf(items: readonly Item[]): string {
  const own = items.filter((item) =>
    item.kind === "group" || item.node.kind === "op" || item.node.kind === "output"
  );
  if (own.length > 0 && own.length <= 3) {
    return own.map((item) => item.kind === "node" ? plainLine(item.node.label) : item.name || item.label)
      .join(" + ");
  }
  const ops = items.flatMap(nodesOf).filter(({ node }) => node.kind === "op" || node.kind === "output");
  return ops.length === 0 ? "values" : contents(ops.map(({ node }) => plainLine(node.label)));
}

class Builder {
  readonly #items: NodeItem[];
  readonly #edges: { from: NodeItem; to: NodeItem; edge: GraphEdge }[] = [];
  readonly #readers = new Map<NodeItem, NodeItem[]>();
  readonly #reads = new Map<NodeItem, number>();
  readonly #groups = new Map<string | number, GraphGroup>();
  /** The node of the first instance, by those of later ones. */
  readonly #stands = new Map<NodeItem, NodeItem>();
  /** Where a node stands in repeated groups: the group and the instance. */
  readonly #places = new Map<NodeItem, [GroupItem, number][]>();
  /** Parameters and numbers that only one op reads. */
  readonly told = new Set<NodeItem>();
  readonly #told = new Set<NodeItem>();
  #made = 0;

  constructor(picture: GraphPicture) {
    for (const group of picture.groups ?? []) this.#groups.set(group.id, group);
    this.#items = inOrder(picture).map((node, index) => ({
      kind: "node",
      node,
      index,
      operands: [],
      parent: null,
    }));
    const byId = new Map(this.#items.map((item) => [item.node.id, item]));
    for (const edge of picture.edges) {
      const from = byId.get(edge.from), to = byId.get(edge.to);
      if (from === undefined || to === undefined || from === to) continue;
      this.#edges.push({ from, to, edge });
      this.#readers.set(from, [...this.#readers.get(from) ?? [], to]);
      this.#reads.set(to, (this.#reads.get(to) ?? 0) + 1);
    }
    for (const [item, readers] of this.#readers) {
      const { kind, label } = item.node, isSmall = kind === "constant" || label === "parameter";
      if (isSmall && !this.#reads.has(item) && readers.length === 1) this.told.add(item);
    }
  }

  build(): GroupItem {
    const root = this.#group("", "", {});
    this.#nest(root);
    // A frame around all others, or around one op, says nothing.
    const outer = root.items.filter((item) => item.kind === "group");
    if (outer.length === 1 && outer[0].name === "" && outer[0].items.some(({ kind }) => kind === "group")) {
      root.items = root.items.flatMap((item) => item === outer[0] ? outer[0].items : [item]);
    }
    dissolve(root);
    link(root);
    this.#placeLeaves(root);
    if (this.#items.length > READABLE) this.#shorten(root);
    link(root);
    return root;
  }

  /** Takes the boxes of operands away that their reader's box can tell of. */
  tellOperands(): void {
    for (const item of this.told) {
      const [reader] = this.#readers.get(item)!;
      if (boxOf(reader) !== reader || boxOf(item) !== item) continue;
      reader.operands.push(item);
      this.#takeAway(item);
    }
    // A number that only a closed group reads is its own affair.
    for (const item of this.#items) {
      if (item.node.kind !== "constant" || this.#reads.has(item) || boxOf(item) !== item) continue;
      const readers = new Set(this.#readers.get(item)?.map(boxOf));
      if (readers.size === 1 && [...readers][0].kind === "group") this.#takeAway(item);
    }
  }

  #takeAway(item: NodeItem): void {
    this.#told.add(item);
    item.parent!.items = item.parent!.items.filter((other) => other !== item);
  }

  /** What is drawn as lines, and the boxes whose values go on to the next instance of what repeats. */
  edges(): { edges: FoldedEdge[]; carries: Set<Item> } {
    const carries = new Set<Item>();
    const found = new Map<string, FoldedEdge & { edges: GraphEdge[] }>(),
      parallel = new Map<string, number>();
    for (const item of this.#items) if (item.node.carried && boxOf(item) === item) carries.add(item);
    const idOf = (item: Item): string => item.kind === "node" ? `${item.index}` : item.id;
    for (const { from, to, edge } of this.#edges) {
      const u = this.#first(from), v = this.#first(to), a = boxOf(u), b = boxOf(v);
      if (this.#areApart(from, to)) {
        // From one instance to the next.
        if (a !== b || a === u) carries.add(a);
        continue;
      }
      if (a === b || this.#told.has(u)) continue;
      const isFirst = u === from && v === to;
      let key = `${idOf(a)},${idOf(b)}`;
      if (isFirst && a === u && b === v) {
        const nth = parallel.get(key) ?? 0;
        parallel.set(key, nth + 1);
        if (nth > 0) key += `,${nth}`;
      }
      const known = found.get(key);
      if (known === undefined) found.set(key, { from: a, to: b, source: u.node, edges: [edge] });
      else if (isFirst || !this.#stands.has(to)) known.edges.push(edge);
    }
    return { edges: [...found.values()], carries };
  }

  #first(item: NodeItem): NodeItem {
    let node = item;
    for (let next = this.#stands.get(node); next !== undefined; next = this.#stands.get(node)) node = next;
    return node;
  }

  #areApart(a: NodeItem, b: NodeItem): boolean {
    const there = this.#places.get(b);
    if (there === undefined) return false;
    const here = this.#places.get(a) ?? [];
    return here.some(([group, k]) => there.some(([other, l]) => group === other && k !== l));
  }

  #group(
    label: string,
    name: string,
    facts: GroupItem["facts"],
    items: Item[] = [],
    source: GroupItem["source"] = null,
  ): GroupItem {
    const id = `g${this.#made++}`;
    return {
      kind: "group",
      id,
      source,
      label,
      name,
      facts,
      items,
      instances: null,
      names: [],
      open: false,
      parent: null,
    };
  }

  /** Puts ops into the groups that they name. What is computed in between would make a circle, so it parts a group. */
  #nest(root: GroupItem): void {
    let open: { id: string | number; item: GroupItem }[] = [];
    for (const item of this.#items) {
      if (!this.#reads.has(item)) continue;
      const path = this.#path(item.node.within);
      let common = 0;
      while (common < open.length && common < path.length && open[common].id === path[common].id) common++;
      open = open.slice(0, common);
      for (const { id, label, name, facts } of path.slice(common)) {
        const group = this.#group(plainLine(label), plainLine(name ?? ""), facts ?? {}, [], id);
        (open.at(-1)?.item ?? root).items.push(group);
        open.push({ id, item: group });
      }
      (open.at(-1)?.item ?? root).items.push(item);
    }
  }

  #path(within: string | number | undefined): GraphGroup[] {
    const path: GraphGroup[] = [];
    while (within !== undefined) {
      const group = this.#groups.get(within);
      if (group === undefined || path.includes(group)) break;
      path.unshift(group);
      within = group.within;
    }
    return path;
  }

  /** Leaves stand in the innermost group that has all their readers, in front of the first of them. */
  #placeLeaves(root: GroupItem): void {
    const starts = new Map<Item, Item[]>(), fronts = new Map<Item, Item[]>();
    const alone: Item[] = [];
    for (const item of this.#items) {
      if (this.#reads.has(item)) continue;
      const readers = this.#readers.get(item);
      if (readers === undefined) {
        alone.push(item);
        continue;
      }
      let home = readers.map((reader) => reader.parent ?? root).reduce(commonGroup);
      const { label, within } = item.node;
      if (label !== "parameter" && label !== "cell") {
        // Data that comes from outside of a group stays outside.
        const own = new Set(this.#path(within).map(({ id }) => id));
        while (home.parent !== null && (home.source === null || !own.has(home.source))) home = home.parent;
      }
      let front: Item = readers[0];
      while (front.parent !== home) front = front.parent!;
      // What comes into a group from outside is at hand before all that repeats.
      const place = front.kind === "group" ? home : front;
      const list = place === home ? starts : fronts;
      list.set(place, [...list.get(place) ?? [], item]);
    }
    const visit = (group: GroupItem): void => {
      for (const item of group.items) if (item.kind === "group") visit(item);
      group.items = [
        ...starts.get(group) ?? [],
        ...group.items.flatMap((item) => [...fronts.get(item) ?? [], item]),
      ];
    };
    visit(root);
    root.items = [...alone, ...root.items];
  }

  /** Joins what repeats and cuts what is still long, inner groups first; numbers tell equal structures. */
  #shorten(root: GroupItem): void {
    const numbers = new Map<string, number>(), structure = new Map<Item, number>();
    const numberOf = (text: string): number => {
      const known = numbers.get(text) ?? numbers.size;
      numbers.set(text, known);
      return known;
    };
    const visit = (group: GroupItem): void => {
      for (const item of group.items) {
        if (item.kind === "group") visit(item);
        else {
          const { kind, label, dtype, shape } = item.node;
          structure.set(item, numberOf(`${kind} ${label} ${dtype}[${shape}] ${this.#reads.get(item) ?? 0}`));
        }
      }
      group.items = this.#joined(group.items, structure);
      const inside = group.items.map((item) =>
        `${structure.get(item)}${
          item.kind === "group" && item.instances !== null ? `×${item.instances.length}` : ""
        }`
      );
      // Layers 3 and 4 are alike, queries and keys are not.
      structure.set(group, numberOf(`${group.name.replaceAll(/\d+/g, "#")} ${group.label}(${inside})`));
      group.items = this.#cut(group.items);
    };
    visit(root);
  }

  #joined(items: Item[], structure: Map<Item, number>): Item[] {
    // The ops of a short stretch are worth seeing, though some repeat.
    const isShort = items.length <= READABLE, joined: Item[] = [];
    const weights = items.map((item) => item.kind === "group" ? 4 : isShort ? 0 : 1);
    const sequence = items.map((item) => structure.get(item)!);
    for (const { at, period, times } of findRepeats(sequence, weights, isShort ? Infinity : OFTEN)) {
      if (times === 1) {
        joined.push(...items.slice(at, at + period));
        continue;
      }
      const lists = Array.from(
        { length: times },
        (_, k) => items.slice(at + k * period, at + (k + 1) * period),
      );
      const first = lists[0][0], last = lists[times - 1][0];
      // Instances of one group each are that group several times.
      const isGroup = period === 1 && first.kind === "group" && first.instances === null;
      const instances = isGroup ? lists.map(([item]) => (item as GroupItem).items) : lists;
      const name = isGroup && last.kind === "group" ? spanOf(first.name, last.name) : "";
      const group: GroupItem = {
        ...this.#group(isGroup ? first.label : contentsOf(lists[0]), name, isGroup ? first.facts : {}, [
          ...instances[0],
        ]),
        instances,
        names: isGroup ? lists.map(([item]) => (item as GroupItem).name) : [],
      };
      instances.forEach((list, k) => {
        for (const node of list.flatMap(nodesOf)) {
          this.#places.set(node, [...this.#places.get(node) ?? [], [group, k]]);
        }
        if (k > 0) list.forEach((item, i) => this.#pair(instances[0][i], item));
      });
      structure.set(group, structure.get(first)!);
      joined.push(group);
    }
    return joined;
  }

  /** Lets the nodes of `first` stand for those of `other`, which has the same structure. */
  #pair(first: Item, other: Item): void {
    if (first.kind === "node" && other.kind === "node") this.#stands.set(other, first);
    if (first.kind !== "group" || other.kind !== "group") return;
    if (first.instances === null) other.items.forEach((item, i) => this.#pair(first.items[i], item));
    else {other.instances!.forEach((list, k) =>
        list.forEach((item, i) => this.#pair(first.instances![k][i], item))
      );}
  }

  #cut(items: Item[]): Item[] {
    if (items.length <= LONG) return items;
    const size = Math.max(SHORTEST, Math.ceil(items.length / STRETCHES)), cut: Item[] = [];
    for (let at = 0; at < items.length; at += size) {
      const stretch = items.slice(at, at + size);
      cut.push(
        stretch.length === 1 ? stretch[0] : this.#group(contentsOf(stretch), "", {}, this.#cut(stretch)),
      );
    }
    return cut;
  }
}

/** Replaces groups of one op by what is in them. */
function dissolve(group: GroupItem): void {
  group.items = group.items.flatMap((item) => {
    if (item.kind === "node") return [item];
    dissolve(item);
    return item.items.length === 1 ? item.items : [item];
  });
}

function link(group: GroupItem): void {
  for (const list of group.instances ?? [group.items]) {
    for (const item of list) {
      item.parent = group;
      if (item.kind === "group") link(item);
    }
  }
  for (const item of group.items) item.parent = group;
}

function commonGroup(a: GroupItem, b: GroupItem): GroupItem {
  const around = new Set<GroupItem>();
  for (let g: GroupItem | null = a; g !== null; g = g.parent) around.add(g);
  let found = b;
  while (!around.has(found)) found = found.parent!;
  return found;
}

/** `layers.0 … 11` of `layers.0` and `layers.11`. */
function spanOf(first: string, last: string): string {
  if (first === last) return first;
  const a = first.split("."), b = last.split(".");
  let common = 0;
  while (common < a.length - 1 && a[common] === b[common]) common++;
  return `${first} … ${b.slice(common).join(".")}`;
}
