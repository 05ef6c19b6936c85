"""nnU-Net's U-Nets: their layers' names, what they compute, and their cut."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor

from medtl.model.networks import build
from medtl.model.unets import PlainUNet

Weights = Mapping[str, Tensor]
SLICES = {
    "channels": 1,
    "outputs": 3,
    "features": [4, 4, 6],
    "kernels": [[3, 3], [3, 5], [3, 3]],
    "strides": [[1, 1], [2, 2], [3, 1]],
    "blocks": [1, 2, 2],
    "decoder_blocks": [2, 1],
}
VOLUMES = {
    "channels": 2,
    "outputs": 2,
    "features": [4, 6, 6, 8],
    "kernels": [[1, 3, 3], [3, 3, 5], [3, 3, 3], [3, 3, 1]],
    "strides": [[1, 1, 1], [1, 3, 1], [2, 1, 2], [2, 2, 1]],
    "blocks": [2, 1, 3, 2],
    "decoder_blocks": [1, 2, 3],
    "bias": False,
}
CASES = [(name, arguments) for name in ("plainunet", "residualunet") for arguments in (SLICES, VOLUMES)]


def small(name: str, arguments: Mapping[str, Any]) -> PlainUNet:
    torch.manual_seed(2)
    network = build(name, dict(arguments)).eval()
    for weights in network.parameters():  # norms too: they begin as ones and zeros
        weights.data += 0.1 * torch.randn_like(weights)
    return network


def an_image(network: PlainUNet) -> Tensor:
    channels = next(network.parameters()).shape[1]
    return torch.randn(2, channels, *(2 * multiple for multiple in network.multiples))


class Twin:
    """The same sums from the weights alone, by the names of the layers; `used` are those that it read."""

    def __init__(self, weights: Weights, arguments: Mapping[str, Any]) -> None:
        self.weights, self.arguments, self.used = weights, arguments, set()
        self.axes = len(arguments["kernels"][0])
        self.convolution = (functional.conv2d, functional.conv3d)[self.axes - 2]
        self.pool = (functional.avg_pool2d, functional.avg_pool3d)[self.axes - 2]
        self.up = (functional.conv_transpose2d, functional.conv_transpose3d)[self.axes - 2]

    def get(self, name: str) -> Tensor | None:
        if name in self.weights:
            self.used.add(name)
        return self.weights.get(name)

    def conv(self, name: str, x: Tensor, stride: Any = 1, active: bool = True) -> Tensor:
        kernel = self.get(f"{name}.conv.weight")
        padding = [(side - 1) // 2 for side in kernel.shape[2:]]
        x = self.convolution(x, kernel, self.get(f"{name}.conv.bias"), stride, padding)
        axes = tuple(range(2, x.ndim))
        x = (x - x.mean(axes, keepdim=True)) / (x.var(axes, correction=0, keepdim=True) + 1e-5).sqrt()
        scale, shift = (self.get(f"{name}.norm.{end}").reshape(1, -1, *[1] * self.axes) for end in ("weight", "bias"))
        x = x * scale + shift
        return torch.where(x < 0, 0.01 * x, x) if active else x

    def block(self, name: str, x: Tensor, stride: list[int]) -> Tensor:
        inner = self.conv(f"{name}.conv2", self.conv(f"{name}.conv1", x, stride), active=False)
        past = self.pool(x, stride)
        place = int(stride != [1] * self.axes)
        if f"{name}.skip.{place}.conv.weight" in self.weights:
            past = self.conv(f"{name}.skip.{place}", past, active=False)
        return torch.where(inner + past < 0, 0.01 * (inner + past), inner + past)

    def __call__(self, x: Tensor) -> Tensor:
        residual = "encoder.stem.convs.0.conv.weight" in self.weights
        if residual:
            x = self.conv("encoder.stem.convs.0", x)
        features = []
        for level, (count, stride) in enumerate(zip(self.arguments["blocks"], self.arguments["strides"], strict=True)):
            for k in range(count):
                step = [1] * self.axes if k else stride
                if residual:
                    x = self.block(f"encoder.stages.{level}.blocks.{k}", x, step)
                else:
                    x = self.conv(f"encoder.stages.{level}.0.convs.{k}", x, step)
            features.append(x)
        for level, count in enumerate(self.arguments["decoder_blocks"]):
            name = f"decoder.transpconvs.{level}"
            stride = self.arguments["strides"][-1 - level]
            x = self.up(x, self.get(f"{name}.weight"), self.get(f"{name}.bias"), stride)
            x = torch.cat([x, features[-2 - level]], 1)
            for k in range(count):
                x = self.conv(f"decoder.stages.{level}.convs.{k}", x)
        head = f"decoder.seg_layers.{len(features) - 2}"
        return self.convolution(x, self.get(f"{head}.weight"), self.get(f"{head}.bias"))


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_it_computes_what_the_names_of_its_layers_say(name, arguments):
    network = small(name, arguments)
    x, twin = an_image(network), Twin(network.state_dict(), arguments)
    with torch.no_grad():
        logits = network(x)
        torch.testing.assert_close(logits, twin(x), rtol=1e-4, atol=1e-4)
    assert logits.shape == (2, arguments["outputs"], *x.shape[2:])
    unread = set(network.state_dict()) - twin.used
    assert {key.split(".")[1] for key in unread} == {"seg_layers"}  # of the coarser levels, for deep supervision


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_the_cut_is_between_encoder_and_decoder(name, arguments):
    network = small(name, arguments)
    x = an_image(network)
    with torch.no_grad():
        features = network.encode(x)
        kept = [feature.clone() for feature in features]
        assert torch.equal(network.decode(features), network(x))
        assert all(torch.equal(one, other) for one, other in zip(features, kept, strict=True))
    assert [feature.shape[1] for feature in features] == arguments["features"]
    assert features[0].shape[2:] == x.shape[2:]
    assert all(k * 2 == side for k, side in zip(network.multiples, x.shape[2:], strict=True))
    network.decode([feature.detach() for feature in network.encode(x)]).square().mean().backward()
    assert all(weights.grad is None for weights in network.encoder.parameters())


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_all_layers_but_the_coarser_heads_learn(name, arguments):
    network = small(name, arguments).train()
    network(an_image(network)).square().mean().backward()
    idle = [key for key, weights in network.named_parameters() if weights.grad is None or not weights.grad.any()]
    heads = len(arguments["features"]) - 1
    assert [key for key in idle if not key.endswith("conv.bias")] == [
        f"decoder.seg_layers.{k}.{end}" for k in range(heads - 1) for end in ("weight", "bias")
    ]


def test_the_multiples_are_the_products_of_the_strides():
    assert small("plainunet", SLICES).multiples == (6, 2)
    network = small("residualunet", VOLUMES)
    assert network.multiples == (4, 6, 2)
    assert (network.multiple, network.dimensions) == (12, 3)


def test_a_first_stride_makes_the_logits_coarser():
    network = small("plainunet", VOLUMES | {"strides": [[1, 2, 2], [2, 2, 2], [1, 2, 1], [1, 1, 1]]})
    assert network.multiples == (2, 8, 4)
    with torch.no_grad():
        assert network(torch.zeros(1, 2, 4, 16, 8)).shape == (1, 2, 4, 8, 4)


def checkpoint_of(path: Path) -> dict[str, Any]:
    """A checkpoint of nnU-Net; what it holds beside tensors is numbers of numpy and plain values."""
    scalar = np.dtype(np.float64).type(0).__reduce__()[0]
    names = (scalar, (scalar, "numpy.core.multiarray.scalar"), np.dtype, *map(type, map(np.dtype, ("f4", "f8", "i8"))))
    with torch.serialization.safe_globals(list(names)):
        return torch.load(path, map_location="cpu", weights_only=True)


@pytest.mark.pickles
def test_checkpoints_of_nnunet_load_without_a_layer_missing_or_left(shared_data):
    paths = sorted((shared_data.parent / "nnunet").rglob("checkpoint_final.pth"))
    if not paths:
        pytest.skip("needs the checkpoints in ../shared/nnunet, which are not here")
    for path in paths:
        checkpoint = checkpoint_of(path)
        start = checkpoint["init_args"]
        made_of = start["plans"]["configurations"][start["configuration"]]["architecture"]
        weights = {
            key: value
            for key, value in checkpoint["network_weights"].items()
            if "all_modules" not in key and not key.startswith("decoder.encoder.")
        }
        plans = made_of["arch_kwargs"]
        residual = "Residual" in made_of["network_class_name"]
        first = "encoder.stem.convs.0" if residual else "encoder.stages.0.0.convs.0"
        arguments = {
            "channels": weights[f"{first}.conv.weight"].shape[1],
            "outputs": len(weights["decoder.seg_layers.0.weight"]),
            "features": plans["features_per_stage"],
            "kernels": plans["kernel_sizes"],
            "strides": plans["strides"],
            "blocks": plans["n_blocks_per_stage" if residual else "n_conv_per_stage"],
            "decoder_blocks": plans["n_conv_per_stage_decoder"],
            "bias": plans["conv_bias"],
        }
        network = build("residualunet" if residual else "plainunet", arguments).eval()
        network.load_state_dict(weights)
        x = an_image(network)
        with torch.no_grad():
            torch.testing.assert_close(network(x), Twin(weights, arguments)(x), rtol=1e-3, atol=1e-3)
