"""What a classifier is, told without torch in this process."""

import json
import subprocess
import sys
from dataclasses import asdict

from dexter.classifiers import ClassifierInfo, describe_classifier, needs_torch
from dexter.config import RunConfig
from dexter.errors import InputError
from dexter_tui.jobs.launch import worker_environment


def describe(config: RunConfig) -> ClassifierInfo:
    """What the run's classifier is. InputError if there is none such.

    Most sources need torch to be known, and a python: one is code of the user's: that is left to
    a process of its own, so that this one stays light and whatever happens there cannot harm it.
    """
    if not needs_torch(config.classifier):
        return _describe(config)
    process = subprocess.run(
        [sys.executable, "-P", "-m", "dexter_tui.jobs.describe", config.model_dump_json()],
        env=worker_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        lines = process.stderr.strip().splitlines()
        raise InputError(lines[-1] if lines else f"{config.classifier}: cannot be loaded")
    # The file's own code may have printed lines before the answer.
    return ClassifierInfo(**json.loads(process.stdout.splitlines()[-1]))


def _describe(config: RunConfig) -> ClassifierInfo:
    return describe_classifier(
        config.classifier,
        labels=config.labels,
        trust_pickle=config.trust_pickle,
        arch=config.arch,
        normalization=config.normalization,
        input=config.classifier_input,
    )


if __name__ == "__main__":
    try:
        answer = json.dumps(asdict(_describe(RunConfig.model_validate_json(sys.argv[1]))))
    except InputError as error:
        sys.exit(str(error))
    print(answer)
