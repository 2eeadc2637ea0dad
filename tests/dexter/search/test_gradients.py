"""The gradient of the image loss by word embeddings, against central differences in float64."""

import pytest
import tiny
import torch

from dexter.classifiers import ClassifierOptions, load_classifier
from dexter.generation.generator import load_generator
from dexter.generation.options import GeneratorOptions

TEXTS = ["a picture of a bird", "a seagull"]
SEEDS = [3, 4]  # the noise is held by the seeds


def image_losses(generator, classifier, embeddings, lengths, seeds, **options):
    """Each picture's cross-entropy and a feature, from word embeddings (B, L, D)."""
    images = generator.sample(generator.encode(embeddings, lengths), seeds, **options)
    output = classifier(images)
    target = torch.zeros(len(images), dtype=torch.long)
    loss = torch.nn.functional.cross_entropy(output.logits, target, reduction="none")
    return loss - output.features[:, 1]


def words_of(generator):
    ids = [generator.tokenizer(text, add_special_tokens=False).input_ids for text in TEXTS]
    lengths = torch.tensor([len(row) for row in ids])
    padded = torch.tensor([row + [0] * (int(lengths.max()) - len(row)) for row in ids])
    return generator.token_embedding(padded), lengths


@pytest.mark.parametrize(
    ("scheduler", "guidance", "checkpointing"),
    [("LCM", 1.0, "none"), ("LCM", 1.0, "all"), ("DDIM", 2.0, "none"), ("PNDM", 1.0, "none")],
)
def test_agrees_with_central_differences(scheduler, guidance, checkpointing):
    classifier = load_classifier(
        f"hf:{tiny.classifier_folder()}", ClassifierOptions(dtype="float64")
    )
    generator = load_generator(
        str(tiny.generator_folder()),
        GeneratorOptions(scheduler=scheduler, guidance=guidance, dtype="float64"),
    )
    embeddings, lengths = words_of(generator)
    assert embeddings.dtype == torch.float64
    leaf = embeddings.clone().requires_grad_()
    image_losses(
        generator, classifier, leaf, lengths, SEEDS, gradient_checkpointing=checkpointing
    ).sum().backward()

    for row, gradient in enumerate(leaf.grad):
        # The steepest coordinates, some at random, and the whole gradient at once.
        steepest = gradient.abs().flatten().topk(3).indices
        others = torch.randint(
            int(lengths[row]) * generator.embedding_dim,
            (3,),
            generator=torch.Generator().manual_seed(row),
        )
        single = torch.eye(gradient.numel(), dtype=torch.float64)[torch.cat([steepest, others])]
        directions = torch.cat([single, gradient.reshape(1, -1) / gradient.norm()])
        directions = directions.view(-1, *gradient.shape)
        step = 1e-6  # small, for clamps and rectifiers have kinks
        moved = torch.cat(
            [embeddings[row] + step * directions, embeddings[row] - step * directions]
        )
        with torch.no_grad():
            ahead, behind = image_losses(
                generator,
                classifier,
                moved,
                lengths[row].expand(len(moved)),
                [SEEDS[row]] * len(moved),
            ).chunk(2)
        expected = (directions * gradient).sum((1, 2))
        peak = gradient.abs().max()
        assert peak > 0
        assert ((ahead - behind) / (2 * step) - expected).abs().max() < 1e-4 * peak


def test_words_have_one_and_padding_has_none():
    classifier = load_classifier(f"hf:{tiny.classifier_folder()}")
    generator = load_generator(str(tiny.generator_folder()), GeneratorOptions(scheduler="LCM"))
    embeddings, lengths = words_of(generator)
    embeddings.requires_grad_()
    image_losses(generator, classifier, embeddings, lengths, SEEDS).sum().backward()
    for gradient, length in zip(embeddings.grad, lengths, strict=True):
        assert (gradient[:length].abs().amax(1) > 0).all()
        assert (gradient[length:] == 0).all()
