"""From what the user asked for to runs that wait in the store, all checked without torch."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from dexter.classifiers import ClassifierInfo
from dexter.config import RunConfig
from dexter.errors import InputError
from dexter.estimate import estimate
from dexter.weights import identities
from dexter_tui import doctor
from dexter_tui.flags import flag
from dexter_tui.views import duration, size
from store import State, Store


def check_machine(config: RunConfig, home: Path) -> list[doctor.Finding]:
    """What the run needs of the doctor's checks; the findings worth a warning.

    Raises InputError for what would make the run fail.
    """
    for finding in (doctor.check_home(home), doctor.check_space(home)):
        if finding.status == "error":
            raise InputError(_line(finding))
    _check_models(config)
    estimate(config)  # it reads the models' descriptions, and refuses folders without any
    warnings = []
    if config.device != "cpu":
        driver = doctor.read_driver()
        finding = doctor.check_driver(driver, doctor.torch_cuda())
        if config.device.startswith("cuda") and finding.status != "ok":
            raise InputError(f"--device {config.device}: {_line(finding)}")
        if finding.status in ("warning", "error"):
            warnings.append(finding)
        if driver is not None:
            warnings += [f for f in [doctor.check_gpus(driver, os.environ)] if f.remedy]
    return warnings


def _line(finding: doctor.Finding) -> str:
    return f"{finding.detail}; {finding.remedy}" if finding.remedy else finding.detail


def _check_models(config: RunConfig) -> None:
    """Models must be folders, in the cache, or within reach."""
    specs = {
        "generator": config.generator,
        "masked_lm": config.masked_lm,
        "lora": config.lora,
        "classifier": config.classifier.removeprefix("hf:")
        if config.classifier.startswith("hf:")
        else None,
    }
    for name, spec in specs.items():
        if spec is None or spec == "lab" or Path(spec).expanduser().exists():
            continue
        if not re.fullmatch(r"\w[\w.-]*(/[\w.-]+)?", spec):
            raise InputError(f"{flag(name)}: {spec} does not exist; give a folder or a hub id")
        if not _cached(spec) and not doctor.reachable(doctor.hub_address()):
            raise InputError(
                f"{flag(name)}: {spec!r} is no folder here and not in the model cache, and the hub "
                "cannot be reached; `dexter-tui doctor` tells more"
            )


def _cached(hub_id: str) -> bool:
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = repo_folder_name(repo_id=hub_id, repo_type="model")
    return (Path(constants.HF_HUB_CACHE) / folder / "snapshots").is_dir()


def with_full_paths(config: RunConfig) -> RunConfig:
    """Files by their full path, so that workers, and `resume` from elsewhere, find them."""
    found: dict[str, str] = {}
    for name in ("generator", "masked_lm", "lora", "labels"):
        value = getattr(config, name)
        if value is not None and value != "lab" and Path(value).expanduser().exists():
            found[name] = str(Path(value).expanduser().absolute())
    return config.model_copy(update=found)


def default_jobs(config: RunConfig) -> int:
    """As many workers as cores on a CPU; one on a GPU, whose memory they would have to share."""
    on_gpu = config.device != "cpu" and doctor.torch_cuda() and doctor.read_driver()
    return 1 if on_gpu else len(os.sched_getaffinity(0))


def with_names(config: RunConfig, info: ClassifierInfo, index: int) -> RunConfig:
    """The classifier by its full path, and the class ``index`` by its label.

    So that one study has one name, whether a user wrote Waterbird, waterbird or 0.
    """
    label = info.labels[index]
    names = {
        "classifier": info.spec,
        # Of two classes with one name, the index tells which is meant.
        "class_name": label if info.labels.count(label) == 1 else str(index),
    }
    return config.model_copy(update=names)


def enqueue(
    store: Store,
    configs: Sequence[RunConfig],
    info: ClassifierInfo,
    index: int,
    *,
    priority: int = 0,
) -> list[str]:
    """Write the study of class ``index`` and its runs, one for each configuration; their ids."""
    classifier = store.ensure_classifier(info.spec, info.weights_hash, info.labels, info.image_size)
    # A name stays when the weights behind it change; the study must be another then.
    weights = identities(configs[0], cache=store.home / "hashes.json")
    settings = {**configs[0].study_settings(), "weights": weights}
    study = store.ensure_study(classifier, info.labels[index], index, settings)
    runs = [(config.seed, config.model_dump(mode="json")) for config in configs]
    return store.add_runs(study, runs, priority=priority)


def expectation(store: Store, config: RunConfig, study_id: str) -> str:
    """What a run will take, in a line: as an earlier run of the study took, else by formula."""
    earlier = store.runs(study_id=study_id, states=[State.SUCCEEDED], limit=1)
    if earlier:
        paces = [step.seconds for step in store.steps(earlier[0].id) if step.seconds is not None]
        expected = estimate(
            config,
            measured_peak=earlier[0].peak_memory_bytes,
            measured_seconds=sum(paces) / len(paces) if paces else None,
        )
    else:
        expected = estimate(config)
    return (
        f"a run takes up to {duration(expected.total_seconds)} and {size(expected.peak_bytes)} "
        f"({f'as {earlier[0].id} took' if earlier else 'by formula'})"
    )
