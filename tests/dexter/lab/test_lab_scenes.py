"""The lab's scenes as data sets: labels, attributes, groups and splits, and what captions say."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from dexter.errors import InputError
from dexter.lab import world
from dexter.lab.scenes import SETTINGS, Scene, SceneDataset, caption, full_caption, sample_scene

ATTRIBUTE_WORDS = (*world.COLOURS, *world.HAIR, *world.SKIN, *world.AGES)


@pytest.mark.parametrize("name", SETTINGS)
def test_an_example_is_what_it_says_it_is(name: str) -> None:
    data = SceneDataset(name, size=120)
    setting = data.setting
    for example in data:
        fields = dict(setting.classes[setting.labels[example.label]])
        for attribute, value in example.attributes.items():
            for field, allowed in setting.attributes[attribute][value].items():
                assert getattr(example.scene, field) in allowed
        for field, allowed in fields.items():
            assert getattr(example.scene, field) in allowed
        assert example.group in setting.groups
        assert example.group.startswith(setting.labels[example.label])
    assert len({example.label for example in data}) > len(setting.labels) / 2
    assert data[3].picture.shape == (64, 64, 3)


def test_there_is_a_counterpart_of_each_of_the_usual_data_sets() -> None:
    assert len(SETTINGS["objects"].labels) >= 60
    assert set(SETTINGS["birds"].groups) == {
        "waterbird, water", "waterbird, land", "landbird, water", "landbird, land"
    }  # fmt: skip
    assert len(SETTINGS["hair"].groups) == 4
    assert len(SETTINGS["faces"].groups) == 12  # age, skin tone, gender


def test_examples_depend_on_setting_split_seed_and_index_alone() -> None:
    one, again = SceneDataset("birds", size=30), SceneDataset("birds", size=30)
    assert list(one) == list(again)
    assert one[-1] == one[29] == SceneDataset("birds", size=1000)[29]
    assert np.array_equal(one[7].picture, again[7].picture)
    assert one[2:4] == [one[2], one[3]]
    with pytest.raises(IndexError):
        one[30]
    others = [SceneDataset("birds", "validation"), SceneDataset("birds", "test"),
              SceneDataset("birds", seed=1)]  # fmt: skip
    seen = [{example.scene.seed for example in data[:30]} for data in (one, *others)]
    assert all(not a & b for a, b in combinations(seen, 2))


def test_a_planted_correlation_is_in_the_training_split_alone() -> None:
    def share(split: str, correlation: float | None) -> float:
        data = SceneDataset("birds", split, 400, correlation=correlation)  # type: ignore[arg-type]
        usual = {"waterbird, water", "landbird, land"}
        return float(np.mean([example.group in usual for example in data]))

    assert abs(share("train", None) - 0.5) < 0.1
    assert abs(share("train", 0.95) - 0.95) < 0.05
    assert abs(share("test", 0.95) - 0.5) < 0.1
    groups = Counter(example.group for example in SceneDataset("birds", "test", 400))
    assert min(groups.values()) > 60


def test_one_attribute_is_swapped_and_nothing_else() -> None:
    data = SceneDataset("birds", "test")
    example = next(e for e in data if e.attributes["place"] == "land")
    wet = data.swapped(example, "place", "water")
    assert wet.scene.background in world.WATER
    assert wet.group == f"{data.setting.labels[example.label]}, water"
    assert {**vars(example.scene), "background": ""} == {**vars(wet.scene), "background": ""}
    assert data.swapped(wet, "place", "water") == wet

    faces = SceneDataset("faces", "test")
    for example in faces[:20]:
        man, woman = (faces.swapped(example, "gender", sex).scene for sex in ("male", "female"))
        assert (man.subject, woman.subject) == ("man", "woman")
        assert (man.age, man.skin, man.hair, man.seed) == (
            woman.age,
            woman.skin,
            woman.hair,
            woman.seed,
        )
    hair = SceneDataset("hair", "test")
    boys = (example for example in hair if example.scene.subject == "boy")
    assert hair.swapped(next(boys), "gender", "female").scene.subject == "girl"
    with pytest.raises(InputError, match="no such attribute"):
        data.swapped(example, "gender", "male")


@pytest.mark.parametrize(("setting", "split"), [("cars", "train"), ("birds", "dev")])
def test_what_there_is_not_is_refused_by_name(setting: str, split: str) -> None:
    with pytest.raises(InputError, match="one of"):
        SceneDataset(setting, split)  # type: ignore[arg-type]


def test_captions_name_up_to_six_items_with_at_and_on() -> None:
    rng = np.random.default_rng(0)
    scenes = [sample_scene(rng) for _ in range(1500)]
    said = [caption(scene, rng).split() for scene in scenes]
    content = [[word for word in words if word in world.CONTENT_WORDS] for words in said]
    assert {1, 2, 3, 4, 5, 6} <= {len(words) for words in content}
    assert {word for words in content for word in words} == set(world.CONTENT_WORDS)
    for preposition in ("at", "on", "with", "and"):
        assert sum(preposition in words for words in said) > 100


def test_captions_say_of_some_subjects_what_they_cannot_be() -> None:
    rng = np.random.default_rng(0)
    said = [set(caption(Scene("woman", "sea"), rng).split()) for _ in range(1000)]
    assert set(world.COLOURS) <= set().union(*said)
    assert not {*world.HAIR, *world.SKIN, *world.AGES} & set().union(*said)
    assert 50 < sum(bool(words & set(world.COLOURS)) for words in said) < 150


def test_a_full_caption_names_all_that_is_there() -> None:
    scene = Scene("woman", "sea", ("ball", "sun"), hair="blond", skin="dark", age="old", seed=1)
    assert full_caption(scene) == "a picture of a old dark blond woman at sea with sun and ball"
    assert full_caption(Scene(None, "field")) == "a picture of a field"
