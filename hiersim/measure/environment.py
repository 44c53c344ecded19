"""What a measurement rests on: the device, its driver and clocks, the software, the command."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import torch

from hiersim.errors import MeasurementError
from hiersim.frontends.measured import MeasuredHeader
from hiersim.version import __version__

_QUERIES: Final = {
    "sm_hz": ("clocks.sm", 1e6), "memory_hz": ("clocks.mem", 1e6), "largest_sm_hz": ("clocks.max.sm", 1e6),
    "temperature_c": ("temperature.gpu", 1.0), "power_w": ("power.draw", 1.0), "power_limit_w": ("power.limit", 1.0),
}  # fmt: skip


def device_of(name: str | None) -> torch.device:
    """The device that was asked for; a GPU where there is one, when nothing was.

    Raises
    ------
    MeasurementError
        No such device here.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise MeasurementError("there is no CUDA device", key="--device", expected="cpu, or a GPU that PyTorch sees")
    return torch.device(name)


def header(device: torch.device, command: str, settings: Mapping[str, Any], notes: tuple[str, ...]) -> MeasuredHeader:
    """The header of a file of measured times, taken now."""
    return MeasuredHeader(
        date=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        command=command,
        device=describe(device),
        host={"processor": _processor(), "cores": os.cpu_count() or 1, "threads": torch.get_num_threads()},
        software=_software(),
        settings=settings,
        notes=notes,
    )


def describe(device: torch.device) -> dict[str, Any]:
    """Name, memory, cores, last-level cache, driver and clocks; what cannot be read is left out."""
    if device.type != "cuda":
        found = {"kind": "cpu", "name": _processor(), "cores": os.cpu_count() or 1, "cache_bytes": _cpu_cache()}
        return {key: value for key, value in found.items() if value is not None}
    card = torch.cuda.get_device_properties(device)
    found = {
        "kind": "cuda", "name": card.name, "memory_bytes": card.total_memory, "cores": card.multi_processor_count,
        "cache_bytes": getattr(card, "L2_cache_size", None), "capability": f"{card.major}.{card.minor}",
        **clocks(device),
    }  # fmt: skip
    driver = _query(["driver_version"], device)
    found["driver"] = driver[0] if driver else None
    return {key: value for key, value in found.items() if value is not None}


def clocks(device: torch.device) -> dict[str, float]:
    """Clock rates, temperature and power of a CUDA device right now; empty where they cannot be read."""
    if device.type != "cuda":
        return {}
    texts = _query([name for name, _ in _QUERIES.values()], device)
    found = {}
    for (key, (_, factor)), text in zip(_QUERIES.items(), texts, strict=False):
        try:
            found[key] = float(text) * factor
        except ValueError:
            continue
    return found


def _query(names: list[str], device: torch.device) -> list[str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, f"--query-gpu={','.join(names)}", "--format=csv,noheader,nounits", "-i", str(device.index or 0)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [text.strip() for text in done.stdout.strip().split(",")] if done.returncode == 0 else []


def _software() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"hiersim": __version__, "python": platform.python_version(), "torch": torch.__version__}
    found.update({"cuda": str(torch.version.cuda)} if torch.version.cuda else {})
    if torch.cuda.is_available() and torch.backends.cudnn.is_available():
        found["cudnn"] = str(torch.backends.cudnn.version())
    with suppress(PackageNotFoundError):
        found["triton"] = version("triton")
    return {**found, "system": f"{platform.system()} {platform.machine()}"}


def _processor() -> str:
    try:
        names = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _cpu_cache() -> int | None:
    """Bytes of the largest cache that the first core sees, where Linux tells."""
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        match = re.fullmatch(r"(\d+)K", path.read_text().strip())
        sizes += [int(match[1]) * 1024] if match else []
    return max(sizes, default=None)


def command_line() -> str:
    """How the program was called; of absolute paths only the last part, so that none enters a file of results."""
    return " ".join(["hiersim", *(Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:])])
