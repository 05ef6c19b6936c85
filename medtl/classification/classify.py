"""Classify: a volume or a picture and a model in, the probability of each class of tumour out, with a heat map."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from ..errors import InputError, memory_errors
from ..gate import mismatches
from ..io import read
from ..io.files import identities
from ..io.isolated import Reader
from ..io.write import Write, check_output, store_image, write_together
from ..measurement import largest_part
from ..model.card import ModelCard
from ..model.device import check_threads, limited_threads, memory_advice
from ..preprocess import in_order, orient, turn, turn_back
from ..progress import Progress, Stopwatch, no_progress
from ..segmentation import check_finite
from ..volume import Volume, check_voxels, voxels_sha256
from .frames import Framed, acquired_plane, framed, in_frame, unframed
from .region import read_region
from .shape import Feature, predict, shape_features, weak_evidence

if TYPE_CHECKING:
    from ..model.bundle import Model

BATCH = 16
# Slices that show less of the head than this share of the largest are its top and bottom.
LEAST_AREA = 0.5
# Slices that show less of the region than this share of its largest cut are its ends.
LEAST_REGION = 0.25
NO_TUMOUR = "notumor"  # the class of a healthy head, where a model has one
LEAST_TUMOUR = 1e-3  # so that the slices of a healthy head are weighed, too


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
    """The `probabilities` in the order of the card's classes, and the `reasons` to abstain; none where it does not.

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
        """The number of the most probable class."""
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
        return with_reasons(by_shape(volume, card, region), card, volume)
    check_voxels(volume)
    watch = Stopwatch(progress)
    with limited_threads(options.threads), memory_errors(memory_advice(volume)):
        watch("prepare", 0.0)
        region, warnings = (None, ()) if region is None else largest_part(region)
        plane = acquired_plane(volume.geometry)
        axes, flips = orient(volume.geometry, plane)
        turned = turn(volume.array, axes, flips)
        spacing = in_order(volume.geometry.spacing[::-1], axes)
        inside = None if region is None else turn(region, axes, flips)
        frames = frames_of(turned, inside, card.input.side or 224, (spacing[1], spacing[2]), watch)
        masks = None
        if inside is not None:
            frames, masks = framed_region(frames, inside)
        outputs = run_network(list(frames.values()), model, watch, masks)
        by_slice = (outputs.logits / card.calibration.temperature).softmax(1).numpy()
        weights = slice_weights(outputs.attention, tumour_probability(by_slice, card), region is not None)
        probabilities = weights @ by_slice
        check_finite(card, torch.from_numpy(probabilities))
        heat = None
        if options.keep_heat or options.heatmap is not None:
            maps = heat_maps(outputs.features, model, int(probabilities.argmax()), watch)
            check_finite(card, torch.from_numpy(maps))
            slices = on_slices(maps, frames, turned.shape)
            heat = np.ascontiguousarray(turn_back(slices, axes, flips))
    watch.stop()
    last = len(turned) - 1
    indices = [last - k if 0 in flips else k for k in frames]
    return with_reasons(
        Classification(
            tuple(map(float, probabilities)),
            float(weights @ outputs.scores),
            (),
            plane,
            dict(sorted(zip(indices, (tuple(map(float, p)) for p in by_slice), strict=True))),
            dict(sorted(zip(indices, map(float, weights), strict=True))),
            rule_of(len(indices), region is not None, NO_TUMOUR in [one.id for one in card.classes]),
            heat=heat,
            warnings=(*volume.warnings, *warnings),
            seconds=watch.seconds,
        ),
        card,
        volume,
    )


