"""Classifiers from every source answer alike, and what cannot be used is refused in one line."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from dexter.classifiers import (
    ClassifierOptions,
    class_index,
    describe_classifier,
    list_classifiers,
    load_classifier,
)
from dexter.classifiers.base import Preprocessing
from dexter.errors import InputError
from dexter.planning.trial import try_classifier


def hf_spec():
    return f"hf:{tiny.classifier_folder()}"


def images(count=2, side=64, seed=0):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def folder(tmp_path):
    """A copy of the Hugging Face classifier, to spoil."""
    return shutil.copytree(tiny.classifier_folder(), tmp_path / "classifier")


def change_json(file, **values):
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def write_python(folder, text):
    """A file of Python and the spec of its factory ``make``."""
    file = folder / "mine.py"
    file.write_text("import torch\nfrom torch import nn\n" + text)
    return f"python:{file}:make"


GREY = """
class make(nn.Module):
    image_size = 32
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 3)
    def forward(self, pictures):
        return self.head(self.body(pictures).mean((2, 3)))
"""


def test_a_network_that_fails_on_a_picture_is_refused_in_a_line(tmp_path):
    arch = write_python(tmp_path, GREY)
    weights = {"body.weight": torch.ones(4, 1, 3, 3), "body.bias": torch.ones(4),
               "head.weight": torch.ones(3, 4), "head.bias": torch.ones(3)}  # fmt: skip
    torch.save(weights, tmp_path / "grey.pth")
    with pytest.raises(InputError, match=r"fails on one picture \(1, 3, 32, 32\): RuntimeError"):
        load_classifier(f"checkpoint:{tmp_path / 'grey.pth'}", ClassifierOptions(arch=arch))


class TestOutput:
    @pytest.mark.parametrize("spec", [hf_spec, tiny.python_classifier])
    def test_logits_features_and_head_belong_together(self, spec):
        classifier = load_classifier(spec())
        output = classifier(images())
        assert output.logits.shape == (2, 3) and output.logits.dtype == torch.float32
        assert output.features.shape[0] == 2
        # What the last linear layer makes of the features, but for its bias, is the logits.
        rows = [classifier.class_weight(index) for index in range(3)]
        weight = torch.stack([row for row in rows if row is not None])
        bias = output.logits - output.features @ weight.T
        assert torch.allclose(bias[0], bias[1], atol=1e-5)
        assert classifier.labels == list(tiny.LABELS)
        assert classifier.image_size == tiny.IMAGE_SIZE

    def test_differentiable_in_the_picture_alone(self):
        classifier = load_classifier(hf_spec())
        pictures = images().requires_grad_()
        output = classifier(pictures)
        (output.logits[:, 0].sum() + output.features[:, 1].sum()).backward()
        assert (pictures.grad.abs().amax((1, 2, 3)) > 0).all()
        assert all(parameter.grad is None for parameter in classifier._module.parameters())
        assert not any(parameter.requires_grad for parameter in classifier._module.parameters())

    def test_a_picture_is_judged_alone(self):
        # In evaluation mode: batch normalisation does not look at the neighbours.
        classifier = load_classifier(hf_spec())
        together = classifier(images(4)).logits
        assert torch.allclose(together[1:2], classifier(images(4)[1:2]).logits, atol=1e-5)

    @pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
    def test_half_precision_gives_float32_near_the_truth(self, dtype):
        half = load_classifier(hf_spec(), ClassifierOptions(dtype=dtype))(images())
        precise = load_classifier(hf_spec())(images())
        assert half.logits.dtype == half.features.dtype == torch.float32
        assert torch.allclose(half.logits, precise.logits, atol=0.05)

    def test_equals_transformers_own_model_and_processor(self):
        from transformers import AutoModelForImageClassification, ViTImageProcessor

        try:
            processor = ViTImageProcessor.from_pretrained(tiny.classifier_folder(), use_fast=False)
        except ImportError:
            pytest.skip("this transformers has no image processor without torchvision")
        model = AutoModelForImageClassification.from_pretrained(tiny.classifier_folder()).eval()
        pixels = (images()[0] * 255).round().byte().permute(1, 2, 0).numpy()
        inputs = processor(images=Image.fromarray(pixels), return_tensors="pt")
        with torch.no_grad():
            expected = model(**inputs).logits
        ours = load_classifier(hf_spec())(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255)
        assert torch.allclose(ours.logits, expected, atol=0.02)  # it rounds to bytes in between


class TestPreprocessing:
    @pytest.mark.parametrize(
        ("mode", "pil", "size"),
        [
            *[("bilinear", "BILINEAR", size) for size in (24, 100)],
            *[("bicubic", "BICUBIC", size) for size in (24, 100)],
            *[("nearest-exact", "NEAREST", size) for size in (16, 128)],
            *[
                (name, name.upper(), size)
                for name in ("box", "hamming", "lanczos")
                for size in (24, 100)
            ],
        ],
    )
    def test_resizes_as_pil_does(self, mode, pil, size):
        # Antialiased when shrinking: a plain interpolation would differ by far more.
        grey = torch.nn.functional.avg_pool2d(images(1, 128), 2)
        expected = np.stack(
            [
                np.asarray(
                    Image.fromarray(channel.numpy()).resize((size, size), Image.Resampling[pil])
                )
                for channel in grey[0]
            ]
        )
        ours = Preprocessing(resize=size, crop=size, mode=mode)(grey)[0].numpy()
        assert np.abs(ours - expected.clip(0, 1)).max() < 1e-4

    def test_leaves_pictures_of_the_right_size_alone(self):
        pictures = images(1, 32)
        assert torch.equal(Preprocessing(resize=32, crop=32)(pictures), pictures)

    def test_crops_the_centre_then_normalises(self):
        step = Preprocessing(resize=8, crop=4, mean=(0.5,) * 3, std=(0.25,) * 3)
        pictures = images(1, 8)
        assert torch.allclose(step(pictures), (pictures[..., 2:6, 2:6] - 0.5) / 0.25)

    @pytest.mark.parametrize("rest", range(9))
    def test_finds_the_centre_as_torchvision_does(self, rest):
        at = int(round(rest / 2.0))  # noqa: RUF046, in torchvision's words
        pictures = images(1, 8 + rest)
        made = Preprocessing(8 + rest, 8, rounds=True)(pictures)
        assert torch.equal(made, pictures[..., at : at + 8, at : at + 8])

    def test_puts_a_smaller_picture_on_black(self):
        pictures = images(1, 5)
        made = Preprocessing(resize=5, crop=8, mean=(0.5,) * 3)(pictures) + 0.5
        assert made.shape == (1, 3, 8, 8)
        assert torch.allclose(made[..., 2:7, 2:7], pictures)  # where transformers puts it
        assert torch.allclose(made.sum(), pictures.sum())
        made = Preprocessing(resize=5, crop=8, rounds=True)(pictures)
        assert torch.equal(made[..., 1:6, 1:6], pictures)  # where torchvision puts it

    @pytest.mark.parametrize(
        ("settings", "resize", "crop"),
        [
            ({"size": 40}, 40, 40),
            ({"size": {"shortest_edge": 40}}, 40, 40),
            ({"size": {"shortest_edge": 40}, "do_center_crop": True, "crop_size": 32}, 40, 32),
            (
                {"size": 40, "do_center_crop": True, "crop_size": {"height": 32, "width": 32}},
                40,
                32,
            ),
            (
                {"size": {"shortest_edge": 28}, "image_processor_type": "ConvNextImageProcessor"},
                32,
                28,
            ),
            # As published with microsoft/resnet-50: a number stands for the shortest edge.
            (
                {"size": 28, "crop_pct": 0.7, "image_processor_type": "ConvNextImageProcessor"},
                40,
                28,
            ),
            (
                {"size": 28, "do_resize": False, "image_processor_type": "ConvNextImageProcessor"},
                224,
                224,
            ),
            (
                {
                    "size": 28,
                    "do_center_crop": True,
                    "image_processor_type": "LevitImageProcessor",
                },
                32,
                28,
            ),
            (
                {"size": 28, "crop_pct": 0.7, "image_processor_type": "PoolFormerImageProcessor"},
                40,
                28,
            ),
            ({"size": 28, "image_processor_type": "PoolFormerImageProcessor"}, 31, 28),
            *[
                (
                    {
                        "size": 28,
                        "do_center_crop": False,
                        "image_processor_type": f"{name}Processor",
                    },
                    side,
                    side,
                )
                for name, side in (("LevitImage", 32), ("PoolFormerImage", 31))
            ],
            (
                {
                    "size": 28,
                    "do_center_crop": True,
                    "crop_size": 32,
                    "image_processor_type": "PerceiverImageProcessor",
                },
                32,
                28,
            ),
        ],
    )
    def test_follows_the_folders_settings(self, folder, settings, resize, crop):
        change_json(folder / "preprocessor_config.json", **settings)
        classifier = load_classifier(f"hf:{folder}")
        assert (classifier.preprocessing.resize, classifier.preprocessing.crop) == (resize, crop)
        assert classifier.image_size == describe_classifier(f"hf:{folder}").image_size == crop

    def test_gives_mobilevit_blue_first_and_as_it_is(self, folder):
        # As published with apple/mobilevit-small: what the file leaves out is the processor's own.
        settings = {"size": 40, "do_center_crop": True, "crop_size": 32, "do_flip_channels": True,
                    "feature_extractor_type": "MobileViTFeatureExtractor"}  # fmt: skip
        (folder / "preprocessor_config.json").write_text(json.dumps(settings))
        classifier, pictures = load_classifier(f"hf:{folder}"), images(1, 40)
        seen = classifier.preprocessing(pictures)
        assert torch.equal(seen, pictures[..., 4:36, 4:36].flip(1))
        line = "pictures from 0 to 1 in the order blue, green, red"
        assert line in classifier.recognised
        assert line in describe_classifier(f"hf:{folder}").recognised
        change_json(folder / "preprocessor_config.json", do_flip_channel_order=False)
        assert "blue" not in describe_classifier(f"hf:{folder}").recognised

    def test_scales_and_crops_for_a_network_of_timm_as_timm_does(self, folder):
        # As in timm/resnet50.a1_in1k, which transformers saves without an image processor.
        (folder / "preprocessor_config.json").unlink()
        cfg = {"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.25] * 3, "crop_pct": 0.9}
        kinds = ["moth", "wasp", "bee"]
        names = {"id2label": None, "label2id": None, "label_names": kinds}
        cfg |= {"interpolation": "lanczos", "crop_mode": "squash"}
        change_json(folder / "config.json", pretrained_cfg=cfg, **names)
        classifier = load_classifier(f"hf:{folder}")
        step = classifier.preprocessing
        assert (step.resize, step.crop, step.mode, step.squash) == (35, 32, "lanczos", True)
        seen, pictures = step(images(1, 35)), images(1, 35)
        assert torch.allclose(seen, (pictures[..., 2:34, 2:34] - 0.5) / 0.25)
        assert (step.mean, step.std) == ((0.5,) * 3, (0.25,) * 3)
        assert classifier.labels == describe_classifier(f"hf:{folder}").labels == kinds

    @pytest.mark.parametrize(
        ("resample", "mode"),
        [(4, "box"), (5, "hamming"), ("BICUBIC", "bicubic"), (None, "bilinear")],
    )
    def test_a_filter_goes_by_number_or_name(self, folder, resample, mode):
        change_json(folder / "preprocessor_config.json", resample=resample)
        assert load_classifier(f"hf:{folder}").preprocessing.mode == mode

    def test_an_unknown_filter_is_refused(self, folder):
        change_json(folder / "preprocessor_config.json", resample=7)
        with pytest.raises(InputError, match="resample is 7: must be a filter of PIL"):
            describe_classifier(f"hf:{folder}")

    def test_can_be_switched_off(self, folder):
        change_json(
            folder / "preprocessor_config.json", do_normalize=False, do_rescale=False, resample=3
        )
        step = load_classifier(f"hf:{folder}").preprocessing
        assert (step.scale, step.mean, step.std) == (255, (0,) * 3, (1,) * 3)
        assert step.mode == "bicubic"


def key(folder, **options):
    """Return the key of answers, which is the same before and after loading."""
    asked = ClassifierOptions(**options)
    known = describe_classifier(f"hf:{folder}", asked).answers_key
    assert load_classifier(f"hf:{folder}", asked).answers_key == known
    return known


class TestAnswersKey:
    def test_is_another_for_other_input_or_another_meaning(self, folder):
        keys = [key(folder)]
        for change in ({"image_mean": [0.4] * 3}, {"resample": 3}, {"do_rescale": False}):
            change_json(folder / "preprocessor_config.json", **change)
            keys.append(key(folder))
        keys += [key(folder, classifier_input="reference"), key(folder, multi_label=True)]
        assert len(set(keys)) == len(keys)

    def test_is_the_one_of_stored_answers_where_they_are_the_same(self):
        stored = (
            "Preprocessing(resize=256, crop=224, mode='bilinear', scale=1.0, mean=(0.0, 0.0, 0.0), "
            "std=(1.0, 1.0, 1.0), antialias=True, blue_first=False, squash=False, "
            "assumed=frozenset())"
        )
        assert Preprocessing(256, 224).key == Preprocessing(256, 224, rounds=True).key == stored
        assert Preprocessing(235, 224).key != Preprocessing(235, 224, rounds=True).key

    def test_is_the_same_for_the_same_answers(self, folder, tmp_path):
        (labels := tmp_path / "labels.txt").write_text("one\ntwo\nthree\n")
        stated = json.loads((folder / "preprocessor_config.json").read_text())
        values = {"mean": tuple(stated["image_mean"]), "std": tuple(stated["image_std"])}
        before = key(folder, labels=labels)
        change_json(folder / "preprocessor_config.json", image_mean=[0.1] * 3, image_std=[0.2] * 3)
        assert key(folder, **values) == before != key(folder)


class TestDescription:
    def test_needs_no_torch(self, tmp_path):
        shutil.copytree(tiny.classifier_folder(), tmp_path / "lab" / "classifiers" / "birds")
        script = (
            "import sys; from dexter.classifiers import *; "
            "from dexter.classifiers import describe_classifier, list_classifiers; "
            f"assert list_classifiers([{str(tmp_path)!r}])[0].labels[0] == 'waterbird'; "
            f"assert describe_classifier({hf_spec()!r}).weights_hash; "
            "sys.exit('torch' in sys.modules)"
        )
        assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0

    @pytest.mark.parametrize("spec", [hf_spec, tiny.python_classifier])
    def test_agrees_with_what_loading_finds(self, spec):
        info, classifier = describe_classifier(spec()), load_classifier(spec())
        assert info.spec == classifier.spec
        assert info.labels == classifier.labels
        assert info.image_size == classifier.image_size
        assert info.weights_hash == classifier.weights_hash

    def test_the_hash_depends_on_weights_and_not_on_their_place(self, folder):
        there = describe_classifier(f"hf:{folder}").weights_hash
        assert there == describe_classifier(hf_spec()).weights_hash
        weights = load_file(folder / "model.safetensors")
        weights["classifier.1.bias"][0] += 1
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        assert describe_classifier(f"hf:{folder}").weights_hash != there

    def test_the_hash_of_a_python_classifier_depends_on_its_source(self, tmp_path):
        text = (
            "def make():\n    torch.manual_seed(0)\n    return nn.Sequential(nn.Flatten(), "
            "nn.Linear(3 * 224 * 224, 2))\n"
        )
        first = describe_classifier(write_python(tmp_path, text)).weights_hash
        assert describe_classifier(write_python(tmp_path, text)).weights_hash == first
        assert describe_classifier(write_python(tmp_path, text + "# new")).weights_hash != first

    def test_paths_become_absolute(self, monkeypatch):
        monkeypatch.chdir(tiny.classifier_folder().parent)
        relative = describe_classifier(f"hf:{tiny.classifier_folder().name}")
        assert relative.spec == hf_spec()


class TestLab:
    @pytest.fixture
    def root(self, tmp_path):
        for name in ("birds-biased", "birds-balanced"):
            shutil.copytree(tiny.classifier_folder(), tmp_path / "lab" / "classifiers" / name)
        return tmp_path

    def test_classifiers_are_found_by_name(self, root):
        assert [info.spec for info in list_classifiers([root])] == [
            "lab:birds-balanced",
            "lab:birds-biased",
        ]
        classifier = load_classifier("lab:birds-biased", ClassifierOptions(root=root))
        assert classifier.spec == "lab:birds-biased"
        assert torch.equal(classifier(images()).logits, load_classifier(hf_spec())(images()).logits)

    def test_the_users_checkpoints_come_before_the_packaged(self, root, tmp_path, monkeypatch):
        home = tmp_path / "home"
        shutil.copytree(root / "lab", home / "checkpoints" / "lab")
        change_json(
            home / "checkpoints/lab/classifiers/birds-biased/config.json",
            id2label={0: "a", 1: "b", 2: "c"},
        )
        monkeypatch.setenv("DEXTER_HOME", str(home))
        assert describe_classifier("lab:birds-biased").labels == ["a", "b", "c"]
        assert "lab:birds-biased" in [info.spec for info in list_classifiers()]

    def test_nearest_names_are_offered(self, root):
        with pytest.raises(InputError, match="nearest: lab:birds-biased"):
            load_classifier("lab:bird-biased", ClassifierOptions(root=root))

    def test_paths_cannot_leave_the_lab(self, root):
        with pytest.raises(InputError, match="no classifier"):
            load_classifier("lab:../classifiers/birds-biased", ClassifierOptions(root=root))


class TestLabels:
    def test_a_file_names_the_classes(self, tmp_path):
        file = tmp_path / "labels.txt"
        file.write_text("one\n two \n\nthree\n")
        for spec in (hf_spec(), tiny.python_classifier()):
            assert load_classifier(spec, ClassifierOptions(labels=file)).labels == [
                "one",
                "two",
                "three",
            ]
        assert describe_classifier(hf_spec(), ClassifierOptions(labels=str(file))).labels == [
            "one",
            "two",
            "three",
        ]

    @pytest.mark.parametrize("content", [b"", b"one\ntwo\n", b"\xff\xfe", None])
    def test_files_that_do_not_fit_are_refused(self, tmp_path, content):
        file = tmp_path / "labels.txt"
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(InputError, match="labels"):
            load_classifier(hf_spec(), ClassifierOptions(labels=file))

    def test_classes_without_names_are_numbered(self, tmp_path):
        spec = write_python(
            tmp_path,
            "def make():\n"
            "    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))",
        )
        assert load_classifier(spec).labels == ["class 0", "class 1"]

    def test_an_empty_label_gets_a_number_and_shared_ones_a_note(self, folder):
        change_json(folder / "config.json", id2label={"0": "crane", "1": " ", "2": "crane"})
        classifier, info = load_classifier(f"hf:{folder}"), describe_classifier(f"hf:{folder}")
        assert classifier.labels == info.labels == ["crane", "class 1", "crane"]
        assert "3 classes ('crane' of several)" in info.recognised

    @pytest.mark.parametrize(
        ("name", "index"),
        [("waterbird", 0), (" LandBird ", 1), ("2", 2), ("tench", 3), ("Tinca tinca", 3), ("7", 4)],
    )
    def test_a_class_goes_by_name_synonym_or_index(self, name, index):
        labels = ["waterbird", "landbird", "other", "tench, Tinca tinca", "7"]
        assert class_index(labels, name) == index

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("waterbrid", "nearest: 'waterbird'"),
            ("6", "6 is out of range: must be 0 to 3"),
            ("-1", "out of range"),
            ("crane", r"fits several classes: 2 \(crane\), 3 \(Crane\); pass the index"),
        ],
    )
    def test_other_names_are_refused(self, name, message):
        with pytest.raises(InputError, match=message) as refused:
            class_index(["waterbird", "landbird", "crane", "Crane"], name)
        assert (refused.value.field, refused.value.value) == ("class_name", name)


class TestPython:
    @pytest.mark.filterwarnings("ignore")
    def test_may_be_quantised(self, tmp_path):
        spec = write_python(
            tmp_path,
            """
