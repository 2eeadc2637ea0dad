"""The reports on pictures for screens, programs and exports, read without SQLAlchemy."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from store.checking import decoding
from store.data_reports.explanations import BiasResult, WhatIfResult
from store.data_reports.results import RESULTS, Result
from store.errors import StoreError
from store.reading.browse import Browse, progress_of


class _Row(NamedTuple):
    """A report as it is stored."""

    id: str
    kind: str
    data: str
    data_hash: str
    request: dict[str, Any]
    result: dict[str, Any] | None
    job_id: str | None
    created_at: str
    ended_at: str | None


class DataPage(NamedTuple):
    """A report with the state of its job.

    state: waiting, running, done or failed. result: None until it is done.
    """

    id: str
    kind: str
    classifier: str
    data: str
    data_hash: str
    request: dict[str, Any]
    result: Result | None
    created_at: str
    ended_at: str | None
    state: str
    stage: str | None
    done: int
    total: int
    error: str | None
    job: str | None

    def json(self) -> dict[str, Any]:
        """Return it as programs receive it; the result of an explanation stands beside the rest."""
        found = self._asdict()
        if isinstance(self.result, WhatIfResult | BiasResult):
            del found["result"]
            return found | self.result.model_dump(mode="json", exclude_unset=True)
        result = None if self.result is None else self.result.model_dump(mode="json")
        return found | {"result": result}


_COLUMNS = ", ".join(f"data_report.{name}" for name in _Row._fields)


def listed(browse: Browse, kind: str | None = None, limit: int = 200) -> list[DataPage]:
    """Return the reports, newest first; those that are damaged are left out."""
    rows = browse.rows(
        f"SELECT {_COLUMNS}, spec FROM data_report JOIN classifier "
        "ON classifier.id = classifier_id WHERE kind = coalesce(?, kind) "
        "ORDER BY data_report.created_at DESC, data_report.id LIMIT ?",
        (kind, limit),
    )
    return _pages(browse, rows)


def page(browse: Browse, name: str, kind: str | None = None) -> DataPage:
    """Return the report of an id or unique prefix; raise StoreError if there is none."""
    report_id = browse.id_of(
        "data_report", name, noun="report on pictures", command=kind or "slices", kind=kind
    )
    rows = browse.rows(
        f"SELECT {_COLUMNS}, spec FROM data_report JOIN classifier "
        "ON classifier.id = classifier_id WHERE data_report.id = ?",
        (report_id,),
    )
    found = _pages(browse, rows)
    if not found:
        raise StoreError(
            f"report {report_id} is damaged", value=report_id, remedy="delete it and start it again"
        )
    return found[0]


def _pages(browse: Browse, rows: Sequence[tuple[Any, ...]]) -> list[DataPage]:
    specs = [decoding.decoded_cell("classifier", "spec", str, row[-1]) for row in rows]
    found = []
    for spec, raw in zip(specs, rows, strict=True):
        for row in decoding.decoded("data_report", _Row, [raw[:-1]]):
            own = _page(browse, row, spec)
            if own is not None:
                found.append(own)
    return found


def _page(browse: Browse, row: _Row, spec: str) -> DataPage | None:
    result = None
    if row.result is not None:
        try:
            result = RESULTS[row.kind].model_validate(row.result)
        except (ValidationError, KeyError) as refused:
            where = ""
            if isinstance(refused, ValidationError):
                first = refused.errors(include_url=False, include_input=False)[0]
                where = ".".join(map(str, first["loc"])) + ": " + first["msg"]
            decoding.note_line(f"damaged data_report {row.id}: result {where or row.kind}")
            return None
    job = None if row.job_id is None else browse.job_of(row.job_id)
    return DataPage(
        row.id, row.kind, spec, row.data, row.data_hash, row.request, result, row.created_at,
        row.ended_at, **progress_of(job, done=result is not None),
        job=None if job is None else job.id,
    )  # fmt: skip
