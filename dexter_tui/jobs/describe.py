"""The description of a classifier, found without torch in this process."""

import difflib
import gc
import json
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from dexter.classifiers import ClassifierInfo, ClassifierOptions, check_files, class_index, others
from dexter.config import MASK, RunConfig, fields_of
from dexter.device import is_out_of_memory
from dexter.errors import InputError
from dexter.lab import world
from dexter.planning.trial import refuse_constant, try_classifier
from dexter.reasoning.topic import SUBJECT, first_name, world_of
from dexter_tui.jobs import trust
from dexter_tui.jobs.launch import worker_environment

# Trials by this process, by the settings they depend on and the state of the files.
_KNOWN: dict[str, ClassifierInfo] = {}


def describe(config: RunConfig, *, prompt: bool = False, constant: bool = False) -> ClassifierInfo:
    """Return the description of a run's classifier; raise InputError if it cannot be used.

    It is loaded and tried on pictures, in a separate process, so that this one stays light and
    survives a crash there. With `prompt`, its template and words are tried on the tokenizers as
    well. With `constant`, one that answers all pictures alike can be used. What belongs to the lab
    is known, and checked here.
    """
    known = config.classifier.startswith("lab:")
    if prompt and (config.masked_lm, config.generator) == ("lab", "lab"):
        check_lab_words(config)
        prompt = False
    if known and not prompt and config.features is None:
        return trust.describe_here(config)
    trust.require([config])
    check_files(config.classifier, config.options(ClassifierOptions))
    key = _state(config, prompt, constant)
    if key is None or key not in _KNOWN:
        info = _tried(config, prompt, constant)
        if key is None:
            return info
        _KNOWN[key] = info
    return _KNOWN[key]


def _tried(config: RunConfig, prompt: bool, constant: bool) -> ClassifierInfo:
    asked = {"prompt": prompt, "constant": constant}
    arguments = [config.model_dump_json(), *(name for name, given in asked.items() if given)]
    process = subprocess.run(
        [sys.executable, "-P", "-m", "dexter_tui.jobs.describe", *arguments],
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


def _state(config: RunConfig, prompt: bool, constant: bool) -> str | None:
    """Return a key that changes with the settings and files of a trial.

    None for code, which may read anything, and for files that are not on this machine.
    """
    source, _, address = config.classifier.partition(":")
    places = [] if source == "lab" else [address]
    names = {*fields_of("classifier"), "dtype", "features", "n_features"}
    if prompt:
        names |= {*fields_of("prompt", "masked LM"), "generator", "class_name", "direction"}
        places += [spec for spec in (config.masked_lm, config.generator) if spec != "lab"]
        places += [f"{config.generator}/tokenizer"] if config.generator != "lab" else []
    if config.labels is not None and Path(config.labels).is_file():
        places.append(config.labels)
    stamps = []
    for place in places:
        path = Path(place).expanduser()
        if not path.exists() or source == "python" or str(config.arch).startswith("python:"):
            return None
        for file in [path] if path.is_file() else sorted(path.iterdir()):
            state = file.stat()
            stamps.append([str(file), state.st_size, state.st_mtime_ns])
    return json.dumps([config.model_dump(mode="json", include=names), prompt, constant, stamps])


def with_subject(config: RunConfig, labels: Sequence[str], index: int) -> RunConfig:
    """Return the settings of a search with what a search that lowers the class needs.

    A shipped template names a subject of the class, and the lab's other subjects are no candidates:
    a picture of both loses the class trivially.
    """
    if config.direction == "raise":
        return config
    lab = world_of(config.generator)
    subject = (*lab.subjects.get(labels[index], ()), first_name(labels[index]))[0]
    left_out = dict.fromkeys([*config.exclude_words, *lab.words(SUBJECT)])
    return config.naming(subject).model_copy(update={"exclude_words": tuple(left_out)})


def check_lab_words(config: RunConfig) -> None:
    """Raise InputError for words that the lab's models do not know."""
    fixed = re.findall(r"[^\W\d_]+", config.template_text.replace(MASK, " ").lower())
    lost = [word for word in fixed if word not in world.WORDS]
    if lost:
        raise InputError(
            f"the lab's masked LM has no token for {', '.join(map(repr, lost))}",
            field="template",
            value=config.template,
            remedy="choose other words",
        )
    if lost := [word for word in config.words or () if word.strip().lower() not in world.WORDS]:
        near = difflib.get_close_matches(lost[0].lower(), world.WORDS, n=3)
        hint = f" (close to {lost[0]!r}: {', '.join(near)})" if near else ""
        raise InputError(
            f"{', '.join(map(repr, lost[:5]))}: not a whole word of the masked LM",
            field="words",
            value=lost,
            remedy=f"remove or replace them{hint}",
        )


def answer(config: RunConfig, prompt: bool, constant: bool = False) -> dict[str, object]:
    """Try a run's models here; return the fields of a ClassifierInfo or InputError, JSON-able."""
    try:
        if config.classifier.startswith("lab:") and config.features is None:
            info = trust.describe_here(config)
        else:
            from dexter.planning.trial import pictures
            from dexter.search.objective import check_units, features_of

            classifier = trust.load_classifier(config, "cpu")
            info = try_classifier(classifier)
            if not constant:
                refuse_constant(info)
            units = features_of(config, classifier, 0)  # which a black box does not have
            if units:
                check_units(units, classifier(pictures()[:1]))
        if prompt:
            from dexter.search.prompt import check_prompt

            index = class_index(info.labels, config.class_name)
            named = with_subject(config, info.labels, index)
            check_prompt(named, info.labels[index], others(info.labels, index))
        return asdict(info)
    except InputError as error:
        value = None if error.value is None else str(error.value)
        return {
            "problem": error.problem,
            "field": error.field,
            "value": value,
            "remedy": error.remedy,
        }
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return {
            "problem": f"{config.classifier} needs more memory than there is",
            "field": "classifier",
            "value": config.classifier,
            "remedy": "free memory",
        }


if __name__ == "__main__":
    gc.disable()  # imports make no garbage, and this process ends soon,
    asked = sys.argv[2:]
    answered = answer(
        RunConfig.model_validate_json(sys.argv[1]), "prompt" in asked, "constant" in asked
    )
    print(json.dumps(answered))
    gc.freeze()  # without a look for it
