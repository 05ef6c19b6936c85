"""The input gate: warnings where a volume is unlike the training images of a model. It refuses nothing."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .counted import counted
from .model.card import ModelCard, WindowSpec
from .model.series_name import is_channel, matches
from .volume import Volume, slice_axis

if TYPE_CHECKING:
    from .preprocess import Turned

LEAST_SHARE = 0.25  # of a window that a volume should fill along each axis
AIR_HU = -500.0  # lung and air are below it; no other images have such values
# How the names of `Prepared.statistics` are written in a warning.
STATISTICS = {"dark": "the darkest tissue deep in the body", "bright": "the brightest tissue deep in the body"}


def mismatches(
    card: ModelCard,
    *,
    modality: str,
    description: str,
    size: Sequence[int],
    spacing: Sequence[float] | None,
    direction: Sequence[float] | None = None,
    lowest: float | None = None,
) -> tuple[str, ...]:
    """The reasons why a volume does not fit the model; empty where it fits.

    `lowest`: the lowest value of the image, None for none. It tells a CT in HU where the modality is not known. `size`
    and `spacing` (mm, None where it is not known) are (x, y, z), `direction` (LPS) as in `Geometry`. Without a
    direction the field of view may fit in any plane. An entry that the header lacks gives no reason.
    """
    gate = card.gate
    reasons = []
    if not modality and lowest is not None:
        modality = guessed_modality(lowest)
    if gate.modality and modality and modality != gate.modality:
        reasons.append(f"{card.name} was trained on {gate.modality}, this volume is {modality}")
    # A model of shapes uses no values.
    elif gate.modality == "CT" and card.networks and lowest is not None and (not modality or lowest >= 0):
        reasons.append(
            f"{card.name} was trained on CT in HU, the lowest value here is {lowest:g}, and air has about -1000 (of "
            "values that are HU + 1024, subtract 1024)"
        )
    if matches(gate.not_sequence, description) and not matches(gate.sequence, description):
        if card.networks:
            expected = ", ".join(card.input.channels)
            reasons.append(f"{card.name} expects {expected}, the series is called {description!r}")
        else:
            reasons.append(f"{card.name} is not for images called {description!r}")
    # A model of shapes uses no image: where the modality is known, the image may be cut to the organ.
    if gate.extent_mm and spacing is not None and (card.networks or not modality):
        low, high = gate.extent_mm
        across = (0, 1, 2) if direction is None else (slice_axis(card.input.plane, direction),)
        extents = [max(size[i] * spacing[i] for i in range(3) if i != axis) for axis in across]
        if not any(low <= extent <= high for extent in extents):
            reasons.append(f"the field of view is {extents[-1]:.0f} mm, expected {low:.0f} to {high:.0f} mm")
    return tuple(reasons)


def evidence(card: ModelCard, *, modality: str, description: str) -> int:
    """How many entries of the header of a volume speak for the model: its modality, and its description where that
    names the sequence of the model's first channel, or one that the gate expects."""
    named = is_channel(card.input.channels[0], description) or matches(card.gate.sequence, description)
    return int(bool(modality) and modality == card.gate.modality) + int(named)


def guessed_modality(lowest: float) -> str:
    """The modality that the lowest value of an image tells: "CT" from the HU of air on; else empty."""
    return "CT" if lowest <= AIR_HU else ""


def gate_warnings(card: ModelCard, volume: Volume, prepared: "Turned") -> tuple[str, ...]:
    """One sentence for each way in which the volume is unlike the model's training images; empty where it fits."""
    grid = volume.geometry
    reasons = list(
        mismatches(
            card,
            modality=volume.modality,
            description=volume.sequence,
            size=grid.size,
            spacing=grid.spacing if volume.real_spacing else None,
            direction=grid.direction,
            lowest=float(volume.array.min()),
        )
    )
    if card.windows is None and card.input.scaling == "tissue" and not prepared.statistics:
        reasons.append("no body was found in the image")
    for name, (low, high) in card.gate.statistics.items():
        value = prepared.statistics.get(name)
        if value is not None and not low <= value <= high:
            what = STATISTICS.get(name, name)
            reasons.append(f"{what} is {value:.2f} of the median, expected {low:.2f} to {high:.2f}: another sequence?")
    if card.windows is not None and len(card.windows.patch) == 3:
        reasons += thin(card.windows, prepared)
    in_plane = prepared.turned_spacing[1:]
    if card.windows is None and max(in_plane) > 2.5 * min(in_plane):
        reasons.append(
            f"slices in the model's {card.input.plane} plane are coarse here: {in_plane[0]:.1f}×{in_plane[1]:.1f} mm"
        )
    return tuple(f"Unlike the training images: {reason}. Check the result." for reason in reasons)


def thin(spec: WindowSpec, prepared: "Turned") -> tuple[str, ...]:
    """The reason where a volume is too thin, along any axis, for a model that looks at windows of three axes."""
    own = prepared.turned_spacing
    seen = [count * mm for count, mm in zip(spec.patch, spec.spacing or own, strict=True)]
    found = [count * mm for count, mm in zip(prepared.turned_shape, own, strict=True)]
    axis = min(range(3), key=lambda axis: found[axis] / seen[axis])
    if found[axis] >= LEAST_SHARE * seen[axis]:
        return ()
    slices = counted(prepared.turned_shape[axis], "is a single slice", "has {count} slices only")
    return (f"it {slices} ({found[axis]:.0f} mm), and the model looks at {seen[axis]:.0f} mm at once",)
