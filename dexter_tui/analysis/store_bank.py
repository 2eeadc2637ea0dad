"""The engine's picture bank, answers and placebo cache, kept in the store.

Pictures are kept as sheets: up to 64 tiles in one PNG file, so that thousands of small pictures
are not thousands of files. PNG keeps every byte, so what was measured on a new picture is measured
again on one from the bank.
"""

import io
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dexter.generation.bank import Images, Request
from store import Store, screening_records, study_records
from store.artifacts import open_picture
from store.tables import Picture

_COLUMNS = 8
Numbers = NDArray[np.float32]


class StoreBank:
    """A `dexter.generation.pictures.PictureBank`.

    With `job_id`, jobs that need the same pictures at the same time draw each of them once.
    """

    def __init__(self, store: Store, job_id: str | None = None) -> None:
        self._store = store
        self._job_id = job_id

    def missing(self, generator: str, requests: Sequence[Request]) -> list[Request]:
        known = self._known(generator, requests)
        return [request for request in requests if request not in known]

    def read(
        self, generator: str, requests: Sequence[Request]
    ) -> Iterator[tuple[list[Request], Images]]:
        wanted = set(requests)
        sheets: dict[str, list[tuple[Request, Picture]]] = {}
        for request, row in self._known(generator, requests).items():
            if request in wanted:
                sheets.setdefault(row.sha256, []).append((request, row))
        for sha256, tiles in sheets.items():
            sheet = np.asarray(open_picture(self._store.read_artifact(sha256)).convert("RGB"))
            yield [request for request, _ in tiles], np.stack([_tile(sheet, r) for _, r in tiles])

    def claim(self, generator: str, requests: Sequence[Request]) -> list[Request]:
        if self._job_id is None:
            return self.missing(generator, requests)
        return study_records.claim_pictures(self._store, generator, requests, self._job_id)

    def keep(self, generator: str, requests: Sequence[Request], images: Images) -> None:
        side = images.shape[1]
        columns = min(_COLUMNS, len(images))
        rows = -(-len(images) // columns)
        sheet = np.zeros((rows * side, columns * side, 3), np.uint8)
        for place, image in enumerate(images):
            row, column = divmod(place, columns)
            sheet[row * side : (row + 1) * side, column * side : (column + 1) * side] = image
        buffer = io.BytesIO()
        Image.fromarray(sheet).save(buffer, "PNG", compress_level=1)
        sha256 = self._store.put_artifact(buffer.getvalue(), "image/png")
        study_records.add_pictures(self._store, generator, requests, sha256=sha256, side=side)

    def _known(self, generator: str, requests: Sequence[Request]) -> dict[Request, Picture]:
        return study_records.known_pictures(
            self._store, generator, (prompt for prompt, _ in requests)
        )


def _tile(sheet: Images, row: Picture) -> Images:
    columns = sheet.shape[1] // row.side
    y, x = divmod(row.place, columns)
    return sheet[y * row.side : (y + 1) * row.side, x * row.side : (x + 1) * row.side]


class StoreAnswers:
    """A `dexter.screening.screen.Answers`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, key: str, requests: Sequence[Request]) -> dict[Request, Numbers]:
        wanted = set(requests)
        known = screening_records.answers(self._store, key, {prompt for prompt, _ in requests})
        return {
            request: np.frombuffer(row, "<f4")
            for request, row in known.items()
            if request in wanted
        }

    def keep(self, key: str, requests: Sequence[Request], rows: Numbers) -> None:
        numbers = [row.astype("<f4").tobytes() for row in rows]
        screening_records.keep_answers(self._store, key, requests, numbers)


class StoreCache:
    """A `dexter.reasoning.evidence.PlaceboCache`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, key: str) -> dict[str, dict[str, float]]:
        return study_records.placebos(self._store, key)

    def keep(self, key: str, word: str, effects: Mapping[str, float], pairs: int) -> None:
        study_records.add_placebo(self._store, key, word, effects, pairs)
