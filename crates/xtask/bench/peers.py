"""The peers of `cargo xtask bench --peers`: PyTorch eager, torch.compile and JAX on the benchmark's rows.

One process an engine: `python peers.py ENGINE`, where ENGINE is `eager`, `compile` or `jax`. It reads one JSON object a
line and answers with one:

    {"row": "simple_nn.step"}   prepares the row (builds, compiles, warms up): {"ready": seconds}
    {"time": 0.5}               runs it for about so many seconds: {"median": s, "min": s, "runs": n}

`python peers.py ENGINE ROW` runs the row once and ends.

Every engine gets what its own documentation recommends for speed: fused optimizers, inference mode, donated buffers.
The rows are those of `rows.rs`; weights are random, inputs too, both made before anything is timed.
"""

import json
import math
import statistics
import sys
import time

BATCH = {"simple_nn": 64, "mlp": 256, "gpt": 8}
GPT = {"vocab": 256, "limit": 128, "dim": 256, "depth": 4, "heads": 4}


class Torch:
    def __init__(self, compiled):
        import torch

        self.torch, self.compiled = torch, compiled
        torch.manual_seed(0)

    def wrap(self, f):
        return self.torch.compile(f) if self.compiled else f

    def model(self, name):
        torch = self.torch
        nn, F = torch.nn, torch.nn.functional

        class Block(nn.Module):
            def __init__(self, dim, heads):
                super().__init__()
                self.heads = heads
                self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
                self.attn, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
                self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

            def forward(self, x):
                b, t, d = x.shape
                qkv = self.attn(self.norm1(x)).view(b, t, 3, self.heads, d // self.heads)
                q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
                y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
                x = x + self.proj(y.transpose(1, 2).reshape(b, t, d))
                return x + self.fc2(F.gelu(self.fc1(self.norm2(x)), approximate="tanh"))

        class Gpt(nn.Module):
            def __init__(self, vocab, limit, dim, depth, heads):
                super().__init__()
                self.wte, self.wpe = nn.Embedding(vocab, dim), nn.Embedding(limit, dim)
                self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
                self.norm = nn.LayerNorm(dim)

            def forward(self, text):
                x = self.wte(text) + self.wpe(torch.arange(text.shape[1]))
                for block in self.blocks:
                    x = block(x)
                return self.norm(x) @ self.wte.weight.T

        if name == "simple_nn":
            return nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
        if name == "mlp":
            layers = [nn.Linear(1024, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1000)]
            return nn.Sequential(*layers)
        return Gpt(**GPT)

    def inputs(self, name, batch):
        torch = self.torch
        if name == "simple_nn":
            return torch.randint(0, 256, (batch, 28, 28), dtype=torch.uint8), torch.randint(0, 10, (batch,))
        if name == "mlp":
            return torch.randn(batch, 1024), torch.randint(0, 1000, (batch,))
        text = torch.randint(0, 256, (batch, GPT["limit"] + 1))
        return text[:, :-1].contiguous(), text[:, 1:].contiguous()

    def prepare(self, row):
        torch = self.torch
        F = torch.nn.functional
        name, what = row.split(".")
        if name == "softmax":
            x = torch.randn(4096, 1000)
            f = self.wrap(lambda x: torch.softmax(x, -1))
            return self.inference(lambda: f(x))
        if name == "norm_gelu":
            x = torch.randn(4096, 1024)
            norm = torch.nn.LayerNorm(1024)
            f = self.wrap(lambda x: F.gelu(norm(x), approximate="tanh"))
            return self.inference(lambda: f(x))
        model = self.model(name)

        def features(x):
            return x.flatten(1).float() / 255 if name == "simple_nn" else x

        if what == "step":
            x, y = self.inputs(name, BATCH[name])
            if name == "gpt":
                optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
            else:
                optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)

            def loss_of(x, y):
                return F.cross_entropy(model(features(x)).flatten(0, -2), y.flatten())

            loss_of, update = self.wrap(loss_of), self.wrap(lambda: optimizer.step())

            def step():
                optimizer.zero_grad()
                loss_of(x, y).backward()
                update()

            return step
        batch = int(what.removeprefix("b"))
        x, _ = self.inputs(name, batch)
        x = features(x)
        f = self.wrap(model)
        return self.inference(lambda: f(x))

    def inference(self, f):
        def run():
            with self.torch.inference_mode():
                f()

        return run


