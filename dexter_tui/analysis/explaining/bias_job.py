"""A bias explanation: a report without data, one on labelled pictures, and their agreement."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from dexter.errors import InputError
from dexter.reasoning.settings import JUDGE_FIELDS, ReportSettings
from dexter_tui import paths
from dexter_tui.analysis import screening_job, screening_request
from dexter_tui.analysis.data.sources import Files, reading_of
from dexter_tui.analysis.desk import Desk
from dexter_tui.analysis.explaining.labelled import LAB, Labelled, batches
from dexter_tui.analysis.explaining.sources import Explained
from dexter_tui.jobs.recorder import log
from store import StoreError, screening_records
from store.data_reports import records

if TYPE_CHECKING:
    from dexter.screening.people import BiasReport
    from dexter.screening.screen import Result


def work(desk: Desk) -> None:
    """Screen the classifier unless that is done, and write the reports."""
    job = BiasJob(Explained(desk))
    records.finish(desk.store, job.of.row.id, job.result())
    job.files.clear()


class BiasJob:
    """A bias explanation at work."""

    def __init__(self, of: Explained) -> None:
        """Find the labelled pictures; raise InputError for some that have changed since."""
        self.of, self.desk = of, of.desk
        self.files = Files(records.folder(of.desk.store.home, of.row.id))
        data = str(of.asked.get("data"))
        self.labelled = Labelled.find(data, of.topic, of.pool)
        if self.labelled is not None and data != LAB and self.labelled.digest != of.row.data_hash:
            raise InputError(
                f"{data} has changed since this was asked for",
                field="data",
                value=data,
                remedy="start it again",
            )

    @cached_property
    def _encoder(self) -> Any:
        """The sentence encoder; None without one."""
        from dexter.reasoning.agreement import load_sentences

        spec = str(self.of.asked.get("sts"))
        if spec != "none":
            self.desk.loading("sentence encoder")
        return load_sentences(spec)

    def result(self) -> dict[str, Any]:
        """Return the reports and how far they agree, as an `explanations.BiasResult`."""
        from dexter.screening.people import agreement, others, report

        of, labelled = self.of, self.labelled
        if labelled is not None:
            _ = self._encoder  # one that cannot be loaded is refused before the work
        page = self._screened()
        free = report(
            of.topic.class_name,
            f"{page['member']['pictures']} pictures by {of.config.generator}",
            page["member"]["findings"],
        )
        found: dict[str, Any] = {
            **of.facts(),
            "screening": page["id"],
            "data_free": free.to_json(),
            "data_driven": None,
            "skipped": {},
            "planted": _planted(of.row.classifier.spec, of.class_index, free),
            "claims": None,
            "sts": None,
            "judge": None,
        }
        if labelled is None:
            return found
        result, skipped = self._on_data(labelled)
        driven = report(of.topic.class_name, labelled.source, map(asdict, result.effects))
        found |= {"data_driven": driven.to_json(), "skipped": dict(skipped)}
        found["claims"] = agreement(free, driven).to_json()
        if self._encoder is not None:
            texts = [driven.text, *(one.text for one in others(driven))]
            own, *unrelated = map(float, self._encoder.similarity(free.text, texts))
            floor = sum(unrelated) / len(unrelated) if unrelated else None
            found["sts"] = {"model": self._encoder.name, "similarity": own, "floor": floor}
        if self.desk.job.request.get("llm", "none") != "none":
            self.desk.begin("rating")
            kept = self.files.value("rating") or self._rating(free, driven)
            found["judge"] = kept
        return found

    def _rating(self, free: "BiasReport", driven: "BiasReport") -> dict[str, Any]:
        """Ask the language model, and keep its answer for a further attempt."""
        asked = {name: self.desk.job.request.get(name) for name in JUDGE_FIELDS}
        found = _judged(ReportSettings.from_values(asked), free, driven)
        if found["error"] is None:
            self.files.keep_value("rating", found)
        return found

    def _screened(self) -> dict[str, Any]:
        """Return the page of the screening, which is made if this job is to make it."""
        store, own = self.desk.store, self.desk.job.screening_id
        if own is not None and screening_records.screening(store, own).state != "done":
            screening_job.work(self.desk)
        page = self.of.screened()
        if page is None or page["state"] != "done":
            raise StoreError("the screening of this report is not finished", remedy="start again")
        return page

    def _on_data(self, labelled: Labelled) -> "tuple[Result, Mapping[str, int]]":
        """Regress the classifier's answers on the labels; InputError for too few pictures."""
        from dexter.screening.screen import judge_labelled

        places, odds, skipped = self._looked(labelled)
        cells = [labelled.cells[at] for at in places]
        labelled.require(len(cells))
        settings = screening_request.engine_settings(self.of.settings)
        spec = self.of.row.classifier.spec
        result = judge_labelled(spec, odds, cells, labelled.pool, self.of.topic, settings)
        return result, skipped

    def _looked(self, labelled: Labelled) -> tuple[list[int], Any, dict[str, int]]:
        """Return the places of the pictures that can be read, the log-odds of the class (n,), and
        the number of others by reason; looked at once over all attempts."""
        from dexter.screening.screen import member

        progress = self.desk.begin("labelled pictures")
        network = self.of.classifier()
        file = f"labelled-{reading_of(network)}"
        kept = self.files.arrays(file)
        if kept is not None:
            return kept["places"].tolist(), kept["odds"], json.loads(str(kept["skipped"]))
        progress.plan(len(labelled.cells))
        classify = member(self.of.row.classifier.spec, network, self.of.class_index).classify
        places, found = [], []
        for part, images in batches(labelled, network.preprocessing):
            places += list(part)
            found.append(classify(images))
            progress.add(len(part))
        counts = {} if labelled.skipped is None else labelled.skipped.counts
        skipped = {str(why): count for why, count in counts.items()}
        odds = np.concatenate(found) if found else np.zeros(0)
        self.files.keep_arrays(
            file, places=np.array(places), odds=odds, skipped=np.array(json.dumps(skipped))
        )
        return places, odds, skipped


def _judged(settings: ReportSettings, free: "BiasReport", driven: "BiasReport") -> dict[str, Any]:
    """Return the rating of a language model; its failure is recorded, not raised."""
    from dexter.loading import read_text
    from dexter.reasoning.agreement import Judge
    from dexter.reasoning.chat import ChatError
    from dexter_tui.analysis.report_job import endpoint

    name = settings.llm.removeprefix("openai:")
    prompt = read_text(paths.system_prompt("judge_sp.txt"), limit=10_000)
    try:
        rating, count = Judge(name, endpoint(settings), prompt).consistency(free.text, driven.text)
    except ChatError as error:
        log(str(error))
        return {"model": name, "consistency": None, "ratings": 0, "error": str(error)}
    return {"model": name, "consistency": rating, "ratings": count, "error": None}


def _planted(spec: str, class_index: int, free: "BiasReport") -> dict[str, float] | None:
    """Return the measured effects of a classifier of the lab's fleet; None for any other."""
    from dexter import model_folders

    name = spec.removeprefix("lab:fleet/")
    if name == spec or class_index != 0:
        return None
    from dexter.lab.fleet import MANIFEST

    path = model_folders.find("lab", "classifiers", "fleet") / MANIFEST
    effects = json.loads(path.read_text(encoding="utf-8"))[name]["effects"]
    return {
        one.concept: float(effects[one.concept])
        for one in free.facts
        if not one.core and one.concept in effects
    }
