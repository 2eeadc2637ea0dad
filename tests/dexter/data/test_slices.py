"""Slices of a biased classifier's errors, found with words alone."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from PIL import Image
from safetensors.numpy import load_file

from dexter.classifiers import ClassifierOptions, load_classifier
from dexter.data.folder import read_data
from dexter.data.searches import prototypes
from dexter.data.settings import DebiasSettings, SlicesSettings
from dexter.data.slices import auroc, look, scores_of
from dexter.errors import InputError
from dexter.lab.scenes import SceneDataset
from dexter.reasoning.detection import load_detector
from dexter.reasoning.topic import load_world
from dexter_tui.analysis.data import request as data_request
from dexter_tui.analysis.data.debias_job import DebiasJob
from dexter_tui.analysis.data.request import DataRequest
from dexter_tui.analysis.data.sources import Files, Sources
from dexter_tui.analysis.desk import Desk
from store import Store, StoreError, run_queue
from store.data_reports.results import SlicesResult
from store.states import Kind

SIZE = 160


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes of birds with their place in a metadata.csv, and two faulty rows."""
    root = tmp_path_factory.mktemp("birds")
    lines = ["file_name,label,place"]
    for index, one in enumerate(SceneDataset("birds", "test", SIZE)):
        name = f"{index:03}.png"
        Image.fromarray(one.picture).save(root / name)
        lines.append(f"{name},{('waterbird', 'landbird')[one.label]},{one.attributes['place']}")
    lines += ["gone.png,landbird,land", "000.png,waterbird,land"]
    (root / "metadata.csv").write_text("\n".join(lines))
    return root


@pytest.mark.long
def test_the_planted_slices_come_first_without_true_groups(
    cli: Callable[..., Any], home: Path, folder: Path
) -> None:
    command = ["slices", "--classifier", "lab:birds-biased", "--data", folder]
    page = cli(*command, "--concepts", "sea,umbrella", "--group", "place", "--json").json
    answer = page["result"]
    assert answer["skipped"] == {"repeated": 1, "missing": 1}
    assert answer["pictures"] == SIZE and len(page["data_hash"]) == 64
    hard = {one["name"]: one for one in answer["slices"] if one["gap_high"] < 0}
    assert set(hard) == {"waterbird without sea", "landbird with sea"}
    for one in hard.values():
        assert one["gap"] < -0.4
        assert one["judged"]["auroc"] > 0.8 and one["judged"]["precision_at"] >= 0.8
        assert len(one["examples"]) == 10
    assert hard["landbird with sea"]["judged"]["group"] == "place = water"
    assert (
        "2 of 3 slices are surely harder than the rest of their class"
        in cli("slices", page["id"]).out
    )
    assert not list((home / "data_reports").iterdir())  # nothing is left of its work
    assert page["id"] in cli("slices").out
    cli("delete", page["id"], "--yes", "--really")
    assert page["id"] not in cli("slices").out


@pytest.mark.long
def test_words_of_searches_divide_a_class_by_the_nearer_prototype(
    cli: Callable[..., Any], home: Path, folder: Path
) -> None:
    command = ["slices", "--classifier", "lab:birds-biased", "--data", folder, "--searches", "1"]
    answer = cli(*command, "--group", "place", "--json").json["result"]
    words = re.fullmatch("searches of waterbird: (.+); searches of landbird: (.+)",
                         answer["concepts"])  # fmt: skip
    assert words is not None
    kinds = {word for own in load_world().subjects.values() for word in own}
    assert not kinds & set(words.groups())
    # One question divides both classes.
    names = {f"{label} {side} {words[1]}" for label in ("waterbird", "landbird")
             for side in ("with", "without")}  # fmt: skip
    assert len(answer["slices"]) == 2 and {one["name"] for one in answer["slices"]} <= names
    assert not list((home / "data_reports").iterdir())


def test_without_a_slice_the_answer_says_what_was_lacking() -> None:
    none = SlicesResult(
        labels={}, concepts="sea", image_text="lab", pixels="", pictures=3, accuracy=1, slices=[]
    )
    assert none.verdict.startswith("No concept divides the pictures of a class into two sides of 5")


