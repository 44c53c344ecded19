"""Read the price book: `configs/prices`. A figure without a source or a date is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import Final

from hiersim import bundled
from hiersim.config import bundled_files
from hiersim.config.document import read_document
from hiersim.model.prices import History, PriceBook

PRICES: Final = "prices.yaml"


class _Later(Mapping[str, History]):
    """The histories of a folder, read when somebody asks for one: no run does."""

    def __init__(self, folder: Path, shown: str) -> None:
        self._folder, self._shown = folder, shown

    @cached_property
    def _known(self) -> dict[str, History]:
        from hiersim.config.price_schema import read_history

        return read_history(self._folder, self._shown)

    def __getitem__(self, name: str) -> History:
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def load_prices(folder: str | Path | None = None) -> PriceBook:
    """The price book of a folder with `prices.yaml` and `history.yaml`; the bundled one when none is named.

    Raises
    ------
    DesignError
        With file, line and key of the first fault; `others` holds the rest.
    """
    if folder is None:
        return _bundled()
    from hiersim.config.price_schema import read_history, read_prices

    place, shown = Path(folder), str(folder)
    book = read_prices(place, shown, {})
    return replace(book, history=read_history(place, shown))


@cache
def _bundled() -> PriceBook:
    folder, shown = bundled.prices(), "configs/prices"
    document, history = read_document(folder / PRICES, f"{shown}/{PRICES}"), _Later(folder, shown)
    if document.bundled:
        try:
            return bundled_files.price_book(document.data, history)
        except bundled_files.FAULTS:
            pass  # which of them, and where, the validator tells
    from hiersim.config.price_schema import read_prices

    return read_prices(folder, shown, history)
