"""Networks by name. Each has a cut, `encode` and `decode`, between which fine-tuning caches features.

`NETWORKS[name](**arguments)` gives a `Network`; the arguments are what a model card stores.
"""

import inspect
import math
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import timm
import torch
import torch.nn.functional as functional
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models import adapt_input_conv
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..errors import ModelError
from .monai_networks import (
    BasicUNet2d,
    DynUNet3d,
    SegResNet3d,
    SwinUnetr2d,
    SwinUnetr3d,
    UNet3d,
    Unetr2d,
    VNet2d,
    VNet3d,
)
from .network import Network
from .unets import PlainUNet, ResidualUNet


class UNet2d(Network):
    """A U-Net decoder over any timm encoder (Ronneberger 2015; Pourmahboubi 2025 for VGG19 with fixed weights).

    `encoder_weights`: a local .safetensors file, "imagenet" for timm's default weights of the encoder, or timm's tag of
    others ("in1k"); the latter two are fetched from the hub. `frozen` fixes the encoder, batch statistics included.
    """

    def __init__(
        self, encoder: str, channels: int, labels: int, encoder_weights: str | None = None, frozen: bool = False
    ) -> None:
        super().__init__()
        local = encoder_weights if encoder_weights is not None and is_file(encoder_weights) else None
        hub = encoder_weights is not None and local is None
        name = f"tu-{timm_name(encoder, encoder_weights)}"
        self.unet = smp.Unet(name, encoder_weights=hub or None, in_channels=channels, classes=labels + 1)
        if local is not None:
            load_encoder(self.unet.encoder.model, Path(local))
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


def timm_name(encoder: str, weights: str | None) -> str:
    """timm's name of the encoder, with the tag of its weights on the hub.

    Raises: ModelError when timm would take it for an address to fetch from.
    """
    if not re.fullmatch(r"\w+", encoder):  # timm would fetch "hf-hub:…" from the network
        raise ModelError(f"Expected the name of a timm encoder, found {encoder!r}. Choose another model.")
    tagged = weights is not None and not is_file(weights) and weights != "imagenet"
    return f"{encoder}.{weights}" if tagged else encoder


NETWORKS: dict[str, Callable[..., Network]] = {
    "unet2d": UNet2d,
    "basicunet2d": BasicUNet2d,
    "vnet2d": VNet2d,
    "unetr2d": Unetr2d,
    "swinunetr2d": SwinUnetr2d,
    "classifier2d": Classifier2d,
    "plainunet": PlainUNet,
    "residualunet": ResidualUNet,
    "unet3d": UNet3d,
    "segresnet3d": SegResNet3d,
    "vnet3d": VNet3d,
    "swinunetr3d": SwinUnetr3d,
    "dynunet3d": DynUNet3d,
}
# The lowest and highest value of arguments of networks: of a number, or of each entry of a list, or of a list of lists.
RANGES = {
    "channels": (1, 4096),
    "labels": (1, 255),
    "classes": (2, 255),
    "features": (1, 4096),
    "size": (16, 4096),
    "hidden": (1, 8192),
    "heads": (1, 64),
    "mixed": (1, 8192),
    "outputs": (1, 256),
    "kernels": (1, 15),
    "strides": (1, 16),
    "blocks": (1, 32),
    "decoder_blocks": (1, 32),
    # MONAI's
    "spatial_dims": (2, 3),
    "in_channels": (1, 528),
    "out_channels": (1, 256),
    "img_size": (1, 4096),
    "kernel_size": (1, 15),
    "up_kernel_size": (1, 15),
    "upsample_kernel_size": (1, 15),
    "num_res_units": (0, 32),
    "init_filters": (1, 4096),
    "filters": (1, 4096),
    "feature_size": (1, 4096),
    "blocks_down": (1, 32),
    "blocks_up": (1, 32),
    "depths": (1, 32),
    "num_heads": (1, 64),
    "deep_supr_num": (1, 12),
    "dropout_dim": (1, 3),
}
MAX_STAGES = 12  # entries of a list
SHARES = (
    *("dropout", "dropout_prob", "dropout_prob_down", "dropout_prob_up"),
    *("drop_rate", "attn_drop_rate", "dropout_path_rate"),
)
SWITCHES = (
    *("frozen", "strangeness", "bias", "use_conv_final", "normalize", "use_checkpoint", "use_v2"),
    *("deep_supervision", "res_block", "trans_bias"),
)
LAYERS = ("act", "act_name", "norm", "norm_name")


