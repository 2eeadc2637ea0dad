"""The command `inspect`: what is recognised, and answers, for every kind of input."""

import os
import py_compile
import shutil
import sys
from pathlib import Path

import model_files
import onnx_files
import pytest
import servers
import tiny

from dexter.planning.inspection import PICTURES
from dexter_tui.cli.lazy_group import COMMANDS

TINY = ("--generator", tiny.generator_folder())


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shelf")
    model_files.make_vit(folder / "vit")
    return folder


def test_shows_what_was_recognised_and_answers_to_pictures(cli, shelf):
    outcome = cli("inspect", shelf / "vit", *TINY)
    assert outcome.code == 0, outcome.err
    words = " ".join(outcome.out.split())
    assert "weights: 24 tensors, 3 classes, 32 px, mean 0.5, std 0.5, one class of" in words
    assert (
        "gradient yes" in words and "ms a picture, cpu" in words and "a picture of a bird" in words
    )


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("wrapper_plain", {"gradients": True}),
        ("bare_path", {"labels": ["class 0", "class 1", "class 2"]}),
        ("bare_folder", {"labels": model_files.LABELS, "image_size": 32}),
        ("bare_weights_of_a_folder", {"labels": model_files.LABELS}),
        ("safetensors_of_a_thousand", {"image_size": 32}),
        ("head_one_logit_named", {"labels": ["not smiling", "smiling"]}),
        ("head_forty_attributes", {"gradients": True}),
        ("head_no_gradient", {"gradients": False}),
    ],
)
def test_prints_json_about_each_kind(cli, shelf, name, facts):
    folder = shelf / name
    folder.mkdir()
    settings, _ = model_files.CASES[name](folder)
    options = []
    for field, value in settings.items():
        if field != "classifier":
            options += [f"--{field.replace('_', '-')}", value]
    outcome = cli("inspect", settings["classifier"], *options, *TINY, "--json")
    assert outcome.code == 0, outcome.err
    found = outcome.json
    assert {key: found[key] for key in facts} == facts
    assert found["recognised"].startswith("weights: ")
    assert len(found["answers"]) == PICTURES and found["seconds_per_picture"] > 0
    assert (found["bytes_per_picture"] > 0) is found["gradients"]
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["file_pointer_lfs.pth", "without_arch", "missing_file"])
def test_refuses_in_a_line(cli, shelf, name):
    folder = shelf / name
    folder.mkdir()
    settings, right = model_files.CASES[name](folder)
    outcome = cli("inspect", settings["classifier"], *TINY)
    assert (outcome.code, outcome.out) == (2, "")
    assert "Traceback" not in outcome.err and outcome.err.count("\n") == 1
    assert any(part in outcome.err for part in right)


@pytest.mark.parametrize("source", ["lab", "onnx", "http"])
def test_shows_the_lab_and_black_boxes(cli, tmp_path, source):
    """With the table above, the twelve kinds of input."""

    def reply(logits):
        return {"scores": dict(zip(("red", "green", "blue"), logits.tolist(), strict=True))}

    with servers.serving(onnx_files.scores(reply)) as log:
        flags = {
            "lab": ["lab:people"],
            "onnx": [
                f"onnx:{onnx_files.colour_network(tmp_path / 'net.onnx')}",
                *("--normalization", "none"),
            ],
            "http": [log.url],
        }[source]
        if source == "onnx":
            pytest.importorskip("onnxruntime")
        outcome = cli("inspect", *flags, *TINY, "--json")
    assert outcome.code == 0, outcome.err
    found = outcome.json
    assert found["gradients"] is (source == "lab") and len(found["answers"]) == PICTURES
    assert found["labels"][0] == {"lab": "blond", "onnx": "class 0", "http": "blue"}[source]


@pytest.mark.parametrize("cut", [False, True])
def test_a_damaged_package_is_named_in_a_line(cli, tmp_path, monkeypatch, cut):
    """As torchvision is that was built for another torch, which diffusers imports."""
    package = tmp_path / "torchvision.py"
    package.write_text("raise RuntimeError('no such operator')")
    compiled = Path(py_compile.compile(str(package), doraise=True) or "")
    if cut:  # as a full disk does
        os.truncate(compiled, compiled.stat().st_size - 20)
    (tmp_path / "diffusers.py").write_text(
        "try:\n    import torchvision\nexcept RuntimeError as error:\n"
        "    raise RuntimeError('look up to see its traceback') from error\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("torchvision", "diffusers", "dexter.generation.generator"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    outcome = cli("inspect", "lab:people", *TINY)
    assert (outcome.code, outcome.out) == (2, "")
    [line] = outcome.err.strip().splitlines()
    if cut:
        assert f"{compiled} is damaged (marshal data too short); remove it" in line
    else:
        text = "torchvision is installed, but cannot be imported: no such operator; reinstall"
        assert text in line


def test_the_lab_draws_things_of_the_labels_and_says_that_it_drew(cli, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("tool\nrabbit\nwaterbird\n")
    (tmp_path / "own.py").write_text(
        OWN.format(features="pictures.mean((2, 3))").replace("(3, 2)", "(3, 3)")
    )
    flags = [f"{tmp_path / 'own.py'}:make", "--labels", labels, "--generator", "lab"]
    outcome = cli("inspect", *flags, "--json")
    drawn = [one["prompt"].rsplit(None, 1)[-1] for one in outcome.json["answers"]]
    assert set(drawn) == {"rabbit", "duck", "swan", "goose", "flamingo", "penguin"}
    assert drawn.count("rabbit") == 8  # each label as often
    words = " ".join(cli("inspect", *flags).out.split())
    assert "pictures by the lab's 64-pixel toy generator, not like photographs" in words


OWN = """
import torch
from torch import nn
print("a line of the file")
class make(nn.Module):
    image_size = 32
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 2)
    def forward(self, pictures):
        return self.head({features})
"""


@pytest.mark.parametrize(
    ("features", "constant", "trial"),
    [
        ("pictures.mean((2, 3))", False, ""),
        ("0 * pictures.mean((2, 3))", True, "all alike"),
        ("(pictures / pictures.amax((1, 2, 3), True)).mean((2, 3))", False, "not finite"),
    ],
)
def test_json_says_what_the_trial_said(cli, tmp_path, features, constant, trial):
    file = tmp_path / "own.py"
    file.write_text(OWN.format(features=features))
    outcome = cli("inspect", f"{file}:make", *TINY, "--json")
    assert outcome.code == 0, outcome.err
    found = outcome.json  # alone on standard output
    assert found["constant"] is constant
    assert trial in found["trial"] and bool(trial) == bool(found["trial"])


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ("pictures.mean((2, 3)).reshape(1, 3)", "fails on 5 pictures at a time: RuntimeError"),
        ("torch.empty(1 << 50)", "free memory or pass another --device"),
    ],
)
def test_a_network_that_cannot_answer_is_refused_in_a_line(cli, tmp_path, features, said):
    file = tmp_path / "own.py"
    file.write_text(OWN.format(features=features))
    outcome = cli("inspect", f"{file}:make", *TINY)
    assert (outcome.code, outcome.out) == (2, "")
    [_, line] = outcome.err.splitlines()
    assert said in line


def test_needs_consent_to_a_records_code_but_not_to_what_is_typed(cli):
    assert "inspect" in COMMANDS
    outcome = cli("inspect", tiny.python_classifier(), *TINY, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["labels"] == list(tiny.LABELS)
