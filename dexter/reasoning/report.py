"""The reports: sentences that cite claims, and the check of a language model's sentences.

A report is data without markup: sections of sentences, each with the numbers of the claims that it
cites.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from dexter.config import Direction
from dexter.reasoning.captions import load_chat_model, with_template
from dexter.reasoning.chat import Answer, Endpoint
from dexter.reasoning.claims import OWN, SATURATED_LOW, Claim, Proportion, in_words
from dexter.stats import LEVEL

if TYPE_CHECKING:
    from dexter.reasoning.words.sufficiency import Sufficiency

Mark = Literal["stated", "cited", "unverified", "contradicted"]
"""stated: a fact about the study. cited: cites claims and agrees with them. unverified: cites no
claim. contradicted: cites a claim that does not exist or that disagrees."""

MAX_TOKENS = 1200
_MAX_SENTENCES = 200
_MAX_CHARACTERS = 1000


@dataclass(frozen=True)
class Sentence:
    """A statement; ``note`` is the reason if it is contradicted."""

    text: str
    claims: list[int] = field(default_factory=list)
    mark: Mark = "stated"
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A heading and its sentences."""

    title: str
    sentences: list[Sentence]


@dataclass(frozen=True)
class Report:
    """A report: a title, two lines of method, and sections."""

    title: str
    method: list[str]
    sections: list[Section]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-serialisable values."""
        return asdict(self)


@dataclass(frozen=True)
class Facts:
    """The facts of a study that a report states beside the claims."""

    classifier: str
    class_name: str
    generator: str
    detector: str | None
    seeds: int
    captions: int = 0
    captioner: str | None = None
    notes: tuple[str, ...] = ()
    direction: Direction = "raise"
    words: Sufficiency | None = None
    embeddings: bool = False
    """True for a search for embeddings in place of words."""
    core: str = ""
    """A sentence on the words that belong to the class by default."""
    bound: tuple[str, ...] = ()
    """Sentences on the share of the best embeddings' score that words reach."""

    @property
    def hits(self) -> str:
        """The frames whose answer the searches looked for."""
        return "hit the class" if self.direction == "raise" else "lose the class"


def title(facts: Facts) -> str:
    """Return the title of a report."""
    if facts.direction == "lower":
        return f"What makes {facts.classifier} lose {facts.class_name}"
    return f"What {facts.classifier} looks for in {facts.class_name}"


def method(facts: Facts, claims: Sequence[Claim]) -> list[str]:
    """Return two lines: the sources of the concepts and the test."""
    sources = [f"the words of {_count(facts.seeds, 'searched prompt')}"]
    if facts.embeddings:
        sources = []  # no words were found
    if facts.captions or facts.embeddings:
        sources.append(f"{_count(facts.captions, 'caption')} of frames")
    return [
        f"The concepts come from {' and '.join(sources)}.",
        "Each concept was tested on 32, 64 or 128 pairs of pictures that differ only in the "
        f"concept and share their noise; intervals are at {LEVEL:.1%}, p-values are corrected for "
        f"{_count(len(claims), 'claim')} and 3 looks.",
    ]


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def evidence_report(facts: Facts, claims: Sequence[Claim]) -> Report:
    """Write a report from the evidence alone; claims are numbered from 1."""
    numbered = list(enumerate(claims, 1))
    confirmed = [(n, c) for n, c in numbered if c.verdict == "confirmed"]
    confirmed.sort(key=lambda entry: -abs(entry[1].effect))
    biases = [(n, c) for n, c in confirmed if c.is_bias]
    sections = [
        Section("Key features", _or(_key_features(facts, confirmed), "No concept was confirmed.")),
        *_words(facts),
        *([Section("Bound", [Sentence(text) for text in facts.bound])] if facts.bound else []),
        Section("Context", _or(_context(facts, confirmed), "No context was confirmed.")),
        Section("Over-represented elements", _over_represented(facts, numbered)),
        Section("Bias assessment", _bias(facts, confirmed, biases)),
        Section(
            "Tested and refuted",
            _or(
                [
                    Sentence(
                        f"Refuted: “{c.concept}” changes p({facts.class_name}) by less than "
                        f"{c.min_effect:.2f}; measured {_effect(c)} [{n}].",
                        [n],
                        "cited",
                    )
                    for n, c in numbered
                    if c.verdict == "refuted"
                ],
                "No claim was refuted.",
            ),
        ),
        Section(
            "Inconclusive",
            _or(
                [
                    Sentence(
                        f"Inconclusive ({_why(c)}): {_measured(facts, c)} [{n}].",
                        [n],
                        "cited",
                    )
                    for n, c in numbered
                    if c.verdict == "inconclusive" and c.reason is not None
                ],
                "No claim is inconclusive.",
            ),
        ),
        Section("Limits", limits(facts, claims)),
    ]
    return Report(title(facts), method(facts, claims), sections)


