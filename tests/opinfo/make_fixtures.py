"""Writes fixtures.bin.gz: PyTorch's own OpInfo samples with values and derivatives in float64.

Regenerate (CPU only, about two minutes; the file changes only if PyTorch's samples do):

    python3 -m venv /tmp/torchenv
    /tmp/torchenv/bin/pip install torch==2.13.0 expecttest numpy
    /tmp/torchenv/bin/python tests/opinfo/make_fixtures.py

For each name and variant of `op_db`, at most 30 samples are kept: those which show most options and shapes that no
earlier one showed, small ones first, while the name's share of the file lasts. Recorded for each sample:

    processed      true where `out` is what OpInfo's output_process_fn_grad made of the op's own result
    args, kwargs   what the op gets; float64 elements are rounded to float32 first, so that f32 sees the same numbers
    out            tensors that it returns
    ct, grad       a random cotangent for each differentiable output (else null); gradients of the inputs in `wrt`
    v, gg, jvp     a random direction for each input in `wrt`; gradient of <grad, v>; the tangents of the outputs

A name's `wrapper` is OpInfo's gradcheck_wrapper, which makes the argument (or the result) fit, as by x + x^T. Names that
do not know float64 are recorded with int64. `skipped` counts what is left out, by reason.

The file, gunzipped: length of the JSON (u32), JSON, then a section for each encoding in the order of `sections`, each
stored as byte planes (all first bytes, all second bytes, ...), little endian. A tensor in the JSON is
`{"$": "dtype lengths encoding"}`; its elements are the next ones of its section, in the order of the document.
Encodings: z all zero (no elements), h float16, f float32, d the upper 6 bytes of a float64 (relative error 7e-12),
b int8, i int32; the first that is exact is taken, and d for whatever else a result is.
"""

import gzip
import inspect
import json
import math
import struct
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.autograd.forward_ad as fwAD
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils._pytree import tree_flatten, tree_map

SAMPLES = 30  # for each name and variant, at most
ELEMENTS = 2000  # of the inputs of one sample, at most
RESULTS = 10_000  # elements of the results of one sample, at most
BYTES = 100_000  # for each name and variant before compression, at least one sample aside
LOOKED_AT = 400  # samples of one name, of which some are chosen

warnings.filterwarnings("ignore")
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True, warn_only=True)


class Skip(Exception):
    """Why a sample or a name is left out."""


DTYPES = {
    torch.float64: "f64",
    torch.float32: "f32",
    torch.float16: "f16",
    torch.bfloat16: "bf16",
    torch.int64: "i64",
    torch.int32: "i32",
    torch.int16: "i16",
    torch.int8: "i8",
    torch.uint8: "u8",
    torch.bool: "bool",
}

WIDTHS = {"h": 2, "f": 4, "d": 6, "b": 1, "i": 4}


