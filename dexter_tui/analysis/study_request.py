"""The requests for a report on a study and for the answer to a question: checked, then queued."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from dexter.errors import InputError
from dexter.reasoning.settings import ReportSettings, remote_name
from dexter_tui import paths

if TYPE_CHECKING:
    from dexter_tui.jobs.submit import Checked
    from store import Store

KEY_VARIABLE = "OPENAI_API_KEY"
PROBE_PRIORITY = 1  # a user waits for the answer, so it goes before the runs that wait

_Settings = TypeVar("_Settings", bound=ReportSettings)


def request_report(
    store: "Store", study_id: str, settings: ReportSettings, *, agreed: Collection[str] = ()
) -> str:
    """Queue a report on a study, unless it is queued or being made already; return the job's id.

    Raises StoreError where the study has no finished run or another report is being made, and
    InputError for a key file that is not safe, or for code or an endpoint without consent: `agreed`
    names the fields to which the user agrees, see `trust.agreed_by`.
    """
    from dexter.config import RunConfig
    from dexter_tui.jobs import trust
    from dexter_tui.jobs.submit import check_device
    from store import State, StoreError, run_queue
    from store.states import Kind

    runs = store.runs(study_id=study_id, states=[State.SUCCEEDED])
    if not runs:
        raise StoreError(f"study {study_id} has no finished run yet; nothing to report on")
    best = max(runs, key=lambda run: run.score_value or 0.0)
    config = RunConfig.model_validate(best.config)
    # Of all runs, for the best may change until the report is made.
    trust.require([*(run.config for run in runs), settings.model_dump()], agreed)
    settings = reachable(settings, config.generator)
    device = config.device if settings.device == "auto" else settings.device
    check_device(device)
    hand_over_key(store, settings.for_generator(config.generator))
    asked = settings.model_dump(mode="json")
    if (same := run_queue.under_way(store, Kind.REPORT, asked, study_id=study_id)) is not None:
        return same.id
    return run_queue.add_job(
        store,
        Kind.REPORT,
        asked,
        config=best.config,
        device=device,
        study_id=study_id,
    )


def request_probe(
    store: "Store",
    text: str,
    *,
    against: str | None,
    checked: "Checked",
    settings: ReportSettings,
) -> str:
    """Queue a question; return the job's id. InputError for one without words."""
    from store import run_queue
    from store.states import Kind

    if not text.strip() or (against is not None and not against.strip()):
        raise InputError("say what to draw, such as 'a duck at night'")
    return run_queue.add_job(
        store,
        Kind.PROBE,
        {
            "text": " ".join(text.split()),
            "against": None if against is None else " ".join(against.split()),
            "class_index": checked.class_index,
            "settings": reachable(settings, checked.config.generator).model_dump(mode="json"),
        },
        config=checked.config.model_dump(mode="json"),
        device=checked.config.device,
        priority=PROBE_PRIORITY,
    )


def reachable(settings: _Settings, generator: str | None = None) -> _Settings:
    """Return the settings with files by their full path, which workers elsewhere find.

    Raises InputError for a model that is neither here nor within reach on the hub. `generator`: of
    the pictures, for work that cannot do without the models that "auto" stands for.
    """
    from dexter.planning.preflight import check_sources

    named = settings if generator is None else settings.for_generator(generator)
    check_sources(named.own_models.items())
    files = dict(settings.own_models)
    if settings.key_file:
        files["key_file"] = settings.key_file
    return settings.model_copy(
        update={name: paths.full(value, name) for name, value in files.items()}
    )


def hand_over_key(store: "Store", settings: ReportSettings) -> None:
    """Check the key file, or see that the worker will have the key of our environment.

    A key is in no file of ours, no argument and no log.
    """
    if settings.key_file is not None:
        from dexter.reasoning.chat import read_key

        read_key(Path(settings.key_file))
    elif any(remote_name(spec) for spec in (settings.vlm, settings.llm)):
        from dexter_tui.jobs import control

        control.hand_over(store, KEY_VARIABLE)
