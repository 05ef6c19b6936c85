"""Classify a file: an image and a model in, the record of `medtl classify --json` and a heat map out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError, memory_errors
from ..io import read
from ..io.files import identities
from ..io.isolated import Reader
from ..io.write import Write, check_output, store_image, write_together
from ..model.card import ModelCard
from ..progress import Progress, Stopwatch, no_progress
from ..results import ClassifiedFile, ImageRecord, SliceRecord
from ..volume import Volume, voxels_sha256
from .classify import Classification, ClassifyOptions, classify
from .region import read_region

if TYPE_CHECKING:
    from ..model.bundle import Model


def classify_file(
    source: Path,
    model: "Model",
    options: ClassifyOptions | None = None,
    progress: Progress = no_progress,
    reader: Reader = read,
) -> ClassifiedFile:
    """The classification of one input; the heat map is written whole or not at all.

    Raises: MedTLError as reading, classifying and writing do; InputError when the heat map exists and not `force`.
    """
    card, options = model.card, options or ClassifyOptions()
    if options.heatmap is not None:
        if not card.networks:
            raise InputError(f"{card.name} measures the shape of a segment: it has no heat map. Leave it out.")
        inputs = [path for path in (source, options.segmentation) if path is not None]
        check_output(options.heatmap, identities(inputs), options.force)
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
    # The labelmap that a shape is measured on is read twice.
    result = replace(result, warnings=tuple(dict.fromkeys(warnings)), seconds=seconds)
    return record_of(result, source, volume, card, options)


def record_of(
    result: Classification, source: Path, volume: Volume, card: ModelCard, options: ClassifyOptions
) -> ClassifiedFile:
    """The record of a classification."""
    ids = [tumour_class.id for tumour_class in card.classes]
    votes = Counter(ids[int(np.argmax(p))] for p in result.slices.values())

    def by_class(probabilities: Sequence[float]) -> dict[str, float]:
        return {name: round(p, 4) for name, p in zip(ids, probabilities, strict=True)}

    return ClassifiedFile(
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
            replace(feature, value=round(feature.value, 4), contribution=round(feature.contribution, 4))
            for feature in result.features
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
        warnings=result.warnings,
        seconds={stage: round(spent, 3) for stage, spent in result.seconds.items()},
    )
