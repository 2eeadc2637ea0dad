"""The material of a job on labelled pictures, and its files, from which a stopped one continues."""

import io
import json
import os
import pickle
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dexter.config import RunConfig
from dexter.data.folder import DataSet, Skipped, Why, class_indices, read_data
from dexter.data.searches import prototypes, search_config
from dexter.data.slices import Concept, Looked, look
from dexter.errors import InputError
from dexter.reasoning.topic import Topic, make_topic, world_of
from dexter_tui.analysis.data.request import settings_of
from dexter_tui.analysis.desk import Desk
from dexter_tui.jobs import trust
from store import StoreError, artifacts
from store.data_reports import records
from store.errors import explained

if TYPE_CHECKING:
    from dexter.classifiers import Classifier
    from dexter.data.settings import DataSettings
    from dexter.models import Models

SAVE_STEPS = 25  # between the states of a search or training that are kept
_BATCH = 64


class Sources:
    """The classifier, pictures and concepts of a report, as they were when it was asked for."""

    def __init__(self, desk: Desk) -> None:
        """Load them; raise InputError for data that has changed since, or code without consent."""
        import torch

        from dexter.device import select_device
        from dexter.reasoning.detection import load_detector

        torch.set_num_threads(1)
        self.desk = desk
        store = desk.store
        self.row = records.data_report(store, str(desk.job.request.get("data_report")))
        asked = self.row.request
        self.settings: DataSettings = settings_of(desk.job.kind, asked)
        self.screening: str | None = asked.get("screening")
        self.origin = str(asked.get("origin"))
        self.concepts = [_concept(one) for one in asked.get("concepts", [])]
        self.files = Files(records.folder(store.home, self.row.id))
        self.config = RunConfig.model_validate(desk.job.config).model_copy(
            update={"device": desk.device}
        )
        desk.begin("models")
        self.device = select_device(self.config.device)
        desk.loading("classifier")
        self.classifier = trust.load_classifier(self.config, self.device)
        self.classifier.adopt_identity(self.row.classifier.weights_hash)
        self.data = read_data(
            str(asked.get("data")), label=self.settings.label_column, size=self.settings.size
        )
        if self.data.digest() != self.row.data_hash:
            raise InputError(
                f"{self.data.name} has changed since this was asked for",
                field="data",
                value=self.data.name,
                remedy="start it again",
            )
        self.classes = class_indices(
            self.data.labels, self.classifier.labels, asked.get("mapping") or {}
        )
        desk.loading("image-text model")
        self.detector = load_detector(self.settings.image_text, device=self.device)
        if self.settings.searches:
            self.concepts = self._searched()

    def _searched(self) -> list[Concept]:
        """Search the words of each class, from where an attempt before was stopped."""
        words: dict[str, list[str]] = self.files.value("words") or {}
        models: Models | None = None
        labels = self.classifier.labels
        world = world_of(self.config.generator)
        for index in sorted(set(self.classes.values())):
            many = self.classifier.answers.multi_label
            topic = make_topic(labels, index, world=world, multi_label=many)
            label = labels[index]
            own = words.setdefault(label, [])
            while len(own) < self.settings.searches:
                models = models or trust.load_models(self.config, self.desk.loading)
                own.append(self._search(models, topic, own))
                self.files.keep_value("words", words)
        self.origin = "; ".join(
            f"searches of {label}: {', '.join(own)}" for label, own in words.items()
        )
        return prototypes(words)

    def _search(self, models: "Models", topic: Topic, earlier: Sequence[str]) -> str:
        """Return the word that the next search of a class finds."""
        from dexter.search.optimize import optimize

        config = search_config(self.config, topic, earlier)
        key = f"{topic.class_name} {len(earlier)}"
        search = optimize(
            config,
            classifier=models.classifier,
            generator=models.generator,
            masked_lm=models.masked_lm,
        )
        self.files.restore("search.pt", key, search.load_state_dict)
        progress = self.desk.begin(f"search {len(earlier) + 1} of {topic.class_name}")
        progress.plan(config.steps)
        for step in search:
            progress.add(step.step - progress.done)
            if step.step % SAVE_STEPS == 0:
                self.files.keep_state("search.pt", key, search.state_dict())
        return search.result.words[0]

    @property
    def reading(self) -> str:
        """Return how pictures are read, for the names of files that depend on it."""
        return reading_of(self.classifier)

    def looked(self, part: DataSet, name: str) -> Looked:
        """Return how classifier and image-text model see a split, looked at once.

        ``name``: of the split, in the progress and of the file that keeps it.
        """
        file = f"look-{name}-{self.reading}"
        kept = self.files.arrays(file)
        if kept is not None:
            counts, names = json.loads(str(kept["left_out"]))
            part.skipped.merge(
                Skipped(
                    Counter({Why(why): count for why, count in counts.items()}),
                    [(name, Why(why)) for name, why in names],
                )
            )
            return Looked(
                [part.items[int(place)] for place in kept["places"]],
                kept["targets"],
                kept["predicted"],
                kept["p"],
                kept["embeddings"],
                kept["features"],
                str(kept["digest"]),
            )
        progress = self.desk.begin(f"pictures of {name}")
        progress.plan(len(part.items))
        own = replace(part, skipped=Skipped())
        found = look(
            own,
            self.classes,
            self.classifier,
            self.detector,
            report=lambda done, of: progress.add(done - progress.done),
        )
        numbers = {id(item): place for place, item in enumerate(part.items)}
        self.files.keep_arrays(
            file,
            places=np.array([numbers[id(item)] for item in found.items]),
            targets=found.targets,
            predicted=found.predicted,
            p=found.p,
            embeddings=found.embeddings,
            features=found.features,
            digest=np.array(found.digest),
            left_out=np.array(json.dumps([own.skipped.counts, own.skipped.names])),
        )
        part.skipped.merge(own.skipped)
        return found

    def pixels(self, looked: Looked, name: str) -> NDArray[np.uint8]:
        """Return the pictures that were looked at, (n, S, S, 3), as a file that is read on use."""
        from dexter.data.pictures import batches

        step = self.classifier.preprocessing
        side = step.resize

        def write(file: Path) -> None:
            progress = self.desk.begin(f"copies of {name}")
            progress.plan(len(looked.items))
            shape = (len(looked.items), side, side, 3)
            held = np.lib.format.open_memmap(file, "w+", np.uint8, shape)
            if hasattr(os, "posix_fallocate"):  # on a full disk an error, not a SIGBUS below
                with file.open("r+b") as opened:
                    os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
            for places, pictures in batches(looked.items, side, Skipped(), step=step, batch=_BATCH):
                held[places] = pictures
                progress.add(len(places))
            held.flush()

        return self.files.mapped(f"pixels-{name}-{self.reading}", write)

    def skipped(self) -> dict[str, int]:
        """Return the number of pictures that are left out, by reason."""
        return {why.value: count for why, count in self.data.skipped.counts.items()}


