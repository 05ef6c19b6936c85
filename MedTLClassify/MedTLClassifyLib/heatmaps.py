"""Heat maps: volumes of 0 to 1 on the grid of the classified one, shown over its slices. No Qt."""

from typing import Any

import numpy as np

from medtl.volume import Geometry
from MedTLLib.mrml import overlays
from MedTLLib.mrml.overlays import HEATMAP, OPACITY, hide, show, shown

__all__ = ["CLEAR", "COLOURS", "HEATMAP", "OPACITY", "SHADES", "hide", "put", "show", "shown"]

COLOURS = "MedTLHeat"
SHADES = 256
CLEAR = 0.25  # lower values are transparent, so that they do not darken the image


def put(array: np.ndarray, geometry: Geometry, name: str, node: Any = None) -> Any:
    """A volume node of the heat map (Z, Y, X), 0 to 1: `node` filled anew, or a new one. Its colours are transparent,
    then red to yellow."""
    values = [shade / (SHADES - 1) for shade in range(SHADES)]
    shades = [(min(1.0, 2.0 * v), max(0.0, 2.0 * v - 1.0), 0.0, float(v >= CLEAR)) for v in values]
    return overlays.put(array, geometry, name, HEATMAP, overlays.colours_of(COLOURS, shades), 1.0, node)
