"""A classifier whose answer is known beforehand: bright spots are a tumour."""

from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as functional
from small_model import a_card
from torch import Tensor

from medtl.model.bundle import Model
from medtl.model.card import Abstention, Calibration, InputSpec, ModelCard, NetworkSpec, TumourClass
from medtl.model.network import Network

CLASSES = (TumourClass("glioma", "Glioma"), TumourClass("notumor", "No tumour"))
SIDE = 64


class Spots(Network):
    """The more pixels within 0.7 of the middle are brighter than 0.7, the more it is a tumour: logits are `gain` times
    their share (in per cent) less 0.5, and its negative. The feature map is 16×16, and its
    brightest places draw attention."""

    multiples = (4, 4)

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = gain

    def encode(self, x: Tensor) -> list[Tensor]:
        y, x_ = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in x.shape[2:]), indexing="ij")
        inner = y.square() + x_.square() < 0.5
        return [functional.avg_pool2d(((x > 0.7) & inner).float(), 4)]

    def attend(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        share = 100 * features[0].mean((1, 2, 3)) - 0.5
        return self.gain * torch.stack([share, -share], 1), 16 * features[0][:, 0]

    def decode(self, features: list[Tensor]) -> Tensor:
        return self.attend(features)[0]


def classifier_card(**changes: object) -> ModelCard:
    """The card of `Spots`, or of another network by `changes`."""
    card = replace(
        a_card(),
        name="spots",
        task="classification",
        labels=(),
        classes=CLASSES,
        networks=(NetworkSpec("classifier2d", {"encoder": "mobilenetv2_050", "channels": 1, "classes": 2}, "net."),),
        input=InputSpec(channels=("T1c",), scaling="picture", side=SIDE),
        calibration=Calibration(),
    )
    return replace(card, **changes)


def spots(gain: float = 1.0, abstention: Abstention | None = None, **changes: object) -> Model:
    """A loaded model of `Spots`, made without a folder."""
    card = classifier_card(abstention=abstention, **changes)
    return Model(card, Path("spots"), (Spots(gain).eval(),), "cpu", False)