class Writer:
    """Elements by encoding; `mark` and `reset` take back what a skipped sample has written."""

    def __init__(self):
        self.sections = {e: [] for e in WIDTHS}

    def mark(self):
        return {e: len(s) for e, s in self.sections.items()}

    def reset(self, mark):
        for e, n in mark.items():
            del self.sections[e][n:]

    def bytes_since(self, mark):
        return sum(len(b) for e, n in mark.items() for b in self.sections[e][n:])

    def tensor(self, t, exact=False):
        if t.layout != torch.strided:
            raise Skip("sparse tensor")
        if t.is_complex():
            raise Skip("complex numbers")
        if t.is_quantized or t.dtype not in DTYPES:
            raise Skip(f"dtype {t.dtype}")
        a = torch.zeros_like(t) if t._is_zerotensor() else t.detach().resolve_neg().contiguous()
        a = (a.to(torch.float64) if t.is_floating_point() else a.to(torch.int64)).numpy().reshape(-1)
        encoding, raw = self.encode(a, exact)
        if encoding != "z":
            self.sections[encoding].append(raw)
        return {"$": f"{DTYPES[t.dtype]} {','.join(map(str, t.shape))} {encoding}"}

    @staticmethod
    def encode(a, exact):
        if a.dtype == np.int64:
            if not a.any():
                return "z", b""
            if a.min() >= -128 and a.max() < 128:
                return "b", a.astype("<i1").tobytes()
            if a.min() < -(2**31) or a.max() >= 2**31:
                raise Skip("integers beyond 32 bits")
            return "i", a.astype("<i4").tobytes()
        if not a.view(np.int64).any():  # -0 has a bit
            return "z", b""
        with np.errstate(all="ignore"):
            for encoding, dtype in (("h", "<f2"), ("f", "<f4")):
                b = a.astype(dtype)
                same = (b.astype(np.float64) == a) & (np.signbit(b) == np.signbit(a)) | np.isnan(a)
                if same.all():
                    return encoding, b.tobytes()
        if exact:
            raise AssertionError("an input is not a float32")
        bits = a.view(np.uint64)
        rounded = np.where(np.isfinite(a), bits + np.uint64(1 << 15), bits)
        return "d", rounded.view(np.uint8).reshape(-1, 8)[:, 2:].tobytes()

    def finish(self):
        out = []
        for e, width in WIDTHS.items():
            raw = np.frombuffer(b"".join(self.sections[e]), np.uint8).reshape(-1, width)
            out.append(raw.T.tobytes())
        return [sum(map(len, self.sections[e])) // w for e, w in WIDTHS.items()], b"".join(out)


writer = Writer()


def argument(x):
    """An argument as JSON."""
    if isinstance(x, torch.Tensor):
        return writer.tensor(x, exact=True)
    if x is None or isinstance(x, (bool, str)):
        return x
    if isinstance(x, int):
        if abs(x) > 2**53:
            raise Skip("integers beyond 53 bits")
        return x
    if isinstance(x, float):
        return x if math.isfinite(x) else {"number": str(x)}
    if isinstance(x, (list, tuple)):
        return [argument(y) for y in x]
    if isinstance(x, dict):
        return {"dict": {k: argument(v) for k, v in x.items()}}
    if isinstance(x, slice):
        return {"slice": [argument(x.start), argument(x.stop), argument(x.step)]}
    if x is Ellipsis:
        return {"ellipsis": True}
    if isinstance(x, torch.dtype):
        if x not in DTYPES:
            raise Skip(f"dtype {x}")
        return {"dtype": DTYPES[x]}
    if isinstance(x, torch.device):
        return {"device": x.type}
    if isinstance(x, (complex, torch.memory_format, torch.layout)):
        raise Skip(f"an argument of type {type(x).__name__}")
    raise Skip(f"an argument of type {type(x).__name__}")


def tensors_of(tree):
    return [t for t in tree_flatten(tree)[0] if isinstance(t, torch.Tensor)]


def fresh(tree):
    """Leaves with float32's values, which nothing else changes."""

    def copy(t):
        if not isinstance(t, torch.Tensor):
            return t
        if t.layout != torch.strided:
            raise Skip("sparse tensor")
        y = t.detach().resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format)
        if y.dtype == torch.float64:
            y = y.to(torch.float32).to(torch.float64)
        return y.requires_grad_(t.requires_grad)

    return tree_map(copy, tree)


def options(tree, path="", found=None):
    """What a sample shows: shapes by place, and the values of options."""
    found = set() if found is None else found
    if isinstance(tree, torch.Tensor):
        found.add((path, "shape", tuple(tree.shape)))
        found.add((path, "rank", tree.dim()))
        found.add((path, "dtype", str(tree.dtype)))
        found.add((path, "empty", tree.numel() == 0))
    elif isinstance(tree, dict):
        found.add((path, "keys", tuple(tree)))
        for k, v in tree.items():
            options(v, f"{path}.{k}", found)
    elif isinstance(tree, (list, tuple)) and any(isinstance(x, (torch.Tensor, list, tuple)) for x in tree):
        found.add((path, "length", len(tree)))
        for i, v in enumerate(tree):
            options(v, f"{path}.{i}", found)
    else:
        found.add((path, "value", type(tree).__name__, repr(tree)))
    return found


class Chosen:
    """Samples in the order in which they show most that is new."""

    def __init__(self, samples):
        self.left, keys = [], set()
        for s in samples:
            tree = [s.input, *s.args, s.kwargs]
            features = options(tree)
            key = frozenset(features)
            elements = sum(t.numel() for t in tensors_of(tree))
            if key not in keys:
                keys.add(key)
                self.left.append((s, features, elements))
        self.seen = set()

    def __iter__(self):
        while self.left:
            best = max(self.left, key=lambda c: (len(c[1] - self.seen), -c[2]))
            self.left.remove(best)
            yield best

    def keep(self, chosen):
        self.seen |= chosen[1]


