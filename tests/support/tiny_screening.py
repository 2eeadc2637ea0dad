"""A screening by tiny models, of a classifier of colours."""

from pathlib import Path

import tiny

from store import Store

POOL = """
picture: a picture of
articles: a
slots:
  place: {position: beside, concepts: [sea, snow, forest]}
  age: {position: before, concepts: [young, old]}
  hair: {position: before, concepts: [red, blue]}
"""
NET = """
import torch
from torch import nn
class Net(nn.Module):
    labels = ["cat", "dog"]
    image_size = 32
    mean = std = (0.5, 0.5, 0.5)
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(1, 2, bias=False)
        self.head.weight.data = torch.tensor([[-20.0], [20.0]])
    def forward(self, pictures):
        # Of the generator's pictures: it says "dog" for those that are redder than most.
        red = pictures[:, 0].mean((1, 2)) - pictures[:, 2].mean((1, 2))
        return self.head(red[:, None])
make = Net
"""


def options(folder: Path) -> dict[str, object]:
    """Write the classifier and the concepts; return the options that name them and a generator."""
    net, pool = folder / "net.py", folder / "pool.yaml"
    net.write_text(NET)
    pool.write_text(POOL)
    return {
        "--classifier": f"python:{net}:make",
        "--generator": tiny.generator_folder(),
        "--class": "cat",
        "--concepts": pool,
    }


def screen(home: Path, options: dict[str, object]) -> str:
    """Screen in this process what the options name; return the screening's id."""
    from dexter.reasoning.settings import ScreenSettings
    from dexter_tui.analysis import screening_job, screening_request
    from dexter_tui.analysis.desk import Desk

    settings = ScreenSettings(
        pictures=80, confirm=False, image_text=str(tiny.image_text_folder()), device="cpu"
    )
    request = screening_request.ScreenRequest(
        [str(options["--classifier"])],
        str(options["--class"]),
        settings,
        str(options["--concepts"]),
        {"generator": str(options["--generator"])},
        frozenset({"classifier"}),
    )
    home.mkdir(exist_ok=True)
    prepared = screening_request.prepare(request, home)
    with Store.open(home) as store:
        queued = screening_request.request_screening(store, prepared)
        desk = Desk(store, store.job(queued.job_id), "cpu", heed=lambda state: None)
        screening_job.work(desk)
    return queued.screening_id
