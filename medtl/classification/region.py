"""The region of a volume that is classified: a segment of a segmentation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..io import read
from ..io.isolated import Reader
from ..labels import all_segments, named_segment, tumour_segment
from ..model.card import ModelCard
from ..volume import Labelmap, Segment, Volume, check_same_grid

MOST_NAMES = 10  # of segments in a message


@dataclass(frozen=True)
class Region:
    """A mask, bool (Z, Y, X), and the warnings of the file that it was read from."""

    mask: np.ndarray
    warnings: tuple[str, ...] = ()


def read_region(
    source: Path,
    volume: Volume,
    card: ModelCard,
    segmentation: Path | None,
    segment: str | None,
    reader: Reader = read,
) -> Region | None:
    """The region of the volume to classify, from a segmentation; None without one.

    A model of plain numbers measures only a shape: without a segmentation, `source` itself is the labelmap.

    Raises: InputError when the segmentation lies on another grid, does not say which segment to take, or is an image.
    """
    if segmentation is None and card.coefficients is None:
        if segment is not None:
            raise InputError(
                "Expected a segmentation to take the segment from, found none. Choose one.", option="segmentation"
            )
        return None
    try:
        labelmap = reader.read_labelmap(segmentation or source)
    except InputError as error:
        if segmentation is not None:
            raise
        raise InputError(f"{error} {card.name} measures the shape of a segmentation.", option="segmentation") from error
    check_same_grid(labelmap.geometry, volume.geometry, segmentation or source, source)
    values = card.coefficients.values if card.coefficients is not None else ()
    mask = region_of(labelmap, segment, values)
    several = _filled(labelmap) if segment is None and not values else []
    united = (f"All {len(several)} segments count as one region: {_names(several)}.",) if len(several) > 1 else ()
    return Region(mask, (*labelmap.warnings, *united))


def _filled(labelmap: Labelmap) -> list[Segment]:
    """The segments that have voxels."""
    present = {*np.unique(labelmap.array).tolist(), *labelmap.covered[:, 0].tolist()}
    return [one for one in all_segments(labelmap) if one.value in present]


def _names(segments: Sequence[Segment]) -> str:
    more = f" and {len(segments) - MOST_NAMES} more" if len(segments) > MOST_NAMES else ""
    return ", ".join(one.id for one in segments[:MOST_NAMES]) + more


def region_of(labelmap: Labelmap, segment: str | None, values: tuple[int, ...] = ()) -> np.ndarray:
    """The voxels of a segment, named by its id, its name or its value, bool (Z, Y, X); the whole segment, also where
    others overlap it.

    Without a name it is the only segment with voxels. Where there are several, it is for a model with `values` the
    tumour's segment, or these values where the labelmap names no segments, and for other models all segments.

    Raises: InputError when there is no such segment, it has no voxel, or several may be meant.
    """
    filled = _filled(labelmap)
    if not filled:
        raise InputError("Expected a segmentation with voxels, found it empty. Segment the tumour first.")
    names = _names(labelmap.segments or filled)
    if segment is not None:
        chosen = named_segment(labelmap, segment)
        if chosen is None or chosen not in filled:
            problem = "is empty" if chosen else f"is not there: it has {names}"
            raise InputError(f"Expected the segment {segment!r} in the segmentation; it {problem}. Choose another.")
        return labelmap.mask(chosen.value)
    if len(filled) == 1 or not values:
        return labelmap.mask(*(candidate.value for candidate in filled))
    if labelmap.segments:
        tumour = tumour_segment([candidate for candidate in filled if candidate in labelmap.segments])
        if tumour is None:
            raise InputError(
                f"Expected a segment called tumour, found {names}. Choose the right one, or call it so.",
                option="segment",
            )
        return labelmap.mask(tumour.value)
    stated = [candidate.value for candidate in filled if candidate.value in values]
    if not stated:
        raise InputError(
            f"Expected a segment of the value {' or '.join(map(str, values))}, found {names}. Choose the right one, or "
            "give it this value.",
            option="segment",
        )
    return labelmap.mask(*stated)