def test_a_prototype_is_the_mean_of_its_words() -> None:
    [concept] = prototypes({"waterbird": ["sea", "lake"], "landbird": ["forest"]})
    assert (concept.looks, concept.against) == (("sea", "lake"), ("forest",))
    assert len(prototypes({"a": ["x"], "b": ["y"], "c": ["z", "w"]})) == 3
    detector = load_detector("lab")
    pictures = np.stack([one.picture for one in SceneDataset("birds", "test", 8)])
    embeddings = detector.embed(pictures)
    sea, lake, forest = (detector.fit(word, embeddings) for word in ("sea", "lake", "forest"))
    found = scores_of(concept, embeddings, detector)
    np.testing.assert_allclose(found, (sea + lake) / 2 - forest, atol=1e-6)
    best = scores_of(replace(concept, prototype=False), embeddings, detector)
    np.testing.assert_allclose(best, np.maximum(sea, lake) - forest, atol=1e-6)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--concepts", "sea", "--searches", "4"], "not from both"),
        (["--searches", "21"], "must be at most 20"),
        ([], "there is no screening of this classifier yet"),
        (["--concepts", ","], "names no words"),
        (
            ["--concepts", "sea", "--group", "kind"],
            "'kind' is not a column of groups; choose from place",
        ),
        (["--concepts", "sea", "--split", "test"], "omit it: it has no splits"),
        (["--concepts", "sea", "--map", "waterbird"], "write DATA=LABEL"),
        (
            ["--concepts", "sea", "--map", "gull=waterbird"],
            "'gull' is no label of the data; choose",
        ),
        (["--concepts", "sea", "--map", "waterbird=duck"], "'duck' is a label of the data, but"),
        (["--concepts", "sea", "--image-text", "no-such/clip"], "'no-such/clip' is not a folder"),
        (["--concepts", "sea", "--label-column", "kind"], "but not 'kind' for the label"),
    ],
)
def test_a_faulty_question_is_a_line(
    more: list[str], message: str, cli: Callable[..., Any], home: Path, folder: Path
) -> None:
    outcome = cli("slices", "--classifier", "lab:birds-biased", "--data", folder, *more)
    assert (outcome.code, len(outcome.err.splitlines())) == (2, 1)
    assert message in outcome.err


@pytest.mark.long
def test_the_worst_group_rises_and_the_dependence_falls_without_true_groups(
    cli: Callable[..., Any], home: Path, folder: Path, tmp_path: Path
) -> None:
    words = tmp_path / "places.yaml"
    places = "{water: at sea, wood: in a forest, room: in a room}"
    words.write_text(f"slots:\n  place: {{position: after, concepts: {places}}}\n")
    classifier = ["--classifier", "lab:birds-biased"]
    screen = ["screen", *classifier, "--class", "waterbird", "--concepts", words]
    assert cli(*screen, "--pictures", "60", "--no-confirm").code == 0
    words.unlink()  # the screening keeps it
    file = tmp_path / "layers.safetensors"
    command = ["debias", *classifier, "--data", folder, "--seeds", "1", "--group", "place"]
    page = cli(*command, "-o", file, "--json").json
    answer = page["result"]
    worst = {one["method"]: one["worst"] for one in answer["outcomes"]}
    assert worst["original"] < 0.3
    for method in ("DFR", "GroupDRO, last layer", "DFR with true groups"):  # of 20 pictures a group
        assert worst[method] > worst["original"] + 0.3
    used = {one["method"] for one in answer["outcomes"] if one["true_groups"]}
    assert used == {"DFR with true groups"}
    assert answer["measured_by"] == "true groups: place" and len(answer["groups"]) == 4
    assert load_file(file)["DFR.weight"].shape[0] == 2
    assert answer["concept"] == "water" and answer["screened"] == "DFR"
    [water] = [one for one in answer["effects"] if one["concept"] == "water"]
    assert water["before"] > 0.4 and abs(water["after"]) < 0.5 * water["before"]
    assert water["falls"] == pytest.approx(1 - abs(water["after"] / water["before"]), abs=1e-9)
    assert 0.2 < water["falls_low"] < water["falls"] < water["falls_high"] <= 1
    report = tmp_path / "report.md"
    cli("export", page["id"], "-o", report)
    assert "| DFR with true groups (**bracket**) |" in report.read_text()
    shown = f"{water['falls']:.0%} [{water['falls_low']:.0%}, {water['falls_high']:.0%}]"
    assert shown in cli("debias", page["id"]).out and shown in report.read_text()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--concepts", "sea", "--select", "true-groups"], "name it with --group"),
        (["--concepts", "sea", "--weights", "some"], "'some' is unknown"),
        (["--concepts", "sea", "-o", "nowhere/a.safetensors"], "nowhere is no folder"),
        (["--concepts", "sea", "-o", "layers.pt"], "name one that ends in .safetensors"),
        (["--concepts", "sea", "-o", "a.safetensors", "--detach"], "omit --detach"),
        (["--concepts", "sea", "--map", "landbird=waterbird"], "pictures of one class alone"),
        (["--concepts", "sea", "--fit-split", "val"], "'val'; omit it: it has no splits"),
        (["--concepts", "sea", "--data", "lab:a"], "--data: the lab has no data 'a'; choose from"),
        (
            ["--concepts", "sea", "--data", "lab:birds", "--size", "40", "--fit-split", "odd"],
            "--fit-split: lab:birds has no pictures in the split 'odd'; choose from",
        ),
    ],
)
def test_debias_refuses_in_a_line(
    more: list[str], message: str, cli: Callable[..., Any], home: Path, folder: Path
) -> None:
    outcome = cli("debias", "--classifier", "lab:birds-biased", "--data", folder, *more)
    assert (outcome.code, len(outcome.err.splitlines())) == (2, 1)
    assert message in outcome.err


