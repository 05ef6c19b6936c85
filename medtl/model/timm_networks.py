"""Networks on an encoder of timm, each with its cut, and the weights that such an encoder starts from."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import timm
import torch
import torch.nn.functional as functional
from safetensors import SafetensorError
from safetensors.torch import load_file
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from timm.models import adapt_input_conv
from torch import Tensor, nn

from ..errors import ModelError
from .network import Network


class UNet2d(Network):
    """A U-Net decoder over any timm encoder (Ronneberger 2015; Pourmahboubi 2025 for VGG19 with fixed weights).

    `encoder_weights`: a local .safetensors file, "imagenet" for timm's default weights of the encoder, or timm's tag of
    others ("in1k"); the latter two are fetched from the hub. `frozen` fixes the encoder, batch statistics included.
    `decoder`: the features of the decoder's stages, the coarsest first.
    """

    def __init__(
        self,
        encoder: str,
        channels: int,
        labels: int,
        encoder_weights: str | None = None,
        frozen: bool = False,
        decoder: Sequence[int] = (256, 128, 64, 32, 16),
    ) -> None:
        super().__init__()
        local = encoder_weights if encoder_weights is not None and is_file(encoder_weights) else None
        hub = encoder_weights is not None and local is None
        name = f"tu-{timm_name(encoder, encoder_weights)}"
        self.unet = smp.Unet(
            name,
            encoder_weights=hub or None,
            in_channels=channels,
            classes=labels + 1,
            encoder_depth=len(decoder),
            decoder_channels=decoder,
        )
        drop_unused(self.unet.encoder.model)
        if local is not None:
            load_encoder(self.unet.encoder.model, Path(local))
        self.multiples = (2 ** len(decoder),) * 2
        self.frozen = frozen
        if frozen:
            self.unet.encoder.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "UNet2d":
        super().train(mode)
        if self.frozen:
            self.unet.encoder.eval()  # batch statistics are weights too: fixed means fixed
        return self

    def encode(self, x: Tensor) -> list[Tensor]:
        features: list[Tensor] = self.unet.encoder(x)
        return features

    def decode(self, features: list[Tensor]) -> Tensor:
        logits: Tensor = self.unet.segmentation_head(self.unet.decoder(features))
        return logits


class DualUNet2d(UNet2d):
    """A `UNet2d` of two encoders that see the same image, their features joined at each level: `auxiliary` keeps what
    it learned from another set of images, the other one learns the model's own.

    Source: Zhu et al. 2022 (dual-channel fine network); the fusion by joining is this project's.
    """

    def __init__(
        self,
        encoder: str,
        channels: int,
        labels: int,
        encoder_weights: str | None = None,
        decoder: Sequence[int] = (256, 128, 64, 32, 16),
    ) -> None:
        super().__init__(encoder, channels, labels, encoder_weights, decoder=decoder)
        self.auxiliary = UNet2d(encoder, channels, labels, decoder=decoder).unet.encoder
        self.auxiliary.requires_grad_(False).eval()
        joined = [2 * count for count in self.auxiliary.out_channels]
        self.unet.decoder = UnetDecoder(joined, decoder, len(decoder))

    def train(self, mode: bool = True) -> "DualUNet2d":
        super().train(mode)
        self.auxiliary.eval()
        return self

    def encode(self, x: Tensor) -> list[Tensor]:
        return [torch.cat(pair, 1) for pair in zip(self.auxiliary(x), super().encode(x), strict=True)]


class Classifier2d(Network):
    """A timm encoder, attention, and one linear layer: images (B, C, H, W) in, logits (B, classes) out (Disci 2025).

    The last two levels of the encoder, at a 16th of the image's side, are mixed at each position and averaged with
    attention weights (Ilse 2018), which can be trained with outlines of tumours. The cut is before the mixing, so a
    heat map needs the head alone. Encoder weights are named as for `UNet2d`.

    With `strangeness`, `usual` (mean) and `directions` (whitening matrix) describe the distribution of the encoder's
    features, averaged over the image, in training.
    """

    usual: Tensor
    directions: Tensor

    def __init__(
        self,
        encoder: str,
        channels: int,
        classes: int,
        mixed: int = 256,
        dropout: float = 0.2,
        strangeness: bool = False,
        encoder_weights: str | None = None,
    ) -> None:
        super().__init__()
        local = encoder_weights if encoder_weights is not None and is_file(encoder_weights) else None
        name = timm_name(encoder, encoder_weights)
        hub = encoder_weights is not None and local is None
        levels: Any = timm.create_model(
            name, pretrained=hub, in_chans=channels, features_only=True, out_indices=(-2, -1)
        )
        if local is not None:
            load_encoder(levels, Path(local))
        self.encoder = levels
        width = sum(levels.feature_info.channels())
        self.mix = nn.Sequential(nn.Conv2d(width, mixed, 1, bias=False), nn.BatchNorm2d(mixed), nn.ReLU())
        self.attention = nn.Conv2d(mixed, 1, 1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(mixed, classes)
        self.register_buffer("usual", torch.zeros(width if strangeness else 0))
        self.register_buffer("directions", torch.zeros(len(self.usual), len(self.usual)))

    def encode(self, x: Tensor) -> list[Tensor]:
        fine, coarse = self.encoder(x)
        grown = functional.interpolate(coarse, size=fine.shape[2:], mode="bilinear", align_corners=False)
        return [torch.cat([fine, grown], 1)]

    def decode(self, features: list[Tensor]) -> Tensor:
        return self.attend(features)[0]

    def attend(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The logits (B, classes) and the attention logits (B, h, w); the softmax of these over positions gives the
        weights of the positions.

        A second entry of `features` after that of `encode` is a mask (B, h, w) from 0 to 1, not all 0: the part of each
        position that counts.
        """
        mixed = self.mix(features[0])
        attention: Tensor = self.attention(mixed)
        wanted = attention.flatten(1).float()
        if len(features) > 1:
            wanted = wanted + features[1].flatten(1).log()
        share = wanted.softmax(1)
        averaged = (mixed.flatten(2) * share[:, None]).sum(2)
        return self.head(self.dropout(averaged)), attention[:, 0]

    def summary(self, features: list[Tensor]) -> Tensor:
        """The encoder's features averaged over the image, (B, width)."""
        return features[0].float().mean((2, 3))

    def distance(self, features: list[Tensor]) -> Tensor:
        """The squared Mahalanobis distance from the mean of the training pictures, (B,), divided by the number of
        dimensions (Kamoi and Kobayashi 2020)."""
        spread = (self.summary(features) - self.usual) @ self.directions
        return spread.square().mean(1)


