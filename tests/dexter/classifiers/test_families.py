"""Tiny random networks of the kinds that people explain, from every source they come from."""

import importlib.util
import json
import re
import shutil
from typing import Any

import pytest
import tiny
import torch
from torch import nn

from dexter.classifiers import ClassifierOptions, describe_classifier, load_classifier
from dexter.config import RunConfig
from dexter.errors import InputError
from dexter.generation.generator import load_generator
from dexter.generation.options import GeneratorOptions
from dexter.search.optimize import optimize
from dexter.search.prompt import load_masked_lm

CLASSES = 5


def usable(name):
    """Return True if an optional package can be imported here."""
    if importlib.util.find_spec(name) is None:
        return False
    try:
        importlib.import_module(name)
    except (ImportError, RuntimeError, OSError):
        return False
    return True


needs_torchvision = pytest.mark.skipif(
    not usable("torchvision"), reason="torchvision is not installed, or not for this torch"
)
needs_timm = pytest.mark.skipif(
    not usable("timm"), reason="timm is not installed, or not for this torch"
)


def images(count=2, side=64):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def assert_features_feed_the_head(classifier):
    """Compute logits again from the features, but for a bias that is one for all pictures."""
    output = classifier(images(3))
    classes = len(classifier.labels)
    weight = torch.stack([classifier.class_weight(index) for index in range(classes)])
    bias = output.logits - output.features @ weight.T
    scale = output.logits.std(0).max()
    assert scale > 0
    assert (bias - bias[:1]).abs().max() <= 1e-4 * max(1.0, float(output.logits.abs().max()))


# Configurations of transformers, each as small as the kind allows.
HF: dict[str, dict[str, Any]] = {
    "vit": {"image_size": 32, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 2,
            "num_attention_heads": 2, "intermediate_size": 32},
    "resnet": {"embedding_size": 8, "hidden_sizes": [16, 32], "depths": [1, 1]},
    "swin": {"image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1],
             "num_heads": [1, 2], "window_size": 4},
    "convnext": {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2},
    "bit": {"embedding_size": 8, "hidden_sizes": [16, 32], "depths": [1, 1], "num_groups": 4},
    "mobilenet_v2": {"image_size": 32, "depth_multiplier": 0.35},
}  # fmt: skip


@pytest.fixture(scope="module")
def hf_folder(tmp_path_factory):
    """Makes a folder with a tiny random model of a kind."""

    def make(kind):
        from transformers import AutoConfig, AutoModelForImageClassification

        folder = tmp_path_factory.mktemp("family") / kind
        with torch.random.fork_rng():
            torch.manual_seed(0)
            config = AutoConfig.for_model(kind, num_labels=CLASSES, **HF[kind])
            model = AutoModelForImageClassification.from_config(config)
            _spread(model)
        model.save_pretrained(folder)
        settings = {
            "size": {"height": 32, "width": 32},
            "image_mean": [0.5] * 3,
            "image_std": [0.5] * 3,
        }
        (folder / "preprocessor_config.json").write_text(json.dumps(settings))
        return folder

    return make


def _spread(model):
    """Larger weights, so that pictures differ in their logits."""
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter)


@pytest.mark.parametrize("kind", HF)
def test_hugging_face_families(hf_folder, kind):
    classifier = load_classifier(f"hf:{hf_folder(kind)}")
    assert_features_feed_the_head(classifier)
    pictures = images().requires_grad_()
    output = classifier(pictures)
    (output.logits[:, 0] + output.features[:, 1]).sum().backward()
    assert (pictures.grad.abs().amax((1, 2, 3)) > 0).all()


@pytest.mark.parametrize("kind", ["vit", "resnet", "swin"])
def test_a_family_goes_through_a_run(hf_folder, kind):
    config = RunConfig.from_preset(
        "quick",
        classifier=f"hf:{hf_folder(kind)}",
        class_name="2",
        template="a picture of a [MASK] with [MASK] and [MASK]",
        n_features=2,
        batch=2,
        steps=2,
        diffusion_steps=2,
    )
    run = optimize(
        config,
        classifier=load_classifier(config.classifier),
        generator=load_generator(
            str(tiny.generator_folder()),
            GeneratorOptions(scheduler="LCM", diffusion_steps=2, image_size=32),
        ),
        masked_lm=load_masked_lm(str(tiny.masked_lm_folder())),
    )
    assert [len(step.losses) for step in run] == [5, 5]
    assert len(run.result.words) == 3


NETWORKS = """
import torch
from torch import nn

class Dense(nn.Module):
    # Each layer reads all that came before it, as DenseNet's.
    def __init__(self, classes=5):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 5, 4)
        self.layers = nn.ModuleList(nn.Conv2d(8 + 4 * n, 4, 3, 1, 1) for n in range(3))
        self.classifier = nn.Linear(20, classes)
        # Not the head, though it is as wide and comes later.
        self.unused = nn.Linear(7, classes)

    def forward(self, x):
        x = self.first(x)
        for layer in self.layers:
            x = torch.cat([x, layer(x.relu())], 1)
        return self.classifier(x.relu().mean((2, 3)))

def make():
    torch.manual_seed(1)
    network = Dense()
    network.image_size = 32
    return network
"""


