"""The input gate: says, with the reason, when a volume is unlike what the model was trained on. Never an error."""

import re

from .card import ModelCard
from .preprocess import Prepared
from .volume import Volume

WORDS = {"dark": "the darkest tissue deep in the body", "bright": "the brightest tissue deep in the body"}


def warnings_of(card: ModelCard, volume: Volume, prepared: Prepared) -> tuple[str, ...]:
    """One sentence for each way in which the volume is unlike the model's training images; none where it fits."""
    gate = card.gate
    found = []
    if gate.modality and volume.modality and volume.modality != gate.modality:
        found.append(f"{card.name} was trained on {gate.modality}, this volume is {volume.modality}")
    text = volume.description
    wanted = bool(gate.sequence) and re.search(gate.sequence, text, re.IGNORECASE) is not None
    if gate.not_sequence and not wanted and re.search(gate.not_sequence, text, re.IGNORECASE):
        found.append(f"{card.name} expects {', '.join(card.input.channels)}, the series is called {text!r}")
    if card.input.scaling == "tissue" and not prepared.statistics:
        found.append("no body was found in the image")
    if gate.extent_mm and volume.real_spacing:
        low, high = gate.extent_mm
        extent = max(n * mm for n, mm in zip(prepared.array.shape[1:], prepared.spacing[1:], strict=True))
        if not low <= extent <= high:
            found.append(f"the field of view is {extent:.0f} mm, in training it was {low:.0f} to {high:.0f} mm")
    for name, (low, high) in gate.statistics.items():
        value = prepared.statistics.get(name)
        if value is not None and not low <= value <= high:
            what = WORDS.get(name, name)
            found.append(f"{what} is {value:.2f} of the median, expected {low:.2f} to {high:.2f}: another sequence?")
    in_plane = prepared.turned_spacing[1:]
    if max(in_plane) > 2.5 * min(in_plane):
        found.append(
            f"slices in the model's {card.input.plane} plane are coarse here: {in_plane[0]:.1f}×{in_plane[1]:.1f} mm"
        )
    return tuple(f"Unlike the training images: {reason}. Check the result." for reason in found)
