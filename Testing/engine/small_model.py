"""Models small enough for tests: one whose labelmap is known beforehand, and an untrained network of the real kind."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from medtl.model.bundle import Model, save_bundle
from medtl.model.card import METADATA, InputSpec, Label, ModelCard, NetworkSpec, Normalisation, WindowSpec
from medtl.model.network import Network
from medtl.model.networks import build

LESION = (Label(1, "lesion", "Lesion", (0.9, 0.3, 0.2), "lesion~SCT^1^a~SCT^2^b"),)
# A window of 0 to 200 shows the network -1 to 1.
WINDOW = InputSpec(channels=("CT",), scaling="window", window=(0.0, 200.0))


class Bands(Network):
    """Labels a pixel by the band of brightness its value lies in, as its neighbour `shift` (rows, columns) onwards
    shows it: class n, from 0, has the n-th of `centres`, and the class of the nearest centre wins.

    The outermost pixels look at the opposite border.
    """

    multiples = (4, 4)

    def __init__(
        self, centres: tuple[float, ...] = (-1.0, 0.5), shift: tuple[int, int] = (0, 0), sharpness: float = 200.0
    ) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.tensor(centres), requires_grad=False)
        self.shift, self.sharpness = (-shift[0], -shift[1]), sharpness
        self.seen: list[tuple[int, ...]] = []

    def encode(self, x: Tensor) -> list[Tensor]:
        self.seen.append(tuple(x.shape))
        middle = x[:, x.shape[1] // 2 : x.shape[1] // 2 + 1]
        return [middle.roll(self.shift, (2, 3))]

    def decode(self, features: list[Tensor]) -> Tensor:
        return -self.sharpness * (features[0] - self.centres.view(1, -1, 1, 1)) ** 2


def bands(
    *centres: float,
    labels: tuple[Label, ...] = LESION,
    spec: InputSpec = WINDOW,
    shift: tuple[int, int] = (0, 0),
    sharpness: float = 200.0,
    **card: object,
) -> Model:
    """A loaded model of `Bands`, made without a folder."""
    network = Bands(centres or (-1.0, 0.5), shift, sharpness).eval()
    return Model(replace(a_card(), labels=labels, input=spec, **card), Path("bands"), (network,), "cpu", False)


class Convolution(Network):
    """One convolution with seeded random weights, in 2D or 3D: it sees its neighbours, so windows, their borders and
    the direction of each axis count."""

    def __init__(self, dimensions: int, channels: int, outputs: int, seed: int = 0) -> None:
        super().__init__()
        self.multiples = (1,) * dimensions
        kind = nn.Conv3d if dimensions == 3 else nn.Conv2d
        self.convolution = kind(channels, outputs, 3, padding=1)
        numbers = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            parameter.requires_grad_(False).copy_(torch.randn(parameter.shape, generator=numbers))

    def encode(self, x: Tensor) -> list[Tensor]:
        return [x]

    def decode(self, features: list[Tensor]) -> Tensor:
        return self.convolution(features[0])


def windowed(spec: WindowSpec, labels: int = 2, folds: int = 1, decision: str = "argmax", **card: object) -> Model:
    """A loaded model of `Convolution` that sees windows, made without a folder."""
    channels = tuple(f"MR{number}" for number in range(len(spec.normalisation)))
    outputs = labels + (decision != "regions")
    networks = tuple(Convolution(len(spec.patch), len(channels), outputs, seed).eval() for seed in range(folds))
    made = replace(
        a_card(),
        labels=tuple(Label(number, f"part-{number}", f"Part {number}") for number in range(1, labels + 1)),
        networks=tuple(NetworkSpec("convolution", {}, f"fold_{number}.") for number in range(folds)),
        input=InputSpec(channels=channels),
        windows=spec,
        decision=decision,
        **card,
    )
    return Model(made, Path("windowed"), networks, "cpu", False)


PLAIN = Normalisation("fixed", scale=100.0)
CUBES = WindowSpec(patch=(6, 8, 7), spacing=(1.5, 1.0, 1.2), normalisation=(PLAIN,), orientation="LPS")


def a_card() -> ModelCard:
    """The card of a small untrained U-Net."""
    arguments = {"channels": 1, "labels": 1, "features": [4, 4, 4, 4, 4, 4]}
    return ModelCard(
        name="small",
        version="1.0.0",
        description="An untrained network for tests",
        task="segmentation",
        labels=LESION,
        networks=(NetworkSpec("basicunet2d", arguments, "net."),),
        input=InputSpec(),
        sha256="",
    )


def pair_card() -> ModelCard:
    """The card of a small untrained network that sees windows of two volumes, T2 and FLAIR."""
    arguments = {
        **{"channels": 2, "outputs": 2, "features": [4, 4], "kernels": [[3, 3, 3], [3, 3, 3]]},
        **{"strides": [[1, 1, 1], [2, 2, 2]], "blocks": [1, 1], "decoder_blocks": [1]},
    }
    return replace(
        a_card(),
        name="pair",
        networks=(NetworkSpec("plainunet", arguments, "net."),),
        input=InputSpec(channels=("T2", "FLAIR")),
        windows=replace(CUBES, patch=(8, 8, 8), normalisation=(PLAIN, PLAIN)),
    )


def save(folder: Path, card: ModelCard | None = None) -> ModelCard:
    """Write a bundle of the card's networks with seeded random weights; the card as it was written."""
    card = card or a_card()
    torch.manual_seed(1)
    weights = {}
    for spec in card.networks:
        weights |= {spec.prefix + k: v for k, v in build(spec.name, dict(spec.arguments)).state_dict().items()}
    return save_bundle(folder, card, weights, "# Small\n", "Test licence\n", {"authors": "A test"})


def edit(folder: Path, change: Callable[[dict], object]) -> None:
    """Change metadata.json."""
    metadata = json.loads((folder / METADATA).read_text())
    change(metadata["medtl"])
    (folder / METADATA).write_text(json.dumps(metadata))