@pytest.fixture
def networks(tmp_path):
    file = tmp_path / "networks.py"
    file.write_text(NETWORKS)
    return f"python:{file}:make"


def test_a_dense_network_of_ones_own(networks):
    classifier = load_classifier(networks)
    assert classifier(images()).features.shape == (2, 20)
    assert_features_feed_the_head(classifier)


class TestCheckpoint:
    """Files as they come out of other people's training."""

    @pytest.fixture
    def network(self, networks):
        from dexter.classifiers.python import make_module

        network = make_module(networks.removeprefix("python:"))[0]
        torch.manual_seed(7)
        _spread(network)
        return network

    def logits(self, network, pictures, mean, std):
        network.eval()
        with torch.no_grad():
            return network((pictures - mean) / std)

    def test_robustness_form(self, networks, network, tmp_path):
        """Attacker and normalizer beside the model, everything below "module"."""
        state = network.state_dict()
        mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.4, 0.5, 0.6])
        wrapped = {
            "module.normalizer.new_mean": mean[:, None, None],
            "module.normalizer.new_std": std[:, None, None],
            **{f"module.model.{name}": value for name, value in state.items()},
            "module.attacker.normalize.new_mean": torch.zeros(3, 1, 1),
            **{f"module.attacker.model.{name}": value * 0 for name, value in state.items()},
        }
        file = tmp_path / "robust.pt"
        torch.save({"model": wrapped, "optimizer": {"lr": 0.1}, "epoch": 90}, file)
        found = load_classifier(f"checkpoint:{file}", ClassifierOptions(arch=networks, labels=None))
        pictures = images(side=32)
        expected = self.logits(network, pictures, mean[:, None, None], std[:, None, None])
        reference = load_classifier(
            f"checkpoint:{file}", ClassifierOptions(arch=networks, classifier_input="reference")
        )
        assert found.labels == [f"class {index}" for index in range(CLASSES)]
        # 32 px is what the network takes here; scaled to 36 and cropped, as networks usually are.
        assert (found.image_size, reference.image_size) == (32, 36)
        assert torch.allclose(
            expected,
            found._module((pictures - mean[:, None, None]) / std[:, None, None]),
            atol=1e-5,
        )
        assert found.preprocessing.mean == pytest.approx(mean.tolist())
        assert_features_feed_the_head(found)

    @pytest.mark.parametrize("prefix", ["", "module.", "model."])
    @pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
    def test_plain_and_parallel_weights(self, networks, network, tmp_path, prefix, suffix):
        from safetensors.torch import save_file

        state = {f"{prefix}{name}": value for name, value in network.state_dict().items()}
        file = tmp_path / f"weights{suffix}"
        (save_file if suffix == ".safetensors" else torch.save)(state, file)
        found = load_classifier(
            f"checkpoint:{file}", ClassifierOptions(arch=networks, normalization="half")
        )
        assert found.preprocessing.mean == (0.5, 0.5, 0.5)
        inputs = images(side=32)
        assert torch.equal(found._module(inputs), network.eval()(inputs))
        info = describe_classifier(f"checkpoint:{file}", ClassifierOptions(arch=networks))
        assert (info.labels, info.weights_hash) == (found.labels, found.weights_hash)

    def test_whole_pickled_networks_need_trust(self, networks, network, tmp_path):
        file = tmp_path / "whole.pt"
        torch.save(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4)), file)
        with pytest.raises(InputError, match="--trust-pickle"):
            load_classifier(f"checkpoint:{file}", ClassifierOptions(arch=networks))

    def test_refusals(self, networks, network, tmp_path):
        file = tmp_path / "weights.pt"
        torch.save(network.state_dict(), file)
        with pytest.raises(InputError, match="--arch"):
            load_classifier(f"checkpoint:{file}")
        with pytest.raises(InputError, match=r"cannot read .*gone\.pt"):
            load_classifier(f"checkpoint:{tmp_path / 'gone.pt'}", ClassifierOptions(arch=networks))
        for sizes in ([[1, 3, 32, 32]], [{"height": 32}, {"height": 32}], {float("inf"): "a"}):
            torch.save({**network.state_dict(), "input_size": sizes, "classes": sizes}, file)
            load_classifier(f"checkpoint:{file}", ClassifierOptions(arch=networks))
        torch.save({"other.weight": torch.zeros(3, 4)}, file)
        with pytest.raises(InputError, match=r"is not a python:.*: the file has \"other.weight\""):
            load_classifier(f"checkpoint:{file}", ClassifierOptions(arch=networks))

    @pytest.mark.parametrize("trust", [False, True])
    def test_damaged_files_are_refused_in_a_line(self, networks, network, tmp_path, trust):
        """By the format before PyTorch 1.6, which has no checksum."""
        file = tmp_path / "weights.pt"
        torch.save(network.state_dict(), file, _use_new_zipfile_serialization=False)
        whole = file.read_bytes()
        key, *_ = re.findall(rb"\d{10,}", whole)  # of a tensor, also in the list at the end
        before, _, after = whole.rpartition(key)
        file.write_bytes(before + b"0" * len(key) + after)
        options = ClassifierOptions(arch=networks, trust_pickle=trust)
        with pytest.raises(InputError, match=r"cannot read .*weights\.pt: cut off or damaged"):
            load_classifier(f"checkpoint:{file}", options)

    def test_a_file_that_needs_more_memory_is_not_called_damaged(self, networks, tmp_path):
        file = tmp_path / "weights.pt"
        file.write_bytes(b"\x80\x04\x8e" + (2**60).to_bytes(8, "little"))  # of that many bytes
        options = ClassifierOptions(arch=networks, trust_pickle=True)
        with pytest.raises(InputError, match=r"weights\.pt: it needs more memory than there is"):
            load_classifier(f"checkpoint:{file}", options)


