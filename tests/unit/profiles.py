"""Profiles in Chrome JSON, made event by event as the PyTorch profiler writes them."""

from __future__ import annotations

from typing import Any

FLOAT = "float"


class ProfileWriter:
    """Operators on one host thread that launch kernels on streams."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.clock = 1_700_000_000_000_000.0
        self.correlation = 0

    def operator(
        self, name: str, dims: list[Any], kernels: list[tuple[float, float, int]], *, types: list[str] | None = None,
        values: list[str] | None = None, around: str = "", category: str = "kernel", size: int = 0, kernel: str = "",
    ) -> None:  # fmt: skip
        """An operator of 100 us; `kernels` are (start after the first event, duration, stream) in microseconds."""
        start = self.clock
        args: dict[str, Any] = {"External id": len(self.events)}
        if dims is not None:
            args |= {"Input Dims": dims, "Input type": types or [FLOAT if item else "Scalar" for item in dims]}
        if values:
            args["Concrete Inputs"] = values
        if around:
            self._event("cpu_op", around, start, 100, {})
        self._event("cpu_op", name, start + 1, 98, args)
        for offset, duration, stream in kernels:
            self.correlation += 1
            self._event("cuda_runtime", "cudaLaunchKernel", start + 10, 5, {"correlation": self.correlation})
            given = {
                "device": 0,
                "stream": stream,
                "correlation": self.correlation,
                **({"bytes": size} if size else {}),
            }
            self._event(category, kernel or f"kernel_of_{name}", 1_700_000_000_000_000.0 + offset, duration, given)
        self.clock += 100

    def _event(self, category: str, name: str, start: float, duration: float, args: dict[str, Any]) -> None:
        place = {"pid": 0, "tid": args["stream"]} if "stream" in args else {"pid": 1, "tid": 77}
        self.events.append(
            {"ph": "X", "cat": category, "name": name, "ts": start, "dur": duration, "args": args, **place}
        )

    def whole(self) -> dict[str, Any]:
        """The file."""
        return {
            "schemaVersion": 1,
            "deviceProperties": [{"id": 0, "name": "Test GPU"}],
            "traceEvents": self.events,
            "traceName": "x.json",
        }


def mlp_profile() -> ProfileWriter:
    """addmm, relu, addmm; the second kernel overlaps the first on another stream, then 30 us idle."""
    profile = ProfileWriter()
    profile.operator("aten::addmm", [[512], [64, 256], [256, 512], [], []], [(0, 40.5, 7)], around="aten::linear")
    profile.operator("aten::relu", [[64, 512]], [(30, 20, 20)])
    profile.operator("aten::addmm", [[128], [64, 512], [512, 128], [], []], [(80, 20, 7)], around="aten::linear")
    return profile
