"""Networks of MONAI, each with its cut.

Those of slices have arguments of MedTL. The others are for models of MONAI's Model Zoo and take MONAI's arguments, so
that a model's configuration names its network; the weights have MONAI's names after the class's `prefix`. They take
volumes, and slices with `spatial_dims` 2.
"""

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as functional
from monai.networks.nets.basic_unet import BasicUNet
from monai.networks.nets.dynunet import DynUNet
from monai.networks.nets.segresnet import SegResNet
from monai.networks.nets.swin_unetr import SwinUNETR
from monai.networks.nets.unet import UNet
from monai.networks.nets.unetr import UNETR
from monai.networks.nets.vnet import DownTransition, InputTransition, OutputTransition, UpTransition
from torch import Tensor, nn

from .network import Network, products

Layer = Any  # the name of a kind of layer, or the name and its arguments

# Not MONAI's instance norm: the statistics of a slice that is mostly air mean little, and those of the windows used in
# tuning differ from those of the whole slices.
NORM = "batch"


class BasicUNet2d(Network):
    """MONAI's BasicUNet in 2D; the cut is between its contracting and its expanding half."""

    multiples = (16, 16)

    def __init__(self, channels: int, labels: int, features: tuple[int, ...] = (32, 32, 64, 128, 256, 32)) -> None:
        super().__init__()
        with redirect_stdout(io.StringIO()):  # MONAI before 1.5 prints the features
            self.unet = BasicUNet(2, channels, labels + 1, tuple(features), norm=NORM)

    def encode(self, x: Tensor) -> list[Tensor]:
        features = [self.unet.conv_0(x)]
        for down in (self.unet.down_1, self.unet.down_2, self.unet.down_3, self.unet.down_4):
            features.append(down(features[-1]))
        return features

    def decode(self, features: list[Tensor]) -> Tensor:
        x0, x1, x2, x3, x4 = features
        up = self.unet.upcat_3(self.unet.upcat_4(x4, x3), x2)
        logits: Tensor = self.unet.final_conv(self.unet.upcat_1(self.unet.upcat_2(up, x1), x0))
        return logits


class VNet3d(Network):
    """MONAI's VNet (Milletari 2016), cut between its two halves; `features`, those of the finest level, must be a
    multiple of `in_channels`."""

    prefix = "vnet."

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        spatial_dims: int = 3,
        act: Layer = ("elu", {"inplace": True}),
        dropout_prob_down: float | None = 0.5,
        dropout_prob_up: Sequence[float | None] = (0.5, 0.5),
        dropout_dim: int = 3,
        bias: bool = False,
        features: int = 16,
    ) -> None:
        super().__init__()
        levels = [features * factor for factor in (1, 2, 4, 8, 16)]
        dropout: Any = tuple(dropout_prob_up)

        def down(level: int, convolutions: int, dropped: float | None = None) -> nn.Module:
            return DownTransition(spatial_dims, levels[level], convolutions, act, dropped, dropout_dim, bias)

        def up(below: int, level: int, convolutions: int, dropped: Any) -> nn.Module:
            return UpTransition(spatial_dims, levels[below], levels[level], convolutions, act, dropped, dropout_dim)

        # The layers of MONAI's VNet under its names. That class always has 16 features.
        self.vnet = nn.ModuleDict(
            {
                "in_tr": InputTransition(spatial_dims, in_channels, features, act, bias),
                "down_tr32": down(0, 1),
                "down_tr64": down(1, 2),
                "down_tr128": down(2, 3, dropout_prob_down),
                "down_tr256": down(3, 2, dropout_prob_down),
                "up_tr256": up(4, 4, 2, dropout),
                "up_tr128": up(4, 3, 2, dropout),
                "up_tr64": up(3, 2, 1, (None, dropout[1])),
                "up_tr32": up(2, 1, 1, (None, dropout[1])),
                "out_tr": OutputTransition(spatial_dims, levels[1], out_channels, act, bias),
            }
        )
        self.multiples = (16,) * spatial_dims

    def encode(self, x: Tensor) -> list[Tensor]:
        features = [self.vnet["in_tr"](x)]
        for down in ("down_tr32", "down_tr64", "down_tr128", "down_tr256"):
            features.append(self.vnet[down](features[-1]))
        return features

    def decode(self, features: list[Tensor]) -> Tensor:
        *skips, x = features
        for up in ("up_tr256", "up_tr128", "up_tr64", "up_tr32"):
            x = self.vnet[up](x, skips.pop())
        logits: Tensor = self.vnet["out_tr"](x)
        return logits


class VNet2d(VNet3d):
    """MONAI's VNet in 2D; `features`, those of the finest level, must be a multiple of `channels`.

    `dropout` is that of the two lowest levels and of what the decoder takes from the encoder, while training.
    """

    def __init__(self, channels: int, labels: int, dropout: float = 0.5, features: int = 16) -> None:
        super().__init__(
            channels,
            labels + 1,
            2,
            dropout_prob_down=dropout,
            dropout_prob_up=(dropout,) * 2,
            dropout_dim=2,
            features=features,
        )


