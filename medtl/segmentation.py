"""Segment: a volume and a model in, a labelmap on the volume's own grid out."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from .errors import InputError, memory_errors
from .gate import warnings_of
from .io import read
from .io.files import identities
from .io.isolated import Reader
from .io.write import Write, check_output, store_image, store_labelmap, write_together
from .measurement import lesions
from .model.card import Calibration, Label, ModelCard
from .model.device import limited_threads, memory_advice
from .postprocess import clean
from .preprocess import Prepared, batch, neighbour_steps, prepare, restore
from .progress import Progress, Stopwatch, no_progress
from .volume import Geometry, Labelmap, Segment, Volume

if TYPE_CHECKING:
    from .model.bundle import Model


# Pixels of one forward pass: eight slices of 256×256, beyond which a CPU gains nothing and memory grows.
BATCH_PIXELS = 8 * 256 * 256


@dataclass(frozen=True)
class SegmentOptions:
    """Choices of one run. `frame`, `component` and `series` choose the image (see `read_volume`).

    `flip` averages with the left-right mirrored input; `cleanup` applies the card's clean-up; `threads` limits the CPU.
    `probabilities` and `uncertainty` are files to write; `keep_probabilities` and `keep_uncertainty` return the arrays.
    """

    frame: int | None = None
    component: int | None = None
    series: str | None = None
    flip: bool = False
    cleanup: bool = True
    device: str = "auto"
    threads: int | None = None
    probabilities: Path | None = None
    uncertainty: Path | None = None
    force: bool = False
    keep_probabilities: bool = False
    keep_uncertainty: bool = False

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise InputError(f"Expected 1 thread or more, found {self.threads}.")


@dataclass(frozen=True)
class Segmentation:
    """The result on the volume's grid.

    `probabilities` float32 (labels, Z, Y, X) and `uncertainty` float32 (Z, Y, X), entropy of the temperature-scaled
    probabilities divided by its maximum, are None unless asked for. `volumes_ml` is one figure a segment, None
    where the spacing is not real. `seconds` by stage.
    """

    labelmap: Labelmap
    volumes_ml: tuple[float | None, ...]
    probabilities: np.ndarray | None = None
    uncertainty: np.ndarray | None = None
    warnings: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)


def segment(
    volume: Volume, model: "Model", options: SegmentOptions = SegmentOptions(), progress: Progress = no_progress
) -> Segmentation:
    """The model's labels on the volume's own grid.

    Raises: InputError when the volume does not fit the model; DeviceError when memory runs out; Cancelled.
    """
    watch = Stopwatch(progress)
    card = model.card
    with limited_threads(options.threads), memory_errors(memory_advice(volume)):
        watch("prepare", 0.0)
        prepared = prepare(volume, card.input, model.networks[0].multiple)
        watch("prepare", 1.0)
        result = infer(prepared, model, options, watch)
        watch("clean", 0.0)
        labels = clean(result.labels, prepared, volume, card, watch) if options.cleanup else result.labels
        restored = restore(labels, prepared)
        probabilities, uncertainty = (
            None if a is None else np.stack([restore(one, prepared) for one in a])
            for a in (result.probabilities, result.uncertainty)
        )
        watch("clean", 1.0)
    watch.stop()
    ml = volume.geometry.voxel_ml if volume.real_spacing else None
    return Segmentation(
        Labelmap(restored, volume.geometry, tuple(segment_of(card, label) for label in card.labels)),
        tuple(None if ml is None else np.count_nonzero(restored == label.value) * ml for label in card.labels),
        probabilities,
        None if uncertainty is None else uncertainty[0],
        (*volume.warnings, *warnings_of(card, volume, prepared)),
        watch.seconds,
    )


def segment_of(card: ModelCard, label: Label) -> Segment:
    """The segment of a label: its id is a contract, `<model>.<label id>`; a tuned model writes those of its family."""
    tags = (
        ("MedTL.label", label.id),
        ("MedTL.model", card.family),
        ("DICOM.SegmentAlgorithmType", "AUTOMATIC"),  # without these two Slicer's DICOM export calls it manual
        ("DICOM.SegmentAlgorithmName", f"{card.name} {card.version}"[:64]),
    )
    return Segment(label.value, f"{card.family}.{label.id}", label.name, label.colour, label.snomed, tags)


@dataclass(frozen=True)
class Inferred:
    """What the network said, on the turned grid: labels (S, R, C); probabilities (labels, S, R, C) and uncertainty
    (1, S, R, C) where asked for."""

    labels: np.ndarray
    probabilities: np.ndarray | None
    uncertainty: np.ndarray | None


def infer(prepared: Prepared, model: "Model", options: SegmentOptions, progress: Progress) -> Inferred:
    """Run the network over batches of slices; only labels are kept of a slice unless more is asked for."""
    card, shape = model.card, prepared.turned_shape
    values = np.array([0, *(label.value for label in card.labels)], dtype=np.uint16 if needs_16_bit(card) else np.uint8)
    labels = np.zeros(shape, values.dtype)
    keep_probabilities = options.keep_probabilities or options.probabilities is not None
    keep_uncertainty = options.keep_uncertainty or options.uncertainty is not None
    probabilities = np.zeros((len(card.labels), *shape), np.float32) if keep_probabilities else None
    uncertainty = np.zeros((1, *shape), np.float32) if keep_uncertainty else None
    steps = neighbour_steps(card.input, prepared.slice_mm)
    slices = np.flatnonzero(prepared.occupied)
    size = max(1, BATCH_PIXELS // max(1, prepared.computed_pixels))
    for begin in range(0, len(slices), size):
        progress("infer", begin / len(slices))
        chosen = slices[begin : begin + size]
        image = batch(prepared, chosen, steps, model.networks[0].multiple)
        probability = forward(model, image, card.calibration, options.flip)
        probability, (rows, columns) = on_own_grid(probability, prepared)
        if probabilities is not None:
            probabilities[:, chosen, rows, columns] = probability[:, 1:].movedim(1, 0).cpu().numpy()
        if uncertainty is not None:
            uncertainty[0, chosen, rows, columns] = entropy(probability).cpu().numpy()
        labels[chosen, rows, columns] = values[decide(probability, card.calibration.threshold).cpu().numpy()]
    progress("infer", 1.0)
    return Inferred(labels, probabilities, uncertainty)


def needs_16_bit(card: ModelCard) -> bool:
    """True when a label value does not fit 8 bits."""
    return max(label.value for label in card.labels) > 255


@torch.inference_mode()
def forward(model: "Model", image: np.ndarray, calibration: Calibration, flip: bool) -> Tensor:
    """Temperature-scaled probabilities (n, 1 + labels, h, w), float32, background first; `flip`: the mean of both."""
    network = model.networks[0]
    x = torch.from_numpy(image).to(model.device).contiguous(memory_format=torch.channels_last)
    with torch.autocast(model.device, torch.bfloat16, enabled=model.bf16):
        logits = network(x).float()
        mirrored = network(x.flip(3)).float().flip(3) if flip else None
    probability: Tensor = (logits / calibration.temperature).softmax(1)
    if mirrored is None:
        return probability
    both: Tensor = (probability + (mirrored / calibration.temperature).softmax(1)) / 2
    return both


def on_own_grid(probability: Tensor, prepared: Prepared) -> tuple[Tensor, tuple[slice, slice]]:
    """Probabilities of the box without its padding and where they belong; where the model's grid is not the volume's
    own, linearly resampled onto that, one class as the other, pixel areas aligned."""
    rows, columns = prepared.box
    probability = probability[:, :, : rows.stop - rows.start, : columns.stop - columns.start]
    if not prepared.resampled:
        return probability, (rows, columns)
    height, width = prepared.array.shape[1:]
    margins = (columns.start, width - columns.stop, rows.start, height - rows.stop)
    whole = functional.pad(probability, margins)
    whole[:, 0] += functional.pad(torch.zeros_like(probability[:, 0]), margins, value=1.0)
    size = prepared.turned_shape[1:]
    whole = functional.interpolate(whole, size=size, mode="bilinear", align_corners=False)
    return whole, (slice(0, size[0]), slice(0, size[1]))


def decide(probability: Tensor, threshold: float) -> Tensor:
    """Index of the class: the likeliest foreground one where all foreground together exceeds the threshold, else 0."""
    best = probability[:, 1:].argmax(1) + 1
    return torch.where(1 - probability[:, 0] > threshold, best, 0)


def entropy(probability: Tensor) -> Tensor:
    """Entropy over the classes, divided by its maximum: 0 is certain, 1 is a draw."""
    logarithm = probability.clamp_min(1e-12).log()
    return -(probability * logarithm).sum(1) / float(np.log(probability.shape[1]))


def segment_file(
    source: Path,
    model: "Model",
    output: Path,
    options: SegmentOptions = SegmentOptions(),
    progress: Progress = no_progress,
    reader: Reader = read,
) -> dict[str, Any]:
    """The record of one segmented file, as `medtl segment --json` prints it.

    Each file is written whole or not at all, and none before all are whole; `progress("write", 1.0)` comes right before
    the renames, so raising there leaves nothing behind.

    Raises: MedTLError as reading, segmenting and writing do; InputError when an output exists and not `force`.
    """
    files = [f for f in (output, options.probabilities, options.uncertainty) if f is not None]
    inputs = identities([source])
    for file in files:
        check_output(file, inputs, options.force)
    if len({file.resolve() for file in files}) < len(files):
        raise InputError(f"Two outputs have the same name, {output}. Choose another for one of them.")
    watch = Stopwatch(progress)
    watch("read", 0.0)
    with memory_errors(f"Not enough memory to read {source}. Close other programs or use a smaller volume."):
        volume = reader.read_volume(source, frame=options.frame, component=options.component, series=options.series)
    watch("read", 1.0)
    watch.stop()
    result = segment(volume, model, options, progress)
    watch("write", 0.0)
    array, grid, real = result.labelmap.array, volume.geometry, volume.real_spacing
    found = [lesion_records(array == s.value, grid, real) for s in result.labelmap.segments]

    writes: list[Write] = [(output, lambda part: store_labelmap(part, result.labelmap))]
    maps = result.probabilities
    if options.probabilities is not None and maps is not None:
        channels = maps[0] if len(maps) == 1 else maps
        writes.append((options.probabilities, lambda part: store_image(part, channels, volume.geometry)))
    entropies = result.uncertainty
    if options.uncertainty is not None and entropies is not None:
        writes.append((options.uncertainty, lambda part: store_image(part, entropies, volume.geometry)))
    inexact = write_together(writes, lambda: watch("write", 1.0))
    watch.stop()
    seconds = {"read": watch.seconds["read"], **result.seconds, "write": watch.seconds["write"]}
    return {
        "input": str(source),
        "output": str(output),
        "segments": [
            {"id": s.id, "name": s.name, "volume_ml": ml, "lesions": parts}
            for s, ml, parts in zip(result.labelmap.segments, result.volumes_ml, found, strict=True)
        ],
        "seconds": {stage: round(s, 3) for stage, s in seconds.items()},
        "warnings": [*result.warnings, *inexact],
    }


def lesion_records(mask: np.ndarray, grid: Geometry, real_spacing: bool) -> list[dict[str, Any]]:
    """The lesions of a mask (Z, Y, X), the largest first: mL, mm, and a centre in LPS mm."""
    return [
        {"volume_ml": one.volume_ml, "diameter_mm": one.diameter_mm, "centre": list(one.centre)}
        for one in lesions(mask, grid, real_spacing)
    ]
