"""The transfer of runs, studies, comparisons, screenings and reports on pictures between stores, as
plain records.

Records use no row number of their store, and their order does not depend on the store: exporting,
importing into an empty store and exporting again gives the same records. Pictures are named by
their hash; their files accompany the records. Of the bank of a screening, the plan and example
pictures are transferred: a generator with the same weights draws the others again. Of a report on
labelled pictures, its result is transferred, without the pictures and the weights that it found; of
a what-if, also the pictures of its strip.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.dialects.sqlite import insert
from sqlmodel import Session, col, select

from store import artifacts, comparison_records, run_records, screening_records
from store.checking.checks import Record
from store.data_reports import records as data_records
from store.data_reports.explanations import WhatIfResult
from store.data_reports.results import RESULTS
from store.errors import StoreError, explained
from store.journal import replay
from store.reading import comparisons
from store.reading.browse import Browse
from store.states import ENDED, Kind, State
from store.store import Store
from store.tables import (
    Activation,
    Artifact,
    Attribution,
    Bank,
    Caption,
    Claim,
    Classifier,
    Comparison,
    DataReport,
    Difference,
    Disagreement,
    Evidence,
    Finding,
    Frame,
    Member,
    Note,
    Picture,
    Prompt,
    Report,
    Run,
    Score,
    Screened,
    Screening,
    Stage,
    Step,
    Study,
    Table,
    Tag,
    among,
    is_usable,
    to_json,
    usable,
)

MAX_PIXELS = 2**24  # of an imported picture: 112 MB while it is decoded and made small
EXAMPLES = 4  # pairs of pictures exported with each claim
# Columns of a run that are useful only on the machine that it ran on.
_OF_MACHINE = {"study", "pid", "boot_id", "slot", "place", "promise", "not_before", "heartbeat_at",
               "journal_entries"}  # fmt: skip


class Chosen:
    """The items that names refer to: studies with the requested runs, comparisons, screenings and
    reports on pictures."""

    def __init__(self, store: Store, names: Sequence[str]) -> None:
        self.studies: dict[str, Study] = {}
        self.runs: dict[str, Run] = {}
        self._of_studies: dict[str, dict[str, Run]] = {}
        self.whole: set[str] = set()
        """Studies requested as a whole: with claims, reports and other findings."""
        self.comparisons: dict[str, Comparison] = {}
        self.screenings: dict[str, Screening] = {}
        self.data_reports: dict[str, DataReport] = {}
        for name in names:
            if name.startswith("x"):
                screening = screening_records.screening(store, name)
                if screening.state != "done":
                    raise _unfinished(f"screening {screening.id}", name)
                self.screenings[screening.id] = screening
            elif name.startswith("d"):
                report = data_records.data_report(store, name)
                if report.result is None:
                    raise _unfinished(f"report {report.id}", name)
                self.data_reports[report.id] = report
            elif name.startswith("c"):
                found = comparison_records.comparison(store, name)
                self.comparisons[found.id] = found
                for member in comparison_records.members(store, found.id):
                    if member.study_id is not None:
                        self._study(store, store.study(member.study_id))
            elif name.startswith("s"):
                self._study(store, store.study(name))
            else:
                run = store.run(name)
                self._add(run)
                self.studies.setdefault(run.study_id, run.study)

    def _study(self, store: Store, study: Study) -> None:
        self.studies[study.id] = study
        self.whole.add(study.id)
        for run in store.runs(study_id=study.id):
            self._add(run)

    def _add(self, run: Run) -> None:
        self.runs[run.id] = run
        self._of_studies.setdefault(run.study_id, {})[run.id] = run

    def runs_of(self, study_id: str) -> list[Run]:
        """Return the requested runs of a study, by seed."""
        own = self._of_studies.get(study_id, {})
        return sorted(own.values(), key=lambda run: (run.seed, run.created_at, run.id))


def _unfinished(what: str, name: str) -> StoreError:
    return StoreError(
        f"{what} is not finished",
        value=name,
        remedy="wait for it, or name a FILE.md or FILE.html",
    )


# Export


def gather(store: Store, chosen: Chosen) -> tuple[list[Record], dict[str, bytes]]:
    """Return the records of the chosen items, and the pictures that they name, by file name."""
    records: list[Record] = []
    pictures: dict[str, bytes] = {}
    with store._read() as session:
        for classifier in _classifiers(session, chosen):
            records.append(
                _record("classifier", classifier, {"id"}) | {"key": classifier_key(classifier)}
            )
        for study in sorted(chosen.studies.values(), key=lambda study: study.id):
            key = classifier_key(study.classifier)
            records.append(
                _record("study", study, {"classifier_id", "classifier"}) | {"classifier": key}
            )
            for run in chosen.runs_of(study.id):
                records += _run(session, run)
            if study.id in chosen.whole:
                records += _findings(session, study.id)
        for comparison in sorted(chosen.comparisons.values(), key=lambda one: one.id):
            records += _comparison(session, comparison)
        for key in sorted({one.bank_key for one in chosen.screenings.values()}):
            records.append(_record("bank", session.get_one(Bank, key), {"pace"}))
        for screening in sorted(chosen.screenings.values(), key=lambda one: one.id):
            records += _screening(session, screening)
        for report in sorted(chosen.data_reports.values(), key=lambda one: one.id):
            records.append(
                _record("data_report", report, {"classifier_id", "classifier", "job_id"})
                | {"classifier": classifier_key(report.classifier)}
            )
        ids = [*chosen.studies, *chosen.runs, *chosen.comparisons, *chosen.screenings,
               *chosen.data_reports]  # fmt: skip
        for note in _all(session, select(Note).where(among(col(Note.of), ids)).order_by(Note.of)):
            records.append(_record("note", note))
        shas = sorted({r["sha256"] for r in records if r["record"] == "frame"})
        for sha256 in shas:
            artifact = session.get(Artifact, sha256)
            if artifact is None:
                raise StoreError(
                    f"the picture {sha256[:12]} of a run is not in the store",
                    value=sha256,
                    remedy="run `dexter-tui doctor --rebuild`, or restore a backup",
                )
            records.append(_record("artifact", artifact))
        for sha256 in shas:
            captions = select(Caption).where(Caption.sha256 == sha256)
            for caption in _all(session, captions.order_by(Caption.model, Caption.prompt_hash)):
                records.append(_record("caption", caption, {"id"}))
        tiles = list(_tiles(session, store, records))
    for record in records:
        if record["record"] == "artifact":
            suffix = artifacts.SUFFIXES.get(record["mime"], "")
            pictures[record["sha256"] + suffix] = store.read_artifact(record["sha256"])
    for tile, data in tiles:
        records.append(tile)
        pictures[f"{tile['sha256']}.png"] = data
    return records, pictures


def _all(session: Session, query: Any) -> list[Any]:
    return usable(session.exec(query))


def _record(kind: str, row: Any, without: Iterable[str] = ()) -> Record:
    return {"record": kind, **row.model_dump(mode="json", exclude=set(without))}


def _classifiers(session: Session, chosen: Chosen) -> list[Classifier]:
    own = [study.classifier for study in chosen.studies.values()]
    for comparison in chosen.comparisons:
        for member in _all(session, select(Member).where(Member.comparison_id == comparison)):
            own.append(member.classifier)
    for screening in chosen.screenings:
        for screened in _all(session, select(Screened).where(Screened.screening_id == screening)):
            own.append(screened.classifier)
    own += [report.classifier for report in chosen.data_reports.values()]
    found = {classifier_key(classifier): classifier for classifier in own}
    return [found[key] for key in sorted(found)]


def _run(session: Session, run: Run) -> list[Record]:
    record = _record("run", run, _OF_MACHINE)
    if run.state not in ENDED:
        record["state"] = State.PAUSED.value  # it does not run in another store
    records = [record]
    of_run = (
        ("tag", Tag, Tag.name, ()),
        ("step", Step, Step.step, ()),
        ("prompt", Prompt, Prompt.rank, ()),
        ("frame", Frame, None, ("id",)),
        ("attribution", Attribution, Attribution.position, ()),
    )
    for kind, table, order, without in of_run:
        query: Any = select(table).where(table.run_id == run.id)
        keys = (Frame.kind, Frame.step, Frame.seed) if order is None else (order,)
        for row in _all(session, query.order_by(*keys)):
            records.append(_record(kind, row, without))
    return records


def _findings(session: Session, study_id: str) -> list[Record]:
    records = []
    for row in _all(session, select(Score).where(Score.study_id == study_id)
                    .order_by(Score.kind, Score.text)):  # fmt: skip
        records.append(_record("score", row))
    for row in _all(session, select(Stage).where(Stage.study_id == study_id)
                    .order_by(sa.text("rowid"))):  # fmt: skip
        records.append(_record("stage", row))
    for row in _all(session, select(Report).where(Report.study_id == study_id)
                    .order_by(col(Report.id))):  # fmt: skip
        records.append(_record("report", row, {"id"}))
    for claim in _all(session, select(Claim).where(Claim.study_id == study_id)
                      .order_by(col(Claim.number))):  # fmt: skip
        records.append(_claim(session, claim))
    return records


def _claim(session: Session, claim: Claim, **more: object) -> Record:
    contexts = _all(
        session,
        select(Evidence).where(Evidence.claim_id == claim.id).order_by(Evidence.context),
    )
    return {
        **_record("claim", claim, {"id", "probe_id", "member_id", "screened_id"}),
        **more,
        "contexts": [row.model_dump(mode="json", exclude={"claim_id"}) for row in contexts],
    }


def _comparison(session: Session, comparison: Comparison) -> list[Record]:
    """Return the records of a comparison, which refer to members by their position."""
    records = [_record("comparison", comparison)]
    members = _all(
        session,
        select(Member).where(Member.comparison_id == comparison.id).order_by(col(Member.id)),
    )
    places = {member.id: place for place, member in enumerate(members)}
    for member in members:
        records.append(
            _record("member", member, {"id", "classifier_id", "classifier"})
            | {"classifier": classifier_key(member.classifier)}
        )
    for place, member in enumerate(members):
        claims = select(Claim).where(Claim.member_id == member.id).order_by(col(Claim.number))
        for claim in _all(session, claims):
            records.append(_claim(session, claim, comparison_id=comparison.id, member=place))
    for kind, table, one, two in _OF_TWO:
        rows = select(table).where(among(getattr(table, one), places))
        for row in _all(session, rows.order_by(sa.text("rowid"))):
            if (second := places.get(getattr(row, two))) is not None:
                records.append(
                    _record(kind, row, {one, two})
                    | {"comparison_id": comparison.id, "first": places[getattr(row, one)]}
                    | {"second": second}
                )
    return records


def _screening(session: Session, screening: Screening) -> list[Record]:
    """Return the records of a screening, which refer to its classifiers by their position."""
    records = [_record("screening", screening)]
    members = _all(
        session,
        select(Screened)
        .where(Screened.screening_id == screening.id)
        .order_by(col(Screened.position)),
    )
    for member in members:
        records.append(
            _record("screened", member, {"id", "classifier_id", "classifier", "pace"})
            | {"classifier": classifier_key(member.classifier)}
        )
    for member in members:
        of = {"screening_id": screening.id, "member": member.position}
        findings = select(Finding).where(Finding.screened_id == member.id)
        for finding in _all(session, findings.order_by(Finding.slot, Finding.concept)):
            records.append(_record("finding", finding, {"screened_id"}) | of)
        claims = select(Claim).where(Claim.screened_id == member.id).order_by(col(Claim.number))
        for claim in _all(session, claims):
            records.append(_claim(session, claim, **of))
    return records


_OF_TWO = (
    ("difference", Difference, "a_id", "b_id"),
    ("activation", Activation, "member_id", "source_id"),
    ("disagreement", Disagreement, "a_id", "b_id"),
)


def _tiles(
    session: Session, store: Store, records: Sequence[Record]
) -> Iterable[tuple[Record, bytes]]:
    """Yield pictures of the bank as records and files: examples of claims and disagreements, and
    strips of what-ifs."""
    wanted: dict[tuple[str, str, int], None] = {}
    generators = {r["id"]: r["generator"] for r in records if r["record"] == "comparison"}
    for record in records:
        if record["record"] == "claim":
            for prompt, seed in example_requests(record["contexts"]):
                wanted[record["generator"], prompt, seed] = None
        elif record["record"] == "disagreement":
            generator = generators[record["comparison_id"]] or ""
            wanted[generator, record["prompt"], record["seed"]] = None
        elif record["record"] == "data_report" and record["kind"] == Kind.WHATIF:
            wanted |= dict.fromkeys(_strip_of(record))
    browse = Browse(store.home)
    for generator, prompt, seed in sorted(wanted):
        row = session.get(Picture, (generator, prompt, seed))
        if row is None or not is_usable(row):
            continue
        data = comparisons.tile_bytes(browse, f"{row.sha256}:{row.place}:{row.side}")
        yield (
            {
                "record": "picture",
                "generator": generator,
                "prompt": prompt,
                "seed": seed,
                "sha256": artifacts.digest(data),
                "side": row.side,
            },
            data,
        )


def _strip_of(record: Record) -> list[tuple[str, str, int]]:
    """Return generator, prompt and seed of the pictures of a what-if."""
    try:
        return WhatIfResult.model_validate(record["result"]).requests
    except ValidationError:
        raise StoreError(
            f"report {record['id']} is damaged",
            value=str(record["id"]),
            remedy="delete it and start it again",
        ) from None


def example_requests(contexts: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    """Return prompt and seed of the pairs with the largest change: control, then treated."""
    pairs = []
    for context in contexts:
        columns = ("control_prompts", "control_seeds", "treated_prompts", "seeds", "control",
                   "treated")  # fmt: skip
        for one, seed, other, seed_2, p, q in zip(*(context[c] for c in columns), strict=False):
            pairs.append((-abs(q - p), one, seed, other, seed_2))
    pairs.sort(key=lambda pair: pair[0])  # as `comparisons.pairs` does
    chosen = pairs[:EXAMPLES]
    return [request for _, a, i, b, j in chosen for request in ((a, i), (b, j))]


# Import


def classifier_key(classifier: Classifier | Mapping[str, Any]) -> str:
    """Return the hash that identifies a classifier; see `store.tables.Classifier`."""
    names = ("spec", "weights_hash", "labels", "image_size")
    row = classifier if isinstance(classifier, Mapping) else vars(classifier)
    return artifacts.digest(to_json({name: row[name] for name in names}).encode())


def without_consent(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without its author's consent to run code, which is not the user's."""
    return {**config, "trust_pickle": False} if "trust_pickle" in config else dict(config)


