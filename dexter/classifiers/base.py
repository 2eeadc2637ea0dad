"""The interface of a classifier from any source: pictures to logits and features."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from typing import Any

import torch
from torch import Tensor, nn

from dexter.classifiers.options import ClassifierInfo, ClassifierOptions, same_weights
from dexter.classifiers.reading import Answers, bar_of, named, recognised, refuse_idle, two_classes
from dexter.classifiers.reading import ClassifierOutput as ClassifierOutput
from dexter.classifiers.reading import Preprocessing as Preprocessing
from dexter.device import is_out_of_memory, torch_dtype
from dexter.errors import InputError
from dexter.loading import hash_tensors, module_tensors, one_line

Labels = Sequence[str] | None | Callable[[int], tuple[Sequence[str] | None, str]]


class Classifier:
    """A frozen image classifier with its labels and preprocessing.

    spec: its source and address, paths absolute. labels: names of the K classes or labels.
    preprocessing: from square pictures to its network's input. image_size: side in px of that
    input. weights_hash: SHA-256 (hex) of its weights. answers_key: the same, with preprocessing
    and the options that change its answers, which are kept under it.
    answers: the meaning of its network's outputs. recognised: a line with all that was recognised
    and assumed about it. gradients: True if its logits pass gradients to the picture.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        spec: str,
        labels: Labels,
        preprocessing: Preprocessing,
        weights_hash: str,
        device: str,
        dtype: torch.dtype,
        feature_module: nn.Module | None = None,
        options: ClassifierOptions = ClassifierOptions(),  # noqa: B008
        multi_label: bool | None = None,
        probabilities: bool | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        """Freeze ``module``, move it and try it on a picture of noise.

        ``labels``: names, None for "class 0", "class 1" and so on, or a function that returns one
        of these for a number of outputs, with a note. ``feature_module``: its output is the
        features; by default they are the input of the last linear layer. ``options``: the meaning
        of the outputs, where the user states it; ``multi_label`` and ``probabilities``: as the
        model's files state it.
        ``notes``: the first parts of `recognised`. Raises InputError for a module that does not
        return logits (B, K), or as many as ``labels``.
        """
        self.spec = spec
        self.image_size = preprocessing.crop
        self.weights_hash = weights_hash
        self._options = options
        self.device = torch.device(device)
        self.dtype = dtype
        self._module = _frozen(module).to(self.device, dtype)
        self.preprocessing = preprocessing
        self._feature_module = feature_module
        self._head: nn.Linear | None = None
        outputs, head = self._try_out()
        self.gradients = self._passes_gradient()
        classes = outputs.shape[1]
        if callable(labels):
            labels, note = labels(classes)
            notes = [*notes, note] if note else notes
        positive = None
        if classes == 1:
            names, positive = two_classes(spec, labels, options.positive_class)
            labels, classes = names, 2
        self.answers = self._recognise(outputs, positive, options, multi_label, probabilities)
        if labels is not None and len(labels) != classes:
            raise InputError(
                f"{spec} has {classes} classes, but {len(labels)} labels",
                field="labels",
                remedy="list one label per class",
            )
        self.labels = named(labels or [""] * classes)
        self.recognised = recognised(notes, self.labels, preprocessing, self.answers)
        if not self.gradients:
            self.recognised += ", no gradient"
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
                outputs = self._outputs(images if self.gradients else images.detach())
        finally:
            for handle in handles:
                handle.remove()
        precise = torch.promote_types(self.dtype, torch.float32)
        logits = self.answers.logits(outputs.to(precise))
        features = _as_rows(seen[-1]) if seen else logits.new_zeros(len(logits), 0)
        return ClassifierOutput(
            logits,
            features.to(precise),
            multi_label=self.answers.multi_label,
            positive=self.answers.positive,
            bar=bar_of(self.answers.threshold),
        )

    def answer(self, images: Tensor) -> ClassifierOutput:
        """Classify as a call does; raise InputError for answers that are not finite.

        A network can pass its trial and fail on other pictures: one number that is none would
        take part in every mean.
        """
        output = self(images)
        if not bool(output.logits.isfinite().all()):
            raise self.not_finite("answers with numbers")
        return output

    def not_finite(self, problem: str) -> InputError:
        """Return the error of a network that does something with numbers that are not finite."""
        return InputError(
            f"{self.spec} {problem} that are not finite (NaN or infinite)",
            field="classifier",
            value=self.spec,
            remedy="pass weights without them"
            if self.dtype.itemsize >= 4
            else "pass --dtype float32",
        )

    def last_layer(self) -> tuple[Tensor, Tensor] | None:
        """Return the weight (K, F) and bias (K,) that lead from features to logits, float32.

        None where the features do not feed a linear layer. Of one logit, those of the negative
        class are minus those of the positive.
        """
        if self._head is None:
            return None
        weight = self._head.weight.detach().to("cpu", torch.float32)
        bias = self._head.bias
        own = weight.new_zeros(len(weight)) if bias is None else bias.detach().to(weight)
        if self.answers.positive is not None:
            signs = weight.new_tensor(
                [1.0 if at == self.answers.positive else -1.0 for at in (0, 1)]
            )
            return signs[:, None] * weight[0], signs * own[0]
        return weight, own

    @property
    def answers_key(self) -> str:
        return self._options.answers_key(self.weights_hash, self.preprocessing.key)

    def adopt_identity(self, weights_hash: str | None) -> bool:
        """Take over an earlier hash, under which answers are kept, if it is of this classifier by
        `same_weights`; return whether it is."""
        if weights_hash is None or not same_weights(self.weights_hash, weights_hash):
            return False
        self.weights_hash = weights_hash
        return True

    @property
    def network(self) -> nn.Module:
        """Return the network itself, without the preprocessing."""
        return self._module

    def class_weight(self, index: int) -> Tensor | None:
        """Return the weights (F,) of a class in `last_layer`; None without one."""
        layer = self.last_layer()
        return None if layer is None else layer[0][index]

    def weights(self) -> Iterator[Tensor]:
        """Yield the network's weights and buffers."""
        yield from self._module.parameters()
        yield from self._module.buffers()

    def describe(self) -> ClassifierInfo:
        """Return the facts about it."""
        return ClassifierInfo(
            self.spec,
            self.labels,
            self.image_size,
            self.weights_hash,
            self.recognised,
            self.gradients,
            self.answers.multi_label,
            answers_key=self.answers_key,
        )

    def _outputs(self, images: Tensor) -> Any:
        """Return the network's outputs (B, N), or something that is no tensor of such a shape."""
        output = self._module(self.preprocessing(images.to(self.device)).to(self.dtype))
        logits = getattr(output, "logits", output)
        if type(output) is dict:
            logits = output.get("logits", output)
        if isinstance(logits, Tensor) and logits.ndim < 2 and logits.numel() == len(images):
            logits = logits.reshape(-1, 1)  # of one logit
        if isinstance(logits, Tensor) and logits.ndim == 4 and logits.shape[2:] == (1, 1):
            logits = logits.flatten(1)  # of a convolution that comes last
        return logits

    def _try_out(self) -> tuple[Tensor, nn.Linear | None]:
        """Return the outputs (1, N) for noise, and the linear layer that computes them, if any.

        Where no layer's output is exactly the outputs (a softmax follows, two heads are averaged),
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
                logits = self._outputs(self._pictures()[:1])
        finally:
            for handle in handles:
                handle.remove()
        if not isinstance(logits, Tensor):
            kind = type(logits).__name__
            if type(logits) is dict:
                kind = f"dict of {', '.join(map(repr, logits)) or 'nothing'}"
            raise self._refusal(f"returns a {kind}, not a tensor of logits or a dict with 'logits'")
        if logits.ndim == 2 and not logits.shape[1]:
            raise self._refusal("has no outputs")
        if logits.ndim != 2 or len(logits) != 1 or not logits.is_floating_point():
            raise self._refusal(
                f"returns {tuple(logits.shape)} for one picture (1, 3, {size}, {size}): "
                "must be logits (1, number of classes)"
            )
        count = logits.shape[1]
        exact = [layer for layer, output in outputs if output is logits]
        close = [layer for layer, output in outputs if layer.out_features == count]
        heads = exact or close
        return logits, heads[-1] if heads else None

    def _recognise(
        self,
        outputs: Tensor,
        positive: int | None,
        options: ClassifierOptions,
        multi_label: bool | None,
        stated: bool | None,
    ) -> Answers:
        """Return the meaning of the outputs, as stated, else as they look.

        Probabilities are found by their values on four different pictures, and a sigmoid by the
        last operation, unless it is ``stated`` that they are or are not. Without autograd, which
        names the operation, numbers that leave the range from 0 to 1 on other input are logits.
        """
        if options.multi_label is not None and positive is None:
            multi_label = options.multi_label
        probabilities, independent = bool(stated), False
        if stated is None and _within(outputs / 100):
            with torch.no_grad():
                outputs = torch.cat([self._outputs(one[None]) for one in self._pictures()])
            if _within(outputs / 100) and _sums_to(100, outputs, 1.0):
                raise InputError(
                    f"{self.spec} returns percent: must be probabilities from 0 to 1, or logits",
                    field="classifier",
                    value=self.spec,
                    remedy="divide them by 100 in a function of yours, python:PATH.py:FACTORY",
                )
        if stated is None and _within(outputs):
            close = 1e-4 if self.dtype in (torch.float32, torch.float64) else 1e-2
            if positive is None and _sums_to(1, outputs, close):
                probabilities = True
            else:
                last = self._last_operation()
                unclear = last is None and self._stays_within()
                probabilities = independent = (
                    unclear and (multi_label is True or positive is not None)
                    if last is None
                    else last.startswith("Sigmoid")
                )
                if unclear and multi_label is None and positive is None:
                    raise InputError(
                        f"{self.spec} returns numbers from 0 to 1 that do not add up to 1: logits "
                        "of classes, or probabilities of labels",
                        field="multi_label",
                        remedy="pass --multi-label, or --no-multi-label for logits",
                    )
        if multi_label is None:
            multi_label = independent and positive is None
        answers = Answers(multi_label, positive, probabilities, options.threshold or 0.5)
        refuse_idle(self.spec, answers, options)
        return answers

    def _last_operation(self) -> str | None:
        """Return autograd's name of the operation that computes the outputs; None without one."""
        if not self.gradients:
            return None
        with torch.enable_grad():
            node = self._outputs(self._pictures()[:1].requires_grad_()).grad_fn
        while node is not None and node.name().startswith(_SHAPING) and node.next_functions:
            node = node.next_functions[0][0]
        return None if node is None else str(node.name())

    def _stays_within(self) -> bool:
        """Return True if the outputs lie from 0 to 1 even for input far from any picture."""
        far = 1000 * self._pictures()[2:3]
        try:
            with torch.no_grad():
                return all(_within(self._outputs(picture)) for picture in (far, -far))
        except Exception:  # a user's module may refuse such input in any way
            return True

    def _pictures(self) -> Tensor:
        """Return noise, black, white and a ramp, (4, 3, H, W)."""
        size = self.image_size
        noise = torch.rand(3, size, size, generator=torch.Generator().manual_seed(0))
        ramp = torch.linspace(0, 1, size).expand(3, size, size)
        return torch.stack([noise, torch.zeros_like(noise), torch.ones_like(noise), ramp])

    def _passes_gradient(self) -> bool:
        picture = self._pictures()[:1].requires_grad_()
        try:
            with torch.enable_grad():
                return bool(self._outputs(picture).requires_grad)
        except RuntimeError as error:  # such as of `numpy`, which refuses a tensor with a gradient
            if is_out_of_memory(error):
                raise
            return False

    def _refusal(self, problem: str) -> InputError:
        return InputError(f"{self.spec} {problem}", field="classifier", value=self.spec)


