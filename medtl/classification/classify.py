"""Classify a volume or a picture: the probability of each tumour class, and a heat map."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..decision import check_finite
from ..errors import InputError, memory_errors
from ..measurement import largest_part
from ..model.card import ModelCard
from ..model.device import check_threads, limited_threads, memory_advice
from ..model.fallback import with_fallback
from ..preprocess import in_order, orient, turn, turn_back
from ..progress import Progress, Stopwatch, no_progress
from ..results import Feature
from ..volume import Volume, check_voxels
from .abstention import abstention_reasons, weak_evidence
from .frames import acquired_plane
from .network import heat_maps, run_network
from .shape import predict, shape_features
from .slices import (
    describe_mean,
    frame_slices,
    frames_with_region,
    place_on_slices,
    slice_weights,
    tumour_probability,
)

if TYPE_CHECKING:
    from ..model.bundle import Model


@dataclass(frozen=True)
class ClassifyOptions:
    """Choices of one run. `segmentation` is a labelmap on the image's grid, `segment` the id, the name or the value of
    the segment to classify (default: see `region_of`); `heatmap` is a file to write, `keep_heat` returns the array."""

    segmentation: Path | None = None
    segment: str | None = None
    heatmap: Path | None = None
    frame: int | None = None
    component: int | None = None
    series: str | None = None
    device: str = "auto"
    threads: int | None = None
    force: bool = False
    keep_heat: bool = False

    def __post_init__(self) -> None:
        check_threads(self.threads)


@dataclass(frozen=True)
class Classification:
    """The `probabilities` in the order of the card's classes, and the `reasons` to abstain, empty where the model does
    not.

    Of a network: the out-of-distribution `score`, `plane`, and `slices`, index along that plane's array axis to
    probabilities; `weights` are the slices' weights in the mean; `heat` float32 (Z, Y, X), 0 to 1. Of a model of
    plain numbers: its `features` with their contributions, and the 95 % `interval` of the second class's probability.
    `rule` says how the probabilities came about.
    """

    probabilities: tuple[float, ...]
    score: float | None = None
    reasons: tuple[str, ...] = ()
    plane: str | None = None
    slices: dict[int, tuple[float, ...]] = field(default_factory=dict)
    weights: dict[int, float] = field(default_factory=dict)
    rule: str = ""
    features: tuple[Feature, ...] = ()
    interval: tuple[float, float] | None = None
    heat: np.ndarray | None = None
    warnings: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def best(self) -> int:
        """The index of the most probable class."""
        return int(np.argmax(self.probabilities))


def classify(
    volume: Volume,
    model: "Model",
    region: np.ndarray | None = None,
    options: ClassifyOptions = ClassifyOptions(),
    progress: Progress = no_progress,
) -> Classification:
    """The class of the tumour in a volume; `region`, bool (Z, Y, X), is the tumour's mask.

    Raises: InputError when no slice shows anything, or a model of plain numbers has no region; ModelError when the
    model gives numbers that are not finite; DeviceError when memory runs out; Cancelled.
    """
    card = model.card
    if card.coefficients is not None:
        if region is None:
            raise InputError(f"Expected a segmentation for {card.name}, which measures its shape. Segment it first.")
        return _with_reasons(by_shape(volume, card, region), card, volume)
    check_voxels(volume)
    watch = Stopwatch(progress)
    keep_heat = options.keep_heat or options.heatmap is not None
    with limited_threads(options.threads), memory_errors(memory_advice(volume)):
        result, warnings = with_fallback(model, lambda usable: by_network(volume, usable, region, keep_heat, watch))
    watch.stop()
    result = replace(result, warnings=(*result.warnings, *warnings), seconds=watch.seconds)
    return _with_reasons(result, card, volume)


def by_network(
    volume: Volume, model: "Model", region: np.ndarray | None, keep_heat: bool, progress: Progress
) -> Classification:
    """The classification by a network, from the slices of the plane in which the volume was acquired."""
    card = model.card
    progress("prepare", 0.0)
    region, warnings = (None, ()) if region is None else largest_part(region)
    plane = acquired_plane(volume.geometry)
    axes, flips = orient(volume.geometry, plane)
    turned = turn(volume.array, axes, flips)
    spacing = in_order(volume.geometry.spacing[::-1], axes)
    inside = None if region is None else turn(region, axes, flips)
    frames = frame_slices(turned, inside, card.input.side or 224, (spacing[1], spacing[2]), progress)
    masks = None
    if inside is not None:
        frames, masks = frames_with_region(frames, inside)
    outputs = run_network(list(frames.values()), model, progress, masks)
    by_slice = (outputs.logits / card.calibration.temperature).softmax(1).numpy()
    weights = slice_weights(outputs.attention, tumour_probability(by_slice, card), region is not None)
    probabilities = weights @ by_slice
    check_finite(card, torch.from_numpy(probabilities))
    heat = None
    if keep_heat:
        maps = heat_maps(outputs.features, model, int(probabilities.argmax()), progress)
        heat = np.ascontiguousarray(turn_back(place_on_slices(maps, frames, turned.shape), axes, flips))
    indices = [len(turned) - 1 - k if 0 in flips else k for k in frames]
    return Classification(
        tuple(map(float, probabilities)),
        float(weights @ outputs.scores),
        plane=plane,
        slices=dict(sorted(zip(indices, (tuple(map(float, p)) for p in by_slice), strict=True))),
        weights=dict(sorted(zip(indices, map(float, weights), strict=True))),
        rule=describe_mean(len(indices), region is not None, card),
        heat=heat,
        warnings=(*volume.warnings, *warnings),
    )


def by_shape(volume: Volume, card: ModelCard, region: np.ndarray) -> Classification:
    """The classification by a model of plain numbers, from the region's shape."""
    if not volume.real_spacing:
        raise InputError(
            "Expected a volume that states its spacing, for the shape is measured in mm. Use the original."
        )
    assert card.coefficients is not None
    shape = shape_features(region, volume.geometry)
    prediction = predict(shape.values, card.coefficients)
    return Classification(
        (1 - prediction.probability, prediction.probability),
        reasons=weak_evidence(prediction, card.coefficients, card.classes[1].name),
        rule="The shape of the segment alone; grey values are not used.",
        features=prediction.features,
        interval=prediction.interval,
        warnings=(*volume.warnings, *shape.warnings, *prediction.warnings),
    )


def _with_reasons(result: Classification, card: ModelCard, volume: Volume) -> Classification:
    reasons = abstention_reasons(card, volume, result.probabilities, result.score)
    return replace(result, reasons=(*result.reasons, *reasons))