def content_hash(value: object) -> str:
    """Return the hash of settings or of a configuration."""
    return artifacts.digest(to_json(value).encode())


class Restored:
    """The result of an import."""

    def __init__(self) -> None:
        self.added: list[str] = []
        """Ids of what was imported."""
        self.known: list[str] = []
        """Ids of those that the store already had, which are unchanged."""
        self.notes: list[str] = []
        """Files that were left out, and why."""


def restore(
    store: Store,
    by_kind: Mapping[str, Iterable[Record]],
    picture: Callable[[str], tuple[bytes, str]],
) -> Restored:
    """Write checked records (see `store.upkeep.records`) and the pictures that they name.

    `picture` gives bytes and type by hash. Existing rows stay unchanged. Raises StoreError, and
    adds no row, if a record is invalid or differs from an existing one with the same id.
    """
    placed = _place(store, by_kind, picture)
    result = Restored()
    try:
        with store._write(durable=True) as session:
            for artifact in placed:
                replay.write_artifact(session, artifact)
            _Writer(session, by_kind, result).write()
    except (
        ValidationError,
        TypeError,
        ValueError,
        LookupError,
        OverflowError,
        sa.exc.StatementError,
    ) as error:
        raise _invalid(f"a record cannot be read: {_first_line(error)}") from None
    try:
        with explained(store.home):
            _keep_files(store, result.added)
    except StoreError as error:  # the rows are in the store already
        raise StoreError(
            f"{error.problem}; imported, but a lost store could not be rebuilt with it",
            field=error.field,
            remedy="free some space, then run `dexter-tui doctor --repair`",
        ) from error
    return result


