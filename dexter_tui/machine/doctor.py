"""What a user's first hour on a new machine stumbles over: each check with its remedy."""

import os
import re
import shutil
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from dexter.errors import InputError
from dexter.model_folders import find
from dexter_tui.formatting import size

Status = Literal["ok", "note", "warning", "error"]

# Locks and shared memory of SQLite's WAL mode do not hold between the clients of these.
NETWORK_FILE_SYSTEMS = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|lustre|beegfs|gpfs|ceph|glusterfs|afs|9p"
    r"|fuse\.(sshfs|glusterfs|ceph.*|s3fs|gcsfuse|rclone)"
)
MOUNTS = Path("/proc/self/mounts")
MIN_HOME_BYTES = 500 * 2**20
MIN_CACHE_BYTES = 8 * 2**30  # one Stable Diffusion 1.x pipeline, twice over
NETWORK_TIMEOUT = 2.0  # seconds
TMUX_LINE = "set -as terminal-features ',*:RGB'"


@dataclass(frozen=True)
class Finding:
    """What one check found. ``remedy`` is empty where there is nothing to do."""

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
    """All checks. Never raises for what it finds, and waits for the network 2 s at most."""
    driver = read_driver()
    return [
        check_home(home),
        check_space(home),
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


# the store


def check_store(
    home: Path, *, mend: bool = False, progress: Callable[[str, int, int], None]
) -> list[Finding]:
    """What is wrong inside the home; with ``mend``, after it was put right."""
    from store import Store, StoreError
    from store.upkeep.health import examine

    if not (home / "store.sqlite").exists():
        runs = len(list((home / "runs").glob("*/journal.jsonl")))
        if runs:
            return [
                Finding(
                    "store",
                    "error",
                    f"{home}: no store, but the journals of {runs} runs",
                    "`dexter-tui doctor --rebuild`, or put store.sqlite back",
                )
            ]
        return []
    try:
        with Store.open(home) as store:
            troubles = examine(store, repair=mend, progress=progress)
    except StoreError as error:
        return [Finding("store", "error", str(error), "`dexter-tui doctor --rebuild`")]
    if not troubles:
        return [Finding("store", "ok", f"{home / 'store.sqlite'}: sound, as are its files")]
    return [
        Finding("store", "note", f"mended: {trouble.what}")
        if trouble.repaired
        else Finding(
            "store",
            "error" if trouble.kind == "damaged" else "warning",
            trouble.what,
            trouble.remedy,
        )
        for trouble in troubles
    ]


def rebuild_store(home: Path, *, progress: Callable[[str, int, int], None]) -> list[Finding]:
    """Bring all runs into the store from their journals."""
    from store.upkeep.health import rebuild

    if not (home / "runs").is_dir():
        raise InputError(f"{home}: no runs here whose journals could be read; set DEXTER_HOME")
    done = rebuild(home, progress=progress)
    findings = [
        Finding(
            "rebuilt",
            "note",
            f"{len(done.runs)} runs from their journals, the findings of {len(done.studies)} "
            "studies; comparisons and probes are lost but for backups",
        )
    ]
    if done.moved:
        findings.append(Finding("rebuilt", "note", f"the damaged store is now {done.moved}"))
    if done.paused:
        findings.append(
            Finding(
                "rebuilt",
                "note",
                f"{len(done.paused)} of them had not ended and are paused",
                f"dexter-tui resume {' '.join(done.paused)}",
            )
        )
    return findings


# files


def _existing(path: Path) -> Path:
    """The path, or its nearest parent that exists."""
    while not path.exists():
        path = path.parent
    return path


def file_system(path: Path, mounts: Path = MOUNTS) -> str:
    """The type of the file system that holds ``path``; "unknown" where the kernel does not tell."""
    path = _existing(path.absolute()).resolve()
    best, kind = -1, "unknown"
    try:
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return kind
    for line in lines:
        _, point, this_kind, *_ = line.split(" ")
        point = point.replace("\\040", " ")
        if path.is_relative_to(point) and len(point) >= best:
            best, kind = len(point), this_kind
    return kind


def check_home(home: Path, mounts: Path = MOUNTS) -> Finding:
    """The home must be a folder on a local disk that can be written."""
    if home.exists() and not home.is_dir():
        return Finding(
            "home", "error", f"{home} is a file", "name a folder with DEXTER_HOME, or remove it"
        )
    kind = file_system(home, mounts)
    if NETWORK_FILE_SYSTEMS.fullmatch(kind):
        return Finding(
            "home",
            "error",
            f"{home} lies on a network file system ({kind}), where the store's locks are not safe",
            "export DEXTER_HOME=/local/disk/dexter-tui, a folder on a local disk",
        )
    if not os.access(_existing(home), os.W_OK | os.X_OK):
        return Finding(
            "home",
            "error",
            f"{home} cannot be written",
            "make it writable for this user, or name another folder with DEXTER_HOME",
        )
    return Finding("home", "ok", f"{home} ({kind})")


def check_space(home: Path) -> Finding:
    """Room for results."""
    free = shutil.disk_usage(_existing(home)).free
    detail = f"{size(free)} free at {home}"
    if free < MIN_HOME_BYTES:
        return Finding(
            "disk space", "error", detail, "free some space, or move DEXTER_HOME to a larger disk"
        )
    return Finding("disk space", "ok", detail)


def check_lab() -> Finding:
    """The embedded lab's models."""
    try:
        return Finding("lab", "ok", str(find("lab", "generator").parent))
    except InputError as error:
        return Finding("lab", "warning", str(error), "install dexter-tui again, or run `make lab`")


# the hub


def hub_address() -> str:
    """The model hub's address, as its own client has it."""
    from huggingface_hub import constants

    return constants.ENDPOINT


def check_hub_token(env: Mapping[str, str]) -> Finding:
    """Some models may be downloaded only with a token."""
    if env.get("HF_TOKEN") or _token_file(env).is_file():
        return Finding("hub token", "ok", "found")
    return Finding(
        "hub token",
        "note",
        "none: gated models cannot be downloaded",
        "`hf auth login`, or export HF_TOKEN=…; public models and the lab need none",
    )


def _token_file(env: Mapping[str, str]) -> Path:
    if env.get("HF_TOKEN_PATH"):
        return Path(env["HF_TOKEN_PATH"])
    from huggingface_hub import constants

    return Path(constants.HF_TOKEN_PATH)


def reachable(address: str, timeout: float = NETWORK_TIMEOUT) -> bool:
    """Whether a TCP connection to the address, or to the proxy before it, can be made."""
    from urllib.request import getproxies, proxy_bypass

    url = urlsplit(address)
    proxy = getproxies().get(url.scheme)
    if proxy and not proxy_bypass(url.hostname or ""):
        url = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    target = (url.hostname or "", url.port or (80 if url.scheme == "http" else 443))
    answered = threading.Event()

    def connect() -> None:
        with suppress(OSError), socket.create_connection(target, timeout):
            answered.set()

    # In a thread, because looking up a name may take longer than any socket's timeout.
    attempt = threading.Thread(target=connect, daemon=True)
    attempt.start()
    attempt.join(timeout)
    return answered.is_set()


def check_network(address: str) -> Finding:
    """Models by hub id need the hub; the lab and folders do not."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return Finding(
            "network", "note", "HF_HUB_OFFLINE is set: only models on this machine can be used"
        )
    if reachable(address):
        return Finding("network", "ok", f"{address} answers")
    return Finding(
        "network",
        "warning",
        f"{address} does not answer within {NETWORK_TIMEOUT:g} s",
        "set https_proxy, or copy models to this machine and name their folders; "
        "the lab needs no network",
    )


def check_model_cache() -> Finding:
    """Downloaded models need room."""
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    free = shutil.disk_usage(_existing(cache)).free
    detail = f"{size(free)} free at {cache}"
    if free < MIN_CACHE_BYTES:
        return Finding(
            "model cache",
            "warning",
            detail,
            "`hf cache prune`, or export HF_HOME=/larger/disk/huggingface",
        )
    return Finding("model cache", "ok", detail)


# devices


def torch_cuda() -> tuple[int, int] | None:
    """The CUDA version torch was built for, read without importing torch; None for a CPU build."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    text = Path(spec.origin).with_name("version.py").read_text()
    match = re.search(r"^cuda[^=]*= '(\d+)\.(\d+)", text, re.MULTILINE)
    return (int(match[1]), int(match[2])) if match else None


def read_driver() -> Driver | None:
    """What the NVIDIA driver reports, or None where there is none."""
    import pynvml as nvml

    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None
    try:
        cuda = nvml.nvmlSystemGetCudaDriverVersion_v2()
        gpus = []
        for index in range(nvml.nvmlDeviceGetCount()):
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            processes = len(nvml.nvmlDeviceGetComputeRunningProcesses(handle))
            name = nvml.nvmlDeviceGetName(handle)
            gpus.append(Gpu(index, name, memory.used, memory.total, processes))
        return Driver(nvml.nvmlSystemGetDriverVersion(), (cuda // 1000, cuda % 1000 // 10), gpus)
    except nvml.NVMLError:
        return None
    finally:
        nvml.nvmlShutdown()


def check_driver(driver: Driver | None, built_for: tuple[int, int] | None) -> Finding:
    """The driver must know the major CUDA version that torch was built for."""
    if driver is None:
        return Finding("GPU driver", "note", "no NVIDIA driver: runs use the CPU")
    found = f"driver {driver.version} (CUDA {_version(driver.cuda)})"
    if built_for is None:
        return Finding(
            "GPU driver",
            "warning",
            f"{found}, but this torch is built for the CPU alone",
            "pip install --force-reinstall torch, in its CUDA build",
        )
    if driver.cuda[0] < built_for[0]:
        return Finding(
            "GPU driver",
            "error",
            f"{found} is too old for this torch, built for CUDA {_version(built_for)}",
            f"update the driver, or install a torch built for CUDA {driver.cuda[0]}",
        )
    return Finding("GPU driver", "ok", f"{found}, torch for CUDA {_version(built_for)}")


def check_gpus(driver: Driver | None, env: Mapping[str, str]) -> Finding:
    """Devices that are hidden from this process, or in use by others."""
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
                "unset CUDA_VISIBLE_DEVICES, if it is not meant",
            )
    if all(gpu.processes for gpu in driver.gpus):
        return Finding(
            "GPUs",
            "warning",
            f"all are in use; {listed}",
            "name the one to share with --device cuda:N, or wait",
        )
    return Finding("GPUs", "ok", listed)


# terminal


def check_colours(env: Mapping[str, str]) -> Finding:
    """Pictures need 24-bit colours; tmux hides them unless told otherwise."""
    if env.get("COLORTERM", "").lower() in ("truecolor", "24bit"):
        return Finding("colours", "ok", "24 bits")
    if env.get("TMUX"):
        return Finding(
            "colours",
            "warning",
            "tmux shows 256 colours, so pictures are coarse",
            f"add to ~/.tmux.conf: {TMUX_LINE}   and to the shell: export COLORTERM=truecolor",
        )
    return Finding(
        "colours",
        "note",
        f"TERM={env.get('TERM', '')} does not announce 24-bit colours",
        "export COLORTERM=truecolor, if the terminal has them",
    )


def check_locale(env: Mapping[str, str]) -> Finding:
    """Half blocks and many words need UTF-8."""
    name = env.get("LC_ALL") or env.get("LC_CTYPE") or env.get("LANG") or "C"
    # Python sets LC_CTYPE=C.UTF-8 where it finds the C locale; the terminal knows nothing of it.
    if not env.get("LC_ALL") and name == "C.UTF-8" and env.get("LANG", "C") in ("", "C", "POSIX"):
        name = "C"
    if re.search(r"utf-?8", name, re.IGNORECASE):
        return Finding("locale", "ok", name)
    return Finding(
        "locale",
        "warning",
        f"{name}, without UTF-8: tmux and others garble pictures and many words",
        "export LC_ALL=C.UTF-8",
    )


def check_api_key(env: Mapping[str, str]) -> Finding:
    """Captions and reports by a remote model need a key."""
    if env.get("OPENAI_API_KEY"):
        return Finding("API key", "ok", "OPENAI_API_KEY is set")
    return Finding(
        "API key",
        "note",
        "OPENAI_API_KEY is not set",
        "export OPENAI_API_KEY=… to have a remote model write captions and reports; runs need none",
    )


def _version(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
