"""The description of a classifier, found without torch in this process."""

import json
import subprocess
import sys
from dataclasses import asdict

from dexter.classifiers import ClassifierInfo, needs_torch
from dexter.config import RunConfig
from dexter.errors import InputError
from dexter_tui.jobs import trust
from dexter_tui.jobs.launch import worker_environment


def describe(config: RunConfig) -> ClassifierInfo:
    """Return the description of a run's classifier; raise InputError if it cannot be used.

    Most sources need torch, and a python: one runs code of the user's. These are loaded in a
    separate process, so that this one stays light and survives a crash there.
    """
    if not needs_torch(config.classifier):
        return trust.describe_here(config)
    trust.require([config])
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
        raise InputError(
            f"cannot be loaded: the process that tried ended with {process.returncode}",
            field="classifier",
            value=config.classifier,
        ) from None
    if "problem" in answer:
        raise InputError(**answer)
    return ClassifierInfo(**answer)


def _answer(config: RunConfig) -> dict[str, object]:
    """Return the fields of a ClassifierInfo, or of the InputError, JSON-able."""
    try:
        return asdict(trust.describe_here(config))
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
