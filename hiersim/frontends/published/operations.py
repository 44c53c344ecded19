"""The operators that data sets of kernels measure, by their sizes, as sketches."""

from __future__ import annotations

from hiersim.frontends.aten.call import Cost
from hiersim.frontends.aten.contractions import attention_cost
from hiersim.frontends.published.sketch import Sketch
from hiersim.model.operators import DType, Kind


def product(dtype: DType, m: int, n: int, k: int, batch: int = 1) -> Sketch:
    """`batch` products of m x k by k x n; a single one reads a weight."""
    sketch = Sketch(dtype)
    if batch == 1:
        x, w = sketch.given("x", (m, k)), sketch.given("w", (k, n), "weight")
        sketch.run("aten.mm.default", (x, w), (m, n), name="y")
    else:
        x, w = sketch.given("x", (batch, m, k)), sketch.given("w", (batch, k, n))
        sketch.run("aten.bmm.default", (x, w), (batch, m, n), name="y")
    return sketch


def attention(
    dtype: DType, batch: int, heads: int, kv_heads: int, queries: int, keys: int, head_dim: int, causal: bool
) -> Sketch:
    """Fused attention, forward; a causal mask lets the last query see all keys."""
    sketch = Sketch(dtype)
    q = sketch.given("q", (batch, heads, queries, head_dim))
    k, v = (sketch.given(name, (batch, kv_heads, keys, head_dim), "kv_cache") for name in "kv")
    cost = attention_cost(q.shape, k.shape, v.shape, causal, backward=False, bias=False)
    sketch.run("aten._scaled_dot_product_flash_attention.default", (q, k, v), q.shape, cost=cost, name="y")
    return sketch


def paged_attention(
    dtype: DType, batch: int, heads: int, kv_heads: int, queries: int, keys: int, head_dim: int, *, page: int,
    store: str, planned: bool,
) -> Sketch:  # fmt: skip
    """Attention of a serving engine: new keys and values are stored among pages first, and attention reads the pages.

    Parameters
    ----------
    queries : int
        New tokens of each sequence, the last of its `keys`; a causal mask lets the last one see all.
    page : int
        Tokens of a page, which attention finds in a table of 4-byte numbers.
    store : str
        The kernel that stores: `reshape_and_cache_flash` of vLLM gives each token a block.
    planned : bool
        A kernel before says which block takes which part of which sequence, from the lengths of all.
    """
    sketch = Sketch(dtype)
    q = sketch.given("q", (batch, heads, queries, head_dim))
    new = [sketch.given(f"new_{name}", (batch * queries, kv_heads, head_dim)) for name in "kv"]
    sketch.run(
        store, new, new[0].shape, cost=Cost(kind=Kind.COPY), name="stored_k",
        more=((new[1].shape, dtype),),
    )  # fmt: skip
    results = sketch.taken[-1].writes
    cache = results
    if keys > queries:
        cache = tuple(sketch.given(name, (batch, kv_heads, keys, head_dim), "kv_cache") for name in "kv")
    pages = sketch.given("pages", (batch, -(-keys // page)), "constant", DType.INT32)
    tables = [pages, sketch.given("lengths", (batch,), "constant", DType.INT32)]
    if planned:
        plan = sketch.run("plan", tables[1:], (batch,), cost=Cost(kind=Kind.COPY), dtype=DType.INT32, name="blocks")
        tables.append(plan)
    shape = (batch, kv_heads, keys, head_dim)
    cost = attention_cost(q.shape, shape, shape, causal=queries > 1, backward=False, bias=False)
    sketch.run("paged_attention", (q, *cache, *tables), q.shape, cost=cost, name="y")
    return sketch


def norm(dtype: DType, rows: int, columns: int, root_mean_square: bool = False) -> Sketch:
    """LayerNorm with weight and bias, or RMSNorm with its weight, in one kernel."""
    sketch = Sketch(dtype)
    x, weight = sketch.given("x", (rows, columns)), sketch.given("weight", (columns,), "weight")
    if root_mean_square:
        sketch.run("aten._fused_rms_norm.default", (x, weight), x.shape, arguments=(x, (columns,), weight), name="y")
        return sketch
    bias = sketch.given("bias", (columns,), "weight")
    arguments = (x, (columns,), weight, bias)
    sketch.run("aten.native_layer_norm.default", (x, weight, bias), x.shape, arguments=arguments, name="y")
    return sketch


def softmax(dtype: DType, rows: int, columns: int) -> Sketch:
    """Softmax over the columns."""
    sketch = Sketch(dtype)
    x = sketch.given("x", (rows, columns))
    sketch.run("aten._softmax.default", (x,), x.shape, arguments=(x, -1, False), name="y")
    return sketch


def pointwise(dtype: DType, operator: str, shape: tuple[int, ...], inputs: int = 1) -> Sketch:
    """One operator over the elements of `inputs` tensors."""
    sketch = Sketch(dtype)
    given = [sketch.given("xz"[place], shape) for place in range(inputs)]
    sketch.run(operator, given, shape, name="y")
    return sketch


def gated(dtype: DType, rows: int, columns: int) -> Sketch:
    """SiLU of the left half of each row times its right half, in one kernel: 4 FLOPs and an exponential per result."""
    sketch = Sketch(dtype)
    x = sketch.given("x", (rows, 2 * columns))
    cost = Cost(kind=Kind.POINTWISE, vector_flops=4 * rows * columns, special_ops=rows * columns)
    sketch.run("silu_and_mul", (x,), (rows, columns), cost=cost, arithmetic=DType.FP32, name="y")
    return sketch


def rotary(dtype: DType, rows: int, columns: int) -> Sketch:
    """Rotary embedding of queries and keys side by side, in one kernel: 3 FLOPs per element."""
    sketch = Sketch(dtype)
    x = sketch.given("x", (rows, columns))
    cost = Cost(kind=Kind.POINTWISE, vector_flops=3 * rows * columns)
    sketch.run("rotary_embedding", (x,), (rows, columns), cost=cost, arithmetic=DType.FP32, name="y")
    return sketch