def frames_of(
    turned: np.ndarray, inside: np.ndarray | None, side: int, pixel: tuple[float, float], progress: Progress
) -> dict[int, Framed]:
    """The slices to classify, in their frames: those of the region, else those that show enough of the head."""
    wanted = list(range(len(turned)))
    if inside is not None:
        areas = inside.sum(axis=(1, 2))
        if not areas.any():
            raise InputError("Expected a segment with voxels, found it empty. Segment the tumour, or leave it out.")
        wanted = [int(k) for k in np.flatnonzero(areas >= LEAST_REGION * areas.max())]
    frames = {}
    for k in wanted:
        progress("prepare", k / len(turned))
        frame = framed(turned[k], side, pixel)
        if frame is not None:
            frames[k] = frame
    if not frames:
        raise InputError("Expected slices that show a head, found none that shows anything. Choose another volume.")
    largest = max(frame.area for frame in frames.values())
    return {k: frame for k, frame in frames.items() if inside is not None or frame.area >= LEAST_AREA * largest}


@dataclass(frozen=True)
class Outputs:
    """The outputs of a network for n slices: `logits` (n, classes), the log-sum-exp of its `attention` over each slice
    (n,), the `features` that its head takes, a batch each, and the out-of-distribution `scores` (n,)."""

    logits: Tensor
    attention: np.ndarray
    features: list[list[Tensor]]
    scores: np.ndarray


def framed_region(frames: dict[int, Framed], inside: np.ndarray) -> tuple[dict[int, Framed], list[np.ndarray]]:
    """Those frames that show a part of the region, and its mask (side, side) in each.

    Raises: InputError when it lies in none.
    """
    masks = {k: in_frame(inside[k], frame) for k, frame in frames.items()}
    kept = {k: frame for k, frame in frames.items() if masks[k].any()}
    if not kept:
        raise InputError(
            "Expected a segment within the head, found it beside everything that the image shows. Choose another."
        )
    return kept, [masks[k] for k in kept]


def run_network(
    frames: Sequence[Framed], model: "Model", progress: Progress, masks: Sequence[np.ndarray] | None = None
) -> Outputs:
    """The outputs of the model's network for these slices; its attention is confined to the `masks` (side, side).

    Raises: ModelError when one is not finite.
    """
    network: Any = model.networks[0]
    logits, attention, kept, scores = [], [], [], []
    for begin in range(0, len(frames), BATCH):
        progress("infer", begin / len(frames))
        images = torch.from_numpy(np.stack([f.image for f in frames[begin : begin + BATCH]])[:, None]).to(model.device)
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=model.bf16):
            features = [f.float() for f in network.encode(images)]
        if masks is not None:
            batch = torch.from_numpy(np.stack(masks[begin : begin + BATCH])[:, None]).to(model.device)
            rows, columns = features[0].shape[2:]
            features.append(functional.adaptive_avg_pool2d(batch, (rows, columns))[:, 0])
        with torch.no_grad():
            some, places = network.attend(features)
            logits.append(some.cpu())
            attention.append(places.flatten(1).logsumexp(1).cpu())
            scores.append(novelty_score(network, features, some, model.card).cpu())
        kept.append(features)
    progress("infer", 1.0)
    outputs = Outputs(torch.cat(logits), torch.cat(attention).numpy(), kept, torch.cat(scores).numpy())
    check_finite(model.card, *map(torch.from_numpy, (outputs.attention, outputs.scores)), outputs.logits)
    return outputs


def novelty_score(network: Any, features: list[Tensor], logits: Tensor, card: ModelCard) -> Tensor:
    """The out-of-distribution score of each input, (n,), higher the less like training: the card's, energy by default
    (Liu et al. 2020)."""
    if card.abstention is not None and card.abstention.score == "mahalanobis":
        distances: Tensor = network.distance(features)
        return distances
    return -card.calibration.temperature * (logits / card.calibration.temperature).logsumexp(1)


def tumour_probability(probabilities: np.ndarray, card: ModelCard) -> np.ndarray:
    """The probability of a tumour of any class in each slice, (n,)."""
    ids = [one.id for one in card.classes]
    if NO_TUMOUR not in ids:
        return np.ones(len(probabilities))
    return np.asarray(1 - probabilities[:, ids.index(NO_TUMOUR)])


