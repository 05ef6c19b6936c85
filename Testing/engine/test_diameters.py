"""The two diameters of a lesion in a slice: those of a slow search, and the same on every grid of the same body."""

from dataclasses import replace
from itertools import combinations, permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import geometries, rotation

from medtl import diameters
from medtl.diameters import in_plane, measuring_axis, outline, plane_of, regions, slices_of
from medtl.planes import PLANES
from medtl.volume import Geometry

THICK = Geometry((12, 10, 8), (0.5, 0.7, 3.0), (-7.0, 20.0, 3.5))
BACK = ((0, -1), (0, 1), (-1, 0), (1, 0))


def indices_of(mask: np.ndarray) -> np.ndarray:
    """The voxels (x, y, z) of a mask (Z, Y, X)."""
    return np.argwhere(mask)[:, ::-1].astype(np.int32)


def slow_regions(pixels: set[tuple[int, int]]) -> list[set[tuple[int, int]]]:
    """The pixels that touch, at a side or a corner, by walking from pixel to pixel."""
    left, found = set(pixels), []
    while left:
        region, waiting = set(), [left.pop()]
        while waiting:
            one = waiting.pop()
            region.add(one)
            near = {p for p in left if max(abs(p[0] - one[0]), abs(p[1] - one[1])) <= 1}
            left -= near
            waiting += near
        found.append(region)
    return found


def slow_cells(region: set[tuple[int, int]]) -> list[list[tuple[float, float]]]:
    """What the outline encloses, in pieces without dents: in each square of four voxel centres the centres inside, and
    the middles between one inside and one outside."""
    cells = []
    for row, column in {(r - dr, c - dc) for r, c in region for dr in (0, 1) for dc in (0, 1)}:
        corners = [(row + dr, column + dc) for dr, dc in product((0, 1), repeat=2)]
        cell: list[tuple[float, float]] = [corner for corner in corners if corner in region]
        for one, other in combinations(corners, 2):
            side = abs(one[0] - other[0]) + abs(one[1] - other[1]) == 1
            if side and (one in region) != (other in region):
                cell.append(((one[0] + other[0]) / 2, (one[1] + other[1]) / 2))
        cells.append(cell)
    return cells


def slow_chord(lines: np.ndarray, along: np.ndarray) -> float:
    """The longest distance at a right angle to a direction between two points of these lines, (n, 2 ends, 2) in mm."""
    places, heights = lines @ along, lines @ np.array((-along[1], along[0]))
    turned = places[:, 0] > places[:, 1]
    places[turned], heights[turned] = places[turned, ::-1], heights[turned, ::-1]
    best = 0.0
    for place in np.unique(places.round(9)):
        met = (places[:, 0] - 1e-7 <= place) & (place <= places[:, 1] + 1e-7)
        run = places[met, 1] - places[met, 0]
        upright = run < 1e-7
        share = np.where(upright, 0.0, (place - places[met, 0]) / np.where(upright, 1.0, run))
        low, high = heights[met].T
        there = [*(low + share * (high - low)), *high[upright]]
        best = max(best, max(there) - min(there))
    return best


def slow_in_plane(mask: np.ndarray, geometry: Geometry, axis: int) -> tuple[float, float]:
    """Longest diameter and perpendicular, mm: all pairs of all slices."""
    others = [other for other in range(3) if other != axis]
    mm = np.array(geometry.spacing)[others]
    longest, width = 0.0, 0.0
    by_slice: dict[int, set[tuple[int, int]]] = {}
    for voxel in indices_of(mask).tolist():
        by_slice.setdefault(voxel[axis], set()).add((voxel[others[0]], voxel[others[1]]))
    for pixels in by_slice.values():
        for region in slow_regions(pixels):
            lines = np.array([pair for cell in slow_cells(region) for pair in combinations(cell, 2)]) * mm
            ends = [
                (np.array((row, column)) + np.array(step) / 2) * mm
                for row, column in region
                for step in BACK
                if (row + step[0], column + step[1]) not in region
            ]
            for p, q in combinations(ends, 2):
                length = float(np.linalg.norm(p - q))
                if length > longest + 1e-7:
                    longest, width = length, 0.0
                if length > longest - 1e-7:
                    width = max(width, slow_chord(lines, (q - p) / length))
    return longest, width


def check_against_slow(mask: np.ndarray, geometry: Geometry, plane: str | None = None) -> None:
    slices = slices_of(geometry, plane)
    found = in_plane(indices_of(mask), slices)
    longest, width = slow_in_plane(mask, geometry, slices.axis)
    assert found.longest.mm == pytest.approx(longest, abs=1e-5)
    assert found.perpendicular.mm == pytest.approx(width, abs=1e-5)
    check_lines(found, mask, geometry, slices.axis)


