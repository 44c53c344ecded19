"""Models in plain JAX for the tests of `hiersim capture jax`; each function returns (function, arguments)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import ShapeDtypeStruct, lax


def shape(*sizes: int, dtype: Any = jnp.float32) -> ShapeDtypeStruct:
    return ShapeDtypeStruct(sizes, dtype)


def mlp() -> tuple[Any, ...]:
    """Two layers with ReLU: 64 x 512 → 2048 → 512."""

    def forward(params: Any, x: Any) -> Any:
        hidden = jax.nn.relu(x @ params["w1"] + params["b1"])
        return hidden @ params["w2"] + params["b2"]

    params = {"w1": shape(512, 2048), "b1": shape(2048), "w2": shape(2048, 512), "b2": shape(512)}
    return forward, (params, shape(64, 512))


def mlp_step() -> tuple[Any, ...]:
    """A step of gradient descent on `mlp`, with its weights donated."""
    forward, (params, x) = mlp()

    def step(params: Any, x: Any) -> Any:
        loss, gradients = jax.value_and_grad(lambda held: (forward(held, x) ** 2).mean())(params)
        return loss, jax.tree.map(lambda weight, gradient: weight - 0.1 * gradient, params, gradients)

    return jax.jit(step, donate_argnums=0), (params, x)


def scan() -> tuple[Any, ...]:
    """Seven products in a `lax.scan`, whose weights lie in one array."""

    def forward(params: Any, x: Any) -> Any:
        def layer(state: Any, weight: Any) -> tuple[Any, Any]:
            return jnp.tanh(state @ weight), state.sum()

        return lax.scan(layer, x, params["layers"])

    return forward, ({"layers": shape(7, 128, 128)}, shape(32, 128))


def llama(layers: int = 2, width: int = 256, heads: int = 4, tokens: int = 128) -> tuple[Any, ...]:
    """A Llama of a few layers over a sequence, layers in a `lax.scan`."""
    head, hidden = width // heads, 3 * width

    def norm(x: Any, weight: Any) -> Any:
        return x * lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-5) * weight

    def rotate(x: Any) -> Any:
        angle = jnp.arange(x.shape[1])[:, None] * 10000.0 ** (-jnp.arange(head // 2) / (head // 2))
        cosine, sine = jnp.cos(angle)[None, :, None], jnp.sin(angle)[None, :, None]
        left, right = jnp.split(x, 2, -1)
        return jnp.concatenate([left * cosine - right * sine, right * cosine + left * sine], -1)

    def layer(x: Any, weight: Any) -> tuple[Any, None]:
        y = norm(x, weight["norm1"])
        q, k, v = ((y @ weight[name]).reshape(*y.shape[:2], heads, head) for name in ("q", "k", "v"))
        scores = jnp.einsum("bqhd,bkhd->bhqk", rotate(q), rotate(k)) / head**0.5
        mask = jnp.tril(jnp.ones((tokens, tokens), bool))
        share = jax.nn.softmax(jnp.where(mask, scores, -1e30), -1)
        x = x + jnp.einsum("bhqk,bkhd->bqhd", share, v).reshape(y.shape) @ weight["o"]
        y = norm(x, weight["norm2"])
        return x + (jax.nn.silu(y @ weight["gate"]) * (y @ weight["up"])) @ weight["down"], None

    def forward(params: Any, tokens: Any) -> Any:
        x, _ = lax.scan(layer, params["embed"][tokens], params["layers"])
        return norm(x, params["norm"]) @ params["head"]

    square = {name: shape(layers, width, width) for name in ("q", "k", "v", "o")}
    wide = {"gate": shape(layers, width, hidden), "up": shape(layers, width, hidden)}
    rest = {"down": shape(layers, hidden, width), "norm1": shape(layers, width), "norm2": shape(layers, width)}
    params = {
        "embed": shape(1000, width),
        "layers": square | wide | rest,
        "norm": shape(width),
        "head": shape(width, 1000),
    }
    return forward, (params, shape(1, tokens, dtype=jnp.int32))


def resnet50(images: int = 2, size: int = 224) -> tuple[Any, ...]:
    """ResNet-50 (He et al., 2015; stride on the 3 x 3 convolution), batch normalisation folded into scale and shift."""
    params: dict[str, Any] = {}
    stages = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))

    def weights(name: str, window: int, inputs: int, outputs: int) -> None:
        params[name] = {"w": shape(window, window, inputs, outputs), "a": shape(outputs), "b": shape(outputs)}

    weights("stem", 7, 3, 64)
    inputs = 64
    for number, (width, blocks, _) in enumerate(stages):
        for block in range(blocks):
            name = f"s{number}b{block}"
            weights(f"{name}c1", 1, inputs, width)
            weights(f"{name}c2", 3, width, width)
            weights(f"{name}c3", 1, width, 4 * width)
            if block == 0:
                weights(f"{name}p", 1, inputs, 4 * width)
            inputs = 4 * width
    params["head"] = {"w": shape(2048, 1000), "b": shape(1000)}

    def convolve(x: Any, held: Any, stride: int) -> Any:
        y = lax.conv_general_dilated(x, held["w"], (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return y * held["a"] + held["b"]

    def forward(params: Any, x: Any) -> Any:
        x = jax.nn.relu(convolve(x, params["stem"], 2))
        x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
        for number, (_, blocks, first) in enumerate(stages):
            for block in range(blocks):
                name, stride = f"s{number}b{block}", first if block == 0 else 1
                y = jax.nn.relu(convolve(x, params[f"{name}c1"], 1))
                y = jax.nn.relu(convolve(y, params[f"{name}c2"], stride))
                y = convolve(y, params[f"{name}c3"], 1)
                x = jax.nn.relu(y + (convolve(x, params[f"{name}p"], stride) if block == 0 else x))
        return x.mean((1, 2)) @ params["head"]["w"] + params["head"]["b"]

    return forward, (params, shape(images, size, size, 3))
