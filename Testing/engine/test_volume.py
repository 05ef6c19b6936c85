"""Every voxel lies where ITK puts it, and grids are compared by one rule."""

from dataclasses import replace

import numpy as np
import pytest
from grids import OBLIQUE, centres_of, voxel_centres
from hypothesis import given
from hypothesis import strategies as st
from strategies import geometries

from medtl.errors import InputError
from medtl.volume import Geometry, geometry_of, to_sitk


@given(geometries())
def test_every_voxel_lies_where_itk_puts_it(geometry: Geometry) -> None:
    image = to_sitk(np.zeros(geometry.shape, np.uint8), geometry)
    np.testing.assert_allclose(centres_of(geometry), voxel_centres(image), atol=1e-9)
    assert geometry_of(image).close_to(geometry, mm=1e-9)


@given(geometries())
def test_index_to_mm_to_index_is_identity(geometry: Geometry) -> None:
    index = np.append(np.array(geometry.size) - 1.0, 1.0)
    np.testing.assert_allclose(np.linalg.inv(geometry.affine) @ geometry.affine @ index, index, atol=1e-9)


@given(geometries(), st.floats(0.01, 5))
def test_a_shifted_grid_is_close_only_within_the_tolerance(geometry: Geometry, shift: float) -> None:
    moved = replace(geometry, origin=(geometry.origin[0] + shift, *geometry.origin[1:]))
    assert geometry.close_to(moved, mm=1.01 * shift)
    assert not geometry.close_to(moved, mm=0.99 * shift)


def test_grids_of_other_size_are_never_close() -> None:
    assert not OBLIQUE.close_to(replace(OBLIQUE, size=(5, 4, 2)), mm=1e6)


@pytest.mark.parametrize("spacing", [(0.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, 1.0, float("nan"))])
def test_a_spacing_that_is_not_above_zero_is_refused(spacing: tuple[float, float, float]) -> None:
    with pytest.raises(InputError, match="spacings above 0 mm"):
        Geometry((1, 1, 1), spacing)


def test_a_voxel_of_a_millimetre_is_a_thousandth_of_a_millilitre() -> None:
    assert Geometry((9, 9, 9)).voxel_ml == pytest.approx(0.001)