def direction(like, generator):
    """Multiples of 1/64 in [-1, 1] without 0."""
    n = torch.randint(1, 65, like.shape, generator=generator)
    sign = torch.randint(0, 2, like.shape, generator=generator) * 2 - 1
    return (n * sign).to(like.dtype) / 64


def same(a, b):
    return len(a) == len(b) and all(
        x.shape == y.shape and x.dtype == y.dtype and torch.equal(torch.nan_to_num(x), torch.nan_to_num(y))
        for x, y in zip(a, b)
    )


def record(op, sample, generator):
    tree = [[sample.input, *sample.args], dict(sample.kwargs)]
    if any(t.is_complex() for t in tensors_of(tree)):
        raise Skip("complex numbers")
    tree[1].pop("memory_format", None)  # which changes no value
    process = sample.output_process_fn_grad or (lambda x: x)
    wrapper, processed = op.gradcheck_wrapper, False

    def call(t):
        nonlocal processed
        args, kwargs = t
        raw = wrapper(op.get_op(), *args, **kwargs)
        if isinstance(raw, (bool, int, float)):
            raw = torch.tensor(raw)
        out = process(raw)
        processed = out is not raw
        return out

    given = fresh(tree)
    plain = tree_map(lambda t: t.detach().clone() if isinstance(t, torch.Tensor) else t, given)
    torch.manual_seed(1)
    first = call(plain)
    if not isinstance(first, (torch.Tensor, list, tuple)):
        raise Skip(f"it returns a {type(first).__name__}")
    torch.manual_seed(2)
    second = call(tree_map(lambda t: t.detach().clone() if isinstance(t, torch.Tensor) else t, given))
    outs = tensors_of(first)
    if not outs:
        raise Skip("it returns no tensor")
    if any(t.layout != torch.strided for t in outs):
        raise Skip("sparse tensor")
    if any(t.is_complex() for t in outs):
        raise Skip("complex numbers")
    if not same(outs, tensors_of(second)):
        raise Skip("random or uninitialised")
    if sum(t.numel() for t in outs) > RESULTS:
        raise Skip(f"more than {RESULTS} results")
    entry = {"processed": True} if processed else {}
    entry["args"] = [argument(x) for x in given[0]]
    entry["kwargs"] = {k: argument(v) for k, v in given[1].items()}
    wrt = [t for t in tensors_of(given) if t.requires_grad]
    places = [i for i, t in enumerate(tensors_of(given)) if t.requires_grad]
    entry["out"] = [writer.tensor(t) for t in outs]
    if not wrt or not op.supports_autograd:
        return entry
    # Aliases, since some ops write into their arguments.
    alias = tree_map(lambda t: t * 1 if isinstance(t, torch.Tensor) and t.requires_grad else t, given)
    ys = tensors_of(call(alias))
    on = [y.requires_grad and y.is_floating_point() for y in ys]
    if not any(on):
        return entry
    cts = [direction(y, generator) if k else None for y, k in zip(ys, on)]
    grads = torch.autograd.grad(
        [y for y, k in zip(ys, on) if k], wrt, [c for c in cts if c is not None],
        create_graph=op.supports_gradgrad, allow_unused=True,
    )
    grads = [torch.zeros_like(x) if g is None else g for g, x in zip(grads, wrt)]
    entry["wrt"] = places
    entry["ct"] = [None if c is None else writer.tensor(c) for c in cts]
    entry["grad"] = [writer.tensor(g) for g in grads]
    vs = [direction(x, generator) for x in wrt]
    entry["v"] = [writer.tensor(v) for v in vs]
    if op.supports_gradgrad:
        s = sum((g * v).sum() for g, v in zip(grads, vs))
        gg = torch.autograd.grad(s, wrt, allow_unused=True) if s.requires_grad else [None] * len(wrt)
        entry["gg"] = [writer.tensor(torch.zeros_like(x) if g is None else g) for g, x in zip(gg, wrt)]
    if op.supports_forward_ad:
        with fwAD.dual_level():
            direction_of = {id(x): v for x, v in zip(wrt, vs)}
            dual = tree_map(
                lambda t: fwAD.make_dual(t.detach(), direction_of[id(t)])
                if isinstance(t, torch.Tensor) and t.requires_grad else t,
                given,
            )
            tangents = [fwAD.unpack_dual(y).tangent for y in tensors_of(call(dual))]
            entry["jvp"] = [
                None if not k else writer.tensor(torch.zeros_like(y) if t is None else t)
                for t, y, k in zip(tangents, ys, on)
            ]
    return entry


