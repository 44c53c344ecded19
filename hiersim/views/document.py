"""The demo's report: words and tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from hiersim.results import Result
from hiersim.views.tables import conclusion, identity, markdown, summary, tier_summary


def demo_report(comparisons: Sequence[Sequence[Result]]) -> str:
    """One section per comparison: the table, what it says, and the ledger as a sum."""
    parts = ["# Where the time goes: eager against compiled", ""]
    parts += [*(f"- {conclusion(results)}" for results in comparisons), ""]
    for results in comparisons:
        parts += [f"## {results[0].trace.name} on {results[0].design.title}", ""]
        parts += [f"- {summary(result)}" for result in results]
        parts += [f"- {line}" for line in tier_summary(results)]
        parts += ["", markdown(results), ""]
        parts += [f"Ledger of the cores, {result.fusion}: {identity(result)}" + "\n" for result in results]
        parts += [f"Warning: {text}" + "\n" for text in dict.fromkeys(t for r in results for t in r.warnings)]
    parts.append("Every word is explained by `hiersim define WORD`.")
    return "\n".join(parts) + "\n"
