"""Missing files are reported before a run is queued: sizes, licence, token, disk."""

import json
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import tiny
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from dexter.config import RunConfig
from dexter.errors import InputError
from dexter.generation.generator import load_generator
from dexter.generation.options import GeneratorOptions
from dexter.generator_presets import GENERATORS
from dexter.planning.preflight import check_models
from dexter.search.prompt import check_prompt

SD14 = GENERATORS["sd14-lcm"].generator


def make_config(**overrides):
    return RunConfig.from_preset(
        "quick", **{"classifier": "lab:any", "class_name": "0", **overrides}
    )


@pytest.mark.parametrize("name", GENERATORS)
def test_a_name_stands_for_its_settings(name):
    config = make_config(generator=name)
    assert config.generator == GENERATORS[name].generator
    assert config.diffusion_steps == GENERATORS[name].diffusion_steps
    assert config.scheduler == GENERATORS[name].scheduler
    own = make_config(generator=name, diffusion_steps=2, image_size=256)
    assert (own.diffusion_steps, own.image_size) == (2, 256)
    assert RunConfig.model_validate(config.model_dump()) == config


def test_a_complete_folder_needs_nothing():
    for folder in (tiny.generator_folder(), tiny.xl_generator_folder()):
        assert check_models(make_config(generator=str(folder))) == []


def test_a_folder_names_all_that_it_lacks(tmp_path):
    folder = shutil.copytree(tiny.generator_folder(), tmp_path / "generator")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    (folder / "scheduler" / "scheduler_config.json").unlink()
    expected = r"lacks unet/diffusion_pytorch_model.safetensors, scheduler/scheduler_config.json"
    with pytest.raises(InputError, match=expected) as refused:
        check_models(make_config(generator=str(folder)))
    assert refused.value.field == "generator"
    assert refused.value.remedy == "put them there"


def without_vocabulary(folder):
    for name in ("tokenizer.json", "vocab.json"):  # which of them, depends on transformers
        (folder / "tokenizer" / name).unlink(missing_ok=True)


def spoiled(tmp_path, change, of=tiny.generator_folder):
    folder = shutil.copytree(of(), tmp_path / "folder")
    change(folder)
    return str(folder)


def index_with_checker(folder):
    file = folder / "model_index.json"
    index = json.loads(file.read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    file.write_text(json.dumps(index))


def to_variant(part):
    def change(folder):
        file = next((folder / part).glob("*.safetensors"))
        file.rename(file.with_name(f"{file.stem}.fp16.safetensors"))

    return change


LFS = b"version https://git-lfs.github.com/spec/v1\n"
UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (index_with_checker, r"lacks safety_checker/config.json, .*preprocessor_config.json"),
        (to_variant("vae"), "only a variant of the weights of vae .*fp16.*rename it"),
        (lambda f: (f / UNET).write_bytes(LFS), "is a git-lfs pointer"),
        (lambda f: (f / UNET).write_bytes((f / UNET).read_bytes()[:-9]), "is cut off"),
        (lambda f: (f / "model_index.json").write_bytes(LFS), "model_index.json that is a git-lfs"),
        (lambda f: (f / "model_index.json").unlink(), "has no model_index.json"),
        (without_vocabulary, "lacks tokenizer/vocab.json"),
    ],
)
def test_a_spoiled_pipeline_is_refused_before_queueing(tmp_path, change, said):
    with pytest.raises(InputError, match=said) as refused:
        check_models(make_config(generator=spoiled(tmp_path, change)))
    assert refused.value.field == "generator" and "\n" not in str(refused.value)


def test_without_its_checker_a_pipeline_needs_no_folders_of_it(tmp_path):
    folder = spoiled(tmp_path, index_with_checker)
    assert check_models(make_config(generator=folder, safety_checker=False)) == []
    load_generator(folder, GeneratorOptions(safety_checker=False, diffusion_steps=1))


def test_variants_of_all_networks_load(tmp_path):
    folder = spoiled(tmp_path, to_variant("unet"))
    assert check_models(make_config(generator=folder)) == []
    load_generator(folder, GeneratorOptions(diffusion_steps=1))


@pytest.mark.parametrize("name", ["sd15.safetensors", "sd15.ckpt"])
def test_one_file_is_no_pipeline(tmp_path, name):
    (tmp_path / name).write_bytes(bytes(99))
    for place in (tmp_path / name, tmp_path):
        with pytest.raises(InputError, match=r"a single file, not a diffusers folder; convert it"):
            check_models(make_config(generator=str(place)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: (f / "model.safetensors").unlink(), "lacks model.safetensors"),
        (lambda f: (f / "config.json").unlink(), "lacks config.json"),
        (lambda f: (f / "model.safetensors").write_bytes(LFS), "is a git-lfs pointer"),
    ],
)
def test_a_spoiled_masked_lm_is_refused_before_queueing(tmp_path, change, said):
    with pytest.raises(InputError, match=said) as refused:
        check_models(make_config(masked_lm=spoiled(tmp_path, change, of=tiny.masked_lm_folder)))
    assert refused.value.field == "masked_lm"


@pytest.mark.parametrize(
    ("field", "make", "said"),
    [
        ("lora", lambda f: (f / "l.bin").write_bytes(b"x"), "found: none"),
        ("lora", lambda f: (f / "l.safetensors").write_bytes(LFS), "is a git-lfs pointer"),
        ("decoder", lambda f: (f / "config.json").write_text("{}"), "lacks diffusion_pytorch_mod"),
    ],
)
def test_a_spoiled_lora_or_decoder_is_refused_before_queueing(tmp_path, field, make, said):
    make(tmp_path)
    with pytest.raises(InputError, match=said) as refused:
        check_models(make_config(**{field: str(tmp_path)}))
    assert refused.value.field == field


