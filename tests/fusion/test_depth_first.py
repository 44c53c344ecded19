"""Depth-first: closed forms of two convolutions and of an MLP, windows against a plain simulation, and reasons."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hiersim as hs
from hiersim.explanation import kernel_facts
from hiersim.frontends.rows import load_rows
from hiersim.fusion.depth_first import depth_first, grow
from hiersim.fusion.eager import eager
from hiersim.fusion.reasons import Reason
from hiersim.fusion.room import room
from hiersim.fusion.sliding import Window
from hiersim.fusion.sliding_chains import Chains
from hiersim.fusion.sliding_group import Group, Member, group_of
from hiersim.fusion.why import why_not
from hiersim.fusion.windows import Plan
from hiersim.model.design import Design
from hiersim.model.trace import Trace
from hiersim.testing.contracts import asked_bytes, check_policy

IMAGES, CHANNELS, SIDE = 2, 8, 32
ROW = CHANNELS * SIDE * 4
"""Bytes of a row of every image here."""
WEIGHT = CHANNELS * CHANNELS * 9 * 4
HEADER = {"format": "hiersim-trace", "version": 1, "name": "chain"}


def trace_of(rows: list[dict[str, Any]], folder: Path) -> Trace:
    path = folder / "chain.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [HEADER, *rows]))
    return load_rows(path)


def tensor(name: str, shape: list[int], role: str = "activation", **more: Any) -> dict[str, Any]:
    return {"tensor": name, "shape": shape, "dtype": "fp32", "role": role, **more}


def convolutions(folder: Path, count: int = 2, into: int = CHANNELS) -> Trace:
    """3 x 3 convolutions, one after the other, of images of `into` channels."""
    rows = [tensor("x0", [IMAGES, into, SIDE, SIDE], "input")]
    for place in range(1, count + 1):
        before = into if place == 1 else CHANNELS
        rows.append(tensor(f"w{place}", [CHANNELS, before, 3, 3], "weight"))
        rows.append(tensor(f"x{place}", [IMAGES, CHANNELS, SIDE, SIDE], output=place == count))
        dims = {"groups": 1, "m": IMAGES * SIDE * SIDE, "n": CHANNELS, "k": before * 9, "window": 9, "stride": 1}
        operator = {"operator": "aten.convolution.default", "kind": "conv", "dims": dims}
        rows.append({**operator, "reads": [f"x{place - 1}", f"w{place}"], "writes": [f"x{place}"]})
    return trace_of(rows, folder)


def with_room(size: int, **more: str) -> Design:
    """The teaching design, whose two cores hold `size` bytes together."""
    return hs.load_design("tiny").replace({"memory.smem.capacity": f"{size // 2} B", **more})


def step_of(windows: int) -> int:
    """Rows, and columns of a tile, of each result."""
    return -(-SIDE // windows)


def weights(count: int, into: int = CHANNELS) -> int:
    """Bytes of all filters."""
    return (into + (count - 1) * CHANNELS) * CHANNELS * 9 * 4


def row_bytes(count: int, into: int = CHANNELS) -> list[int]:
    """Bytes of a row of the input and of each result."""
    return [into * SIDE * 4, *[ROW] * count]


def kept(windows: int, count: int = 2, into: int = CHANNELS) -> int:
    """Bytes when halos are kept: weights, two rows of each operand, and the window's own rows of two neighbours."""
    rows, step = row_bytes(count, into), step_of(windows)
    neighbours = max(step * (one + other) for one, other in pairwise(rows))
    return weights(count, into) + min(2, SIDE - step) * sum(rows[:-1]) + neighbours


