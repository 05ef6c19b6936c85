"""Rigid registration: a moved copy is found, wrong pairs are known by their similarity, and it can be cancelled."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from strategies import rotation

from medtl.errors import Cancelled, InputError
from medtl.phantom import head
from medtl.registration import POOR, mutual_information, reduced, register, similarity_of
from medtl.volume import Geometry, Volume

HEAD = head(1, (80, 80, 20), (2.5, 2.5, 6.0)).volume
WITHIN_MM = 1.0
TURNS, SHIFTS = st.floats(-0.25, 0.25), st.floats(-40, 40)


def moved(volume: Volume, matrix: np.ndarray) -> Volume:
    """The same voxels on a grid that was moved."""
    geometry, affine = volume.geometry, matrix @ volume.geometry.affine
    direction = tuple((matrix[:3, :3] @ geometry.axes).ravel())
    return replace(volume, geometry=Geometry(geometry.size, geometry.spacing, tuple(affine[:3, 3]), direction))


def farthest(matrix: np.ndarray, truth: np.ndarray, geometry: Geometry) -> float:
    """The largest distance, mm, between where both bring a point in the middle half of the image."""
    corners = np.array(list(itertools.product((0.25, 0.75), repeat=3))) * (np.array(geometry.size) - 1)
    points = np.column_stack([corners, np.ones(8)]) @ geometry.affine.T
    return float(np.linalg.norm(points @ (matrix - truth).T, axis=1).max())


def blobs(seed: int, geometry: Geometry) -> Volume:
    """Soft structures in a ball: another seed is another body."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=geometry.shape), 2.0)
    place = np.indices(geometry.shape)
    away = sum(((p - (n - 1) / 2) / (n / 2.2)) ** 2 for p, n in zip(place, geometry.shape))
    return Volume(np.where(away < 1, 100 + 40 * noise / noise.std(), 0).astype(np.float32), geometry)


GRID = Geometry((40, 40, 40), (4.0, 4.0, 4.0))


@pytest.mark.slow
@settings(max_examples=5, deadline=None)
@given(st.tuples(TURNS, TURNS, TURNS), st.tuples(SHIFTS, SHIFTS, SHIFTS))
@example((0.0, 0.0, -0.25), (0.0, 0.0, 1.0))
@example((0.0, -0.046875, 0.25), (0.0, 0.0, 1.0))  # a turn about the axis that a head is nearly round about
def test_a_moved_copy_is_found(angles, shift):
    truth = np.eye(4)
    truth[:3, :3], truth[:3, 3] = rotation(angles), shift
    found = register(HEAD, moved(HEAD, truth))
    assert farthest(found.matrix, truth, HEAD.geometry) < WITHIN_MM
    assert not found.poor


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "spacing", "direction"),
    [
        ((100, 60, 24), (2.0, 3.5, 5.0), (0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)),  # rows and columns exchanged
        ((80, 80, 20), (2.5, 2.5, 6.0), (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)),  # left-handed
        ((60, 40, 60), (3.0, 5.0, 3.0), tuple(rotation((0.1, 0.4, -0.2)).ravel())),  # oblique, coronal slices
    ],
    ids=["permuted", "mirrored", "oblique"],
)
def test_the_same_head_on_another_grid_lies_where_it_is(size, spacing, direction):
    other = head(1, size, spacing, direction).volume
    found = register(HEAD, other)
    assert farthest(found.matrix, np.eye(4), HEAD.geometry) < WITHIN_MM
    assert not found.poor


def test_two_different_bodies_are_poor_and_one_body_is_not():
    one, other = blobs(1, GRID), blobs(2, GRID)
    assert register(one, other).poor
    inverted = replace(one, array=np.where(one.array > 0, 300 - one.array, 0).astype(np.float32))
    found = register(one, inverted)  # as another sequence shows it
    assert not found.poor
    assert farthest(found.matrix, np.eye(4), GRID) < WITHIN_MM


def test_the_similarity_is_highest_at_the_right_place_and_low_beside_it():
    image = reduced(blobs(1, GRID))

    def at(x: float) -> float:
        return similarity_of(image, image, sitk.TranslationTransform(3, (x, 0.0, 0.0)))

    assert at(0.0) > 0.5
    assert at(0.0) > at(5.0) > at(20.0)
    assert at(20.0) < POOR
    assert at(500.0) == 0.0  # no voxel of one lies in the other


def test_mutual_information_is_that_of_the_histogram():
    """The slow twin: levels and entropies by loops."""
    one, other = (reduced(blobs(seed, Geometry((20, 20, 20), (4.0, 4.0, 4.0)))) for seed in (1, 2))
    first, second = (sitk.GetArrayFromImage(each) for each in (one, other))
    body = (first > 0.1 * first.max()) | (second > 0.1 * second.max())
    levels = []
    for values in (first[body], second[body]):
        borders = np.quantile(values, np.linspace(0, 1, 33)[1:-1])
        levels.append([sum(value > border for border in borders) for value in values])
    n, sums = len(levels[0]), 0.0
    pairs = list(zip(*levels))
    for a, b in set(pairs):
        share = pairs.count((a, b)) / n
        sums += share * np.log(share * n * n / (levels[0].count(a) * levels[1].count(b)))
    assert mutual_information(one, other, sitk.Transform()) == pytest.approx(sums - 31**2 / (2 * n), abs=1e-9)


def test_the_same_images_give_the_same_matrix():
    small = blobs(3, Geometry((24, 24, 24), (4.0, 4.0, 4.0)))
    first, second = (register(small, replace(small, array=small.array * 2)) for _ in range(2))
    # The threads of the optimiser add up in any order.
    np.testing.assert_allclose(first.matrix, second.matrix, atol=1e-6)


def test_a_cancelled_registration_stops_at_once():
    calls = []

    def cancel(stage: str, fraction: float) -> None:
        calls.append((stage, fraction))
        if fraction > 0:
            raise Cancelled("stop")

    with pytest.raises(Cancelled, match="stop"):
        register(blobs(1, GRID), blobs(1, GRID), cancel)
    assert len(calls) == 2  # none after the one that raised


def test_progress_rises_to_one():
    fractions = []
    register(blobs(1, GRID), blobs(1, GRID), lambda stage, fraction: fractions.append(fraction))
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"real_spacing": False}, "without it there are no millimetres"),
        ({"array": blobs(1, GRID).array[:3], "geometry": replace(GRID, size=(40, 40, 3))}, "20 mm or more"),
        ({"array": np.full(GRID.shape, np.nan, np.float32)}, "finite voxels"),
    ],
    ids=["no spacing", "flat", "nan"],
)
def test_what_cannot_be_registered_is_refused(change, message):
    good = blobs(1, GRID)
    with pytest.raises(InputError, match=message):
        register(good, replace(good, **change))
    with pytest.raises(InputError, match=message):
        register(replace(good, **change), good)