def fixture(op):
    """Samples of one name and variant, and how many were left out, by reason."""
    skipped = {}

    def leave_out(reason, n=1):
        skipped[reason] = skipped.get(reason, 0) + n

    dtype = next((d for d in (torch.float64, torch.int64, torch.bool) if op.supports_dtype(d, "cpu")), None)
    if dtype is None:
        return {"samples": [], "skipped": {"neither float64 nor int64 on the CPU": 1}}
    torch.manual_seed(0)
    np.random.seed(0)
    generator = torch.Generator().manual_seed(0)
    found = []
    for s in op.sample_inputs("cpu", dtype, requires_grad=dtype.is_floating_point and op.supports_autograd):
        elements = sum(t.numel() for t in tensors_of([s.input, s.args, s.kwargs]))
        if elements > ELEMENTS:
            leave_out(f"more than {ELEMENTS} elements")
        else:
            found.append(s)
        if len(found) == LOOKED_AT:
            break
    chosen, kept = Chosen(found), []
    start = writer.mark()
    for c in chosen:
        mark = writer.mark()
        try:
            # In the file's order of names, a sample which is written is read back in the same order.
            entry = record(op, c[0], generator)
        except Skip as why:
            writer.reset(mark)
            leave_out(str(why))
            continue
        except (RuntimeError, NotImplementedError, TypeError, ValueError, IndexError) as error:
            writer.reset(mark)
            leave_out(f"PyTorch: {type(error).__name__}: {str(error).splitlines()[0][:100]}")
            continue
        if kept and writer.bytes_since(start) > BYTES:
            writer.reset(mark)
            leave_out("no room")
            continue
        chosen.keep(c)
        kept.append(entry)
        if len(kept) == SAMPLES:
            leave_out("no room", len(chosen.left))
            break
    skipped = {k: v for k, v in skipped.items() if v > 0}
    entry = {"samples": kept, "skipped": skipped}
    wrapper = getattr(op.gradcheck_wrapper, "__name__", "")
    if wrapper != "<lambda>" or "op(*args, **kwargs)" not in inspect.getsource(op.gradcheck_wrapper):
        entry["wrapper"] = wrapper if wrapper != "<lambda>" else inspect.getsource(op.gradcheck_wrapper).strip()
    return entry


def main():
    names, began = {}, time.time()
    only = set(sys.argv[1:])
    for op in op_db:
        name = op.name + (f"/{op.variant_test_name}" if op.variant_test_name else "")
        if only and name not in only:
            continue
        mark, since = writer.mark(), time.time()
        try:
            names[name] = fixture(op)
        except Exception as error:  # a sample generator that needs what is not installed
            writer.reset(mark)
            names[name] = {"samples": [], "skipped": {f"PyTorch: {type(error).__name__}: {str(error)[:100]}": 1}}
        if time.time() - since > 5:
            print(f"{name}: {time.time() - since:.0f} s", file=sys.stderr)
    lengths, blob = writer.finish()
    head = {"torch": torch.__version__.split("+")[0], "sections": dict(zip(WIDTHS, lengths)), "names": names}
    text = json.dumps(head, separators=(",", ":"), allow_nan=False).encode()
    path = Path(__file__).with_name("fixtures.bin.gz")
    raw = struct.pack("<I", len(text)) + text + blob
    path.write_bytes(gzip.compress(raw, 9, mtime=0))
    samples = sum(len(n["samples"]) for n in names.values())
    print(f"{len(names)} names, {sum(bool(n['samples']) for n in names.values())} with samples, {samples} samples, "
          f"JSON {len(text)}, elements {dict(zip(WIDTHS, lengths))}, file {path.stat().st_size} bytes, "
          f"{time.time() - began:.0f} s")


main()
