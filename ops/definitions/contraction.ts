/** The matrix product, which every contraction of tensors comes down to. */
import { apply } from "../node.ts";
import { allBatched, contraction } from "../families.ts";
import { sameShape, showShape } from "../shape.ts";
import { isFloat } from "../dtype.ts";

export const matmul = contraction({
  name: "matmul",
  tex: ([a, b]) => `${a}\\,${b}`,
  texPullbacks: ([a, b], y) => [`\\bar{${y}}\\,{${b}}^\\top`, `{${a}}^\\top\\,\\bar{${y}}`],
  infer: ([a, b]) => {
    const m = a.shape.length, n = b.shape.length;
    if (a.shape[m - 1] !== b.shape[n - 2]) {
      throw new RangeError(
        `Cannot matmul shapes ${showShape(a.shape)} and ${showShape(b.shape)}: ` +
          `the last axis of the first has length ${a.shape[m - 1]}, ` +
          `the second to last axis of the second ${b.shape[n - 2]}, which must be equal` +
          (b.shape[n - 1] === a.shape[m - 2]
            ? ". In the other order they fit: of a composition, the Jacobian of the outer function comes first, " +
              "J(f ∘ g) = J(f) J(g)"
            : ""),
      );
    }
    if (m !== n || !sameShape(a.shape.slice(0, -2), b.shape.slice(0, -2))) {
      throw new Error(`Internal: matmul of ${showShape(a.shape)} and ${showShape(b.shape)}`);
    }
    if (a.dtype !== b.dtype) {
      throw new TypeError(
        `Cannot matmul types ${a.dtype} and ${b.dtype}: convert one of them, as in x.to("${a.dtype}")`,
      );
    }
    if (a.dtype === "bool") {
      throw new TypeError(`Cannot matmul tensors of type bool: convert them, as in x.to("f32")`);
    }
    return { shape: [...a.shape.slice(0, -1), b.shape[n - 1]], dtype: a.dtype };
  },
  vjp: (ct, { x: [a, b], needs }) => [
    needs[0] && isFloat(a.dtype) ? apply(matmul, [ct, b.mT()]) : null,
    needs[1] && isFloat(b.dtype) ? apply(matmul, [a.mT(), ct]) : null,
  ],
  jvp: ([da, db], { x: [a, b] }) => {
    const left = da === null ? null : apply(matmul, [da, b]);
    const right = db === null ? null : apply(matmul, [a, db]);
    return left === null ? right : right === null ? left : left.add(right);
  },
  batch: (x, batched, _, B) => {
    const [a, b] = x;
    // A shared right factor of plain matrices: the batch axis joins the rows, one product instead of B.
    if (batched[0] && !batched[1] && b.rank === 2) {
      const [M, K] = a.shape.slice(1);
      return apply(matmul, [a.reshape([B * M, K]), b]).reshape([B, M, b.shape[1]]);
    }
    return apply(matmul, allBatched(x, batched, B));
  },
});
