"""The classifier that the reference's steps were recorded with."""

from collections import OrderedDict
from pathlib import Path

from safetensors.torch import load_file
from torch import nn

FOLDER = Path(__file__).parent


def make() -> nn.Module:
    body = nn.Sequential(
        nn.Conv2d(3, 32, 5, 2, 2),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, 2, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    network = nn.Sequential(OrderedDict(body=body, fc=nn.Linear(32, 10)))
    network.load_state_dict(load_file(FOLDER / "classifier.safetensors"))
    network.image_size = 32
    network.mean, network.std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return network
