"""`capture_jax`: a JAX function becomes a trace, from shapes alone; XLA's fusions beside it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from hiersim.errors import HiersimError, MissingExtraError, TraceError, one_line
from hiersim.frontends.hlo.build import WEIGHTS, trace_of
from hiersim.frontends.hlo.text import parse_module
from hiersim.model.trace import Trace, TraceHeader
from hiersim.version import __version__

_WANTED: Final = "(function, args), (function, args, kwargs), or with a function that jax.jit made"


def capture_jax(target: str, mode: str = "eager", platform: str = "cpu", weights: Sequence[str] = ()) -> Trace:
    """Capture a function of JAX.

    Parameters
    ----------
    target : str
        `package.module:function`. It is called without arguments and returns `(function, args)` or
        `(function, args, kwargs)`; arrays may be `jax.ShapeDtypeStruct`: nothing is computed.
    mode : str
        `eager`: what `jax.jit` hands to XLA, instruction by instruction. `xla`: also what XLA compiles it to.
    platform : str
        What XLA compiles for: `cpu`, or `tpu:TOPOLOGY` (such as `tpu:v5e:2x2`) where `libtpu` is installed.
    weights : sequence of str
        Names of arguments that hold weights, beside `params`, `weights`, `variables` and `model`.

    Raises
    ------
    TraceError
        The target cannot be imported or traced.
    MissingExtraError
        JAX is not installed.
    """
    if mode not in ("eager", "xla"):
        raise TraceError(f"'{mode}' is not a capture mode", expected="'eager' or 'xla'")
    try:
        import jax
    except ImportError:
        raise MissingExtraError("capture", "jax", "jax") from None
    function, args, kwargs = _load(target)
    try:
        args, kwargs = _placed(jax, platform, args, kwargs)
        jitted = function if hasattr(function, "lower") else jax.jit(function)
        lowered = jitted.lower(*args, **kwargs)
        plain = parse_module(lowered.as_text(dialect="hlo", debug_info=True), f"{target} as HLO")
        compiled = parse_module(lowered.compile().as_text(), f"{target} as compiled HLO") if mode == "xla" else None
    except HiersimError:
        raise
    except Exception as error:  # whatever the user's function raises under tracing
        raise TraceError(f"'{target}' cannot be traced: {one_line(str(error))[:300]}", expected=_WANTED) from None
    header = TraceHeader(
        name=target.replace(":", "."),
        model=getattr(function, "__name__", type(function).__name__),
        workload="one call",
        producer=f"hiersim {__version__}, jax {jax.__version__}",
        command=f"hiersim capture jax {target} --mode {mode} -o traces/{target.replace(':', '.')}.npz",
        notes=(f"xla: compiled for {platform}",) if mode == "xla" else (),
    )
    return trace_of(header, plain, compiled, (*WEIGHTS, *weights))


def _load(target: str) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    module, _, name = target.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        built = getattr(importlib.import_module(module), name)()
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise TraceError(f"'{target}' cannot be imported: {error}", expected="package.module:function") from None
    if not isinstance(built, tuple) or len(built) not in (2, 3) or not callable(built[0]):
        raise TraceError(f"'{target}' returned {type(built).__name__}", expected=_WANTED)
    return built[0], tuple(built[1]), dict(built[2]) if len(built) == 3 else {}


def _placed(jax: Any, platform: str, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Arguments as shapes; for a TPU, on a device of a topology that need not be there."""
    kind, _, topology = platform.partition(":")
    if kind not in ("cpu", "tpu") or (kind == "tpu" and not topology):
        raise TraceError(f"'{platform}' is not a platform", expected="'cpu', or 'tpu:v5e:2x2' and the like")
    sharding = None
    if kind == "tpu":
        from jax.experimental import topologies
        from jax.sharding import SingleDeviceSharding

        described = topologies.get_topology_desc(platform="tpu", topology_name=topology)
        sharding = SingleDeviceSharding(described.devices[0])

    def shape(leaf: Any) -> Any:
        if hasattr(leaf, "shape") and hasattr(leaf, "dtype"):
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
        return leaf

    placed: tuple[Any, Any] = jax.tree.map(shape, (args, kwargs))
    return placed
