"""The interface of a classifier from any source: pictures to logits and features."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from dexter.classifiers.options import ClassifierOptions
from dexter.device import torch_dtype
from dexter.errors import InputError
from dexter.loading import hash_tensors, module_tensors


@dataclass(frozen=True)
class ClassifierOutput:
    """Logits (B, K) of K classes and features (B, F) of B pictures, float32, differentiable."""

    logits: Tensor
    features: Tensor


@dataclass(frozen=True)
class Preprocessing:
    """A differentiable map from square pictures in [0, 1] to the input of a network.

    resize: side in px to scale to; crop: side in px of the centre that is kept; mode: of
    ``torch.nn.functional.interpolate``; scale: factor applied before mean and std;
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
        """Return the same without smoothing and crop, scaled to ``side`` px (reference code)."""
        side = side or self.resize
        return replace(self, resize=side, crop=side, mode="bilinear", antialias=False)


class Classifier:
    """A frozen image classifier with its labels and preprocessing.

    spec: its source and address, paths absolute. labels: names of the K classes. image_size:
    side in px of its network's input. weights_hash: SHA-256 (hex) of its weights. gradients:
    True if its logits pass gradients to the picture.
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
        """Freeze ``module``, move it and try it on one empty picture.

        ``labels`` None: "class 0", "class 1" and so on. ``feature_module``: its output is the
        features; by default they are the input of the last linear layer. Raises InputError for a
        module that does not return logits (B, K), K > 1, or as many as ``labels``.
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
            raise InputError(
                f"{spec} has {classes} classes, but {len(labels)} labels",
                field="labels",
                remedy="list one label per class",
            )
        self.gradients = self._passes_gradient()
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
            # Numbers of a tensor with a gradient are not to be had: `numpy` refuses it.
            with nullcontext() if self.gradients else torch.no_grad():
                logits = self._logits(images if self.gradients else images.detach())
        finally:
            for handle in handles:
                handle.remove()
        features = _as_rows(seen[-1]) if seen else logits.new_zeros(len(logits), 0)
        precise = torch.promote_types(self.dtype, torch.float32)
        return ClassifierOutput(logits.to(precise), features.to(precise))

    def class_weight(self, index: int) -> Tensor | None:
        """Return the weights (F,) of a class's logit in the last linear layer, float32.

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
        """Return the number of classes and the linear layer that computes the logits, if any.

        Where no layer's output is exactly the logits (a softmax follows, two heads are averaged),
        the last layer with that number of outputs.
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
            raise self._refusal(f"returns a {type(logits).__name__}, not a tensor of logits")
        if logits.ndim != 2 or len(logits) != 1 or not logits.is_floating_point():
            raise self._refusal(
                f"returns {tuple(logits.shape)} for one picture (1, 3, {size}, {size}): "
                "must be logits (1, number of classes)"
            )
        classes = logits.shape[1]
        if classes < 2:
            raise self._refusal("returns a single logit: must be at least 2")
        exact = [layer for layer, output in outputs if output is logits]
        close = [layer for layer, output in outputs if layer.out_features == classes]
        heads = exact or close
        return classes, heads[-1] if heads else None

    def _passes_gradient(self) -> bool:
        side = self.image_size
        picture = torch.full((1, 3, side, side), 0.5, requires_grad=True)
        try:
            with torch.enable_grad():
                return self._logits(picture).requires_grad
        except RuntimeError:  # such as of `numpy`, which refuses a tensor with a gradient
            return False

    def _refusal(self, problem: str) -> InputError:
        return InputError(f"{self.spec} {problem}", field="classifier", value=self.spec)


def build(
    module: nn.Module,
    *,
    spec: str,
    labels: Sequence[str] | None,
    preprocessing: Preprocessing,
    options: ClassifierOptions,
    weights_hash: str | None = None,
    feature_module: nn.Module | None = None,
    reference_side: int | None = None,
) -> Classifier:
    """Build a `Classifier` from what a source found and the options.

    ``labels``: used unless the options name some. ``weights_hash``: of the module's tensors, by
    default. ``reference_side``: px that the reference code scales to; its own resize, by default.
    """
    if options.classifier_input == "reference":
        preprocessing = preprocessing.as_reference(reference_side)
    return Classifier(
        module,
        spec=spec,
        labels=options.label_names() or labels,
        preprocessing=preprocessing,
        weights_hash=weights_hash or hash_tensors(module_tensors(module)),
        device=options.device,
        dtype=torch_dtype(options.dtype),
        feature_module=feature_module,
    )


def _as_rows(features: Tensor) -> Tensor:
    """Average maps (B, F, h, w) and tokens (B, n, F) into one row of features per picture."""
    if features.ndim == 4:
        return features.mean((2, 3))
    return features.mean(1) if features.ndim == 3 else features
