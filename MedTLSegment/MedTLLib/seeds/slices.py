"""A case slice by slice, in the plane of a model. No Qt."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from medtl.errors import InputError
from medtl.labels import id_of
from medtl.model.card import ModelCard
from medtl.volume import Geometry, array_axis

from ..mrml.boxes import pasted, whole
from ..mrml.pieces import check_whole
from ..mrml.scene import check_segmentation, check_volume, geometry_of, image_of, placed, values_of
from ..mrml.segments import check_place
from ..mrml.tags import own_ids


@dataclass(frozen=True)
class Slices:
    """A case slice by slice: voxels, the slices' axis first, and for each label of the model where it is.

    A label is the result of `scene.placed`, so that only the requested slices are read; None where it is empty.
    """

    geometry: Geometry
    axis: int
    image: np.ndarray
    labels: dict[str, tuple[np.ndarray, tuple[int, int, int]] | None]

    def mask(self, name: str, k: int) -> np.ndarray:
        """Where the label is in slice k: bool, a new array of the slice's shape."""
        box = list(whole(self.geometry.shape))
        box[self.axis] = slice(k, k + 1)
        values, start = self.labels[name] or (np.zeros((0, 0, 0), bool), (0, 0, 0))
        return pasted(values, start, (box[0], box[1], box[2])).squeeze(self.axis)

    def fingerprint(self, k: int) -> str:
        """SHA-256 of slice k, independent of the values, layers and order of the labels in Slicer and of the direction
        of the volume's axes."""
        digest = hashlib.sha256(self._upright(self.image[k].astype(np.float64)))
        for name in sorted(self.labels):
            digest.update(self._upright(self.mask(name, k)))
        return digest.hexdigest()

    def overlaps(self, k: int) -> bool:
        """True where two labels share a voxel of slice k."""
        return bool((np.sum([self.mask(name, k) for name in self.labels], axis=0) > 1).any())

    def _upright(self, plane: np.ndarray) -> bytes:
        """The slice's values in an order that does not change when an axis of the volume is reversed."""
        for position, axis in enumerate(axis for axis in range(3) if axis != self.axis):
            column = np.round(self.geometry.axes[:, 2 - axis], 3)  # so that rounding errors decide nothing
            if column[np.argmax(np.abs(column))] < 0:
                plane = np.flip(plane, position)
        return f"{plane.shape}".encode() + np.ascontiguousarray(plane).tobytes()


def check_labels(segmentation: Any, volume: Any, card: ModelCard) -> None:
    """Return nothing when the segmentation has the model's segments, no lesion of them was split off, and neither node
    is under a transform.

    Raises: InputError otherwise.
    """
    check_volume(volume)
    check_segmentation(segmentation)
    there = own_ids(segmentation, card)
    missing = [label.name for label in card.labels if id_of(card, label.id) not in there]
    if missing:
        what = _("A segment of it was removed or replaced since the prediction.") if there else ""
        raise InputError(
            _(
                "Expected a segment for each label of {model} in {segmentation}, found none for {names}. {what} "
                "Segment the volume with {model} again, or choose its segmentation."
            )
            .format(model=card.name, segmentation=segmentation.GetName(), names=", ".join(missing), what=what)
            .replace("  ", " ")
        )
    check_whole(segmentation, there)


def slices_of(segmentation: Any, volume: Any, card: ModelCard) -> Slices:
    """The case slice by slice in the model's plane.

    Raises: InputError when it does not fit: no segmentation or volume, one under a transform, a segment of the model
    gone, another's segment under its id, or a segment on another grid.
    """
    check_labels(segmentation, volume, card)
    geometry = geometry_of(volume)
    check_place(segmentation, own_ids(segmentation, card), geometry)
    axis = array_axis(geometry, card.input.plane)
    images = {label.id: image_of(segmentation, id_of(card, label.id)) for label in card.labels}
    labels = {name: placed(image, geometry) if image else None for name, image in images.items()}
    return Slices(geometry, axis, np.moveaxis(values_of(volume.GetImageData()), axis, 0), labels)
