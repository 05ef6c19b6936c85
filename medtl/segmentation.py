"""Segment a volume: a labelmap on the volume's own grid."""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as functional
from scipy import ndimage
from torch import Tensor

from .channels import check_volumes, read_volumes
from .decision import (
    check_finite,
    decide,
    entropy,
    foreground,
    label_values_of,
    probabilities_of,
    probabilities_of_mixed,
)
from .errors import InputError, memory_errors
from .gate import gate_warnings
from .io import read
from .io.files import identities
from .io.isolated import Reader
from .io.write import Write, check_different, check_output, store_image, store_labelmap, write_together
from .labels import ALGORITHM_TAG, AUTOMATIC, LABEL_TAG, MODEL_TAG, SHA256_TAG, TYPE_TAG, id_of
from .measurement import measure
from .model.card import Label, ModelCard
from .model.device import check_threads, limited_threads, memory_advice
from .model.fallback import with_fallback
from .postprocess import clean
from .preprocess import Prepared, batch, neighbour_steps, prepare, restore, smoothing_slices
from .progress import Progress, Stopwatch, no_progress
from .results import SegmentedFile
from .volume import Labelmap, Segment, Volume, voxel_counts
from .windows.prepare import Box, WindowInput, box_of, channels_of, prepare_windows
from .windows.restore import classes_of, outputs_of, pairs, whole_planes
from .windows.sliding import logit_planes

if TYPE_CHECKING:
    from .model.bundle import Model


# Pixels of one forward pass: eight slices of 256×256, beyond which a CPU gains nothing and memory grows.
BATCH_PIXELS = 8 * 256 * 256
# Dice of what two stages marked, under which a result gets a warning.
AGREEMENT = 0.5


@dataclass(frozen=True)
class ReadOptions:
    """Which image of a file is meant: the `frame` of a 4D file, the `component` of a colour file, the DICOM `series`
    (see `medtl.io.read.read_volume`)."""

    frame: int | None = None
    component: int | None = None
    series: str | None = None


@dataclass(frozen=True)
class InferenceOptions:
    """How a volume is segmented. `flip` averages with the left-right mirrored input, for models of slices; `mirror`
    over mirrored windows, for models of windows whose card has axes for that. `cleanup` applies the card's clean-up;
    `threads` limits the CPU; the other two keep more results. The device is that of the loaded model.

    Raises: InputError for an impossible number of threads.
    """

    flip: bool = False
    mirror: bool = True
    cleanup: bool = True
    threads: int | None = None
    keep_probabilities: bool = False
    keep_uncertainty: bool = False

    def __post_init__(self) -> None:
        check_threads(self.threads)


def without_effect(options: InferenceOptions, card: ModelCard) -> tuple[str, ...]:
    """A sentence for each choice that changes nothing for the model."""
    texts = []
    if options.flip and card.windows is not None:
        mirrored = "averages mirrored windows by itself" if card.windows.mirror else "has no mirrored windows"
        texts.append(f"Averaging with the mirrored image (flip) has no effect: {card.name} {mirrored}.")
    if not options.mirror and (card.windows is None or not card.windows.mirror):
        texts.append(f"Leaving out mirrored windows has no effect: {card.name} has none.")
    return tuple(texts)