def check_lines(found, mask: np.ndarray, geometry: Geometry, axis: int) -> None:
    """The lines have their lengths, lie in their slice and at a right angle, and end at voxels of the lesion."""
    ends = np.array((*found.longest.ends, *found.perpendicular.ends))
    index = (np.linalg.inv(geometry.affine) @ np.column_stack([ends, np.ones(4)]).T).T[:, :3]
    np.testing.assert_allclose(index[:, axis], found.slice, atol=1e-5)
    along, across = ends[1] - ends[0], ends[3] - ends[2]
    assert np.linalg.norm(along) == pytest.approx(found.longest.mm, abs=1e-6)
    assert np.linalg.norm(across) == pytest.approx(found.perpendicular.mm, abs=1e-6)
    assert abs(along @ across) < 1e-6 * max(1.0, found.longest.mm**2)
    lesion = indices_of(mask)
    near = 0.75 + 1e-5  # of a voxel: half a one, and 0.75 beside the joint of two that touch at a corner
    assert all(np.abs(lesion - one).max(axis=1).min() <= near for one in index)


@given(
    geometry=geometries(),
    seed=st.integers(0, 10_000),
    share=st.sampled_from([0.2, 0.5, 0.9]),
    plane=st.sampled_from([None, *PLANES]),
)
@settings(max_examples=25, deadline=None)
def test_a_slow_search_finds_the_same_diameters_on_any_grid(geometry, seed, share, plane):
    size = tuple(min(n, 5) for n in geometry.size)
    small = replace(geometry, size=size)
    mask = np.random.default_rng(seed).random(small.shape) < share
    mask.flat[0] = True
    check_against_slow(mask, small, plane)


@pytest.mark.parametrize("seed", range(4))
def test_a_slow_search_finds_the_same_diameters_of_a_lesion_that_is_not_small(seed):
    random = np.random.default_rng(seed)
    z, y, x = np.ogrid[:3, :13, :15]
    wave = 0.5 * np.sin(random.uniform(0.3, 1.2) * x + random.uniform(0.3, 1.2) * y + z)
    mask = ((z - 1) / 2) ** 2 + ((y - 6) / 6) ** 2 + ((x - 7) / 7) ** 2 < 0.8 + wave
    assert np.count_nonzero(mask) > 100
    check_against_slow(mask, Geometry((15, 13, 3), (0.9, 0.7, 4.0)))


def test_work_done_in_pieces_gives_the_same(monkeypatch):
    z, y, x = np.ogrid[:4, :40, :50]
    mask = ((z - 2) / 2) ** 2 + ((y - 20) / 18) ** 2 + ((x - 25) / 23) ** 2 < 1 + 0.3 * np.sin(x + y)
    slices = slices_of(Geometry((50, 40, 4), (0.5, 0.5, 5.0)))
    whole = in_plane(indices_of(mask), slices)
    monkeypatch.setattr(diameters, "PAIRS", 7)
    monkeypatch.setattr(diameters, "FEW", 4)
    assert in_plane(indices_of(mask), slices) == whole


@given(
    seed=st.integers(0, 1000),
    order=st.permutations(range(3)),
    flips=st.tuples(*[st.booleans()] * 3),
    angles=st.tuples(*[st.floats(-0.3, 0.3)] * 3),
)
@settings(max_examples=25, deadline=None)
def test_the_same_body_on_turned_and_mirrored_grids_has_the_same_diameters_in_the_world(seed, order, flips, angles):
    """Axes in another order or direction, and the whole turned in space: lengths are equal, ends where they were."""
    mask = np.random.default_rng(seed).random((4, 7, 6)) < 0.6
    mask[2, 3, :5] = True
    geometry = Geometry((6, 7, 4), (0.8, 0.8, 4.0), (3.0, -8.0, 11.0), tuple(rotation(angles).ravel()))
    first = in_plane(indices_of(mask), slices_of(geometry))
    turned = np.transpose(mask, [2 - axis for axis in order][::-1])
    axes, spacing = geometry.axes[:, list(order)], [geometry.spacing[axis] for axis in order]
    origin = np.array(geometry.origin)
    for axis, flip in enumerate(flips):
        if flip:
            turned = np.flip(turned, 2 - axis)
            origin = origin + axes[:, axis] * spacing[axis] * (turned.shape[2 - axis] - 1)
            axes = axes * np.where(np.arange(3) == axis, -1, 1)
    other = Geometry(turned.shape[::-1], tuple(spacing), tuple(origin), tuple(axes.ravel()))
    second = in_plane(indices_of(turned), slices_of(other))
    assert second.longest.mm == pytest.approx(first.longest.mm)
    assert second.perpendicular.mm == pytest.approx(first.perpendicular.mm)
    check_lines(second, turned, other, measuring_axis(other))


