"""Classify: a volume or a picture and a model in, probabilities of the tumour's class out, and where it looked."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from ..errors import InputError, memory_errors
from ..gate import mismatches
from ..io.files import identities
from ..io.read import read_volume
from ..io.write import check_output, store_image, write_together
from ..measurement import largest_part
from ..model.card import ModelCard
from ..model.device import limited_threads, memory_advice
from ..preprocess import in_order, orient, turn, turn_back
from ..progress import Progress, Stopwatch, no_progress
from ..volume import Volume
from .frames import Framed, acquired_plane, framed, in_frame, unframed
from .region import read_region
from .shape import Feature, little, predict, shape_features

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
    """Choices of one run. `segmentation` is a labelmap on the image's grid, `segment` the id or the value of the
    segment to look at (default: see `region.py`); `heatmap` is a file to write, `keep_heat` returns the array."""

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
        if self.threads is not None and self.threads < 1:
            raise InputError(f"Expected 1 thread or more, found {self.threads}.")


@dataclass(frozen=True)
class Classification:
    """What the model says: `probabilities` in the order of the card's classes, and `reasons` not to believe it.

    Of a network: the `score` of strangeness, `plane`, and `slices`, index along that plane's array axis to
    probabilities; `weights` are what each counts in the answer; `heat` float32 (Z, Y, X), 0 to 1. Of a model of
    plain numbers: its `features` and what each adds, and the 95 % `interval` of the second class's probability.
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
    """The class of the tumour in a volume; `region`, bool (Z, Y, X), says where it is.

    Raises: InputError when no slice can be looked at, or a model of plain numbers has no region; DeviceError when
    memory runs out; Cancelled.
    """
    card = model.card
    if card.coefficients is not None:
        if region is None:
            raise InputError(f"Expected a segmentation for {card.name}, which looks at the shape. Segment it first.")
        return judged(by_shape(volume, card, region), card, volume)
    watch = Stopwatch(progress)
    with limited_threads(options.threads), memory_errors(memory_advice(volume)):
        watch("prepare", 0.0)
        region, notes = (None, ()) if region is None else largest_part(region)
        plane = acquired_plane(volume.geometry)
        axes, flips = orient(volume.geometry, plane)
        turned = turn(volume.array, axes, flips)
        spacing = in_order(volume.geometry.spacing[::-1], axes)
        inside = None if region is None else turn(region, axes, flips)
        frames = frames_of(turned, inside, card.input.side or 224, (spacing[1], spacing[2]), watch)
        within = None
        if inside is not None:
            frames, within = framed_region(frames, inside)
        seen = looked_at(list(frames.values()), model, watch, within)
        probabilities = (seen.logits / card.calibration.temperature).softmax(1).numpy()
        weights = weights_of(seen.interest, tumour_share(probabilities, card), region is not None)
        answer = weights @ probabilities
        heat = None
        if options.keep_heat or options.heatmap is not None:
            maps = heat_maps(seen.features, model, int(answer.argmax()), watch)
            slices = on_slices(maps, frames, turned.shape)
            heat = np.ascontiguousarray(turn_back(slices, axes, flips))
    watch.stop()
    last = len(turned) - 1
    own = [last - k if 0 in flips else k for k in frames]
    votes = {k: tuple(map(float, p)) for k, p in zip(own, probabilities, strict=True)}
    return judged(
        Classification(
            tuple(map(float, answer)),
            float(weights @ seen.scores),
            (),
            plane,
            dict(sorted(votes.items())),
            dict(sorted(zip(own, map(float, weights), strict=True))),
            rule_of(len(own), region is not None, NO_TUMOUR in [one.id for one in card.classes]),
            heat=heat,
            warnings=(*volume.warnings, *notes),
            seconds=watch.seconds,
        ),
        card,
        volume,
    )


def frames_of(
    turned: np.ndarray, inside: np.ndarray | None, side: int, pixel: tuple[float, float], progress: Progress
) -> dict[int, Framed]:
    """The slices to look at, in their frames: those of the region, else those that show enough of the head."""
    wanted = list(range(len(turned)))
    if inside is not None:
        areas = inside.sum(axis=(1, 2))
        if not areas.any():
            raise InputError("Expected a segment with voxels, found it empty. Segment the tumour, or leave it out.")
        wanted = [int(k) for k in np.flatnonzero(areas >= LEAST_REGION * areas.max())]
    found = {}
    for k in wanted:
        progress("prepare", k / len(turned))
        frame = framed(turned[k], side, pixel)
        if frame is not None:
            found[k] = frame
    if not found:
        raise InputError("Expected slices that show a head, found none that shows anything. Choose another volume.")
    largest = max(frame.area for frame in found.values())
    return {k: frame for k, frame in found.items() if inside is not None or frame.area >= LEAST_AREA * largest}


@dataclass(frozen=True)
class Seen:
    """What a network makes of n slices: `logits` (n, classes), how much `interest` each draws (n,), its `features` as
    its head takes them, a batch each, and how strange the slices are, `scores` (n,)."""

    logits: Tensor
    interest: np.ndarray
    features: list[list[Tensor]]
    scores: np.ndarray


