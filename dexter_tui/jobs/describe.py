"""The description of a classifier, found without torch in this process."""

import json
import subprocess
import sys
from dataclasses import asdict

from dexter.classifiers import ClassifierInfo, describe_classifier, needs_torch
from dexter.config import RunConfig
from dexter.errors import InputError
from dexter_tui.jobs.launch import worker_environment


def describe(config: RunConfig) -> ClassifierInfo:
    """Describe the run's classifier. InputError if it does not exist.

    Most sources need torch, and a python: source is the user's code. A process of its own loads
    them, so that this one stays light and no failure there can harm it.
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
    try:
        # The file's own code may have printed lines before the answer.
        answer = json.loads(process.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        code = process.returncode
        problem = f"{config.classifier}: the process that loads it ended with {code}"
        raise InputError(problem, field="classifier", value=config.classifier) from None
    if "refused" in answer:
        raise InputError(**answer["refused"])
    return ClassifierInfo(**answer["classifier"])


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
        answer = {"classifier": asdict(_describe(RunConfig.model_validate_json(sys.argv[1])))}
    except InputError as error:
        answer = {
            "refused": {
                "problem": error.problem,
                "field": error.field,
                "value": error.value,
                "remedy": error.remedy,
            }
        }
    print(json.dumps(answer, default=str))
