"""The captions of pictures, by a local image-text-to-text model or an endpoint."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dexter.errors import InputError
from dexter.reasoning.chat import Answer, ChatError, Endpoint, in_parallel, picture_message

MAX_TOKENS = 120
MAX_CHARACTERS = 2000
BATCH = 8  # pictures that a local model describes together


@dataclass(frozen=True)
class Caption:
    """A model's caption of the picture at ``index``."""

    index: int
    text: str
    input_tokens: int | None = None
    output_tokens: int | None = None


class Captioner(Protocol):
    """A model that describes pictures; ``failure`` is the reason why some have no caption."""

    name: str
    failure: str | None

    def caption(self, pictures: Sequence[bytes]) -> Iterator[Caption]:
        """Yield captions of PNG files, in any order; failed ones are left out."""


class LocalCaptioner:
    """A transformers image-text-to-text model whose processor has a chat template."""

    def __init__(self, spec: str, system_prompt: str, *, device: str = "cpu") -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self._processor, self._model = load_chat_model(
            "captioner",
            spec,
            field="vlm",
            reader=AutoProcessor,
            model=AutoModelForImageTextToText,
            device=device,
        )
        self._system_prompt = system_prompt
        self.name = spec
        self.failure: str | None = None

    def caption(self, pictures: Sequence[bytes]) -> Iterator[Caption]:
        import torch
        from PIL import Image

        for at in range(0, len(pictures), BATCH):
            chunk = pictures[at : at + BATCH]
            chats = [
                [
                    {"role": "system", "content": [{"type": "text", "text": self._system_prompt}]},
                    {
                        "role": "user",
                        "content": [
                            {"type": "image", "image": Image.open(io.BytesIO(png)).convert("RGB")}
                        ],
                    },
                ]
                for png in chunk
            ]
            inputs = with_template(
                self._processor,
                chats,
                field="vlm",
                value=self.name,
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                processor_kwargs={"padding": True, "padding_side": "left"},
            ).to(self._model.device)
            with torch.inference_mode():
                tokens = self._model.generate(**inputs, max_new_tokens=MAX_TOKENS, do_sample=False)
            start = 0 if self._model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
            texts = self._processor.batch_decode(tokens[:, start:], skip_special_tokens=True)
            for row, text in enumerate(texts):
                yield Caption(at + row, tidy(text))


class RemoteCaptioner:
    """A vision model behind an endpoint."""

    def __init__(
        self, model: str, system_prompt: str, endpoint: Endpoint, *, concurrency: int = 4
    ) -> None:
        self.name = model
        self.failure: str | None = None
        self._system = {"role": "system", "content": system_prompt}
        self._endpoint = endpoint
        self._concurrency = concurrency

    def caption(self, pictures: Sequence[bytes]) -> Iterator[Caption]:
        def ask(item: tuple[int, bytes]) -> Answer:
            messages = [self._system, picture_message(item[1])]
            return self._endpoint.complete(self.name, messages, max_tokens=MAX_TOKENS)

        for (index, _), answer in in_parallel(ask, list(enumerate(pictures)), self._concurrency):
            if isinstance(answer, ChatError):
                self.failure = str(answer)
            else:
                text = tidy(answer.text)
                yield Caption(index, text, answer.input_tokens, answer.output_tokens)


def tidy(text: str) -> str:
    """Return the text as one line of printable characters, at most MAX_CHARACTERS long."""
    line = " ".join(text[: 4 * MAX_CHARACTERS].split())
    return "".join(c for c in line if c.isprintable())[:MAX_CHARACTERS]


# Language models of this machine, also those that write reports


def load_chat_model(
    role: str,
    spec: str,
    *,
    field: str,
    reader: Any,
    model: Any,
    device: str,
) -> tuple[Any, Any]:
    """Load the tokenizer or processor, and the model: of the lab, a folder, or a hub id.

    ``reader`` and ``model`` are their classes, ``field`` the setting that names the model in an
    InputError.
    """
    from huggingface_hub import snapshot_download
    from safetensors import SafetensorError

    from dexter import model_folders
    from dexter.loading import LOADING_ERRORS, fetch, one_line, quiet

    if spec == "lab":
        folder = model_folders.find("lab", role)
    else:
        folder = fetch(spec, role, snapshot_download)
    try:
        with quiet():
            loaded_reader, loaded_model = (
                kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
                for kind in (reader, model)
            )
    except (*LOADING_ERRORS, SafetensorError) as error:
        raise InputError(
            f"{role} {spec!r} cannot be loaded: {one_line(error)}", field=field, value=spec
        ) from error
    if not getattr(loaded_reader, "chat_template", None):
        raise InputError(
            f"{role} {spec!r} has no chat template",
            field=field,
            value=spec,
            remedy="choose a chat model",
        )
    return loaded_reader, loaded_model.requires_grad_(False).eval().to(device)


def with_template(
    reader: Any, chats: Sequence[Sequence[dict[str, Any]]], *, field: str, value: str, **how: Any
) -> Any:
    """Apply the chat template of a tokenizer or processor to chats of a system and a user.

    Where it refuses the system's message, as Gemma's and Mistral's do, the user says both.
    ``field`` and ``value`` name the model in the InputError for a template that refuses that, too.
    """
    from jinja2 import TemplateError

    from dexter.loading import one_line

    try:
        return reader.apply_chat_template(chats, **how)
    except TemplateError:
        joined = [_by_user(*chat) for chat in chats]
    try:
        return reader.apply_chat_template(joined, **how)
    except TemplateError as error:
        raise InputError(
            f"the chat template of {value!r} refuses a question: {one_line(error)}",
            field=field,
            value=value,
            remedy="choose another model",
        ) from error


def _by_user(system: dict[str, Any], user: dict[str, Any]) -> list[dict[str, Any]]:
    first, second = system["content"], user["content"]
    whole = f"{first}\n\n{second}" if isinstance(second, str) else [*first, *second]
    return [{"role": "user", "content": whole}]
