"""Which part of a segmentation is looked at."""

from pathlib import Path

import numpy as np

from ..errors import InputError
from ..io import read
from ..io.isolated import Reader
from ..model.card import ModelCard
from ..volume import Labelmap, Volume

# More values than this a labelmap without names hardly has; an image of whole numbers does.
MOST_VALUES = 150


def read_region(
    source: Path,
    volume: Volume,
    card: ModelCard,
    segmentation: Path | None,
    segment: str | None,
    reader: Reader = read,
) -> np.ndarray | None:
    """The region of the volume that a segmentation names, bool (Z, Y, X); None without one.

    A model of plain numbers looks at the shape alone: without a segmentation, `source` itself is the labelmap.

    Raises: InputError when the segmentation lies on another grid, does not say what to look at, or is an image.
    """
    if segmentation is None and card.coefficients is None:
        if segment is not None:
            raise InputError("Expected a segmentation with --segment, found none. Give --segmentation FILE, too.")
        return None
    try:
        labels = reader.read_labelmap(segmentation or source)
        if segment is None and not labels.segments and (count := len(np.unique(labels.array))) > MOST_VALUES:
            raise InputError(
                f"Expected a labelmap, found {count} different values in {segmentation or source}, as images have. "
                "Choose the labelmap, not the image."
            )
    except InputError as error:
        if segmentation is not None:
            raise
        advice = f"{card.name} measures the shape of a segmentation: give --segmentation FILE."
        raise InputError(f"{error} {advice}") from error
    if not labels.geometry.close_to(volume.geometry):
        raise InputError(
            f"Expected the segmentation {segmentation} on the grid of {source}, found {labels.geometry.size} voxels of "
            f"{labels.geometry.spacing} mm beside {volume.geometry.size} of {volume.geometry.spacing} mm, or another "
            "position. Resample it onto the image."
        )
    return region_of(labels, segment, card.coefficients.values if card.coefficients is not None else ())


def region_of(labels: Labelmap, segment: str | None, values: tuple[int, ...] = ()) -> np.ndarray:
    """The voxels of a segment, named by its id, its name or its value, bool (Z, Y, X).

    Without a name: the only segment there is; else those of `values`; else, for a network, all of them.

    Raises: InputError when there is no such segment, or none has a voxel.
    """
    there = [int(v) for v in np.unique(labels.array) if v]
    names = ", ".join(str(s.id) for s in labels.segments) or ", ".join(map(str, there)) or "none"
    if not there:
        raise InputError("Expected a segmentation with voxels, found it empty. Segment the tumour first.")
    if segment is not None:
        known = {key: s.value for s in labels.segments for key in (s.name, s.id)}
        value = known.get(segment, int(segment) if segment.isdecimal() else -1)
        if value not in there:
            what = "is empty" if value in known.values() else f"is not there: it has {names}"
            raise InputError(f"Expected the segment {segment!r} in the segmentation; it {what}. Choose another.")
        return np.asarray(labels.array == value)
    if len(there) == 1 or not values:
        return np.asarray(labels.array > 0)
    if not set(values) & set(there):
        raise InputError(
            f"Expected a segment of the value {' or '.join(map(str, values))}, found {names}. Name it with --segment."
        )
    return np.asarray(np.isin(labels.array, values))