class Unetr2d(Network):
    """MONAI's UNETR in 2D (Hatamizadeh 2022): a transformer over patches of 16 pixels, four of whose layers a
    convolutional decoder takes up; the cut is before that decoder.

    The position embedding is learned for images of `size` pixels a side; for others it is resampled, so that it
    always spans the image.
    """

    multiples = (16, 16)

    def __init__(
        self, channels: int, labels: int, size: int = 256, features: int = 16, hidden: int = 256, heads: int = 8
    ) -> None:
        super().__init__()
        self.unetr = UNETR(
            channels, labels + 1, size, features, hidden, 4 * hidden, heads, norm_name=NORM, spatial_dims=2
        )

    def encode(self, x: Tensor) -> list[Tensor]:
        patches = self.unetr.vit.patch_embedding.patch_embeddings(x)
        rows, columns = patches.shape[2:]
        tokens = patches.flatten(2).transpose(1, 2) + self.positions(rows, columns)
        layers = []
        for block in self.unetr.vit.blocks:
            tokens = block(tokens)
            layers.append(tokens)
        layers.append(self.unetr.vit.norm(tokens))
        maps = [layers[k].transpose(1, 2).unflatten(2, (rows, columns)).contiguous() for k in (3, 6, 9, -1)]
        skips = (self.unetr.encoder2, self.unetr.encoder3, self.unetr.encoder4)
        return [self.unetr.encoder1(x), *(skip(m) for skip, m in zip(skips, maps, strict=False)), maps[-1]]

    def positions(self, rows: int, columns: int) -> Tensor:
        """The position embedding (1, rows × columns, hidden)."""
        learned: Tensor = self.unetr.vit.patch_embedding.position_embeddings
        if (rows, columns) == self.unetr.feat_size:
            return learned
        grid = learned.transpose(1, 2).unflatten(2, self.unetr.feat_size)
        resampled = functional.interpolate(grid, size=(rows, columns), mode="bilinear", align_corners=False)
        return resampled.flatten(2).transpose(1, 2)

    def decode(self, features: list[Tensor]) -> Tensor:
        x0, x1, x2, x3, x4 = features
        up = self.unetr.decoder4(self.unetr.decoder5(x4, x3), x2)
        logits: Tensor = self.unetr.out(self.unetr.decoder2(self.unetr.decoder3(up, x1), x0))
        return logits


class SwinUnetr3d(Network):
    """MONAI's Swin-UNETR (Hatamizadeh 2022): attention in shifted windows, and a convolutional decoder, before which
    the cut is. `img_size` is that of older versions of MONAI and changes nothing."""

    prefix = "swin."

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        img_size: int | Sequence[int] | None = None,
        spatial_dims: int = 3,
        depths: Sequence[int] = (2, 2, 2, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        feature_size: int = 24,
        norm_name: Layer = "instance",
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        dropout_path_rate: float = 0.0,
        normalize: bool = True,
        use_checkpoint: bool = False,
        downsample: str = "merging",
        use_v2: bool = False,
    ) -> None:
        super().__init__()
        size: Any = {"img_size": 64} if "img_size" in signature(SwinUNETR).parameters else {}  # MONAI 1.4 asks for it
        self.swin = SwinUNETR(
            **size,
            in_channels=in_channels,
            out_channels=out_channels,
            spatial_dims=spatial_dims,
            depths=depths,
            num_heads=num_heads,
            feature_size=feature_size,
            norm_name=norm_name,
            drop_rate=drop_rate,
            attn_drop_rate=attn_drop_rate,
            dropout_path_rate=dropout_path_rate,
            normalize=normalize,
            use_checkpoint=use_checkpoint,
            downsample=downsample,
            use_v2=use_v2,
        )
        self.multiples = (32,) * spatial_dims

    def encode(self, x: Tensor) -> list[Tensor]:
        swin = self.swin
        x1, x2, x3, x4, x5 = swin.swinViT(x, swin.normalize)
        return [swin.encoder1(x), swin.encoder2(x1), swin.encoder3(x2), swin.encoder4(x3), x4, swin.encoder10(x5)]

    def decode(self, features: list[Tensor]) -> Tensor:
        x0, x1, x2, x3, x4, x5 = features
        up = self.swin.decoder3(self.swin.decoder4(self.swin.decoder5(x5, x4), x3), x2)
        logits: Tensor = self.swin.out(self.swin.decoder1(self.swin.decoder2(up, x1), x0))
        return logits


class SwinUnetr2d(SwinUnetr3d):
    """MONAI's Swin-UNETR in 2D."""

    def __init__(self, channels: int, labels: int, features: int = 24) -> None:
        super().__init__(channels, labels + 1, spatial_dims=2, feature_size=features, norm_name=NORM)


