"""Words of searches as concepts, as in the paper (arXiv 2510.14741, section 4.2 and appendix E).

For each class, single-mask searches follow one another, each without the words before it. A
class's prototype is the mean of the embeddings of its words' texts. A picture nearer to the
prototype of another class than to its own is in the slice that the classifier is expected to fail
on. Words that name a class or one of its kinds are left out: they divide nothing but the classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dexter.config import RunConfig
from dexter.data.slices import Concept
from dexter.reasoning.topic import Topic


def search_config(config: RunConfig, topic: Topic, earlier: Sequence[str]) -> RunConfig:
    """Return the settings of the next search of a class, after those that found ``earlier``."""
    values = config.model_dump() | {
        "class_name": topic.class_name,
        "template": "single",
        "seed": len(earlier),
        "exclude_words": (*config.exclude_words, *sorted(topic.names), *earlier),
    }
    return RunConfig.model_validate(values)


def prototypes(words: Mapping[str, Sequence[str]]) -> list[Concept]:
    """Return the question whether a picture is nearer to a class's prototype than to the others'.

    ``words``: those of each class, by its label. With two classes there is one question. With more
    there is one a class, whose words are held against the mean of all other classes' words.
    """
    labels = list(words)[:1] if len(words) == 2 else list(words)
    return [
        Concept(
            ", ".join(words[label]),
            tuple(words[label]),
            tuple(word for other, own in words.items() if other != label for word in own),
            prototype=True,
        )
        for label in labels
    ]
