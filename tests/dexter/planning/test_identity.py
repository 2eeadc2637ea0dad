"""A study is of certain weights, not of the name of a folder."""

import json
import shutil

import tiny

from dexter.classifiers import ClassifierInfo
from dexter.config import RunConfig
from dexter.planning.identity import identities, identity
from dexter_tui.jobs import submit
from store import Store


def make_config(folder, seed=0):
    return RunConfig.from_preset(
        "quick", classifier="lab:any", class_name="0", seed=seed, generator=str(folder)
    )


def copy_generator(tmp_path):
    return shutil.copytree(tiny.generator_folder(), tmp_path / "generator")


def change_a_weight(folder):
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def test_changed_weights_are_another_study(tmp_path):
    folder = copy_generator(tmp_path)
    info = ClassifierInfo("lab:any", ["a", "b"], 32, "0" * 64)

    def add(store, config):
        return submit.add(store, [submit.Checked(config, info, 0)])

    with Store.open(tmp_path / "home") as store:
        [first] = add(store, make_config(folder))
        [again] = add(store, make_config(folder, seed=1))
        change_a_weight(folder)
        [other] = add(store, make_config(folder, seed=2))
        studies = [store.run(run).study_id for run in (first, again, other)]
        assert studies[0] == studies[1] != studies[2]
        settings = store.study(studies[2]).settings
    assert settings["weights"]["generator"].startswith("sha256:")


def test_what_decides_nothing_does_not_count(tmp_path):
    folder = copy_generator(tmp_path)
    before = identity(str(folder), "generator")
    (folder / "README.md").write_text("a model")
    assert identity(str(folder), "generator") == before
    scheduler = folder / "scheduler" / "scheduler_config.json"
    scheduler.write_text(json.dumps({**json.loads(scheduler.read_text()), "beta_end": 0.02}))
    assert identity(str(folder), "generator") != before


def test_hashes_are_remembered_until_a_file_changes(tmp_path):
    folder = copy_generator(tmp_path)
    cache = tmp_path / "cache" / "hashes.json"
    first = identities(make_config(folder), cache=cache)
    remembered = json.loads(cache.read_text())
    unet = str((folder / "unet" / "diffusion_pytorch_model.safetensors").resolve())
    remembered[unet][2] = "remembered"
    cache.write_text(json.dumps(remembered))
    assert identities(make_config(folder), cache=cache) != first
    change_a_weight(folder)
    assert identities(make_config(folder), cache=cache) != first
    assert json.loads(cache.read_text())[unet][2] != "remembered"


def test_a_hub_id_that_was_never_downloaded_is_not_known():
    assert identity("nobody/has-this-model", "generator") is None
