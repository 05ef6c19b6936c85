"""Resampling by one matrix an axis gives what scipy's `zoom`, or MONAI's `Spacing`, of the whole array gives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import Spacing
from scipy import ndimage
from scipy.spatial.transform import Rotation

from medtl.windows.resampling import (
    along,
    new_shape,
    point_taps,
    points_of,
    resample,
    resample_points,
    spline_matrix,
    taps,
    thick_axis,
)

SIDES = st.tuples(*(st.integers(1, 14),) * 3)


@given(SIDES, SIDES, st.sampled_from((0, 1, 3)), st.integers(0, 99))
def test_the_matrices_give_the_values_of_zoom(old, new, order, seed):
    array = np.random.default_rng(seed).normal(size=old).astype(np.float32)
    slow = ndimage.zoom(array.astype(float), np.divide(new, old), order=order, mode="nearest", grid_mode=True)
    assert slow.shape == new
    np.testing.assert_allclose(resample(array, new, order, None, 0), np.clip(slow, array.min(), array.max()), atol=1e-5)


@given(SIDES, SIDES, st.integers(0, 2), st.sampled_from((0, 1)), st.integers(0, 99))
def test_thick_slices_are_resampled_one_by_one(old, new, thick, thick_order, seed):
    array = np.random.default_rng(seed).normal(size=old).astype(np.float32)
    slices = []
    for one in np.moveaxis(array.astype(float), thick, 0):
        factors = np.divide(np.delete(new, thick), one.shape)
        slow = ndimage.zoom(one, factors, order=3, mode="nearest", grid_mode=True)
        slices.append(np.clip(slow, one.min(), one.max()))
    places = (np.arange(new[thick]) + 0.5) * old[thick] / new[thick] - 0.5
    stacked = np.stack(slices, -1)
    grid = np.meshgrid(*map(np.arange, stacked.shape[:2]), places, indexing="ij")
    slow = ndimage.map_coordinates(stacked, grid, order=thick_order, mode="nearest")
    fast = resample(array, new, 3, thick, thick_order)
    np.testing.assert_allclose(fast, np.moveaxis(slow, -1, thick), atol=1e-5)


@given(st.integers(1, 40), st.integers(1, 40), st.booleans(), st.integers(0, 1))
def test_taps_are_the_matrix_in_short(old, new, thick, order):
    short = taps(old, new, order, thick)
    np.testing.assert_allclose(short.matrix(old), spline_matrix(old, new, order, thick), atol=1e-6)
    assert (np.diff(short.low) >= 0).all()
    assert (short.high - short.low <= 1).all()


def test_along_multiplies_each_line():
    array = np.arange(24.0).reshape(2, 3, 4)
    doubled = along(np.array([[0, 2, 0], [1, 0, 1]]), array, 1)
    np.testing.assert_array_equal(doubled[1, :, 2], [2 * array[1, 1, 2], array[1, 0, 2] + array[1, 2, 2]])


def test_the_new_grid_keeps_the_extent_and_has_a_voxel_at_least():
    assert new_shape((155, 240, 240), (1, 1, 1), (2, 2, 2)) == (78, 120, 120)
    assert new_shape((1, 3, 10), (1, 1, 1), (9, 9, 2.5)) == (1, 1, 4)


@pytest.mark.parametrize(
    ("spacing", "wanted", "ratio", "axis"),
    [
        ((5.0, 1.0, 1.0), (2.0, 1.0, 1.0), 3.0, 0),
        ((1.0, 1.0, 3.0), (1.0, 1.0, 3.0), 3.0, None),  # just the ratio is not more
        ((1.0, 1.0, 1.0), (1.0, 6.0, 1.5), 3.0, 1),
        ((0.24, 1.25, 1.25), (1.0, 1.0, 1.0), 3.0, None),  # two axes are as long
        ((5.0, 1.0, 1.0), (5.0, 1.0, 1.0), None, None),
    ],
)
def test_the_axis_of_thick_slices(spacing, wanted, ratio, axis):
    assert thick_axis(spacing, wanted, ratio) == axis


@given(
    SIDES,
    st.tuples(*(st.sampled_from((0.7, 1.0, 1.0004, 2.3)),) * 3),
    st.sampled_from([(0, 0, 0), (0.1, -0.2, 0.3)]),
    st.integers(0, 99),
)
def test_points_are_those_of_monai_there_and_back(shape, spacing, angles, seed):
    array = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", angles).as_matrix()
    affine[:3, :3] = (turn * spacing).astype(
        np.float32
    )  # as files hold it: rounded, so oblique axes are not orthogonal
    affine[:3, 3] = -31, 17, 5
    resampler = Spacing((1.0, 1.6, 0.9))
    there = resampler(MetaTensor(array[None].copy(), affine=affine))
    grid = points_of(shape, affine, (1.0, 1.6, 0.9))
    assert grid.shape == tuple(there.shape[1:])
    np.testing.assert_array_equal(resample_points(array, affine, (1.0, 1.6, 0.9)), np.asarray(there[0]))
    back = np.asarray(there[0])
    for axis, (start, step) in enumerate(zip(grid.starts, grid.steps, strict=True)):
        size = grid.shape[axis]
        back = along(point_taps(size, shape[axis], -start / step, 1 / step, 1).matrix(size), back, axis)
    np.testing.assert_allclose(back, np.asarray(resampler.inverse(there)[0]), atol=1e-4)


def test_the_nearest_voxel_is_taken_whole():
    nearest = point_taps(3, 5, 0.0, 0.6, 0)
    np.testing.assert_array_equal(nearest.low, [0, 1, 1, 2, 2])  # 0, 0.6, 1.2, 1.8 and 2.4, which is behind the last
    np.testing.assert_array_equal(nearest.low, nearest.high)
    assert not nearest.weight.any()
