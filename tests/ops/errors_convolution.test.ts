/** Bad input to convolutions, pooling and resampling: each error names shapes, what must be and the way out. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  adaptiveAvgPool2d,
  adaptiveMaxPool2d,
  avgPool1d,
  avgPool2d,
  conv1d,
  conv2d,
  convTranspose2d,
  fold,
  gridSample,
  interpolate,
  localResponseNorm,
  lpPool1d,
  maxPool1d,
  maxPool2d,
  maxUnpool1d,
  ones,
  type Tensor,
  unfold,
} from "../../mod.ts";
import { test } from "../support/engines.ts";

const x = (...shape: number[]): Tensor => ones(shape);
const kinds = { RangeError, TypeError };

/** What is called, the kind of error, parts of its message. */
const table: [() => unknown, keyof typeof kinds, ...string[]][] = [
  [
    () => conv2d(x(1, 4, 5, 5), x(8, 3, 3, 3)),
    "RangeError",
    "[1,4,5,5]",
    "[8,3,3,3]",
    "4 channels (axis 1)",
    "takes 3",
  ],
  [() => conv2d(x(4, 5, 5), x(8, 3, 3, 3)), "RangeError", "4 channels (axis 0)"],
  [() => conv2d(x(1, 4, 5, 5), x(8, 4, 3, 3), { groups: 2 }), "RangeError", "in 2 groups", "takes 8"],
  [() => conv2d(x(1, 4, 5, 5), x(3, 2, 3, 3), { groups: 2 }), "RangeError", "3 output channels", "multiple"],
  [() => conv2d(x(1, 4, 5, 5), x(8, 4, 3, 3), { groups: 0 }), "RangeError", "0 groups", "from 1 on"],
  [
    () => conv2d(x(5, 5), x(8, 4, 3, 3)),
    "RangeError",
    "[5,5]",
    "[batch, channels, H, W]",
    "[channels, H, W]",
  ],
  [() => conv1d(x(1, 4, 5), x(8, 4, 3, 3)), "RangeError", "[8,4,3,3]", "[out, in / groups, kL]"],
  [() => conv2d(x(1, 1, 2, 5), x(1, 1, 3, 3)), "RangeError", "axis 2", "spans 3 places", "has 2", "pad more"],
  [
    () => conv2d(x(1, 1, 5, 6), x(1, 1, 3, 3), { dilation: [1, 3] }),
    "RangeError",
    "axis 3",
    "spans 7 places",
    "has 6",
  ],
  [() => conv2d(x(1, 1, 5, 5), x(1, 1, 3, 3), { stride: 0 }), "RangeError", "stride 0", "from 1 on"],
  [
    () => conv2d(x(1, 1, 5, 5), x(1, 1, 3, 3), { stride: [1, 2, 3] }),
    "RangeError",
    "stride [1,2,3]",
    "[H, W]",
  ],
  [() => conv2d(x(1, 1, 5, 5), x(1, 1, 3, 3), { padding: -1 }), "RangeError", "padding -1", "from 0 on"],
  [
    () => conv2d(x(1, 1, 5, 5), x(1, 1, 3, 3), { padding: "half" as never }),
    "RangeError",
    '"half"',
    '"same"',
  ],
  [
    () => conv2d(x(1, 1, 5, 5), x(1, 1, 3, 3), { padding: "same", stride: 2 }),
    "RangeError",
    '"same"',
    "stride [2,2]",
  ],
  [() => conv2d(x(1, 1, 5, 5), x(2, 1, 3, 3), { bias: x(3) }), "RangeError", "bias of shape [3]", "[2]"],
  [() => conv2d(x(1, 1, 5, 5), x(2, 1, 0, 3)), "RangeError", "[2,1,0,3]", "kernel is empty"],
  [() => conv2d(x(1, 1, 5, 5), x(2, 1, 3, 3), { strides: 2 } as never), "TypeError", "strides", "stride"],
  [() => conv2d([1] as never, x(2, 1, 3, 3)), "TypeError", "input", "tensor([...])"],
  [
    () => conv2d(x(1, 1, 5, 5), ones([1, 1, 3, 3], { dtype: "f16" })),
    "TypeError",
    "f32 and f16",
    'x.to("f16")',
  ],
  [() => conv2d(x(1, 1, 5, 5).gt(0), x(1, 1, 3, 3).gt(0)), "TypeError", "bool", 'x.to("f32")'],
  [() => convTranspose2d(x(1, 4, 5, 5), x(3, 4, 3, 3)), "RangeError", "4 channels (axis 1)", "takes 3"],
  [
    () => convTranspose2d(x(1, 3, 5, 5), x(3, 4, 3, 3), { groups: 2 }),
    "RangeError",
    "3 input channels",
    "multiple",
  ],
  [
    () => convTranspose2d(x(1, 1, 5, 5), x(1, 1, 3, 3), { stride: 2, outputPadding: 2 }),
    "RangeError",
    "outputPadding 2",
    "smaller",
  ],
  [
    () => convTranspose2d(x(1, 1, 1, 1), x(1, 1, 3, 3), { padding: 2 }),
    "RangeError",
    "lengths [-1,-1]",
    "pad less",
  ],
  [() => maxPool2d(x(5, 5), 2), "RangeError", "[5,5]", "[batch, channels, H, W]"],
  [() => maxPool2d(x(1, 5, 5), 6), "RangeError", "spans 6 places", "has 5"],
  [() => maxPool2d(x(1, 5, 5), 0), "RangeError", "kernel 0", "from 1 on"],
  [() => maxPool2d(x(1, 5, 5), 3, { padding: 2 }), "RangeError", "padding 2", "at most half", "x.pad"],
  [() => maxPool2d(x(1, 5, 5), 3, { stride: -1 }), "RangeError", "stride -1"],
  [() => maxPool1d(x(1, 1), 2, { dilation: 4, padding: 2 }), "RangeError", "[1,1]", "nothing but padding"],
  [() => maxPool2d(x(1, 5, 5).gt(0), 2), "TypeError", "bool", 'x.to("f32")'],
  [() => maxPool2d(x(1, 5, 5), 2, { ceil: true } as never), "TypeError", "ceil", "ceilMode"],
  [() => avgPool2d(x(1, 5, 5), 2, { divisorOverride: 0 }), "RangeError", "divisorOverride 0"],
  [() => avgPool1d(x(1, 5).to("i32"), 2), "TypeError", "i32", 'x.to("f32")'],
  [() => lpPool1d(x(1, 5), 0, 2), "RangeError", "norm 0", "above 0"],
  [() => adaptiveAvgPool2d(x(1, 5, 5), 0), "RangeError", "size 0", "from 1 on"],
  [() => adaptiveAvgPool2d(x(1, 5, 5), [2, 3, 4]), "RangeError", "[2,3,4]", "[H, W]"],
  [() => adaptiveMaxPool2d(x(1, 0, 5), 2), "RangeError", "[1,0,5]", "axis 1 has no elements"],
  [() => localResponseNorm(x(2, 3), 2), "RangeError", "[2,3]", "[B, C, ...]"],
  [() => unfold(x(1, 2, 2), 3), "RangeError", "[1,2,2]", "spans 3 places", "has 2"],
  [() => fold(x(1, 7, 9), 4, 2), "RangeError", "[1,7,9]", "[B, C 4, 9]"],
  [() => fold(x(1, 8, 8), 4, 2), "RangeError", "[1,8,8]", "4 elements of each of 9 windows"],
  [() => interpolate(x(1, 1, 4), {}), "TypeError", "size or scaleFactor"],
  [() => interpolate(x(1, 1, 4), { size: 2, scaleFactor: 2 }), "TypeError", "size or scaleFactor"],
  [() => interpolate(x(1, 1, 4), { size: 0 }), "RangeError", "size 0", "above 0"],
  [() => interpolate(x(1, 1, 4), { scaleFactor: 0.1 }), "RangeError", "0.1", "[0]", "larger scaleFactor"],
  [() => interpolate(x(1, 1, 4), { size: 2, mode: "bilinear" }), "RangeError", "2 spatial axes", "linear"],
  [() => interpolate(x(1, 1, 4), { size: 2, mode: "cubic" as never }), "RangeError", '"cubic"', "bicubic"],
  [() => interpolate(x(1, 1, 4), { size: 2, alignCorners: true }), "RangeError", '"nearest"', "alignCorners"],
  [() => interpolate(x(1, 4), { size: 2 }), "RangeError", "[1,4]", "[batch, channels, ...]"],
  [() => interpolate(x(1, 1, 0), { size: 2 }), "RangeError", "[1,1,0]"],
  [() => interpolate(x(1, 1, 4).to("i32"), { size: 2, mode: "linear" }), "TypeError", "i32", 'x.to("f32")'],
  [
    () => maxUnpool1d(x(1, 1, 2), x(1, 1, 3).to("i32"), 2),
    "RangeError",
    "[1,1,2]",
    "indices of shape [1,1,3]",
    "of the same shape",
  ],
  [
    () => maxUnpool1d(x(1, 1, 2), x(1, 1, 2).to("i32"), 2, { outputSize: [6] }),
    "RangeError",
    "lengths [6]",
    "from [4]",
  ],
  [() => gridSample(x(1, 1, 4, 4), x(1, 2, 2, 3)), "RangeError", "[1,1,4,4]", "[1,2,2,3]", "[B, H', W', 2]"],
  [
    () => gridSample(x(1, 1, 4, 4), x(1, 2, 2, 2), { mode: "bicubic" as never }),
    "RangeError",
    '"bicubic"',
    "nearest",
  ],
  [
    () => gridSample(x(1, 1, 4, 4), x(1, 2, 2, 2), { paddingMode: "mirror" as never }),
    "RangeError",
    '"mirror"',
    "reflection",
  ],
];

test("each refusal of a convolution, a pool or a resampling says what is and what must be", () => {
  for (const [call, kind, ...parts] of table) {
    const error = assertThrows(call, kinds[kind]);
    assert(/^Cannot /.test(error.message) && !/[.\n]$/.test(error.message), error.message);
    for (const part of parts) assert(error.message.includes(part), `${error.message}\nlacks ${part}`);
  }
  assertEquals(conv2d(x(1, 1, 5, 5), x(1, 1, 3, 3)).shape, [1, 1, 3, 3]);
});
