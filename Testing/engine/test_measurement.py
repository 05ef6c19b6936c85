"""Lesions of a mask: what touches is one, the figures are those of a slow count, the centre lies inside."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import geometries

from medtl import measurement
from medtl.measurement import DIRECT_VOXELS, lesions, measure
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
