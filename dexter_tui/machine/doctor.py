"""The checks of `doctor`: the machine, the terminal and the store, each with its remedy."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from dexter.errors import InputError
from dexter.loading import importing
from dexter.model_folders import find
from dexter_tui.formatting import command, size
from dexter_tui.paths import PACKAGED
from store.checking import file_systems

Status = Literal["ok", "note", "warning", "error"]

MIN_HOME_BYTES = 500 * 2**20
MIN_CACHE_BYTES = 8 * 2**30  # one Stable Diffusion 1.x pipeline, twice over
NETWORK_TIMEOUT = 2.0  # seconds
TMUX_LINE = "set -as terminal-features ',*:RGB'"


@dataclass(frozen=True)
class Finding:
    """The result of a check. ``remedy`` is empty if there is nothing to do."""

    check: str
    status: Status
    detail: str
    remedy: str = ""


@dataclass(frozen=True)
class Gpu:
    """A CUDA device as the driver reports it, hidden or not."""

    index: int
    name: str
    used_bytes: int
    total_bytes: int
    processes: int


@dataclass(frozen=True)
class Driver:
    """The NVIDIA driver: its version, the newest CUDA it supports, and its devices."""

    version: str
    cuda: tuple[int, int]
    gpus: list[Gpu]


def diagnose(home: Path, env: Mapping[str, str] = os.environ) -> list[Finding]:
    """Run all checks of the machine. Never raises; waits at most 2 s for the network."""
    driver = read_driver()
    return [
        check_home(home),
        check_space(home),
        check_packages(),
        check_lab(),
        check_hub_token(env),
        check_network(hub_address()),
        check_model_cache(),
        check_driver(driver, torch_cuda()),
        check_gpus(driver, env),
        check_colours(env),
        check_locale(env),
        check_api_key(env),
    ]


def check_store(
    home: Path, *, repair: bool = False, progress: Callable[[str, int, int], None]
) -> list[Finding]:
    """Check the store and its files; with ``repair``, also repair them."""
    from store import Store, StoreError
    from store.upkeep.health import examine

    if file_systems.refusal(home) is not None:
        return []  # `check_home` has it
    if not (home / "store.sqlite").exists():
        runs = len(list((home / "runs").glob("*/journal.jsonl")))
        if runs:
            return [
                Finding(
                    "store",
                    "error",
                    f"{home}: store.sqlite is missing, but the journals of {runs} runs exist",
                    "run `dexter-tui doctor --rebuild`, or restore store.sqlite",
                )
            ]
        return []
    try:
        with Store.open(home) as store:
            troubles = examine(store, repair=repair, progress=progress)
    except StoreError as error:
        return [Finding("store", "error", str(error), _rebuild_remedy(home / "store.sqlite"))]
    if not troubles:
        return [Finding("store", "ok", f"{home / 'store.sqlite'} and its files are intact")]
    return [
        Finding("store", "note", f"repaired: {trouble.what}")
        if trouble.repaired
        else Finding(
            "store",
            "error" if trouble.kind == "damaged" else "warning",
            trouble.what,
            trouble.remedy,
        )
        for trouble in troubles
    ]


def _rebuild_remedy(path: Path) -> str:
    """Return the remedy for a damaged store; none for one that a full disk, say, makes useless."""
    from store import StoreError
    from store.upkeep.health import damage

    with suppress(StoreError):
        for trouble in damage(path):
            return trouble.remedy
    return ""


def rebuild_store(home: Path, *, progress: Callable[[str, int, int], None]) -> list[Finding]:
    """Rebuild the store from the journals of all runs."""
    from store.upkeep.rebuilding import rebuild

    if not (home / "runs").is_dir():
        raise InputError(f"{home}: no journals of runs", remedy="check DEXTER_HOME")
    done = rebuild(home, progress=progress)
    findings = [
        Finding(
            "rebuilt",
            "note",
            f"{len(done.runs)} runs from their journals, the findings of {len(done.studies)} "
            "studies; comparisons, screenings, probes and reports on pictures exist only in "
            "backups",
        )
    ]
    if done.moved:
        findings.append(Finding("rebuilt", "note", f"the damaged store was moved to {done.moved}"))
    for name, problem in done.refused.items():
        findings.append(
            Finding(
                "rebuilt",
                "warning",
                f"{name} cannot be restored from its file: {problem}",
                "restore the file from a backup, or remove it",
            )
        )
    if done.paused:
        findings.append(
            Finding(
                "rebuilt",
                "note",
                f"{len(done.paused)} unfinished runs are now paused",
                command(["dexter-tui", "resume", *done.paused]),
            )
        )
    return findings


def _existing(path: Path) -> Path:
    """Return the path, or its nearest existing parent."""
    while not path.exists():
        path = path.parent
    return path


def check_home(home: Path, mounts: Path | None = None) -> Finding:
    """Check that the home is a writable folder on a local disk."""
    if home.exists() and not home.is_dir():
        return Finding(
            "home", "error", f"{home} is a file", "name a folder with DEXTER_HOME, or remove it"
        )
    if (refusal := file_systems.refusal(home, mounts)) is not None:
        return Finding("home", "error", refusal.problem, refusal.remedy or "")
    if not os.access(_existing(home), os.W_OK | os.X_OK):
        return Finding(
            "home",
            "error",
            f"{home} is not writable",
            "make it writable for this user, or name another folder with DEXTER_HOME",
        )
    return Finding("home", "ok", f"{home} ({file_systems.file_system(home, mounts)})")


def check_space(home: Path) -> Finding:
    """Check the free disk space for results."""
    free = shutil.disk_usage(_existing(home)).free
    detail = f"{size(free)} free at {home}"
    if free < MIN_HOME_BYTES:
        return Finding(
            "disk space", "error", detail, "free some space, or move DEXTER_HOME to a larger disk"
        )
    return Finding("disk space", "ok", detail)


@cache
def check_packages() -> Finding:
    """Check that a new process can import the packages that compute."""
    path = os.pathsep.join([str(PACKAGED), os.environ.get("PYTHONPATH", "")])
    answer = subprocess.run(
        [sys.executable, "-P", "-m", __name__],
        env={**os.environ, "PYTHONPATH": path.rstrip(os.pathsep)},
        capture_output=True,
        check=False,
    )
    if answer.returncode:
        lines = answer.stderr.decode(errors="replace").strip().splitlines()
        detail = lines[-1] if lines else f"importing them ended with {answer.returncode}"
        return Finding("packages", "error", detail, "reinstall dexter-tui")
    if answer.stdout:
        return Finding("packages", "error", *json.loads(answer.stdout))
    return Finding("packages", "ok", "torch, transformers and diffusers can be imported")


def check_lab() -> Finding:
    """Check that the models of the lab are installed."""
    try:
        return Finding("lab", "ok", str(find("lab", "generator").parent))
    except InputError as error:
        return Finding("lab", "warning", str(error), "reinstall dexter-tui, or run `make lab`")


def hub_address() -> str:
    """Return the address of the model hub that its client uses."""
    from huggingface_hub import constants

    return constants.ENDPOINT


def check_hub_token(env: Mapping[str, str]) -> Finding:
    """Check for a token, which some downloads need."""
    if env.get("HF_TOKEN") or _token_file(env).is_file():
        return Finding("hub token", "ok", "found")
    return Finding(
        "hub token",
        "note",
        "not found: gated models cannot be downloaded",
        "run `hf auth login`, or set HF_TOKEN; public models and the lab need no token",
    )


def _token_file(env: Mapping[str, str]) -> Path:
    if env.get("HF_TOKEN_PATH"):
        return Path(env["HF_TOKEN_PATH"])
    from huggingface_hub import constants

    return Path(constants.HF_TOKEN_PATH)


def reachable(address: str, timeout: float = NETWORK_TIMEOUT) -> bool:
    """Return True if the address, or its proxy, accepts a TCP connection."""
    from urllib.request import getproxies, proxy_bypass

    url = urlsplit(address)
    proxy = getproxies().get(url.scheme)
    if proxy and not proxy_bypass(url.hostname or ""):
        url = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    target = (url.hostname or "", url.port or (80 if url.scheme == "http" else 443))
    connected = threading.Event()

    def connect() -> None:
        with suppress(OSError), socket.create_connection(target, timeout):
            connected.set()

    # In a thread, because a name lookup may exceed the timeout of the socket.
    attempt = threading.Thread(target=connect, daemon=True)
    attempt.start()
    attempt.join(timeout)
    return connected.is_set()


def check_network(address: str) -> Finding:
    """Check the connection to the hub, which models given by hub id need."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return Finding(
            "network", "note", "HF_HUB_OFFLINE is set: only models on this machine are available"
        )
    if reachable(address):
        return Finding("network", "ok", f"{address} is reachable")
    return Finding(
        "network",
        "warning",
        f"{address} is not reachable within {NETWORK_TIMEOUT:g} s",
        "set https_proxy, or copy models to this machine and pass their folders; "
        "the lab needs no network",
    )


