/** The works of the benchmark: what every contender does, how close results must be, and what the issue asks of ours. */

/** A parameter of a model: its name, its shape ([out, in] for a matrix), and its values: a number, or uniform in ±scale. */
export type Parameter = readonly [name: string, shape: readonly number[], values: number | { scale: number }];

/** What `kinds` of a contender can be asked for. */
export type Kind =
  | { readonly kind: "start" }
  | {
    readonly kind: "matmul";
    readonly batch: number;
    readonly M: number;
    readonly K: number;
    readonly N: number;
    /** Operands that lie in memory transposed. */
    readonly transposed: "none" | "left" | "right" | "both";
  }
  | { readonly kind: "cheap" | "transcendental" | "softmax" | "layerNorm"; readonly shape: [number, number] }
  | { readonly kind: "attention"; readonly heads: number; readonly T: number; readonly width: number }
  | { readonly kind: "chain"; readonly ops: number }
  | Training & { readonly kind: "mlp"; readonly sizes: readonly number[] }
  | Training & {
    readonly kind: "gpt";
    readonly layers: number;
    readonly width: number;
    readonly heads: number;
    readonly T: number;
    readonly vocabulary: number;
    /** Layers in a checkpointed segment; 0 keeps everything. */
    readonly segment: number;
  };

/** What models share. */
export interface Training {
  readonly batch: number;
  readonly upTo: "forward" | "gradient" | "step";
  readonly parameters: readonly Parameter[];
}

/** What a work is measured by: a step, its first call, the part of a step before the host waits, or the peak of memory. */
export type Measure = "ms" | "firstMs" | "hostMs" | "bytes";

/** A bound of the issue on one of ours. */
export interface Target {
  readonly ours: "wasm" | "blas" | "webgpu";
  readonly measure: Measure;
  /** Against the best of these contenders, against another work of ours, or a number by itself. */
  readonly against: readonly string[] | string | null;
  readonly atMost: number;
}

export type Work = Kind & {
  readonly name: string;
  /** No function that the user must ask a compiler for. */
  readonly plain: boolean;
  /** Its memory is measured, in a process of its own, in place of its time. */
  readonly memory: boolean;
  /** Largest difference of a result, in units of the result's root mean square. */
  readonly tolerance: number;
  readonly targets: readonly Target[];
};

type Options = Partial<Pick<Work, "plain" | "memory" | "tolerance" | "targets">>;

const work = (name: string, kind: Kind, options: Options = {}): Work => ({
  ...{ name, plain: false, memory: false, tolerance: 1e-3, targets: [] },
  ...kind,
  ...options,
});

/** At most so many times the time of the best of `peers`. */
const within = (ours: Target["ours"], peers: string | string[], atMost: number): Target => ({
  ...{ ours, measure: "ms", atMost },
  against: [peers].flat(),
});
const js = ["jaxjs", "tfjs"];
const onWebgpu = (factor: number): Target => within("webgpu", js, 1 / factor);
const all = ["wasm", "blas", "webgpu"] as const;

/** At most so many times what ours takes for the work `name`. */
const times = (
  name: string,
  atMost: number,
  measure: Measure = "ms",
  ours: readonly Target["ours"][] = all,
) => ours.map((ours): Target => ({ ours, measure, against: name, atMost }));

const product = (
  name: string,
  [batch, M, K, N]: number[],
  targets: Target[],
  transposed: "none" | "left" | "right" | "both" = "none",
): Work => work(name, { kind: "matmul", batch, M, K, N, transposed }, { targets });

const uniform = (fan: number): { scale: number } => ({ scale: 1 / Math.sqrt(fan) });

function mlp(name: string, upTo: Training["upTo"], options: Options = {}): Work {
  const sizes = [784, 512, 256, 10];
  const parameters = sizes.slice(1).flatMap((out, i): Parameter[] => [
    [`${2 * i}.weight`, [out, sizes[i]], uniform(sizes[i])],
    [`${2 * i}.bias`, [out], 0],
  ]);
  return work(name, { kind: "mlp", sizes, batch: 128, upTo, parameters }, options);
}

interface Gpt {
  upTo?: Training["upTo"];
  layers?: number;
  T?: number;
  segment?: number;
}

/** Blocks that normalise first, with PyTorch's names and shapes; the head has no bias. */
function gpt(name: string, options: Options & Gpt = {}): Work {
  const { upTo = "step", layers = 2, T = 128, segment = 0, ...rest } = options;
  const width = 128, heads = 4, batch = 8, vocabulary = 512;
  const linear = (name: string, out: number, fan: number): Parameter[] => [
    [`${name}weight`, [out, fan], uniform(fan)],
    [`${name}bias`, [out], 0],
  ];
  const norm = (name: string): Parameter[] => [[`${name}.weight`, [width], 1], [`${name}.bias`, [width], 0]];
  const parameters: Parameter[] = [
    ["tokens.weight", [vocabulary, width], { scale: 0.1 }],
    ["positions", [T, width], { scale: 0.1 }],
    ...Array.from({ length: layers }, (_, i) => [
      ...norm(`blocks.${i}.norm1`),
      ...linear(`blocks.${i}.self_attn.in_proj_`, 3 * width, width),
      ...linear(`blocks.${i}.self_attn.out_proj.`, width, width),
      ...norm(`blocks.${i}.norm2`),
      ...linear(`blocks.${i}.linear1.`, 4 * width, width),
      ...linear(`blocks.${i}.linear2.`, width, 4 * width),
    ]).flat(),
    ...norm("norm"),
    ["head.weight", [vocabulary, width], uniform(width)],
  ];
  return work(name, {
    ...{ kind: "gpt", layers, width, heads, T, batch, vocabulary, segment, upTo, parameters },
  }, rest);
}

