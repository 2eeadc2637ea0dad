"""The sources http://HOST/PATH and https://…: a classifier of which only its scores are seen.

A picture is sent by POST as a PNG (RGB, 8 bits a channel) in the size in which it was drawn; the
server scales and normalises it. The reply has status 200 and holds JSON, with a score per label or,
where labels are given, a list in their order:

    {"scores": {"waterbird": 0.91, "landbird": 0.09}}
    {"scores": [0.91, 0.09]}

Scores are probabilities or logits, of classes or of labels: what they are is recognised on a few
pictures at load, see `dexter.classifiers.reading`. The key in the environment variable
DEXTER_CLASSIFIER_KEY, if any, is sent as a bearer token, over https or to this machine only; it is
never stored or shown.

There are no weights to identify the classifier by: its answers to 4 pictures do, in 2 numbers each,
the length of the scores and a weighted sum of them. Scores may jitter with the load of a server, so
answers are the same where no number differs by more than 0.3 percent, see `same_weights`. A server
with another model that scores these 4 pictures within that is taken for the same.

Labels of a dictionary, which has no order in JSON, are sorted by name.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import httpx2
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from dexter.bounded_http import BadReply, BoundedClient, finish
from dexter.classifiers.address import KEY, check_address
from dexter.classifiers.base import Classifier, Preprocessing, build
from dexter.classifiers.options import ANSWERS, ClassifierOptions
from dexter.errors import InputError
from dexter.loading import one_line

TIMEOUT = 30.0
"""Seconds for an exchange."""
TRIES = 3
AT_ONCE = 4
"""Pictures that are sent at the same time."""
_PAUSE = 0.5  # seconds before the second try, doubled with each
_TRIAL_SIDE = 224  # px
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_MOST_LABELS = 100_000
_LARGEST = torch.finfo(torch.float32).max  # score; whole numbers in JSON have no bound
# Off 1, by which rounded probabilities may sum to, and at most for any number of classes.
_ROUNDED, _MOST_ROUNDED = 2e-3, 0.05
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class Unanswered(ConnectionError):
    """The failure of an endpoint to score a picture."""


@dataclass(frozen=True)
class _AsDrawn(Preprocessing):
    """Leaves pictures as they are."""

    def __call__(self, images: Tensor) -> Tensor:
        return images

    def facts(self) -> list[str]:
        return ["pictures as drawn"]


def load(address: str, options: ClassifierOptions) -> Classifier:
    """Ask the endpoint for its labels and try it on 4 pictures."""
    url = check_address(address)
    for name in ("input_size", "normalization", "mean", "std"):
        value = getattr(options, name)
        if value is not None:
            raise InputError(
                f"{url} scales and normalises pictures itself",
                field=name,
                value=value,
                remedy="omit it",
            )
    network = _Network(url, _key(url), options.label_names())
    try:
        scores = network(_trial_pictures())
        network.sums_to_one = scores.shape[1] > 1 and _sums_to_one(scores)
        if scores.shape[1] > 1 and _sums_to_one(scores / 100):
            raise network.fault("scores in percent: must be probabilities from 0 to 1, or logits")
        if options.multi_label is None and not network.sums_to_one and _may_be_rounded(scores):
            raise network.fault(
                f"the scores add up to {float(scores[0].sum()):.2f}, perhaps by rounding: "
                "send more digits, or pass --multi-label or --no-multi-label"
            )
        return build(
            network,
            spec=url,
            labels=network.labels,
            preprocessing=_AsDrawn(resize=_TRIAL_SIDE, crop=_TRIAL_SIDE),
            options=replace(options, dtype="float32", classifier_input="trained"),
            weights_hash=_identity(scores),
            notes=["a server"],
        )
    except Unanswered as error:
        raise InputError(str(error), field="classifier", value=url) from None


class _Network(nn.Module):
    """An endpoint as a module; pictures (B, 3, H, W) to its scores (B, N). Raises Unanswered."""

    def __init__(self, url: str, key: str | None, labels: list[str] | None) -> None:
        super().__init__()
        self.labels = labels
        self.sums_to_one = False
        self._count = 0
        self._url = url
        self._headers = {"Content-Type": "image/png", "Accept": "application/json"}
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key}"
        self._client = BoundedClient(TIMEOUT)

    def forward(self, pictures: Tensor) -> Tensor:
        replies = finish(self._ask([_png(picture) for picture in pictures]))
        scores = torch.tensor([self._row(reply) for reply in replies], device=pictures.device)
        if self.sums_to_one:
            if not _sums_to_one(scores):
                raise self.fault("the scores no longer sum to 1")
            scores = scores / scores.sum(1, keepdim=True)  # they are rounded
        return scores

    async def _ask(self, files: list[bytes]) -> list[Any]:
        free = asyncio.Semaphore(AT_ONCE)

        async def ask(file: bytes) -> Any:
            async with free:
                return await self._ask_one(file)

        tasks = [asyncio.create_task(ask(file)) for file in files]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _ask_one(self, file: bytes) -> Any:
        """Return the scores of a picture; try again where that may help."""
        pause, asked = _PAUSE, 0.0
        for number in range(1, TRIES + 1):
            tries = f" ({number} tries)" if number > 1 else ""
            try:
                reply = await self._client.post(self._url, content=file, headers=self._headers)
            except httpx2.TimeoutException:
                fault = self.fault(f"no whole reply within {TIMEOUT:g} s{tries}")
            except (httpx2.HTTPError, BadReply) as error:
                fault = self.fault(f"cannot be asked: {one_line(error)}{tries}")
            else:
                if reply.status_code == 200:
                    return self._read(reply.content)
                fault = self.fault(f"status {reply.status_code}{tries}{_remedy(reply.status_code)}")
                if reply.status_code not in _PASSING:
                    break
                asked = _asked_pause(reply.headers.get("Retry-After", ""))
            if number < TRIES:
                await asyncio.sleep(max(pause, asked))
                pause *= 2
        raise fault

    def _read(self, content: bytes) -> Any:
        try:
            reply = json.loads(content)
        except (ValueError, RecursionError):
            raise self.fault("the reply is not JSON") from None
        scores = reply.get("scores") if isinstance(reply, dict) else None
        if not isinstance(scores, (dict, list)) or not 0 < len(scores) <= _MOST_LABELS:
            raise self.fault('the reply has no "scores": must be a number per label, or a list')
        return scores

    def _row(self, scores: dict[str, Any] | list[Any]) -> list[float]:
        """Return the scores of a picture in the labels' order, which the first reply may set."""
        values: list[Any] = scores if isinstance(scores, list) else []
        if isinstance(scores, dict):
            self.labels = self.labels or sorted(scores)
            if missing := sorted(set(self.labels) - scores.keys()):
                raise self.fault(
                    f"no score of {missing[0][:50]!r}: every reply must score all labels"
                )
            if odd := sorted(scores.keys() - set(self.labels)):
                raise self.fault(f"a score of {odd[0][:50]!r}, which is none of the labels")
            values = [scores[label] for label in self.labels]
        self._count = self._count or len(values)
        if len(values) != self._count:
            raise self.fault(f"{len(values)} scores, after {self._count} for other pictures")
        if not all(type(value) in (int, float) and abs(value) <= _LARGEST for value in values):
            raise self.fault("a score is not a finite number")
        return [float(value) for value in values]

    def fault(self, problem: str) -> Unanswered:
        return Unanswered(f"{self._url}: {problem}")


