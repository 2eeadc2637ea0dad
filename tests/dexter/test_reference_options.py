"""Everything that worked with the public DEXTER code works here: its flags, and its README's
Python."""

import json
import os
from pathlib import Path

import pytest
import tiny
import torch
from PIL import Image

from dexter.config import PRESETS
from dexter.errors import InputError
from dexter.generation.options import GeneratorOptions
from dexter_tui.cli.entry import normalised
from dexter_tui.exchange.reference_arguments import translated


def options(arguments):
    """Flags and values of a translated command line."""
    assert arguments[0] == "run"
    found, waiting = {}, arguments[1:]
    while waiting:
        flag = waiting.pop(0)
        found[flag] = waiting.pop(0) if waiting and not waiting[0].startswith("--") else True
    return found


def test_the_readmes_command(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    line = (
        "run --class_to_activate 291 --classifier robust50 --optim_steps 1000 --vlm_id gpt-4o "
        "--llm_id gpt-4o --api_key secret --base_url https://example.org/v1"
    )
    found = options(translated(line.split(), print))
    expected = {
        "--preset": "reference",
        "--class": "291",
        "--steps": "1000",
        "--template": "multi",
        "--generator": "sd14-lcm",
        "--masked-lm": "google-bert/bert-base-uncased",
        "--classifier": f"checkpoint:{Path('checkpoints/robust_resnet50.pth')}",
        "--arch": "resnet50",
        "--normalization": "imagenet",
        "--vlm": "gpt-4o",
        "--llm": "gpt-4o",
        "--base-url": "https://example.org/v1",
        "--report": True,
    }
    assert found == expected
    assert os.environ.pop("OPENAI_API_KEY") == "secret"


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("--mask_type single_mask", {"--template": "single", "--n-features": "0"}),
        ("--diff-steps=2 --lr 0.05 --bs 2", {"--diffusion-steps": "2", "--learning-rate": "0.05"}),
        ("--n_soft_prompt 3 --tau 2", {"--soft-tokens": "3", "--temperature": "2"}),
        ("--class-to-activate 1 --classifier vgg", {"--classifier": "torchvision:vgg16"}),
        ("--optim_steps 5 --generator lab", {"--generator": "lab"}),
        ("--optim_steps 5 --preset paper --class 7", {"--preset": "paper", "--class": "7"}),
        ("--mask_type multi_mask --classifier waterbirds_resnet50", {"--labels": "waterbirds"}),
    ],
)
def test_single_options(theirs, ours):
    found = options(translated(["run", *theirs.split()], print))
    assert ours.items() <= found.items()


def test_our_own_command_line_is_left_alone():
    line = ["run", "--classifier", "lab:any", "--class", "a_b", "--soft_tokens", "2"]
    assert normalised(line) == [*line[:5], "--soft-tokens", "2"]
    assert normalised(["show", "--class_to_activate"]) == ["show", "--class-to-activate"]


def test_idle_options_are_reported_and_strange_ones_refused():
    lines: list[str] = []
    translated(
        ["run", "--class_to_activate", "1", "--nn_loss", "--stop_after", "9", "--outdir", "o"],
        lines.append,
    )
    assert any("nn_loss, stop_after" in line for line in lines)
    assert any("export" in line for line in lines)
    for line in ("--mask_type both", "--topk 3", "--optim_steps"):
        with pytest.raises(InputError):
            translated(["run", *line.split()], print)


def tiny_models(**overrides):
    return {
        "generator": str(tiny.generator_folder()),
        "lora": str(tiny.lora_file()),
        "scheduler": "LCM",
        "diffusion_steps": 2,
        "image_size": 32,
        "masked_lm": str(tiny.masked_lm_folder()),
        "frames": 2,
        "frame_tries": 4,
        **overrides,
    }


def test_the_readmes_python(tmp_path):
    from dexter import DEXTER, RunConfig, build_classifier_and_transforms

    spec = f"hf:{tiny.classifier_folder()}"
    cfg = RunConfig(  # type: ignore[call-arg]  # the reference's names
        class_to_activate=1, classifier=spec, optim_steps=3, **tiny_models()
    )
    assert cfg.steps == 3 and cfg.preset == "reference" and cfg.class_name == "1"
    assert cfg.pseudo_target == PRESETS["reference"]["pseudo_target"]
    clf, tfms = build_classifier_and_transforms(cfg.classifier, device="cpu", use_tfms=True)
    dexter = DEXTER(cfg, device="cpu", outdir=tmp_path)
    run_dir = Path(dexter.analyze_classifier(clf, tfms))
    assert run_dir.parent == tmp_path and run_dir.name.startswith("1_")
    assert len(json.loads((run_dir / "words.json").read_text())["words"]) == 6
    assert json.loads((run_dir / "args.json").read_text())["steps"] == 3
    assert (run_dir / "pred_words.txt").exists()
    for file in (run_dir / "frames").iterdir():
        assert Image.open(file).size == (32, 32)


def test_the_readmes_activation_score():
    from dexter.classifiers import build_classifier_and_transforms
    from dexter.generation.generator import load_generator
    from dexter.metrics.activation_score import activation_score

    clf, tfms = build_classifier_and_transforms(f"hf:{tiny.classifier_folder()}", device="cpu")
    pipe = load_generator(
        str(tiny.generator_folder()), GeneratorOptions(scheduler="LCM", diffusion_steps=1)
    )
    arguments = {"n_images": 3, "batch_size": 2, "transforms": tfms, "device": "cpu", "pipe": pipe}
    scores = [
        activation_score(
            classifier=clf, prompt="a picture of a cat", class_to_activate=index, **arguments
        )
        for index in range(3)
    ]
    assert sum(score for score, _, _ in scores) == pytest.approx(1)
    assert scores[0][1].size == (64, 64)
    with torch.no_grad():
        images = pipe.sample(pipe.encode_text(["a picture of a cat"] * 3), [0, 1, 2])
        features = clf(images).features
    best = clf.class_weight(0).topk(5).indices
    assert scores[0][2] == pytest.approx(float(features[:, best].mean()), abs=1e-4)