def test_an_image_text_model_is_stored_by_its_full_path(
    home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker may be started from elsewhere."""
    model = folder  # any will do: it is loaded when the job is done
    monkeypatch.chdir(model.parent)
    request = DataRequest(
        Kind.SLICES,
        "lab:birds-biased",
        str(folder),
        SlicesSettings(image_text=model.name),
        concepts="sea",
    )
    asked = data_request.prepare(request, home).asked
    assert asked["settings"]["image_text"] == str(model)


def test_a_continued_report_counts_all_that_it_skipped(home: Path, folder: Path) -> None:
    """More than are named: an attempt before has looked, and another goes on."""
    table = folder / "gone.csv"
    there = (folder / "metadata.csv").read_text()
    table.write_text(there + "\n" + "".join(f"gone{n}.png,landbird,land\n" for n in range(150)))
    request = DataRequest(
        Kind.SLICES, "lab:birds-biased", str(table), SlicesSettings(), concepts="sea"
    )
    with Store.open(home) as store:
        queued = data_request.request_report(store, data_request.prepare(request, home))
        [job] = run_queue.jobs(store)
        assert job.id == queued.job_id
        counts = []
        for _ in range(2):
            sources = Sources(Desk(store, job, "cpu", lambda state: None))
            looked = sources.looked(sources.data, "all splits")
            counts.append(sources.skipped())
            assert len(looked.items) == SIZE and len(sources.data.skipped.names) == 100
            assert not [*sources.files.folder.glob(".new-*")]
            (sources.files.folder / ".new-0").write_text("it was killed while it wrote this")
    assert counts == [{"repeated": 1, "missing": 151}] * 2


def test_copies_of_pictures_on_a_full_disk_are_an_error_and_leave_nothing(
    home: Path, folder: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("only root mounts a small disk")
    request = DataRequest(
        Kind.SLICES, "lab:birds-biased", str(folder), SlicesSettings(), concepts="sea"
    )
    try:
        with Store.open(home) as store:
            data_request.request_report(store, data_request.prepare(request, home))
            [job] = run_queue.jobs(store)
            sources = Sources(Desk(store, job, "cpu", lambda state: None))
            looked = sources.looked(sources.data, "all splits")
            sources.files = Files(small)
            with pytest.raises(StoreError, match="the disk is full"):
                sources.pixels(looked, "all splits")
        assert [*small.iterdir()] == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("CLIP", {"size": {"shortest_edge": 80}, "crop_size": 64, "resample": 2}),
        ("CLIP", {"size": {"shortest_edge": 80}, "crop_size": 64, "resample": 3}),
        ("ViT", {"size": {"height": 80, "width": 80}}),
        ("ViT", {"size": 80}),
        ("DeiT", {"size": {"height": 80, "width": 80}, "crop_size": 64}),
        ("ConvNext", {"size": {"shortest_edge": 70}}),
        ("ConvNext", {"size": {"shortest_edge": 384}}),
        # As published with google/efficientnet-b0, whose processor divides twice.
        ("EfficientNet", {"size": {"height": 80, "width": 80}, "resample": 0}),
        ("EfficientNet", {"size": {"height": 80, "width": 80}, "rescale_offset": True}),
    ],
)
def test_pictures_are_read_as_transformers_own_processor_does(
    kind: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    """A JPEG that is no square, and larger than most of the networks' inputs."""
    import torch
    import transformers
    from transformers import AutoModelForImageClassification

    model = tmp_path / "model"
    shutil.copytree(tiny.classifier_folder(), model)
    try:
        processor = getattr(transformers, f"{kind}ImageProcessor")(**settings)
    except ImportError:
        pytest.skip("this transformers has no image processor without torchvision")
    processor.save_pretrained(model)
    written = model / "preprocessor_config.json"
    written.write_text(json.dumps({**json.loads(written.read_text()), "size": settings["size"]}))
    noise = np.random.default_rng(0).integers(0, 256, (70, 92, 3), dtype=np.uint8)
    (tmp_path / "data" / "landbird").mkdir(parents=True)
    file = tmp_path / "data" / "landbird" / "1.jpg"
    Image.fromarray(noise).resize((231, 175), Image.Resampling.BICUBIC).save(file, quality=95)
    found = look(
        read_data(str(tmp_path / "data")),
        {"landbird": 1},
        load_classifier(f"hf:{model}"),
        load_detector(str(tiny.image_text_folder())),
    )
    network = AutoModelForImageClassification.from_pretrained(model).eval()
    with torch.no_grad(), Image.open(file) as image:
        logits = network(**processor(images=image, return_tensors="pt")).logits
    assert found.p[0] == pytest.approx(float(logits.softmax(-1)[0, 1]), abs=1e-3)


@pytest.mark.long
def test_a_debiasing_measures_by_the_threshold_and_shows_the_weights_that_it_keeps(
    home: Path, tmp_path: Path
) -> None:
    (tmp_path / "one.py").write_text(
        "from torch import nn\n"
        "class Bright(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.head = nn.Linear(1, 1, bias=False)\n"
        "        nn.init.constant_(self.head.weight, 1)\n"
        "    def forward(self, x):\n"
        "        return self.head(x.mean((1, 2, 3))[:, None])\n"
    )
    one_logit = {"positive_class": "waterbird", "input_size": 64, "threshold": 0.6}
    request = DataRequest(
        Kind.DEBIAS,
        f"python:{tmp_path / 'one.py'}:Bright",
        "lab:birds",
        DebiasSettings(
            weights="all", seeds=1, steps=10, select="worst-class", fit_split="test", size=SIZE
        ),
        concepts="sea",
        mapping=["landbird=not waterbird"],
        values=one_logit,
        agreed=frozenset({"classifier"}),
    )
    with Store.open(home) as store:
        data_request.request_report(store, data_request.prepare(request, home))
        [job] = run_queue.jobs(store)
        debiasing = DebiasJob(Sources(Desk(store, job, "cpu", lambda state: None)))
        found = [debiasing.last_layers(), debiasing.all_weights()]
    measured = debiasing.splits["measured"]
    right = [measured.looked.right[measured.groups == group].mean() for group in range(4)]
    assert [list(one["outcomes"][0]["by_group"]) for one in found] == [right, right]
    # The weights that are kept are those of the first outcome of their method.
    chosen = [one["chosen_by"] for one in found[1]["outcomes"] if one["method"] == "GroupDRO"]
    assert chosen[0] == "worst class" and "pseudo-groups" in chosen


@pytest.mark.parametrize(
    ("weights", "message"),
    [("all", "passes no gradient"), ("last", "has no linear layer at its end")],
)
def test_a_black_box_is_refused_before_it_sees_a_picture(
    weights: str, message: str, home: Path, tmp_path: Path
) -> None:
    (tmp_path / "box.py").write_text(
        "import threading\n"
        "from torch import nn\n"
        "class Box(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.lock = threading.Lock()\n"
        "    def forward(self, x):\n"
        "        return x.detach().mean((2, 3))[:, :2]\n"
    )
    box = load_classifier(f"python:{tmp_path / 'box.py'}:Box", ClassifierOptions(input_size=64))
    request = DataRequest(
        Kind.DEBIAS,
        "lab:birds-biased",
        "lab:birds",
        DebiasSettings.from_values({"weights": weights, "fit_split": "test", "size": SIZE}),
        concepts="sea",
    )
    with Store.open(home) as store:
        data_request.request_report(store, data_request.prepare(request, home))
        [job] = run_queue.jobs(store)
        sources = Sources(Desk(store, job, "cpu", lambda state: None))
        sources.classifier = box
        with pytest.raises(InputError, match=message):
            DebiasJob(sources)
    assert not [*(home / "data_reports").glob("*/look*")]


def test_auroc_counts_ties_by_half() -> None:
    truth = np.array([True, False, True, False])
    assert auroc(np.array([3.0, 1.0, 2.0, 2.0]), truth) == 0.875
    assert auroc(np.zeros(4), truth) == 0.5
    assert auroc(np.zeros(4), np.ones(4, bool)) is None
    assert json.dumps(auroc(np.zeros(4), truth)) == "0.5"
