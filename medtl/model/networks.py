"""Networks by name. Each has a cut, `encode` and `decode`, between which fine-tuning caches features.

`build(name, arguments)` gives a `Network`; the arguments are what a model card stores.
"""

import importlib
import inspect
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ..errors import ModelError
from .network import Network

# The file and the class of each. A file is imported when a model needs it: timm and MONAI take seconds and 200 MB.
NETWORKS = {
    "unet2d": "timm_networks.UNet2d",
    "dualunet2d": "timm_networks.DualUNet2d",
    "basicunet2d": "monai_networks.BasicUNet2d",
    "vnet2d": "monai_networks.VNet2d",
    "unetr2d": "monai_networks.Unetr2d",
    "swinunetr2d": "monai_networks.SwinUnetr2d",
    "classifier2d": "timm_networks.Classifier2d",
    "plainunet": "unets.PlainUNet",
    "residualunet": "unets.ResidualUNet",
    "unet3d": "monai_networks.UNet3d",
    "segresnet3d": "monai_networks.SegResNet3d",
    "vnet3d": "monai_networks.VNet3d",
    "swinunetr3d": "monai_networks.SwinUnetr3d",
    "dynunet3d": "monai_networks.DynUNet3d",
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
    "decoder": (1, 4096),
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


def network_class(name: str) -> type[Network]:
    """The class of the network of that name, one of `NETWORKS`."""
    file, _, kind = NETWORKS[name].partition(".")
    found: type[Network] = getattr(importlib.import_module(f".{file}", __package__), kind)
    return found


def build(name: str, arguments: Mapping[str, Any]) -> Network:
    """The network of that name with random (or the named encoder) weights.

    Raises: ModelError when the name or the arguments are unknown, or a value is not plausible.
    """
    if name not in NETWORKS:
        raise ModelError(
            f"Expected a network of {', '.join(NETWORKS)}, found {name[:80]!r}. Update MedTL or choose another."
        )
    kind = network_class(name)
    known = inspect.signature(kind).parameters
    wrong = [key for key, value in arguments.items() if key not in known or not is_plausible(key, value)]
    if wrong:
        raise ModelError(
            f"The network {name} does not take the arguments {str(dict(arguments))[:200]}: {wrong[0][:40]!r} is "
            "unknown or has a value that cannot be. Choose another model."
        )
    try:
        return kind(**arguments)
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


def parameter_count(network: nn.Module) -> int:
    """Number of weights."""
    return sum(p.numel() for p in network.parameters())


def place(network: Network, device: str) -> Network:
    """The network on the device; one of slices channels last: 1.2 to 1.6 times faster for convolutions on a CPU, where
    those of volumes gain nothing."""
    placed: Network = network.to(device)
    return placed.to(memory_format=torch.channels_last) if placed.dimensions == 2 else placed


def bf16_pays(network: Network, channels: int, gain: float = 1.15) -> bool:
    """True where this processor runs a small image at least `gain` times faster in bfloat16 than in float32.

    Measured, because processors without native bfloat16 run it up to eleven times slower and do not report it. Of a
    network of volumes one convolution is measured, the first with overlapping kernels that takes features: the whole
    takes seconds for the smallest window, and most of these for the weights of levels that hardly count in a real one.
    An image or window in use gains more than the small one: 1.6 to 2.4 times where it gains 1.2 to 1.5.
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
        image = torch.zeros((2, int(probe.in_channels), 24, 24, 24))

    def seconds(enabled: bool) -> float:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            began = time.perf_counter()
            probe(image)
            return time.perf_counter() - began

    # In turns, so that other work on the processor meets both; the first run chooses kernels.
    fp32, bf16 = zip(*((seconds(False), seconds(True)) for _ in range(5)), strict=True)
    return bool(min(fp32[1:]) >= gain * min(bf16[1:]))