def _trial_pictures() -> Tensor:
    """Return 4 pictures (4, 3, side, side), always the same: noise and coarse shapes."""
    rng = torch.Generator().manual_seed(0)
    noise = torch.rand(1, 3, _TRIAL_SIDE, _TRIAL_SIDE, generator=rng)
    coarse = torch.rand(3, 3, 4, 4, generator=rng)
    smooth = nn.functional.interpolate(coarse, size=noise.shape[-2:], mode="bilinear")
    return torch.cat([noise, smooth])


def _identity(scores: Tensor) -> str:
    """Return the identity of scores (4, N), as `same_weights` compares it: 8 numbers."""
    scores = scores.double()
    uneven = torch.arange(1, scores.shape[1] + 1, dtype=torch.float64).square().cos()
    numbers = torch.stack([scores.norm(dim=1), scores @ uneven], 1)
    return ANSWERS + numbers.numpy().astype(">f4").tobytes().hex()


def _sums_to_one(scores: Tensor) -> bool:
    """Return True for probabilities (B, N) of classes, perhaps rounded."""
    return _are_near_one(scores, max(_ROUNDED, min(_rounding(scores), _MOST_ROUNDED)))


def _may_be_rounded(scores: Tensor) -> bool:
    """Return True if rounding alone may have taken the sums of probabilities (B, N) off 1."""
    return scores.shape[1] > 2 and _are_near_one(scores, _rounding(scores))


def _are_near_one(scores: Tensor, most: float) -> bool:
    return bool((scores >= 0).all() and ((scores.sum(1) - 1).abs() <= most).all())


def _rounding(scores: Tensor) -> float:
    """Return the most that rounding to the digits of scores (B, N) adds to a sum; 0 for many."""
    for digits in range(2, 6):
        if bool(((scores.round(decimals=digits) - scores).abs() < 1e-7).all()):
            return scores.shape[1] * 0.5 * 10.0**-digits
    return 0.0


def _asked_pause(seconds: str) -> float:
    """Return the seconds that a server asks to wait before the next try, at most TIMEOUT."""
    return min(float(seconds), TIMEOUT) if seconds.isascii() and seconds.isdecimal() else 0.0


def _remedy(status: int) -> str:
    if status in (401, 403):
        return f"; set {KEY}, or check it"
    return "; pass the address that it redirects to" if 300 <= status < 400 else ""


def _key(url: str) -> str | None:
    """Return the key for an address; raise InputError where it would travel unencrypted."""
    key = os.environ.get(KEY, "").strip()
    if not key:
        return None
    if any(not "!" <= character <= "~" for character in key):
        raise InputError(f"{KEY} must be one line of visible ASCII characters", field="classifier")
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        raise InputError(
            f"{url} is not encrypted, and {KEY} is set",
            field="classifier",
            value=url,
            remedy="pass an https address, or unset it",
        )
    return key


def _png(picture: Tensor) -> bytes:
    pixels = (picture.detach().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