@dataclass(frozen=True)
class OutputOptions:
    """The files to write: the labelmap, and where a path is given the probabilities of the labels and the uncertainty.
    Existing files are replaced only with `force`."""

    labelmap: Path
    probabilities: Path | None = None
    uncertainty: Path | None = None
    force: bool = False

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files that will be written, the labelmap first."""
        return tuple(path for path in (self.labelmap, self.probabilities, self.uncertainty) if path is not None)


@dataclass(frozen=True)
class Segmentation:
    """The result on the volume's grid.

    `probabilities` float32 (labels, Z, Y, X) and `uncertainty` float32 (Z, Y, X), entropy of the temperature-scaled
    probabilities divided by its maximum, are None unless asked for. `volumes_ml` is one figure a segment, None
    where the spacing is not real. `seconds` by stage; `precision` as in `SegmentedFile`.
    """

    labelmap: Labelmap
    volumes_ml: tuple[float | None, ...]
    probabilities: np.ndarray | None = None
    uncertainty: np.ndarray | None = None
    warnings: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    precision: str = "fp32"


def segment(
    volumes: Volume | Sequence[Volume],
    model: "Model",
    options: InferenceOptions = InferenceOptions(),
    progress: Progress = no_progress,
) -> Segmentation:
    """The model's labels on the grid of the volume; of several, one a channel of the model, on that of the first.

    Raises: InputError when the volumes do not fit the model; ModelError when the network's output is not finite;
    DeviceError when memory runs out; Cancelled.
    """
    watch = Stopwatch(progress)
    card = model.card
    volume, *further = (volumes,) if isinstance(volumes, Volume) else volumes
    with limited_threads(options.threads), memory_errors(memory_advice(volume)):
        watch("prepare", 0.0)
        aligned, warnings = channels_of((volume, *further), card)
        prepared: Prepared | WindowInput
        region = None
        if card.windows is None:
            prepared = prepare(volume, card.input, model.networks[0].multiple)
        else:
            region = region_of(aligned, model, watch)
            prepared = prepare_windows(aligned, card, card.windows, region.box if region else None)
        texts = [text for one in aligned for text in one.warnings]
        texts += [*warnings, *gate_warnings(card, volume, prepared), *without_effect(options, card)]
        # From here on no voxel is needed: where the caller keeps none either, a large CT takes 300 MB less.
        volume = replace(volume, array=np.empty((0, 0, 0), volume.array.dtype))
        del volumes, further, aligned
        watch("prepare", 1.0)
        (predicted, bf16), of_device = with_fallback(
            model, lambda usable: (infer_any(prepared, usable, options, watch), usable.bf16)
        )
        if region is not None:
            within(predicted, region)
        watch("clean", 0.0)
        labels = clean(predicted.labels, volume, card, watch) if options.cleanup else predicted.labels
        texts += disagreement(labels, region, card)
        restored = restore(labels, prepared)
        probabilities, uncertainty = (
            None if maps is None else np.stack([restore(channel, prepared) for channel in maps])
            for maps in (predicted.probabilities, predicted.uncertainty)
        )
        watch("clean", 1.0)
    watch.stop()
    ml = volume.geometry.voxel_ml if volume.real_spacing else None
    counts = dict(enumerate(voxel_counts(restored).tolist()))
    segments = tuple(segment_of(card, label) for label in card.labels)
    return Segmentation(
        Labelmap(restored, volume.geometry, segments, real_spacing=volume.real_spacing),
        tuple(None if ml is None else counts.get(label.value, 0) * ml for label in card.labels),
        probabilities,
        None if uncertainty is None else uncertainty[0],
        tuple(dict.fromkeys((*texts, *of_device))),
        watch.seconds,
        "bf16" if bf16 else "fp32",
    )


@dataclass(frozen=True)
class Region:
    """What the first of two stages found on the turned axes of a volume.

    `found` is bool on all of them. The second stage sees the `box`, and its labels count where `near` is True, bool in
    the box: where something was found within the card's margin along each axis. Where nothing was found, the box is
    the whole volume, and all of it counts.
    """

    found: np.ndarray
    box: Box
    near: np.ndarray


def region_of(volumes: Sequence[Volume], model: "Model", progress: Progress) -> Region | None:
    """What the first stage of the model finds in the volumes; None for a model of one stage."""
    first = model.region
    if first is None or first.card.windows is None or model.card.region is None:
        return None
    prepared = prepare_windows(volumes, first.card, first.card.windows)
    found = infer_windows(prepared, first, InferenceOptions(mirror=False), progress).labels > 0
    margins = [math.ceil(model.card.region.margin_mm / mm) for mm in prepared.turned_spacing]
    first_side, second_side, third_side = (
        slice(max(side.start - margin, 0), min(side.stop + margin, size))
        for side, margin, size in zip(box_of((found,), found.shape), margins, found.shape, strict=True)
    )
    box = first_side, second_side, third_side
    near = found[box] if found.any() else np.ones_like(found[box])
    widths = [2 * margin + 1 for margin in margins]
    return Region(found, box, ndimage.maximum_filter(near, widths, mode="constant", cval=False))


def within(predicted: "Prediction", region: Region) -> None:
    """Leave nothing of the prediction where its labels do not count."""
    for array in (predicted.labels[None], predicted.probabilities, predicted.uncertainty):
        if array is not None:
            array[(slice(None), *region.box)] *= region.near


def disagreement(labels: np.ndarray, region: Region | None, card: ModelCard) -> tuple[str, ...]:
    """A warning where the result and what the first stage found have little in common."""
    if region is None:
        return ()
    marked = labels > 0
    voxels = np.count_nonzero(marked) + np.count_nonzero(region.found)
    dice = 2 * np.count_nonzero(marked & region.found) / voxels if voxels else 1.0
    if dice >= AGREEMENT:
        return ()
    return (
        f"The two stages of {card.name} disagree: Dice {dice:.2f} between what they marked. The result may be wrong "
        "altogether. Check every slice.",
    )


def segment_of(card: ModelCard, label: Label) -> Segment:
    """The segment of a label: its id is a contract, `<model>.<label id>`; a tuned model writes those of its family."""
    tags = (
        (LABEL_TAG, label.id),
        (MODEL_TAG, card.family),
        (SHA256_TAG, card.sha256),
        (TYPE_TAG, AUTOMATIC),  # without these two Slicer's DICOM export calls it manual
        (ALGORITHM_TAG, f"{card.name} {card.version}"[:64]),
    )
    return Segment(label.value, id_of(card, label.id), label.name, label.colour, label.snomed, tags)


@dataclass(frozen=True)
class Prediction:
    """The network's output on the model's axes: labels (S, R, C); probabilities (labels, S, R, C) and uncertainty
    (1, S, R, C), None unless asked for."""

    labels: np.ndarray
    probabilities: np.ndarray | None
    uncertainty: np.ndarray | None


def infer_any(
    prepared: Prepared | WindowInput, model: "Model", options: InferenceOptions, progress: Progress
) -> Prediction:
    """The prediction of a network of slices or of windows."""
    if isinstance(prepared, WindowInput):
        return infer_windows(prepared, model, options, progress)
    return infer(prepared, model, options, progress)


def infer(prepared: Prepared, model: "Model", options: InferenceOptions, progress: Progress) -> Prediction:
    """The network's output, computed in batches of slices. Only labels are kept, unless the options keep more.

    Raises: ModelError when the network's output is not finite.
    """
    card, shape = model.card, prepared.turned_shape
    values = label_values_of(card)
    labels = np.zeros(shape, values.dtype)
    probabilities = np.zeros((len(card.labels), *shape), np.float32) if options.keep_probabilities else None
    uncertainty = np.zeros((1, *shape), np.float32) if options.keep_uncertainty else None
    planes = slice_probabilities(prepared, model, options, progress)
    for k, probability, (rows, columns) in smoothed(planes, smoothing_slices(card.input, prepared.slice_mm)):
        if probabilities is not None:
            probabilities[:, k, rows, columns] = foreground(card, probability)[0].cpu().numpy()
        if uncertainty is not None:
            uncertainty[0, k, rows, columns] = entropy(card, probability)[0].cpu().numpy()
        labels[k, rows, columns] = values[decide(card, probability)[0].cpu().numpy()]
    progress("infer", 1.0)
    return Prediction(labels, probabilities, uncertainty)


Plane = tuple[int, Tensor, tuple[slice, slice]]  # a slice, its probabilities (1, classes, h, w), its rows and columns


def slice_probabilities(
    prepared: Prepared, model: "Model", options: InferenceOptions, progress: Progress
) -> Iterator[Plane]:
    """The probabilities of the slices that show something, in order, on the volume's own grid.

    Raises: ModelError when the network's output is not finite.
    """
    steps = neighbour_steps(model.card.input, prepared.slice_mm)
    slices = np.flatnonzero(prepared.occupied)
    size = max(1, BATCH_PIXELS // max(1, prepared.computed_pixels))
    for begin in range(0, len(slices), size):
        progress("infer", begin / len(slices))
        chosen = slices[begin : begin + size]
        image = batch(prepared, chosen, steps, model.networks[0].multiple)
        probability, place = on_own_grid(forward(model, image, options.flip), prepared)
        yield from ((int(k), plane[None], place) for k, plane in zip(chosen, probability, strict=True))


def smoothed(planes: Iterable[Plane], deviation: float) -> Iterator[Plane]:
    """Each plane as the mean of the planes around it, those that there are, with Gaussian weights up to three standard
    deviations (in slices). Holds no more planes than that takes."""
    radius = math.ceil(3 * deviation)
    held: deque[Plane] = deque()
    waiting: deque[int] = deque()

    def mean_at(k: int) -> Plane:
        near = [(math.exp(-(((n - k) / deviation) ** 2) / 2), plane) for n, plane, _ in held if abs(n - k) <= radius]
        total = sum(weight for weight, _ in near)
        place = next(place for n, _, place in held if n == k)
        while held and held[0][0] < k - radius:
            held.popleft()
        return k, torch.stack([plane * (weight / total) for weight, plane in near]).sum(0), place

    if radius == 0:
        yield from planes
        return
    for one in planes:
        held.append(one)
        waiting.append(one[0])
        while waiting[0] <= one[0] - radius:
            yield mean_at(waiting.popleft())
    while waiting:
        yield mean_at(waiting.popleft())


def infer_windows(prepared: WindowInput, model: "Model", options: InferenceOptions, progress: Progress) -> Prediction:
    """The network's output, computed in windows. Only labels are kept, unless the options keep more.

    Raises: ModelError when the network's output is not finite.
    """
    card, shape, box = model.card, prepared.turned_shape, prepared.box
    assert card.windows is not None
    values, (_, rows, columns) = label_values_of(card), prepared.taps
    labels = np.zeros(shape, values.dtype)
    probabilities = np.zeros((len(card.labels), *shape), np.float32) if options.keep_probabilities else None
    uncertainty = np.zeros((1, *shape), np.float32) if options.keep_uncertainty else None
    spec = card.windows if options.mirror else replace(card.windows, mirror=())
    logits = logit_planes(prepared.array, model, spec, progress)
    planes = whole_planes(logits, card, prepared.inner, prepared.grid)
    for k, pair in enumerate(pairs(planes, card, prepared.taps), start=box[0].start):
        labels[k, box[1], box[2]] = values[classes_of(pair, card, rows, columns)]
        if probabilities is not None or uncertainty is not None:
            probability = probabilities_of_mixed(card, outputs_of(pair, rows, columns)[None])
            if probabilities is not None:
                probabilities[:, k, box[1], box[2]] = foreground(card, probability)[0].numpy()
            if uncertainty is not None:
                uncertainty[0, k, box[1], box[2]] = entropy(card, probability)[0].numpy()
    return Prediction(labels, probabilities, uncertainty)


@torch.inference_mode()
def forward(model: "Model", image: np.ndarray, flip: bool) -> Tensor:
    """Temperature-scaled probabilities (n, 1 + labels, h, w), float32, background first; with `flip` the mean over the
    image and its mirror image.

    Raises: ModelError when they are not finite.
    """
    network = model.networks[0]
    x = torch.from_numpy(image).to(model.device).contiguous(memory_format=torch.channels_last)

    def probability_of(x: Tensor) -> Tensor:
        with torch.autocast(model.device, torch.bfloat16, enabled=model.bf16):
            logits = network(x).float()
        probability = probabilities_of(model.card, logits)
        check_finite(model.card, logits, probability)
        return probability

    probability = probability_of(x)
    if not flip:
        return probability
    mean: Tensor = (probability + probability_of(x.flip(3)).flip(3)) / 2
    return mean


def on_own_grid(probability: Tensor, prepared: Prepared) -> tuple[Tensor, tuple[slice, slice]]:
    """The probabilities without padding, and their rows and columns in the volume's slices. Where the model's grid is
    another one, they are resampled linearly onto the volume's own, all classes alike, pixel areas aligned."""
    rows, columns = prepared.box
    probability = probability[:, :, : rows.stop - rows.start, : columns.stop - columns.start]
    if not prepared.resampled:
        return probability, (rows, columns)
    height, width = prepared.array.shape[1:]
    margins = (columns.start, width - columns.stop, rows.start, height - rows.stop)
    padded = functional.pad(probability, margins)
    padded[:, 0] += functional.pad(torch.zeros_like(probability[:, 0]), margins, value=1.0)
    size = prepared.turned_shape[1:]
    padded = functional.interpolate(padded, size=size, mode="bilinear", align_corners=False)
    return padded, (slice(0, size[0]), slice(0, size[1]))