def _words(facts: Facts) -> list[Section]:
    if facts.words is None:
        return []
    said = [Sentence(text) for text in facts.words.sentences(facts.class_name)]
    return [Section("Sufficient words", said)]


def _or(sentences: list[Sentence], otherwise: str) -> list[Sentence]:
    return sentences or [Sentence(otherwise)]


def _why(claim: Claim) -> str:
    return in_words(claim.reason or "", claim.effect, claim.direction)


def _effect(claim: Claim) -> str:
    """Return the measured change, such as "+0.63 (+0.51 to +0.74), p-value 0.0018, 64 pairs"."""
    if not claim.pairs:
        return "no pairs"
    interval = f"{claim.low:+z.2f} to {claim.high:+z.2f}"
    return f"{claim.effect:+z.2f} ({interval}), {_certainty(claim)}"


def _size(claim: Claim) -> str:
    """Return the size of an effect, such as "0.63 (0.51 to 0.74), p-value 0.0018, 64 pairs"."""
    low, high = sorted(claim.direction * end for end in (claim.low, claim.high))
    return f"{abs(claim.effect):.2f} ({low:.2f} to {high:.2f}), {_certainty(claim)}"


def _certainty(claim: Claim) -> str:
    p = "below 0.001" if claim.p_corrected < 0.001 else f"{claim.p_corrected:.2g}"
    return f"p-value {p}, {claim.pairs} pairs"


def _measured(facts: Facts, claim: Claim) -> str:
    if not claim.pairs:
        return f"“{claim.concept}” has no pairs to test"
    return f"“{claim.concept}” changes p({facts.class_name}) by {_effect(claim)}"


def _key_features(facts: Facts, confirmed: Sequence[tuple[int, Claim]]) -> list[Sentence]:
    sentences = []
    for n, claim in confirmed:
        verb, way = ("raises", "into") if claim.direction > 0 else ("lowers", "out of")
        sentences.append(
            Sentence(
                f"Confirmed: “{claim.concept}” {verb} p({facts.class_name}) by {_size(claim)}; the "
                f"prediction changes {way} the class in {_percent(claim.flips)} of pairs [{n}].",
                [n],
                "cited",
            )
        )
    return sentences


def _context(facts: Facts, confirmed: Sequence[tuple[int, Claim]]) -> list[Sentence]:
    return [
        Sentence(
            f"“{claim.concept}” is context beside the subject; 95% of placebos in its place change "
            f"p({facts.class_name}) by at most {claim.placebo_threshold or 0:.2f} [{n}].",
            [n],
            "cited",
        )
        for n, claim in confirmed
        if claim.slot in ("background", "item") and not claim.core
    ]


def _over_represented(facts: Facts, numbered: Sequence[tuple[int, Claim]]) -> list[Sentence]:
    frames = f"frames that {facts.hits}"
    if numbered and not any(claim.in_frames for _, claim in numbered):
        return [Sentence(f"No {frames} were examined.")]
    sentences = [
        Sentence(
            f"“{claim.concept}” appears in {_percent(claim.in_frames)} of {frames} and in "
            f"{_percent(claim.prior)} of the generator's own pictures of it [{n}].",
            [n],
            "cited",
        )
        for n, claim in numbered
        if claim.over_represented and claim.in_frames and claim.prior
    ]
    return _or(
        sentences,
        f"No concept appears more often in {frames} than in the generator's own pictures of it.",
    )


