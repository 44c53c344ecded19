"""Dynamo capture: the eager operators of a model as TorchDynamo cuts them into regions, with breaks and guards.

The model is compiled with a backend that keeps each graph and runs it operator by operator on meta tensors. A first run
compiles; what a second run does is recorded: the operators of each graph and those that run between them, so that the
trace shows a steady state. Guards are those of the trees that Dynamo walks before it enters a graph. Rests on private
interfaces of PyTorch 2.13.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from torch import fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hiersim.errors import TraceError
from hiersim.frontends.pytorch.eager import EagerCapture, Recorder, finished, is_model, register, runs
from hiersim.frontends.pytorch.target import GpuAttention, Target
from hiersim.model.regions import Call, Shapes, regions_of

DYNAMIC: Final = {Shapes.STATIC: False, Shapes.AUTOMATIC: None, Shapes.DYNAMIC: True}
"""`dynamic` of `torch.compile`."""
MOST_TEXT: Final = 120
"""Characters of a reason."""


class RegionRecorder(Recorder):
    """Records while compiled functions run; hooks of modules, on which Dynamo would specialise, are left out."""

    module = ""
    """Path of the module that the operator now running belongs to, where a graph says it."""

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Let Dynamo compile under this mode."""
        return True

    def __enter__(self) -> Any:
        return TorchDispatchMode.__enter__(self)

    def __exit__(self, *error: Any) -> None:
        TorchDispatchMode.__exit__(self, *error)

    def _module(self) -> str:
        return self.module


class _Steps(fx.Interpreter):
    """Runs a graph node by node and tells the recorder whose node it is."""

    def __init__(self, graph: fx.GraphModule, session: _Session) -> None:
        super().__init__(graph)
        self.session = session

    def run_node(self, n: fx.Node) -> Any:
        stack = n.meta.get("nn_module_stack") or {}
        self.session.recorder.module = self.session.paths.get(next(reversed(stack)), "") if stack else ""
        return super().run_node(n)


@dataclass(slots=True)
class _Region:
    """A compiled graph."""

    compile_id: str
    reason: str
    line: str
    name: str = ""
    code: Any = None
    recorded: bool = False
    """True when it was compiled during the run that is recorded."""


@dataclass(slots=True)
class _Session:
    """One compiled model: its recorder, and what Dynamo has compiled."""

    recorder: RegionRecorder
    paths: dict[str, str]
    """Module paths by what a graph calls them, their ids."""
    regions: list[_Region] = field(default_factory=list)
    entered: list[tuple[_Region, int, int]] = field(default_factory=list)
    """Calls in order, with the operators before and after."""
    recording: bool = False

    def backend(self, graph: fx.GraphModule, inputs: Any) -> Any:
        """What Dynamo compiles a graph with."""
        why: Any = getattr(graph, "compile_subgraph_reason", None)
        broken = why is not None and why.graph_break
        region = _Region(
            compile_id=str(torch._guards.CompileContext.current_compile_id()),
            reason=_one_line(why.reason) if broken else "",
            line=_line_of(why.user_stack) if broken else "",
            recorded=self.recording,
        )
        self.regions.append(region)
        steps = _Steps(graph, self)

        def run(*args: Any) -> Any:
            before = len(self.recorder.operators.rows)
            with GpuAttention():
                results = steps.run(*args)
            self.recorder.module = ""
            self.entered.append((region, before, len(self.recorder.operators.rows)))
            return results

        return run

    def compiled(self, code: Any, new: Any) -> None:
        """Dynamo has made code of its own for a function; the graph that it calls was compiled just before."""
        compile_id = str(torch._guards.CompileContext.current_compile_id())
        for region in self.regions:
            if region.compile_id == compile_id and not region.name:
                region.name = f"{code.co_name}@{Path(code.co_filename).name}:{code.co_firstlineno}"
                region.code = code


