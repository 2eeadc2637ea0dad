"""The CLIP text encoders of a pipeline: words, as embeddings or as text, to conditioning.

Stable Diffusion 1.x and 2.x have one, Stable Diffusion XL has two and a pooled vector of the whole
text. Callers see no difference: token embeddings of two encoders are concatenated, and the pooled
vector is one more row of the conditioning.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class _Encoder:
    tokenizer: Any
    model: Any

    @property
    def table(self) -> nn.Module:
        module: nn.Module = self.model.get_input_embeddings()
        return module

    @property
    def width(self) -> int:
        return int(self.model.config.hidden_size)


class TextEncoders:
    """The text encoders of a pipeline.

    Sizes: B rows, L word tokens, D embedding dimension, T tokens of a conditioning, C channels.
    """

    def __init__(self, pipeline: Any, *, padding: str = "tokens") -> None:
        """Take a pipeline's encoders; ``padding`` in `encode` is "tokens" or "repeat"."""
        self._encoders = [_Encoder(pipeline.tokenizer, pipeline.text_encoder)]
        second = getattr(pipeline, "text_encoder_2", None)
        if second is not None:
            self._encoders.append(_Encoder(pipeline.tokenizer_2, second))
        self._repeats_last_state = padding == "repeat"
        self._zero_when_empty = bool(pipeline.config.get("force_zeros_for_empty_prompt"))
        first = self._encoders[0]
        self.tokenizer = first.tokenizer
        self.device: torch.device = first.model.device
        self.dtype: torch.dtype = first.model.dtype
        self.embedding_dim = sum(encoder.width for encoder in self._encoders)
        self.max_length = min(
            first.tokenizer.model_max_length, first.model.config.max_position_embeddings
        )
        self.pooled_dim = 0 if second is None else int(second.config.projection_dim)
        """Channels of the pooled vector; 0 without one."""

    def token_embedding(self, ids: Tensor) -> Tensor:
        """Look up token embeddings: ids (...) to (..., D), no gradient."""
        ids = ids.to(self.device)
        tables = [encoder.model.get_input_embeddings().weight for encoder in self._encoders]
        return torch.cat([table.detach()[ids] for table in tables], dim=-1)

    def encode(self, embeddings: Tensor, lengths: Tensor) -> Tensor:
        """Encode token embeddings (B, L, D) of words to conditioning, differentiable.

        Adds start, end and padding around the ``lengths`` (B,) words as the tokenizers do;
        with ``padding`` "repeat" the end token's state is repeated instead.
        """
        length = int(lengths.max())
        lengths = lengths.to(self.device)
        position = torch.arange(self.max_length, device=self.device).expand(len(lengths), -1)
        is_word = ((position >= 1) & (position <= lengths[:, None]))[:, :, None]
        words = nn.functional.pad(
            embeddings[:, :length].to(self.device, self.dtype),
            (0, 0, 1, self.max_length - length - 1),
        )
        states, pooled = [], None
        at = 0
        for encoder in self._encoders:
            part = words[..., at : at + encoder.width]
            at += encoder.width
            tokenizer = encoder.tokenizer
            ids = torch.full_like(position, tokenizer.pad_token_id)
            # The placeholder for words must not look like the end token, where CLIP pools.
            ids[position <= lengths[:, None]] = tokenizer.bos_token_id
            ids.scatter_(1, lengths[:, None] + 1, tokenizer.eos_token_id)
            # CLIP's models take no embeddings, so the words replace the output of the table.
            handle = encoder.table.register_forward_hook(
                lambda _module, _inputs, tokens, part=part: torch.where(is_word, part, tokens)
            )
            try:
                state, pooled = self._run(encoder, ids)
            finally:
                handle.remove()
            states.append(state)
        state = torch.cat(states, dim=-1)
        if self._repeats_last_state:
            # The encoders are causal: tokens behind the end token do not change its state.
            source = torch.minimum(position, lengths[:, None] + 1)
            state = state.gather(1, source[:, :, None].expand_as(state))
        return self._join(state, pooled)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Encode texts to conditioning (len(texts), T, C), no gradient; cut long texts."""
        states, pooled = [], None
        for encoder in self._encoders:
            ids = encoder.tokenizer(
                list(texts),
                padding="max_length",
                max_length=self.max_length,
                truncation=True,
                return_tensors="pt",
            ).input_ids
            state, pooled = self._run(encoder, ids.to(self.device))
            states.append(state)
        return self._join(torch.cat(states, dim=-1), pooled)

    def unconditional(self) -> Tensor:
        """Return the conditioning (1, T, C) of no text: of "", or zeros if the pipeline says so."""
        empty = self.encode_text([""])
        return torch.zeros_like(empty) if self._zero_when_empty else empty

    def split(self, conditioning: Tensor) -> tuple[Tensor, Tensor | None]:
        """Split conditioning into the UNet's context and the pooled vectors (B, P), if any."""
        if not self.pooled_dim:
            return conditioning, None
        return conditioning[:, :-1], conditioning[:, -1, : self.pooled_dim]

    def _run(self, encoder: _Encoder, ids: Tensor) -> tuple[Tensor, Tensor | None]:
        if not self.pooled_dim:
            return encoder.model(ids).last_hidden_state, None
        # As Stable Diffusion XL was trained: the last layer but one, not normalised.
        output = encoder.model(ids, output_hidden_states=True)
        return output.hidden_states[-2], getattr(output, "text_embeds", None)

    def _join(self, state: Tensor, pooled: Tensor | None) -> Tensor:
        if pooled is None:
            return state
        row = nn.functional.pad(pooled, (0, state.shape[-1] - pooled.shape[-1]))
        return torch.cat([state, row[:, None]], dim=1)
