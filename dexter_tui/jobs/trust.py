"""The gate before every load of a model, and before every endpoint, with the user's consent.

A specification may name code: a Python file, or weights in a pickle; or a server, which is sent
pictures and a key. Settings of a report may name an endpoint, which receives pictures and the
user's key. No record, bundle, sweep file or store carries the consent to any of them. The consent
is a file in `paths.trusted`, outside every store: for one specification and one content of its
file, or for one endpoint and the source of its key. It is given on a command line by typing the
specification, the endpoint or a --trust flag, and in the dashboard by a dialog.

`require` is the gate before work is queued or a process is started. The functions `load_models`,
`load_classifier` and `describe_here` pass it again right before they load, and so does the report
before it asks an endpoint; nothing else in this package loads the models of a run.
"""

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from dexter import classifiers
from dexter.classifiers import (
    ClassifierInfo,
    ClassifierOptions,
    describe_classifier,
    full_spec,
)
from dexter.classifiers.address import KEY, SCHEMES, check_address
from dexter.config import RunConfig
from dexter.errors import InputError
from dexter.reasoning import chat
from dexter_tui import paths

if TYPE_CHECKING:
    from dexter.classifiers import Classifier
    from dexter.models import Models

CODE = frozenset({"classifier", "arch"})
"""The fields that can name code."""
PICKLE = frozenset({"trust_pickle"})
ENDPOINT = frozenset({"base_url", "vlm", "llm", "key_file"})
"""The fields of the settings of a report that name an endpoint and its key."""
_HUB_WEIGHTS = "pytorch_model.bin"
SERVER = frozenset({"server"})
"""Stands for a classifier behind an address, which is sent pictures and a key but runs no code."""
_FLAGS = {
    "trust_pickle": "--trust-pickle",
    "base_url": "--trust-endpoint",
    "server": "--trust-endpoint",
}

Settings = RunConfig | Mapping[str, object]


class Need(NamedTuple):
    """A load that can run code or asks a server, or an endpoint; each needs consent."""

    field: str
    """The field of the settings that asks for it."""
    spec: str
    """The specification with its full path, or the origin of the endpoint and its key's source."""
    digest: str
    """SHA-256 (hex) of the file; "" for a hub id or an address, which have none here."""

    @property
    def line(self) -> str:
        """The effect in a sentence."""
        if self.field in ENDPOINT:
            return f"pictures, prompts and a key go to {self.spec}"
        if self.field in PICKLE:
            return f"{self.spec} is loaded as a pickle, which can run any code"
        if self.is_server:
            return f"{self.spec} is sent all pictures, and the key in {KEY} if that is set"
        if self.spec.startswith("checkpoint:"):
            return f"{self.spec} is a pickle of weights, not a .safetensors file"
        return f"{self.spec} runs the code in that file"

    @property
    def is_server(self) -> bool:
        """True for an address, False for a file."""
        return self.spec.startswith(("http:", "https:"))

    @property
    def consent(self) -> str:
        """The member of CODE, PICKLE, ENDPOINT or SERVER that covers this need."""
        return "server" if self.field in CODE and self.is_server else self.field

    @property
    def _file(self) -> Path:
        kind = "code"
        if self.field in PICKLE | ENDPOINT:
            kind = "pickle" if self.field in PICKLE else "endpoint"
        key = json.dumps([kind, self.spec, self.digest])
        return paths.trusted() / f"{hashlib.sha256(key.encode()).hexdigest()}.json"

    def is_met(self) -> bool:
        """Return whether the user has given this consent."""
        return self._file.is_file()

    def grant(self) -> None:
        """Record the consent; raise InputError if that is not possible."""
        file = self._file
        new = file.with_suffix(f".{os.getpid()}")
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            new.write_text(json.dumps(self._asdict(), indent=1) + "\n", encoding="utf-8")
            new.replace(file)
        except OSError as error:
            raise InputError(
                f"{file.parent}: your consent cannot be recorded: {error.strerror}",
                remedy="make it writable, or name another folder with XDG_STATE_HOME",
            ) from None


class ConsentNeeded(InputError):
    """A load or an endpoint that was refused for lack of consent."""

    def __init__(self, needs: Collection[Need]) -> None:
        self.needs = list(needs)
        first = self.needs[0]
        more = f" ({len(self.needs) - 1} more)" if len(self.needs) > 1 else ""
        wanted = {_FLAGS.get(need.consent, "--trust-code") for need in needs}
        whom = "its owner" if first.is_server else "its author"
        super().__init__(
            f"{first.line}, and you have not agreed to it{more}",
            field=first.field,
            value=first.spec,
            remedy=f"pass {' '.join(sorted(wanted))} if you trust {whom}",
        )


def agreed_by(
    typed: Mapping[str, object] | None = None,
    *,
    code: bool = False,
    pickle: bool = False,
    endpoint: bool = False,
) -> frozenset[str]:
    """Return what a user agrees to with a command line: members of CODE, PICKLE, ENDPOINT, SERVER.

    `typed` holds the values that the user typed there, not those of files; `code`, `pickle` and
    `endpoint` are the flags --trust-code, --trust-pickle and --trust-endpoint.
    """
    gated = CODE | PICKLE | ENDPOINT
    own = {name for name in gated if (typed or {}).get(name) not in (None, False, [], ())}
    own |= SERVER if "classifier" in own else set()
    for flag, fields in ((code, CODE), (pickle, PICKLE), (endpoint, ENDPOINT | SERVER)):
        own |= fields if flag else set()
    return frozenset(own | {"base_url"} if own & ENDPOINT else own)


