"""The path from soft prompt to words: the masked LM proposes a word for each mask of a template.

A frozen masked LM reads "soft prompt + template". Its logits at the masks, restricted to the
candidate words, are the distribution from which words are sampled. Only the soft prompt is learned
(paper, sections 3.1 and 3.3). The sampled words, or a relaxation that passes gradients, become the
generator's token embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dexter import model_folders
from dexter.config import MASK, RunConfig
from dexter.errors import InputError
from dexter.loading import LOADING_ERRORS, one_line, quiet
from dexter.planning.identity import cached_folder
from dexter.search.vocabulary import Vocabulary, build_vocabulary, whole_vocabulary, words_of

if TYPE_CHECKING:
    from dexter.generation.generator import Generator


@dataclass(frozen=True)
class MaskedLM:
    """A frozen Hugging Face masked language model and its tokenizer."""

    spec: str
    model: Any
    tokenizer: Any


def load_masked_lm(
    spec: str = "lab", *, device: str = "cpu", root: Path | str | None = None
) -> MaskedLM:
    """Load and freeze a masked LM, always in float32: it is small compared to the generator.

    ``spec`` is "lab", a Hugging Face folder or a hub id (BERT, RoBERTa, DistilBERT, ...). Raises
    InputError if there is no such model, or if its weights have no masked-LM head.
    """
    import transformers
    from safetensors import SafetensorError

    source = model_folders.find("lab", "masked_lm", root=root) if spec == "lab" else spec
    try:
        with quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(source, trust_remote_code=False)
            model, loaded = transformers.AutoModelForMaskedLM.from_pretrained(
                source,
                dtype=torch.float32,
                output_loading_info=True,
                trust_remote_code=False,
            )
    except (*LOADING_ERRORS, SafetensorError) as error:
        raise InputError(
            f"{spec!r} cannot be loaded: {one_line(error)}", field="masked_lm", value=spec
        ) from error
    if loaded["missing_keys"]:
        raise InputError(
            f"{spec!r} is not a masked language model: it has no weights for "
            f"{sorted(loaded['missing_keys'])[0]}",
            field="masked_lm",
            value=spec,
            remedy="choose one, such as bert-base-uncased",
        )
    if tokenizer.mask_token_id is None:
        raise _no_mask(spec)
    return MaskedLM(spec, model.requires_grad_(False).eval().to(device), tokenizer)


def _no_mask(spec: str) -> InputError:
    return InputError(
        f"the tokenizer of {spec!r} has no mask token",
        field="masked_lm",
        value=spec,
        remedy="choose another model",
    )


@dataclass(frozen=True)
class Sample:
    """A draw of B prompts from the distribution of words: M masks, V candidate words."""

    indices: Tensor
    """(B, M) int64: the words, as indices into the vocabulary."""
    relaxed: Tensor
    """(B, M, V): the Gumbel-softmax of each draw; it passes gradients to the logits."""


class PromptModel:
    """A template, its candidate words, and the soft prompt that chooses among them.

    Shapes: M masks, V candidate words, P soft-prompt vectors, D embedding dimension (generator).

    The soft prompt stands between the masked LM's start token ([CLS]) and the template's first
    word. The paper says "prepended". Its code puts the soft prompt before [CLS] and passes the
    template through the embedding block twice, so words get two positions and two norms
    (``embedded_twice``). Here the start token keeps its pretrained position, and the soft prompt
    stands where the lab's masked LM learned to find keywords: in front of the sentence.
    """

    def __init__(
        self,
        masked_lm: MaskedLM,
        generator: Generator,
        vocabulary: Vocabulary,
        template: str,
        *,
        suffix: str = "",
        soft_tokens: int = 4,
        embedded_twice: bool = False,
        rng: torch.Generator | None = None,
    ) -> None:
        """Embed the template and draw the first soft prompt with ``rng`` (CPU).

        ``template`` contains each [MASK]; only the generator reads ``suffix``. Raises InputError
        for a template that one of the two models cannot read.
        """
        self.vocabulary = vocabulary
        self.masks = template.count(MASK)
        self._generator = generator
        self._model = masked_lm.model
        self._device = generator.device

        ids = _masked_lm_ids(
            masked_lm.spec, masked_lm.tokenizer, masked_lm.model.config, template, soft_tokens
        )
        self._ids = ids.to(self._device)
        self._mask_at = (ids == masked_lm.tokenizer.mask_token_id).nonzero()[:, 0].to(self._device)
        self._candidates = vocabulary.masked_lm_ids.to(self._device)
        with torch.no_grad():
            fixed = _embed(masked_lm, self._ids, twice=embedded_twice)
        starts = int(ids[0]) in masked_lm.tokenizer.all_special_ids and bool(
            ids[0] != masked_lm.tokenizer.mask_token_id
        )
        self._soft_at = int(starts and not embedded_twice)
        self._before, self._after = fixed[: self._soft_at], fixed[self._soft_at :]
        self.soft_prompt = nn.Parameter(
            torch.randn(soft_tokens, fixed.shape[1], generator=rng).to(fixed)
        )
        """(P, hidden size of the masked LM), float32: the only learned parameter."""

        self._pieces = template_pieces(template, suffix)
        self._piece_ids = [_generator_ids(generator.tokenizer, piece) for piece in self._pieces]

    @classmethod
    def from_config(
        cls,
        config: RunConfig,
        masked_lm: MaskedLM,
        generator: Generator,
        *,
        class_label: str = "",
        others: Sequence[str] = (),
        rng: torch.Generator | None = None,
    ) -> PromptModel:
        """Build vocabulary and prompt from ``config``; exclude_class_name reads ``class_label``,
        direction "lower" the labels of the ``others``."""
        return cls(
            masked_lm,
            generator,
            _vocabulary(
                config,
                masked_lm.tokenizer,
                generator.tokenizer,
                generator.max_length,
                class_label,
                others,
            ),
            config.template_text,
            suffix=config.suffix,
            soft_tokens=config.soft_tokens,
            embedded_twice=config.masked_lm_input == "twice",
            rng=rng,
        )

    def token_logits(self) -> Tensor:
        """Return the masked LM's logits (L, all tokens) at each of the template's L tokens.

        They are differentiable in the soft prompt.
        """
        inputs = torch.cat([self._before, self.soft_prompt, self._after])[None]
        mask = torch.ones(inputs.shape[:2], dtype=torch.int64, device=self._device)
        logits: Tensor = self._model(inputs_embeds=inputs, attention_mask=mask).logits[0]
        behind = self._soft_at + len(self.soft_prompt)
        return torch.cat([logits[: self._soft_at], logits[behind:]])

    def logits(self, token_logits: Tensor | None = None) -> Tensor:
        """Return logits (M, V) of the candidate words per mask, differentiable in the soft prompt.

        Pass ``token_logits`` to avoid computing them twice.
        """
        token_logits = self.token_logits() if token_logits is None else token_logits
        return token_logits[self._mask_at][:, self._candidates]

    def labels(self, words: Sequence[int]) -> Tensor:
        """Return the masked LM's tokens (L,) of the template filled with ``words`` (indices)."""
        labels = self._ids.clone()
        labels[self._mask_at] = self._candidates[torch.tensor(words, device=self._device)]
        return labels

    def sample(
        self,
        count: int,
        temperature: float,
        rng: torch.Generator,
        logits: Tensor | None = None,
    ) -> Sample:
        """Draw ``count`` prompts by the Gumbel-max trick, with their relaxation.

        The words come from softmax(logits) at any temperature; the temperature shapes only the
        relaxation softmax((logits + Gumbel noise) / temperature) (Jang et al. 2017). ``rng`` is
        a CPU generator. Pass ``logits`` to avoid computing them twice.
        """
        logits = self.logits() if logits is None else logits
        uniform = torch.empty(count, *logits.shape).exponential_(generator=rng)
        gumbel = -uniform.clamp_min(torch.finfo(torch.float32).tiny).log()
        noisy = (logits + gumbel.to(logits)) / temperature
        return Sample(noisy.argmax(-1), noisy.softmax(-1))

    def embeddings(
        self, indices: Tensor, relaxed: Tensor | None = None, *, hard: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Return token embeddings (B, L, D) and lengths (B,) of prompts, for Generator.encode.

        ``indices`` (B, M) are the words. With ``relaxed`` (B, M, V) the values are still those
        of the words, but the gradient is that of the mixture of all words weighted by ``relaxed``
        (straight-through). ``hard=False`` returns the mixture itself.

        At the k-th token of a word the mixture is of the k-th tokens of all words; a shorter word
        contributes its last token.
        """
        rows, places = self._tokens(indices)
        lengths = torch.tensor([len(row) for row in rows])
        padded = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
        embedded = self._embedding(padded)
        if relaxed is None:
            return embedded, lengths
        for at, where in enumerate(places):
            b, m, position = torch.tensor(where, device=embedded.device).unbind(1)
            column = min(at, self.vocabulary.token_ids.shape[1] - 1)
            table = self._embedding(self.vocabulary.token_ids[:, column])
            mixture = relaxed[b, m] @ table
            value = mixture.detach() if hard else embedded[b, position]
            embedded = embedded.index_put((b, position), mixture - value, accumulate=True)
        return embedded, lengths

    def embeddings_of(self, vectors: Tensor) -> Tensor:
        """Return token embeddings (L, D) of the template with vectors (M, D) in place of words."""
        parts = [self._embedding(torch.tensor(self._piece_ids[0], dtype=torch.int64))]
        for vector, ids in zip(vectors, self._piece_ids[1:], strict=True):
            parts += [vector[None], self._embedding(torch.tensor(ids, dtype=torch.int64))]
        return torch.cat(parts)

    def words(self, indices: Tensor | Sequence[int]) -> tuple[str, ...]:
        """Return the words of a prompt, (M,) indices."""
        return tuple(self.vocabulary.words[int(i)] for i in indices)

    def text(self, indices: Tensor | Sequence[int]) -> str:
        """Return a prompt, (M,) indices, as the text for the generator."""
        return self.text_of(self.words(indices))

    def text_of(self, words: Sequence[str]) -> str:
        """Return the prompt with M words."""
        return self._pieces[0] + "".join(
            word + piece for word, piece in zip(words, self._pieces[1:], strict=True)
        )

    def _embedding(self, ids: Tensor) -> Tensor:
        """Return token embeddings (..., D) of ids (...); zero for an id of -1."""
        embedded = self._generator.token_embedding(ids.clamp_min(0))
        return embedded * (ids >= 0).to(embedded)[..., None]

    def _tokens(self, indices: Tensor) -> tuple[list[list[int]], list[list[tuple[int, int, int]]]]:
        """Return the generator's tokens of each prompt, and the places of the words' tokens.

        The second list holds (row, mask, position in the row) of the k-th tokens of all words.
        """
        rows: list[list[int]] = []
        places: list[list[tuple[int, int, int]]] = []
        for b, prompt in enumerate(indices.tolist()):
            row = list(self._piece_ids[0])
            for m, word in enumerate(prompt):
                length = int(self.vocabulary.lengths[word])
                places.extend([] for _ in range(length - len(places)))
                for k in range(length):
                    places[k].append((b, m, len(row) + k))
                row += self.vocabulary.token_ids[word, :length].tolist()
                row += self._piece_ids[m + 1]
            rows.append(row)
        return rows, places


def check_prompt(
    config: RunConfig,
    class_label: str = "",
    others: Sequence[str] = (),
    *,
    root: Path | str | None = None,
) -> None:
    """Check the masked LM, and template and words against the tokenizers of both models.

    Raises InputError as the search would. Passes over models that are not on this machine.
    """
    from transformers import AutoConfig, CLIPTokenizer

    words = _folder(config.masked_lm, "masked_lm", root)
    pictures = _folder(config.generator, "generator", root)
    if words is None or pictures is None:
        return
    masked_lm = load_masked_lm(str(words))
    try:
        with quiet():
            clip = CLIPTokenizer.from_pretrained(pictures, subfolder="tokenizer")
            encoder = AutoConfig.from_pretrained(pictures, subfolder="text_encoder")
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, ImportError) as error:
        raise InputError(
            f"{config.generator!r} cannot be loaded: {one_line(error)}",
            field="generator",
            value=config.generator,
        ) from error
    longest = min(clip.model_max_length, encoder.max_position_embeddings)
    tokenizer, settings = masked_lm.tokenizer, masked_lm.model.config
    _vocabulary(config, tokenizer, clip, longest, class_label, others)
    _masked_lm_ids(config.masked_lm, tokenizer, settings, config.template_text, config.soft_tokens)


def _folder(spec: str, part: str, root: Path | str | None) -> Path | None:
    """Return a model's folder, also in the hub's cache; None if it is not whole on this machine."""
    if spec == "lab":
        return model_folders.find("lab", part, root=root)
    folder = Path(spec).expanduser()
    if folder.is_dir():
        return folder
    cached = cached_folder(spec)
    if cached is None:
        return None
    needed = {
        "masked_lm": ("config.json", "tokenizer*", "model*.safetensors"),
        "generator": ("tokenizer/*", "text_encoder/config.json"),
    }[part]
    return cached if all(any(cached.glob(pattern)) for pattern in needed) else None


def _vocabulary(
    config: RunConfig,
    masked_lm: Any,
    generator: Any,
    max_length: int,
    class_label: str,
    others: Sequence[str],
) -> Vocabulary:
    """Return the candidate words of a run, by both tokenizers; raise InputError for none.

    A search that lowers the class leaves out the words that name another: a picture of both loses
    the class trivially.
    """
    pieces = template_pieces(config.template_text, config.suffix)
    fixed = sum(len(_generator_ids(generator, piece)) for piece in pieces)
    room = (max_length - 2 - fixed) // config.masks
    if room < 1:
        raise InputError(
            f"{fixed} tokens and {config.masks} masks exceed the limit of {config.generator}, "
            f"{max_length - 2} tokens",
            field="template",
            value=config.template,
            remedy="shorten it",
        )
    exclude = list(config.exclude_words)
    if config.exclude_class_name:
        exclude += words_of(class_label)
    if config.direction == "lower":
        names = [words_of(label.split(",")[0]) for label in others]
        exclude += [words[0] for words in names if len(words) == 1]
    if config.vocabulary == "masked-lm":
        return whole_vocabulary(masked_lm, generator)
    return build_vocabulary(
        masked_lm, generator, words=config.words, exclude=exclude, max_tokens=room
    )


def template_pieces(template: str, suffix: str = "") -> list[str]:
    """Return the generator's text around M masks, in M + 1 pieces.

    It drops the final period: only the masked LM reads sentences.
    """
    pieces = template.rstrip().removesuffix(".").split(MASK)
    if suffix and suffix[0].isalnum():
        suffix = " " + suffix
    pieces[-1] += suffix
    return pieces


def _embed(masked_lm: MaskedLM, ids: Tensor, *, twice: bool) -> Tensor:
    """Return embeddings (L, hidden size) of tokens (L,), to be joined with the soft prompt.

    The model adds positions and norm; with ``twice`` its embedding block adds them once before.
    Raises InputError if ``twice`` is set and the model has no embedding block.
    """
    if not twice:
        words: Tensor = masked_lm.model.get_input_embeddings()(ids)
        return words
    block = getattr(masked_lm.model.base_model, "embeddings", None)
    if block is None:
        raise InputError(
            f"{masked_lm.spec} has no embedding block to pass twice",
            field="masked_lm_input",
            value="twice",
            remedy="choose once",
        )
    embedded: Tensor = block(input_ids=ids[None])[0]
    return embedded


def _masked_lm_ids(
    spec: str, tokenizer: Any, settings: Any, template: str, soft_tokens: int
) -> Tensor:
    """Return the masked LM's tokens (L,) of the template, special tokens included."""
    text = template.replace(MASK, tokenizer.mask_token)
    ids = torch.tensor(tokenizer(text)["input_ids"])
    unknown = tokenizer.unk_token_id
    if unknown is not None and bool((ids == unknown).any()):
        fixed = template.replace(MASK, " ").split()
        lost = [w for w in fixed if unknown in tokenizer(w, add_special_tokens=False)["input_ids"]]
        raise InputError(
            f"{spec} has no token for {', '.join(map(repr, lost))}",
            field="template",
            value=template,
            remedy="choose other words",
        )
    longest = getattr(settings, "max_position_embeddings", None)
    # RoBERTa's positions start after its padding index.
    if longest is not None and len(ids) + soft_tokens + 2 > longest:
        raise InputError(
            f"{soft_tokens} and a template of {len(ids)} tokens exceed the limit of "
            f"{spec}, {longest - 2} tokens",
            field="soft_tokens",
            value=soft_tokens,
            remedy="choose fewer, or shorten the template",
        )
    return ids


def _generator_ids(tokenizer: Any, text: str) -> list[int]:
    if not text.strip():
        return []
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
