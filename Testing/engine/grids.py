"""Grids and voxels that several tests use, and the slow twin of `Geometry.affine`."""

from dataclasses import replace

import numpy as np
import SimpleITK as sitk
from strategies import rotation

from medtl.volume import Geometry

NOISE = np.random.default_rng(0).integers(1, 1000, (3, 4, 5)).astype(np.int16)
OBLIQUE = Geometry((5, 4, 3), (0.7, 0.8, 2.5), (-12.3, 45.6, 78.9), tuple(rotation((0.2, -0.4, 1.1)).ravel()))
LEFT_HANDED = replace(OBLIQUE, direction=tuple((rotation((0.2, -0.4, 1.1)) * [1, 1, -1]).ravel()))


def voxel_centres(image: sitk.Image) -> np.ndarray:
    """The slow twin of `Geometry.affine`: ITK is asked for each voxel, in the order of the array."""
    x, y, z = image.GetSize()
    order = [(i, j, k) for k in range(z) for j in range(y) for i in range(x)]
    return np.array([image.TransformIndexToPhysicalPoint(index) for index in order])


def centres_of(geometry: Geometry) -> np.ndarray:
    k, j, i = np.indices(geometry.shape).reshape(3, -1)
    return (np.stack([i, j, k, np.ones_like(i)], axis=1) @ geometry.affine.T)[:, :3]
