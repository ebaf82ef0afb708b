/** Why names of PyTorch's have no line in the mapping. A name that comes in moves from here to there. */

const words = (text: string): string[] => text.trim().split(/\s+/);

/** Names that issue 4 does not ask for and that would be one line of its ops. */
const BESIDE = words(`
  renorm
`);

/** Reasons for good, by name or pattern; the first that fits counts. */
const OUT_OF_SCOPE: readonly [string, string | RegExp][] = [
  ["complex numbers", /^fft\./],
  [
    "complex numbers",
    `complex polar real imag angle conj conj_physical resolve_conj resolve_neg view_as_complex view_as_real cdouble cfloat
     chalf stft istft linalg.eig linalg.eigvals nn.functional.silu/complex isreal`,
  ],
  ["sparse tensors", /^sparse\.|^to_sparse$/],
  [
    "in place",
    `zero_ resize_ resize_as_ fill normal/in_place uniform cauchy exponential geometric log_normal`,
  ],
  [
    "strides and aliases, which our tensors do not have",
    `as_strided as_strided_copy as_strided_scatter as_strided/partial_views alias_copy clone contiguous new_empty_strided
     empty_strided empty_permuted positive`,
  ],
  ["uninitialised memory", `empty empty_like new_empty`],
  [
    "random by PyTorch's own generator",
    `bernoulli multinomial normal normal/number_mean rand_like randint randint_like randn randn_like
     nn.functional.multi_head_attention_forward nn.functional.dropout nn.functional.dropout2d nn.functional.dropout3d nn.functional.alpha_dropout
     nn.functional.feature_alpha_dropout/with_train nn.functional.feature_alpha_dropout/without_train
     nn.functional.rrelu nn.functional.fractional_max_pool2d nn.functional.fractional_max_pool3d svd_lowrank
     pca_lowrank native_dropout_backward`,
  ],
  [
    "element types that we do not have",
    `byte char short bfloat16 hash_tensor torch._scaled_mm torch._scaled_mm_v2`,
  ],
  ["not a tensor as result", `item allclose equal broadcast_shapes`],
  [
    "inside PyTorch",
    /^(jiterator_|torch\.ops\.|_|native_|max_pool2d_with_indices_backward|grid_sampler_|bmm\/triton|to$)/,
  ],
  ["masked tensors (torch.masked)", /^masked\./],
  ["special functions beyond issue 4", /^special\.|^(i0|igamma|igammac|mvlgamma|polygamma)/],
  ["signal windows", /^signal\.windows\./],
];

const beside = new Set(BESIDE);
const explained = OUT_OF_SCOPE.map(([reason, which]) =>
  [reason, typeof which === "string" ? new Set(words(which)) : which] as const
);

/** Why a name is not mapped. */
export function whyLeftOut(name: string): string {
  if (beside.has(name)) return "not asked for by issue 4, but near";
  for (const [reason, which] of explained) {
    if (which instanceof RegExp ? which.test(name) : which.has(name)) return `out of scope: ${reason}`;
  }
  return "not asked for by issue 4";
}

/** All names with a reason of their own, which must exist and not be mapped. */
export const listed: readonly string[] = [
  ...BESIDE,
  ...OUT_OF_SCOPE.flatMap(([, which]) => typeof which === "string" ? words(which) : []),
];