def reading_of(classifier: "Classifier") -> str:
    """Return how pictures are read for a classifier: the side in px and the way of scaling."""
    step = classifier.preprocessing
    return f"{step.resize}-{step.mode}" + ("-squash" if step.squash else "")


def _concept(one: Mapping[str, Any]) -> Concept:
    """Return a stored concept; raise StoreError for what is none."""
    try:
        name, looks, against = str(one["name"]), one["looks"], one["against"]
        return Concept(name, tuple(map(str, looks)), tuple(map(str, against)))
    except (KeyError, TypeError):
        raise StoreError("the request of this report is damaged", remedy="start it again") from None


class Files:
    """The files of a report: what an attempt before has done, and the weights that it found."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if folder.is_symlink() or folder.parent.is_symlink():
            raise StoreError(f"{folder} is a link", remedy="remove it")
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for left in folder.glob(".new-*"):  # what an attempt that was killed was writing
                left.unlink()

    def arrays(self, name: str) -> dict[str, NDArray[Any]] | None:
        """Return arrays that were kept; None for what is missing or cannot be read."""
        data = self.read(f"{name}.npz")
        if data is None:
            return None
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as found:
                return dict(found)
        except (ValueError, OSError, EOFError, KeyError):
            return None

    def keep_arrays(self, name: str, **arrays: NDArray[Any]) -> None:
        """Keep arrays."""
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        self.write(f"{name}.npz", buffer.getvalue())

    def mapped(self, name: str, write: Callable[[Path], None]) -> NDArray[np.uint8]:
        """Return an array of bytes as a file that is read on use, written if it is not there."""
        file = self.folder / f"{name}.npy"
        if file.is_symlink() or not file.is_file():
            with explained(file):
                artifacts.place_atomic(file, write)
        found: NDArray[np.uint8] = np.load(file, mmap_mode="r", allow_pickle=False)
        return found

    def restore(self, name: str, key: str, restore: Callable[[dict[str, Any]], None]) -> None:
        """Continue from the state that was kept with this key.

        One of another key, and one that is torn or cannot be used, is left.
        """
        import torch

        data = self.read(name)
        if data is None:
            return
        with suppress(
            InputError, pickle.UnpicklingError, RuntimeError, EOFError, LookupError, TypeError,
            ValueError,
        ):  # fmt: skip
            kept = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
            if kept["key"] == key:
                restore(kept["state"])

    def keep_state(self, name: str, key: str, state: Mapping[str, Any]) -> None:
        """Keep a state, in the place of the one before."""
        import torch

        buffer = io.BytesIO()
        torch.save({"key": key, "state": dict(state)}, buffer)
        self.write(name, buffer.getvalue())

    def value(self, name: str) -> Any:
        """Return a JSON value that was kept; None for what is missing or cannot be read."""
        data = self.read(f"{name}.json")
        try:
            return None if data is None else json.loads(data)
        except ValueError:
            return None

    def keep_value(self, name: str, value: Any) -> None:
        """Keep a JSON value."""
        self.write(f"{name}.json", json.dumps(value).encode())

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a file; None if it cannot be read."""
        try:
            with artifacts.open_to_read(self.folder / name) as file:
                return file.read()
        except OSError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Write a file, completely or not at all."""
        with explained(self.folder / name):
            artifacts.write_atomic(self.folder / name, data)

    def clear(self, *, but: str = "") -> None:
        """Remove all files but one."""
        for path in self.folder.iterdir():
            if path.name != but:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if not but:
            self.folder.rmdir()
