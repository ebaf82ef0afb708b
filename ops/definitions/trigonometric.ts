/** Circular and hyperbolic functions. */
import { composite } from "../composite.ts";
import { elementwise } from "../families.ts";
import { sinc as hostSinc, sincDerivative as hostSincDerivative } from "../special.ts";
import { apply } from "../node.ts";
import type { Elementwise, Sample } from "../primitive.ts";
import type { Tensor } from "../tensor.ts";

const BOTH: [number, number] = [-2, 2];

/** A derivative of `sinc` takes whole orders. */
const ORDERS: Sample[] = [[], [2], [2, 3]].map((shape) => ({
  shapes: [[], shape],
  call: (n, x) => apply(sincDerivative, [n, x]),
  values: [[2]],
  domain: [[0, 1], BOTH],
  wrt: [1],
}));

export const sin = elementwise({
  name: "sin",
  tex: ([x]) => `\\sin ${x}`,
  texPartials: ([x]) => [`\\cos ${x}`],
  accepts: "float",
  host: Math.sin,
  wgsl: ([x]) => `sinf(${x})`,
  partials: [({ x: [x] }) => x.cos()],
  domain: [-3, 3],
  flops: 10,
});

export const cos = elementwise({
  name: "cos",
  tex: ([x]) => `\\cos ${x}`,
  texPartials: ([x]) => [`-\\sin ${x}`],
  accepts: "float",
  host: Math.cos,
  wgsl: ([x]) => `cosf(${x})`,
  partials: [({ x: [x] }) => x.sin().neg()],
  domain: [-3, 3],
  flops: 10,
});

export const tanh = elementwise({
  name: "tanh",
  tex: ([x]) => `\\tanh ${x}`,
  texPartials: ([x]) => [`1 - \\tanh^2 ${x}`],
  accepts: "float",
  host: Math.tanh,
  wgsl: ([x]) => `tanhf(${x})`,
  partials: [({ y }) => y.square().neg().add(1)],
  domain: BOTH,
  flops: 10,
});

export const tan = elementwise({
  name: "tan",
  tex: ([x]) => `\\tan ${x}`,
  texPartials: ([x]) => [`1 + \\tan^2 ${x}`],
  accepts: "float",
  host: Math.tan,
  wgsl: ([x]) => `tanf(${x})`,
  partials: [({ y }) => y.square().add(1)],
  domain: [-1, 1],
  flops: 10,
});

export const asin = elementwise({
  name: "asin",
  tex: ([x]) => `\\arcsin ${x}`,
  texPartials: ([x]) => [`\\frac{1}{\\sqrt{1 - {${x}}^2}}`],
  accepts: "float",
  host: Math.asin,
  wgsl: ([x]) => `asinf(${x})`,
  partials: [({ x: [x] }) => x.square().neg().add(1).rsqrt()],
  domain: [-0.8, 0.8],
  flops: 10,
});

export const acos = elementwise({
  name: "acos",
  tex: ([x]) => `\\arccos ${x}`,
  texPartials: ([x]) => [`-\\frac{1}{\\sqrt{1 - {${x}}^2}}`],
  accepts: "float",
  host: Math.acos,
  wgsl: ([x]) => `acosf(${x})`,
  partials: [({ x: [x] }) => x.square().neg().add(1).rsqrt().neg()],
  domain: [-0.8, 0.8],
  flops: 10,
});

export const atan = elementwise({
  name: "atan",
  tex: ([x]) => `\\arctan ${x}`,
  texPartials: ([x]) => [`\\frac{1}{1 + {${x}}^2}`],
  accepts: "float",
  host: Math.atan,
  wgsl: ([x]) => `atanf(${x})`,
  partials: [({ x: [x] }) => x.square().add(1).reciprocal()],
  domain: [-3, 3],
  flops: 10,
});

export const sinh = elementwise({
  name: "sinh",
  tex: ([x]) => `\\sinh ${x}`,
  texPartials: ([x]) => [`\\cosh ${x}`],
  accepts: "float",
  host: Math.sinh,
  wgsl: ([x]) => `sinhf(${x})`,
  partials: [({ x: [x] }) => x.cosh()],
  domain: BOTH,
  flops: 10,
});

export const cosh = elementwise({
  name: "cosh",
  tex: ([x]) => `\\cosh ${x}`,
  texPartials: ([x]) => [`\\sinh ${x}`],
  accepts: "float",
  host: Math.cosh,
  wgsl: ([x]) => `coshf(${x})`,
  partials: [({ x: [x] }) => x.sinh()],
  domain: BOTH,
  flops: 10,
});

