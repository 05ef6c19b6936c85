"""The U-Nets of nnU-Net in 2D and 3D, with nnU-Net's names of layers, cut between encoder and decoder.

Source: Isensee et al. 2021 (nnU-Net), Isensee et al. 2024 (residual encoders). nnU-Net's checkpoints name some layers
several times (`all_modules`, `decoder.encoder`); here each has the shortest of its names.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .network import Network, products

Steps = Sequence[int]  # along each axis
Layers = dict[int, Callable[..., nn.Module]]  # by the number of axes
CONVOLUTIONS: Layers = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: Layers = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
POOLS: Layers = {2: nn.AvgPool2d, 3: nn.AvgPool3d}


def activation() -> nn.Module:
    """The leaky ReLU of all layers."""
    return nn.LeakyReLU(0.01, inplace=True)


def conv_norm(into: int, out: int, kernel: Steps, stride: Steps, bias: bool, active: bool = True) -> nn.Module:
    """A convolution, a norm over the image, and where `active` a leaky ReLU."""
    dimensions = len(kernel)
    padding = tuple((size - 1) // 2 for size in kernel)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv"] = CONVOLUTIONS[dimensions](into, out, tuple(kernel), tuple(stride), padding, bias=bias)
    # nnU-Net's InstanceNorm is a GroupNorm of one channel a group, which a CPU computes in less than half the time.
    layers["norm"] = nn.GroupNorm(out, out, eps=1e-5)
    if active:
        layers["nonlin"] = activation()
    return nn.Sequential(layers)


def conv_stack(into: int, out: int, kernel: Steps, stride: Steps, count: int, bias: bool) -> nn.Module:
    """`count` convolutions, the first of which has the stride."""
    ones = [1] * len(kernel)
    convs = [conv_norm(out if k else into, out, kernel, ones if k else stride, bias) for k in range(count)]
    return nn.Sequential(OrderedDict(convs=nn.Sequential(*convs)))


class ResidualBlock(nn.Module):
    """Two convolutions beside a way past them, which averages for the stride and projects for other features
    (ResNet-D, He 2019)."""

    def __init__(self, into: int, out: int, kernel: Steps, stride: Steps, bias: bool) -> None:
        super().__init__()
        ones = [1] * len(kernel)
        self.conv1 = conv_norm(into, out, kernel, stride, bias)
        self.conv2 = conv_norm(out, out, kernel, ones, bias, active=False)
        past: list[nn.Module] = []
        if any(step != 1 for step in stride):
            past.append(POOLS[len(kernel)](tuple(stride), tuple(stride)))
        if into != out:
            past.append(conv_norm(into, out, ones, ones, bias=False, active=False))
        self.skip = nn.Sequential(*past)
        self.nonlin2 = activation()

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.nonlin2(self.conv2(self.conv1(x)) + self.skip(x))
        return added


def block_stack(into: int, out: int, kernel: Steps, stride: Steps, count: int, bias: bool) -> nn.Module:
    """`count` residual blocks, the first of which has the stride."""
    ones = [1] * len(kernel)
    blocks = [ResidualBlock(out if k else into, out, kernel, ones if k else stride, bias) for k in range(count)]
    return nn.Sequential(OrderedDict(blocks=nn.Sequential(*blocks)))


class Encoder(nn.Module):
    """The stages of the contracting half."""

    def __init__(self, stem: nn.Module, stages: Sequence[nn.Module]) -> None:
        super().__init__()
        self.stem, self.stages = stem, nn.Sequential(*stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        features = [self.stem(x)]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features[1:]


class Decoder(nn.Module):
    """The expanding half, coarsest first. Each stage has a head; all but the last are for deep supervision."""

    def __init__(
        self,
        outputs: int,
        features: Sequence[int],
        kernels: Sequence[Steps],
        strides: Sequence[Steps],
        blocks: Sequence[int],
        bias: bool,
    ) -> None:
        super().__init__()
        dimensions = len(kernels[0])
        self.stages, self.transpconvs, self.seg_layers = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        coarsest_first = range(len(features) - 2, -1, -1)
        for level, count in zip(coarsest_first, blocks, strict=True):
            out, step = features[level], tuple(strides[level + 1])
            self.transpconvs.append(TRANSPOSED[dimensions](features[level + 1], out, step, step, bias=bias))
            self.stages.append(conv_stack(2 * out, out, kernels[level], [1] * dimensions, count, bias))
            self.seg_layers.append(CONVOLUTIONS[dimensions](out, outputs, 1))

    def forward(self, features: list[Tensor], deep: bool = False) -> list[Tensor]:
        """The logits of the last stage alone, or where `deep` of each stage, coarsest first. The list is empty
        afterwards: features that were used take no more memory, those of the first stage most."""
        x = features.pop()
        logits = []
        for up, stage, head in zip(self.transpconvs, self.stages, self.seg_layers, strict=True):
            x = stage(torch.cat((up(x), features.pop()), 1))
            if deep or head is self.seg_layers[-1]:
                logits.append(head(x))
        return logits


class PlainUNet(Network):
    """nnU-Net's `PlainConvUNet`, cut between encoder and decoder; logits at the size of the first stage.

    `outputs`: channels of the logits. `features`, `kernels`, `strides` and `blocks` (convolutions) have an entry for
    each stage of the encoder, finest first; `decoder_blocks` one for each stage of the decoder, coarsest first. The
    kernels and strides have two numbers each for slices, three for volumes.
    """

    residual = False

    def __init__(
        self,
        channels: int,
        outputs: int,
        features: Sequence[int],
        kernels: Sequence[Steps],
        strides: Sequence[Steps],
        blocks: Sequence[int],
        decoder_blocks: Sequence[int],
        bias: bool = True,
    ) -> None:
        super().__init__()
        stages: list[nn.Module]
        stem: nn.Module
        if self.residual:
            stem = conv_stack(channels, features[0], kernels[0], [1] * len(kernels[0]), 1, bias)
            inputs = [features[0], *features[:-1]]
            stages = [block_stack(*each, bias) for each in zip(inputs, features, kernels, strides, blocks, strict=True)]
        else:
            stem = nn.Identity()
            inputs = [channels, *features[:-1]]
            each_stage = zip(inputs, features, kernels, strides, blocks, strict=True)
            stages = [nn.Sequential(conv_stack(*each, bias)) for each in each_stage]
        self.encoder = Encoder(stem, stages)
        self.decoder = Decoder(outputs, features, kernels, strides, decoder_blocks, bias)
        self.multiples = products(strides, len(kernels[0]))

    def encode(self, x: Tensor) -> list[Tensor]:
        features: list[Tensor] = self.encoder(x)
        return features

    def decode(self, features: list[Tensor]) -> Tensor:
        logits: Tensor = self.decoder(list(features))[-1]
        return logits

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.decoder(self.encode(x))[-1]
        return logits

    def deep_logits(self, x: Tensor) -> list[Tensor]:
        """The logits of each stage of the decoder, coarsest first, for deep supervision."""
        logits: list[Tensor] = self.decoder(self.encode(x), deep=True)
        return logits


class ResidualUNet(PlainUNet):
    """nnU-Net's `ResidualEncoderUNet`: as `PlainUNet`, but `blocks` counts residual blocks, which follow a
    convolution without stride."""

    residual = True
