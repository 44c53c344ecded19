"""The report page: whole in itself, the same every time, true to the run, and safe with names that are not."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import hiersim as hs
from hiersim.errors import HiersimError
from hiersim.results import Result
from hiersim.views.markup import el, script_data, to_html
from hiersim.views.report.detail import kernel_columns
from hiersim.views.report.page import report_html
from hiersim.views.report.runs import of_results, of_saved, replayed
from hiersim.views.report.saved import read_results
from hiersim.views.report.write import write_report
from hiersim.what_ifs import what_ifs

VOID = {"meta", "input", "br", "link"}
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&amp;\u202e\x00"


class Page(HTMLParser):
    """Elements of a page, checked to be closed in order."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)


def parsed(text: str) -> Page:
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    return page


def small_trace(tmp_path: Path, name: str = "mlp") -> hs.Trace:
    rows = ["name,kind,dims,shape,dtype,inputs"]
    rows += ["fc1,gemm,m=64 n=512 k=256,,bf16,x:input w1:weight", "act,pointwise,,64x512,bf16,fc1"]
    rows += ["fc2,gemm,m=64 n=256 k=512,,bf16,act w2:weight"]
    file = tmp_path / "mlp.csv"
    file.write_text("\n".join(rows) + "\n")
    return hs.import_table(str(file), name=name)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[Result]:
    trace = small_trace(tmp_path_factory.mktemp("trace"))
    return hs.compare(trace, [hs.load_design("tiny")], ["eager", "epilogue"])


@pytest.fixture(scope="module")
def page(results: list[Result]) -> str:
    return report_html(of_results(results))


def test_a_page_is_closed_and_loads_nothing(page: str) -> None:
    made = parsed(page)
    for tag, attributes in made.tags:
        assert tag not in ("img", "link", "iframe", "object", "embed", "base"), tag
        assert "src" not in attributes and "style" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        assert (attributes.get("href") or "#").startswith("#")
    assert "url(http" not in page and "@import" not in page


