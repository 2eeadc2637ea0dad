"""A smaller backward pass for frozen networks than PyTorch's, which is made for learning.

Where only the input needs a gradient, a convolution needs its weight but not its input, and a norm
with its activation can be recomputed from its input, at the cost of one pass over memory. With
both, a residual block of a UNet or decoder keeps the inputs of its two norms, a third of the memory
that PyTorch keeps.

On a CPU convolutions also use the fastest method there, see `_is_product` and `_UpsampleConv`.
Results and gradients are the same up to rounding.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import torch
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn
from torch.nn import functional as F

_FEW_PIXELS = 1 / 100
"""Pixels of a picture per number that a 3x3 kernel has for one channel: measured on one core."""

_ConvArguments = tuple[Any, Any, Any, Any, Any]
"""Stride, padding, dilation, transposed (always False), output padding (0)."""


def keep_less(network: nn.Module) -> None:
    """Replace the backward passes of a frozen network's convolutions and residual blocks, in place.

    The names of its parameters stay. Skips unusual modules (blocks that scale and shift by the
    time, padding by reflection) and modules that learn.
    """
    for module in network.modules():
        if any(parameter.requires_grad for parameter in module.parameters()):
            continue
        if type(module) is nn.Conv2d and _plain(module):
            module.__class__ = _Conv2d
        elif type(module) is ResnetBlock2D and _usual(module):
            module.__class__ = _ResnetBlock2D
        elif type(module) is Upsample2D and _doubles(module):
            module.__class__ = _Upsample2D


@contextmanager
def checkpointed(network: Any, wanted: bool = True) -> Iterator[None]:
    """Let a diffusers network recompute activations in the backward pass, inside the context.

    Recomputes transformers, and residual blocks unless `keep_less` replaced them: these would save
    one number per channel and pixel at the cost of two convolutions, 20 times the arithmetic that
    a transformer takes per number saved.
    """
    if wanted:
        network.enable_gradient_checkpointing()
        for module in network.modules():
            blocks = getattr(module, "resnets", [])
            if blocks and all(isinstance(block, _ResnetBlock2D) for block in blocks):
                module.gradient_checkpointing = False  # of the blocks only: attentions have theirs
    try:
        yield
    finally:
        if wanted:
            network.disable_gradient_checkpointing()


def _plain(conv: nn.Conv2d) -> bool:
    return conv.padding_mode == "zeros" and not isinstance(conv.padding, str)


def _usual(block: ResnetBlock2D) -> bool:
    return (
        block.time_embedding_norm != "scale_shift"
        and isinstance(block.nonlinearity, nn.SiLU)
        and type(block.norm1) is type(block.norm2) is nn.GroupNorm
        and all(type(conv) in (nn.Conv2d, _Conv2d) and _plain(conv)
                for conv in (block.conv1, block.conv2))
        and block.upsample is block.downsample is None
        and block.dropout.p == 0
    )  # fmt: skip


def _doubles(upsample: Upsample2D) -> bool:
    """Return whether it repeats each pixel and then applies a 3x3 convolution, nothing else."""
    conv = getattr(upsample, "conv", None)
    return (
        isinstance(conv, nn.Conv2d)
        and _plain(conv)
        and (*conv.kernel_size, *_arguments(conv), conv.groups) == (3, 3, *_same(1), 1)
        and upsample.interpolate
        and not upsample.use_conv_transpose
        and upsample.norm is None
    )


class _Conv2d(nn.Conv2d):
    """A convolution that keeps only its weight."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        result: Tensor = _Convolution.apply(  # type: ignore[no-untyped-call]
            input, weight, bias, _arguments(self), self.groups
        )
        return result


class _ResnetBlock2D(ResnetBlock2D):  # type: ignore[misc]
    """A residual block that keeps only the inputs of its two norms."""

    def forward(self, input_tensor: Tensor, temb: Tensor | None = None) -> Tensor:
        hidden = _norm_act_conv(input_tensor, self.norm1, self.conv1)
        if self.time_emb_proj is not None:
            assert temb is not None
            time = self.time_emb_proj(temb if self.skip_time_act else F.silu(temb))
            hidden += time[:, :, None, None]
        hidden = _norm_act_conv(hidden, self.norm2, self.conv2)
        hidden += input_tensor if self.conv_shortcut is None else self.conv_shortcut(input_tensor)
        if self.output_scale_factor != 1:
            hidden /= self.output_scale_factor
        return hidden


