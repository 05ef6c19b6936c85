"""How the slices of a grid are turned upright, as radiologists see them."""

from dataclasses import dataclass

import numpy as np

from .preprocess import ORIENTATIONS, in_order, orient, turn
from .volume import Geometry

# Image left and right of axial, coronal and sagittal slices: patients are seen from the feet, the front and the left.
SIDES = {0: ("R", "L"), 1: ("R", "L"), 2: ("A", "P")}


@dataclass(frozen=True)
class View:
    """How an array (Z, Y, X) becomes upright slices: (slice, row, column), spacing in mm in this order.

    `order` are array axes, `flips` those to reverse afterwards (`medtl.preprocess.turn`); `plane` is an index into
    `ORIENTATIONS`: 0 axial, 1 coronal, 2 sagittal.
    """

    order: tuple[int, int, int]
    flips: tuple[int, ...]
    spacing: tuple[float, float, float]
    plane: int

    def of(self, array: np.ndarray) -> np.ndarray:
        """The array as (slice, row, column); a view, nothing is copied."""
        return turn(array, self.order, self.flips)


def view_of(geometry: Geometry) -> View:
    """The axial view of a grid, patient right on image left, anterior on top; the plane itself where depth is 1.

    An oblique grid is shown along its own axes, each taken for the nearest patient axis.
    """
    views = [plane_view(geometry, plane) for plane in range(len(ORIENTATIONS))]
    return next((view for view in views if geometry.shape[view.order[0]] == 1), views[0])


def plane_view(geometry: Geometry, plane: int) -> View:
    """The view of a plane (see `View`), upright: the patient seen from the feet, the front or the left."""
    order, flips = orient(geometry, tuple(ORIENTATIONS)[plane])
    return View(order, flips, in_order(geometry.spacing[::-1], order), plane)