def test_a_single_voxel_is_as_long_as_it_is_wide():
    mask = np.zeros(THICK.shape, bool)
    mask[4, 3, 2] = True
    found = in_plane(indices_of(mask), slices_of(THICK))
    assert (found.longest.mm, found.perpendicular.mm, found.slice) == pytest.approx((0.7, 0.5, 4))
    assert sorted(found.longest.ends) == [
        pytest.approx((-6.0, 20 + 2.5 * 0.7, 15.5)),
        pytest.approx((-6.0, 20 + 3.5 * 0.7, 15.5)),
    ]


def test_a_box_has_its_diagonal_less_the_cut_corner():
    """The outline cuts a corner between the middles of two sides, so of 10 × 6 pixels the ends lie half a pixel in."""
    mask = np.zeros((3, 12, 14), bool)
    mask[1, 2:8, 2:12] = True
    found = in_plane(indices_of(mask), slices_of(Geometry((14, 12, 3), (1.0, 1.0, 5.0))))
    assert found.longest.mm == pytest.approx(np.hypot(10, 5))


def test_a_disc_has_its_diameter_both_ways():
    y, x = np.ogrid[:101, :101]
    disc = ((y - 50) ** 2 + (x - 50) ** 2 <= 40**2)[None]
    found = in_plane(indices_of(disc), slices_of(Geometry((101, 101, 1), (0.5, 0.5, 5.0))))
    assert found.longest.mm == pytest.approx(40, abs=1)
    assert found.perpendicular.mm == pytest.approx(40, abs=1)


def test_the_slice_is_that_where_it_is_longest_not_where_the_lesion_is_largest():
    mask = np.zeros((5, 20, 20), bool)
    mask[1, 4:12, 4:12] = True
    mask[2, 8, 8] = True
    mask[3, 8, 1:19] = True
    assert in_plane(indices_of(mask), slices_of(Geometry((20, 20, 5), (1.0, 1.0, 3.0)))).slice == 3


def test_two_parts_in_a_slice_are_not_measured_as_one():
    """A horseshoe that is closed in another slice: in its own slice it is two regions."""
    mask = np.zeros((2, 5, 30), bool)
    mask[0, 2, 2:6] = mask[0, 2, 20:25] = True
    mask[1, 2, 2:25] = True
    slices = slices_of(Geometry((30, 5, 2), (1.0, 1.0, 5.0)))
    assert in_plane(indices_of(mask[:1]), slices).longest.mm == pytest.approx(5)
    assert in_plane(indices_of(mask), slices).longest.mm == pytest.approx(23)


def test_pixels_that_touch_at_a_corner_are_one_region():
    plane = np.eye(4, dtype=bool)
    assert len(list(regions(plane))) == 1
    lines = outline(plane)
    ends, counts = np.unique(lines.reshape(-1, 2), axis=0, return_counts=True)
    assert (counts == 2).all()  # a closed line
    assert len(ends) == 16


@pytest.mark.parametrize(
    ("spacing", "axis"),
    [
        ((0.5, 0.5, 6.0), 2),
        ((0.7, 0.7, 0.5), 2),  # thin slices: the pixels are the larger side
        ((4.0, 0.9, 0.9), 0),
        ((0.9, 5.0, 0.9), 1),
        ((0.5, 0.6, 3.0), 2),
        ((1.0, 1.0, 1.0), 2),
        ((1.0, 1.02, 1.0), 2),
    ],
)
def test_the_slices_are_those_of_the_image_where_its_spacing_tells_them(spacing, axis):
    assert measuring_axis(Geometry((9, 9, 9), spacing)) == axis


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_where_the_spacing_tells_nothing_the_slices_are_axial_however_the_axes_are_stored(order):
    geometry = Geometry((9, 9, 9), direction=tuple(np.eye(3)[:, list(order)].ravel()))
    axis = measuring_axis(geometry)
    assert order[axis] == 2
    assert plane_of(geometry, axis) == "axial"


@pytest.mark.parametrize("plane", PLANES)
def test_a_plane_that_is_named_counts_and_is_named_again(plane):
    turn = Geometry((9, 9, 9), (0.5, 0.5, 6.0), direction=tuple(rotation((0.2, -0.3, 0.1)).ravel()))
    assert plane_of(turn, measuring_axis(turn, plane)) == plane
