"""The lab's readers of pictures: an image-text model and a captioner.

Both are standard architectures (CLIP, Radford et al. 2021; LLaVA, Liu et al. 2023) that
`from_pretrained` opens. The evidence uses the image-text model to detect concepts, by comparing the
similarities to "a picture of a WORD" and "a picture". The model is trained on that question as well
as on the usual contrast of captions.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from dexter.lab import models, world
from dexter.lab.scenes import SIZE, Scene, caption, full_caption

PATCH = 8
NOTHING = "a picture"
WORDS = world.CONTENT_WORDS
SPECIAL = ("[PAD]", "[UNK]", "<s>", "</s>", "<image>")

# Only the pictures of a message are read; its text is ignored.
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['content'] is not string %}"
    "{% for part in message['content'] %}{% if part['type'] in ['image', 'image_url'] %}<image>"
    "{% endif %}{% endfor %}{% endif %}{% endfor %}{% if add_generation_prompt %} <s>{% endif %}"
)


def prompt(word: str) -> str:
    """Return the text that the image-text model compares for a word."""
    return f"a picture of a {word}"


def truth(scene: Scene) -> np.ndarray:
    """Return, for each of `WORDS`, 1 if the scene shows it, 0 if not, nan if it does not apply.

    "brown", for example, describes hair and does not apply to a bear.
    """
    values = np.zeros(len(WORDS), dtype=np.float32)
    person = scene.subject in world.PEOPLE
    applies: dict[str, tuple[Collection[str], bool]] = {
        "colour": (world.COLOURS, scene.subject in world.COLOURABLE),
        "hair": (world.HAIR, person),
        "skin": (world.SKIN, person),
        "age": (world.AGES, scene.age is not None),
    }
    shown = {scene.subject, scene.background, *scene.items}
    shown |= {kind for kind, members in world.KINDS.items() if shown & set(members)}
    shown |= {scene.colour, scene.hair, scene.skin, scene.age}
    unknown = {word for words, known in applies.values() if not known for word in words}
    for i, word in enumerate(WORDS):
        values[i] = np.nan if word in unknown else float(word in shown)
    return values


# --- image-text model -----------------------------------------------------------------------------


def _vision_config() -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=256,
        projection_dim=models.HIDDEN,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=SIZE,
        patch_size=PATCH,
    )


def image_text(tokenizer: CLIPTokenizer) -> CLIPModel:
    text = models.text_encoder(tokenizer).config
    return CLIPModel(
        CLIPConfig(
            text_config=text.to_dict(),
            vision_config=_vision_config().to_dict(),
            projection_dim=models.HIDDEN,
        )
    )


def image_processor() -> CLIPImageProcessorPil:
    """Return a processor of pictures of any size to (3, 64, 64) in [-1, 1]."""
    return CLIPImageProcessorPil(
        size={"height": SIZE, "width": SIZE},
        do_center_crop=False,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )


def image_text_processor(tokenizer: CLIPTokenizer) -> CLIPProcessor:
    return CLIPProcessor(image_processor(), tokenizer)


class Eyes(nn.Module):
    """The vision tower of both readers, with a head that classifies words directly.

    It is trained first. Trained through text similarities or captions, the tower learns only places
    in 50,000 pictures; with this head it starts to learn subjects after 20,000.
    """

    def __init__(self) -> None:
        super().__init__()
        self.vision = CLIPVisionModel(_vision_config())
        self.head = nn.Linear(self.vision.config.hidden_size, len(WORDS))


def eyes_loss(module: Any, pictures: Tensor, scenes: list[Scene]) -> Tensor:
    """Return the loss of the words that pictures show."""
    return _shown_loss(module.head(module.vision(pictures).pooler_output), scenes)


def _shown_loss(logits: Tensor, scenes: list[Scene]) -> Tensor:
    """Return the cross-entropy of logits (B, len(WORDS)).

    It is summed over the words that apply and averaged over the pictures.
    """
    targets = torch.from_numpy(np.stack([truth(scene) for scene in scenes]))
    known = ~targets.isnan()
    total = functional.binary_cross_entropy_with_logits(
        logits[known], targets[known], reduction="sum"
    )
    return total / len(scenes)


class ImageText(nn.Module):
    """The image-text model and its tokenizer; features have length 1."""

    def __init__(self) -> None:
        super().__init__()
        self.tokenizer = models.clip_tokenizer()
        self.clip = image_text(self.tokenizer)

    def texts(self, texts: list[str]) -> Tensor:
        """Return features (B, HIDDEN) of texts."""
        ids = self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        pooled = self.clip.text_model(**ids).pooler_output
        features: Tensor = functional.normalize(self.clip.text_projection(pooled), dim=-1)
        return features

    def pictures(self, pictures: Tensor) -> Tensor:
        """Return features (B, HIDDEN) of pictures (B, 3, 64, 64) in [-1, 1]."""
        pooled = self.clip.vision_model(pictures).pooler_output
        features: Tensor = functional.normalize(self.clip.visual_projection(pooled), dim=-1)
        return features

    def shown(self, features: Tensor) -> Tensor:
        """Return logits (B, len(WORDS)) of picture features: positive if the word is shown."""
        words = self.texts([*map(prompt, WORDS), NOTHING])
        similarity: Tensor = features @ words.T * self.clip.logit_scale.exp()
        return similarity[:, :-1] - similarity[:, -1:]


def image_text_loss(
    module: Any, pictures: Tensor, scenes: list[Scene], rng: np.random.Generator
) -> Tensor:
    """Return the loss of the shown words plus the captions' contrast (CLIP's cross-entropy)."""
    seen = module.pictures(pictures)
    captions = [
        caption(scene, rng) if rng.random() < 0.5 else full_caption(scene) for scene in scenes
    ]
    scale = module.clip.logit_scale.exp()
    similarity = seen @ module.texts(captions).T * scale
    own = torch.arange(len(scenes))
    contrast = functional.cross_entropy(similarity, own) + functional.cross_entropy(
        similarity.T, own
    )
    total: Tensor = _shown_loss(module.shown(seen), scenes) + 0.25 * contrast
    return total


# --- captioner ------------------------------------------------------------------------------------


def caption_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token per word of the world."""
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *world.WORDS])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=["<image>"],
        padding_side="left",
        model_max_length=128,
    )


