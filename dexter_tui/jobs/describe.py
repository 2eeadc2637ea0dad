"""The description of a classifier, found without torch in this process."""

import json
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from dexter.classifiers import ClassifierInfo
from dexter.config import RunConfig, fields_of
from dexter.errors import InputError
from dexter.planning.trial import try_classifier
from dexter_tui.jobs import trust
from dexter_tui.jobs.launch import worker_environment


# Descriptions in this process, by the classifier's settings and the state of its files.
_KNOWN: dict[str, ClassifierInfo] = {}


def describe(config: RunConfig) -> ClassifierInfo:
    """Return the description of a run's classifier; raise InputError if it cannot be used.

    It is loaded and tried on pictures, in a separate process, so that this one stays light and
    survives a crash there. Only the lab's classifiers, which need no trial, are read here.
    """
    if config.classifier.startswith("lab:"):
        return trust.describe_here(config)
    trust.require([config])
    key = _state(config)
    if key is None or key not in _KNOWN:
        info = _tried(config)
        if key is None:
            return info
        _KNOWN[key] = info
    return _KNOWN[key]


def _tried(config: RunConfig) -> ClassifierInfo:
    process = subprocess.run(
        [sys.executable, "-P", "-m", "dexter_tui.jobs.describe", config.model_dump_json()],
        env=worker_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        # The file's own code may have printed lines before the answer.
        answer = json.loads(process.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        ended = f"ended with {process.returncode}"
        if process.returncode == -signal.SIGKILL:
            ended = "was killed, perhaps for want of memory"
        raise InputError(
            f"cannot be loaded: the process that tried {ended}",
            field="classifier",
            value=config.classifier,
        ) from None
    if "problem" in answer:
        raise InputError(**answer)
    return ClassifierInfo(**answer)


def _state(config: RunConfig) -> str | None:
    """Return a key that changes with the classifier's settings and files.

    None for code, which may read anything, and for files that are not on this machine.
    """
    source, _, address = config.classifier.partition(":")
    path = Path(address).expanduser()
    if source not in ("hf", "checkpoint") or str(config.arch).startswith("python:"):
        return None
    if not path.exists():
        return None
    files = [path] if path.is_file() else sorted(path.glob("*"))
    files += [Path(config.labels)] if config.labels and Path(config.labels).is_file() else []
    stamps = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return json.dumps([config.model_dump(mode="json", include=_FIELDS), stamps])


_FIELDS = {*fields_of("classifier"), "dtype"}


def _answer(config: RunConfig) -> dict[str, object]:
    """Return the fields of a ClassifierInfo, or of the InputError, JSON-able."""
    try:
        return asdict(try_classifier(trust.load_classifier(config, "cpu")))
    except InputError as error:
        value = None if error.value is None else str(error.value)
        return {
            "problem": error.problem,
            "field": error.field,
            "value": value,
            "remedy": error.remedy,
        }


if __name__ == "__main__":
    print(json.dumps(_answer(RunConfig.model_validate_json(sys.argv[1]))))