def build(name: str, arguments: Mapping[str, Any]) -> Network:
    """The network of that name with random (or the named encoder) weights.

    Raises: ModelError when the name or the arguments are unknown, or a value is not plausible.
    """
    if name not in NETWORKS:
        raise ModelError(
            f"Expected a network of {', '.join(NETWORKS)}, found {name[:80]!r}. Update MedTL or choose another."
        )
    known = inspect.signature(NETWORKS[name]).parameters
    wrong = [key for key, value in arguments.items() if key not in known or not is_plausible(key, value)]
    if wrong:
        raise ModelError(
            f"The network {name} does not take the arguments {str(dict(arguments))[:200]}: {wrong[0][:40]!r} is "
            "unknown or has a value that cannot be. Choose another model."
        )
    try:
        return NETWORKS[name](**arguments)
    except (ModelError, MemoryError):
        raise
    except Exception as error:  # timm, smp and MONAI raise what they like where arguments do not go together
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"The network {name} does not take the arguments {str(dict(arguments))[:200]}: {reason}"
        ) from error


def is_plausible(key: str, value: Any, depth: int = 2) -> bool:
    """True where an argument of a network has the type and size that it can have; lists are nested `depth` times."""
    if isinstance(value, list | tuple) and key not in LAYERS:
        return depth > 0 and len(value) <= MAX_STAGES and all(is_plausible(key, one, depth - 1) for one in value)
    if key in RANGES:
        return type(value) is int and RANGES[key][0] <= value <= RANGES[key][1]
    if key in SHARES:
        return value is None or (type(value) in (float, int) and 0 <= value < 1)
    if key in SWITCHES:
        return isinstance(value, bool)
    if key in LAYERS and isinstance(value, list | tuple):  # the name and its arguments
        return len(value) == 2 and isinstance(value[0], str) and is_plain(value[1])
    return isinstance(value, str) or (key == "encoder_weights" and value is None)


def is_plain(arguments: Any) -> bool:
    """True for arguments of a layer that are numbers."""
    return isinstance(arguments, dict) and all(isinstance(value, bool | int | float) for value in arguments.values())


def shapes(name: str, arguments: Mapping[str, Any]) -> dict[str, tuple[bool, tuple[int, ...]]]:
    """For each layer of the network's weights, whether it is of floating point, and its shape. No memory is allocated
    for weights, so a network may have any size.

    Raises: ModelError as `build` does.
    """
    with torch.device("meta"), SmallNumbersOnCpu():
        state = build(name, arguments).state_dict()
    return {key: (value.is_floating_point(), tuple(value.shape)) for key, value in state.items()}


class SmallNumbersOnCpu(TorchFunctionMode):
    """Lets a network that is built without memory read the values of a short `linspace`: its rates of dropped paths."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if (
            func is torch.linspace
            and isinstance(steps := kwargs.get("steps", (*args, 0, 0, 0)[2]), int)
            and steps < 1000
        ):
            kwargs["device"] = "cpu"
        return func(*args, **kwargs)


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


def parameter_count(network: nn.Module) -> int:
    """Number of weights."""
    return sum(p.numel() for p in network.parameters())


def place(network: Network, device: str) -> Network:
    """The network on the device; one of slices channels last: 1.2 to 1.6 times faster for convolutions on a CPU, where
    those of volumes gain nothing."""
    placed: Network = network.to(device)
    return placed.to(memory_format=torch.channels_last) if placed.dimensions == 2 else placed


def bf16_pays(network: Network, channels: int, gain: float = 1.3) -> bool:
    """True where this processor runs the network at least `gain` times faster in bfloat16 than in float32.

    Measured, because processors without native bfloat16 run it up to eleven times slower and do not report it. Of a
    network of volumes one convolution is measured, the first with overlapping kernels that takes features: the whole
    takes seconds for the smallest window, and most of these for the weights of levels that hardly count in a real one.
    """
    probe: nn.Module = network
    if network.dimensions == 2:
        rows, columns = network.multiples
        size = (rows * max(2, 128 // rows), columns * max(1, 128 // columns))  # a norm needs more than one value
        image = torch.zeros((2, channels, *size)).contiguous(memory_format=torch.channels_last)
    else:
        convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv3d)]
        overlapping = (c for c in convolutions if c.in_channels > channels and c.kernel_size > c.stride)
        probe = next(overlapping, convolutions[-1])
        image = torch.zeros((2, int(probe.in_channels), 16, 16, 16))

    def seconds(enabled: bool) -> float:
        best = math.inf
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            for attempt in range(4):
                began = time.perf_counter()
                probe(image)
                if attempt:  # the first run chooses kernels
                    best = min(best, time.perf_counter() - began)
        return best

    return seconds(False) >= gain * seconds(True)
