"""The device and the precision of computations. Imports torch only when needed."""

import ctypes
import os
import sys
from typing import TYPE_CHECKING, Protocol

from dexter.errors import InputError

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "bfloat16", "float16", "float64")  # float64: for checks of gradients


class CudaDevices(Protocol):
    """The CUDA devices that this process may use."""

    def count(self) -> int:
        """Return their number; 0 without a usable driver."""
        ...

    def free_bytes(self, index: int) -> int:
        """Return the memory that no process uses on one of them."""
        ...


class TorchCuda:
    """The CUDA devices that torch lists, filtered by CUDA_VISIBLE_DEVICES."""

    def count(self) -> int:
        import torch

        # cuda:N is then nvidia-smi's N; by default CUDA numbers its devices fastest first.
        os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        return torch.cuda.device_count() if torch.cuda.is_available() else 0

    def free_bytes(self, index: int) -> int:
        import torch

        total = torch.cuda.get_device_properties(index).total_memory
        try:
            # From the driver's management library: CUDA itself would keep a context of about
            # 500 MB on each device that is queried.
            return total - torch.cuda.device_memory_used(index)
        except (RuntimeError, ModuleNotFoundError):  # no such library in this container
            return torch.cuda.mem_get_info(index)[0]


def select_device(wanted: str = "auto", cuda: CudaDevices | None = None) -> str:
    """Return the torch device "cpu" or "cuda:N" for "auto", "cpu", "cuda" or "cuda:N".

    "auto" is the CUDA device with the most free memory, else the CPU; "cuda" must find one.
    Raises InputError for a device that does not exist.
    """
    cuda = cuda or TorchCuda()
    if wanted == "cpu":
        return "cpu"
    kind, _, number = wanted.partition(":")
    if wanted not in ("auto", "cuda") and not (kind == "cuda" and number.isdecimal()):
        raise _refusal(wanted, f"{wanted!r} is unknown", "choose auto, cpu, cuda or cuda:N")
    count = cuda.count()
    if wanted == "auto" and count == 0:
        return "cpu"
    if count == 0:
        raise _refusal(
            wanted, f"{wanted!r}, but torch finds no CUDA device here", "choose cpu or auto"
        )
    if number:
        if int(number) >= count:
            last = f"cuda:0 to cuda:{count - 1}" if count > 1 else "cuda:0"
            raise _refusal(wanted, f"{wanted!r} does not exist here", f"choose {last}")
        return f"cuda:{int(number)}"
    return f"cuda:{max(range(count), key=cuda.free_bytes)}"


def _refusal(wanted: str, problem: str, remedy: str) -> InputError:
    return InputError(problem, field="device", value=wanted, remedy=remedy)


def torch_dtype(name: str) -> "torch.dtype":
    """Return the torch dtype of a name in `DTYPES`; raise InputError for another."""
    import torch

    if name not in DTYPES:
        raise InputError(
            f"{name!r} is unknown",
            field="dtype",
            value=name,
            remedy=f"choose from {', '.join(DTYPES[:3])}",
        )
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def mixed_precision() -> "torch.autocast":
    """Return a context in which a CPU computes products in bfloat16, if it has instructions for it.

    For training: there it takes a third of the time. Parameters and gradients stay in float32.
    """
    import torch

    has_it = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return torch.autocast("cpu", torch.bfloat16, enabled=has_it)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out, of a GPU or of this machine."""
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or torch is None:  # not loaded, it raised nothing
        return isinstance(error, MemoryError)
    if isinstance(error, torch.OutOfMemoryError):
        return True
    # On a CPU torch's error has no class of its own: accelerate recognises it. With CUDA its
    # function takes faults of cuDNN for it, too.
    from accelerate.utils.memory import should_reduce_batch_size

    return not torch.cuda.is_available() and should_reduce_batch_size(error)


ALL_PIECES = None
LARGE_PIECE = 32 * 2**20
"""glibc's largest threshold between pieces of the heap and pieces with a mapping of their own."""


def keep_freed_memory(below: int | None) -> None:
    """Keep the memory that tensors free in this process, for later tensors.

    glibc's allocator returns freed memory to the system, which then maps it again and fills it
    with zeros each time: on a CPU a fifteenth of a step of Stable Diffusion's size. The peak grows
    by the memory kept. below: pieces of fewer bytes are kept, larger ones returned: `ALL_PIECES`
    where memory is no concern; up to `LARGE_PIECE` where activations are recomputed to save it;
    0 keeps nothing. Call it when the models are loaded: memory left from loading is returned first.
    Does nothing to other allocators.
    """
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # of malloc.h
    try:
        libc = ctypes.CDLL(None)
        trim, mallopt = libc.malloc_trim, libc.mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return
    trim(0)
    mallopt(M_MMAP_MAX, 0 if below is ALL_PIECES else 65536)  # its default
    if below is not ALL_PIECES:
        mallopt(M_MMAP_THRESHOLD, max(below, 128 * 1024))  # its default
    mallopt(M_TRIM_THRESHOLD, -1 if below != 0 else 128 * 1024)