class _Upsample2D(Upsample2D):  # type: ignore[misc]
    """An upsampling that, on a CPU, avoids the picture of twice the size."""

    def forward(self, hidden_states: Tensor, output_size: int | None = None) -> Tensor:
        outweighed = hidden_states.shape[2] * hidden_states.shape[3] > self.out_channels
        if hidden_states.device.type != "cpu" or output_size is not None or not outweighed:
            unchanged: Tensor = super().forward(hidden_states, output_size)
            return unchanged
        result: Tensor = _UpsampleConv.apply(  # type: ignore[no-untyped-call]
            hidden_states, self.conv.weight, self.conv.bias
        )
        return result


def _norm_act_conv(x: Tensor, norm: nn.GroupNorm, conv: nn.Conv2d) -> Tensor:
    result: Tensor = _NormActConv.apply(  # type: ignore[no-untyped-call]
        x, norm.weight, norm.bias, norm.num_groups, norm.eps,
        conv.weight, conv.bias, _arguments(conv), conv.groups,
    )  # fmt: skip
    return result


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, how: _ConvArguments, groups: int
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape, ctx.how, ctx.groups = x.shape, how, groups
        return _conv(x, weight, bias, how, groups)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        (weight,) = ctx.saved_tensors
        return _conv_back(gradient, ctx.shape, weight, ctx.how, ctx.groups), *[None] * 4


class _NormActConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        scale: Tensor,
        shift: Tensor,
        norm_groups: int,
        eps: float,
        weight: Tensor,
        bias: Tensor | None,
        how: _ConvArguments,
        groups: int,
    ) -> Tensor:
        normed, mean, rstd = _group_norm(x, scale, shift, norm_groups, eps)
        ctx.save_for_backward(x, mean, rstd, scale, shift, weight)
        ctx.norm_groups, ctx.eps, ctx.how, ctx.groups = norm_groups, eps, how, groups
        return _conv(F.silu(normed, inplace=True), weight, bias, how, groups)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        x, mean, rstd, scale, shift, weight = ctx.saved_tensors
        gradient = _conv_back(gradient, x.shape, weight, ctx.how, ctx.groups)
        normed, _, _ = _group_norm(x, scale, shift, ctx.norm_groups, ctx.eps)
        gradient = _laid_out(torch.ops.aten.silu_backward(gradient, normed))
        x = _laid_out(x)
        gradient, _, _ = torch.ops.aten.native_group_norm_backward(
            gradient, x, mean, rstd, scale, *_sizes(x), ctx.norm_groups, [True, False, False]
        )
        return gradient, *[None] * 8


