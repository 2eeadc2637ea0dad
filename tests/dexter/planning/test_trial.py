"""The trial of a classifier before work is queued."""

import pytest
import torch
from torch import nn

from dexter.classifiers import ClassifierOptions
from dexter.classifiers.base import build
from dexter.classifiers.reading import Preprocessing
from dexter.errors import InputError
from dexter.planning.trial import try_classifier


class Net(nn.Module):
    """A network of 4 classes, with an operation in its middle that goes on in eval mode."""

    def __init__(self, middle):
        super().__init__()
        self.middle = middle
        self.body = nn.Conv2d(3, 8, 5, stride=4)
        self.head = nn.Linear(8, 4)
        with torch.no_grad():
            self.body.weight.copy_(torch.linspace(-1, 1, 600).mul(40).sin().reshape(8, 3, 5, 5))
            self.head.weight.copy_(torch.linspace(-1, 1, 32).mul(9).cos().reshape(4, 8))

    def forward(self, pictures):
        return self.head(self.middle(self.body(pictures)).relu().mean((2, 3)))


def tried(middle, dtype="float32"):
    step = Preprocessing(resize=32, crop=32)
    own = ClassifierOptions(dtype=dtype)
    net = Net(middle)
    return try_classifier(build(net, spec="net", labels=None, preprocessing=step, options=own))


@pytest.mark.parametrize(
    ("middle", "problem"),
    [
        (lambda x: nn.functional.dropout(x, 0.1), "scores the same picture otherwise each time"),
        (
            lambda x: nn.functional.batch_norm(x, None, None, training=True),
            "scores a picture otherwise alone than among others",
        ),
    ],
)
def test_a_network_in_training_mode_is_refused(middle, problem):
    with pytest.raises(InputError, match=rf"net {problem}; .*\(model.eval\(\)\)") as refused:
        tried(middle)
    assert refused.value.field == "classifier"


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_noise_of_floats_is_no_fault(dtype):
    info = tried(lambda x: x * (1 + 1e-3 * torch.rand_like(x)), dtype)
    assert info.gradients and not info.constant
