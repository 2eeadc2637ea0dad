"""Checks of the files that a lost store is rebuilt from: journals and files of studies.

They may come from elsewhere, so their content is believed when it passed the checks of an import
(`store.checking`).
"""

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError

from store.checking import checks
from store.errors import StoreError
from store.journal.replay import written
from store.journal.run_journal import WHOLE, Entry
from store.journal.study_file import Rows
from store.json_numbers import finite
from store.states import State
from store.tables import (
    Artifact,
    Attribution,
    Caption,
    Claim,
    Classifier,
    Evidence,
    Frame,
    Note,
    Prompt,
    Report,
    Run,
    Score,
    Stage,
    Step,
    Study,
    Table,
    Tag,
)
from store.upkeep.transfer import classifier_key, content_hash, validated_row, without_consent

_UNBELIEVED = (
    StoreError, ValidationError, LookupError, TypeError, ValueError, AttributeError, RecursionError,
)  # fmt: skip
_OF_STUDY: dict[str, type[Table]] = {
    str(table.__tablename__): table
    for table in (Stage, Score, Report, Claim, Attribution, Caption, Tag, Note)
}


def run_entries(
    entries: Sequence[Entry], run_id: str, known: Mapping[str, Any] | None = None
) -> list[Entry]:
    """Return the entries of a run's journal, checked, with hashes that are computed again.

    Without `known`, the columns of the run in the store, the first entry contains the whole run.
    Consent to run code is dropped. Raises StoreError for entries that cannot be believed.
    """
    try:
        cleaned: list[Any] = [finite(entry) for entry in entries]
        checked = []
        values = dict(known or {})
        for entry in cleaned:
            checks.check_time("at", entry["at"])
            if not 0 <= entry["n"] <= checks.MAX_INTEGER:
                raise ValueError("an entry has no number")
            if entry["kind"] in WHOLE:
                entry, values = _whole(entry, run_id)
            _check_entry(entry, run_id, values)
            checked.append(entry)
        return checked
    except _UNBELIEVED as error:
        raise _refused(error) from None


def study_rows(study_id: str, kept: Rows) -> Rows:
    """Return the rows of a study's file, checked; raise StoreError if they cannot be believed."""
    if not re.fullmatch(checks.IDS["study"], str(study_id)):
        raise StoreError(f"{str(study_id)[:40]!r} is no id of a study")
    try:
        cleaned: Any = finite(kept)
        evidence = cleaned.get("evidence", [])
        for row in evidence:
            validated_row(Evidence, row)
        for name, table in _OF_STUDY.items():
            for row in cleaned.get(name, []):
                record = {**row, "record": name}
                if table is Claim:
                    own = [one for one in evidence if one["claim_id"] == row["id"]]
                    record["contexts"] = own
                checks.check(record)
                validated_row(table, row)
    except _UNBELIEVED as error:
        raise _refused(error) from None
    return {"evidence": evidence, **{name: cleaned.get(name, []) for name in _OF_STUDY}}


def _whole(entry: Entry, run_id: str) -> tuple[Entry, dict[str, Any]]:
    """Return the checked entry of a whole run, and the run's columns."""
    classifier = {name: entry["classifier"][name] for name in _names(Classifier) - {"id"}}
    checks.check({"record": "classifier", **classifier})
    validated_row(Classifier, classifier)
    study = {name: entry["study"][name] for name in _names(Study) - {"classifier_id"}}
    study["settings_hash"] = content_hash(study["settings"])
    checks.check({"record": "study", **study})
    validated_row(Study, {**study, "classifier_id": 0})
    values = {**entry["run"], **entry.get("values", {})}
    values = {name: value for name, value in values.items() if name in _names(Run)}
    config = without_consent(values["config"])
    values |= {"config": config, "config_hash": content_hash(config)}
    checks.check({"record": "run", **values})
    validated_row(Run, values)
    if values["id"] != run_id or values["study_id"] != study["id"]:
        raise ValueError(f"it is the journal of another run ({str(values['id'])[:40]})")
    if classifier["key"] != classifier_key(classifier):
        raise ValueError("its classifier has the wrong key")
    if study["class_index"] >= len(classifier["labels"]):
        raise ValueError("its class is not one of the classifier's")
    parts = {"run": values, "study": study, "classifier": classifier}
    _check_steps(entry.get("steps", []), run_id)
    _check_prompts(entry.get("prompts", []), run_id)
    for picture in entry.get("frames", []):
        _check_frame(picture, run_id)
    return {**entry, **parts, "values": {}}, values