from pathlib import Path
def make():
    torch.manual_seed(int(Path(__file__).with_name("seed").read_text()))
    layers = nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(12, 3)).eval()
    layers.image_size = 32
    return torch.ao.quantization.quantize_dynamic(layers, {nn.Linear})
""",
        )
        hashes = []
        for seed in "0", "0", "1":
            (tmp_path / "seed").write_text(seed)
            classifier = load_classifier(spec)
            assert not try_classifier(classifier).gradients
            hashes.append(classifier.weights_hash)
        assert hashes[0] == hashes[1] != hashes[2]

    def test_may_bring_its_preprocessing_features_and_modules(self, tmp_path):
        (tmp_path / "beside.py").write_text("from torch import nn\nclass Body(nn.Conv2d): pass\n")
        spec = write_python(
            tmp_path,
            """
from beside import Body
class Output:
    def __init__(self, logits): self.logits = logits
class Net(nn.Module):
    image_size, mean, std, labels = 16, [0.5] * 3, (0.25,) * 3, ("no", "yes")
    feature_module = "body"
    def __init__(self):
        super().__init__()
        self.body = Body(3, 4, 1)
    def forward(self, images):
        assert images.shape[1:] == (3, 16, 16)
        self.seen = images
        return Output(self.body(images).mean((2, 3))[:, :2])