class UNet3d(Network):
    """MONAI's UNet (Kerfoot 2018), which nests its levels: each is a layer down, all that is coarser, and a layer up.
    The cut is after the coarsest layer; `encode` gives that and what each layer down gives."""

    prefix = "unet."

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int],
        strides: Sequence[int | Sequence[int]],
        spatial_dims: int = 3,
        kernel_size: int | Sequence[int] = 3,
        up_kernel_size: int | Sequence[int] = 3,
        num_res_units: int = 0,
        act: Layer = "PRELU",
        norm: Layer = "INSTANCE",
        dropout: float = 0.0,
        bias: bool = True,
        adn_ordering: str = "NDA",
    ) -> None:
        super().__init__()
        used: Any = strides[: len(channels) - 1]  # MONAI warns of more, which some configurations state
        self.unet = UNet(
            spatial_dims,
            in_channels,
            out_channels,
            channels,
            used,
            kernel_size,
            up_kernel_size,
            num_res_units,
            act,
            norm,
            dropout,
            bias,
            adn_ordering,
        )
        self.multiples = products(used, spatial_dims)

    def levels(self) -> tuple[list[Any], list[Any]]:
        """The layers down, the coarsest layer last; and the layers up, coarsest first."""
        down, up = [], []
        level: Any = self.unet.model
        while type(level) is nn.Sequential:  # the coarsest layer is of a class of MONAI
            down.append(level[0])
            up.append(level[2])
            level = level[1].submodule
        return [*down, level], up[::-1]

    def encode(self, x: Tensor) -> list[Tensor]:
        features = []
        for layer in self.levels()[0]:
            x = layer(x)
            features.append(x)
        return features

    def decode(self, features: list[Tensor]) -> Tensor:
        x = features[-1]
        for layer, skip in zip(self.levels()[1], features[-2::-1], strict=True):
            x = layer(torch.cat((skip, x), 1))
        return x


class SegResNet3d(Network):
    """MONAI's SegResNet (Myronenko 2018), cut between its two halves."""

    prefix = "segresnet."

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 2,
        spatial_dims: int = 3,
        init_filters: int = 8,
        blocks_down: Sequence[int] = (1, 2, 2, 4),
        blocks_up: Sequence[int] = (1, 1, 1),
        dropout_prob: float | None = None,
        act: Layer = ("RELU", {"inplace": True}),
        norm: Layer = ("GROUP", {"num_groups": 8}),
        use_conv_final: bool = True,
        upsample_mode: str = "nontrainable",
    ) -> None:
        super().__init__()
        self.segresnet = SegResNet(
            spatial_dims,
            init_filters,
            in_channels,
            out_channels,
            dropout_prob,
            act,
            norm,
            use_conv_final=use_conv_final,
            blocks_down=tuple(blocks_down),
            blocks_up=tuple(blocks_up),
            upsample_mode=upsample_mode,
        )
        self.multiples = (2 ** (len(blocks_down) - 1),) * spatial_dims

    def encode(self, x: Tensor) -> list[Tensor]:
        features: list[Tensor] = self.segresnet.encode(x)[1]
        return features

    def decode(self, features: list[Tensor]) -> Tensor:
        logits: Tensor = self.segresnet.decode(features[-1], features[::-1])
        return logits


class DynUNet3d(Network):
    """MONAI's DynUNet, cut between its two halves; without the output of deep supervision, but with its layers.

    MONAI's weights name all layers a second time (`skip_layers`); these names are left out.
    """

    prefix = "dynunet."

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sequence[int | Sequence[int]],
        strides: Sequence[int | Sequence[int]],
        upsample_kernel_size: Sequence[int | Sequence[int]],
        spatial_dims: int = 3,
        filters: Sequence[int] | None = None,
        dropout: float | None = None,
        norm_name: Layer = ("INSTANCE", {"affine": True}),
        act_name: Layer = ("leakyrelu", {"inplace": True, "negative_slope": 0.01}),
        deep_supervision: bool = False,
        deep_supr_num: int = 1,
        res_block: bool = False,
        trans_bias: bool = False,
    ) -> None:
        super().__init__()
        self.dynunet = DynUNet(
            spatial_dims,
            in_channels,
            out_channels,
            kernel_size,
            strides,
            upsample_kernel_size,
            filters,
            dropout,
            norm_name,
            act_name,
            deep_supervision,
            deep_supr_num,
            res_block,
            trans_bias,
        )
        del self.dynunet.skip_layers  # a file of weights cannot hold a layer under two names
        self.multiples = products(strides, spatial_dims)

    def encode(self, x: Tensor) -> list[Tensor]:
        features = [self.dynunet.input_block(x)]
        for layer in (*self.dynunet.downsamples, self.dynunet.bottleneck):
            features.append(layer(features[-1]))
        return features

    def decode(self, features: list[Tensor]) -> Tensor:
        x = features[-1]
        for layer, skip in zip(self.dynunet.upsamples, features[-2::-1], strict=True):
            x = layer(x, skip)
        logits: Tensor = self.dynunet.output_block(x)
        return logits
