"""What was promised, beside what was seen in the same run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.measure import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """One promise. `seen` is None where the run did not measure it."""

    what: str
    wanted: str
    seen: str | None
    held: bool | None


class Seen:
    """The figures of a run, found by group and by words of their names."""

    def __init__(self, figures: Sequence[Figure]) -> None:
        self.figures = figures

    def find(self, group: str, *words: str) -> list[Figure]:
        """Figures of `group` whose name has every word; a word that ends in $ must end the name."""

        def fits(name: str) -> bool:
            return all(name.endswith(word[:-1]) if word.endswith("$") else word in name for word in words)

        return [figure for figure in self.figures if figure.group == group and fits(figure.name)]

    def seconds(self, group: str, *words: str) -> list[float]:
        """Their median processor seconds."""
        return [figure.sample.median for figure in self.find(group, *words)]


def aims(figures: Sequence[Figure]) -> Iterator[Aim]:
    """Every promise of the compiled engine."""
    seen = Seen(figures)
    large, small = seen.find("engines, large", ", contended: compiled$"), seen.find("engines", ": compiled$")
    yield _least("stages/s without fast-forward, contended", 10e6, [f.rate for f in large], "{:,.0f}")
    spilled = [figure.rate for figure in seen.find("hierarchy", "host DRAM", ": compiled$")]
    yield _least("stages/s without fast-forward, a model that spills", 10e6, spilled, "{:,.0f}")
    ratios = [figure.facts["times_reference"] for figure in small if "1 kernel, contended" in figure.name]
    yield _least("times the reference on the same program, contended", 300, ratios, "{:.0f}")
    forward = "compiled + fast-forward: {} tiles$"
    for low, high, most in ((10**2, 10**4, 3.0), (10**3, 10**6, 1.3)):
        pairs = [seen.seconds("by tiles", forward.format(size)) for size in (low, high)]
        ratio = [b / a for a, b in zip(*pairs, strict=False)]  # a run under way has fewer of the large ones
        yield _most(f"cost of a kernel of {high:,} tiles, in kernels of {low:,}", most, ratio, "{:.2f}")
    road = [figure.rate for figure in seen.find("road", ", eager$")]
    yield _least("operators/s of a warm design change, slowest bundled trace, eager", 1e6, road, "{:,.0f}")
    growth = {what: seen.find(f"by {what}", "") for what in ("layers", "operators")}
    layers = [figure.facts["last_over_first"] for figure in growth["layers"][:1]]
    yield _most("cost of 80 equal layers, in those of 8", 1.3, layers, "{:.2f}")
    slope = [figure.facts["exponent"] for figure in growth["operators"][:1]]
    yield _most("exponent of cost in operators", 1.05, slope, "{:.2f}")
    million = seen.find("memory", "1000000 ")
    yield _most("seconds of 10^6 operators, whole process", 10, [f.sample.median for f in million], "{:.2f}")
    yield _most("MB of 10^6 operators", 2000, [figure.facts["peak_mb"] for figure in million], "{:,}")
    for command, most in (("llama3-70b-prefill", 1.5), ("gpt2-large-prefill", 1.0), ("--version", 0.15)):
        yield _most(f"seconds of hiersim … {command}", most, seen.seconds("cold start", command), "{:.3f}")


def _least(what: str, wanted: float, values: Sequence[float], form: str) -> Aim:
    return _aim(what, f"at least {wanted:,.0f}", values, form, min, lambda value: value >= wanted)


def _most(what: str, wanted: float, values: Sequence[float], form: str) -> Aim:
    return _aim(what, f"at most {wanted:g}", values, form, max, lambda value: value <= wanted)


def _aim(
    what: str,
    wanted: str,
    values: Sequence[float],
    form: str,
    worst: Callable[[Sequence[float]], float],
    holds: Callable[[float], bool],
) -> Aim:
    if not values:
        return Aim(what=what, wanted=wanted, seen=None, held=None)
    value = worst(values)
    return Aim(what=what, wanted=wanted, seen=form.format(value), held=holds(value))
