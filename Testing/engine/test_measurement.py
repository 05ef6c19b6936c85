"""Lesions of a mask: what touches is one, the figures are those of a slow count, the centre lies inside."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import geometries

from medtl import measurement
from medtl.diameters import in_plane, slices_of
from medtl.measurement import DIRECT_VOXELS, lesions, measure, measure_lesions, measure_mask, surface_mm2
from medtl.phantom import head
from medtl.volume import Geometry, Labelmap, Segment

GRID = Geometry((12, 10, 8), (0.5, 1.0, 3.0), (-7.0, 20.0, 3.5))


def mask_of(*voxels: tuple[int, int, int], shape=GRID.shape) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    for voxel in voxels:
        mask[voxel] = True
    return mask


def slow_lesions(mask: np.ndarray, geometry: Geometry) -> list[tuple[float, float, np.ndarray]]:
    """Volume, largest diameter and all voxel centres (LPS mm) of each lesion, by walking from voxel to voxel."""
    left = {tuple(int(n) for n in v) for v in np.argwhere(mask)}
    found = []
    while left:
        lesion, waiting = [], [left.pop()]
        while waiting:
            voxel = waiting.pop()
            lesion.append(voxel)
            near = {v for v in left if max(abs(a - b) for a, b in zip(v, voxel, strict=True)) <= 1}
            left -= near
            waiting += near
        points = np.array([geometry.affine @ [x, y, z, 1] for z, y, x in lesion])[:, :3]
        longest = max((float(np.linalg.norm(a - b)) for a, b in combinations(points, 2)), default=0.0)
        found.append((len(lesion) * float(np.prod(geometry.spacing)) / 1000, longest, points))
    return sorted(found, key=lambda one: -len(one[2]))


def check_against_slow(mask: np.ndarray, geometry: Geometry) -> None:
    fast, slow = lesions(mask, geometry), slow_lesions(mask, geometry)
    assert [one.number for one in fast] == list(range(1, len(slow) + 1))
    assert [one.volume_ml for one in fast] == pytest.approx([ml for ml, _, _ in slow])
    for one in fast:  # lesions of one size may stand in either order
        holding = [(mm, p) for _, mm, p in slow if np.abs(p - one.centre).sum(axis=1).min() < 1e-6]
        assert len(holding) == 1, "the centre is a voxel of exactly one lesion"
        mm, points = holding[0]
        assert one.diameter_mm == pytest.approx(mm, abs=1e-6)
        away = np.linalg.norm(points - points.mean(axis=0), axis=1)
        assert np.linalg.norm(one.centre - points.mean(axis=0)) == pytest.approx(away.min(), abs=1e-6)


def test_a_large_mask_that_is_measured_piece_by_piece_has_the_same_figures(monkeypatch):
    mask = np.random.default_rng(3).random((20, 15, 10)) < 0.4
    mask[:, :8] = True
    grid = Geometry((10, 15, 20), (0.5, 1.0, 3.0))
    whole = lesions(mask, grid)
    monkeypatch.setattr(measurement, "PAIRS", 7)
    assert lesions(mask, grid) == whole


@given(geometry=geometries(), seed=st.integers(0, 10_000), share=st.sampled_from([0.0, 0.05, 0.3, 0.9]))
@settings(max_examples=40, deadline=None)
def test_a_slow_count_finds_the_same_figures(geometry, seed, share):
    shape = tuple(min(n, 7) for n in geometry.shape)
    small = Geometry(shape[::-1], geometry.spacing, geometry.origin, geometry.direction)
    check_against_slow(np.random.default_rng(seed).random(shape) < share, small)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.4, 0.9, 5.0)])
def test_a_slow_count_finds_the_same_figures_of_a_lesion_that_is_not_small(spacing):
    z, y, x = np.ogrid[:9, :11, :13]
    mask = ((z - 4) / 4) ** 2 + ((y - 5) / 5) ** 2 + ((x - 6) / 6) ** 2 < 1 + 0.2 * np.sin(x + 2 * y)
    assert np.count_nonzero(mask) > 4 * DIRECT_VOXELS
    check_against_slow(mask, Geometry((13, 11, 9), spacing))


def test_many_labels_are_measured_in_their_boxes_as_each_in_the_whole_volume():
    random = np.random.default_rng(3)
    array = (random.integers(1, 9, GRID.shape) * (random.random(GRID.shape) < 0.3)).astype(np.uint8)
    array[array == 5] = 0
    covered = np.array([[3, 7], [3, 400]])
    segments = tuple(Segment(value, f"m.{value}", f"Part {value}") for value in (3, 5, 1))
    labelmap = Labelmap(array, GRID, segments, covered=covered)
    found = measure(labelmap)
    assert [one.id for one in found] == ["m.3", "m.5", "m.1", "2", "4", "6", "7", "8"]
    for one, value in zip(found, (3, 5, 1, 2, 4, 6, 7, 8), strict=True):
        mask = labelmap.mask(value)
        assert one.volume_ml == np.count_nonzero(mask) * GRID.voxel_ml
        slow = [(part.volume_ml, part.diameter_mm, part.centre) for part in lesions(mask, GRID)]
        assert [(part.volume_ml, part.diameter_mm, part.centre) for part in one.lesions] == slow


def test_voxels_that_touch_at_a_corner_are_one_lesion():
    (one,) = lesions(mask_of((2, 2, 2), (3, 3, 3)), GRID)
    assert one.diameter_mm == pytest.approx(np.sqrt(0.5**2 + 1 + 3**2))


def test_the_largest_lesion_comes_first():
    found = lesions(mask_of((1, 1, 1), (5, 5, 5), (5, 5, 6), (7, 9, 0)), GRID)
    assert [one.volume_ml for one in found] == pytest.approx([0.003, 0.0015, 0.0015])
    assert [one.number for one in found] == [1, 2, 3]


def test_the_centre_is_the_place_of_a_voxel_in_lps():
    (one,) = lesions(mask_of((2, 3, 4)), GRID)
    assert one.centre == pytest.approx((-7.0 + 4 * 0.5, 20.0 + 3, 3.5 + 2 * 3))
    assert one.diameter_mm == 0.0


def test_the_centre_of_a_ring_lies_on_the_ring():
    y, x = np.mgrid[:41, :41]
    distance = np.hypot(y - 20, x - 20)
    ring = ((distance > 12) & (distance < 16))[None]
    (one,) = lesions(ring, Geometry((41, 41, 1)))
    j, i = round(one.centre[1]), round(one.centre[0])
    assert ring[0, j, i]
    assert 30 < one.diameter_mm < 32


def test_without_real_spacing_there_are_neither_millilitres_nor_millimetres():
    (one,) = lesions(mask_of((2, 3, 4)), GRID, real_spacing=False)
    assert (one.volume_ml, one.diameter_mm) == (None, None)
    assert len(one.centre) == 3


def test_an_empty_mask_has_no_lesions():
    assert lesions(mask_of(), GRID) == ()


def test_a_mask_of_numbers_counts_every_value_above_zero():
    assert len(lesions(mask_of((1, 1, 1), (5, 5, 5)).astype(np.uint16) * 512, GRID)) == 2


def test_a_sphere_has_its_diameter_and_volume():
    z, y, x = np.ogrid[:80, :80, :80]
    (one,) = lesions((z - 40) ** 2 + (y - 40) ** 2 + (x - 40) ** 2 <= 30**2, Geometry((80, 80, 80), (0.5, 0.5, 0.5)))
    assert one.diameter_mm == pytest.approx(30.0)
    assert one.volume_ml == pytest.approx(4 / 3 * np.pi * 15**3 / 1000, rel=0.01)
    assert one.centre == pytest.approx((20.0, 20.0, 20.0))


def test_the_lesion_of_the_phantom_has_the_volume_that_is_known():
    phantom = head(0, size=(96, 96, 12), spacing=(2.3, 2.3, 10.0))
    found = lesions(phantom.labelmap.array, phantom.labelmap.geometry)
    assert sum(one.volume_ml for one in found) == pytest.approx(phantom.lesion_ml)


# The figures of `medtl measure`


def test_every_segment_has_its_lesions_with_all_figures():
    array = np.zeros(GRID.shape, np.uint8)
    array[1:4, 2:6, 3:8] = 1
    array[6, 1:4, 1:5] = 1
    array[6:8, 7:9, 9:11] = 7
    first, second = measure_lesions(Labelmap(array, GRID, (Segment(1, "m.lesion", "Tumour"),)))
    assert (first.id, first.name, second.id, second.name) == ("m.lesion", "Tumour", "7", "7")
    assert first.volume_ml == pytest.approx(72 * GRID.voxel_ml)
    assert [one.number for one in first.lesions] == [1, 2]
    assert [one.voxels for one in first.lesions] == [60, 12]
    slow = lesions(array == 1, GRID)
    assert [(o.volume_ml, o.diameter_mm, o.centre) for o in first.lesions] == [
        (o.volume_ml, o.diameter_mm, o.centre) for o in slow
    ]
    box = np.argwhere(array == 1)[:, ::-1]
    lines = in_plane(box[box[:, 2] < 5], slices_of(GRID))
    assert (first.lesions[0].longest, first.lesions[0].perpendicular) == (lines.longest, lines.perpendicular)
    assert first.lesions[1].slice == 6
    assert second.lesions[0].voxels == 8


def test_small_parts_are_counted_and_not_listed():
    mask = mask_of((0, 0, 0), (0, 0, 1), (3, 3, 3), (6, 6, 2), (6, 6, 3), (6, 6, 4))
    found = measure_mask(mask, GRID)  # voxels of 0.0015 mL: by default from 0.01 mL and 3 voxels on
    assert (len(found.lesions), found.small, found.small_ml) == (0, 3, pytest.approx(0.009))
    assert found.volume_ml == pytest.approx(0.009)
    assert found.centre == lesions(mask, GRID)[0].centre
    found = measure_mask(mask, GRID, min_ml=0.003)  # of just that volume: listed
    assert ([one.voxels for one in found.lesions], found.small, found.small_ml) == ([3, 2], 1, pytest.approx(0.0015))
    assert measure_mask(mask, GRID, min_ml=0).small == 0


def test_two_voxels_are_too_few_however_large_they_are():
    large = Geometry(GRID.size, (3.0, 3.0, 9.0))
    mask = mask_of((0, 0, 0), (0, 0, 1), (4, 4, 4), (4, 4, 5), (4, 5, 4))
    assert [one.voxels for one in measure_mask(mask, large).lesions] == [3]
    assert [one.voxels for one in measure_mask(mask, large, min_ml=0.01).lesions] == [3, 2]


def test_of_ten_thousand_pieces_only_those_that_are_listed_are_measured(monkeypatch):
    mask = np.zeros((44, 44, 44), bool)
    mask[::2, ::2, ::2] = True
    mask[0, 0, :3] = mask[40, 40, 30:33] = True
    measured = []
    monkeypatch.setattr(measurement, "in_plane", lambda *given: measured.append(given) or in_plane(*given))
    found = measure_mask(mask, Geometry((44, 44, 44), (1.5, 1.5, 1.5)))
    assert [one.voxels for one in found.lesions] == [3, 3]
    assert len(measured) == 2
    assert found.small == 22**3 - 4
    assert found.small_ml == pytest.approx(found.small * 1.5**3 / 1000)


def test_without_real_spacing_lesions_are_counted_and_placed_but_not_measured():
    found = measure_mask(mask_of((1, 1, 1), (5, 5, 5), (5, 5, 6), (5, 6, 6)), GRID, real_spacing=False)
    (one,) = found.lesions
    assert (one.voxels, one.number, len(one.centre)) == (3, 1, 3)
    assert {one.volume_ml, one.longest, one.perpendicular, one.slice, one.surface_mm2, one.diameter_mm} == {None}
    assert (found.volume_ml, found.small, found.small_ml) == (None, 1, None)


def test_an_empty_mask_measures_nothing():
    assert measure_mask(mask_of(), GRID) == measurement.MeasuredMask(0.0, (), 0, 0.0, None)
    assert measure_lesions(Labelmap(np.zeros(GRID.shape, np.uint8), GRID)) == ()


def test_a_plane_that_is_named_is_measured_in():
    mask = np.zeros(GRID.shape, bool)
    mask[1:7, 4, 5] = True  # a needle along z
    assert measure_mask(mask, GRID, min_ml=0).lesions[0].longest.mm == pytest.approx(1.0)
    assert measure_mask(mask, GRID, min_ml=0, plane="sagittal").lesions[0].longest.mm == pytest.approx(18.0)


# Surface


def ball(radius: float, spacing: tuple[float, float, float]) -> np.ndarray:
    """The voxels (x, y, z) of a ball that lies beside the grid."""
    x, y, z = (np.arange(-int(radius / mm) - 2, int(radius / mm) + 3) * mm + 0.3 * mm for mm in spacing)
    inside = z[:, None, None] ** 2 + y[None, :, None] ** 2 + x[None, None, :] ** 2 <= radius**2
    return np.argwhere(inside)[:, ::-1].astype(np.int32)


@pytest.mark.parametrize(
    ("radius", "spacing", "error"),
    [
        *((radius, (1.0, 1.0, 1.0), 0.02) for radius in (5, 10, 20, 30)),
        *((radius, (0.5, 0.5, 3.0), 0.12) for radius in (5, 10, 20)),
        *((radius, (3.0, 0.5, 0.5), 0.12) for radius in (5, 10, 20)),
    ],
)
def test_the_surface_of_a_ball_is_right_within_the_error_that_is_stated(radius, spacing, error):
    assert surface_mm2(ball(radius, spacing), spacing) == pytest.approx(4 * np.pi * radius**2, rel=error)


@pytest.mark.parametrize(
    ("side", "spacing", "least", "most"),
    [
        (10, (1.0, 1.0, 1.0), 0.87, 0.9),
        (30, (1.0, 1.0, 1.0), 0.9, 0.92),
        (10, (0.5, 0.5, 3.0), 0.55, 0.7),
    ],
)
def test_the_surface_of_a_box_is_underestimated_as_stated(side, spacing, least, most):
    box = np.argwhere(np.ones((side,) * 3, bool)).astype(np.int32) + 7
    a, b, c = (side * mm for mm in spacing)
    assert least <= surface_mm2(box, spacing) / (2 * (a * b + b * c + c * a)) <= most


def test_the_surface_does_not_depend_on_the_order_or_direction_of_the_axes():
    voxels = np.argwhere(np.random.default_rng(0).random((6, 7, 8)) < 0.6).astype(np.int32)
    one = surface_mm2(voxels, (0.5, 0.9, 3.0))
    assert surface_mm2(voxels[:, [2, 0, 1]], (3.0, 0.5, 0.9)) == pytest.approx(one)
    assert surface_mm2(20 - voxels, (0.5, 0.9, 3.0)) == pytest.approx(one)


def test_of_many_lesions_the_largest_are_measured_and_the_others_counted():
    mask = mask_of((1, 1, 1), (5, 5, 5), (5, 5, 6), (5, 6, 6))
    all_of_them = measure_mask(mask, GRID, min_ml=0)
    found = measure_mask(mask, GRID, min_ml=0, most=1)
    assert found.lesions == all_of_them.lesions[:1]
    assert (found.small, found.volume_ml, found.centre) == (1, all_of_them.volume_ml, all_of_them.centre)
    assert found.small_ml == pytest.approx(all_of_them.lesions[1].volume_ml)
    assert measure_mask(mask, GRID, min_ml=0, most=2) == all_of_them
