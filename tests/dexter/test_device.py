"""Which device a run gets, on machines that are not at hand."""

import mmap
import os
import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch

from dexter.device import TorchCuda, select_device, torch_dtype
from dexter.errors import InputError
from dexter.search.loop import peak_memory, reset_peak_memory
from dexter_tui.jobs.launch import worker_environment


@dataclass
class Machine:
    """Simulate a machine whose CUDA devices have this free memory each."""

    free: tuple[int, ...] = ()

    def count(self):
        return len(self.free)

    def free_bytes(self, index):
        return self.free[index]


@pytest.mark.parametrize(
    ("wanted", "free", "chosen"),
    [
        ("auto", (), "cpu"),
        ("cpu", (9,), "cpu"),
        ("auto", (9,), "cuda:0"),
        ("auto", (3, 9, 5), "cuda:1"),
        ("cuda", (3, 5), "cuda:1"),
        ("auto", (5, 5), "cuda:0"),
        ("cuda:0", (3, 5), "cuda:0"),
    ],
)
def test_the_freest_cuda_device_is_chosen_unless_one_is_named(wanted, free, chosen):
    assert select_device(wanted, Machine(free)) == chosen


@pytest.mark.parametrize(
    ("wanted", "free", "message"),
    [
        ("cuda", (), "torch finds no CUDA device here"),
        ("cuda:0", (), "torch finds no CUDA device here"),
        ("cuda:2", (5, 5), "cuda:0 to cuda:1"),
        ("cuda:1", (5,), "choose cuda:0"),
        ("gpu", (5,), "choose auto, cpu, cuda or cuda:N"),
        ("cuda:", (5,), "choose auto, cpu, cuda or cuda:N"),
        ("cuda:-1", (5,), "choose auto, cpu, cuda or cuda:N"),
        ("cpu:0", (5,), "choose auto, cpu, cuda or cuda:N"),
    ],
)
def test_a_device_that_is_not_there_is_refused(wanted, free, message):
    with pytest.raises(InputError, match=message) as refused:
        select_device(wanted, Machine(free))
    assert (refused.value.field, refused.value.value) == ("device", wanted)


def test_this_machine_answers():
    count = TorchCuda().count()
    assert count == (torch.cuda.device_count() if torch.cuda.is_available() else 0)
    assert all(TorchCuda().free_bytes(index) > 0 for index in range(count))
    assert select_device("auto") in {"cpu", *(f"cuda:{index}" for index in range(count))}


@pytest.mark.parametrize("order", [None, "FASTEST_FIRST"])
def test_devices_have_the_numbers_of_nvidia_smi_unless_the_user_orders_them(order, monkeypatch):
    monkeypatch.setenv("CUDA_DEVICE_ORDER", order or "")
    if order is None:
        monkeypatch.delenv("CUDA_DEVICE_ORDER")
    assert worker_environment()["CUDA_DEVICE_ORDER"] == (order or "PCI_BUS_ID")
    TorchCuda().count()
    assert os.environ["CUDA_DEVICE_ORDER"] == (order or "PCI_BUS_ID")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's peak alone is reset")
def test_the_peak_of_memory_is_that_of_the_work_after_its_reset():
    size = 100 * 2**20
    with mmap.mmap(-1, size) as before:
        before.write(b"1" * size)
    earlier = peak_memory(torch.device("cpu"))
    reset_peak_memory()
    assert peak_memory(torch.device("cpu")) < earlier - size / 2


def test_dtypes_go_by_name():
    assert torch_dtype("bfloat16") is torch.bfloat16
    with pytest.raises(InputError, match="float32, bfloat16, float16"):
        torch_dtype("bf16")


@pytest.mark.long
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the faults of Linux")
def test_freed_memory_is_kept_for_what_comes():
    code = """
import resource, torch
from dexter.device import ALL_PIECES, LARGE_PIECE, keep_freed_memory
def faults(megabytes):
    counts = []
    for _ in range(5):
        # Aligned pieces do not fit at once into the holes that their like left.
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(5):
            torch.empty(megabytes * 250_000).fill_(1)
        counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return min(counts)
for below in (0, LARGE_PIECE, ALL_PIECES, LARGE_PIECE, 0):
    keep_freed_memory(below)
    print(faults(80), faults(8))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    nothing, small, everything, small_again, nothing_again = (
        [int(count) for count in line.split()] for line in done.stdout.splitlines()
    )
    if min(nothing) < 1000:
        pytest.skip("this allocator keeps what is freed, or pages are large")

    def kept(counts):
        return [count < before / 10 for count, before in zip(counts, nothing, strict=True)]

    assert kept(everything) == [True, True]
    assert kept(small) == kept(small_again) == [False, True]
    # A process makes runs of each kind in turn; small holes between what lives stay in use.
    assert not kept(nothing_again)[0]
