"""Networks that a checkpoint's names and shapes stand for, with a small stand-in of torchvision."""

import sys

import model_files
import pytest
import torch
from safetensors.torch import save_file

from dexter.classifiers import ClassifierOptions, load_classifier
from dexter.errors import InputError

TORCHVISION = """
from types import SimpleNamespace
import torch
from torch import nn
class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
    def forward(self, x):
        return x + self.conv1(x).relu()
class ResNet(nn.Module):
    def __init__(self, depth, num_classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 5, 4)
        self.layer1 = nn.Sequential(*(Block(8) for _ in range(depth)))
        self.fc = nn.Linear(8, num_classes)
    def forward(self, x):
        return self.fc(self.layer1(self.conv1(x)).mean((2, 3)))
class Versioned(ResNet):
    _version = 2
    def _load_from_state_dict(self, state, prefix, metadata, *rest):
        if metadata.get("version") != 2:
            raise ValueError("version should be set to 2")
        super()._load_from_state_dict(state, prefix, metadata, *rest)
DEPTHS = {"resnet18": 1, "resnet34": 2, "resnext18": 3, "wide_resnet18": 3}
def list_models(module=None):
    return [*DEPTHS, "regnet", "mnasnet"]
def get_model(name, weights=None, num_classes=1000):
    if name == "mnasnet":
        return Versioned(1, num_classes)
    if name == "regnet":  # which computes its sizes from tensors
        return ResNet(torch.tensor([4]).tolist()[0], num_classes)
    return ResNet(DEPTHS[name], num_classes)
class Weights:
    name = "IMAGENET1K_V1"
    def transforms(self):
        return SimpleNamespace(resize_size=[342], crop_size=[299], mean=[0.5] * 3, std=[0.5] * 3,
                               interpolation=SimpleNamespace(value="bilinear"))
def get_model_weights(name):
    return [Weights()]
"""


@pytest.fixture
def networks(tmp_path, monkeypatch):
    """The stand-in, as the package torchvision."""
    folder = tmp_path / "packages" / "torchvision"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("from torchvision import models\n")
    (folder / "models.py").write_text(TORCHVISION)
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(folder.parent)
    import torchvision

    yield torchvision.models
    for name in ("torchvision", "torchvision.models"):
        sys.modules.pop(name, None)


def state(networks, name="resnet34", classes=3):
    torch.manual_seed(0)
    return networks.get_model(name, num_classes=classes).state_dict()


def test_the_head_counts_the_classes_of_sorted_names(networks, tmp_path):
    save_file(state(networks), tmp_path / "w.safetensors")
    found = load_classifier(
        f"checkpoint:{tmp_path / 'w.safetensors'}", ClassifierOptions(arch="resnet34")
    )
    assert len(found.labels) == 3
    assert "3 classes, 299 px (assumed), mean 0.5, std 0.5 (assumed)" in found.recognised


@pytest.mark.parametrize("name", ["regnet", "mnasnet"])
def test_networks_with_ways_of_their_own(networks, tmp_path, name):
    spec = model_files.saved(tmp_path, state(networks, name))
    found = load_classifier(spec, ClassifierOptions(arch=name))
    assert "3 classes, 299 px" in found.recognised


def test_another_number_of_classes_is_no_mismatch(networks, tmp_path):
    own = state(networks)
    del own["layer1.1.conv1.bias"]
    spec = model_files.saved(tmp_path, own)
    with pytest.raises(InputError, match=r'no "layer1\.1\.conv1\.bias"; .* python:PATH'):
        load_classifier(spec, ClassifierOptions(arch="resnet34"))


def test_the_only_network_that_fits_is_used_and_named(networks, tmp_path):
    content = {"state_dict": model_files.under("module.", state(networks))}
    spec = model_files.saved(tmp_path, content)
    found = load_classifier(spec)
    assert "network torchvision:resnet34, by names and shapes" in found.recognised
    assert 'prefix "module." removed' in found.recognised


def test_a_network_that_the_file_states_is_used(networks, tmp_path):
    content = {"arch": "resnext18", "state_dict": state(networks, "resnext18")}
    found = load_classifier(model_files.saved(tmp_path, content))
    assert "network resnext18, as the file states" in found.recognised


def test_several_that_fit_are_named(networks, tmp_path):
    spec = model_files.saved(tmp_path, state(networks, "resnext18"))
    with pytest.raises(InputError, match="torchvision:resnext18, torchvision:wide_resnet18") as no:
        load_classifier(spec)
    assert no.value.field == "arch" and "--arch torchvision:resnext18" in str(no.value.remedy)


@pytest.mark.parametrize("layer", ["fc.1", "fc.0"])
def test_a_head_in_a_sequential_is_read(networks, tmp_path, layer):
    own = {name.replace("fc.", f"{layer}."): t for name, t in state(networks).items()}
    found = load_classifier(model_files.saved(tmp_path, own), ClassifierOptions(arch="resnet34"))
    assert len(found.labels) == 3 and "a head of one layer in a Sequential" in found.recognised
    assert torch.equal(found._module.state_dict()["fc.weight"], own[f"{layer}.weight"])


def test_a_head_of_two_layers_is_refused(networks, tmp_path):
    own = state(networks)
    weight, bias = own.pop("fc.weight"), own.pop("fc.bias")
    own |= {"fc.0.weight": torch.zeros(8, 8), "fc.0.bias": torch.zeros(8)}
    own |= {"fc.2.weight": weight, "fc.2.bias": bias}
    with pytest.raises(InputError, match=r'no "fc\.weight", "fc\.bias"'):
        load_classifier(model_files.saved(tmp_path, own), ClassifierOptions(arch="resnet34"))


def test_without_the_package_its_family_is_named(tmp_path):
    spec = model_files.saved(tmp_path, {"layer1.0.conv1.weight": torch.zeros(8, 8, 3, 3)})
    with pytest.raises(InputError, match="arch: missing"):
        load_classifier(spec)
