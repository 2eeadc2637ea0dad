"""Frozen networks keep less for the backward pass: same pictures, same gradients, far less
memory."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.resnet import ResnetBlock2D
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from dexter.generation.frozen import checkpointed, keep_less

SHAPES = [(1, 10), (3, 8)]
"""Pictures, and pixels of the latents' side."""


def unet(dtype: torch.dtype = torch.float64, **options: object) -> nn.Module:
    torch.manual_seed(0)
    network = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=8,
        **options,
    )
    return frozen(network, dtype)


def autoencoder(dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    network = AutoencoderKL(
        block_out_channels=(32, 64),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        sample_size=16,
    )
    return frozen(network, dtype)


# Any: torch's annotations of `Module.to` lack memory_format.
def frozen(network: Any, dtype: torch.dtype) -> nn.Module:
    for parameter in network.parameters():  # norms that do nothing would hide what they need
        nn.init.normal_(parameter, std=0.1)
    return network.requires_grad_(False).eval().to(dtype, memory_format=torch.channels_last)


def denoised(network, n=1, side=8, dtype=torch.float64):
    """Return a UNet's prediction, and its gradient for latents and conditioning."""
    torch.manual_seed(1)
    latents = torch.randn(n, 4, side, side, dtype=dtype, requires_grad=True)
    text = torch.randn(n, 5, 16, dtype=dtype, requires_grad=True)
    result = network(latents, torch.tensor(500), encoder_hidden_states=text, return_dict=False)[0]
    result.square().mean().backward()
    return result.detach(), latents.grad, text.grad


def decoded(network, n=1, side=8, dtype=torch.float64):
    torch.manual_seed(1)
    latents = torch.randn(n, 4, side, side, dtype=dtype, requires_grad=True)
    result = network.decode(latents, return_dict=False)[0]
    result.square().mean().backward()
    return result.detach(), latents.grad


def kept_bytes(run, network) -> int:
    """Count the bytes of the activations that autograd keeps."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    kept: list[torch.Tensor] = []  # held, so that no address is used twice

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run(network)
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage() for tensor in kept}
    return sum(one.nbytes() for at, one in storages.items() if at not in weights)


@pytest.mark.parametrize(("make", "run"), [(unet, denoised), (autoencoder, decoded)])
@pytest.mark.parametrize(("n", "side"), SHAPES)
# Above a hundredth of a pixel for each number of a kernel, and below: two ways to convolve.
@pytest.mark.parametrize("few_pixels", [0.0, 1000.0])
def test_pictures_and_gradients_stay(make, run, n, side, few_pixels, monkeypatch):
    monkeypatch.setattr("dexter.generation.frozen._FEW_PIXELS", few_pixels)
    network = make()
    names = network.state_dict().keys()
    expected = run(network, n, side)
    keep_less(network)
    assert network.state_dict().keys() == names
    for ours, theirs in zip(run(network, n, side), expected, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12)
        assert theirs.abs().max() > 1e-6


@pytest.mark.parametrize(("make", "run"), [(unet, denoised), (autoencoder, decoded)])
def test_a_part_is_kept(make, run):
    network = make()
    before = kept_bytes(run, network)
    keep_less(network)
    share = {denoised: 0.8, decoded: 0.5}[run]  # a UNet's attention keeps what it kept
    assert kept_bytes(run, network) < share * before


def test_checkpointing_computes_transformers_again_and_what_keeps_less_once():
    network = unet()
    keep_less(network)
    calls: dict[str, int] = {}

    def count(module: nn.Module, _: object) -> None:
        calls[type(module).__name__] += 1

    for module in network.modules():
        if type(module).__name__ in ("_ResnetBlock2D", "BasicTransformerBlock"):
            module.register_forward_pre_hook(count)
            calls[type(module).__name__] = 0
    expected = denoised(network)
    once = dict(calls)
    before = kept_bytes(denoised, network)
    calls.update(dict.fromkeys(calls, 0))
    with checkpointed(network):
        found = denoised(network)
        assert calls == {**once, "BasicTransformerBlock": 2 * once["BasicTransformerBlock"]}
        assert kept_bytes(denoised, network) < 0.6 * before
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12)
    assert not network.is_gradient_checkpointing


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_narrower_formats(dtype):
    network = autoencoder(dtype)
    expected = decoded(network, dtype=dtype)
    keep_less(network)
    for ours, theirs in zip(decoded(network, dtype=dtype), expected, strict=True):
        scale = theirs.abs().max()
        assert (ours - theirs).abs().max() <= scale * 20 * torch.finfo(dtype).eps


class Norms(TorchDispatchMode):
    """Records for each norm, forward and backward, whether its pictures are channels first."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, bool]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if "group_norm" in name:
            pictures = [one for one in args if isinstance(one, torch.Tensor) and one.ndim == 4]
            self.found.append((name, all(one.is_contiguous() for one in pictures)))
        return func(*args, **(kwargs or {}))


def test_norms_away_from_the_cpu_read_channels_first():
    # CUDA's kernels know no other order. A meta tensor takes the same way through our code.
    block = frozen(ResnetBlock2D(in_channels=32, temb_channels=None), torch.float32).to("meta")
    keep_less(block)
    pictures = torch.randn(2, 32, 8, 8, device="meta").to(memory_format=torch.channels_last)
    with Norms() as norms:
        block(pictures.requires_grad_(), None).sum().backward()
    assert {name for name, _ in norms.found} == {"native_group_norm", "native_group_norm_backward"}
    assert all(first for _, first in norms.found)


def test_what_learns_keeps_what_it_needs():
    network = autoencoder().requires_grad_(True)
    expected = copy.deepcopy(network)
    keep_less(network)
    for one in (network, expected):
        decoded(one)
    for ours, theirs in zip(network.parameters(), expected.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None)
        if ours.grad is not None and theirs.grad is not None:
            assert torch.equal(ours.grad, theirs.grad)


def test_blocks_of_another_kind_are_left_as_they_are():
    network = unet(resnet_time_scale_shift="scale_shift")
    expected = denoised(network)
    keep_less(network)
    assert any(type(module) is ResnetBlock2D for module in network.modules())
    for ours, theirs in zip(denoised(network), expected, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_large_generators_keep_less_and_small_ones_are_left(monkeypatch):
    import tiny

    from dexter.generation.generator import load_generator

    def blocks() -> set[str]:
        generator = load_generator(str(tiny.generator_folder()))
        return {type(m).__name__ for network in generator.networks for m in network.modules()}

    assert "ResnetBlock2D" in blocks()
    monkeypatch.setattr("dexter.generation.generator._SMALL", 0)
    assert "ResnetBlock2D" not in blocks() and "_ResnetBlock2D" in blocks()