def _check_entry(entry: Entry, run_id: str, values: dict[str, Any]) -> None:
    match entry["kind"]:
        case "steps":
            if not entry["rows"]:
                raise ValueError("an entry has no steps")
            _check_steps(entry["rows"], run_id)
        case "prompts":
            _check_prompts(entry["rows"], run_id)
        case "frame":
            _check_frame(entry, run_id)
        case "fields":
            _check_fields(entry["fields"], run_id, values)
        case "start":
            own = {name: entry[name] for name in ("attempt", "pid", "boot_id", "host", "slot")}
            checks.check({"record": "run", "id": run_id, **own})
            validated_row(Run, {**values, **own})
        case "state":
            State(entry["to"])
            _check_fields(entry.get("fields", {}), run_id, values)


def _check_fields(fields: Mapping[str, Any], run_id: str, values: dict[str, Any]) -> None:
    checks.check({"record": "run", "id": run_id, **written(fields)})
    values |= fields
    validated_row(Run, values)


def _check_steps(steps: Sequence[Mapping[str, Any]], run_id: str) -> None:
    for step in steps:
        checks.check({"record": "step", "run_id": run_id, **step})
        losses = {name: value for name, value in step["losses"].items() if value is not None}
        validated_row(Step, {"run_id": run_id, **step, "losses": losses})
        _only_columns(Step, step)


def _check_prompts(prompts: Sequence[Mapping[str, Any]], run_id: str) -> None:
    for rank, prompt in enumerate(prompts, 1):
        checks.check({"record": "prompt", "run_id": run_id, "rank": rank, **prompt})
        validated_row(Prompt, {"run_id": run_id, "rank": rank, **prompt})
        _only_columns(Prompt, prompt)


def _check_frame(entry: Mapping[str, Any], run_id: str) -> None:
    artifact, frame = entry["artifact"], entry["frame"]
    checks.check({"record": "artifact", **artifact})
    validated_row(Artifact, artifact)
    checks.check({"record": "frame", "run_id": run_id, **frame})
    validated_row(Frame, {"run_id": run_id, **frame})
    _only_columns(Artifact, artifact)
    _only_columns(Frame, frame)
    if artifact["sha256"] != frame["sha256"]:
        raise ValueError("a picture has the hash of another")


def _only_columns(table: type[Table], row: Mapping[str, Any]) -> None:
    unknown = row.keys() - _names(table)
    if unknown:
        raise ValueError(f"{table.__tablename__} has no {sorted(unknown)[0][:40]!r}")


def _names(table: type[Table]) -> frozenset[str]:
    columns: sa.ColumnCollection[str, sa.Column[Any]] = table.__table__.columns  # type: ignore[attr-defined]
    return frozenset(column.name for column in columns)


def _refused(error: Exception) -> StoreError:
    if isinstance(error, StoreError):
        return StoreError(error.problem)  # its remedy is that of an import
    if isinstance(error, ValidationError):
        fault = error.errors()[0]
        return StoreError(f"{error.title}.{'.'.join(map(str, fault['loc']))}: {fault['msg']}")
    if isinstance(error, LookupError):
        return StoreError(f"it lacks {error}")
    return StoreError(textwrap.shorten(str(error), 200))
