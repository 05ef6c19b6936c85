"""A segmentation that a model wrote, with three lesions and a voxel on its own."""

from typing import Any

import numpy as np
import slicer
import vtk
from panel_user import LESION, PHANTOM, SEGMENT

from medtl.volume import Labelmap, Segment
from MedTLLib import samples
from MedTLLib.prediction import writer

BOXES = (
    (slice(2, 5), slice(10, 25), slice(12, 30)),
    (slice(6, 8), slice(30, 40), slice(35, 45)),
    (slice(8, 9), slice(5, 9), slice(45, 50)),
)


def mask_of(*numbers: int, small: bool = True) -> np.ndarray:
    """The lesions of these numbers, from 1, bool (Z, Y, X), and the single voxel."""
    mask = np.zeros(PHANTOM.labelmap.geometry.shape, dtype=bool)
    for number in numbers:
        mask[BOXES[number - 1]] = True
    mask[1, 50, 50] = small
    return mask


ALL = mask_of(1, 2, 3)


def labelmap_of(mask: np.ndarray, segment: Segment = SEGMENT) -> Labelmap:
    return Labelmap(mask.astype(np.uint8), PHANTOM.labelmap.geometry, (segment,))


def make_case(segment: Segment = SEGMENT) -> tuple[Any, Any]:
    """A volume, and the segmentation that a model wrote for it."""
    volume = samples.volume_node(PHANTOM.volume, "head")
    return volume, slicer.mrmlScene.GetNodeByID(writer.write(labelmap_of(ALL, segment), volume).segmentation_id)


def place(volume: Any, number: int) -> tuple[float, float, float]:
    """A place inside that lesion, RAS mm."""
    z, y, x = (part.start for part in BOXES[number - 1])
    return ras(volume, (x, y, z))


def ras(volume: Any, ijk: tuple[int, int, int]) -> tuple[float, float, float]:
    """Where that voxel is, RAS mm."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    r, a, s = matrix.MultiplyPoint((*ijk, 1.0))[:3]
    return r, a, s


__all__ = ["ALL", "LESION", "labelmap_of", "make_case", "mask_of", "place", "ras"]
