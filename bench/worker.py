"""A Python contender's side of the benchmark: the same inputs and the same answers as worker.ts."""

import json
import sys
import time

import numpy as np


class Cannot(Exception):
    """Why a contender does no such work."""


def mix(h):
    """Wellons (2018), "lowbias32", on unsigned words."""
    h = (h ^ (h >> 16)) * np.uint32(0x7FEB352D)
    h = (h ^ (h >> 15)) * np.uint32(0x846CA68B)
    return h ^ (h >> 16)


def words(seed, n):
    start = mix(np.array([seed + 1], np.uint32))
    return mix(start + np.arange(n, dtype=np.uint32))


def numbers(seed, shape, scale=1.0):
    """Uniform in ±scale."""
    x = scale * (words(seed, int(np.prod(shape))) / 2**31 - 1)
    return x.astype(np.float32).reshape(shape)


def integers(seed, shape, bound):
    return (words(seed, int(np.prod(shape))) % np.uint32(bound)).astype(np.int64).reshape(shape)


def values_of(parameter, seed):
    """A parameter's values; its place in the list is its seed."""
    _, shape, values = parameter
    return numbers(seed, shape, values["scale"]) if isinstance(values, dict) else np.full(shape, values, np.float32)


def probe(x):
    """Root mean square, then samples: enough to tell results apart."""
    x = np.asarray(x, np.float64).ravel()
    count = min(16, x.size)
    return [float(np.sqrt(np.mean(x * x)))] + [float(x[int((i + 0.5) * x.size / count)]) for i in range(count)]


def flat(results):
    """The arrays of nested lists, as valueAndGrad returns them."""
    return [y for x in results for y in flat(x)] if isinstance(results, (list, tuple)) else [results]


def serve(versions, kinds, first_gradient, wait, to_numpy, peak):
    """Answers lines until there are no more. `kinds` make functions from works, `wait` waits for their results, and `peak`
    gives the most bytes that a function of no arguments held."""
    step = None

    def run():
        result = step()
        wait(result)
        return result

    def prepare(work):
        nonlocal step
        if work["kind"] not in kinds:
            raise Cannot(f"{work['kind']} is not among its works")
        step = None
        step = kinds[work["kind"]](work)
        start = time.perf_counter()
        result = run()
        first = (time.perf_counter() - start) * 1000
        probes = [probe(to_numpy(x)) for x in flat(result)]
        for _ in range(2 if work.get("upTo") == "step" else 0):
            probes += [probe(to_numpy(x)) for x in flat(run())]
        return {"probes": probes, "firstMs": first}

    def measure(work):
        found, answer = peak(work, lambda: prepare(work), run)
        return {**answer, **found}

    def timed(repeat):
        start = time.perf_counter()
        for _ in range(repeat):
            run()
        return {"ms": (time.perf_counter() - start) * 1000 / repeat}

    def say(answer):
        print(json.dumps(answer), flush=True)

    say({"versions": versions, "gradient": [float(x) for x in to_numpy(first_gradient())]})
    for line in sys.stdin:
        question = json.loads(line)
        try:
            if question["ask"] == "prepare":
                say(prepare(question["work"]))
            elif question["ask"] == "peak":
                say(measure(question["work"]))
            else:
                say(timed(question["repeat"]))
        except Cannot as error:
            say({"error": str(error)})
        except Exception as error:  # that it failed is an answer, too
            say({"error": f"{type(error).__name__}: {error}"})