class _UpsampleConv(torch.autograd.Function):
    """A 3x3 convolution of a picture with doubled pixels, with 4/9 of the arithmetic.

    For a pixel of the result the kernel covers 2x2 different pixels, which depend on whether its
    row and column are even. So four 2x2 kernels, whose numbers are sums of the 3x3 kernel's,
    suffice.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape = x.shape
        n, _, height, width = x.shape
        result = torch.empty(
            (n, len(weight), 2 * height, 2 * width),
            dtype=x.dtype,
            device=x.device,
            memory_format=torch.channels_last,
        )
        for row, column, kernel in _quarters(weight):
            seen = F.pad(x, (1 - column, column, 1 - row, row))
            result[:, :, row::2, column::2] = torch.conv2d(seen, kernel, bias)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        (weight,) = ctx.saved_tensors
        n, channels, height, width = ctx.shape
        total: Tensor | None = None
        for row, column, kernel in _quarters(weight):
            part = _conv_back(
                gradient[:, :, row::2, column::2],
                torch.Size((n, channels, height + 1, width + 1)),
                kernel,
                _same(0),
                1,
            )[:, :, 1 - row : 1 - row + height, 1 - column : 1 - column + width]
            total = part if total is None else total.add_(part)
        return total, None, None


def _quarters(weight: Tensor) -> Iterator[tuple[int, int, Tensor]]:
    """Yield the kernel (out, in, 2, 2) for even (0) and odd (1) rows and columns."""
    for row, rows in enumerate(_halves(weight, 2)):
        for column, kernel in enumerate(_halves(rows, 3)):
            yield row, column, kernel.contiguous(memory_format=torch.channels_last)


def _halves(weight: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    first, middle, last = weight.unbind(dim)
    return torch.stack([first, middle + last], dim), torch.stack([first + middle, last], dim)


def _group_norm(
    x: Tensor, scale: Tensor, shift: Tensor, groups: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.native_group_norm(_laid_out(x), scale, shift, *_sizes(x), groups, eps)


def _laid_out(x: Tensor) -> Tensor:
    """Return it in the order in which the norm's kernels read memory: a GPU's, channels first.

    `torch.nn.functional.group_norm` does so by itself. Called directly, the norm refuses another
    order and its backward pass reads it wrongly.
    """
    return x if x.device.type == "cpu" else x.contiguous()


def _sizes(x: Tensor) -> tuple[int, int, int]:
    return x.shape[0], x.shape[1], x.shape[2] * x.shape[3]


def _conv(
    x: Tensor, weight: Tensor, bias: Tensor | None, how: _ConvArguments, groups: int
) -> Tensor:
    if not _is_product(x, weight, how, groups):
        return torch.convolution(x, weight, bias, *how, groups)
    size = weight.shape[2]
    edge = size // 2
    seen = x.permute(0, 2, 3, 1)
    if edge:
        seen = F.pad(seen, (0, 0, edge, edge, edge, edge))
        seen = seen.unfold(1, size, 1).unfold(2, size, 1).permute(0, 1, 2, 4, 5, 3).flatten(3)
    result = F.linear(seen, _matrix(weight), bias)
    return result.permute(0, 3, 1, 2).clone()  # a view could not be added to in place


def _conv_back(
    gradient: Tensor, shape: torch.Size, weight: Tensor, how: _ConvArguments, groups: int
) -> Tensor:
    """Return the gradient of a convolution's input, given only its shape."""
    if not _is_product(gradient, weight, how, groups):
        unknown = gradient.new_empty(1).expand(shape)
        back: Tensor = torch.ops.aten.convolution_backward(
            gradient, unknown, weight, None, *how, groups, [True, False, False]
        )[0]
        return back
    n, channels, height, width = shape
    size = weight.shape[2]
    seen = gradient.permute(0, 2, 3, 1) @ _matrix(weight)
    if size == 1:
        return seen.permute(0, 3, 1, 2)
    seen = seen.view(n, height, width, size, size, channels)
    padded = gradient.new_zeros(n, height + 2, width + 2, channels)
    for y, x in product(range(3), repeat=2):
        padded[:, y : y + height, x : x + width] += seen[:, :, :, y, x]
    return padded[:, 1:-1, 1:-1].permute(0, 3, 1, 2)


def _is_product(x: Tensor, weight: Tensor, how: _ConvArguments, groups: int) -> bool:
    """Return whether, on a CPU, a matrix product is faster than oneDNN's convolution.

    It is for 1x1 kernels, and for 3x3 kernels over few pixels, where most of the time is oneDNN's
    reordering of the weight at each call. Depends on the pixels of one picture, so that a row does
    not depend on its batch.
    """
    if x.device.type != "cpu":
        return False
    pixels = x.shape[2] * x.shape[3]
    if weight.shape[2:] == (1, 1):
        edge = 0
    elif weight.shape[2:] == (3, 3) and pixels < _FEW_PIXELS * 9 * weight.shape[0]:
        edge = 1
    else:
        return False
    return (how, groups) == (_same(edge), 1)


def _matrix(weight: Tensor) -> Tensor:
    """Reshape a kernel (out, in, k, k) to (out, k k in); no copy where channels are last."""
    return weight.permute(0, 2, 3, 1).flatten(1)


def _same(edge: int) -> _ConvArguments:
    """Return the arguments of a convolution with stride 1 and ``edge`` zeros around the picture."""
    return (1, 1), (edge, edge), (1, 1), False, (0, 0)


def _arguments(conv: nn.Conv2d) -> _ConvArguments:
    return conv.stride, conv.padding, conv.dilation, False, (0, 0)
