"""`Study`: what was claimed, what replays say, and the figures behind it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from hiersim.decisions.notebook import html_table
from hiersim.version import __version__

SCHEMA: Final = 1


class Agreement(Enum):
    """Whether replays bear a claim out."""

    YES = "yes"
    PARTLY = "partly"
    NO = "no"

    @classmethod
    def of(cls, cases: Iterable[bool]) -> Agreement:
        """Yes where all cases bear it out, no where none does."""
        found = list(cases)
        return cls.YES if all(found) else cls.PARTLY if any(found) else cls.NO


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One sentence that people say, and the one that replays say."""

    claim: str
    found: str
    agrees: Agreement

    def to_dict(self) -> dict[str, str]:
        """The JSON form, keys as in the glossary."""
        return {"claim": self.claim, "found": self.found, "agrees": self.agrees.value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Figures with the keys of the glossary, one mapping per row; None where a figure is unknown."""

    title: str
    rows: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """One question, answered."""

    name: str
    question: str
    claims: tuple[Claim, ...]
    tables: tuple[Table, ...]
    notes: tuple[str, ...] = ()
    """What to know before trusting it."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, keys as in the glossary."""
        return {
            "schema": SCHEMA,
            "version": __version__,
            "study": self.name,
            "question": self.question,
            "claims": [claim.to_dict() for claim in self.claims],
            "tables": [{"title": table.title, "rows": [dict(row) for row in table.rows]} for table in self.tables],
            "notes": list(self.notes),
        }

    def _repr_html_(self) -> str:
        rows = [(claim.claim, claim.agrees.value, claim.found) for claim in self.claims]
        return html_table(self.question, ("claim", "agrees", "found"), rows)
