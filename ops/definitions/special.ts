/** Special functions: the error function, the gamma function and their relatives. */
import { elementwise } from "../families.ts";
import { apply } from "../node.ts";
import type { Elementwise, Sample } from "../primitive.ts";
import * as S from "../special.ts";

export const erf = elementwise({
  name: "erf",
  tex: ([x]) => `\\operatorname{erf} ${x}`,
  texPartials: ([x]) => [`\\frac{2}{\\sqrt{\\pi}} e^{-{${x}}^2}`],
  accepts: "float",
  host: S.erf,
  wgsl: ([x]) => `erff(${x})`,
  partials: [({ x: [x] }) => x.square().neg().exp().mul(2 / Math.sqrt(Math.PI))],
  domain: [-2, 2],
  flops: 25,
});

export const erfc = elementwise({
  name: "erfc",
  tex: ([x]) => `\\operatorname{erfc} ${x}`,
  texPartials: ([x]) => [`-\\frac{2}{\\sqrt{\\pi}} e^{-{${x}}^2}`],
  accepts: "float",
  host: S.erfc,
  wgsl: ([x]) => `erfcf(${x})`,
  partials: [({ x: [x] }) => x.square().neg().exp().mul(-2 / Math.sqrt(Math.PI))],
  domain: [-2, 2],
  flops: 25,
});

export const erfinv = elementwise({
  name: "erfinv",
  tex: ([x]) => `\\operatorname{erf}^{-1} ${x}`,
  texPartials: (_, y) => [`\\frac{\\sqrt{\\pi}}{2} e^{{${y}}^2}`],
  accepts: "float",
  host: S.erfinv,
  wgsl: ([x]) => `erfinvf(${x})`,
  partials: [({ y }) => y.square().exp().mul(Math.sqrt(Math.PI) / 2)],
  domain: [-0.9, 0.9],
  flops: 20,
});

export const lgamma = elementwise({
  name: "lgamma",
  tex: ([x]) => `\\ln |\\Gamma(${x})|`,
  texPartials: ([x]) => [`\\psi(${x})`],
  accepts: "float",
  host: S.lgamma,
  wgsl: ([x]) => `lgammaf(${x})`,
  partials: [({ x: [x] }) => x.digamma()],
  domain: [0.3, 6],
  flops: 40,
});

export const digamma = elementwise({
  name: "digamma",
  tex: ([x]) => `\\psi(${x})`,
  texPartials: ([x]) => [`\\psi^{(1)}(${x})`],
  accepts: "float",
  host: S.digamma,
  wgsl: ([x]) => `digammaf(${x})`,
  partials: [({ x: [x] }) => x.polygamma(1)],
  domain: [0.3, 6],
  flops: 40,
});

/** Orders are whole numbers. */
const ORDERS: Sample[] = [[[], [2, 3]], [[], []], [[], [0, 2]]].map((shapes) => ({
  shapes,
  call: (n, x) => apply(polygamma, [n, x]),
  values: [[2]],
  domain: [[0, 1], [0.3, 6]],
  wrt: [1],
}));

/** The n-th derivative of digamma; n is data, so that orders share a kernel. */
export const polygamma: Elementwise = elementwise({
  name: "polygamma",
  tex: ([n, x]) => `\\psi^{(${n})}(${x})`,
  texPartials: ([n, x]) => ["0", `\\psi^{(${n} + 1)}(${x})`],
  accepts: "float",
  host: S.polygamma,
  wgsl: ([n, x]) => `polygammaf(${n}, ${x})`,
  partials: [null, ({ x: [n, x] }) => apply(polygamma, [n.add(1), x])],
  domain: [[0, 1], [0.3, 6]],
  samples: ORDERS,
  flops: 100,
});
