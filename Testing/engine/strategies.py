"""Hypothesis strategies: any voxel grid that a scanner, a converter or a user may produce."""

import numpy as np
from hypothesis import strategies as st

from medtl.volume import Geometry, Volume

_ANGLES = st.floats(-3.1, 3.1)
_MM = st.floats(-250, 250)
_SPACINGS = st.floats(0.3, 6)


def rotation(angles: tuple[float, float, float]) -> np.ndarray:
    """The rotation about x, then y, then z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [i for i in range(3) if i != axis]
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


@st.composite
def geometries(draw: st.DrawFn, largest: int = 12) -> Geometry:
    """Grids of 1 to `largest` voxels an axis: anisotropic, oblique or not, axes permuted and flipped, either hand."""
    sizes = st.integers(1, largest)
    oblique = draw(st.booleans())
    matrix = rotation(draw(st.tuples(_ANGLES, _ANGLES, _ANGLES))) if oblique else np.eye(3)
    flips = np.array(draw(st.tuples(*(st.sampled_from([-1.0, 1.0]) for _ in range(3)))))
    order = draw(st.permutations(range(3)))
    matrix = (matrix * flips)[:, order]
    return Geometry(
        draw(st.tuples(sizes, sizes, sizes)),
        draw(st.tuples(_SPACINGS, _SPACINGS, _SPACINGS)),
        draw(st.tuples(_MM, _MM, _MM)),
        tuple(float(v) for v in matrix.ravel()),
    )


@st.composite
def volumes(draw: st.DrawFn, dtypes: tuple[str, ...] = ("uint8", "int16", "int32", "float32", "float64")) -> Volume:
    """Volumes of noise in one of `dtypes`, never of one value only where there is more than one voxel."""
    geometry = draw(geometries())
    dtype = draw(st.sampled_from(dtypes))
    noise = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).integers(0, 200, geometry.shape)
    noise.flat[0], noise.flat[-1] = 200, 201
    return Volume(noise.astype(dtype), geometry)