def segment_file(
    sources: Path | Sequence[Path],
    model: "Model",
    outputs: OutputOptions,
    reading: ReadOptions = ReadOptions(),
    options: InferenceOptions = InferenceOptions(),
    progress: Progress = no_progress,
    reader: Reader = read,
) -> SegmentedFile:
    """The figures of one segmented input: a file, or several, one a channel of the model.

    All files are written whole or none is. `progress("write", 1.0)` is called right before they are renamed into place,
    so raising there leaves nothing behind.

    Raises: MedTLError as reading, segmenting and writing do; InputError when an output exists and not `force`, or when
    the files are not one a channel.
    """
    files = (sources,) if isinstance(sources, Path) else tuple(sources)
    named = ",".join(map(str, files))
    check_volumes(model.card, len(files))
    if len(files) > 1 and reading != ReadOptions():
        raise InputError(
            f"Expected no frame, component or series for several volumes, found one for {named}. Leave it out, and "
            "make each volume a file or folder of its own."
        )
    inputs = identities(files)
    for path in outputs.paths:
        check_output(path, inputs, outputs.force)
    check_different(outputs.paths)
    watch = Stopwatch(progress)

    def read_inputs() -> Volume | Sequence[Volume]:
        watch("read", 0.0)
        with memory_errors(f"Not enough memory to read {named}. Close other programs or use a smaller volume."):
            volumes: Volume | Sequence[Volume]
            if len(files) == 1:
                volumes = reader.read_volume(
                    files[0], frame=reading.frame, component=reading.component, series=reading.series
                )
            else:
                volumes = read_volumes(files, reader)
        watch("read", 1.0)
        watch.stop()
        return volumes

    options = replace(
        options,
        keep_probabilities=options.keep_probabilities or outputs.probabilities is not None,
        keep_uncertainty=options.keep_uncertainty or outputs.uncertainty is not None,
    )
    result = segment(read_inputs(), model, options, progress)  # nothing here keeps the volumes
    watch("write", 0.0)
    segments = measure(result.labelmap, real_spacing=None not in result.volumes_ml)
    inexact = write_together(writes_of(result, outputs), lambda: watch("write", 1.0), outputs.force)
    watch.stop()
    seconds = {"read": watch.seconds["read"], **result.seconds, "write": watch.seconds["write"]}
    return SegmentedFile(
        named,
        str(outputs.labelmap),
        segments,
        {stage: round(spent, 3) for stage, spent in seconds.items()},
        (*result.warnings, *inexact),
        result.precision,
    )


def writes_of(result: Segmentation, outputs: OutputOptions) -> list[Write]:
    """The files to write."""
    geometry = result.labelmap.geometry
    writes = [Write(outputs.labelmap, lambda part: store_labelmap(part, result.labelmap))]
    probabilities = result.probabilities
    if outputs.probabilities is not None and probabilities is not None:
        channels = probabilities[0] if len(probabilities) == 1 else probabilities
        writes.append(Write(outputs.probabilities, lambda part: store_image(part, channels, geometry)))
    uncertainty = result.uncertainty
    if outputs.uncertainty is not None and uncertainty is not None:
        writes.append(Write(outputs.uncertainty, lambda part: store_image(part, uncertainty, geometry)))
    return writes