def test_style_and_script_are_those_that_the_policy_names(page: str) -> None:
    policy = next(a["content"] for t, a in parsed(page).tags if t == "meta" and "http-equiv" in a)
    assert policy is not None and policy.startswith("default-src 'none';")
    for tag in ("style", "script"):
        text = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert len(text) == 1
        digest = base64.b64encode(hashlib.sha256(text[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_the_same_runs_give_the_same_bytes(results: list[Result], page: str, tmp_path: Path) -> None:
    size = write_report(results, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == page
    assert size == len(page.encode())


def test_anchors_and_labels_have_their_targets(page: str) -> None:
    tags = parsed(page).tags
    ids = [a["id"] for _, a in tags if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes in tags:
        for key in ("aria-labelledby", "aria-describedby", "for"):
            if attributes.get(key):
                assert attributes[key] in ids
        if attributes.get("href"):
            assert attributes["href"][1:] in ids


def test_every_section_of_a_replay_is_there(page: str) -> None:
    figures = [a["data-figure"] for _, a in parsed(page).tags if "data-figure" in a]
    assert figures == ["time", "tornado", "roofline", "occupancy", "knees"]


def test_names_are_text_wherever_they_stand(tmp_path: Path) -> None:
    trace = small_trace(tmp_path, HOSTILE)
    results = hs.compare(trace, [hs.load_design("tiny")], ["eager"])
    text = report_html(of_results(results), title=HOSTILE)
    made = parsed(text)
    assert sum(tag == "script" for tag, _ in made.tags) == 2  # the page's own, and the kernels' data
    assert "alert(1)" not in "".join(made.texts["script"])
    assert not any(tag == "img" for tag, _ in made.tags)
    assert "\u202e" not in text and "\x00" not in text


def test_data_cannot_end_its_element() -> None:
    text = script_data({"a": HOSTILE, "b": "<!--"})
    assert "<" not in text and "&" not in text
    assert json.loads(text) == {"a": HOSTILE, "b": "<!--"}
    node = el("p", {"title": HOSTILE, "hidden": True, "class": None}, "a", el("b", None, HOSTILE), "c", ["d"], None)
    assert to_html(node).endswith("cd</p>")
    made = parsed(to_html(node))
    assert [tag for tag, _ in made.tags] == ["p", "b"]
    assert made.tags[0][1]["title"] == HOSTILE.replace("\u202e", "\ufffd").replace("\x00", "\ufffd")


def test_kernels_in_the_page_add_up_to_the_ledger(results: list[Result]) -> None:
    for result in results:
        data = kernel_columns(result)
        total = sum(sum(data["parts"][row]) for row in data["part"])
        assert total == result.makespan
        assert len(data["time"]) == len(result.program)
        assert [data["names"][index] for index in data["name"]] == list(result.program.kernel_names)


def test_saved_results_are_read_back_and_replayed(tmp_path: Path) -> None:
    trace, design = hs.load_trace("resnet50-infer"), hs.load_design("t4")
    rows = [result.to_dict() for result in hs.compare(trace, [design], ["eager"])]
    (tmp_path / "results.json").write_text(json.dumps({"rows": rows}))
    read = read_results(tmp_path)
    assert read == read_results(tmp_path / "results.json") == json.loads(json.dumps(rows))
    again = replayed(read[0])
    assert again is not None and again.to_dict() == rows[0]
    assert replayed({**rows[0], "inputs_sha256": "0" * 64}) is None
    assert replayed({**rows[0], "design": "a design of their own"}) is None


def test_a_page_of_saved_results_alone_says_so(results: list[Result]) -> None:
    text = report_html(of_saved([result.to_dict() for result in results]))
    assert "Made from saved results alone" in text
    assert 'data-figure="time"' in text and 'data-figure="roofline"' not in text


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"makespan_ticks": -1}, "makespan_ticks"),
        ({"makespan_ticks": 10**30}, "makespan_ticks"),
        ({"ledger": []}, "adds up to 0 ticks"),
        ({"stall_fraction": float("nan")}, "stall_fraction"),
        ({"trace": 7}, "trace"),
        ({"schema": 2}, "schema"),
        ({"traffic_bytes": {"hbm": {"read": 1}}}, "traffic_bytes.hbm.write"),
        ({"bounds": None}, "bounds"),
    ],
)
def test_a_broken_result_is_named(results: list[Result], tmp_path: Path, change: dict[str, Any], where: str) -> None:
    file = tmp_path / "r.json"
    file.write_text(json.dumps({**results[0].to_dict(), **change}))
    with pytest.raises(HiersimError) as caught:
        read_results(file)
    assert where in str(caught.value) and "r.json" in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rows": []}', "[" * 100_000, "\xff", '{"rows": [3]}', "nul"])
def test_what_is_no_result_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "r.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(HiersimError):
        read_results(file)


def test_nothing_is_written_for_a_wrong_name_or_no_results(results: list[Result], tmp_path: Path) -> None:
    for runs, name in ((results, "report.pdf"), ([], "report.html")):
        with pytest.raises(HiersimError):
            write_report(runs, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_what_ifs_are_replays(results: list[Result]) -> None:
    result = results[0]
    found = {item.name: item for item in what_ifs(result)}
    assert set(found) == {
        "l2 capacity", "l2 bandwidth", "l2 latency", "hbm bandwidth", "hbm latency", "matrix peak", "vector peak",
        "host launches",
    }  # fmt: skip
    for item in found.values():
        for changes, makespan in ((item.better, item.better_makespan), (item.worse, item.worse_makespan)):
            assert makespan == hs.simulate(result.trace, result.design.replace(changes), "eager").makespan
        assert item.makespan == result.makespan
    assert found["l2 capacity"].cost_usd == pytest.approx(2**20 / 1e9 * 300)
    assert found["hbm bandwidth"].cost_usd is None, "rates have no price"
    order = [item.better_makespan for item in what_ifs(result)]
    assert order == sorted(order)


def test_a_sweep_is_reported_with_its_fastest_point(tmp_path: Path) -> None:
    capacities = {"memory.l2.capacity": ["1 MiB", "2 MiB", "4 MiB"], "memory.hbm.capacity": ["1 GB", "1 kB"]}
    sweep = hs.sweep([small_trace(tmp_path)], ["tiny"], fusion=["eager", "epilogue"], vary=capacities, workers=1)
    write_report(sweep, tmp_path / "sweep.html")
    text = (tmp_path / "sweep.html").read_text(encoding="utf-8")
    made = parsed(text)
    data = {a["data-key"]: a["value"] for tag, a in made.tags if tag == "data"}
    times = [row["makespan_ticks"] for row in sweep.rows if "makespan_ticks" in row]
    assert (int(data["points"]), int(data["failed"])) == (len(sweep), len(sweep) - len(times)) == (12, 6)
    assert (int(data["fastest"]), int(data["slowest"])) == (min(times), max(times))
    assert float(data["ratio"]) == max(times) / min(times)
    assert text.count("do not fit tier") == 6, "what could not be run says why"
    figures = [a["data-figure"] for _, a in made.tags if "data-figure" in a]
    assert figures[0] == "curve"
    write_report(sweep, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == text