const attention = (T: number, options: Options = {}): Work =>
  work(`attention f+b T=${T}`, { kind: "attention", heads: 8, T, width: 64 }, options);

/** Peak of memory of what another row times. */
const memory = (w: Work, targets: Target[] = []): Work => ({
  ...w,
  name: `memory: ${w.name}`,
  memory: true,
  targets,
});

const attends = [within("wasm", "jaxjs", 1 / 3), within("wasm", "torch-fused", 1), onWebgpu(3)];
const trains = [within("wasm", "jaxjs", 1 / 3), within("blas", "torch", 1), onWebgpu(3)];
const bytes = (ours: readonly Target["ours"][], against: string[]): Target[] =>
  ours.map((ours) => ({ ours, measure: "bytes", against, atMost: 1 }));
const absolute = (ours: readonly Target["ours"][], measure: Measure, atMost: number): Target[] =>
  ours.map((ours) => ({ ours, measure, against: null, atMost }));

const L = 16;

export const works: readonly Work[] = [
  product("matmul 256", [1, 256, 256, 256], [within("wasm", "jaxjs", 1 / 1.2), onWebgpu(2)]),
  product("matmul 1024", [1, 1024, 1024, 1024], [
    ...[within("wasm", "jaxjs", 1 / 1.2), within("blas", "torch", 1.2), onWebgpu(2)],
  ]),
  product("matmul 257x251x263", [1, 257, 251, 263], [within("wasm", "jaxjs", 1 / 1.2), onWebgpu(2)]),
  product("matmul 1024 left transposed", [1, 1024, 1024, 1024], times("matmul 1024", 1.1), "left"),
  product("matmul 1024 right transposed", [1, 1024, 1024, 1024], times("matmul 1024", 1.1), "right"),
  product("matmul 8 of 512", [8, 512, 512, 512], times("matmul 1024", 1.1)),
  work("10 cheap ops on 4 M", { kind: "cheap", shape: [4096, 1024] }, {
    targets: [within("wasm", "jaxjs", 1), onWebgpu(1)],
  }),
  work("10 transcendental ops on 4 M", { kind: "transcendental", shape: [4096, 1024] }, {
    targets: [within("wasm", "jaxjs", 1 / 4), onWebgpu(1)],
  }),
  work("softmax [4096,1024]", { kind: "softmax", shape: [4096, 1024] }, {
    targets: [within("wasm", "jaxjs", 1 / 6), within("wasm", "torch", 1), onWebgpu(2)],
  }),
  work("LayerNorm f+b [4096,768]", { kind: "layerNorm", shape: [4096, 768] }, {
    targets: [within("wasm", "jaxjs", 1 / 3), within("wasm", "torch", 1), onWebgpu(2)],
  }),
  attention(512, { targets: attends }),
  attention(1024, { targets: attends }),
  mlp("MLP step", "step", { targets: trains }),
  gpt("GPT step", { targets: trains }),
  gpt("GPT step plain", { plain: true }),
  work("1000 tiny ops f+b", { kind: "chain", ops: 1000 }, {
    targets: [...absolute(["wasm"], "ms", 0.2), ...absolute(["wasm"], "firstMs", 300)],
  }),
  work("1000 tiny ops f+b plain", { kind: "chain", ops: 1000 }, {
    plain: true,
    targets: [
      ...absolute(["wasm"], "ms", 5),
      ...absolute(["wasm"], "firstMs", 300),
      ...absolute(["webgpu"], "hostMs", 10),
    ],
  }),
  work("start to first gradient", { kind: "start" }, {
    targets: [...absolute(["wasm"], "ms", 200), ...absolute(["webgpu"], "ms", 400)],
  }),
  mlp("MLP forward", "forward"),
  mlp("MLP gradient", "gradient", { targets: times("MLP forward", 3) }),
  gpt("GPT forward", { upTo: "forward" }),
  gpt("GPT gradient", { upTo: "gradient", targets: times("GPT forward", 3) }),
  gpt(`GPT of ${L} layers`, { layers: L }),
  gpt(`GPT of ${L} layers checkpointed`, {
    ...{ layers: L, segment: Math.sqrt(L), targets: times(`GPT of ${L} layers`, 1.4) },
  }),
  ...[512, 1024, 2048].map((T) =>
    memory(attention(T), T === 512 ? [] : times(`memory: attention f+b T=${T / 2}`, 2.1, "bytes"))
  ),
  memory(gpt("GPT step"), bytes(all, ["torch"])),
  ...[256, 512].map((T) => memory(gpt(`GPT step T=${T}`, { T }))),
  ...[4, 8, L].map((layers) => memory(gpt(`GPT of ${layers} layers`, { layers }))),
  ...[4, L].map((layers) =>
    memory(
      gpt(`GPT of ${layers} layers checkpointed`, { layers, segment: Math.sqrt(layers) }),
    )
  ),
];
