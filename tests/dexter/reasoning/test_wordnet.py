"""WordNet's concepts, from a small database in its own format."""

from __future__ import annotations

from pathlib import Path

import pytest

from dexter.reasoning.topic import Family, World, make_topic
from dexter.reasoning.wordnet import VARIABLE, load_wordnet

# name of a sense -> (lemmas, broader sense, part senses); in the order of the file.
_SENSES: dict[str, tuple[list[str], str | None, list[str]]] = {
    "entity": (["entity"], None, []),
    "level1": (["physical_entity"], "entity", []),
    "level2": (["object"], "level1", []),
    "level3": (["whole"], "level2", []),
    "animal": (["animal", "beast"], "level3", []),
    "bird": (["bird"], "animal", ["feather", "foot"]),
    "feather": (["feather", "plume"], "level3", []),
    "foot": (["bird's_foot"], "level3", []),
    "monarch": (["monarch", "sovereign"], "level3", []),
    "duck": (["duck"], "bird", []),
    "mallard": (["mallard", "Anas_platyrhynchos"], "duck", []),
    "goose": (["goose"], "bird", []),
    "butterfly": (["monarch", "monarch_butterfly"], "animal", []),
}


def write_database(folder: Path) -> None:
    """Write index.noun and data.noun of `_SENSES`."""
    kinds: dict[str, list[str]] = {}
    for name, (_, broader, _) in _SENSES.items():
        if broader is not None:
            kinds.setdefault(broader, []).append(name)

    def line(name: str, places: dict[str, int]) -> str:
        lemmas, broader, parts = _SENSES[name]
        pointers = [("@", broader)] if broader else []
        pointers += [("%p", part) for part in parts] + [("~", kind) for kind in kinds.get(name, ())]
        words = " ".join(f"{lemma} 0" for lemma in lemmas)
        to = "".join(f" {sign} {places[at]:08d} n 0000" for sign, at in pointers)
        return (
            f"{places[name]:08d} 05 n {len(lemmas):02x} {words} {len(pointers):03d}{to} | a gloss"
        )

    licence = "  1 A small database.\n"
    places, at = {}, len(licence)
    for name in _SENSES:
        places[name] = at
        at += len(line(name, dict.fromkeys(_SENSES, 0))) + 1
    (folder / "data.noun").write_text(licence + "".join(line(n, places) + "\n" for n in _SENSES))
    index: dict[str, list[int]] = {}
    for name, (lemmas, _, _) in _SENSES.items():
        for lemma in lemmas:
            index.setdefault(lemma.lower(), []).append(places[name])
    rows = [
        f"{lemma} n {len(own)} 1 @ {len(own)} 0 {' '.join(f'{at:08d}' for at in own)}  \n"
        for lemma, own in sorted(index.items())
    ]
    (folder / "index.noun").write_text(licence + "".join(rows))


@pytest.fixture
def database(tmp_path, monkeypatch):
    write_database(tmp_path)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    load_wordnet.cache_clear()
    yield tmp_path
    load_wordnet.cache_clear()


def test_parts_are_inherited_and_general_concepts_left_out(database):
    wordnet = load_wordnet()
    assert wordnet is not None
    found = wordnet.concepts("duck")
    assert found is not None
    assert found.broader == ("bird", "animal", "beast")
    assert found.parts == ("feather", "plume", "bird's foot", "foot")
    assert found.kinds == ("mallard", "anas platyrhynchos")
    assert found.related == ("goose",)
    assert "goose" not in found.core and "whole" not in found.core


def test_the_sense_with_most_names_of_a_label_is_taken(database):
    wordnet = load_wordnet()
    assert wordnet is not None
    one = wordnet.concepts("monarch")
    other = wordnet.concepts("monarch, monarch butterfly, Danaus plexippus")
    assert one is not None and "animal" not in one.broader
    assert other is not None and other.broader[0] == "animal"
    assert wordnet.concepts("quux") is None


def test_a_topic_shows_them_and_core_words_of_the_user_replace_them(database):
    labels = ["duck", "car"]
    topic = make_topic(labels, 0)
    assert topic.is_core("feathers") and topic.is_core("bird's foot")
    assert not topic.is_core("goose") and not topic.is_core("water")
    assert "By WordNet these belong to duck" in topic.defaults() and "feather" in topic.defaults()
    own = make_topic(labels, 0, core=["water"])
    assert own.is_core("water") and not own.is_core("feather") and own.defaults() == ""
    world = World({"water": Family(("sea",), "background")}, core={"duck": ("duck", "bird")})
    manifest = make_topic(labels, 0, world=world)
    assert manifest.is_core("bird") and not manifest.is_core("feather")
    assert not topic.names & {"feather", "plume"}  # they can still be tested


def test_the_command_lists_them_or_says_what_to_install(database, cli, monkeypatch):
    found = cli("concepts", "duck", "--json").json
    assert found["core"][0] == "duck" and found["related"] == ["goose"]
    assert "feather" in cli("concepts", "duck").out
    refused = cli("concepts", "quux")
    assert refused.code == 2 and "no noun 'quux'" in refused.err
    monkeypatch.setenv(VARIABLE, str(database / "none"))
    load_wordnet.cache_clear()
    refused = cli("concepts", "duck")
    assert refused.code == 2 and "wordnet-base" in refused.err


def test_without_a_database_the_class_name_alone_is_core(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none"))
    load_wordnet.cache_clear()
    topic = make_topic(["duck", "car"], 0)
    load_wordnet.cache_clear()
    assert topic.is_core("duck") and not topic.is_core("feather") and topic.by_wordnet == ()
