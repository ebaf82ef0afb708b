"""PyTorch on the CPU, eager. With the argument `fused` attention is its own fused function, else written out."""

import os
import platform
import sys

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
from worker import integers, numbers, serve, values_of  # noqa: E402

FUSED = "fused" in sys.argv[1:]
torch.set_num_threads(os.cpu_count())


def random(seed, shape):
    return torch.tensor(numbers(seed, shape))  # a copy, in memory that the profiler counts


def no_grad(f):
    return torch.no_grad()(f)


def value_and_grad(f, inputs):
    """Steps of f by its inputs: the value and the gradients."""
    for x in inputs:
        x.requires_grad_()

    def step():
        value = f(*inputs)
        return [value.detach(), *torch.autograd.grad(value, inputs)]

    return step


def attend(q, k, v):
    if FUSED:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    T = q.shape[-2]
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    seen = torch.ones(T, T, dtype=torch.bool).tril()
    return scores.masked_fill(~seen, -torch.inf).softmax(-1) @ v


def matmul(w):
    def operand(seed, rows, columns, is_transposed):
        x = random(seed, [w["batch"], rows, columns])
        x = x if w["batch"] > 1 else x[0]
        return x.mT.contiguous().mT if is_transposed else x

    a = operand(1, w["M"], w["K"], w["transposed"] in ("left", "both"))
    b = operand(2, w["K"], w["N"], w["transposed"] in ("right", "both"))
    return no_grad(lambda: [a @ b])


def repeated(times, f):
    def g(x):
        for _ in range(times):
            x = f(x)
        return x

    return g


def elementwise(f):
    def make(w):
        x = random(1, w["shape"])
        return no_grad(lambda: [f(x)])

    return make


def layer_norm(w):
    width, ct = w["shape"][1], random(4, w["shape"])
    inputs = [random(1, w["shape"]), random(2, [width]), random(3, [width])]
    return value_and_grad(lambda x, weight, bias: (F.layer_norm(x, [width], weight, bias) * ct).sum(), inputs)


def attention(w):
    q, k, v, ct = (random(seed, [1, w["heads"], w["T"], w["width"]]) for seed in (1, 2, 3, 4))
    return value_and_grad(lambda q, k, v: (attend(q, k, v) * ct).sum(), [q, k, v])


def chain(w):
    f = repeated(w["ops"] // 2, lambda t: t * 1.001 + 0.01)
    return value_and_grad(lambda x: f(x).sum(), [random(1, [16])])


def training(w, model, make_optimizer, loss_of):
    members = dict(model.named_parameters())
    with torch.no_grad():
        for i, parameter in enumerate(w["parameters"]):
            members[parameter[0]].copy_(torch.from_numpy(values_of(parameter, i)))
    optimizer = make_optimizer(model.parameters())

    def step():
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        if w["upTo"] == "step":
            optimizer.step()
            return [loss.detach()]
        return [loss.detach(), *(members[name].grad for name, _, _ in w["parameters"])]

    return no_grad(lambda: [loss_of()]) if w["upTo"] == "forward" else step


def mlp(w):
    layers = []
    for size, out in zip(w["sizes"], w["sizes"][1:]):
        layers += [torch.nn.Linear(size, out), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    x = random(101, [w["batch"], w["sizes"][0]])
    y = torch.from_numpy(integers(102, [w["batch"]], w["sizes"][-1]))
    return training(w, model, lambda p: torch.optim.Adam(p, lr=1e-3), lambda: F.cross_entropy(model(x), y))


class Attention(torch.nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = torch.nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = torch.nn.Parameter(torch.empty(3 * width))
        self.out_proj = torch.nn.Linear(width, width)

    def forward(self, x):
        q, k, v = F.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, -1)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))  # [B, H, T, D]
        return self.out_proj(attend(q, k, v).transpose(1, 2).flatten(2))


class Block(torch.nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.norm2 = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.self_attn = Attention(width, heads)
        self.linear1, self.linear2 = torch.nn.Linear(width, 4 * width), torch.nn.Linear(4 * width, width)

    def forward(self, x):
        x = x + self.self_attn(self.norm1(x))
        return x + self.linear2(F.gelu(self.linear1(self.norm2(x))))


class Gpt(torch.nn.Module):
    def __init__(self, w):
        super().__init__()
        self.segment = w["segment"]
        self.tokens = torch.nn.Embedding(w["vocabulary"], w["width"])
        self.positions = torch.nn.Parameter(torch.empty(w["T"], w["width"]))
        self.blocks = torch.nn.ModuleList(Block(w["width"], w["heads"]) for _ in range(w["layers"]))
        self.norm = torch.nn.LayerNorm(w["width"])
        self.head = torch.nn.Linear(w["width"], w["vocabulary"], bias=False)

    def forward(self, ids):
        x = self.tokens(ids) + self.positions
        length = self.segment or len(self.blocks)
        for at in range(0, len(self.blocks), length):
            part = torch.nn.Sequential(*self.blocks[at : at + length])
            x = checkpoint(part, x, use_reentrant=False) if self.segment else part(x)
        return self.head(self.norm(x))


def gpt(w):
    model = Gpt(w)
    ids, targets = (torch.from_numpy(integers(seed, [w["batch"], w["T"]], w["vocabulary"])) for seed in (101, 102))
    return training(
        w,
        model,
        lambda p: torch.optim.AdamW(p, lr=1e-3, weight_decay=0.01),
        lambda: F.cross_entropy(model(ids).flatten(0, 1), targets.flatten()),
    )


def first_gradient():
    x = torch.tensor([0.5, 1, 2], requires_grad=True)
    (x.tanh() ** 2).sum().backward()
    return x.grad


def peak(work, prepare, run):
    """The profiler counts what it sees allocated, so it also watches the model being made."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, record_shapes=False) as profiler:
        answer = prepare()
        for _ in range(3):
            run()
    most, todo = 0, list(profiler.profiler.kineto_results.experimental_event_tree())
    while todo:
        event = todo.pop()
        todo += event.children
        most = max(most, getattr(event.extra_fields, "total_allocated", 0))
    return {"bytes": most, "by": "torch.profiler"}, answer


kinds = {"attention": attention, "gpt": gpt}
if not FUSED:
    kinds |= {
        "matmul": matmul,
        "cheap": elementwise(repeated(5, lambda t: t * 1.01 + 0.1)),
        "transcendental": elementwise(repeated(5, lambda t: t.tanh().exp())),
        "softmax": elementwise(lambda t: t.softmax(-1)),
        "layerNorm": layer_norm,
        "chain": chain,
        "mlp": mlp,
    }

serve(
    {"torch": torch.__version__, "python": platform.python_version()},
    kinds,
    first_gradient,
    lambda results: None,
    lambda x: x.detach().numpy(),
    peak,
)
