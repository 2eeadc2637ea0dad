"""Where to compute, and in which precision. Imports torch only when asked."""

import ctypes
from typing import TYPE_CHECKING, Protocol

from dexter.errors import InputError

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "bfloat16", "float16", "float64")  # float64: for checks of gradients


class CudaDevices(Protocol):
    """The CUDA devices that this process may use."""

    def count(self) -> int:
        """How many there are; 0 without a usable driver."""
        ...

    def free_bytes(self, index: int) -> int:
        """Memory that no process uses on one of them."""
        ...


class TorchCuda:
    """CUDA devices as torch sees them (CUDA_VISIBLE_DEVICES is respected)."""

    def count(self) -> int:
        import torch

        return torch.cuda.device_count() if torch.cuda.is_available() else 0

    def free_bytes(self, index: int) -> int:
        import torch

        total = torch.cuda.get_device_properties(index).total_memory
        try:
            # From the driver's management library: asking CUDA itself would leave a context of
            # some 500 MB on each device that is looked at.
            return total - torch.cuda.device_memory_used(index)
        except (RuntimeError, ModuleNotFoundError):  # no such library in this container
            return torch.cuda.mem_get_info(index)[0]


def select_device(wanted: str = "auto", cuda: CudaDevices | None = None) -> str:
    """A torch device, "cpu" or "cuda:N", for "auto", "cpu", "cuda" or "cuda:N".

    "auto" is the CUDA device with most free memory, else the CPU; "cuda" must find one.
    Raises InputError for a device that is not there.
    """
    cuda = cuda or TorchCuda()
    if wanted == "cpu":
        return "cpu"
    kind, _, number = wanted.partition(":")
    if wanted not in ("auto", "cuda") and not (kind == "cuda" and number.isdecimal()):
        raise InputError(f"device {wanted!r} is unknown: choose auto, cpu, cuda or cuda:N")
    count = cuda.count()
    if wanted == "auto" and count == 0:
        return "cpu"
    if count == 0:
        raise InputError(f"device {wanted!r}: torch finds no CUDA device here; use cpu or auto")
    if number:
        if int(number) >= count:
            last = f"cuda:0 to cuda:{count - 1}" if count > 1 else "only cuda:0"
            raise InputError(f"device {wanted!r} is not there: {last}")
        return f"cuda:{int(number)}"
    return f"cuda:{max(range(count), key=cuda.free_bytes)}"


def torch_dtype(name: str) -> "torch.dtype":
    """The torch dtype of a name in `DTYPES`; InputError for another."""
    import torch

    if name not in DTYPES:
        raise InputError(f"dtype {name!r} is unknown: choose one of {', '.join(DTYPES[:3])}")
    dtype: torch.dtype = getattr(torch, name)
    return dtype


ALL_PIECES = None
LARGE_PIECE = 32 * 2**20
"""glibc's largest threshold between pieces of the heap and pieces mapped by themselves."""


def keep_freed_memory(below: int | None) -> None:
    """Let this process keep what its tensors free from now on, for those to come.

    glibc's allocator gives freed memory back to the system, which then maps it anew and fills it
    with zeros each time: on a CPU a fifteenth of a step of Stable Diffusion's size. The peak grows
    by what is kept. below: pieces of fewer bytes are kept, larger ones given back: `ALL_PIECES`
    where memory is no concern; up to `LARGE_PIECE` where activations are computed again to save it;
    0 keeps nothing. Called when the models are loaded: what loading left is given back first.
    Other allocators are left as they are.
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
