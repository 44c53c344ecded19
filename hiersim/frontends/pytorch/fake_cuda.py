"""Makes a CPU-only PyTorch believe that an H100 is present, so that TorchInductor schedules for it.

Nothing ever runs on the pretended device: graphs are lowered and fused, then compilation stops. The changes are
global to the process and rest on private interfaces of PyTorch 2.13: use this in a process of its own only.
"""

from __future__ import annotations

import ctypes
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import torch

# Values that Inductor's heuristics read. Source: NVIDIA H100 SXM5 as reported by cudaGetDeviceProperties.
H100: Final = SimpleNamespace(
    name="NVIDIA H100 80GB HBM3", major=9, minor=0, multi_processor_count=132, total_memory=85_000_000_000,
    max_threads_per_multi_processor=2048, max_threads_per_block=1024, regs_per_multiprocessor=65536, warp_size=32,
    shared_memory_per_block=49152, shared_memory_per_block_optin=232448, shared_memory_per_multiprocessor=233472,
    L2_cache_size=52428800, is_integrated=0, is_multi_gpu_board=0, gcnArchName="", uuid="", clock_rate=1980000,
    memory_clock_rate=2619000, memory_bus_width=5120, pci_bus_id=0, pci_device_id=0, pci_domain_id=0,
)  # fmt: skip
_CUDA, _META, _DEVICE_TYPES = 1, 14, 21
_GUARDS: Final = "_ZN3c104impl26device_guard_impl_registryE"
_keep: list[Any] = []
"""Registrations that must outlive this call."""


def install(properties: SimpleNamespace = H100) -> None:
    """Pretend. Idempotent; there is no way back within the process."""
    if _keep:
        return
    _install_device_guard()
    _patch_cuda(properties)
    _patch_bindings()
    _patch_device_interface(properties)
    _patch_fake_tensors()
    _pretend_triton()


def _install_device_guard() -> None:
    """Indexing a fake CUDA tensor asks C++ for a CUDA device guard; Meta's does nothing and serves."""
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    guards = (ctypes.c_void_p * _DEVICE_TYPES).in_dll(library, _GUARDS)
    if not guards[_CUDA]:
        guards[_CUDA] = guards[_META]


def _patch_cuda(properties: SimpleNamespace) -> None:
    replacements: dict[str, Any] = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda device: None,
        "get_device_properties": lambda device=None: properties,
        "get_device_capability": lambda device=None: (properties.major, properties.minor),
        "get_device_name": lambda device=None: properties.name,
        "is_bf16_supported": lambda including_emulation=True: True,
        "is_initialized": lambda: True,
        "_lazy_init": lambda: None,
        "synchronize": lambda device=None: None,
        "_exchange_device": lambda device: 0,
        "_maybe_exchange_device": lambda device: 0,
        "memory_allocated": lambda device=None: 0,
        "get_rng_state": lambda device="cuda": torch.zeros(16, dtype=torch.uint8),
        "set_rng_state": lambda state, device="cuda": None,
    }
    for name, replacement in replacements.items():
        setattr(torch.cuda, name, replacement)
    torch.version.cuda = "12.8"


def _patch_bindings() -> None:
    """Bindings that a CPU build lacks."""
    missing: dict[str, Any] = {
        "_cuda_getDevice": lambda: 0,
        "_cuda_setDevice": lambda device: None,
        "_cuda_getDeviceCount": lambda: 1,
        "_cuda_getCurrentRawStream": lambda device: 0,
        "_cuda_exchangeDevice": lambda device: 0,
        "_cuda_maybeExchangeDevice": lambda device: 0,
    }
    for name, function in missing.items():
        if not hasattr(torch._C, name):
            setattr(torch._C, name, function)


def _patch_device_interface(properties: SimpleNamespace) -> None:
    """Dynamo's device interface took references to `torch.cuda` when it was imported."""
    from torch._dynamo import device_interface

    interface: Any = device_interface.CudaInterface
    copied = (
        "current_device", "set_device", "device_count", "synchronize", "get_device_properties", "is_bf16_supported",
        "memory_allocated",
    )  # fmt: skip
    for name in copied:
        setattr(interface, name, staticmethod(getattr(torch.cuda, name)))
    interface.exchange_device = staticmethod(lambda device: 0)
    interface.maybe_exchange_device = staticmethod(lambda device: 0)
    interface.get_raw_stream = staticmethod(lambda device=0: 0)
    interface.raise_if_triton_unavailable = staticmethod(lambda device=None: None)
    device_interface.caching_worker_device_properties["cuda"] = [properties]
    device_interface.caching_worker_current_devices["cuda"] = 0


def _patch_fake_tensors() -> None:
    """Inductor's pattern library and constant folding allocate a few scalars: serve them from the host."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    fake: Any = FakeTensorMode
    fake.avoid_device_init = property(lambda self: True, lambda self, value: None)
    make_library: Any = torch.library.Library
    library = make_library("aten", "IMPL")

    def empty(size: Any, dtype: Any = None, **ignored: Any) -> torch.Tensor:
        return torch.empty(size, dtype=dtype, device="cpu")

    def empty_strided(size: Any, stride: Any, dtype: Any = None, **ignored: Any) -> torch.Tensor:
        return torch.empty_strided(size, stride, dtype=dtype, device="cpu")

    library.impl("empty.memory_format", empty, "CUDA")
    library.impl("empty_strided", empty_strided, "CUDA")
    _keep.append(library)


def _pretend_triton() -> None:
    """Scheduling needs no Triton, only the belief that code could be generated."""
    import_module("torch._inductor.utils")
    triton: Any = import_module("torch.utils._triton")
    triton.has_triton = _yes
    triton.has_triton_package = _yes
    for name, module in list(sys.modules.items()):
        if name.startswith("torch._inductor") and hasattr(module, "has_triton"):
            vars(module)["has_triton"] = _yes


def _yes() -> bool:
    return True