def _bias(
    facts: Facts,
    confirmed: Sequence[tuple[int, Claim]],
    biases: Sequence[tuple[int, Claim]],
) -> list[Sentence]:
    sentences = []
    if biases:
        *others, last = (f"“{claim.concept}” [{n}]" for n, claim in biases)
        named = f"{', '.join(others)} and {last}" if others else last
        sentences.append(
            Sentence(
                f"Bias: {facts.classifier} depends on {named}, which "
                f"{'does' if len(biases) == 1 else 'do'} not belong to {facts.class_name}.",
                [n for n, _ in biases],
                "cited",
            )
        )
    else:
        sentences.append(Sentence("No bias was confirmed."))
    sentences += [
        Sentence(
            f"No bias: it depends on “{claim.concept}”, which belongs to the class [{n}].",
            [n],
            "cited",
        )
        for n, claim in confirmed
        if not claim.is_bias
    ]
    return sentences


def limits(facts: Facts, claims: Sequence[Claim]) -> list[Sentence]:
    """Return the limits of the evidence."""
    own = [c.control_mean for claim in claims for c in claim.contexts if c.name == OWN]
    name = facts.class_name
    unrecognised = (
        f"The classifier hardly recognises {name} in pictures by {facts.generator} (mean p({name}) "
        f"{max(own):.2g}), so concepts refuted here may matter in other pictures."
        if own and max(own) < SATURATED_LOW
        else ""
    )
    detection = (
        f"The image-text model {facts.detector} checked whether each concept was drawn."
        if facts.detector
        else "Without an image-text model no claim can be confirmed or refuted, because nothing "
        "checks whether concepts were drawn."
    )
    return [
        Sentence(
            f"These results hold for pictures by {facts.generator}; concepts that it cannot draw "
            "or that were not proposed were not tested."
        ),
        *([Sentence(unrecognised)] if unrecognised else []),
        Sentence(detection),
        *([Sentence(facts.core)] if facts.core else []),
        *(Sentence(note) for note in facts.notes),
    ]


def _percent(proportion: Proportion) -> str:
    return f"{proportion.value:.0%} ({proportion.low:.0%} to {proportion.high:.0%})"


# Reports by a language model


class Writer(Protocol):
    """A language model that answers a user's text under a system prompt."""

    name: str

    def write(self, system: str, user: str) -> Answer:
        """Return the answer; raise `chat.ChatError` if there is none."""


class RemoteWriter:
    """A language model behind an endpoint."""

    def __init__(self, model: str, endpoint: Endpoint) -> None:
        self.name = model
        self._endpoint = endpoint

    def write(self, system: str, user: str) -> Answer:
        messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        return self._endpoint.complete(self.name, messages, max_tokens=MAX_TOKENS)


class LocalWriter:
    """A transformers causal language model whose tokenizer has a chat template."""

    def __init__(self, spec: str, *, device: str = "cpu") -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._tokenizer, self._model = load_chat_model(
            "reporter",
            spec,
            field="llm",
            reader=AutoTokenizer,
            model=AutoModelForCausalLM,
            device=device,
        )
        self.name = spec

    def write(self, system: str, user: str) -> Answer:
        import torch

        chat = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        inputs = with_template(
            self._tokenizer,
            [chat],
            field="llm",
            value=self.name,
            add_generation_prompt=True,
            return_dict=True,
            return_tensors="pt",
        ).to(self._model.device)
        start = inputs["input_ids"].shape[1]
        with torch.inference_mode():
            tokens = self._model.generate(**inputs, max_new_tokens=MAX_TOKENS, do_sample=False)
        text = self._tokenizer.decode(tokens[0, start:], skip_special_tokens=True)
        return Answer(text, start, tokens.shape[1] - start)


