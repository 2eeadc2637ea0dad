"""The answer to one question about a classifier."""

from dexter.config import RunConfig
from dexter.errors import InputError
from dexter.reasoning.claims import Candidate
from dexter.reasoning.settings import ReportSettings
from dexter.reasoning.topic import as_prompt, split_question, strip_article, with_subject
from dexter_tui.analysis.bench import Bench, require_words
from dexter_tui.analysis.claim_rows import claim_row
from dexter_tui.analysis.desk import Desk
from store import study_records
from store.states import NoteKind


def work(desk: Desk) -> None:
    """Answer the question of the job, unless an attempt before has."""
    if desk.job.result is not None:
        return
    asked, store = desk.job.request, desk.store
    config = RunConfig.model_validate(desk.job.config)
    settings = ReportSettings.from_values(asked["settings"]).for_generator(config.generator)
    settings = settings.model_copy(update={"device": desk.device})
    desk.begin("models")
    bench = Bench(
        store, config, asked["class_index"], settings, job_id=desk.job.id, loading=desk.loading
    )
    try:
        _answer(desk, bench, settings, asked["text"], asked["against"])
    finally:
        bench.close()


def _answer(
    desk: Desk, bench: Bench, settings: ReportSettings, text: str, against: str | None
) -> None:
    """Test what a user asks, and keep the claim."""
    from dexter.reasoning.evidence import PromptLayout
    from dexter.screening.pairs import worded

    topic = bench.topic(settings.core)
    drawn = with_subject(text, topic, bench.sayable)
    control, concept = split_question(drawn, topic)
    if against is not None:
        control = against
        concept = _difference(drawn, control) or concept
    control_prompt = as_prompt(control) if control else topic.base_prompts()[0]
    treated_prompt = as_prompt(drawn)
    if control_prompt.lower() == treated_prompt.lower():
        raise InputError(f"{text!r} is what it would be compared with", remedy="say --against what")
    # The lab's generator never read "an", and everybody writes it.
    control_prompt, treated_prompt = (
        " ".join(
            "a" if word == "an" and not bench.sayable(word) else word for word in prompt.split()
        )
        for prompt in (control_prompt, treated_prompt)
    )
    require_words([control_prompt, treated_prompt], bench.sayable)
    desk.note(NoteKind.AGAINST, prompt=control_prompt)
    asked = Candidate(concept or strip_article(drawn), direction=0, sources={"user": []})
    own, [candidate] = worded(bench.pool, [asked])
    layout = bench.layout(topic, own)
    experiment = bench.experiment(topic, layout, settings, desk.begin("pictures"))
    [claim] = experiment.test([candidate], PromptLayout(control_prompt, treated_prompt))
    classifier = bench.witness.classifier
    classifier_id = desk.store.ensure_classifier(
        classifier.spec, classifier.weights_hash, bench.labels, classifier.image_size
    )
    study_records.add_probe(
        desk.store,
        job_id=desk.job.id,
        classifier_id=classifier_id,
        class_name=bench.labels[bench.class_index],
        class_index=bench.class_index,
        question=text,
        control=control_prompt,
        treated=treated_prompt,
        claim=claim_row(claim, bench.key, bench.detector),
    )


def _difference(text: str, control: str) -> str:
    """Return the words of a text that its control lacks."""
    there = {word.lower() for word in control.split()}
    joining = {"a", "an", "the", "with", "and", "at", "on", "in", "of"}
    return " ".join(w for w in text.split() if w.lower() not in there | joining)