def framed_region(frames: dict[int, Framed], inside: np.ndarray) -> tuple[dict[int, Framed], list[np.ndarray]]:
    """Those frames in which something of the region lies, and its mask (side, side) in each.

    Raises: InputError when it lies in none.
    """
    masks = {k: in_frame(inside[k], frame) for k, frame in frames.items()}
    kept = {k: frame for k, frame in frames.items() if masks[k].any()}
    if not kept:
        raise InputError(
            "Expected a segment within the head, found it beside everything that the image shows. Choose another."
        )
    return kept, [masks[k] for k in kept]


def looked_at(
    frames: Sequence[Framed], model: "Model", progress: Progress, within: Sequence[np.ndarray] | None = None
) -> Seen:
    """What the model's network makes of these slices; `within` are masks (side, side) of the frames, to which its
    attention is confined."""
    network: Any = model.networks[0]
    logits, interest, kept, scores = [], [], [], []
    for begin in range(0, len(frames), BATCH):
        progress("infer", begin / len(frames))
        images = torch.from_numpy(np.stack([f.image for f in frames[begin : begin + BATCH]])[:, None]).to(model.device)
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=model.bf16):
            features = [f.float() for f in network.encode(images)]
        if within is not None:
            masks = torch.from_numpy(np.stack(within[begin : begin + BATCH])[:, None]).to(model.device)
            rows, columns = features[0].shape[2:]
            features.append(functional.adaptive_avg_pool2d(masks, (rows, columns))[:, 0])
        with torch.no_grad():
            found, attention = network.attend(features)
            logits.append(found.cpu())
            interest.append(attention.flatten(1).logsumexp(1).cpu())
            scores.append(strangeness(network, features, found, model.card).cpu())
        kept.append(features)
    progress("infer", 1.0)
    return Seen(torch.cat(logits), torch.cat(interest).numpy(), kept, torch.cat(scores).numpy())


def strangeness(network: Any, features: list[Tensor], logits: Tensor, card: ModelCard) -> Tensor:
    """How unlike the training pictures each input is, (n,), higher the stranger: the card's score, energy by default
    (Liu et al. 2020)."""
    if card.abstention is not None and card.abstention.score == "mahalanobis":
        distances: Tensor = network.distance(features)
        return distances
    return -card.calibration.temperature * (logits / card.calibration.temperature).logsumexp(1)


def tumour_share(probabilities: np.ndarray, card: ModelCard) -> np.ndarray:
    """How probable a tumour of any kind is in each slice, (n,)."""
    ids = [one.id for one in card.classes]
    if NO_TUMOUR not in ids:
        return np.ones(len(probabilities))
    return np.asarray(1 - probabilities[:, ids.index(NO_TUMOUR)])


def weights_of(interest: np.ndarray, tumour: np.ndarray, segmented: bool) -> np.ndarray:
    """What each slice counts in the answer, (n,), 1 in all: those of a segment alike; else by how probable a `tumour`
    is in it, times what its places would count in one attention over all places of all slices."""
    if segmented:
        return np.full(len(interest), 1 / len(interest))
    raised = np.exp(interest.astype(np.float64) - interest.max()) * (tumour + LEAST_TUMOUR)
    return np.asarray(raised / raised.sum())


def rule_of(count: int, segmented: bool, tumours: bool) -> str:
    """How the slices' probabilities became one answer, in a sentence."""
    if count == 1:
        return "The probabilities of one slice."
    if segmented:
        return f"The mean of the probabilities of {count} slices of the segment."
    by = "attention and by how probable a tumour is" if tumours else "attention"
    return f"The mean of the probabilities of {count} slices, weighed by {by}."


def heat_maps(features: Sequence[list[Tensor]], model: "Model", number: int, progress: Progress) -> np.ndarray:
    """How much each place spoke for a class in each slice, float32 (n, h, w), from 0; one backward pass of the head.

    Grad-CAM (Selvaraju 2017), each place weighed by its own gradient (HiResCAM, Draelos and Carin 2020): their mean
    over places, as first published, does not know where the attention is.
    """
    network, found = model.networks[0], []
    for done, batch in enumerate(features):
        progress("heat", done / len(features))
        with torch.enable_grad():
            at_cut = batch[0].detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(network.decode([at_cut, *batch[1:]])[:, number].sum(), at_cut)
        found.append((gradient * batch[0]).sum(1).clamp(min=0).detach().cpu())
    progress("heat", 1.0)
    return torch.cat(found).float().numpy()


def on_slices(maps: np.ndarray, frames: dict[int, Framed], shape: tuple[int, ...]) -> np.ndarray:
    """The maps on the slices they belong to, float32 `shape`, scaled to a maximum of 1; 0 on slices not looked at."""
    found = np.zeros(shape, np.float32)
    highest = max(float(maps.max()), np.finfo(np.float32).tiny)
    for heat, (k, frame) in zip(maps, frames.items(), strict=True):
        found[k] = unframed(heat / highest, frame, (shape[1], shape[2]))
    return found