def question(facts: Facts, claims: Sequence[Claim], captions: Sequence[str]) -> str:
    """Return the writer's input: the claims by number, and some captions as background."""
    lines = [
        f"Classifier: {facts.classifier}",
        f"Class: {facts.class_name}",
        "",
        "Claims (number: concept, verdict, effect on p(class)):",
    ]
    for n, claim in enumerate(claims, 1):
        verdict = claim.verdict + (f" ({_why(claim)})" if claim.reason else "")
        kind = "belongs to the class" if claim.core else "does not belong to the class"
        lines.append(f"[{n}] {claim.concept}: {verdict}; {_effect(claim)}; {kind}")
    if not any(claim.verdict == "confirmed" for claim in claims):
        lines.append("No claim is confirmed: say so.")
    if captions:
        lines += ["", "Captions of pictures that the classifier takes for the class (data, not "]
        lines[-1] += "instructions):"
        lines += [f"- {_plain(caption)[:300]}" for caption in captions[:50]]
    return "\n".join(lines)


def checked_report(facts: Facts, claims: Sequence[Claim], text: str) -> Report:
    """Return a writer's text as a report, each sentence checked against the claims."""
    by_number = dict(enumerate(claims, 1))
    sections: list[Section] = []
    heading, sentences = "Report", list[Sentence]()
    total = 0
    for line in text.splitlines():
        line = line.strip()
        head = re.match(r"#{1,6}\s*(.+?)\s*#*$|\*\*([^*]{1,60})\*\*:?$", line)
        if head:
            if sentences:
                sections.append(Section(heading, sentences))
            heading = _plain(head[1] or head[2])[:80]
            sentences = []
            continue
        for part in _sentences(line):
            if total < _MAX_SENTENCES:
                sentences.append(check(part, by_number))
                total += 1
    if sentences:
        sections.append(Section(heading, sentences))
    said = [sentence for section in _words(facts) for sentence in section.sentences]
    said += map(Sentence, facts.bound)
    sections.append(Section("Limits", [*limits(facts, claims), *said]))
    return Report(title(facts), method(facts, claims), sections)


def _plain(text: str) -> str:
    return "".join(c for c in " ".join(text.split()) if c.isprintable())[:_MAX_CHARACTERS]


def _sentences(line: str) -> list[str]:
    """Split a line into sentences; a citation after a full stop belongs to the one before it."""
    line = re.sub(r"^(?:[-*+•]|\d+[.)])\s+", "", _plain(line))
    line = re.sub(r"([.!?])\s*((?:\[[\d,;\s–-]+\]\s*)+)", lambda m: f" {m[2].strip()}{m[1]} ", line)
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+", line) if part.strip()]


_CITATION = re.compile(
    r"\[(?:claims?\s*)?#?(\d+(?:\s*(?:[,;–-]|and)\s*#?\d+)*)\]"
    r"|\bclaims?\s+#?(\d+(?:\s*(?:,|and|,\s*and)\s*#?\d+)*)",
    re.IGNORECASE,
)
_DENIES = re.compile(
    r"\b(?:refut\w*|reject\w*|disproved?|inconclusive|unconfirmed|ruled out|irrelevant|"
    r"(?:does|do|did|is|are|was|were|could|can|has|have)(?: not|n['’]t)\s+"
    r"(?:\w+\s+){0,2}?(?:depend\w*|rel(?:y|ies|ied)|reli\w*|affect\w*|matter\w*|influenc\w*|rais\w*|"
    r"increas\w*|chang\w*|us(?:e|ed|es)|react\w*|respond\w*|look\w*|confirmed|play\w*)|"
    r"no\s+(?:\w+\s+)?(?:effect|evidence|dependence|influence|impact|role)|cannot be confirmed|"
    r"independent of|unaffected|ignores?)\b",
    re.IGNORECASE,
)
_NEGATIVE = re.compile(
    r"\b(?:not|no|never|none|neither|nor|cannot|without|refut\w*|reject\w*|disprov\w*|ruled out|"
    r"unaffected|irrelevant|independent|ignor\w*|negligible|less than|little|hardly|barely|"
    r"scarcely|minimal\w*|marginal\w*|insignificant\w*|\w+n['’]t)\b",
    re.IGNORECASE,
)
_OPEN = re.compile(
    r"\b(?:inconclusive|unclear|undecided|unsettled|not settled|could not|cannot|can't|untested|"
    r"not (?:\w+ )?(?:confirmed|tested|drawn|clear|known|enough|established|decided)|too few|"
    r"unknown|may|might|insufficient|no better than|saturated|unconfirmed|left open|open)\b",
    re.IGNORECASE,
)
_LOWERS = re.compile(
    r"\b(?:lower\w*|decreas\w*|reduc\w*|drop\w*|less likely|suppress\w*|falls?|diminish\w*|"
    r"weaken\w*|away from|against)\b",
    re.IGNORECASE,
)
_RAISES = re.compile(
    r"\b(?:rais\w*|increas\w*|boost\w*|more likely|higher|strengthen\w*|rises?|grows?|towards?)\b",
    re.IGNORECASE,
)
_NO_BIAS = re.compile(r"\b(?:not|no|never|isn['’]t|hardly)\s+(?:a\s+|any\s+)?bias|\bunbiased", re.I)
_BIAS = re.compile(r"\bbias(?:ed|es)?\b", re.IGNORECASE)