class Jax:
    def __init__(self):
        import jax
        import jax.numpy as jnp

        self.jax, self.jnp = jax, jnp

    def linear(self, key, inp, out):
        bound = 1 / math.sqrt(inp)
        w = self.jax.random.uniform(key, (inp, out), minval=-bound, maxval=bound)
        return {"w": w, "b": self.jnp.zeros(out)}

    def model(self, name):
        """Initial parameters, and the function from parameters and input to logits."""
        jax, jnp = self.jax, self.jnp
        keys = iter(jax.random.split(jax.random.PRNGKey(0), 64))

        def apply(p, x):
            return x @ p["w"] + p["b"]

        if name in ("simple_nn", "mlp"):
            sizes = [784, 128, 10] if name == "simple_nn" else [1024, 4096, 4096, 1000]
            params = [self.linear(next(keys), a, b) for a, b in zip(sizes, sizes[1:])]

            def mlp(params, x):
                for p in params[:-1]:
                    x = jax.nn.relu(apply(p, x))
                return apply(params[-1], x)

            return params, mlp
        dim, heads = GPT["dim"], GPT["heads"]

        def norm_params():
            return {"g": jnp.ones(dim), "b": jnp.zeros(dim)}

        def norm(p, x):
            mu = x.mean(-1, keepdims=True)
            var = ((x - mu) ** 2).mean(-1, keepdims=True)
            return (x - mu) * jax.lax.rsqrt(var + 1e-5) * p["g"] + p["b"]

        def block_params():
            return {
                "norm1": norm_params(),
                "norm2": norm_params(),
                "attn": self.linear(next(keys), dim, 3 * dim),
                "proj": self.linear(next(keys), dim, dim),
                "fc1": self.linear(next(keys), dim, 4 * dim),
                "fc2": self.linear(next(keys), 4 * dim, dim),
            }

        params = {
            "wte": jax.random.normal(next(keys), (GPT["vocab"], dim)) * 0.02,
            "wpe": jax.random.normal(next(keys), (GPT["limit"], dim)) * 0.02,
            "blocks": [block_params() for _ in range(GPT["depth"])],
            "norm": norm_params(),
        }

        def block(p, x):
            b, t, d = x.shape
            qkv = apply(p["attn"], norm(p["norm1"], x)).reshape(b, t, 3, heads, d // heads)
            q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
            y = jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(b, t, d)
            x = x + apply(p["proj"], y)
            return x + apply(p["fc2"], jax.nn.gelu(apply(p["fc1"], norm(p["norm2"], x)), approximate=True))

        def gpt(params, text):
            x = params["wte"][text] + params["wpe"][: text.shape[1]]
            for p in params["blocks"]:
                x = block(p, x)
            return norm(params["norm"], x) @ params["wte"].T

        return params, gpt

    def inputs(self, name, batch):
        jax, jnp = self.jax, self.jnp
        a, b = jax.random.split(jax.random.PRNGKey(1))
        if name == "simple_nn":
            image = jax.random.randint(a, (batch, 28, 28), 0, 256).astype(jnp.uint8)
            return image, jax.random.randint(b, (batch,), 0, 10)
        if name == "mlp":
            return jax.random.normal(a, (batch, 1024)), jax.random.randint(b, (batch,), 0, 1000)
        text = jax.random.randint(a, (batch, GPT["limit"] + 1), 0, 256)
        return text[:, :-1], text[:, 1:]

    def prepare(self, row):
        jax, jnp = self.jax, self.jnp
        name, what = row.split(".")
        if name == "softmax":
            x = jax.random.normal(jax.random.PRNGKey(0), (4096, 1000))
            f = jax.jit(lambda x: jax.nn.softmax(x, axis=-1))
            return lambda: f(x).block_until_ready()
        if name == "norm_gelu":
            x = jax.random.normal(jax.random.PRNGKey(0), (4096, 1024))
            g, b = jnp.ones(1024), jnp.zeros(1024)

            @jax.jit
            def f(x, g, b):
                mu = x.mean(-1, keepdims=True)
                var = ((x - mu) ** 2).mean(-1, keepdims=True)
                return jax.nn.gelu((x - mu) * jax.lax.rsqrt(var + 1e-5) * g + b, approximate=True)

            return lambda: f(x, g, b).block_until_ready()
        params, model = self.model(name)

        def features(x):
            return x.reshape(x.shape[0], -1).astype(jnp.float32) / 255 if name == "simple_nn" else x

        if what == "step":
            return self.step(name, params, model, features)
        x = features(self.inputs(name, int(what.removeprefix("b")))[0])
        f = jax.jit(model)
        return lambda: f(params, x).block_until_ready()

    def step(self, name, params, model, features):
        jax, jnp = self.jax, self.jnp
        x, y = self.inputs(name, BATCH[name])
        zeros = jax.tree.map(jnp.zeros_like, params)
        adam = name == "gpt"
        state = (zeros, jax.tree.map(jnp.zeros_like, params), jnp.zeros(())) if adam else zeros

        def loss_of(params, x, y):
            logits = model(params, features(x))
            logp = jax.nn.log_softmax(logits)
            return -jnp.take_along_axis(logp, y[..., None], -1).mean()

        def sgd(p, m, g):
            m = 0.9 * m + g
            return p - 0.01 * m, m

        def adamw(p, m, v, t, g):
            m = 0.9 * m + 0.1 * g
            v = 0.999 * v + 0.001 * g * g
            mhat, vhat = m / (1 - 0.9**t), v / (1 - 0.999**t)
            return p - 1e-3 * 0.01 * p - 1e-3 * mhat / (jnp.sqrt(vhat) + 1e-8), m, v

        def update(params, state, x, y):
            grads = jax.grad(loss_of)(params, x, y)
            leaves, tree = jax.tree.flatten(params)
            g = tree.flatten_up_to(grads)
            if not adam:
                new = [sgd(*a) for a in zip(leaves, tree.flatten_up_to(state), g)]
                return tree.unflatten([n[0] for n in new]), tree.unflatten([n[1] for n in new])
            m, v, t = state
            t = t + 1
            new = [adamw(p, a, b, t, g) for p, a, b, g in zip(leaves, tree.flatten_up_to(m), tree.flatten_up_to(v), g)]
            return tree.unflatten([n[0] for n in new]), (
                tree.unflatten([n[1] for n in new]),
                tree.unflatten([n[2] for n in new]),
                t,
            )

        update = jax.jit(update, donate_argnums=(0, 1))
        now = [params, state]

        def step():
            now[0], now[1] = update(now[0], now[1], x, y)
            jax.tree.leaves(now[0])[0].block_until_ready()

        return step


def measure(run, seconds):
    times = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return {"median": statistics.median(times), "min": min(times), "runs": len(times)}


def main():
    engine = {"eager": lambda: Torch(False), "compile": lambda: Torch(True), "jax": Jax}[sys.argv[1]]()
    if len(sys.argv) > 2:
        return engine.prepare(sys.argv[2])()
    # What libraries print must not mix with the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    run = None
    for line in sys.stdin:
        request = json.loads(line)
        if "row" in request:
            start = time.perf_counter()
            run = engine.prepare(request["row"])
            for _ in range(5):
                run()
            answer = {"ready": time.perf_counter() - start}
        else:
            answer = measure(run, request["time"])
        print(json.dumps(answer), file=answers, flush=True)


main()