def needs(settings: Settings) -> list[Need]:
    """Return the loads that can run code, and the endpoint. Files that are missing have no code."""
    values = settings.model_dump() if isinstance(settings, RunConfig) else settings
    return list(_needs(values))


def _needs(values: Mapping[str, object]) -> Iterator[Need]:
    pickle = values.get("trust_pickle") not in (None, False)
    try:
        source, _, address = full_spec(str(values.get("classifier"))).partition(":")
    except InputError:  # then nothing is loaded
        source = address = ""
    if source == "python":
        yield from _python("classifier", address)
    elif source in SCHEMES:
        yield from _server(f"{source}:{address}")
    elif source == "checkpoint":
        file = _resolved(address)
        if file.suffix != ".safetensors" and file.is_file():
            digest = _digest(file)
            yield Need("classifier", f"checkpoint:{file}", digest)
            if pickle:
                yield Need("trust_pickle", f"checkpoint:{file}", digest)
    elif source == "hf" and pickle:
        folder = _resolved(address)
        if not folder.exists():
            yield Need("trust_pickle", f"hf:{address}", "")
        elif (folder / _HUB_WEIGHTS).is_file():
            yield Need("trust_pickle", f"hf:{folder}", _digest(folder / _HUB_WEIGHTS))
    source, _, address = str(values.get("arch")).partition(":")
    if source == "python":
        yield from _python("arch", address)
    models = (str(values.get(name)) for name in ("vlm", "llm"))
    if values.get("base_url") or any(model.startswith("openai:") for model in models):
        yield Need("base_url", _endpoint(values), "")


def _endpoint(values: Mapping[str, object]) -> str:
    """Return the origin of the endpoint, and the source of the key that it receives."""
    try:
        address = urlsplit(str(values.get("base_url") or chat.OPENAI))
        port = address.port or {"http": 80, "https": 443}.get(address.scheme, 0)
        origin = f"{address.scheme}://{address.hostname}:{port}"
    except ValueError:  # which no request is sent to
        origin = "an address that is none"
    key = values.get("key_file")
    return f"{origin}, with {_resolved(str(key)) if key else 'OPENAI_API_KEY'}"


def _python(field: str, address: str) -> Iterator[Need]:
    path, _, factory = address.rpartition(":")
    file = _resolved(path)
    if path and file.is_file():
        yield Need(field, f"python:{file}:{factory}", _digest(file))


def _server(address: str) -> list[Need]:
    try:
        return [Need("classifier", check_address(address), "")]
    except InputError:  # then it is not asked either
        return []


def _resolved(address: str) -> Path:
    try:
        return Path(address).expanduser().resolve()
    except (RuntimeError, ValueError, OSError):  # no such user, a zero byte, a loop of links
        return Path("/nonexistent")


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:  # then it cannot be loaded either
        return "unreadable"


def lacking(settings: Iterable[Settings], agreed: Collection[str] = ()) -> list[Need]:
    """Return the needs without consent, and record the consent to those that `agreed` covers.

    Nothing is recorded if any consent is missing.
    """
    distinct = {_naming(one): one for one in settings}
    found: dict[Need, None] = {}
    for one in distinct.values():
        found.update((need, None) for need in needs(_wished(one, agreed)))
    unmet = [need for need in found if not need.is_met()]
    missing = [need for need in unmet if need.consent not in agreed]
    if not missing:
        for need in unmet:
            need.grant()
    return missing


def _naming(settings: Settings) -> tuple[str, ...]:
    """Return the parts that matter here: files are read once for all runs of a study."""
    values = settings.model_dump() if isinstance(settings, RunConfig) else settings
    return tuple(str(values.get(name)) for name in sorted(CODE | PICKLE | ENDPOINT))


def _wished(settings: Settings, agreed: Collection[str]) -> Mapping[str, object]:
    values = settings.model_dump() if isinstance(settings, RunConfig) else settings
    return {**values, "trust_pickle": True} if set(agreed) >= PICKLE else values


def require(settings: Iterable[Settings], agreed: Collection[str] = ()) -> None:
    """Raise ConsentNeeded unless the user agreed to the code and endpoints of these settings.

    `agreed`: the consent that the user gives now, see `agreed_by`; that is recorded.
    """
    if missing := lacking(settings, agreed):
        raise ConsentNeeded(missing)


def admitted(config: RunConfig) -> RunConfig:
    """Return the configuration to load; raise ConsentNeeded if it lacks consent.

    Its `trust_pickle` says what the user agreed to on this machine, whatever the record says.
    """
    require([config])
    pickles = [need for need in needs(_wished(config, PICKLE)) if need.field in PICKLE]
    trusted = bool(pickles) and all(need.is_met() for need in pickles)
    return config.model_copy(update={"trust_pickle": trusted})


def load_models(config: RunConfig, loading: Callable[[str], None] = lambda what: None) -> "Models":
    """Load the models of a run; raise InputError, also where consent is missing.

    `loading` is called before each, as in `dexter.models.load_models`.
    """
    from dexter import models

    return models.load_models(admitted(config), loading=loading)


def load_classifier(config: RunConfig, device: str) -> "Classifier":
    """Load the classifier of a run; raise InputError, also where consent is missing."""
    config = admitted(config)
    options = config.options(ClassifierOptions, device=device)
    return classifiers.load_classifier(config.classifier, options)


def describe_here(config: RunConfig) -> ClassifierInfo:
    """Describe a run's classifier in this process; raise InputError as `load_classifier`."""
    config = admitted(config)
    return describe_classifier(config.classifier, config.options(ClassifierOptions))
