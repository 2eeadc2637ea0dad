"""A study with two finished runs that reports are made of, and the flags of a small report."""

import io
from pathlib import Path

import numpy as np
import recorded
import short_run
import tiny
from PIL import Image

from dexter.config import RunConfig
from dexter_tui.jobs import trust
from store import State, Store, run_queue


def config(seed: int = 0) -> RunConfig:
    return RunConfig.from_preset(
        "quick",
        classifier=f"hf:{tiny.classifier_folder()}",
        class_name="waterbird",
        generator=str(tiny.generator_folder()),
        masked_lm=str(tiny.masked_lm_folder()),
        template="a picture of a bird with [MASK] and [MASK]",
        device="cpu",
        diffusion_steps=1,
        seed=seed,
    )


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def add_study(home: Path, **changes: object) -> str:
    """Record a study of two finished runs with three frames each; return its id."""
    with Store.open(home) as store:
        spec, settings = config().classifier, config().model_copy(update=changes)
        weights = trust.describe_here(config()).weights_hash
        classifier = store.ensure_classifier(spec, weights, tiny.LABELS, tiny.IMAGE_SIZE)
        study = store.ensure_study(classifier, "waterbird", 0, settings.study_settings())
        for seed, words in enumerate((["sea", "boat"], ["sea", "snow"])):
            own = settings.model_copy(update={"seed": seed})
            run = _begun(store, study, own)
            prompt = _prompt(words)
            for number in range(4):
                recorded.record_frame(
                    store,
                    run,
                    kind="frame",
                    seed=number,
                    prompt=prompt,
                    predicted_class=0 if number else 1,
                    target_probability=0.9,
                    hit=number > 0,
                    sha256=store.put_artifact(png(10 * seed + number), "image/png"),
                )
            _end(store, run, words, (0.5 + seed / 10, 0.3, 0.8))
        return study


def add_embeddings(store: Store, like: str, **changes: object) -> str:
    """Record a finished search for embeddings beside a study; return its study's id."""
    settings = config().model_copy(update={"search": "continuous", **changes})
    study = store.ensure_study(
        store.study(like).classifier_id, "waterbird", 0, settings.study_settings()
    )
    _end(store, _begun(store, study, settings), ["≈lake", "≈red"])
    return study


def searched(store: Store, classifier: int, settings: RunConfig, words: list[str]) -> str:
    """Record a finished search of a classifier that found these words; return its run's id."""
    study = store.ensure_study(classifier, "waterbird", 0, settings.study_settings())
    run = _begun(store, study, settings)
    _end(store, run, words)
    return run


def _begun(store: Store, study: str, settings: RunConfig) -> str:
    """Record a run that its worker began; return its id."""
    run = recorded.add_run(store, study, settings.seed, settings.model_dump(mode="json"))
    run_queue.claim(store, ids=[run])
    run_queue.set_state(store, run, State.RUNNING)
    return run


def _prompt(words: list[str]) -> str:
    return f"a picture of a bird with {' and '.join(words)}"


def _end(
    store: Store, run: str, words: list[str], score: tuple[float, float, float] = (0.8, 0.5, 0.9)
) -> None:
    """End a run that found these words, with a score and its interval."""
    value, low, high = score
    run_queue.finish_run(
        store,
        run,
        State.SUCCEEDED,
        words=words,
        prompt=_prompt(words),
        score_value=value,
        score_low=low,
        score_high=high,
        score_n=10,
        score_hits=round(10 * value),
    )


def options(**changes: object) -> list[str]:
    """Flags of a small report, some of them changed."""
    values: dict[str, object] = {
        "image_text": tiny.image_text_folder(),
        "candidates": 2,
        "placebos": 2,
        "score_images": 2,
        "score_captions": 2,
        "attribution_seeds": 2,
        "tries": 1,
        "timeout": 300,
    }
    return short_run.flags({**values, **changes})
