"""Networks of MONAI that take MONAI's arguments: its weights load, and give what MONAI's own class gives."""

import warnings
from collections.abc import Callable
from inspect import signature
from typing import Any

import pytest
import torch
from monai.networks.nets import DynUNet, SegResNet, SwinUNETR, UNet, VNet
from torch import nn

from medtl.model.network import Network
from medtl.model.networks import NETWORKS, build, shapes

KERNELS = [[3, 3, 3]] * 4


def swin_unetr(**arguments):
    """MONAI's class, which asked for `img_size` before 1.5 and made nothing of it."""
    older = {"img_size": 32} if "img_size" in signature(SwinUNETR).parameters else {}
    return SwinUNETR(**older, **arguments)


# Name, MONAI's class, MONAI's arguments as a card has them, expected multiples.
CASES: dict[str, tuple[str, Callable[..., nn.Module], dict[str, Any], tuple[int, ...]]] = {
    "residual units": (
        "unet3d",
        UNet,
        {"channels": [4, 8, 8], "strides": [2, 2], "num_res_units": 2, "norm": "batch"},
        (4, 4, 4),
    ),
    "plain, more strides than are used": (
        "unet3d",
        UNet,
        {"channels": [4, 8, 8], "strides": [[1, 2, 2], 2, 1, 1], "act": "relu", "norm": ["group", {"num_groups": 2}]},
        (2, 4, 4),
    ),
    "slices": ("unet3d", UNet, {"spatial_dims": 2, "channels": [4, 8], "strides": [2], "dropout": 0.1}, (2, 2)),
    "segresnet": (
        "segresnet3d",
        SegResNet,
        {"init_filters": 8, "blocks_down": [1, 2, 1], "blocks_up": [1, 1], "dropout_prob": 0.2},
        (4, 4, 4),
    ),
    "segresnet with another norm": (
        "segresnet3d",
        SegResNet,
        {"init_filters": 4, "norm": "INSTANCE", "upsample_mode": "deconv"},
        (8, 8, 8),
    ),
    "vnet": ("vnet3d", VNet, {}, (16, 16, 16)),
    "swin": ("swinunetr3d", swin_unetr, {"feature_size": 12, "use_checkpoint": True}, (32, 32, 32)),
    "dynunet": (
        "dynunet3d",
        DynUNet,
        {
            "kernel_size": KERNELS,
            "strides": [1, 2, 2, [2, 2, 1]],
            "upsample_kernel_size": [2, 2, [2, 2, 1]],
            "filters": [4, 8, 8, 8],
            "norm_name": "INSTANCE",
            "deep_supervision": True,
            "deep_supr_num": 2,
            "res_block": True,
        },
        (8, 8, 4),
    ),
    "plain dynunet": (
        "dynunet3d",
        DynUNet,
        {"kernel_size": KERNELS, "strides": [1, 2, 2, 2], "upsample_kernel_size": [2, 2, 2], "filters": [4] * 4},
        (8, 8, 8),
    ),
}


def arguments_of(case: str) -> dict[str, Any]:
    return {"spatial_dims": 3, "in_channels": 1, "out_channels": 3} | CASES[case][2]


def both(case: str) -> tuple[Network, nn.Module]:
    """Our network with the weights of MONAI's, and MONAI's."""
    name, kind, _, _ = CASES[case]
    torch.manual_seed(4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of strides that are not used
        own = kind(**arguments_of(case)).eval()
    for module in own.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    network = build(name, arguments_of(case)).eval()
    weights = {key: value for key, value in own.state_dict().items() if not key.startswith("skip_layers.")}
    network.load_state_dict({network.prefix + key: value for key, value in weights.items()})
    return network, own


def an_image(network: Network) -> torch.Tensor:
    """The smallest whose norms have more than one value."""
    first, *others = network.multiples
    return torch.randn(1, 1, 2 * first, *others)


@pytest.mark.parametrize("case", CASES)
def test_it_gives_what_monai_s_class_with_the_same_weights_gives(case):
    network, own = both(case)
    assert network.multiples == CASES[case][3]
    x = an_image(network)
    with torch.no_grad():
        logits = network(x)
        assert logits.shape == (1, 3, *x.shape[2:])
        assert torch.equal(logits, own(x))
        assert logits.std() > 1e-6


@pytest.mark.parametrize("case", CASES)
def test_its_shapes_are_known_without_memory(case):
    network, _ = both(case)
    stored = {key: (value.is_floating_point(), tuple(value.shape)) for key, value in network.state_dict().items()}
    assert shapes(CASES[case][0], arguments_of(case)) == stored


@pytest.mark.parametrize("case", CASES)
def test_the_cut_leaves_the_decoder_something_to_learn(case):
    network, _ = both(case)
    x = an_image(network)
    features = [feature.detach() for feature in network.encode(x)]
    sides = [feature.shape[3] for feature in features]
    assert sides == sorted(sides, reverse=True)
    network.decode(features).square().mean().backward()
    learned = [key for key, weights in network.named_parameters() if weights.grad is not None]
    assert 0 < len(learned) < len(list(network.parameters()))


def test_every_network_with_monai_s_arguments_is_looked_at_here():
    assert {name for name, *_ in CASES.values()} == {name for name in NETWORKS if name.endswith("3d")}


def test_deep_supervision_adds_no_output():
    network, _ = both("dynunet")
    with torch.no_grad():
        assert network.train()(an_image(network)).shape == (1, 3, 16, 8, 4)


def test_the_size_of_the_image_that_older_versions_of_monai_state_changes_nothing():
    given = arguments_of("swin")
    assert shapes("swinunetr3d", given | {"img_size": [96, 96, 96]}) == shapes("swinunetr3d", given)