# Autograd's names of operations that do not change numbers, or only the outermost.
_SHAPING = ("View", "Reshape", "Squeeze", "Unsqueeze", "ToCopy", "Alias", "Clone", "UnsafeView",
            "Clamp")  # fmt: skip


def build(
    module: nn.Module,
    *,
    spec: str,
    labels: Labels,
    preprocessing: Preprocessing,
    options: ClassifierOptions,
    weights_hash: str | None = None,
    feature_module: nn.Module | None = None,
    reference_side: int | None = None,
    multi_label: bool | None = None,
    probabilities: bool | None = None,
    notes: Sequence[str] = (),
) -> Classifier:
    """Build a `Classifier` from what a source found and the options.

    ``labels``: used unless the options name some. ``weights_hash``: of the module's tensors, by
    default. ``reference_side``: px that the reference code scales to; its own resize, by default.
    ``multi_label``, ``probabilities`` and ``notes``: see `Classifier`. Raises InputError also for
    a module that fails on a picture.
    """
    preprocessing = preprocessing.with_options(options)
    if options.classifier_input == "reference":
        preprocessing = preprocessing.as_reference(reference_side)
    try:
        return Classifier(
            module,
            spec=spec,
            labels=options.label_names() or labels,
            preprocessing=preprocessing,
            weights_hash=weights_hash or hash_tensors(module_tensors(module)),
            device=options.device,
            dtype=torch_dtype(options.dtype),
            feature_module=feature_module,
            options=options,
            multi_label=multi_label,
            probabilities=probabilities,
            notes=notes,
        )
    except (InputError, ConnectionError):  # known where it is called
        raise
    except Exception as error:  # a network may fail in any way on its first picture
        if is_out_of_memory(error):
            raise
        side = preprocessing.crop
        raise InputError(
            f"{spec} fails on one picture (1, 3, {side}, {side}): {type(error).__name__}: "
            f"{one_line(error)}",
            field="classifier",
            value=spec,
        ) from error


def _frozen(module: nn.Module) -> nn.Module:
    """Freeze a module, also one of TorchScript or torch.export, which lack some methods."""
    for weight in module.parameters():
        weight.requires_grad_(False)
    with suppress(NotImplementedError):  # an exported program has no modes
        module.eval()
    return module


def _within(outputs: Tensor) -> bool:
    """Return True if all numbers lie from 0 to 1."""
    return bool(((outputs >= 0) & (outputs <= 1)).all())


def _sums_to(total: float, outputs: Tensor, close: float) -> bool:
    return bool((outputs.float().sum(1) - total).abs().max() < close)


def _as_rows(features: Tensor) -> Tensor:
    """Average maps (B, F, h, w) and tokens (B, n, F) into one row of features per picture."""
    if features.ndim == 4:
        return features.mean((2, 3))
    return features.mean(1) if features.ndim == 3 else features
