"""Files and folders as people have them are read right, or refused in one line before queueing."""

import model_files
import pytest
import torch

from dexter.classifiers import ClassifierOptions, load_classifier
from dexter.config import RunConfig
from dexter_tui.jobs import submit, trust
from dexter_tui.jobs.describe import answer


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
    assert (loaded.spec, loaded.labels, loaded.recognised) == (
        found["spec"], found["labels"], line,
    )  # fmt: skip
    for weight, tensor in right.get("state", {}).items():
        assert torch.equal(loaded._module.state_dict()[weight], tensor)


def test_there_are_enough_kinds():
    assert len(model_files.CASES) >= 60


def test_a_refusal_leaves_nothing_queued(cli, home, shelf):
    (shelf / "again").mkdir(exist_ok=True)
    settings, _ = model_files.CASES["folder_weights_nan"](shelf / "again")
    outcome = cli("run", "--classifier", settings["classifier"], "--class", "cat")
    assert outcome.code == 2 and "not finite" in outcome.err and outcome.err.count("\n") == 1
    assert not (home / "store.sqlite").exists()


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
