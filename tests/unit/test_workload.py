"""Options of a capture: what is accepted, and that they survive being written down. No torch."""

import shlex

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiersim.cli.capture import capture
from hiersim.errors import TraceError
from hiersim.frontends.pytorch.workload import PLAIN, Workload, settings_of

SIZES = st.none() | st.integers(1, 10**6)
KEYS = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1)
WORKLOADS = st.builds(
    Workload,
    batch=SIZES,
    sequence=SIZES,
    image=SIZES,
    phase=st.sampled_from([None, "prefill", "decode"]),
    dtype=st.sampled_from([None, "bf16", "fp16", "fp32"]),
    settings=st.lists(st.tuples(KEYS, st.text(st.characters(categories=("L", "N", "P", "Z"))))).map(tuple),
)


@given(WORKLOADS)
def test_another_process_gets_the_same(workload: Workload) -> None:
    assert Workload.from_json(workload.to_json()) == workload


@given(WORKLOADS)
def test_the_command_in_the_header_gives_the_same(workload: Workload) -> None:
    command = capture.commands["torch"]
    words = ["hf:bert", "-o", "x.npz", *shlex.split(workload.options())]
    found = command.make_context("torch", words).params
    settings = settings_of(found["settings"])
    sizes = {name: found[name] for name in ("batch", "sequence", "phase", "image", "dtype")}
    assert Workload(settings=settings, **sizes) == workload


def test_values_are_json_or_text() -> None:
    settings = settings_of(["layers=2", "tie=false", "name=gelu", "list=[1, 2]", "text=a=b"])
    values = {"layers": 2, "tie": False, "name": "gelu", "list": [1, 2], "text": "a=b"}
    assert Workload(settings=settings).values() == values
    assert PLAIN.values() == {}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"batch": 0}, "--batch is 0"),
        ({"sequence": -3}, "--sequence is -3"),
        ({"image": 0}, "--image is 0"),
        ({"phase": "encode"}, "prefill or decode"),
        ({"dtype": "fp8"}, "bf16, fp16, fp32"),
    ],
)
def test_wrong_options_are_one_line(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(TraceError, match=words) as caught:
        Workload(**wrong)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["layers", "=2", ""])
def test_settings_have_a_key_and_a_value(text: str) -> None:
    with pytest.raises(TraceError, match="KEY=VALUE"):
        settings_of([text])


def test_the_command_knows_phases_and_types_itself() -> None:
    with pytest.raises(click.BadParameter):
        capture.commands["torch"].make_context("torch", ["hf:bert", "-o", "x", "--phase", "train"])