def again(windows: int, count: int = 2, into: int = CHANNELS) -> int:
    """Bytes when halos are computed again: rows of the input, and tiles that grow by two per convolution."""
    rows, step = row_bytes(count, into), step_of(windows)
    sides = [min(step + 2 * (count - place), SIDE) for place in range(count + 1)]
    tiles = [step * rows[0], *(side * side * ROW // SIDE for side in sides[1:])]
    return weights(count, into) + (sides[0] - step) * rows[0] + max(one + other for one, other in pairwise(tiles))


def computed_again(windows: int, after: int) -> int:
    """Points that a convolution computes twice with `after` others behind it: tiles overlap, cut at the edges."""
    step = step_of(windows)
    spans = [(max(at - after, 0), min(at + step + after, SIDE)) for at in range(0, SIDE, step)]
    return sum(end - begin for begin, end in spans) ** 2 - SIDE**2


def only_plan(trace: Trace, design: Design) -> Plan | None:
    plans = list(grow(Chains(trace.graph, design)).plans.values())
    return plans[0] if plans else None


@pytest.mark.parametrize("windows", [1, 2, 4, 8, 16])
def test_two_convolutions_take_the_fewest_windows_whose_halos_fit(tmp_path: Path, windows: int) -> None:
    """Just enough room for `windows` windows: one byte-pair less takes twice as many."""
    trace = convolutions(tmp_path)
    found = only_plan(trace, with_room(kept(windows)))
    assert found is not None
    assert (found.windows, found.again, found.needs) == (windows, False, kept(windows))
    less = only_plan(trace, with_room(kept(windows) - 2))
    assert less is not None
    assert (less.windows, less.again) == (2 * windows, False)


def test_the_middle_of_two_convolutions_stays_in_the_cores(tmp_path: Path) -> None:
    trace = convolutions(tmp_path)
    fused, plain = depth_first(trace, with_room(kept(4))), eager(trace)
    image = IMAGES * SIDE * ROW
    assert asked_bytes(plain) == 4 * image + 2 * WEIGHT
    assert asked_bytes(fused) == 2 * image + 2 * WEIGHT
    assert len(fused) == 1
    assert not fused.recomputed.any()


def test_two_convolutions_compute_again_what_tiles_share(tmp_path: Path) -> None:
    """Two rows and two columns at each inner border of the first convolution's tiles."""
    group = Chains(convolutions(tmp_path).graph, with_room(kept(1))).group([0, 1], ("image", IMAGES))
    assert group is not None
    for windows in (1, 2, 4, 8, 16, 32):
        points = (SIDE + 2 * (windows - 1)) ** 2 - SIDE**2
        assert group.extra(windows) == (points, 0) == (computed_again(windows, 1), 0)
        assert group.needs(windows, False) == kept(windows)
        assert group.needs(windows, True) == again(windows)


FIVE = (5, 1)
"""Convolutions, and channels of the images: keeping thin rows of the input takes little room."""
SLOW = {"memory.hbm.bandwidth": "1 GB/s"}
LESS = kept(SIDE, *FIVE) - 2
"""Room in which their halos do not fit, whatever the windows."""


def test_halos_that_do_not_fit_are_computed_again_and_counted(tmp_path: Path) -> None:
    """Five convolutions: fewest tiles that fit, points and FLOPs by closed form."""
    trace, count = convolutions(tmp_path, *FIVE), FIVE[0]
    windows = next(number for number in (1, 2, 4, 8, 16, 32) if again(number, *FIVE) <= LESS)
    design = with_room(LESS, **SLOW)
    found = only_plan(trace, design)
    assert found is not None
    assert (found.windows, found.again, found.needs) == (windows, True, again(windows, *FIVE))
    extra = [computed_again(windows, count - 1 - place) for place in range(count)]
    assert list(found.extra) == extra
    fused = depth_first(trace, design)
    check_policy(trace, fused)
    flops, points = trace.graph.operators.matrix_flops.tolist(), SIDE**2
    wanted = [flop * more // points for flop, more in zip(flops, extra, strict=True)]
    assert fused.recomputed.tolist() == [0, 1] * (count - 1) + [0]
    assert fused.operators.matrix_flops[1:-1:2].tolist() == wanted[:-1]
    result = hs.simulate(trace, design, "depth-first")
    assert result.to_dict()["recomputed_flops"]["matrix"] == sum(wanted)
    image = IMAGES * SIDE * ROW
    assert result.traffic["hbm"] == {"read": image // CHANNELS + weights(*FIVE), "write": image}


def test_computing_again_must_pay(tmp_path: Path) -> None:
    """Behind a fast memory, moving what lies between takes less time than computing points again."""
    trace = convolutions(tmp_path, *FIVE)
    fast = with_room(LESS, **{"memory.hbm.bandwidth": "100 TB/s"})
    verdicts = [why_not(trace, "depth-first", place, place + 1, fast) for place in range(FIVE[0] - 1)]
    assert {verdict.reason for verdict in verdicts} == {None, Reason.RECOMPUTATION}


def test_what_does_not_fit_stays_apart_and_says_so(tmp_path: Path) -> None:
    trace = convolutions(tmp_path)
    none = with_room(min(kept(SIDE), again(SIDE)) - 2)
    assert only_plan(trace, none) is None
    verdict = why_not(trace, "depth-first", 0, 1, none)
    assert verdict.reason is Reason.WORKING_SET
    assert verdict.detail.count(" kB of ") == 1
    assert why_not(trace, "depth-first", 0, 1, with_room(kept(1))).together


def mlp(folder: Path, m: int, width: int, inner: int) -> Trace:
    """Two products with an activation between."""
    rows = [
        tensor("x", [m, width], "input"),
        tensor("a", [width, inner], "weight"),
        tensor("b", [inner, width], "weight"),
    ]
    rows += [tensor("h", [m, inner]), tensor("g", [m, inner]), tensor("y", [m, width], output=True)]
    for reads, into, n, k in ((["x", "a"], "h", inner, width), (["g", "b"], "y", width, inner)):
        dims = {"batch": 1, "m": m, "n": n, "k": k}
        rows.append({"operator": "aten.mm.default", "kind": "gemm", "dims": dims, "reads": reads, "writes": [into]})
        if into == "h":
            rows.append({"operator": "aten.gelu.default", "kind": "pointwise", "reads": ["h"], "writes": ["g"]})
    return trace_of(rows, folder)


@pytest.mark.parametrize("windows", [1, 4, 32])
def test_an_mlp_holds_its_weights_and_two_rows_of_the_middle_at_once(tmp_path: Path, windows: int) -> None:
    """No halos: weights, and of each window the wider of neighbours, 2 x inner elements a row."""
    m, width, inner = 64, 16, 48
    trace = mlp(tmp_path, m, width, inner)
    step = m // windows
    needs = 2 * width * inner * 4 + step * 2 * inner * 4
    found = only_plan(trace, with_room(needs))
    assert found is not None
    assert (found.windows, found.again, found.needs, found.extra) == (windows, False, needs, (0, 0, 0))
    fused, plain = depth_first(trace, with_room(needs)), eager(trace)
    assert asked_bytes(plain) - asked_bytes(fused) == 4 * m * inner * 4
    assert len(fused) == 1


def test_an_mlp_whose_weights_do_not_fit_stays_apart(tmp_path: Path) -> None:
    trace = mlp(tmp_path, 64, 16, 48)
    design = with_room(2 * 16 * 48 * 4 - 2)
    fused = depth_first(trace, design)
    assert len(fused) == 2  # the activation goes with one of them
    apart = why_not(trace, "depth-first", 1, 2, design)
    other = why_not(trace, "depth-first", 0, 1, design)
    assert {apart.reason, other.reason} == {None, Reason.WORKING_SET}


@st.composite
def chains(draw: st.DrawFn) -> tuple[Group, list[Member], int]:
    """Chains of taps and strides over one image, perhaps with a skip connection, and a number of windows."""
    lengths = [draw(st.integers(6, 40))]
    members = list[Member]()
    for place in range(draw(st.integers(1, 4))):
        taps, stride = draw(st.sampled_from(((1, 1), (3, 1), (3, 2), (5, 1), (2, 2))))
        padding = taps // 2 if taps % 2 else 0
        out = (lengths[-1] + 2 * padding - taps) // stride + 1
        window = Window(
            length=out, units=1, taps=taps, stride=stride, padding=padding, sliding=(0,), before=lengths[-1], width=out,
            width_before=lengths[-1],
        )  # fmt: skip
        members.append(Member(window=window, sources=(place,), value=place + 1, held=0, leaves=False, work=1.0))
        lengths.append(out)
    equal = [value for value in range(len(lengths) - 1) if lengths[value] == lengths[-1]]
    if equal and draw(st.booleans()):
        window = Window(length=lengths[-1], units=1, sliding=(0, 1), before=lengths[-1], width=1, width_before=1)
        skip = (len(lengths) - 1, draw(st.sampled_from(equal)))
        members.append(Member(window=window, sources=skip, value=len(lengths), held=0, leaves=True, work=1.0))
        lengths.append(lengths[-1])
    group = group_of(("image", 1), members, [1] * len(lengths), lengths, lengths)
    assert group is not None
    return group, members, draw(st.integers(1, max(lengths)))


def taps_of(window: Window, row: int) -> set[int]:
    """Rows of the operand for one row of the result."""
    first = row * window.stride - window.padding
    return {tap for tap in range(first, first + window.taps) if 0 <= tap < window.before}


@settings(max_examples=60)
@given(chains())
def test_tiles_compute_again_what_playing_them_computes(case: tuple[Group, list[Member], int]) -> None:
    """Row by row: all that a window's results need, with nothing kept from the windows before."""
    group, members, windows = case
    lengths, step = group.lengths(), group.steps(windows)
    total = [0] * len(lengths)
    for window in range(windows):
        needed = [
            set(range(window * step[value], min((window + 1) * step[value], length)))
            for value, length in enumerate(lengths)
        ]
        for member in reversed(members):
            for source in member.sources:
                needed[source] |= {tap for row in needed[member.value] for tap in taps_of(member.window, row)}
        for value, rows in enumerate(needed):
            total[value] += max(rows) - min(rows) + 1 if rows else 0
    made = [member.value for member in members]
    computed = group.computed(windows)
    assert [computed[value] for value in made] == [total[value] for value in made]


@settings(max_examples=60)
@given(chains())
def test_halos_hold_all_that_later_windows_still_need(case: tuple[Group, list[Member], int]) -> None:
    """Played with the fewest rows: each window makes what its results lack, and drops what no later one reads.

    The first window, before any result, makes the rows that the taps look ahead; it may go in smaller pieces.
    """
    group, members, windows = case
    lengths, step, halos = group.lengths(), group.steps(windows), group.halos(windows)
    done, stay = ([set[int]() for _ in lengths] for _ in range(2))
    last = members[-1].value
    for window in range(windows):
        wanted = [set[int]() for _ in lengths]
        wanted[last] = set(range(window * step[last], min((window + 1) * step[last], lengths[last])))
        for member in reversed(members):
            for source in member.sources:
                wanted[source] |= {
                    tap for row in wanted[member.value] - done[member.value] for tap in taps_of(member.window, row)
                }
        for value, rows in enumerate(wanted):
            users = [member for member in members if value in member.sources]
            if users and window:
                assert len(stay[value]) + len(rows - done[value]) <= halos[value] + step[value]
            done[value] |= rows
        for value, rows in enumerate(done):
            users = [member for member in members if value in member.sources]
            later = [
                taps_of(member.window, row)
                for member in users
                for row in set(range(member.window.length)) - done[member.value]
            ]
            stay[value] = rows & set().union(*later)


VGG = ((3, 64, 224), (64, 64, 224), None, (64, 128, 112), (128, 128, 112), None, (128, 256, 56))
"""Channels in and out, and the side, of the first five convolutions of VGGNet-E; None where it pools."""


def vgg(folder: Path) -> Trace:
    rows, side = [tensor("x0", [1, 3, 224, 224], "input")], 224
    for place, layer in enumerate(VGG):
        channels = VGG[place - 1][1] if layer is None else layer[1]
        if layer is None:
            side //= 2
            rows.append(tensor(f"x{place + 1}", [1, channels, side, side]))
            dims = {"rows": channels * side * side, "columns": 4}
            operator = {"operator": "aten.max_pool2d_with_indices.default", "kind": "reduction", "dims": dims}
            reads = [f"x{place}"]
        else:
            rows.append(tensor(f"w{place}", [layer[1], layer[0], 3, 3], "weight"))
            rows.append(tensor(f"x{place + 1}", [1, layer[1], side, side], output=place == len(VGG) - 1))
            dims = {"groups": 1, "m": side * side, "n": layer[1], "k": layer[0] * 9, "window": 9, "stride": 1}
            operator, reads = (
                {"operator": "aten.convolution.default", "kind": "conv", "dims": dims},
                [f"x{place}", f"w{place}"],
            )
        rows.append({**operator, "reads": reads, "writes": [f"x{place + 1}"]})
    return trace_of(rows, folder)


def test_the_first_layers_of_vgg_move_what_the_fused_layer_accelerator_moves(tmp_path: Path) -> None:
    """Alwani et al. (MICRO 2016): 3.6 MB of feature maps per image instead of 77 MB, with 362 KB for halos."""
    trace = vgg(tmp_path)
    design = with_room(8 * 10**6)
    fused = depth_first(trace, design)
    assert len(fused) == 1
    filters = sum(layer[0] * layer[1] * 9 * 4 for layer in VGG if layer is not None)
    assert (asked_bytes(fused) - filters) / 2**20 == pytest.approx(3.6, rel=0.02)
    group = Chains(trace.graph, design).group(list(range(7)), ("image", 1))
    assert group is not None
    halos = zip(group.halos(56), group.bytes_of_rows(), strict=True)
    assert sum(rows * size for rows, size in halos) == pytest.approx(362e3, rel=0.05)


@pytest.mark.parametrize("size", ["8 MiB", "24 MiB"])
def test_what_a_real_network_saves(size: str) -> None:
    """ResNet-50 on a TPU v4 with 16 and 48 MiB of VMEM in all, and next to no CMEM."""
    design = hs.load_design("tpu-v4").replace({"memory.vmem.capacity": size, "memory.cmem.capacity": "1 MiB"})
    trace = hs.load_trace("resnet50-infer")
    fused = depth_first(trace, design)
    check_policy(trace, fused)
    assert asked_bytes(fused) < 0.04 * asked_bytes(eager(trace))
    assert max(plan.needs for plan in grow(Chains(trace.graph, design)).plans.values()) <= room(design)


@pytest.mark.parametrize("policy", ["depth-first", "optimal"])
@pytest.mark.parametrize("keep", [False, True])
def test_a_kernel_that_goes_window_by_window_says_how(policy: str, keep: bool, tmp_path: Path) -> None:
    """Whichever policy made it: the plan of its operators, asked of `explain --kernel`."""
    trace, design = convolutions(tmp_path), with_room(kept(4))
    result = hs.simulate(trace, design, policy, keep_peak=keep)
    (facts,) = [kernel_facts(result, place) for place in range(len(result.program.places))]
    plan = only_plan(trace, design)
    assert plan is not None
    assert facts["window"] == {
        "windows": plan.windows, "halo": "kept", "needs_bytes": plan.needs, "room_bytes": room(design),
    }  # fmt: skip
    assert plan.windows == 4
    alone = hs.simulate(trace, design, "eager")
    assert [kernel_facts(alone, place)["window"] for place in range(len(alone.program.places))] == [{}, {}]


def test_residual_inputs_stay_until_they_are_added(tmp_path: Path) -> None:
    """A block of two convolutions around a skip: four rows of the input wait, two ahead and two behind."""
    taps = Window(length=SIDE, units=IMAGES, taps=3, padding=1, sliding=(0,), before=SIDE)
    same = Window(length=SIDE, units=IMAGES, sliding=(0, 1), before=SIDE)
    members = [
        Member(window=taps, sources=(place,), value=place + 1, held=WEIGHT, leaves=False, work=0.0)
        for place in range(2)
    ]
    members.append(Member(window=same, sources=(2, 0), value=3, held=0, leaves=True, work=0.0))
    skip = group_of(("image", IMAGES), members, [ROW] * 4, [SIDE] * 4, [SIDE] * 4)
    assert skip is not None
    assert skip.halos(4) == [2, 2, 0, 0]
    assert skip.needs(4, False) == 2 * WEIGHT + (2 + 2) * ROW + 3 * step_of(4) * ROW
