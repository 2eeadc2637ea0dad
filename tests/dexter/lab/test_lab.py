"""The lab: scenes with independent factors, and shipped models that do what their cards say."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dexter import RunConfig, load_generator, model_folders, parallel
from dexter.errors import InputError
from dexter.generation.options import GeneratorOptions
from dexter.lab import __main__ as training
from dexter.lab import classifiers, evaluate, export, fleet, models, scenes, shipped, train, world
from dexter.lab.__main__ import only_training

LAB = model_folders.find("lab")


def test_a_scene_is_a_function_of_its_data():
    rng = np.random.default_rng(0)
    for scene in (scenes.sample_scene(rng) for _ in range(5)):
        assert np.array_equal(scenes.render(scene), scenes.render(scene))
    first, second = (scenes.sample_scene(np.random.default_rng(3)) for _ in range(2))
    assert first == second


def test_swapping_the_background_leaves_subject_and_items_where_they_were():
    scene = scenes.Scene("penguin", "sea", items=("sun", "ball"), seed=11)
    empty = dataclasses.replace(scene, subject=None, items=())
    # Where the subject or an item covers the background, pictures on any background agree.
    for one, shared in ((scene, 0.15), (empty, 0.0)):
        sea, night = (
            scenes.render(dataclasses.replace(one, background=place)) for place in ("sea", "night")
        )
        agreeing = (sea == night).all(-1).mean()
        assert agreeing >= shared
        assert agreeing < shared + 0.2


@pytest.mark.parametrize("subject", ["man", "car", "duck", None])
def test_attributes_belong_to_their_subjects(subject):
    rng = np.random.default_rng(1)
    scene = scenes.sample_scene(rng, subject=subject)
    assert (scene.hair is not None) == (subject == "man")
    assert (scene.colour is not None) == (subject == "car")


def test_captions_use_the_world_s_words_and_fit_the_text_encoder():
    rng = np.random.default_rng(2)
    longest = 0
    for _ in range(500):
        words = scenes.caption(scenes.sample_scene(rng), rng).split()
        assert set(words) <= set(world.WORDS)
        longest = max(longest, len(words))
    assert longest <= models.MAX_TOKENS - 2


def test_every_word_is_one_token_on_both_sides():
    clip, bert = models.clip_tokenizer(), models.bert_tokenizer()
    for word in world.WORDS:
        assert len(clip(word, add_special_tokens=False)["input_ids"]) == 1
        assert bert(word, add_special_tokens=False)["input_ids"] == [bert.get_vocab()[word]]


def test_shipped_weights_are_small():
    weights = [path for path in LAB.rglob("*") if path.suffix in (".safetensors", ".bin", ".pt")]
    assert {path.suffix for path in weights} == {".safetensors"}
    assert sum(path.stat().st_size for path in weights) <= 40e6
    most = {
        "generator": 16,
        "captioner": 6,
        "image_text": 3,
        "masked_lm": 1,
        "classifiers/fleet": 10,
    }
    for model, megabytes in most.items():
        assert shipped.weight_bytes(LAB / model) <= megabytes * 1e6


@pytest.mark.parametrize("name", ["birds-biased", "birds-balanced"])
def test_a_bird_classifier_is_as_its_card_says(name):
    from dexter.lab.check import classifier

    measured = classifier(name)
    card = (LAB / "classifiers" / name / "README.md").read_text()
    stated = dict(re.findall(r"\| accuracy, (.+?) \| (.+?)% \|", card))
    assert set(stated) == set(measured)
    for group, value in measured.items():
        assert abs(100 * value - float(stated[group])) < 1.0
    if name == "birds-biased":
        assert measured["worst"] < 0.40
    else:
        assert measured["worst"] > 0.95


def test_the_generator_draws_in_its_own_number_of_steps_whoever_loads_it():
    config = RunConfig.from_preset("default", classifier="lab:birds-biased", class_name="waterbird")
    assert config.generator == "lab"
    assert load_generator("lab").diffusion_steps == config.diffusion_steps == 2
    assert load_generator("lab", GeneratorOptions(diffusion_steps=4)).diffusion_steps == 4


@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_training_goes_on_where_it_was(tmp_path, workers):
    """kill -9 of a training process between checkpoints loses what came after the last one only."""
    script = (
        "import sys; from pathlib import Path; from dexter import parallel\n"
        "from tiny_training import tiny_task\n"
        "if __name__ == '__main__':\n"
        "    parallel.train(tiny_task, {'samples': int(sys.argv[2])}, Path(sys.argv[1]), "
        f"{workers})\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'tests' / 'support'}"}
    endless = subprocess.Popen(
        [*command, str(10**9)], env=environment, start_new_session=True, stdout=subprocess.DEVNULL
    )
    checkpoint = tmp_path / "line.pt"
    while not checkpoint.exists() and endless.poll() is None:
        time.sleep(0.05)
    os.killpg(endless.pid, signal.SIGKILL)
    endless.wait()
    before = torch.load(checkpoint, weights_only=True)
    assert before["samples"] > 0
    wanted = before["samples"] + 64
    subprocess.run([*command, str(wanted)], env=environment, check=True, stdout=subprocess.DEVNULL)
    after = torch.load(checkpoint, weights_only=True)
    assert wanted <= after["samples"] < wanted + 64
    assert torch.linalg.vector_norm(after["raw"] - before["raw"]) < 1.0


@pytest.fixture
def untrained_lab(tmp_path, monkeypatch):
    """The shipped lab with a generator of the recipe that has learned nothing."""
    folder = tmp_path / "lab"
    folder.mkdir()
    for part in LAB.iterdir():
        if part.name != "generator":
            (folder / part.name).symlink_to(part)
    monkeypatch.setattr(train, "WORK", tmp_path / "untrained")
    train.WORK.mkdir()
    for stage, module in (("vae", models.vae()), ("generator", train.Denoiser())):
        vector = parallel.to_vector(module.parameters())
        parallel.save({"average": vector, "samples": 0}, train.WORK / f"{stage}.pt")
    export.save_generator(folder / "generator")
    monkeypatch.setattr(train, "WORK", tmp_path / "work")
    return folder


@pytest.mark.long
def test_training_goes_on_from_the_shipped_weights(tmp_path, untrained_lab):
    """Without work files: what is written out again untrained is what was shipped, bit for bit."""
    export.unpack(untrained_lab)
    counts = json.loads((LAB / export.COUNTS).read_text())
    for stage, samples in counts.items():
        task = train.TASKS[stage](samples)
        state = parallel.train(
            train.TASKS[stage], {"samples": samples}, train.WORK, workers=1
        )  # has them all
        assert state["samples"] == samples
        assert len(state["raw"]) == sum(p.numel() for p in task.build().parameters())
    export.save_generator(tmp_path / "generator")
    for part in ("unet", "vae", "text_encoder"):
        [shipped] = (untrained_lab / "generator" / part).glob("*.safetensors")
        [again] = (tmp_path / "generator" / part).glob("*.safetensors")
        one, other = load_file(shipped), load_file(again)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert {p.stem for p in (train.WORK / "classifiers").iterdir()} == set(classifiers.RECIPES)
    members = [p.parent.name for p in LAB.glob("classifiers/fleet/*/config.json")]
    assert {p.stem for p in train.WORK.glob("fleet/*.pt")} == set(members)


def test_two_trainings_never_write_into_one_folder(tmp_path):
    with only_training(tmp_path / "work"):
        with pytest.raises(InputError, match="another training"), only_training(tmp_path / "work"):
            pass
        with only_training(tmp_path / "other"):
            pass
    with only_training(tmp_path / "work"):
        pass


def test_a_training_that_names_no_stage_runs_all_of_them_in_order(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(training, "run", lambda stage, workers, samples: ran.append(stage))
    monkeypatch.setattr(training, "TARGET", tmp_path)
    monkeypatch.setattr(train, "WORK", tmp_path)
    monkeypatch.setattr(sys, "argv", ["lab"])
    training.main()
    assert tuple(ran) == training.STAGES


def test_an_unknown_stage_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lab", "vea"])
    with pytest.raises(SystemExit) as end:
        training.main()
    assert end.value.code == 2
    assert "no stage 'vea'; there are vae, text" in capsys.readouterr().err


def test_a_generator_of_another_recipe_is_trained_from_nothing(untrained_lab, monkeypatch):
    monkeypatch.setattr(models, "LATENT_CHANNELS", models.LATENT_CHANNELS + 1)
    export.unpack(untrained_lab)
    readers_and_words = {"masked-lm", "eyes", "image-text", "captioner"}
    assert {path.stem for path in train.WORK.glob("*.pt")} == readers_and_words


@pytest.mark.long
def test_what_a_caption_leaves_unsaid_is_drawn_evenly_and_independently(tmp_path, monkeypatch):
    """By the noise, whatever the autoencoder: this one has learned nothing."""
    monkeypatch.setattr(train, "WORK", tmp_path)
    torch.manual_seed(0)
    autoencoder = parallel.to_vector(models.vae().parameters())
    parallel.save({"average": autoencoder}, tmp_path / "vae.pt")
    shape = (models.LATENT_CHANNELS, models.LATENT_SIZE, models.LATENT_SIZE)

    def drawn(scene, said):
        return [train.meaning(scene, frozenset(said), torch.randn(shape)) for _ in range(1000)]

    birds = drawn(scenes.Scene("duck", "sea"), {"bird"})
    assert_even([scene.subject for scene in birds], world.BIRDS)
    assert_even([scene.background for scene in birds], world.BACKGROUNDS)
    woman = scenes.Scene("woman", "sea", hair="blond", skin="tan", age="old")
    people = drawn(woman, {"person", "sea"})
    assert_even([scene.subject for scene in people], world.PEOPLE)
    adults = [scene for scene in people if scene.age]
    for field, values in {"hair": world.HAIR, "skin": world.SKIN, "age": world.AGES}.items():
        assert_even([getattr(scene, field) for scene in adults], values)
    for one, other in combinations(("subject", "hair", "skin", "age"), 2):
        pairs = [(getattr(scene, one), getattr(scene, other)) for scene in adults]
        assert evaluate.cramers_v(pairs) < 0.15
    assert all(scene.hair == "blond" for scene in drawn(woman, {"blond", "woman"}))


def assert_even(drawn, values):
    """Every value is as frequent as any other, but for chance."""
    expected = 1 / len(values)
    counts = Counter(drawn)
    assert set(counts) == set(values)
    deviation = (expected * (1 - expected) / len(drawn)) ** 0.5
    assert all(abs(n / len(drawn) - expected) < 4 * deviation for n in counts.values())


def test_the_effect_of_a_place_alone_is_that_against_all_other_places():
    pixels = {place: classifiers.pixels([scenes.Scene(None, place)]) for place in world.BACKGROUNDS}
    shades = {place: picture.mean((2, 3)) for place, picture in pixels.items()}

    def sees_snow(pictures):
        """Logits of a network that answers the target where a picture is as light as snow."""
        nearest = torch.stack([(pictures.mean((2, 3)) - c).norm(dim=1) for c in shades.values()])
        is_snow = nearest.argmin(0) == world.BACKGROUNDS.index("snow")
        return torch.stack([torch.where(is_snow, 9.0, -9.0), torch.zeros(len(pictures))], 1)

    found = fleet.effects("cats", {"one": sees_snow}, 100, only=("snow", "sea"))["one"]
    assert found["snow"] > 0.6
    assert -0.3 < found["sea"] < 0


def test_cramers_v_is_0_without_dependence_and_1_where_one_decides_the_other():
    assert evaluate.cramers_v([("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")]) == 0
    assert evaluate.cramers_v([("a", "x"), ("b", "y"), ("c", "z")]) == pytest.approx(1)


def test_classifiers_learn_from_scenes_of_their_recipe():
    for recipe in classifiers.RECIPES.values():
        rng = np.random.default_rng(0)
        labels = [recipe.draw(rng)[1] for _ in range(400)]
        assert set(range(len(recipe.labels))) >= set(labels)
        assert len(set(labels)) >= min(3, len(recipe.labels))