make = Net
""",
        )
        classifier = load_classifier(spec)
        output = classifier(images(2, 16))
        seen = classifier._module.seen
        assert isinstance(seen, torch.Tensor)
        assert torch.allclose(seen, (images(2, 16) - 0.5) / 0.25)
        assert output.features.shape == (2, 4)  # the body's maps, averaged
        assert torch.allclose(output.features[:, :2], output.logits)
        assert classifier.labels == ["no", "yes"]
        assert classifier.class_weight(0) is None

    @pytest.mark.parametrize("name", ["traced", "scripted", "exported"])
    def test_a_compiled_network_answers_as_its_source(self, tmp_path, name):
        """The files that checkpoint: refuses, loaded by the function that its error proposes."""
        net = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
        ).eval()
        example = torch.rand(2, 3, 32, 32)
        file = tmp_path / f"{name}.pt2"
        text = f"def make(): return torch.jit.load({str(file)!r})"
        if name == "traced":
            torch.jit.trace(net, example).save(file)
        elif name == "scripted":
            torch.jit.script(net).save(file)
        else:
            batch = torch.export.Dim("batch")
            torch.export.save(torch.export.export(net, (example,), dynamic_shapes=({0: batch},)),
                              file)  # fmt: skip
            text = f"def make(): return torch.export.load({str(file)!r}).module()"
        with pytest.raises(InputError, match=r"from a function and pass python:PATH.py:FUNCTION"):
            load_classifier(f"checkpoint:{file}")
        found = load_classifier(write_python(tmp_path, text), ClassifierOptions(input_size=32))
        with torch.no_grad():
            assert torch.allclose(found(images(3, 32)).logits, net(images(3, 32)), atol=1e-5)
        assert found.gradients and not any(weight.requires_grad for weight in found.weights())

    def test_without_a_linear_layer_there_are_no_features(self, tmp_path):
        spec = write_python(
            tmp_path,
            "def make():\n"
            "    return nn.Sequential(nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())",
        )
        classifier = load_classifier(spec)
        assert classifier(images()).features.shape == (2, 0)
        assert classifier.class_weight(0) is None
        assert classifier.image_size == 224

    def test_a_convolution_that_comes_last_answers_as_a_linear_layer_does(self, tmp_path):
        last = "nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 4, 1))"
        classifier = load_classifier(write_python(tmp_path, f"def make(): return {last}"))
        assert classifier(images()).logits.shape == (2, 4)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("def maker(): pass", "no function 'make'; .*nearest: maker"),
            ("make = 3", "no function 'make'"),
            ("import nothing_like_this", "raises ModuleNotFoundError"),
            ("def make(:", "raises SyntaxError"),
            ("def make(): raise OSError('no weights here')", "OSError: no weights here"),
            ("def make(one): pass", "raises TypeError"),
            ("def make(): raise SystemExit(0)", "raises SystemExit: 0"),
            ("exit()", "raises SystemExit"),
            ("def make(): return 3", "returns a int, not a torch.nn.Module"),
            ("def make(): return nn.Identity()", r"must be logits \(1, number of classes\)"),
            ("def make(): return nn.Sequential(nn.Flatten(), nn.Linear(3, 2))", "RuntimeError"),
            (
                "def make(): return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), "
                "nn.Linear(3, 1))",
                "one logit, and the class that a high logit stands for is not known",
            ),
            ("class make(nn.Module):\n    def forward(self, x): return 'cat'", "returns a str"),
            (
                "class make(nn.Module):\n    def forward(self, x): return {'out': x}",
                "returns a dict of 'out', not a tensor of logits or a dict with 'logits'",
            ),
            (
                "class make(nn.Module):\n    def forward(self, x): return x.mean((2, 3))[:, :0]",
                "has no outputs",
            ),
            ("class make(nn.Module):\n    image_size = 'big'", "image_size 'big'"),
            ("class make(nn.Module):\n    mean = 0.5", "mean 0.5: must be 3 numbers"),
            ("class make(nn.Module):\n    std = (1, 1)", "2 numbers in std: must be 3"),
            (
                "class make(nn.Module):\n    mean = (124, 116, 104)",
                "must be for values from 0 to 1",
            ),
            (
                "class make(nn.Module):\n    def forward(self, x):\n"
                "        return 100 * x.mean((2, 3)).softmax(1)",
                "returns percent: must be probabilities",
            ),
            ("class make(nn.Module):\n    labels = 'cat'", "labels 'cat': must be a list"),
            ("class make(nn.Module):\n    feature_module = 'body'", "no module 'body'"),
        ],
    )
    def test_what_cannot_be_used_is_refused_in_one_line(self, tmp_path, text, message):
        path = list(sys.path)
        with pytest.raises(InputError, match=message) as refused:
            load_classifier(write_python(tmp_path, text))
        assert "\n" not in str(refused.value)
        assert refused.value.field in ("classifier", "positive_class")
        assert sys.path == path

    def test_a_sigmoid_that_is_cut_off_stands_for_labels(self, tmp_path):
        (file := tmp_path / "net.py").write_text(
            "from torch import nn\nclass make(nn.Module):\n    def forward(self, x):\n"
            "        return (9 * x.mean((2, 3)) - 4).sigmoid().clamp(1e-6, 1 - 1e-6)\n"
        )
        classifier = load_classifier(f"python:{file}:make")
        assert "multi-label (probabilities)" in classifier.recognised
        expected = (9 * images().mean((2, 3)) - 4).sigmoid()
        assert torch.allclose(classifier(images()).probabilities(), expected, atol=1e-2)

    def test_a_stated_mean_of_bytes_is_refused(self):
        options = ClassifierOptions(mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4))
        with pytest.raises(InputError, match="from 0 to 255") as refused:
            load_classifier(hf_spec(), options)
        assert refused.value.field == "mean"

    def test_labels_must_be_as_many_as_logits(self, tmp_path):
        text = tiny.PYTHON_CLASSIFIER.replace('"other"', '"other", "more"')
        (tmp_path / "mine.py").write_text(text)
        with pytest.raises(InputError, match="3 classes, but 4 labels"):
            load_classifier(f"python:{tmp_path / 'mine.py'}:make")


class TestRefusals:
    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ("birds", "python:PATH.py:FACTORY, onnx:FILE or http://HOST/PATH"),
            ("keras:birds", "hf:FOLDER_OR_ID"),
            ("lab:", "lab:NAME"),
            ("hf:/no/such/folder", "does not exist"),
            ("gone.onnx", r"gone\.onnx does not exist"),
            ("hf:nobody/nothing", "cannot be downloaded from the Hugging Face hub"),
            ("python:/no/such/file.py:make", "no Python file"),
            ("python:file.py", "python:PATH.py:FACTORY"),
        ],
    )
    def test_of_unknown_classifiers_are_one_line(self, spec, message):
        for ask in (load_classifier, describe_classifier):
            with pytest.raises(InputError, match=message) as refused:
                ask(spec)
            assert "\n" not in str(refused.value)
            assert refused.value.field == "classifier"

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("config.json", None, "has no config.json"),
            ("config.json", b"{", "cannot read"),
            ("config.json", b"[]", "not a JSON object"),
            ("config.json", b"{}", "id2label"),
            ("preprocessor_config.json", None, "has no preprocessor_config.json"),
            ("preprocessor_config.json", b'{"size": "big"}', "not the size of a square"),
            ("preprocessor_config.json", b'{"size": {"height": 3, "width": 4}}', "square"),
            ("preprocessor_config.json", b'{"size": 32}', "image_mean is None: must be 3"),
            ("preprocessor_config.json", b'{"size": [[32], [32]]}', "in another form: unhashable"),
            ("preprocessor_config.json", b'{"size": 32, "rescale_factor": null}', "another form"),
            ("config.json", b'{"id2label": {"--1": "a"}}', "has the key '--1', not an index"),
            ("model.safetensors", None, "has no weights: model.safetensors is missing"),
            ("model.safetensors", b"", "model.safetensors is empty"),
            ("model.safetensors", b"garbage" * 9, "of no known kind"),
        ],
    )
    def test_of_folders_that_lack_a_part(self, folder, name, content, message, capfd):
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)
        capfd.readouterr()
        with pytest.raises(InputError, match=message) as refused:
            load_classifier(f"hf:{folder}")
        assert "\n" not in str(refused.value)
        assert capfd.readouterr() == ("", "")

    def test_of_weights_that_are_cut_off(self, folder):
        file = folder / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-100])
        with pytest.raises(InputError, match=r"model\.safetensors is cut off"):
            load_classifier(f"hf:{folder}")

    @pytest.mark.parametrize(
        ("spoil", "said"),
        [
            (lambda weight: None, r"no trained weights for classifier\.1\.weight"),
            (lambda weight: weight[:2].clone(), r"2x\d+ in the weights, 3x.* correct id2label"),
            (lambda weight: weight[:, :3].clone(), "3x3 in the weights, .* correct config.json"),
        ],
    )
    def test_of_a_head_that_is_missing_or_of_another_shape(self, folder, spoil, said, capfd):
        weights = load_file(folder / "model.safetensors")
        weights["classifier.1.weight"] = spoil(weights["classifier.1.weight"])
        kept = {name: weight for name, weight in weights.items() if weight is not None}
        save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
        capfd.readouterr()
        with pytest.raises(InputError, match=said):
            load_classifier(f"hf:{folder}")
        assert capfd.readouterr() == ("", "")

    def test_of_a_model_that_is_no_image_classifier(self, folder):
        shutil.copy(tiny.masked_lm_folder() / "config.json", folder)
        change_json(folder / "config.json", id2label={0: "a", 1: "b", 2: "c"})
        with pytest.raises(InputError, match="holds a BertForMaskedLM, not an image classifier"):
            load_classifier(f"hf:{folder}")


class Trap:
    """Unpickled, it would print: a pickle can run code."""

    def __reduce__(self):
        return print, ("the pickle ran code",)


class TestPickles:
    @pytest.fixture
    def pickled(self, folder):
        weights = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        torch.save(weights, folder / "pytorch_model.bin")
        return folder

    def test_of_plain_weights_are_safe_to_read(self, pickled):
        classifier = load_classifier(f"hf:{pickled}")
        assert torch.equal(classifier(images()).logits, load_classifier(hf_spec())(images()).logits)
        assert describe_classifier(f"hf:{pickled}").weights_hash is None
        assert classifier.weights_hash == load_classifier(f"hf:{pickled}").weights_hash

    def test_of_more_need_trust(self, pickled, capfd):
        weights = torch.load(pickled / "pytorch_model.bin", weights_only=True)
        torch.save({**weights, "note": Trap()}, pickled / "pytorch_model.bin")
        with pytest.raises(InputError, match="--trust-pickle") as refused:
            load_classifier(f"hf:{pickled}")
        assert "\n" not in str(refused.value)
        assert "the pickle ran code" not in capfd.readouterr().out

    def test_are_read_whole_with_trust(self, pickled):
        from collections import OrderedDict
        from types import SimpleNamespace

        weights = torch.load(pickled / "pytorch_model.bin", weights_only=True)
        weights = OrderedDict(weights)
        vars(weights)["note"] = SimpleNamespace(by="hand")  # what a restricted unpickler refuses
        torch.save(weights, pickled / "pytorch_model.bin")
        with pytest.raises(InputError, match="--trust-pickle"):
            load_classifier(f"hf:{pickled}")
        trusted = load_classifier(f"hf:{pickled}", ClassifierOptions(trust_pickle=True))
        assert torch.equal(trusted(images()).logits, load_classifier(hf_spec())(images()).logits)

    @pytest.mark.parametrize("trust", [False, True])
    def test_of_garbage_are_refused(self, pickled, trust):
        (pickled / "pytorch_model.bin").write_bytes(b"garbage" * 99)
        with pytest.raises(InputError) as refused:
            load_classifier(f"hf:{pickled}", ClassifierOptions(trust_pickle=trust))
        assert "\n" not in str(refused.value)