def slice_weights(attention: np.ndarray, tumour: np.ndarray, segmented: bool) -> np.ndarray:
    """The weight of each slice in the mean, (n,), with the sum 1: equal for the slices of a segment; else the
    probability of a `tumour` times the slice's share of one attention over all places of all slices."""
    if segmented:
        return np.full(len(attention), 1 / len(attention))
    raised = np.exp(attention.astype(np.float64) - attention.max()) * (tumour + LEAST_TUMOUR)
    return np.asarray(raised / raised.sum())


def rule_of(count: int, segmented: bool, tumours: bool) -> str:
    """How the slices' probabilities became those of the volume, in a sentence."""
    if count == 1:
        return "The probabilities of one slice."
    if segmented:
        return f"The mean of the probabilities of {count} slices of the segment."
    by = "attention and by how probable a tumour is" if tumours else "attention"
    return f"The mean of the probabilities of {count} slices, weighed by {by}."


def heat_maps(features: Sequence[list[Tensor]], model: "Model", number: int, progress: Progress) -> np.ndarray:
    """The contribution of each place to a class in each slice, float32 (n, h, w), from 0; one backward pass of the
    head.

    Grad-CAM (Selvaraju 2017), each place weighed by its own gradient (HiResCAM, Draelos and Carin 2020): the mean
    gradient over places, as first published, loses where the attention is.
    """
    network, maps = model.networks[0], []
    for done, batch in enumerate(features):
        progress("heat", done / len(features))
        with torch.enable_grad():
            at_cut = batch[0].detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(network.decode([at_cut, *batch[1:]])[:, number].sum(), at_cut)
        maps.append((gradient * batch[0]).sum(1).clamp(min=0).detach().cpu())
    progress("heat", 1.0)
    return torch.cat(maps).float().numpy()


def on_slices(maps: np.ndarray, frames: dict[int, Framed], shape: tuple[int, ...]) -> np.ndarray:
    """The maps on their slices, float32 `shape`, scaled to a maximum of 1; 0 on slices without a map."""
    heat = np.zeros(shape, np.float32)
    highest = max(float(maps.max()), np.finfo(np.float32).tiny)
    for one, (k, frame) in zip(maps, frames.items(), strict=True):
        heat[k] = unframed(one / highest, frame, (shape[1], shape[2]))
    return heat


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
        rule="The shape of the segment alone; no grey value is looked at.",
        features=prediction.features,
        interval=prediction.interval,
        warnings=(*volume.warnings, *shape.warnings, *prediction.warnings),
    )


def with_reasons(result: Classification, card: ModelCard, volume: Volume) -> Classification:
    """The classification with all reasons to abstain."""
    grid, rule = volume.geometry, card.abstention
    reasons = [
        f"Unlike the training images: {reason}."
        for reason in mismatches(
            card,
            modality=volume.modality,
            description=volume.description,
            size=grid.size,
            # Of a shape the volume may be the labelmap, cut to it: its field of view says nothing.
            spacing=grid.spacing if volume.real_spacing and card.networks else None,
        )
    ]
    if rule is not None and result.score is not None and result.score > rule.threshold:
        reasons.append(f"The image is unlike those of training: score {result.score:.2f}, limit {rule.threshold:.2f}.")
    if rule is not None and max(result.probabilities) < rule.min_probability:
        name, best = card.classes[result.best].name, max(result.probabilities)
        reasons.append(f"No class reaches {rule.min_probability:.1%}; the best, {name}, has {best:.1%}.")
    return replace(result, reasons=(*result.reasons, *reasons))


@dataclass(frozen=True)
class SliceRecord:
    """A slice's index, its weight in the mean, and its probabilities by class id."""

    index: int
    weight: float
    probabilities: Mapping[str, float]


@dataclass(frozen=True)
class ImageRecord:
    """The image that was classified; `spacing` (x, y, z) is None where it is not real."""

    sha256: str
    size: tuple[int, int, int]
    spacing: tuple[float, float, float] | None
    modality: str | None
    description: str | None


