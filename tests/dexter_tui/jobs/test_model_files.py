"""Files and folders as people have them are read right, or refused in one line before queueing."""

import os

import model_files
import pytest
import short_run
import torch

from dexter.classifiers import ClassifierOptions, check_files, load_classifier
from dexter.config import RunConfig
from dexter.errors import InputError
from dexter_tui.jobs import submit, trust
from dexter_tui.jobs.describe import answer

LOADED = 1000 if os.environ.get("DEXTER_TRIALS") else 2
"""Refused models that the test of the command line loads."""


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A folder with a vision transformer, beside which the cases are written."""
    folder = tmp_path_factory.mktemp("shelf")
    model_files.make_vit(folder / "vit")
    return folder


def asked(settings):
    """The configuration, and the answer of the process that tries its models before queueing."""
    config = RunConfig.from_preset("quick", class_name="0", **settings)
    try:
        config = submit.with_full_paths(config)
    except ValueError as error:
        return config, {"problem": str(error), "field": "classifier", "remedy": ""}
    trust.require([config], trust.agreed_by(settings))
    return config, answer(config, False)


@pytest.mark.parametrize("name", model_files.CASES)
def test_is_read_right_or_refused_in_a_line(shelf, name, capfd):
    folder = shelf / name
    folder.mkdir()
    settings, right = model_files.CASES[name](folder)
    config, found = asked(settings)
    if isinstance(right, list):
        assert "problem" in found, found
        line = f"{found['field']}: {found['problem']}; {found['remedy']}"
        assert all(part in line for part in right), line
        assert "\n" not in line and "BytesIO" not in line
        if "--trust-pickle" not in right:
            assert "trust-pickle" not in line
        assert "the pickle ran code" not in capfd.readouterr().out
        return
    assert "problem" not in found, found
    line = found["recognised"]
    assert all(part in line for part in right["said"]), line
    assert found["labels"] == right.get("labels", found["labels"])
    assert found["gradients"] is right.get("gradients", True)
    if "label" in right:
        index, start = right["label"]
        assert found["labels"][index].startswith(start)
    # The worker reads it as it was described.
    loaded = load_classifier(config.classifier, config.options(ClassifierOptions, device="cpu"))
    assert (loaded.spec, loaded.labels, loaded.recognised, loaded.weights_hash) == (
        found["spec"], found["labels"], line, found["weights_hash"],
    )  # fmt: skip
    for weight, tensor in right.get("state", {}).items():
        assert torch.equal(loaded._module.state_dict()[weight], tensor)


def test_there_are_enough_kinds():
    assert len(model_files.CASES) >= 60


def shows_in_files(settings):
    """Return True if a process of its own need not load the model to refuse it."""
    try:
        check_files(settings["classifier"])
    except InputError:
        return True
    return False


def test_every_refusal_comes_before_anything_is_queued(cli, home, shelf):
    """By the command line. `make trials` takes all models that must be loaded, not two of them."""
    refused = loaded = 0
    for name, case in model_files.CASES.items():
        folder = shelf / f"{name}-again"
        folder.mkdir()
        settings, right = case(folder)
        if not isinstance(right, list):
            continue
        if not shows_in_files(settings):
            loaded += 1
            if loaded > LOADED:
                continue
        flags = short_run.flags({**settings, "class": 0, "generator": "lab", "device": "cpu"})
        outcome = cli("run", *flags)
        assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1), (name, outcome)
        # Of an option, the line names the flag.
        flag = outcome.err.replace("-", "_")
        assert all(part in outcome.err or part in flag for part in right), (name, outcome)
        assert not (home / "store.sqlite").exists(), name
        refused += 1
    assert refused >= 44 + min(loaded, LOADED)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--words", "sea,zxqv"], "'zxqv': not a whole word"),
        (["--template", "a photo of zxqv [MASK]"], "no token for 'zxqv'"),
    ],
)
def test_words_that_the_lab_lacks_are_refused_before_queueing(cli, home, options, said):
    outcome = cli("run", "--classifier", "lab:birds-biased", "--class", "waterbird", *options)
    assert outcome.code == 2 and said in outcome.err
    assert not (home / "store.sqlite").exists()


@pytest.mark.parametrize(("case", "allowed"), [("head_constant", True), ("head_nan", False)])
def test_a_constant_classifier_can_be_screened_but_no_numbers_that_are_not_finite(
    case: str, allowed: bool, tmp_path
):
    settings, _ = model_files.CASES[case](tmp_path)
    config = submit.with_full_paths(RunConfig.from_preset("quick", class_name="0", **settings))
    trust.require([config], trust.agreed_by(settings))
    found = answer(config, False, constant=True)
    assert found.get("constant", False) is allowed
    assert ("problem" in found) is not allowed
