"""A run of a black box is queued as a search by scores alone, which is said and recorded."""

import onnx_files
import pytest
import tiny
from rich.console import Console

from dexter.config import RunConfig
from dexter_tui.jobs import describe, submit
from dexter_tui.presentation import run_tables
from store import Store

NUMPY = f"""
import numpy as np, torch
WEIGHT = np.array({onnx_files.WEIGHT.tolist()}, np.float32)
class Net(torch.nn.Module):
    labels = ["red", "green", "blue"]
    image_size = 32
    def forward(self, pictures):
        return torch.from_numpy(pictures.numpy().mean((2, 3)) @ WEIGHT)
def make():
    return Net()
"""


def test_it_is_queued_without_gradients_and_the_record_says_so(tmp_path, home):
    file = tmp_path / "mine.py"
    file.write_text(NUMPY)
    config = RunConfig.from_preset(
        "quick",
        classifier=f"python:{file}:make",
        class_name="red",
        generator=str(tiny.generator_folder()),
        masked_lm=str(tiny.masked_lm_folder()),
        device="cpu",
    )
    said: list[str] = []
    [checked] = submit.check([config], home, warn=said.append, agreed={"classifier"})
    refused = describe.answer(config.model_copy(update={"n_features": 5}), prompt=False)
    assert refused["field"] == "n_features" and "no last linear layer" in str(refused["problem"])
    refused = describe.answer(config.model_copy(update={"features": (0,)}), prompt=False)
    assert (refused["field"], refused["remedy"]) == ("features", "omit it")
    assert any("has no gradient: the search uses its scores alone" in line for line in said)
    with Store.open(home) as store:
        [name] = submit.add(store, [checked])
        run = store.run(name)
        assert run.config["straight_through"] == 0 and run.config["score_function"] == 1
        assert "no gradient" in run.study.settings["recognised"]
        shown = run_tables.run_view(store, run, pictures=False)
    console = Console(width=100)
    with console.capture() as captured:
        console.print(shown)
    assert "by the classifier's scores alone" in captured.get()


@pytest.mark.parametrize("classifier", ["lab:birds-biased", "tiny"])
def test_units_that_a_classifier_lacks_are_refused_before_it_is_queued(classifier):
    spec = f"hf:{tiny.classifier_folder()}" if classifier == "tiny" else classifier
    config = RunConfig.from_preset(
        "quick", classifier=spec, class_name="waterbird", features=(999,)
    )
    refused = describe.answer(config, prompt=False)
    assert refused["field"] == "features" and "no unit 999" in str(refused["problem"])
    assert "labels" in describe.answer(config.model_copy(update={"features": (1,)}), prompt=False)
