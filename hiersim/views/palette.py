"""Colours and hatches of tiers and causes: readable on white and on dark, and for colour-blind readers.

Okabe and Ito's palette (Color Universal Design, 2008). A cause is a colour (whom to blame) and a hatch (in which way),
so that it can be told without colour.
"""

from __future__ import annotations

from typing import Final

SRAM: Final = "#009E73"
HBM: Final = "#0072B2"
DRAM: Final = "#D55E00"
FLASH: Final = "#CC79A7"
HOST: Final = "#E69F00"
WORK: Final = "#6B7280"
LINK: Final = "#56B4E9"
"""What lies between tiers, and whatever else has no colour of its own."""

_BEGINS: Final = (
    (("hbm", "gddr", "lpddr"), HBM),
    (("ddr", "dram", "cxl", "host"), DRAM),
    (("flash", "nvme", "ssd", "disk"), FLASH),
    (("pcie", "nvlink", "link"), LINK),
    (("l1", "l2", "l3", "slc", "smem", "sram", "vmem", "cmem", "reg", "cache", "core", "gb", "buffer"), SRAM),
)
ROLES: Final = {
    "weight": HBM,
    "activation": SRAM,
    "saved": SRAM,
    "kv_cache": DRAM,
    "gradient": FLASH,
    "optimizer_state": HOST,
    "input": LINK,
    "constant": WORK,
}
"""Role of a tensor → its colour."""
HATCHES: Final = {
    "useful": "plain",
    "padding": "dots",
    "tail": "rise",
    "dispatch": "plain",
    "dependency": "dots",
    "capacity": "dots",
    "bandwidth": "plain",
    "latency": "rise",
    "contention": "cross",
}
"""Entry of the ledger → its hatch; those of one colour differ."""
STYLES: Final = {"plain": "", "dots": "..", "rise": "//", "cross": "xx"}
"""Hatch → how matplotlib writes it."""


def tier_colour(name: str) -> str:
    """The colour of a tier or link by the start of its name."""
    low = name.lower()
    return next((colour for begins, colour in _BEGINS if low.startswith(begins)), LINK)


def cause_colour(entry: str, tier: str | None) -> str:
    """The colour of a ledger entry: that of the tier to blame, of the host, or of work."""
    if tier is not None:
        return tier_colour(tier)
    return HOST if entry in ("dispatch", "dependency") else WORK