def drop_unused(encoder: nn.Module) -> None:
    """Remove the blocks of a timm encoder after the last one that gives features, where it has them in a row: a short
    U-Net would store them for nothing."""
    blocks = getattr(encoder, "blocks", None)
    if isinstance(blocks, nn.Sequential):
        last = str(encoder.feature_info.module_name()[-1])  # type: ignore[union-attr, operator]
        name, _, number = last.partition(".")
        if name == "blocks" and number.isdigit():
            del blocks[int(number) + 1 :]


def timm_name(encoder: str, weights: str | None) -> str:
    """timm's name of the encoder, with the tag of its weights on the hub.

    Raises: ModelError when timm would take it for an address to fetch from.
    """
    if not re.fullmatch(r"\w+", encoder):  # timm would fetch "hf-hub:…" from the network
        raise ModelError(f"Expected the name of a timm encoder, found {encoder!r}. Choose another model.")
    tagged = weights is not None and not is_file(weights) and weights != "imagenet"
    return f"{encoder}.{weights}" if tagged else encoder


def is_file(weights: str) -> bool:
    """True when encoder weights are named by a local file rather than by their name on the hub."""
    return weights.endswith(".safetensors")


def load_encoder(encoder: nn.Module, path: Path) -> None:
    """Load a timm encoder's weights from a safetensors file with timm's layer names; other layers in it are ignored.

    A first layer made for colour pictures is fitted to other channel counts as timm does it for weights of its hub.

    Raises: ModelError when the file is not there, or lacks a layer of the encoder or has it in another shape.
    """
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"Could not read encoder weights from {path}: {error}. Give a .safetensors file.") from error
    wanted = encoder.state_dict()
    # timm's feature extractors rename what they wrap: "features.0.weight" is "features_0.weight" or "body.…" in them.
    flat = {name.replace(".", "_"): name for name in wanted}
    keys = {name: name.replace(".", "_") for name in stored}
    prefix = max(("", "model_", "body_"), key=lambda p: sum(p + key in flat for key in keys.values()))
    weights = {flat[prefix + key]: stored[name].float() for name, key in keys.items() if prefix + key in flat}
    for name, value in weights.items():
        shape = wanted[name].shape
        if value.ndim == 4 and value.shape[1] == 3 and value.shape != shape and value.shape[0] == shape[0]:
            weights[name] = adapt_input_conv(shape[1], value)
    missing = [name for name in wanted if name not in weights and not name.endswith("num_batches_tracked")]
    wrong = [name for name, value in weights.items() if value.shape != wanted[name].shape]
    if missing or wrong:
        raise ModelError(
            f"{path} does not fit the encoder: {len(missing)} layers missing, {len(wrong)} of another shape "
            f"(first: {(missing + wrong)[0]}). Choose the file of this encoder."
        )
    encoder.load_state_dict(weights, strict=False)
