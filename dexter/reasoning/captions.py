"""The captions of pictures, by a local image-text-to-text model or an endpoint."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dexter.errors import InputError
from dexter.reasoning.chat import Answer, ChatError, Endpoint, in_parallel, picture_message

MAX_TOKENS = 120
MAX_CHARACTERS = 2000


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

    def __init__(
        self, spec: str, system_prompt: str, *, device: str = "cpu", batch: int = 8
    ) -> None:
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModelForImageTextToText, AutoProcessor

        from dexter.loading import LOADING_ERRORS, one_line, quiet

        folder = model_folder(spec, "captioner")
        try:
            with quiet():
                self._processor: Any = AutoProcessor.from_pretrained(
                    folder, local_files_only=True, trust_remote_code=False
                )
                self._model: Any = AutoModelForImageTextToText.from_pretrained(
                    folder, local_files_only=True, trust_remote_code=False
                )
        except (*LOADING_ERRORS, SafetensorError) as error:
            raise InputError(
                f"captioner {spec!r} cannot be loaded: {one_line(error)}", field="vlm", value=spec
            ) from error
        if not getattr(self._processor, "chat_template", None):
            raise InputError(
                f"captioner {spec!r} has no chat template",
                field="vlm",
                value=spec,
                remedy="choose a chat model",
            )
        self._model.requires_grad_(False).eval().to(device)
        self._device = torch.device(device)
        self._system_prompt = system_prompt
        self._batch = batch
        self.name = spec
        self.failure: str | None = None

    def caption(self, pictures: Sequence[bytes]) -> Iterator[Caption]:
        import torch
        from PIL import Image

        for at in range(0, len(pictures), self._batch):
            chunk = pictures[at : at + self._batch]
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
            ).to(self._device)
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
            messages = [self._system, picture_message("", item[1])]
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


def model_folder(spec: str, kind: str) -> Path:
    """Return the folder of a language model: "lab", a folder, or a hub id to download."""
    from huggingface_hub import snapshot_download

    from dexter import model_folders
    from dexter.loading import fetch

    if spec == "lab":
        return model_folders.find("lab", kind)
    return fetch(spec, kind, snapshot_download)
