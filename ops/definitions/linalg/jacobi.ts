/** Jacobi's rotations in rounds of disjoint pairs, which threads take at the same time. */

/** Rounds in which each of n columns meets each other one once; `pairOf(k, n, round)` is the kernels' pair k of one. */
export function rounds(n: number): number {
  return n < 2 ? 0 : n + n % 2 - 1;
}

/** Sweeps that make all of single precision, of n columns; convergence is quadratic in the end. */
export function sweeps(n: number): number {
  return 6 + Math.ceil(Math.log2(n + 1));
}

/** WGSL that sets c and s to the rotation whose angle has cot(2 angle) = `cotangent`. */
export const ROTATION = (cotangent: string): string => `
  // Beyond 1e9 the tangent is 1 / (2 cotangent) to the last bit, and the square would overflow.
  let big = abs(${cotangent}) > 1e9; let safe = select(${cotangent}, 1.0, big);
  let tangent = select(select(1.0, -1.0, ${cotangent} < 0.0) / (abs(safe) + sqrt(safe * safe + 1.0)), 0.5 / ${cotangent}, big);
  c = 1.0 / sqrt(tangent * tangent + 1.0); s = tangent * c;`;
