"""Every importer keeps its promise on small files of its format; one that breaks it is caught."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import ClassVar

import pytest

import hiersim as hs
from hiersim.testing.contracts import ImporterContract, keep

ROOT = Path(__file__).parents[2]
TABLE = "name,kind,dims,shape,inputs\nfc,gemm,m=64 n=512 k=256,,x:input w:weight\nact,pointwise,,64x512,fc\n"


class TestKineto(ImporterContract):
    load = staticmethod(hs.import_kineto)

    @staticmethod
    def files() -> Iterable[Path]:
        return [ROOT / "notebooks/data/encoder-b1.json.gz"]


class TestRows(ImporterContract):
    load = staticmethod(hs.load_trace)

    @staticmethod
    def files() -> Iterable[Path]:
        return [ROOT / "tests/properties/sample.jsonl"]


class TestTable(ImporterContract):
    load = staticmethod(hs.import_table)
    folder: ClassVar[Path]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _written(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        cls.folder = tmp_path_factory.mktemp("tables")
        (cls.folder / "mlp.csv").write_text(TABLE)

    @classmethod
    def files(cls) -> Iterable[Path]:
        return [cls.folder / "mlp.csv"]


def test_an_importer_that_breaks_its_promise_is_caught(tmp_path: Path) -> None:
    """Two files of one name that differ; a crash on a cut file; no file at all."""
    file = tmp_path / "mlp.txt"
    file.write_text("64 512 256\n32 32 32")
    width = count(1)

    def files() -> Iterable[Path]:
        return [file]

    def rows(path: str) -> hs.Trace:
        sizes = [line.split() for line in Path(path).read_text().splitlines()]
        return hs.import_table(
            [{"name": f"r{at}", "kind": "gemm", "dims": f"m={m} n={n} k={k}"} for at, (m, n, k) in enumerate(sizes)]
        )

    def changing(path: str) -> hs.Trace:
        return hs.import_table([{"name": "a", "kind": "gemm", "dims": f"m=8 n=8 k={next(width)}"}])

    for load in (rows, changing):
        suite = type("Broken", (ImporterContract,), {"load": staticmethod(load), "files": staticmethod(files)})
        with pytest.raises((ValueError, AssertionError)):
            keep(suite)
    with pytest.raises(NotImplementedError, match="files"):
        keep(type("Nothing", (ImporterContract,), {"load": staticmethod(rows)}))


def test_rows_of_an_importer_are_refused_like_those_of_a_file() -> None:
    with pytest.raises(hs.TraceError, match=r"^rows:2: 'knd' is not a column"):
        hs.import_table([{"name": "a", "kind": "gemm", "dims": "m=1 n=1 k=1"}, {"name": "b", "knd": "gemm"}])
    with pytest.raises(hs.TraceError, match=r"^rows:1: 3 is no row"):
        hs.import_table([3])  # type: ignore[list-item]
    made = hs.import_table([{"name": "a", "kind": "gemm", "dims": "m=4 n=2 k=8", "count": 3, "flops": None}])
    assert len(made.graph.operators) == 3
