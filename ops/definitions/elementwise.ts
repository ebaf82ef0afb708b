/** All functions of one element and of matching elements, by family. */
export * from "./arithmetic.ts";
export * from "./selection.ts";
export * from "./comparison.ts";
export * from "./exponential.ts";
export * from "./trigonometric.ts";
export * from "./activation.ts";
export * from "./rounding.ts";
export * from "./cast.ts";
export * from "./special.ts";