def captioner() -> LlavaForConditionalGeneration:
    text = LlamaConfig(
        vocab_size=len(SPECIAL) + len(world.WORDS),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
        tie_word_embeddings=True,
    )
    return LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=_vision_config().to_dict(),
            text_config=text.to_dict(),
            image_token_index=SPECIAL.index("<image>"),
            vision_feature_layer=-1,
            vision_feature_select_strategy="default",
            image_seq_length=(SIZE // PATCH) ** 2,
            tie_word_embeddings=True,
        )
    )


def captioner_processor() -> LlavaProcessor:
    return LlavaProcessor(
        image_processor=image_processor(),
        tokenizer=caption_tokenizer(),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


@cache
def _words() -> PreTrainedTokenizerFast:
    return caption_tokenizer()


def captioner_loss(module: Any, pictures: Tensor, scenes: list[Scene]) -> Tensor:
    """Return the cross-entropy of full captions after their pictures."""
    tokenizer = _words()
    image = [SPECIAL.index("<image>")] * module.config.image_seq_length
    rows = []
    for scene in scenes:
        words = tokenizer.convert_tokens_to_ids(full_caption(scene).split())
        rows.append([*image, 2, *words, 3])
    length = max(map(len, rows))
    ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    labels = ids.masked_fill(ids == 0, -100)
    labels[:, : len(image) + 1] = -100
    out = module(
        input_ids=ids, attention_mask=(ids != 0).long(), pixel_values=pictures, labels=labels
    )
    loss: Tensor = out.loss
    return loss


def save(model: Any, processor: Any, folder: Path) -> None:
    """Save a folder that `AutoModel…` and `AutoProcessor.from_pretrained` open, in fp16."""
    folder.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(folder)
    processor.save_pretrained(folder)
    generation = folder / "generation_config.json"
    if generation.exists():
        settings = json.loads(generation.read_text())
        settings.update(do_sample=False, max_new_tokens=24)
        generation.write_text(json.dumps(settings, indent=2) + "\n")