def by_shape(volume: Volume, card: ModelCard, region: np.ndarray) -> Classification:
    """What a model of plain numbers says of the region's shape, with the reason to abstain where that is little."""
    if not volume.real_spacing:
        raise InputError(
            "Expected a volume that states its spacing, for the shape is measured in mm. Use the original."
        )
    assert card.coefficients is not None
    shape = shape_features(region, volume.geometry)
    said = predict(shape.values, card.coefficients)
    return Classification(
        (1 - said.probability, said.probability),
        reasons=little(said, card.coefficients, card.classes[1].name),
        rule="The shape of the segment alone; no grey value is looked at.",
        features=said.features,
        interval=said.interval,
        warnings=(*volume.warnings, *shape.warnings, *said.warnings),
    )


def judged(found: Classification, card: ModelCard, volume: Volume) -> Classification:
    """The classification with the reasons to abstain from it."""
    grid, rule = volume.geometry, card.abstention
    reasons = [
        f"Unlike the training images: {reason}."
        for reason in mismatches(
            card,
            modality=volume.modality,
            description=volume.description,
            size=grid.size,
            spacing=grid.spacing if volume.real_spacing else None,
        )
    ]
    if rule is not None and found.score is not None and found.score > rule.threshold:
        reasons.append(f"The image is unlike those of training: score {found.score:.2f}, limit {rule.threshold:.2f}.")
    if rule is not None and max(found.probabilities) < rule.min_probability:
        name, best = card.classes[found.best].name, max(found.probabilities)
        reasons.append(f"No class reaches {rule.min_probability:.1%}; the best, {name}, has {best:.1%}.")
    return replace(found, reasons=(*found.reasons, *reasons))


def classify_file(
    source: Path, model: "Model", options: ClassifyOptions = ClassifyOptions(), progress: Progress = no_progress
) -> dict[str, Any]:
    """The record of one input, as `medtl classify --json` prints it; the heat map is written whole or not at all.

    Raises: MedTLError as reading, classifying and writing do; InputError when the heat map exists and not `force`.
    """
    card = model.card
    if options.heatmap is not None:
        if not card.networks:
            raise InputError(f"{card.name} looks at the shape, not at places: it has no heat map. Leave it out.")
        given = [path for path in (source, options.segmentation) if path is not None]
        check_output(options.heatmap, identities(given), options.force)
    watch = Stopwatch(progress)
    watch("read", 0.0)
    with memory_errors(f"Not enough memory to read {source}. Close other programs or use a smaller volume."):
        volume = read_volume(source, frame=options.frame, component=options.component, series=options.series)
        region = read_region(source, volume, card, options.segmentation, options.segment)
    watch("read", 1.0)
    watch.stop()
    found = classify(volume, model, region, options, progress)
    watch("write", 0.0)
    writes = []
    heat = found.heat
    if options.heatmap is not None and heat is not None:
        writes = [(options.heatmap, lambda part: store_image(part, heat, volume.geometry))]
    inexact = write_together(writes, lambda: watch("write", 1.0))
    watch.stop()
    seconds = {"read": watch.seconds["read"], **found.seconds, "write": watch.seconds["write"]}
    return record_of(found, card, volume) | {
        "input": str(source),
        "segmentation": None if options.segmentation is None else str(options.segmentation),
        "segment": options.segment,
        "heatmap": None if options.heatmap is None else str(options.heatmap),
        "warnings": [*found.warnings, *inexact],
        "seconds": {stage: round(s, 3) for stage, s in seconds.items()},
    }


def record_of(found: Classification, card: ModelCard, volume: Volume) -> dict[str, Any]:
    """The classification as JSON has it."""
    from ..volume import voxels_sha256

    ids = [one.id for one in card.classes]
    votes = Counter(ids[int(np.argmax(p))] for p in found.slices.values())

    def named(probabilities: Sequence[float]) -> dict[str, float]:
        return {name: round(p, 4) for name, p in zip(ids, probabilities, strict=True)}

    return {
        "class": ids[found.best],
        "name": card.classes[found.best].name,
        "probabilities": named(found.probabilities),
        "abstained": bool(found.reasons),
        "reasons": list(found.reasons),
        "score": None if found.score is None else round(found.score, 4),
        "threshold": None if card.abstention is None else card.abstention.threshold,
        "plane": found.plane,
        "votes": dict(votes.most_common()),
        "slices": [
            {"index": k, "weight": round(found.weights[k], 4), "probabilities": named(p)}
            for k, p in found.slices.items()
        ],
        "rule": found.rule,
        "features": [
            {"name": s.name, "label": s.label, "value": round(s.value, 4), "contribution": round(s.contribution, 4)}
            for s in found.features
        ],
        "interval": None if found.interval is None else [round(x, 4) for x in found.interval],
        "prevalence": None if card.coefficients is None else card.coefficients.prevalence,
        "image": {
            "sha256": voxels_sha256(volume.array),
            "size": list(volume.geometry.size),
            "spacing": list(volume.geometry.spacing) if volume.real_spacing else None,
            "modality": volume.modality or None,
            "description": volume.description or None,
        },
    }