def _keep_files(store: Store, added: Sequence[str]) -> None:
    """Write the journals of runs and the files of studies that were imported."""
    studies = {name for name in added if name.startswith("s")}
    for run_id in added:
        if run_id.startswith("r"):
            with store._read() as session:
                run = session.get_one(Run, run_id)
                entry = replay.rows_entry(session, run)
                studies.add(run.study_id)
            run_records.journal(store, run_id).replace([entry])
    for study_id in studies:
        store.keep_study(study_id)


def _invalid(problem: str) -> StoreError:
    return StoreError(problem, remedy="export the bundle again")


def _taken(kind: str, name: str) -> StoreError:
    return StoreError(
        f"{kind} {name}: another of this id is in the store",
        value=name,
        remedy="import into another store (DEXTER_HOME)",
    )


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        fault = error.errors()[0]
        return f"{error.title}.{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
    return " ".join(f"{type(error).__name__} {error}".split())[:200]


def _place(
    store: Store,
    by_kind: Mapping[str, Iterable[Record]],
    picture: Callable[[str], tuple[bytes, str]],
) -> list[dict[str, Any]]:
    """Write the files of all pictures; return the columns of their rows."""
    times = {record["sha256"]: record.get("created_at") for record in by_kind.get("artifact", ())}
    named = [*by_kind.get("frame", ()), *by_kind.get("picture", ())]
    placed = []
    for sha256 in dict.fromkeys(record["sha256"] for record in named):
        data, mime = picture(sha256)
        if artifacts.digest(data) != sha256:
            raise _invalid(f"picture {sha256} is damaged")
        values = store.place_artifact(data, mime, max_pixels=MAX_PIXELS)
        if times.get(sha256):
            values["created_at"] = Artifact.model_validate(
                {**values, "created_at": times[sha256]}
            ).created_at
        placed.append(values)
    return placed


