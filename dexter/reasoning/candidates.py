"""The concepts to test: words of all seeds, then key phrases of the frames' captions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dexter.reasoning.claims import Candidate
from dexter.reasoning.keywords import STOP_WORDS, key_phrases
from dexter.reasoning.topic import Topic, World, known_words


def propose(
    words: Mapping[str, Sequence[str]],
    captions: Sequence[tuple[str, str]],
    topic: Topic,
    *,
    count: int = 12,
    direction: int = 1,
    known: Callable[[str], bool] = lambda word: True,
) -> list[Candidate]:
    """Propose up to ``count`` concepts, each claimed to raise the probability of the class, or with
    ``direction`` -1 to lower it.

    words: the words found, by run. captions: (frame, caption) of the runs' hits. known:
    returns True for a word that the generator can encode. Words come first, ordered by their
    number of seeds. Key phrases of the captions (YAKE) fill the rest; with at least 6 captions, a
    phrase must occur in 2 of them. Words of the class's own name are left out, because a dependence
    on them is trivial; to lower the class, so are the names of all classes and their subjects.
    """
    from dexter.search.vocabulary import word_forms, words_of

    named = {form for w in words_of(topic.class_name) for form in word_forms(w)}
    if direction < 0:
        named |= topic.names
    by_word: dict[str, list[str]] = {}
    for run, found in words.items():
        for word in dict.fromkeys(w.lower() for w in found):
            by_word.setdefault(word, []).append(run)
    ranked = sorted(by_word, key=lambda word: -len(by_word[word]))
    sources: dict[str, dict[str, list[str]]] = {
        word: {"words": by_word[word]} for word in ranked if word not in STOP_WORDS
    }
    allowed = known_words(topic.world)
    longest = 1 if allowed is not None else 2
    often = 2 if len(captions) >= 6 else 1
    for phrase, _, where in key_phrases([text for _, text in captions], longest=longest):
        if len(where) < often:
            continue
        frames = [captions[i][0] for i in where]
        entry = sources.setdefault(phrase, {})
        entry["captions"] = frames
    kept: list[str] = []
    for concept in sources:
        parts = concept.split()
        if (
            any(part in named for part in parts)
            or (allowed is not None and concept not in allowed)
            or not all(known(part) for part in parts)
            # "lake" and "lakes", or "snow" and "white snow", would test one concept twice.
            or any(set(parts) & forms for k in kept for forms in map(word_forms, k.split()))
        ):
            continue
        kept.append(concept)
    return [
        Candidate(concept, topic.world.slot(concept), direction, sources[concept])
        for concept in kept[:count]
    ]


def sayable_by(tokenizer: Any, world: World) -> Callable[[str], bool]:
    """Return a test of words: can a generator with this tokenizer encode the word?

    In a world with a manifest a word is one token. Elsewhere its tokens must decode to the word and
    not spell it letter by letter.
    """

    def sayable(word: str) -> bool:
        ids = tokenizer(word, add_special_tokens=False)["input_ids"]
        if tokenizer.decode(ids).strip().lower() != word.lower():
            return False
        if world.families:
            return len(ids) == 1
        pieces = tokenizer.convert_ids_to_tokens(ids)
        return len(word) == 1 or any(len(piece.removesuffix("</w>")) > 1 for piece in pieces)

    return sayable