export const asinh = elementwise({
  name: "asinh",
  tex: ([x]) => `\\operatorname{arsinh} ${x}`,
  texPartials: ([x]) => [`\\frac{1}{\\sqrt{{${x}}^2 + 1}}`],
  accepts: "float",
  host: Math.asinh,
  wgsl: ([x]) => `asinhf(${x})`,
  partials: [({ x: [x] }) => x.square().add(1).rsqrt()],
  domain: [-3, 3],
  flops: 10,
});

export const acosh = elementwise({
  name: "acosh",
  tex: ([x]) => `\\operatorname{arcosh} ${x}`,
  texPartials: ([x]) => [`\\frac{1}{\\sqrt{{${x}}^2 - 1}}`],
  accepts: "float",
  host: Math.acosh,
  wgsl: ([x]) => `acoshf(${x})`,
  partials: [({ x: [x] }) => x.square().sub(1).rsqrt()],
  domain: [1.3, 4],
  flops: 10,
});

export const atanh = elementwise({
  name: "atanh",
  tex: ([x]) => `\\operatorname{artanh} ${x}`,
  texPartials: ([x]) => [`\\frac{1}{1 - {${x}}^2}`],
  accepts: "float",
  host: Math.atanh,
  wgsl: ([x]) => `atanhf(${x})`,
  partials: [({ x: [x] }) => x.square().neg().add(1).reciprocal()],
  domain: [-0.8, 0.8],
  flops: 10,
});

/** The angle of the point (x, y), from -π to π; the derivative at the origin is 0. */
export const atan2 = elementwise({
  name: "atan2",
  tex: ([y, x]) => `\\operatorname{atan2}(${y}, ${x})`,
  texPartials: ([y, x]) => [`\\frac{${x}}{{${x}}^2 + {${y}}^2}`, `-\\frac{${y}}{{${x}}^2 + {${y}}^2}`],
  accepts: "float",
  host: Math.atan2,
  wgsl: ([y, x]) => `atan2f(${y}, ${x})`,
  partials: [({ x: [y, x] }) => overSquares(x, y, x), ({ x: [y, x] }) => overSquares(y, y, x).neg()],
  domain: [[0.3, 2], BOTH],
  flops: 15,
});

/** t / (x² + y²), whose squares do not overflow. */
function overSquares(t: Tensor, y: Tensor, x: Tensor): Tensor {
  const r = y.hypot(x), away = r.where(r.ne(0), 1);
  return t.div(away).div(away);
}

export const deg2rad = composite({
  name: "deg2rad",
  tex: ([x]) => `\\frac{\\pi}{180}\\,${x}`,
  texPartials: () => ["\\frac{\\pi}{180}"],
  samples: [{ shapes: [[2, 3]], call: (x) => x.deg2rad() }],
}, (x: Tensor): Tensor => x.mul(Math.PI / 180));

export const rad2deg = composite({
  name: "rad2deg",
  tex: ([x]) => `\\frac{180}{\\pi}\\,${x}`,
  texPartials: () => ["\\frac{180}{\\pi}"],
  samples: [{ shapes: [[2, 3]], call: (x) => x.rad2deg() }],
}, (x: Tensor): Tensor => x.mul(180 / Math.PI));

export const sinc = elementwise({
  name: "sinc",
  tex: ([x]) => `\\operatorname{sinc} ${x}`,
  texPartials: ([x], y) => [`\\frac{\\cos \\pi ${x} - ${y}}{${x}}`],
  accepts: "float",
  host: hostSinc,
  wgsl: ([x]) => `sincf(${x})`,
  partials: [({ x: [x] }) => apply(sincDerivative, [x.scalarLike(1), x])],
  domain: BOTH,
  flops: 12,
});

/** Derivatives of `sinc` by their order n: quotients by x would cancel near 0. */
export const sincDerivative: Elementwise = elementwise({
  name: "sincDerivative",
  tex: ([n, x]) => `\\operatorname{sinc}^{(${n})} ${x}`,
  texPartials: ([n, x]) => ["0", `\\operatorname{sinc}^{(${n} + 1)} ${x}`],
  accepts: "float",
  host: hostSincDerivative,
  wgsl: ([n, x]) => `sincDerivativef(${n}, ${x})`,
  partials: [null, ({ x: [n, x] }) => apply(sincDerivative, [n.add(1), x])],
  domain: [[0, 1], BOTH],
  samples: ORDERS,
  flops: 60,
});
