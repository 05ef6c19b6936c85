"""Every voxel lies where ITK puts it, and grids are compared by one rule."""

from dataclasses import replace

import numpy as np
import pytest
from grids import OBLIQUE, centres_of, voxel_centres
from hypothesis import given
from hypothesis import strategies as st
from strategies import geometries

from medtl import volume
from medtl.errors import InputError
from medtl.volume import (
    Geometry,
    check_same_grid,
    flipped,
    geometry_of,
    label_boxes,
    reversed_along,
    reversed_axes,
    to_sitk,
    voxel_counts,
)


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


@pytest.mark.parametrize(
    "spacing", [(0, 1, 1), (1, -1, 1), (1, 1, float("nan")), (1e30, 1, 1), (1, float("inf"), 1), (1, 1e-9, 1)]
)
def test_a_spacing_that_is_not_above_zero_is_refused(spacing: tuple[float, float, float]) -> None:
    with pytest.raises(InputError, match="spacings above 0 mm"):
        Geometry((1, 1, 1), spacing)


def test_a_voxel_of_a_millimetre_is_a_thousandth_of_a_millilitre() -> None:
    assert Geometry((9, 9, 9)).voxel_ml == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("spacing", "size", "shift", "same"),
    [
        (1.0, 256, 0.006, True),  # directions of 4 decimals
        (1.0, 256, 0.02, True),
        (1.0, 256, 0.1, False),
        (1.0, 5, 2e-6, True),  # 32-bit numbers
        (1.0, 5, 0.01, False),
        (0.001, 5, 5e-4, False),  # half a voxel of a microscope
    ],
)
def test_grids_of_two_files_are_the_same_within_what_formats_round(
    spacing: float, size: int, shift: float, same: bool
) -> None:
    grid = Geometry((size, size, 3), (spacing, spacing, spacing))
    assert grid.close_to(replace(grid, origin=(shift, 0.0, 0.0))) is same


def test_the_tolerance_is_never_more_than_a_fifth_of_a_voxel() -> None:
    assert Geometry((9000, 9, 9), (0.5, 1.0, 2.0)).tolerance == pytest.approx(0.1)


@pytest.mark.parametrize("origin", [(float("nan"), 0, 0), (0, float("inf"), 0), (0, 0, 1e30)])
def test_an_origin_that_cannot_be_is_refused(origin: tuple[float, float, float]) -> None:
    with pytest.raises(InputError, match="an origin within"):
        Geometry((1, 1, 1), origin=origin)


def test_another_grid_is_told_with_the_distance_or_the_sizes() -> None:
    grid = Geometry((5, 4, 3))
    check_same_grid(grid, replace(grid, origin=(1e-4, 0.0, 0.0)), "a.nrrd", "b.nrrd")
    with pytest.raises(InputError, match=r"a\.nrrd on the grid of b\.nrrd, found voxels up to 3 mm beside those"):
        check_same_grid(grid, replace(grid, origin=(0.0, 3.0, 0.0)), "a.nrrd", "b.nrrd")
    with pytest.raises(InputError, match="found 5 × 4 × 2 voxels beside 5 × 4 × 3"):
        check_same_grid(replace(grid, size=(5, 4, 2)), grid, "a.nrrd", "b.nrrd")


def slow_boxes(labels: np.ndarray) -> dict[int, tuple[slice, ...]]:
    """The box around each value, by looking at the whole volume for each."""
    boxes = {}
    for value in np.unique(labels[labels != 0]):
        there = np.argwhere(labels == value)
        ends = zip(there.min(axis=0), there.max(axis=0), strict=True)
        boxes[int(value)] = tuple(slice(int(first), int(last) + 1) for first, last in ends)
    return boxes


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 4, 5), (2, 1, 6), (2, 6, 1), (7, 3, 1), (0, 3, 3)])
@pytest.mark.parametrize("values", [2, 4, 300])
@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_boxes_of_labels_are_those_of_a_slow_search(shape, values, share):
    random = np.random.default_rng(values)
    for _ in range(5):
        labels = random.integers(1, values, shape).astype(np.uint16) * (random.random(shape) < share)
        assert label_boxes(labels) == slow_boxes(labels)


@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_voxels_are_counted_by_value_piece_by_piece(at_once, monkeypatch):
    monkeypatch.setattr(volume, "COUNTED", at_once)
    numbers = np.random.default_rng(1).integers(0, 5, (3, 4, 5)).astype(np.uint8) * 3
    np.testing.assert_array_equal(voxel_counts(numbers), np.bincount(numbers.ravel()))
    np.testing.assert_array_equal(voxel_counts(np.zeros((2, 2, 0), np.uint8)), [0])


@given(geometries(), st.sets(st.integers(0, 2)))
def test_a_grid_counted_backwards_has_every_voxel_where_it_was(geometry, axes):
    back = reversed_along(geometry, sorted(axes))
    numbers = np.arange(np.prod(geometry.size)).reshape(geometry.shape)
    turned = flipped(numbers, sorted(axes))
    for index in {(0, 0, 0), tuple(n - 1 for n in geometry.shape), tuple(n // 2 for n in geometry.shape)}:
        z, y, x = (int(n[0]) for n in np.nonzero(turned == numbers[index]))
        place = geometry.affine @ (*index[::-1], 1.0)
        np.testing.assert_allclose(back.affine @ (x, y, z, 1.0), place, atol=1e-6)
    np.testing.assert_array_equal(flipped(turned, sorted(axes)), numbers)


@given(geometries(), st.sets(st.integers(0, 2)))
def test_the_reversal_between_two_grids_is_found(geometry, axes):
    other = reversed_along(geometry, sorted(axes))
    assert reversed_along(geometry, reversed_axes(geometry, other)).close_to(other)
    assert reversed_axes(geometry, replace(other, origin=(1e5, 0.0, 0.0))) is None
