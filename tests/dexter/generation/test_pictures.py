"""Pictures are made once, by one process or two, and the bank gives them back byte for byte."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny
import toy

from dexter.config import RunConfig
from dexter.generation.bank import MemoryBank, Request
from dexter.generation.drawing_process import MANY, Helper, helps
from dexter.generation.generator import Generator, load_generator
from dexter.generation.options import GeneratorOptions
from dexter.generation.pictures import Pictures
from dexter_tui.analysis.store_bank import StoreBank, StoreCache
from store import Store

REQUESTS: list[Request] = [
    (f"a picture of a bird with {word}", seed) for word in ("sea", "lake") for seed in range(5)
]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "home") as store:
        yield store


def seen(pictures: Pictures, requests: list[Request]) -> dict[Request, np.ndarray]:
    found: dict[Request, np.ndarray] = {}
    for chunk, images in pictures.stream(requests):
        assert len(chunk) == len(images)
        found.update(zip(chunk, images, strict=True))
    return found


@pytest.mark.parametrize("where", ["memory", "store"])
def test_the_bank_gives_back_what_was_drawn(where: str, store: Store) -> None:
    bank = MemoryBank() if where == "memory" else StoreBank(store)
    painter = toy.Painter()
    counted: list[int] = []
    pictures = Pictures(painter, "key", bank, on_picture=counted.append)  # type: ignore[arg-type]
    drawn = seen(pictures, REQUESTS + REQUESTS[:3])
    assert painter.count == len(REQUESTS) == pictures.drawn == sum(counted)
    again = seen(pictures, REQUESTS[2:7])
    assert painter.count == len(REQUESTS)
    assert sorted(again) == sorted(REQUESTS[2:7])
    for request, image in again.items():
        assert (image == drawn[request]).all()
    more = [("another", 1), REQUESTS[0]]
    assert sorted(seen(pictures, more)) == sorted(more)
    assert painter.count == len(REQUESTS) + 1
    # Another generator's pictures are others.
    other = Pictures(toy.Painter(base=0.1), "other key", bank)  # type: ignore[arg-type]
    assert (seen(other, REQUESTS[:1])[REQUESTS[0]] != drawn[REQUESTS[0]]).any()


def test_many_pictures_are_few_files(store: Store) -> None:
    bank = StoreBank(store)
    requests = [("a", seed) for seed in range(130)]
    assert len(seen(Pictures(toy.Painter(), "key", bank), requests)) == 130  # type: ignore[arg-type]
    files = [f for f in (store.home / "artifacts").rglob("*") if f.is_file()]
    assert len(files) == 3
    painter = toy.Painter()
    assert len(seen(Pictures(painter, "key", bank), requests)) == 130  # type: ignore[arg-type]
    assert painter.count == 0


def test_placebos_are_kept_in_the_store(store: Store) -> None:
    cache = StoreCache(store)
    assert cache.read("key") == {}
    cache.keep("key", "hat", {"class": 0.1, "rivals": -0.2}, 64)
    cache.keep("key", "hat", {"class": 0.2, "rivals": -0.2}, 64)
    assert cache.read("key") == {"hat": {"class": 0.2, "rivals": -0.2}}
    assert cache.read("other") == {}


def config() -> RunConfig:
    return RunConfig.from_preset(
        "quick",
        classifier=f"hf:{tiny.classifier_folder()}",
        class_name="waterbird",
        generator=str(tiny.generator_folder()),
        masked_lm=str(tiny.masked_lm_folder()),
        device="cpu",
        diffusion_steps=1,
    )


@pytest.fixture(scope="module")
def generator() -> Generator:
    return load_generator(str(tiny.generator_folder()), GeneratorOptions(diffusion_steps=1))


@pytest.fixture(scope="module")
def alone(generator: Generator) -> dict[Request, np.ndarray]:
    return seen(Pictures(generator, "key"), REQUESTS)


@pytest.mark.long
def test_two_processes_draw_what_one_does_and_one_goes_on_without_the_other(
    generator: Generator, alone: dict[Request, np.ndarray]
) -> None:
    helper = Helper(config())
    try:
        assert not helper.ready(MANY - 1)  # so few are not worth a process
        assert helper._process is None
        assert not helper.ready(1)
        assert helper._process is not None
        assert helper._connection.poll(600)
        together = seen(Pictures(generator, "key", helper=helper), REQUESTS)
        assert helper.ready(0)
        assert not helper.lost
        for request, image in together.items():
            # Rounding may fall the other way in a batch of another size.
            assert np.abs(image.astype(int) - alone[request].astype(int)).max() <= 1
        assert helper._process.pid is not None
        os.kill(helper._process.pid, signal.SIGKILL)
        after = seen(Pictures(generator, "key", helper=helper), REQUESTS)
        assert helper.lost
        assert sorted(after) == sorted(alone)
    finally:
        helper.close()


def test_the_lab_is_drawn_by_two_and_stable_diffusion_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    lab = RunConfig(classifier="lab:birds-biased", class_name="waterbird", device="cpu")
    assert helps(lab, "cpu")
    assert not helps(lab, "cuda:0")
    assert not helps(lab.model_copy(update={"generator": "CompVis/stable-diffusion-v1-4"}), "cpu")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    assert not helps(lab, "cpu")
