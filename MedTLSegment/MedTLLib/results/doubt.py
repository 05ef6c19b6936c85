"""The uncertainty of a prediction in the scene: a volume in whole per cent, the most doubtful slices, what it is worth.
No Qt."""

from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from medtl.diameters import measuring_axis
from medtl.doubt import CLEAR, DoubtfulSlice, calibration_text, coloured, doubtful_slices
from medtl.errors import InputError
from medtl.labels import SHA256_TAG, has_lesions
from medtl.model.card import ModelCard
from medtl.volume import Geometry, array_axis

from ..mrml import overlays
from ..mrml.scene import array_on, geometry_of, place_beside
from ..mrml.tags import card_of, tag_of

ROLE = "MedTL.uncertainty"  # of the segmentation's reference to the volume
CALIBRATION = "MedTL.calibration"  # attribute of the volume: a sentence
COLOURS = "MedTLDoubt"
CERTAIN, UNDECIDED = 0, 100  # per cent
LARGEST = 500_000_000  # voxels times classes of a model: computing more takes minutes and gigabytes


def affordable(volume: Any, card: ModelCard | None) -> bool:
    """Whether the uncertainty is computed with a prediction."""
    classes = len(card.labels) + 1 if card is not None else 2
    return int(np.prod(geometry_of(volume).size, dtype=np.int64)) * classes <= LARGEST


def percent_of(uncertainty: np.ndarray) -> np.ndarray:
    """An uncertainty of 0 to 1 in whole per cent, uint8: a quarter of its size."""
    percent: np.ndarray = np.rint(np.clip(uncertainty, 0, 1) * UNDECIDED).astype(np.uint8)
    return percent


def put(percent: np.ndarray | None, geometry: Geometry, segmentation: Any, volume: Any, card: ModelCard | None) -> None:
    """Keep the uncertainty (Z, Y, X) of the prediction that was just written into the segmentation, in place of an
    older one; None removes it."""
    old = volume_of(segmentation)
    if percent is None:
        remove(segmentation)
        return
    name = _("{name} uncertainty").format(name=segmentation.GetName())
    node = overlays.put(percent, geometry, name, overlays.UNCERTAINTY, _colours(), UNDECIDED, old)
    node.SetAttribute(SHA256_TAG, card.sha256 if card is not None else "")
    node.SetAttribute(CALIBRATION, calibration_text(card))
    segmentation.SetNodeReferenceID(ROLE, node.GetID())
    place_beside(node, volume)


def remove(segmentation: Any) -> None:
    """Remove the uncertainty of a segmentation, where there is one."""
    node = volume_of(segmentation)
    if node is not None:
        if overlays.shown(node):
            overlays.hide()
        slicer.mrmlScene.RemoveNode(node.GetDisplayNode())
        slicer.mrmlScene.RemoveNode(node)


def _colours() -> Any:
    values = np.arange(UNDECIDED + 1) / UNDECIDED
    shades = [(r / 255, g / 255, b / 255, float(v >= CLEAR)) for v, (r, g, b) in zip(values, coloured(values).tolist())]
    return overlays.colours_of(COLOURS, shades)


def volume_of(segmentation: Any) -> Any:
    """The volume of the segmentation's uncertainty, or None."""
    return segmentation.GetNodeReference(ROLE) if segmentation is not None else None


def why_not(segmentation: Any) -> str:
    """Why no uncertainty can be shown; empty where it can."""
    if segmentation is None:
        return str(_("There is no result yet. Press Segment, or choose a segmentation."))
    node = volume_of(segmentation)
    if node is None:
        return str(_("The uncertainty is not kept. Tick it under Advanced, then press Segment."))
    made_by = node.GetAttribute(SHA256_TAG) or ""
    segments = segmentation.GetSegmentation()
    if made_by and made_by not in (tag_of(segments.GetSegment(s), SHA256_TAG) for s in segments.GetSegmentIDs()):
        return str(_("Another model wrote the segments since. Press Segment again."))
    return ""


def legend(segmentation: Any) -> str:
    """What the colours say, and what they are worth."""
    worth = volume_of(segmentation).GetAttribute(CALIBRATION) or calibration_text(None)
    return str(_("Dark: rather sure. Bright: undecided. {worth}").format(worth=_(worth)))


def values_of(segmentation: Any) -> tuple[np.ndarray, Geometry]:
    """The uncertainty of 0 to 1, float32 (Z, Y, X), and its grid.

    Raises: InputError when there is none.
    """
    node = volume_of(segmentation)
    if node is None or node.GetImageData() is None:
        raise InputError(_("Expected the uncertainty of {name}, found none.").format(name=segmentation.GetName()))
    return slicer.util.arrayFromVolume(node).astype(np.float32) / UNDECIDED, geometry_of(node)


def slices_of(segmentation: Any) -> tuple[DoubtfulSlice, ...]:
    """The most doubtful slices of the lesions, of a segmentation without lesions those of all its segments: slices in
    the plane of the model, without one in that of the image.

    Raises: InputError when there is no uncertainty.
    """
    values, geometry = values_of(segmentation)
    segments, card = segmentation.GetSegmentation(), card_of(segmentation)
    ids = list(segments.GetSegmentIDs())
    lesions = [each for each in ids if has_lesions(each, segments.GetSegment(each).GetName())]
    shown = np.zeros(geometry.shape, bool)
    for segment_id in lesions or ids:
        shown |= array_on(segmentation, segment_id, geometry)
    axis = array_axis(geometry, card.input.plane) if card is not None else 2 - measuring_axis(geometry)
    return doubtful_slices(values, shown, geometry, axis)


def ras_of(slice_: DoubtfulSlice) -> tuple[float, float, float]:
    """The middle of the doubt in a slice, RAS mm."""
    left, posterior, superior = slice_.centre
    return -left, -posterior, superior
