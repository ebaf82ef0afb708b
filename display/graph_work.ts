/** The work of kernels, for the boxes that stand for them. */
import { type Item, nodesOf } from "./graph_items.ts";
import type { KernelWork } from "./graph_picture.ts";
import { formatBytes, formatCount, formatNumber } from "./parts.ts";

/** The work of all kernels that begin in an item, or null where there is none. */
export function workIn(item: Item): KernelWork | null {
  const sum = { kernels: 0, flops: 0, read: 0, written: 0, again: 0 };
  for (const { node: { work } } of nodesOf(item)) {
    if (work === undefined) continue;
    sum.kernels += work.kernels;
    sum.flops += work.flops;
    sum.read += work.read;
    sum.written += work.written;
    sum.again += work.again;
  }
  return sum.kernels === 0 ? null : sum;
}

/** Work in words: how many kernels and what they compute; bytes read and written; what is computed again. */
export function workText({ kernels, flops, read, written, again }: KernelWork): string[] {
  const count = kernels === 1 ? "" : `${formatNumber(kernels)} kernels, `;
  return [
    `${count}${formatCount(flops)} op`,
    `${formatBytes(read)} → ${formatBytes(written)}`,
    ...again === 0 ? [] : [`${formatNumber(again)} ops again`],
  ];
}
