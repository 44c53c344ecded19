"""Which design stands for a measured device."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from hiersim.errors import MeasurementError

DEVICES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "NVIDIA H100 80GB HBM3": "h100-sxm",
        "NVIDIA H100 PCIe": "h100-pcie",
        "NVIDIA H200": "h200-sxm",
        "NVIDIA A100-SXM4-80GB": "a100-80gb-sxm",
        "NVIDIA A100-PCIE-40GB": "a100-40gb-pcie",
        "A100-40GB": "a100-40gb-pcie",
        "Tesla V100-PCIE-16GB": "v100-pcie",
        "Tesla V100-PCIE-32GB": "v100-pcie",
        "Tesla T4": "t4",
        "NVIDIA L4": "l4",
    }
)
"""Name that the driver gives a device → bundled design. Only the same product: an H100 PCIe is no H100 SXM. A paper may
print `A100-40GB` and leave open which of two boards it was: both have the same chip, memory and datasheet peaks."""

BLIND: Final = ("NVIDIA H200",)
"""Devices that nothing is chosen on, so that what is chosen can be checked there."""


def design_name(device: str, file: str | None = None) -> str:
    """The bundled design of the device that calls itself `device`.

    Raises
    ------
    MeasurementError
        No bundled design stands for it; the remedy is to name one.
    """
    if device not in DEVICES:
        raise MeasurementError(
            f"no bundled design stands for '{device}'", file=file, key="device.name",
            expected=f"a design named with --design, or one of {', '.join(DEVICES)}",
        )  # fmt: skip
    return DEVICES[device]
