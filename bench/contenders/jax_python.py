"""JAX on the CPU: functions under jit, unless the work is to be plain."""

import os
import platform
import sys
from functools import partial

os.environ.setdefault("JAX_PLATFORMS", "cpu")
import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
from worker import Cannot, integers, numbers, serve, values_of  # noqa: E402


def random(seed, shape):
    return jnp.asarray(numbers(seed, shape))


def call(f, *inputs, plain=False):
    """Steps of a function of arrays."""
    g = f if plain else jax.jit(f)
    return lambda: g(*inputs)


def value_and_grad(f, *inputs, plain=False):
    return call(jax.value_and_grad(f, argnums=tuple(range(len(inputs)))), *inputs, plain=plain)


def attend(q, k, v):
    T = q.shape[-2]
    scores = q @ k.mT * q.shape[-1] ** -0.5
    return jax.nn.softmax(jnp.where(jnp.tri(T, dtype=bool), scores, -jnp.inf), axis=-1) @ v


def matmul(w):
    def operand(seed, rows, columns, is_transposed):
        x = numbers(seed, [w["batch"], rows, columns])
        x = x if w["batch"] > 1 else x[0]
        return jnp.asarray(x.swapaxes(-1, -2) if is_transposed else x)

    left, right = w["transposed"] in ("left", "both"), w["transposed"] in ("right", "both")
    a, b = operand(1, w["M"], w["K"], left), operand(2, w["K"], w["N"], right)
    return call(lambda a, b: [(a.mT if left else a) @ (b.mT if right else b)], a, b)


def repeated(times, f):
    def g(x):
        for _ in range(times):
            x = f(x)
        return x

    return g


def elementwise(f):
    return lambda w: call(f, random(1, w["shape"]))


def normalize(x, weight, bias):
    mean = x.mean(-1, keepdims=True)
    variance = jnp.square(x - mean).mean(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * weight + bias


def layer_norm(w):
    width, ct = w["shape"][1], random(4, w["shape"])
    inputs = random(1, w["shape"]), random(2, [width]), random(3, [width])
    return value_and_grad(lambda *xs: (normalize(*xs) * ct).sum(), *inputs)


def attention(w):
    q, k, v, ct = (random(seed, [1, w["heads"], w["T"], w["width"]]) for seed in (1, 2, 3, 4))
    return value_and_grad(lambda q, k, v: (attend(q, k, v) * ct).sum(), q, k, v)


def chain(w):
    f = repeated(w["ops"] // 2, lambda t: t * 1.001 + 0.01)
    return value_and_grad(lambda x: f(x).sum(), random(1, [16]), plain=w["plain"])


def training(w, loss_of, data, decay):
    """Adam with decoupled decay; matrices keep the layout [out, in] of the works. Data are arguments, not constants."""
    params = {p[0]: jnp.asarray(values_of(p, i)) for i, p in enumerate(w["parameters"])}
    if w["upTo"] == "forward":
        return call(lambda *xs: [loss_of(*xs)], params, *data, plain=w["plain"])
    if w["upTo"] == "gradient":
        step = call(jax.value_and_grad(loss_of), params, *data, plain=w["plain"])

        def results():
            loss, grads = step()
            return [loss, *(grads[name] for name, _, _ in w["parameters"])]

        return results

    def update(params, m, v, t, *data):
        loss, grads = jax.value_and_grad(loss_of)(params, *data)
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
        params = jax.tree.map(
            lambda p, m, v: p * (1 - 1e-3 * decay)
            - 1e-3 * (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8),
            *(params, m, v),
        )
        return loss, params, m, v, t

    step = update if w["plain"] else jax.jit(update, donate_argnums=(0, 1, 2))
    zeros = partial(jax.tree.map, jnp.zeros_like)
    state = params, zeros(params), zeros(params), jnp.float32(0)

    def results():
        nonlocal state
        loss, *state = step(*state, *data)
        return [loss]

    return results


def cross_entropy(logits, targets):
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), targets[:, None], -1).mean()


def mlp(w):
    x = random(101, [w["batch"], w["sizes"][0]])
    y = jnp.asarray(integers(102, [w["batch"]], w["sizes"][-1]), jnp.int32)
    layers = len(w["sizes"]) - 1

    def loss_of(params, h, y):
        for i in range(layers):
            h = h @ params[f"{2 * i}.weight"].T + params[f"{2 * i}.bias"]
            h = jax.nn.relu(h) if i < layers - 1 else h
        return cross_entropy(h, y)

    return training(w, loss_of, (x, y), 0)


def block(heads, params, x):
    """One layer; `params` by the ends of their names."""
    B, T, C = x.shape
    h = normalize(x, params["norm1.weight"], params["norm1.bias"])
    qkv = h @ params["self_attn.in_proj_weight"].T + params["self_attn.in_proj_bias"]
    q, k, v = (t.reshape(B, T, heads, -1).swapaxes(1, 2) for t in jnp.split(qkv, 3, -1))  # [B, H, T, D]
    y = attend(q, k, v).swapaxes(1, 2).reshape(B, T, C)
    x = x + y @ params["self_attn.out_proj.weight"].T + params["self_attn.out_proj.bias"]
    h = normalize(x, params["norm2.weight"], params["norm2.bias"])
    h = jax.nn.gelu(h @ params["linear1.weight"].T + params["linear1.bias"], approximate=False)
    return x + h @ params["linear2.weight"].T + params["linear2.bias"]


def gpt(w):
    ids, targets = (
        jnp.asarray(integers(seed, [w["batch"], w["T"]], w["vocabulary"]), jnp.int32) for seed in (101, 102)
    )
    segment = w["segment"] or w["layers"]

    def part(layers, x):
        for params in layers:
            x = block(w["heads"], params, x)
        return x

    def loss_of(params, ids, targets):
        x = params["tokens.weight"][ids] + params["positions"]
        layers = [
            {name.removeprefix(f"blocks.{i}."): p for name, p in params.items() if name.startswith(f"blocks.{i}.")}
            for i in range(w["layers"])
        ]
        run = jax.checkpoint(part) if w["segment"] else part
        for at in range(0, w["layers"], segment):
            x = run(layers[at : at + segment], x)
        logits = normalize(x, params["norm.weight"], params["norm.bias"]) @ params["head.weight"].T
        return cross_entropy(logits.reshape(-1, w["vocabulary"]), targets.ravel())

    return training(w, loss_of, (ids, targets), 0.01)


def peak(work, prepare, run):
    raise Cannot("it reports no peak of memory")


serve(
    {"jax": jax.__version__, "python": platform.python_version()},
    {
        "matmul": matmul,
        "cheap": elementwise(repeated(5, lambda t: t * 1.01 + 0.1)),
        "transcendental": elementwise(repeated(5, lambda t: jnp.exp(jnp.tanh(t)))),
        "softmax": elementwise(jax.nn.softmax),
        "layerNorm": layer_norm,
        "attention": attention,
        "chain": chain,
        "mlp": mlp,
        "gpt": gpt,
    },
    lambda: jax.grad(lambda x: (jnp.tanh(x) ** 2).sum())(jnp.array([0.5, 1, 2])),
    jax.block_until_ready,
    np.asarray,
    peak,
)