def test_a_masked_lm_without_its_head_is_refused_before_queueing(tmp_path):
    def without_head(folder):
        tensors = load_file(folder / "model.safetensors")
        kept = {name: t for name, t in tensors.items() if not name.startswith("cls.")}
        save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})

    config = make_config(
        generator=str(tiny.generator_folder()),
        masked_lm=spoiled(tmp_path, without_head, of=tiny.masked_lm_folder),
    )
    assert check_models(config) == []
    with pytest.raises(InputError, match="no weights for cls") as refused:
        check_prompt(config)
    assert refused.value.field == "masked_lm"


@pytest.mark.parametrize(
    ("settings", "field", "said"),
    [
        ({"words": "sea,zxqv"}, "words", "'zxqv': not a whole word of the masked LM"),
        ({"template": "a photo of a [MASK]"}, "template", "has no token for 'photo'"),
        ({"template": "a [MASK] " * 8, "suffix": "sea " * 80}, "template", "exceed the limit"),
        ({"words": "duck", "exclude_words": "ducks"}, "words", "no candidate word is left"),
    ],
)
def test_words_that_a_model_lacks_are_refused_before_queueing(settings, field, said):
    config = make_config(
        generator=str(tiny.generator_folder()), masked_lm=str(tiny.masked_lm_folder()), **settings
    )
    with pytest.raises(InputError, match=said) as refused:
        check_prompt(config)
    assert refused.value.field == field


def test_words_are_tried_on_models_in_the_cache_of_the_hub(tmp_path, monkeypatch):
    folder = tmp_path / "models--google-bert--bert-base-uncased"
    shutil.copytree(tiny.masked_lm_folder(), folder / "snapshots" / "abc")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    config = make_config(
        generator=str(tiny.generator_folder()),
        masked_lm="google-bert/bert-base-uncased",
        words="sea,zxqv",
    )
    with pytest.raises(InputError, match="'zxqv': not a whole word"):
        check_prompt(config)
    (folder / "snapshots" / "abc" / "model.safetensors").unlink()  # still to be downloaded
    check_prompt(config)


def test_offline_it_says_which_files_to_bring():
    with pytest.raises(InputError) as refused:
        check_models(make_config(generator="sd14-lcm"))
    assert (refused.value.field, refused.value.value) == ("generator", SD14)
    assert "\n" not in str(refused.value)
    remedy = refused.value.remedy
    assert remedy is not None
    assert f"hf download {SD14} --local-dir FOLDER" in remedy and "--generator FOLDER" in remedy
    assert "unet/diffusion_pytorch_model.safetensors (3.4 GB)" in remedy and "RAIL" in remedy


def test_what_is_neither_file_nor_hub_id_is_refused():
    with pytest.raises(InputError, match=r"masked_lm: \./nowhere does not exist"):
        check_models(make_config(masked_lm="./nowhere"))


class _Hub(BaseHTTPRequestHandler):
    """Answers as the hub does about three repositories."""

    files = (
        ("model_index.json", 500),
        ("README.md", 9000),
        ("unet/config.json", 700),
        ("unet/diffusion_pytorch_model.safetensors", 3 * 10**9),
        ("unet/diffusion_pytorch_model.bin", 3 * 10**9),
        ("unet/diffusion_pytorch_model.fp16.safetensors", 2 * 10**9),
        ("safety_checker/model.safetensors", 10**9),
        ("sd-v1-4.ckpt", 4 * 10**9),
    )

    def do_GET(self):
        name = self.path.removeprefix("/api/models/").partition("?")[0]
        if not name.startswith("some/"):
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()
            return
        factor = 10**6 if name == "some/huge" else 1
        body = json.dumps(
            {
                "id": name,
                "sha": "0" * 40,
                "gated": "auto" if name == "some/gated" else False,
                "cardData": {"license": "openrail"},
                "siblings": [{"rfilename": file, "size": s * factor} for file, s in self.files],
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ASK = """
import json, sys
from dexter.config import RunConfig
from dexter.errors import InputError
from dexter.planning.preflight import check_models
assert "torch" not in sys.modules
for name, checker, endpoint in (
    ("some/open", True, None), ("some/open", False, None), ("some/gated", True, None),
    ("some/huge", True, None), ("other/none", True, None),
    ("some/open", True, "http://127.0.0.1:1"),
):
    config = RunConfig.from_preset(
        "quick", classifier="lab:any", class_name="0", generator=name, safety_checker=checker
    )
    try:
        print(json.dumps([[d.line(), d.files] for d in check_models(config, endpoint=endpoint)]))
    except InputError as error:
        print(json.dumps(str(error)))
"""


def test_online_it_asks_the_hub(tmp_path):
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environment = {
            "PATH": "/usr/bin:/bin",
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "HF_HOME": str(tmp_path),
            "HOME": str(tmp_path),
        }
        answer = subprocess.run(
            [sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=True
        )
        server.shutdown()
    whole, unchecked, gated, huge, none, unreachable = map(json.loads, answer.stdout.splitlines())
    assert whole[0][0] == "generator: some/open will be downloaded, 4.0 GB (licence: openrail)"
    assert set(unchecked[0][1]) == {
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    }
    assert "gated" in gated and "HF_TOKEN" in gated
    assert "must be downloaded" in huge and "are free" in huge
    assert "no such repository" in none
    assert "the hub is out of reach" in unreachable