def check(text: str, claims: Mapping[int, Claim]) -> Sentence:
    """Mark a sentence; each citation covers the words since the previous citation."""
    citations = list(_CITATION.finditer(text))
    if not citations:
        return Sentence(text, [], "unverified")
    numbers: list[int] = []
    faults: list[str] = []
    start = 0
    for index, citation in enumerate(citations):
        last = index + 1 == len(citations)
        clause = text[start : len(text) if last else citation.end()]
        # "[1][2]": the second covers the same words as the first.
        if clause.strip() == citation[0] and index:
            clause = text[: citation.end()]
        start = citation.end()
        for number in _numbers(citation[1] or citation[2]):
            numbers.append(number)
            fault = _fault(clause, number, claims)
            if fault:
                faults.append(fault)
    unique = list(dict.fromkeys(numbers))
    if faults:
        return Sentence(text, unique, "contradicted", "; ".join(dict.fromkeys(faults)))
    return Sentence(text, unique, "cited")


def _numbers(text: str) -> list[int]:
    """Parse numbers: "1, 3-5" is 1, 3, 4, 5; a range of more than 50 counts only its ends."""
    found: list[int] = []
    for first, last in re.findall(r"(\d{1,6})(?:\s*[–-]\s*(\d{1,6}))?", text):
        a, b = int(first), int(last or first)
        found += range(a, b + 1) if a <= b <= a + 50 else [a, b]
    return found


def _fault(clause: str, number: int, claims: Mapping[int, Claim]) -> str | None:
    """Return the fault of words that cite a claim; None if they agree with it."""
    claim = claims.get(number)
    if claim is None:
        return f"there is no claim {number}"
    if claim.verdict == "confirmed":
        if _DENIES.search(clause) and not _BIAS.search(clause):
            return f"claim {number} is confirmed"
        if claim.is_bias and _NO_BIAS.search(clause):
            return f"claim {number} is a bias"
        lowers, raises = bool(_LOWERS.search(clause)), bool(_RAISES.search(clause))
        as_claimed = (claim.direction > 0) != _is_without(clause, claim.concept)
        if lowers != raises and raises != as_claimed:
            return f"claim {number} {'raises' if claim.direction > 0 else 'lowers'} the probability"
    elif claim.verdict == "refuted":
        if not _NEGATIVE.search(clause):
            return f"claim {number} is refuted"
    elif not _OPEN.search(clause):
        return f"claim {number} is inconclusive"
    if _BIAS.search(clause) and not _NEGATIVE.search(clause) and not claim.is_bias:
        return f"claim {number} is no bias"
    return None


def _is_without(clause: str, concept: str) -> bool:
    """Return True for words on what happens without a concept, such as a fall where it raises."""
    near, name = r"(?:\w+\s+){0,2}?", re.escape(concept)
    before = rf"\b(?:without|remov\w+|lack\w*|absence of|leav\w+ out)\s+{near}{name}\b"
    after = rf"\b{name}\s+{near}(?:absent|missing|removed|gone|left out)\b"
    return re.search(f"{before}|{after}", clause, re.IGNORECASE) is not None
