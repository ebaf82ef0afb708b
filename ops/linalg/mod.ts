/** Linear algebra: PyTorch's `torch.linalg` in camelCase, on matrices in the last two axes of a tensor. */
export * from "./factor.ts";
export * from "./norms.ts";
export * from "./products.ts";
export * from "./solve.ts";
export type { ToleranceOptions } from "./support.ts";
