"""The bar that predictions are held to: the errors of before, beside the test that measures them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

SLACK: Final = 0.02
"""How much further off a class may be than the bar, as a part of what was measured: 2 points."""


@pytest.fixture
def no_further_off(request: pytest.FixtureRequest) -> Callable[[str, dict[str, float]], None]:
    """Holds errors by class to those kept under a key in the JSON file of the test's own name.

    With `--regenerate` they become the bar.
    """
    bar = Path(request.path).with_suffix(".json")

    def hold(key: str, found: dict[str, float]) -> None:
        kept = json.loads(bar.read_text()) if bar.exists() else {}
        if request.config.getoption("--regenerate"):
            kept[key] = found
            bar.write_text(json.dumps(kept, sort_keys=True, indent=1) + "\n")
        assert set(found) == set(kept[key])
        further = {name: (error, kept[key][name]) for name, error in found.items() if error > kept[key][name] + SLACK}
        assert not further, "MAPE now and before: further from what was measured"

    return hold
