"""Models that see windows: of several channels, of many labels, imported; cards whose weights nobody loads."""

import colorsys
import hashlib
from typing import Any

from class_user import WEIGHTS_TEXT, install

from medtl.model.card import InputSpec, Label, ModelCard, NetworkSpec, Normalisation, WindowSpec
from medtl.volume import Segment

BRAIN = "brain-parts"
ABOUT = {"from": "nnU-Net 2 results folder", "folder": "nnUNetTrainer__nnUNetPlans__3d_fullres", "dataset": "Dataset7"}


def labels_of(count: int) -> tuple[Label, ...]:
    """Labels whose names are unlike: "Part 7", and colours that are."""
    return tuple(
        Label(n, f"part-{n}", f"Part {n}", colorsys.hsv_to_rgb(0.618 * n % 1, 0.7, 0.9)) for n in range(1, count + 1)
    )


def a_card(channels: tuple[str, ...] = ("T1", "T2"), labels: int = 2, name: str = BRAIN, **more: Any) -> ModelCard:
    """The card of an imported model."""
    windows = WindowSpec(
        patch=(8, 8, 8), spacing=(1.0, 1.0, 1.0), normalisation=(Normalisation(),) * len(channels), orientation="RAS"
    )
    values: dict[str, Any] = {
        "name": name,
        "version": "1.0.0",
        "description": "A model for tests.",
        "task": "segmentation",
        "labels": labels_of(labels),
        "networks": (NetworkSpec("plainunet", {}, "fold_0."),),
        "input": InputSpec(channels=channels),
        "sha256": hashlib.sha256(WEIGHTS_TEXT).hexdigest(),
        "windows": windows,
        "decision": "argmax",
        "training": {"imported": ABOUT},
    }
    return ModelCard(**(values | more))


def segments_of(card: ModelCard) -> tuple[Segment, ...]:
    """The segments that the engine writes for the labels."""
    return tuple(
        Segment(
            label.value,
            f"{card.name}.{label.id}",
            label.name,
            label.colour,
            tags=(("MedTL.label", label.id), ("MedTL.model", card.name)),
        )
        for label in card.labels
    )


__all__ = ["ABOUT", "BRAIN", "a_card", "install", "labels_of", "segments_of"]