@dataclass(frozen=True)
class FileClassification:
    """The classification of a file, with numbers rounded to 4 decimals: one result of `medtl classify --json`.

    `class_id` and `name` are those of the most probable class, also where the model abstains; `votes` are the slices by
    their most probable class.
    """

    class_id: str = field(metadata={"key": "class"})
    name: str
    probabilities: Mapping[str, float]
    abstained: bool
    reasons: tuple[str, ...]
    score: float | None
    threshold: float | None
    plane: str | None
    votes: Mapping[str, int]
    slices: tuple[SliceRecord, ...]
    rule: str
    features: tuple[Feature, ...]
    interval: tuple[float, ...] | None
    prevalence: float | None
    image: ImageRecord
    input: str
    segmentation: str | None
    segment: str | None
    heatmap: str | None
    warnings: tuple[str, ...]
    seconds: Mapping[str, float]


def classify_file(
    source: Path,
    model: "Model",
    options: ClassifyOptions = ClassifyOptions(),
    progress: Progress = no_progress,
    reader: Reader = read,
) -> FileClassification:
    """The classification of one input; the heat map is written whole or not at all.

    Raises: MedTLError as reading, classifying and writing do; InputError when the heat map exists and not `force`.
    """
    card = model.card
    if options.heatmap is not None:
        if not card.networks:
            raise InputError(f"{card.name} measures the shape of a segment: it has no heat map. Leave it out.")
        given = [path for path in (source, options.segmentation) if path is not None]
        check_output(options.heatmap, identities(given), options.force)
    watch = Stopwatch(progress)
    watch("read", 0.0)
    with memory_errors(f"Not enough memory to read {source}. Close other programs or use a smaller volume."):
        volume = reader.read_volume(source, frame=options.frame, component=options.component, series=options.series)
        region = read_region(source, volume, card, options.segmentation, options.segment, reader)
    watch("read", 1.0)
    watch.stop()
    result = classify(volume, model, None if region is None else region.mask, options, progress)
    watch("write", 0.0)
    writes = []
    heat = result.heat
    if options.heatmap is not None and heat is not None:
        writes = [Write(options.heatmap, lambda part: store_image(part, heat, volume.geometry))]
    inexact = write_together(writes, lambda: watch("write", 1.0), options.force)
    watch.stop()
    seconds = {"read": watch.seconds["read"], **result.seconds, "write": watch.seconds["write"]}
    warnings = (*result.warnings, *(() if region is None else region.warnings), *inexact)
    ids = [one.id for one in card.classes]
    votes = Counter(ids[int(np.argmax(p))] for p in result.slices.values())

    def by_class(probabilities: Sequence[float]) -> dict[str, float]:
        return {name: round(p, 4) for name, p in zip(ids, probabilities, strict=True)}

    return FileClassification(
        class_id=ids[result.best],
        name=card.classes[result.best].name,
        probabilities=by_class(result.probabilities),
        abstained=bool(result.reasons),
        reasons=result.reasons,
        score=None if result.score is None else round(result.score, 4),
        threshold=None if card.abstention is None else card.abstention.threshold,
        plane=result.plane,
        votes=dict(votes.most_common()),
        slices=tuple(SliceRecord(k, round(result.weights[k], 4), by_class(p)) for k, p in result.slices.items()),
        rule=result.rule,
        features=tuple(
            replace(one, value=round(one.value, 4), contribution=round(one.contribution, 4)) for one in result.features
        ),
        interval=None if result.interval is None else tuple(round(x, 4) for x in result.interval),
        prevalence=None if card.coefficients is None else card.coefficients.prevalence,
        image=ImageRecord(
            voxels_sha256(volume.array),
            volume.geometry.size,
            volume.geometry.spacing if volume.real_spacing else None,
            volume.modality or None,
            volume.description or None,
        ),
        input=str(source),
        segmentation=None if options.segmentation is None else str(options.segmentation),
        segment=options.segment,
        heatmap=None if options.heatmap is None else str(options.heatmap),
        # The labelmap that a shape is measured on is read twice.
        warnings=tuple(dict.fromkeys(warnings)),
        seconds={stage: round(s, 3) for stage, s in seconds.items()},
    )