TORCHVISION = ["resnet18", "alexnet", "densenet121", "vit_b_16", "swin_t"]


@needs_torchvision
@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_networks(name, tmp_path, monkeypatch):
    """With random weights where the trained ones would be downloaded to."""
    from torchvision import models

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weights = models.get_model_weights(name)["IMAGENET1K_V1"]
    torch.manual_seed(0)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    network = models.get_model(name)
    head = [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]
    nn.init.normal_(head.weight)  # which a new vision transformer has at zero
    torch.save(network.state_dict(), folder / weights.url.rpartition("/")[2])
    classifier = load_classifier(f"torchvision:{name}")
    assert classifier.spec == f"torchvision:{name}@IMAGENET1K_V1"
    assert classifier.labels[409] == "analog clock"
    assert_features_feed_the_head(classifier)
    side = 224 if name.startswith(("vit", "swin")) else 256
    assert (
        load_classifier(
            f"torchvision:{name}", ClassifierOptions(classifier_input="reference")
        ).image_size
        == side
    )
    shutil.rmtree(tmp_path / "hub")


@needs_torchvision
def test_torchvision_says_where_weights_belong(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    with pytest.raises(InputError, match=r"hub/checkpoints/resnet18-.*\.pth.* put https://"):
        load_classifier("torchvision:resnet18")
    with pytest.raises(InputError, match=r"nearest: .*resnet18"):
        load_classifier("torchvision:resnet19")


@needs_torchvision
def test_a_checkpoint_of_a_torchvision_network(tmp_path):
    from torchvision import models

    file = tmp_path / "waterbirds.pth"
    torch.save(models.resnet18(num_classes=2).state_dict(), file)
    classifier = load_classifier(
        f"checkpoint:{file}", ClassifierOptions(arch="resnet18", labels="waterbirds")
    )
    assert classifier.labels == ["landbird", "waterbird"]
    assert_features_feed_the_head(classifier)


@needs_timm
@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "densenet121"])
def test_timm_networks(name, tmp_path):
    import timm

    torch.manual_seed(0)
    timm.models.save_for_hf(timm.create_model(name, num_classes=1000), tmp_path / name)
    classifier = load_classifier(f"timm:{tmp_path / name}")
    assert classifier.labels[291].startswith("lion")
    assert classifier.image_size == 224
    assert_features_feed_the_head(classifier)


@needs_timm
def test_timm_networks_without_classes_are_refused(tmp_path):
    import timm

    timm.models.save_for_hf(timm.create_model("test_resnet", num_classes=0), tmp_path)
    with pytest.raises(InputError, match="returns features"):
        load_classifier(f"timm:{tmp_path}")


@needs_timm
def test_timm_crops_what_it_squashes(tmp_path):
    """As for dm_nfnet_f0."""
    import timm

    network = timm.create_model("test_resnet", num_classes=1000)
    network.pretrained_cfg.update(crop_mode="squash", crop_pct=0.8, interpolation="nearest")
    timm.models.save_for_hf(network, tmp_path)
    step = load_classifier(f"timm:{tmp_path}").preprocessing
    assert (step.resize, step.crop, step.squash) == (200, 160, True)
    assert step.mode == "nearest-exact"


@pytest.mark.parametrize("source", ["torchvision", "timm"])
def test_what_is_not_installed_is_named_with_the_remedy(source):
    if usable(source):
        pytest.skip(f"{source} is installed")
    with pytest.raises(InputError, match=rf"package {source}, .*pip install 'dexter-tui\[{source}"):
        load_classifier(f"{source}:resnet18")