_CHUNK = 500  # rows that are in memory at once


class _Writer:
    """A writer of records, within one transaction."""

    def __init__(
        self, session: Session, by_kind: Mapping[str, Iterable[Record]], result: Restored
    ) -> None:
        self.session = session
        self.by_kind = by_kind
        self.result = result
        self.classifiers: dict[str, int] = {}
        self.classes: dict[str, int] = {}
        """The number of classes of a classifier, by its key."""
        self.studies: dict[str, str] = {}
        """The id in this store by the id in the records."""

    def write(self) -> None:
        for record in self.by_kind.get("classifier", ()):
            self._classifier(record)
        new_studies = {r["id"] for r in self.by_kind.get("study", ()) if self._study(r)}
        new_runs = {r["id"] for r in self.by_kind.get("run", ()) if self._run(r)}
        for kind, table in _OF_RUN.items():
            of_runs = self.by_kind.get(kind, ())
            self._add(table, (row for row in of_runs if row["run_id"] in new_runs))
        for record in self.by_kind.get("caption", ()):
            values = _values(Caption, record)
            self.session.exec(insert(Caption).values(**values).on_conflict_do_nothing())
        for kind, of_study in _OF_STUDY.items():
            rows = (r for r in self.by_kind.get(kind, ()) if r["study_id"] in new_studies)
            own = ({**row, "study_id": self.studies[row["study_id"]]} for row in rows)
            self._add(of_study, own)
        for record in self.by_kind.get("claim", ()):
            if record.get("study_id") in new_studies:
                self._claim(record, study_id=self.studies[record["study_id"]])
        for record in self.by_kind.get("comparison", ()):
            self._comparison(record)
        for record in self.by_kind.get("bank", ()):
            values = _values(Bank, record)
            self.session.exec(insert(Bank).values(**values).on_conflict_do_nothing())
        for record in self.by_kind.get("screening", ()):
            self._screening(record)
        for record in self.by_kind.get("data_report", ()):
            self._data_report(record)
        added = set(self.result.added)
        for record in self.by_kind.get("note", ()):
            if record["of"] in added:
                self._add(Note, [record])
        for record in self.by_kind.get("picture", ()):
            values = _values(Picture, {**record, "place": 0})
            self.session.exec(insert(Picture).values(**values).on_conflict_do_nothing())

    def _add(self, table: type[Table], rows: Iterable[Record]) -> None:
        waiting = iter(rows)
        while chunk := [validated_row(table, row) for row in itertools.islice(waiting, _CHUNK)]:
            self.session.add_all(chunk)
            self.session.flush()
            self.session.expunge_all()

    def _classifier(self, record: Record) -> None:
        values = _values(Classifier, record)
        if classifier_key(values) != values["key"]:
            raise _invalid(f"classifier {str(values['spec'])[:80]!r} has the wrong key")
        self.session.exec(insert(Classifier).values(**values).on_conflict_do_nothing())
        found = self.session.exec(select(Classifier.id).where(Classifier.key == values["key"]))
        self.classifiers[values["key"]] = found.one()
        self.classes[values["key"]] = len(values["labels"])

    def _study(self, record: Record) -> bool:
        """Write a study unless the store has it; return whether it is new."""
        values = {**record, "classifier_id": self.classifiers[record["classifier"]]}
        study = validated_row(Study, {**values, "settings_hash": content_hash(values["settings"])})
        if study.class_index >= self.classes[record["classifier"]]:
            raise _invalid(f"study {study.id}: class {study.class_index} is not one of its labels")
        same = self.session.exec(
            select(Study).where(
                Study.classifier_id == study.classifier_id,
                Study.class_index == study.class_index,
                Study.settings_hash == study.settings_hash,
            )
        ).first()
        if same is not None:
            self.studies[study.id] = same.id
            self.result.known.append(same.id)
            return False
        if self.session.get(Study, study.id) is not None:
            raise _taken("study", study.id)
        self.session.add(study)
        self.session.flush()
        self.studies[study.id] = study.id
        self.result.added.append(study.id)
        return True

    def _run(self, record: Record) -> bool:
        config = without_consent(record["config"])
        own = {"study_id": self.studies[record["study_id"]], "config": config}
        run = validated_row(Run, {**record, **own, "config_hash": content_hash(config)})
        there = self.session.get(Run, run.id)
        if there is not None:
            same = content_hash(without_consent(there.config)) == run.config_hash
            if not same or there.study_id != run.study_id:
                raise _taken("run", run.id)
            self.result.known.append(run.id)
            return False
        if run.state not in ENDED | {State.PAUSED}:
            raise _invalid(f"run {run.id} is {run.state}, but only ended runs can be imported")
        self.session.add(run)
        self.session.flush()
        self.result.added.append(run.id)
        return True

    def _claim(self, record: Record, **owner: object) -> None:
        owned = {**record, "study_id": None, **owner}
        claim = validated_row(Claim, {name: v for name, v in owned.items() if name != "contexts"})
        self.session.add(claim)
        self.session.flush()
        self._add(Evidence, [{**context, "claim_id": claim.id} for context in record["contexts"]])

    def _comparison(self, record: Record) -> None:
        comparison = validated_row(Comparison, record)
        members = [self._member(row) for row in self._of(comparison.id, "member")]
        there = self.session.get(Comparison, comparison.id)
        if there is not None:
            own = self.session.exec(select(Member).where(Member.comparison_id == there.id))
            if there.settings != comparison.settings or _asked(own) != _asked(members):
                raise _taken("comparison", comparison.id)
            self.result.known.append(comparison.id)
            return
        self.session.add(comparison)
        self.session.flush()
        ids = []
        for member in members:
            self.session.add(member)
            self.session.flush()
            ids.append(member.id)
        for claim in self.by_kind.get("claim", ()):
            if claim.get("comparison_id") == comparison.id:
                self._claim(claim, member_id=ids[claim["member"]])
        for kind, table, one, two in _OF_TWO:
            rows = [
                {**row, one: ids[row["first"]], two: ids[row["second"]]}
                for row in self._of(comparison.id, kind)
            ]
            self._add(table, rows)
        self.result.added.append(comparison.id)

    def _member(self, record: Record) -> Member:
        study = record["study_id"]
        row: Member = validated_row(
            Member,
            {
                **record,
                "config": without_consent(record["config"]),
                "classifier_id": self.classifiers[record["classifier"]],
                "study_id": None if study is None else self.studies[study],
            },
        )
        return row

    def _screening(self, record: Record) -> None:
        screening = validated_row(Screening, record)
        own = [r for r in self.by_kind.get("screened", ()) if r["screening_id"] == screening.id]
        members = [self._screened(row) for row in own]
        there = self.session.get(Screening, screening.id)
        if there is not None:
            self._compare_screening(there, screening, _asked(members))
            self.result.known.append(screening.id)
            return
        self.session.add(screening)
        self.session.flush()
        ids: dict[int, int] = {}
        for member in members:
            self.session.add(member)
            self.session.flush()
            ids[member.position] = member.id
        for kind in ("finding", "claim"):
            for row in self.by_kind.get(kind, ()):
                if row.get("screening_id") != screening.id:
                    continue
                if kind == "finding":
                    self._add(Finding, [{**row, "screened_id": ids[row["member"]]}])
                else:
                    self._claim(row, screened_id=ids[row["member"]])
        self.result.added.append(screening.id)

    def _compare_screening(
        self, there: Screening, screening: Screening, asked: dict[Any, object]
    ) -> None:
        """Raise StoreError unless both ask the same."""
        own = self.session.exec(select(Screened).where(Screened.screening_id == there.id))
        have = _asked(own)
        if there.watch is not None:  # checkpoints are added to it while it watches
            both = have.keys() & asked.keys()
            have, asked = ({at: found[at] for at in both} for found in (have, asked))
        same = _equal(there, screening, "bank_key", "class_name", "settings", "watch")
        if not same or have != asked:
            raise _taken("screening", screening.id)

    def _screened(self, record: Record) -> Screened:
        row: Screened = validated_row(
            Screened,
            {
                **record,
                "config": without_consent(record["config"]),
                "classifier_id": self.classifiers[record["classifier"]],
            },
        )
        if row.class_index >= self.classes[record["classifier"]]:
            raise _invalid(
                f"screening {row.screening_id}: {row.class_index} is no class of a label"
            )
        return row

    def _data_report(self, record: Record) -> None:
        values = {**record, "classifier_id": self.classifiers[record["classifier"]]}
        report: DataReport = validated_row(DataReport, values)
        there = self.session.get(DataReport, report.id)
        if there is not None:
            if not _equal(there, report, "kind", "classifier_id", "data_hash", "request"):
                raise _taken("report", report.id)
            self.result.known.append(report.id)
            return
        RESULTS[report.kind].model_validate(report.result)
        self.session.add(report)
        self.session.flush()
        self.result.added.append(report.id)

    def _of(self, comparison_id: str, kind: str) -> list[Record]:
        return [r for r in self.by_kind.get(kind, ()) if r["comparison_id"] == comparison_id]


