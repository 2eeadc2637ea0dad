"""The reference code's class DEXTER and its loader, as its README uses them, over this engine.

from dexter import DEXTER, RunConfig, build_classifier_and_transforms
"""

import json
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

from PIL import Image

from dexter.classifiers import Classifier, ClassifierOptions, load_classifier
from dexter.config import RunConfig
from dexter.device import select_device
from dexter.generation.generator import Generator, generator_of
from dexter.reference_options import classifier_settings
from dexter.search.loop import Search
from dexter.search.optimize import optimize
from dexter.search.prompt import load_masked_lm
from dexter.search.score import draw_frames


class DEXTER:
    """A search in this process, without a store, that writes its results to files."""

    def __init__(self, config: RunConfig, device: str = "auto", outdir: str | Path = "out") -> None:
        self.config = config.model_copy(update={"device": device})
        self.outdir = Path(outdir)

    def analyze_classifier(self, classifier: Classifier, transforms: None = None) -> str:
        """Search words for the class and return the folder of the results.

        ``frames/*.png``: pictures of the final prompt that are classified as the class.
        ``pred_words.txt``: the words of each step whose picture was. ``words.json``: the answer.
        ``args.json``: the configuration.
        """
        config = self.config
        device = select_device(config.device)
        generator = generator_of(config, device)
        search = optimize(
            config,
            classifier=classifier,
            generator=generator,
            masked_lm=load_masked_lm(config.masked_lm, device=device),
        )
        stamp = f"{datetime.now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:8]}"
        folder = self.outdir / f"{search.class_index}_{stamp}"
        (folder / "frames").mkdir(parents=True)
        (folder / "args.json").write_text(config.model_dump_json(indent=1))
        with (folder / "pred_words.txt").open("w", encoding="utf-8") as words:
            for step in search:
                if step.predicted_class == search.class_index:
                    words.write(f"{step.words}\n")
        result = search.result
        answer = {"words": result.words, "prompt": result.prompt, "mean_loss": result.mean_loss}
        (folder / "words.json").write_text(json.dumps(answer, ensure_ascii=False, indent=1))
        self._write_frames(search, classifier, generator, result.prompt, folder / "frames")
        return str(folder)

    def _write_frames(
        self,
        search: Search,
        classifier: Classifier,
        generator: Generator,
        prompt: str,
        folder: Path,
    ) -> None:
        frames = draw_frames(
            generator,
            classifier,
            search.class_index,
            prompt,
            wanted=self.config.frames,
            tries=self.config.frame_tries,
            batch=search.picture_batch,
        )
        for frame in frames:
            if frame.hit:
                Image.fromarray(frame.image).save(folder / f"{frame.seed:04d}.png")


def build_classifier_and_transforms(
    classifier: str, device: str = "auto", use_tfms: bool = True, **options: Any
) -> tuple[Classifier, None]:
    """Load a classifier by the reference's name or a spec of this code; return it and None.

    There are no transforms: classifiers scale and normalise pictures themselves.
    ``options``: of `ClassifierOptions`, in place of those that the name stands for.
    """
    settings: dict[str, Any] = classifier_settings(classifier) | options
    spec = settings.pop("classifier")
    settings = {"classifier_input": "reference", "device": select_device(device)} | settings
    return load_classifier(spec, ClassifierOptions(**settings)), None