def capture_dynamo(target: Target, shapes: Shapes = Shapes.AUTOMATIC) -> EagerCapture:
    """Run `target` under TorchDynamo twice and record the second run with its regions.

    Raises
    ------
    TraceError
        A training target, or a model that does not run on meta tensors.
    """
    if target.train:
        raise TraceError("mode dynamo records inference", key="--mode", expected="no training target: mode inductor")
    paths = {str(id(module)): name for name, module in target.model.named_modules()}
    session = _Session(recorder=RegionRecorder(target.model), paths=paths)
    with runs(target), _dynamo(session):
        model = torch.compile(target.model, backend=session.backend, dynamic=DYNAMIC[shapes])
        _run(model, target, session.recorder)
        recorder = session.recorder = RegionRecorder(target.model)
        session.entered.clear()
        session.recording = True
        register(target, recorder)
        outputs = tree_leaves(_run(model, target, recorder))
        calls = [
            _call(region, first, end - 1, shapes, recompiled)
            for region, first, end, recompiled in _entered_with(session)
        ]
    captured = finished(recorder, outputs)
    if not calls:
        raise TraceError(f"TorchDynamo compiles nothing of '{target.name}'", expected="a model with tensor operators")
    return dataclasses.replace(captured, graph=dataclasses.replace(captured.graph, regions=regions_of(calls)))


def _run(model: Any, target: Target, recorder: RegionRecorder) -> Any:
    with torch.device("meta"), torch.no_grad(), recorder:
        return model(**target.kwargs)


def _entered_with(session: _Session) -> Iterator[tuple[_Region, int, int, bool]]:
    """Calls that run operators; the first one of a region that this run compiled is a recompilation."""
    seen: set[str] = set()
    for region, first, end in session.entered:
        if end > first:
            yield region, first, end, region.recorded and region.compile_id not in seen
            seen.add(region.compile_id)


def _call(region: _Region, first: int, last: int, shapes: Shapes, recompiled: bool) -> Call:
    return Call(
        name=region.name or region.compile_id,
        first=first,
        last=last,
        guards=_guards(region),
        reason=region.reason,
        line=region.line,
        shapes=shapes,
        recompiled=recompiled,
    )


def _guards(region: _Region) -> dict[str, int]:
    """Leaves of the tree that is walked before the region is entered, by kind."""
    found: Counter[str] = Counter()
    entries: Any = torch._C._dynamo.eval_frame._debug_get_cache_entry_list(region.code) if region.code else []
    for entry in entries:
        if str(entry.compile_id) == region.compile_id:
            _count(entry.guard_manager.root, found)
    return dict(sorted(found.items()))


def _count(manager: Any, found: Counter[str]) -> None:
    found.update(type(guard).__name__ for guard in manager.get_leaf_guards())
    inner = list(manager.get_child_managers())
    if hasattr(manager, "get_key_value_managers"):
        inner += [one for pair in manager.get_key_value_managers().values() for one in pair if one is not None]
    for one in inner:
        _count(one, found)


@contextmanager
def _dynamo(session: _Session) -> Iterator[None]:
    """Dynamo without what it compiled before, and without its warnings; and forgotten afterwards."""
    from torch._dynamo import convert_frame

    loud = logging.getLogger("torch._dynamo")
    level = loud.level
    torch._dynamo.reset()
    hook = convert_frame.register_bytecode_hook(session.compiled)
    loud.setLevel(logging.ERROR)
    try:
        yield
    finally:
        loud.setLevel(level)
        hook.remove()
        torch._dynamo.reset()


def _one_line(reason: str) -> str:
    """The first line of a reason; the others explain it to the model's author."""
    return (reason.strip().splitlines() or [""])[0][:MOST_TEXT]


def _line_of(stack: Any) -> str:
    """The innermost line of the user's code, without its folder."""
    frames = [frame for frame in stack or () if is_model(frame.filename)]
    if not frames:
        return ""
    frame = frames[-1]
    return f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}"