def check_model_cache() -> Finding:
    """Check the free disk space for downloaded models."""
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    free = shutil.disk_usage(_existing(cache)).free
    detail = f"{size(free)} free at {cache}"
    if free < MIN_CACHE_BYTES:
        return Finding(
            "model cache",
            "warning",
            detail,
            "run `hf cache prune`, or set HF_HOME to a folder on a larger disk",
        )
    return Finding("model cache", "ok", detail)


def torch_cuda() -> tuple[int, int] | None:
    """Return the CUDA version of torch without importing it, or None for a CPU build."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    text = Path(spec.origin).with_name("version.py").read_text()
    match = re.search(r"^cuda[^=]*= '(\d+)\.(\d+)", text, re.MULTILINE)
    return (int(match[1]), int(match[2])) if match else None


def read_driver() -> Driver | None:
    """Read the NVIDIA driver and its devices, or return None without a driver."""
    import pynvml as nvml

    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None
    try:
        cuda = nvml.nvmlSystemGetCudaDriverVersion_v2()
        gpus = []
        for index in range(nvml.nvmlDeviceGetCount()):
            with suppress(nvml.NVMLError):  # one that does not answer hides no others
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
                memory, name = nvml.nvmlDeviceGetMemoryInfo(handle), nvml.nvmlDeviceGetName(handle)
                processes = 0
                with suppress(nvml.NVMLError):  # not all drivers list them
                    processes = len(nvml.nvmlDeviceGetComputeRunningProcesses(handle))
                gpus.append(Gpu(index, name, memory.used, memory.total, processes))
        return Driver(nvml.nvmlSystemGetDriverVersion(), (cuda // 1000, cuda % 1000 // 10), gpus)
    except nvml.NVMLError:
        return None
    finally:
        nvml.nvmlShutdown()


def check_driver(driver: Driver | None, built_for: tuple[int, int] | None) -> Finding:
    """Check that the driver supports the CUDA version of torch."""
    if driver is None:
        return Finding("GPU driver", "note", "no NVIDIA driver: runs use the CPU")
    found = f"driver {driver.version} (CUDA {_version(driver.cuda)})"
    if built_for is None:
        return Finding(
            "GPU driver",
            "warning",
            f"{found}, but torch is built for the CPU only",
            "reinstall torch in its CUDA build",
        )
    if driver.cuda[0] < built_for[0]:
        return Finding(
            "GPU driver",
            "error",
            f"{found} is too old for torch, which is built for CUDA {_version(built_for)}",
            f"update the driver, or install a torch built for CUDA {driver.cuda[0]}",
        )
    return Finding("GPU driver", "ok", f"{found}, torch for CUDA {_version(built_for)}")


def check_gpus(driver: Driver | None, env: Mapping[str, str]) -> Finding:
    """Check for GPUs that are hidden from this process or in use."""
    if driver is None or not driver.gpus:
        return Finding("GPUs", "note", "none: runs use the CPU")
    listed = "; ".join(
        f"{gpu.index}: {gpu.name}, {size(gpu.total_bytes - gpu.used_bytes)} of "
        f"{size(gpu.total_bytes)} free" + (f", {gpu.processes} processes" if gpu.processes else "")
        for gpu in driver.gpus
    )
    visible = env.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        shown = [part for part in visible.split(",") if part.strip() not in ("", "-1")]
        if len(shown) < len(driver.gpus):
            return Finding(
                "GPUs",
                "warning" if not shown else "note",
                f"CUDA_VISIBLE_DEVICES={visible!r} hides "
                f"{'all' if not shown else len(driver.gpus) - len(shown)} of them; {listed}",
                "unset CUDA_VISIBLE_DEVICES to use all GPUs",
            )
    if all(gpu.processes for gpu in driver.gpus):
        return Finding(
            "GPUs",
            "warning",
            f"all are in use; {listed}",
            "pass --device cuda:N to share one, or wait",
        )
    return Finding("GPUs", "ok", listed)


def check_colours(env: Mapping[str, str]) -> Finding:
    """Check for 24-bit colours, which pictures need."""
    if env.get("COLORTERM", "").lower() in ("truecolor", "24bit"):
        return Finding("colours", "ok", "24 bits")
    if env.get("TMUX"):
        return Finding(
            "colours",
            "warning",
            "tmux uses 256 colours, so pictures are coarse",
            f"add `{TMUX_LINE}` to ~/.tmux.conf, and set COLORTERM=truecolor",
        )
    return Finding(
        "colours",
        "note",
        f"TERM={env.get('TERM', '')} does not announce 24-bit colours",
        "set COLORTERM=truecolor if the terminal supports them",
    )


def check_locale(env: Mapping[str, str]) -> Finding:
    """Check for UTF-8, which half blocks and many words need."""
    name = env.get("LC_ALL") or env.get("LC_CTYPE") or env.get("LANG") or "C"
    # Python sets LC_CTYPE=C.UTF-8 in the C locale, which does not change the terminal.
    if not env.get("LC_ALL") and name == "C.UTF-8" and env.get("LANG", "C") in ("", "C", "POSIX"):
        name = "C"
    if re.search(r"utf-?8", name, re.IGNORECASE):
        return Finding("locale", "ok", name)
    return Finding(
        "locale",
        "warning",
        f"{name} is not UTF-8: tmux and others garble pictures and many words",
        "set LC_ALL=C.UTF-8",
    )


def check_api_key(env: Mapping[str, str]) -> Finding:
    """Check for an API key, which captions and reports by a remote model need."""
    if env.get("OPENAI_API_KEY"):
        return Finding("API key", "ok", "OPENAI_API_KEY is set")
    return Finding(
        "API key",
        "note",
        "OPENAI_API_KEY is not set",
        "set OPENAI_API_KEY to use a remote model for captions and reports; runs need no key",
    )


def _version(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


if __name__ == "__main__":  # `check_packages`
    try:
        with importing(), redirect_stdout(sys.stderr):
            import_module("dexter.generation.generator")  # and all that it needs
    except InputError as error:
        print(json.dumps([error.problem, error.remedy]))
