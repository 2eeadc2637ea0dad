"""A probe: the answer to one question about a classifier."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dexter.errors import InputError
from dexter.reasoning.claims import Candidate
from dexter.reasoning.settings import ReportSettings
from dexter.reasoning.topic import as_prompt, split_question, strip_article
from dexter_tui.analysis.claim_rows import claim_row
from store import Store, study_records

if TYPE_CHECKING:
    from dexter_tui.analysis.bench import Bench, Progress
    from dexter_tui.analysis.study_process import Question
from dexter_tui.presentation.study_tables import probe_json


def answer(
    store: Store,
    bench: "Bench",
    asked: "Question",
    settings: ReportSettings,
    progress: "Progress",
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Test what a user asks, keep it, and give the answer as `probe_json` does.

    ``tell`` is told at once what the text is compared with.
    """
    from dexter.reasoning.evidence import PromptLayout

    topic = bench.topic(settings.core)
    control, concept = split_question(asked.text, topic)
    if asked.against is not None:
        control = asked.against
        concept = _difference(asked.text, control) or concept
    control_prompt = as_prompt(control) if control else topic.base_prompts()[0]
    treated_prompt = as_prompt(asked.text)
    if control_prompt.lower() == treated_prompt.lower():
        raise InputError(f"{asked.text!r} is what it would be compared with; say --against what")
    words = dict.fromkeys(f"{control_prompt} {treated_prompt}".split())
    lacking = [word for word in words if not bench.sayable(word.strip(".,;:!?\"'"))]
    if lacking:
        raise InputError(
            f"the generator has no word for {', '.join(map(repr, lacking))}; use others"
        )
    tell(f"against: {control_prompt}")
    experiment = bench.experiment(topic, settings, progress)
    slot = topic.world.slot(concept.split()[-1] if concept else "")
    slot = "item" if slot == "subject" and control else slot
    candidate = Candidate(concept or strip_article(asked.text), slot, 0, {"user": []})
    [claim] = experiment.test([candidate], PromptLayout(control_prompt, treated_prompt))
    classifier_id = store.ensure_classifier(
        bench.witness.classifier.spec,
        bench.witness.classifier.weights_hash,
        bench.labels,
        bench.witness.classifier.image_size,
    )
    probe = study_records.add_probe(
        store,
        classifier_id=classifier_id,
        class_name=bench.labels[bench.class_index],
        class_index=bench.class_index,
        question=asked.text,
        control=control_prompt,
        treated=treated_prompt,
        claim=claim_row(claim, bench.key, bench.detector),
    )
    [(_, row)] = [entry for entry in study_records.probes(store) if entry[0].id == probe.id]
    return probe_json(probe, row)


def _difference(text: str, control: str) -> str:
    """The words of a text that its control lacks."""
    there = {word.lower() for word in control.split()}
    joining = {"a", "an", "the", "with", "and", "at", "on", "in", "of"}
    return " ".join(w for w in text.split() if w.lower() not in there | joining)
