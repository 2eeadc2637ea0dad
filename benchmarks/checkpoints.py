"""A biased training, watched: its checkpoints are screened on one bank as they appear.

    python -m benchmarks.checkpoints [--pictures 400]

Trains the lab's birds-biased recipe and saves every 200 steps, while the watcher is killed after
each checkpoint and started again. Then a watcher that nobody disturbs looks at the same files: its
chart must be the same. (It sees the first alone, as the other did: that one plans the bank.) Prints
the chart, and writes it to results/checkpoints.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import bias

TARGET = bias.RESULTS / "checkpoints.json"
EVERY = 200
NET = """
from torch import nn

class Net(nn.Module):
    image_size = 64

    def __init__(self):
        from dexter.lab import classifiers, models
        super().__init__()
        self.body = models.classifier(classifiers.BIRD_LABELS)

    def forward(self, pictures):
        return self.body(pictures).logits
"""


def train(folder: Path) -> None:
    """Train as `dexter.lab.classifiers.train` does, and save every 200 steps and at the end."""
    import numpy as np
    import torch
    from safetensors.torch import save_file
    from torch.nn import functional

    from dexter.lab import classifiers, models

    torch.set_num_threads(1)
    recipe = classifiers.RECIPES["birds-biased"]
    torch.manual_seed(0)
    rng = np.random.default_rng((0, len(recipe.name)))
    network = models.classifier(recipe.labels).to(memory_format=torch.channels_last)
    steps = recipe.samples // 64
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps)

    def save(step: int) -> None:
        state = {f"body.{k}": v.contiguous() for k, v in network.state_dict().items()}
        partial = folder / "saving"
        save_file(state, partial)
        partial.rename(folder / f"step-{step}.safetensors")

    save(0)
    network.train()
    for step in range(1, steps + 1):
        scenes, labels = zip(*(recipe.draw(rng) for _ in range(64)), strict=True)
        images = classifiers.augment(classifiers.pixels(list(scenes)), rng) * 2 - 1
        loss = functional.cross_entropy(network(images).logits, torch.tensor(labels))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if step % EVERY == 0 or step == steps:
            save(step)
            print(f"step {step}: loss {loss.item():.3f}", flush=True)


def command(folder: Path, pictures: int) -> list[str]:
    """Return the watcher's command line."""
    return [
        sys.executable, "-m", "dexter_tui", "screen", "--watch", str(folder / "training"),
        "--class", "waterbird", "--arch", f"python:{folder / 'net.py'}:Net",
        "--labels", str(folder / "labels.txt"), "--normalization", "half",
        "--generator", "lab", "--pictures", str(pictures), "--device", "cpu",
    ]  # fmt: skip


def shown(home: Path) -> dict[str, Any] | None:
    """Return the newest screening of a home."""
    from store.reading import screenings
    from store.reading.browse import Browse

    listed = screenings.listed(Browse(home)) if (home / "store.sqlite").exists() else []
    return screenings.page(Browse(home), listed[0]["id"]) if listed else None


def watch(
    folder: Path, home: Path, pictures: int, training: subprocess.Popen[bytes] | None = None
) -> tuple[dict[str, Any], int]:
    """Watch until all checkpoints are screened; return the screening and the number of kills.

    While a ``training`` runs, the watcher is killed after each checkpoint and started again.
    """
    env = {**os.environ, "DEXTER_HOME": str(home)}
    killed, screened = 0, 0
    watcher = subprocess.Popen(command(folder, pictures), env=env)
    while True:
        time.sleep(1)
        page = shown(home)
        done = sum(bool(member["findings"]) for member in page["members"]) if page else 0
        saved = len(list((folder / "training").glob("*.safetensors")))
        over = training is None or training.poll() is not None
        if page and over and page["state"] == "done" and done == saved:
            break
        if training is not None and done > screened:
            screened = done
            watcher.send_signal(signal.SIGKILL)
            watcher.wait()
            killed += 1
            watcher = subprocess.Popen(command(folder, pictures), env=env)
    watcher.terminate()  # SIGINT is ignored by what a shell starts in the background
    watcher.wait()
    return page, killed


def main() -> int:
    """Train, watch, kill, continue."""
    from dexter.lab.classifiers import BIRD_LABELS
    from dexter_tui.presentation.screening_tables import course

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train is not None:
        train(options.train)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "training").mkdir()
        (folder / "net.py").write_text(NET)
        (folder / "labels.txt").write_text("\n".join(BIRD_LABELS))
        training = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.checkpoints", "--train", str(folder / "training")]
        )
        page, killed = watch(folder, folder / "home", options.pictures, training)
        (folder / "training").rename(folder / "saved")
        (folder / "training").mkdir()
        for part in (page["members"][:1], page["members"][1:]):
            for member in part:
                file = Path(member["name"]).name
                shutil.copy2(folder / "saved" / file, folder / "training" / file)
            undisturbed, _ = watch(folder, folder / "undisturbed", options.pictures)
    found = {
        "pictures": page["pictures"],
        "drawn": page["drawn"],
        "watcher_killed": killed,
        "checkpoints": [member["name"] for member in page["members"]],
        "course": course(page),
        "same_undisturbed": course(page) == course(undisturbed),
    }
    TARGET.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{killed} kills; {page['drawn']} pictures drawn for {len(page['members'])} checkpoints")
    print(f"the same chart without kills: {found['same_undisturbed']}")
    return 0 if found["same_undisturbed"] else 1


if __name__ == "__main__":
    sys.exit(main())
