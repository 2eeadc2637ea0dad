"""The one interface to a classifier, whatever it comes from: pictures to logits and features."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from dexter.classifiers.options import Options
from dexter.device import torch_dtype
from dexter.errors import InputError
from dexter.loading import hash_tensors, module_tensors


@dataclass(frozen=True)
class ClassifierOutput:
    """Of B pictures: logits (B, K) of K classes and features (B, F), float32, differentiable."""

    logits: Tensor
    features: Tensor


@dataclass(frozen=True)
class Preprocessing:
    """Square pictures in [0, 1] to what a network was trained on; differentiable.

    resize: side in px to scale to; crop: side in px of the centre that is kept; mode: of
    ``torch.nn.functional.interpolate``; scale: what 1.0 becomes before mean and std are used;
    antialias: with PIL's kernels, also when it enlarges.
    """

    resize: int
    crop: int
    mode: str = "bilinear"
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    antialias: bool = True

    def __call__(self, images: Tensor) -> Tensor:
        if images.shape[-1] != self.resize:
            smooth = self.mode != "nearest"
            images = nn.functional.interpolate(
                images,
                size=(self.resize, self.resize),
                mode=self.mode,
                align_corners=False if smooth else None,
                antialias=smooth and self.antialias,
            )
            if self.mode == "bicubic":
                images = images.clamp(0, 1)  # it overshoots, which bytes could not
        if self.crop != self.resize:
            at = (self.resize - self.crop) // 2
            images = images[..., at : at + self.crop, at : at + self.crop]
        shape = (-1, 1, 1)
        mean = torch.tensor(self.mean, dtype=images.dtype, device=images.device).view(shape)
        std = torch.tensor(self.std, dtype=images.dtype, device=images.device).view(shape)
        return (images * self.scale - mean) / std

    def as_reference(self, side: int | None = None) -> "Preprocessing":
        """The same, but scaled to ``side`` without smoothing and not cropped (reference code)."""
        side = side or self.resize
        return replace(self, resize=side, crop=side, mode="bilinear", antialias=False)


class Classifier:
    """A frozen image classifier with its labels and preprocessing.

    spec: where it came from, paths absolute. labels: names of the K classes. image_size: side
    in px of the pictures that its network sees. weights_hash: SHA-256 (hex) of its weights.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        spec: str,
        labels: Sequence[str] | None,
        preprocessing: Preprocessing,
        weights_hash: str,
        device: str,
        dtype: torch.dtype,
        feature_module: nn.Module | None = None,
    ) -> None:
        """Freezes ``module``, moves it and tries it on one empty picture.

        ``labels`` None: "class 0", "class 1" and so on. ``feature_module``: its output is the
        features; otherwise they are what the last linear layer reads. Raises InputError for a
        module that does not give logits (B, K), K > 1, or another number than ``labels``.
        """
        self.spec = spec
        self.image_size = preprocessing.crop
        self.weights_hash = weights_hash
        self.device = torch.device(device)
        self.dtype = dtype
        self._module = module.requires_grad_(False).eval().to(self.device, dtype)
        self._preprocessing = preprocessing
        self._feature_module = feature_module
        self._head: nn.Linear | None = None
        classes, head = self._try_out()
        if labels is not None and len(labels) != classes:
            raise InputError(f"classifier {spec} has {classes} classes, but {len(labels)} labels")
        self.labels = list(labels or (f"class {index}" for index in range(classes)))
        if feature_module is None:
            self._head = head

    def __call__(self, images: Tensor) -> ClassifierOutput:
        """Classify pictures (B, 3, H, W) in [0, 1], square, of any size and on any device.

        Features are empty (B, 0) for a module without a last linear layer or feature module.
        """
        seen: list[Tensor] = []

        def keep_input(_layer: nn.Module, inputs: tuple[Any, ...]) -> None:
            seen.append(inputs[0])

        def keep_output(_layer: nn.Module, _inputs: Any, output: Any) -> None:
            seen.append(output)

        handles = []
        if self._feature_module is not None:
            handles.append(self._feature_module.register_forward_hook(keep_output))
        elif self._head is not None:
            handles.append(self._head.register_forward_pre_hook(keep_input))
        try:
            logits = self._logits(images)
        finally:
            for handle in handles:
                handle.remove()
        features = _as_rows(seen[-1]) if seen else logits.new_zeros(len(logits), 0)
        precise = torch.promote_types(self.dtype, torch.float32)
        return ClassifierOutput(logits.to(precise), features.to(precise))

    def class_weight(self, index: int) -> Tensor | None:
        """What the last linear layer adds to a class's logit for each feature: (F,), float32.

        None where the features do not feed a linear layer.
        """
        if self._head is None:
            return None
        return self._head.weight[index].detach().to("cpu", torch.float32)

    def _logits(self, images: Tensor) -> Tensor:
        output = self._module(self._preprocessing(images.to(self.device)).to(self.dtype))
        logits: Tensor = getattr(output, "logits", output)
        return logits

    def _try_out(self) -> tuple[int, nn.Linear | None]:
        """The number of classes, and the linear layer whose output is the logits, if one is.

        Where none gives exactly the logits (a softmax behind it, two heads averaged), the last
        one of their number.
        """
        size = self.image_size
        outputs: list[tuple[nn.Linear, Any]] = []

        def keep(layer: nn.Module, _inputs: Any, output: Any) -> None:
            assert isinstance(layer, nn.Linear)
            outputs.append((layer, output))

        handles = [
            layer.register_forward_hook(keep)
            for layer in self._module.modules()
            if isinstance(layer, nn.Linear)
        ]
        try:
            with torch.no_grad():
                logits = self._logits(torch.zeros(1, 3, size, size))
        finally:
            for handle in handles:
                handle.remove()
        if not isinstance(logits, Tensor):
            raise InputError(
                f"classifier {self.spec} gives a {type(logits).__name__}, not a tensor of logits"
            )
        if logits.ndim != 2 or len(logits) != 1 or not logits.is_floating_point():
            raise InputError(
                f"classifier {self.spec} turns one picture (1, 3, {size}, {size}) into "
                f"{tuple(logits.shape)}: it must give logits (1, number of classes)"
            )
        classes = logits.shape[1]
        if classes < 2:
            raise InputError(f"classifier {self.spec} gives a single logit: at least 2 are needed")
        exact = [layer for layer, output in outputs if output is logits]
        close = [layer for layer, output in outputs if layer.out_features == classes]
        heads = exact or close
        return classes, heads[-1] if heads else None


def build(
    module: nn.Module,
    *,
    spec: str,
    labels: Sequence[str] | None,
    preprocessing: Preprocessing,
    options: Options,
    weights_hash: str | None = None,
    feature_module: nn.Module | None = None,
    reference_side: int | None = None,
) -> Classifier:
    """A `Classifier` of what a source found, as ``options`` want it.

    ``labels``: unless the options bring some. ``weights_hash``: that of the module's tensors if
    None. ``reference_side``: px that the reference code scales to for it; else its own resize.
    """
    if options.input == "reference":
        preprocessing = preprocessing.as_reference(reference_side)
    return Classifier(
        module,
        spec=spec,
        labels=options.labels or labels,
        preprocessing=preprocessing,
        weights_hash=weights_hash or hash_tensors(module_tensors(module)),
        device=options.device,
        dtype=torch_dtype(options.dtype),
        feature_module=feature_module,
    )


def _as_rows(features: Tensor) -> Tensor:
    """One row of features a picture: maps (B, F, h, w) and tokens (B, n, F) are averaged."""
    if features.ndim == 4:
        return features.mean((2, 3))
    return features.mean(1) if features.ndim == 3 else features
