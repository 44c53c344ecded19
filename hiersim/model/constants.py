"""`Constants`: what the kernels of GPU libraries cost beyond all that a datasheet says.

Few numbers, each of one mechanism, the same for every design that does not say otherwise. A design carries them, so
that a file, `--set constants.lookup=240` and a fit change them as they change any other value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from hiersim.units import Bytes, Factor


@dataclass(frozen=True, slots=True, kw_only=True)
class Constants:
    """What no design is known to differ in. All but `narrow_loads` matter where cores run threads."""

    dependent_load: Factor = Factor(1.2)
    """Latency of a load that an address and a loop lead to, in unloaded latencies, as pointer chasing measures them."""
    wait_bytes: Bytes = Bytes(512)
    """Bytes next to each other that one miss of a team brings: shorter steps share a wait at a farther tier."""
    address: Factor = Factor(70)
    """Integer operations that the address of an element costs where a kernel computes one for each."""
    lookup: Factor = Factor(220)
    """Integer operations as long as a line takes to be looked up where each thread of a warp touches one of its own."""
    special_function: Factor = Factor(12)
    """FP32 FLOPs of one evaluation of exp, tanh, erf or a division, beside its slot of the special-function unit."""
    link: Factor = Factor(65)
    """Clock cycles until a thread that waits for it has the result of one, branches and all."""
    access: Factor = Factor(12)
    """FP32 FLOPs of a load or store of a library's row kernel: address, bound, share of a loop, six instructions."""
    handling: Factor = Factor(2)
    """FP32 FLOPs of each element that such an access brings or takes: a conversion."""
    narrow_loads: Factor = Factor(3.2)
    """Accesses narrower than 16 B that a core loads for a matrix product per cycle, whatever their width."""
    prologue: Factor = Factor(2400)
    """Clock cycles of a library's product, whatever its size, in which the unit has nothing to multiply: descriptors
    and barriers before the first block, sums on their way out after the last one."""
    table_waits: Factor = Factor(12)
    """Latencies of the nearest shared tier before a core begins a block of attention whose keys a table finds."""


SOURCES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "dependent_load": "read off the bundled H100 measurements: sums of one long row, 0.42 us a step cold and "
        "0.17 us warm; plausible 1.0 to 1.4",
        "wait_bytes": "read off the bundled H100 measurements: sums of one row in BF16 and FP32; plausible 256 to 1024",
        "address": "read off the bundled H100 measurements: slices, repeated rows, and rows added to matrices, 330 to "
        "430 elements per ns (55 to 85 operations, of which a multiply-add is two)",
        "lookup": "read off the bundled H100 measurements: transposes, 121 to 132 elements per ns (215 to 240 "
        "operations, about two cycles of a core); scattered atomic additions take as long",
        "special_function": "read off the bundled H100 measurements: softmax less log-softmax of one row of 65536 BF16 "
        "columns, 32 FLOPs for an exponential and a division; plausible 12 to 20",
        "link": "4 cycles from an instruction to the next that needs it, about 20 in the special-function unit (Jia et "
        "al., Dissecting the NVIDIA Volta GPU architecture via microbenchmarking, 2018); read off softmax and "
        "log-softmax of 64 to 1024 FP32 columns of the bundled H100 measurements, a warp for each scheduler, 60 to 75",
        "access": "read off softmax and log-softmax of 64 to 65536 columns and maxima of the bundled H100 "
        "measurements, and softmax of LLMCompass (ISCA 2024): less for the wider accesses; plausible 8 to 16",
        "handling": "assumption: one conversion instruction; a row that L2 holds takes the same in BF16 and in FP32",
        "narrow_loads": "fitted to the bundled H100 products whose rows are not aligned: 2.6 to 3.8 accesses per cycle "
        "and core over five tile shapes; 16 B accesses are copied asynchronously and are bound by load_bandwidth",
        "prologue": "read off the bundled H100 measurements: products of 64 to 256 BF16 and FP16 elements a side in "
        "one launch take 2.1 to 2.5 us, of which start-up, loads and stores are 1.1 to 1.5: 1.3 us beside the loads, "
        "2400 cycles; plausible 1800 to 2900",
        "table_waits": "read off decoding over 2 to 128 keys with tables of pages on H100 and A100, measured by "
        "aiconfigurator (Apache-2.0): a core takes 3.4 and 3.9 us a block, 2.6 and 1.9 us beside its arithmetic; the "
        "next block's number, the lengths, the table, the keys, the results stored; plausible 8 to 15",
    }
)
"""Field → where its value is from."""