def _asked(members: Iterable[Member | Screened]) -> dict[Any, object]:
    """Return what was asked of the members of a comparison or screening, by their places."""
    return {
        (getattr(row, "class_name", None), row.position): (
            *(row.name, row.classifier_id, row.class_index),
            without_consent(row.config),
        )
        for row in members
    }


def _equal(one: Table, two: Table, *columns: str) -> bool:
    return all(getattr(one, name) == getattr(two, name) for name in columns)


_OF_RUN: dict[str, type[Table]] = {
    "tag": Tag,
    "step": Step,
    "prompt": Prompt,
    "frame": Frame,
    "attribution": Attribution,
}
_OF_STUDY: dict[str, type[Table]] = {"score": Score, "stage": Stage, "report": Report}


def _columns(table: type[Table]) -> sa.ColumnCollection[str, sa.Column[Any]]:
    columns: sa.ColumnCollection[str, sa.Column[Any]] = table.__table__.columns  # type: ignore[attr-defined]
    return columns


def validated_row(table: type[Table], record: Mapping[str, Any]) -> Any:
    """Return a row with validated columns; the store assigns its number."""
    names = {column.name for column in _columns(table)}
    values = {name: value for name, value in record.items() if name in names}
    numbered = "id" in names and isinstance(_columns(table)["id"].type, sa.Integer)
    row: Any = table.model_validate({**values, "id": 0} if numbered else values)
    if numbered:
        row.id = None
    return row


def _values(table: type[Table], record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the validated columns of a row, without its id."""
    row = validated_row(table, record)
    values = {column.name: getattr(row, column.name) for column in _columns(table)}
    return {name: value for name, value in values.items() if name != "id"}
