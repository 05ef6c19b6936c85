"""To the model's grid and exactly back, whatever the volume's axes, spacing and size."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import ndimage
from strategies import geometries, volumes

from medtl.errors import InputError, ModelError
from medtl.model.card import InputSpec
from medtl.phantom import head
from medtl.preprocess import batch, neighbour_steps, orient, prepare, resize, restore, turn
from medtl.volume import PLANES, Geometry, Volume

# In LPS: where slices, rows and columns of a plane run to. L, P and S are positive.
TOWARDS = {
    "axial": ((0, 0, 1), (0, 1, 0), (1, 0, 0)),
    "coronal": ((0, 1, 0), (0, 0, -1), (1, 0, 0)),
    "sagittal": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
}
planes = st.sampled_from(PLANES)
CT = InputSpec(scaling="window", window=(0.0, 200.0))


@given(volumes(), planes)
def test_labels_of_the_turned_grid_come_back_exactly(volume, plane):
    prepared = prepare(volume, InputSpec(plane=plane))
    turned = turn(volume.array, prepared.axes, prepared.flips)
    assert turned.shape == prepared.turned_shape
    back = restore(turned, prepared)
    assert back.flags.c_contiguous
    assert back.dtype == volume.array.dtype
    np.testing.assert_array_equal(back, volume.array)


@given(geometries(), planes)
def test_slices_lie_in_the_plane_in_its_orientation_seen_from_the_world(geometry, plane):
    axes, flips = orient(geometry, plane)
    # Twin: number the voxels, turn, and look where a step along each turned axis leads in mm.
    numbered = np.indices((3, 3, 3))
    steps = []
    for axis in range(3):
        start, end = np.zeros(3, int), np.zeros(3, int)
        end[axis] = 1
        place = [np.array([turn(numbered[a], axes, flips)[tuple(where)] for a in (2, 1, 0)]) for where in (start, end)]
        a, b = (geometry.affine @ [*p, 1] for p in place)
        steps.append((b - a)[:3] / np.linalg.norm((b - a)[:3]))
    wanted = np.array(TOWARDS[plane])
    assert all(step @ way >= -1e-9 for step, way in zip(steps, wanted))
    # Of all ways to hold the volume this one follows the three directions best.
    assert steps[0] @ wanted[0] == pytest.approx(max(abs(step @ wanted[0]) for step in steps))  # nearest the normal
    in_plane = (sum(abs(step @ way) for step, way in zip(order, wanted[1:])) for order in permutations(steps[1:]))
    assert sum(step @ way for step, way in zip(steps[1:], wanted[1:])) == pytest.approx(max(in_plane))


@pytest.mark.parametrize("plane", PLANES)
@given(geometry=geometries(largest=4))
@hypothesis_settings(max_examples=25)
def test_the_spacing_follows_its_axis(plane, geometry):
    volume = Volume(np.arange(np.prod(geometry.size)).reshape(geometry.shape), geometry)
    prepared = prepare(volume, InputSpec(plane=plane))
    for length, mm in zip(prepared.turned_shape, prepared.turned_spacing):
        assert (length, mm) in set(zip(geometry.size, geometry.spacing))
    assert np.prod(prepared.turned_spacing) == pytest.approx(np.prod(geometry.spacing))
    assert prepared.array is not volume.array
    assert np.shares_memory(prepared.array, volume.array)  # no copy of a large volume


def slowly_resized(array: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The twin: each new pixel's centre is found on the old slice and the four pixels around it are weighed."""
    z, y, x = array.shape
    made = np.zeros((z, rows, columns))
    for k, r, c in np.ndindex(made.shape):
        v, u = (r + 0.5) * y / rows - 0.5, (c + 0.5) * x / columns - 0.5
        total = 0.0
        for j in (int(np.floor(v)), int(np.floor(v)) + 1):
            for i in (int(np.floor(u)), int(np.floor(u)) + 1):
                inside = array[k, min(max(j, 0), y - 1), min(max(i, 0), x - 1)]
                total += (1 - abs(v - j)) * (1 - abs(u - i)) * inside
        made[k, r, c] = total
    return made


@pytest.mark.parametrize("size", [(9, 7), (14, 21), (18, 8), (8, 7), (8, 6)])
@pytest.mark.parametrize("shape", [(3, 9, 7), (1, 9, 7)])
def test_resizing_weighs_the_pixels_around_each_new_one(shape, size):
    array = np.random.default_rng(3).normal(size=shape)
    made = resize(array, *size)
    assert made.shape == (shape[0], *size)
    # 9 to 8 and 7 to 6 pixels is too little shrinking to be smoothed.
    np.testing.assert_allclose(made, slowly_resized(array, *size), atol=2e-5)


@pytest.mark.parametrize("shape", [(1, 60, 60), (2, 60, 60), (9, 60, 60)])
def test_shrinking_smooths_within_a_slice_and_never_across_slices(shape):
    checkers = np.indices(shape)[1:].sum(0) % 2 * 100.0
    small = resize(checkers, 25, 25)
    assert np.ptp(small[:, 3:-3, 3:-3]) < 25  # without smoothing the pattern comes back as broad stripes of 0 to 100
    slices = np.broadcast_to(np.arange(float(shape[0]))[:, None, None], shape)
    np.testing.assert_allclose(
        resize(slices, 25, 25), np.broadcast_to(slices[:, :1, :1], (shape[0], 25, 25)), atol=1e-4
    )


def test_shrinking_keeps_things_in_their_place():
    ramp = np.broadcast_to(np.arange(60.0), (1, 60, 60))
    middle = slice(4, -4)
    np.testing.assert_allclose(resize(ramp, 60, 20)[0, 30, middle], (np.arange(20) * 3 + 1.0)[middle], atol=0.02)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2, 3), (2, 3, 80), (2, 80, 3), (5, 1, 9), (1, 33, 31), (7, 5, 6)])
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.4, 0.4), (2.0, 2.0), (0.4, 2.0)])
@pytest.mark.parametrize("spec", [InputSpec(spacing=1.0), InputSpec(scaling="window", window=(0, 9), spacing=1.0)])
def test_any_size_can_be_prepared(shape, spacing, spec):
    array = np.random.default_rng(0).integers(0, 9, shape).astype(np.int16)
    size = (shape[2], shape[1], shape[0])
    volume = Volume(array, Geometry(size, (spacing[1], spacing[0], 3.0)))
    prepared = prepare(volume, spec, multiple=16)
    assert prepared.turned_shape == shape
    assert prepared.array.shape[0] == shape[0]
    for length, mm, n in zip(shape[1:], spacing, prepared.array.shape[1:]):
        wanted = length if mm == 1.0 else max(round(length * mm), 1)
        assert n == wanted
    covered = [mm * n for mm, n in zip(prepared.spacing[1:], prepared.array.shape[1:])]
    assert covered == pytest.approx([mm * n for mm, n in zip(spacing, shape[1:])])
    for part, n in zip(prepared.box, prepared.array.shape[1:]):
        assert 0 <= part.start < part.stop <= n
    assert prepared.occupied.shape == (shape[0],)
    seen = batch(prepared, range(shape[0]), [-1, 0, 1], 16)
    assert seen.shape[:2] == (shape[0], 3)
    assert seen.shape[2] % 16 == seen.shape[3] % 16 == 0
    assert np.isfinite(seen).all()


@pytest.mark.parametrize(
    ("mm", "resampled"), [(0.69, True), (0.78, False), (1.0, False), (1.29, False), (1.31, True), (3.0, True)]
)
def test_a_spacing_within_the_tolerance_is_left_as_it_is(mm, resampled):
    volume = Volume(np.random.default_rng(0).random((2, 40, 40)), Geometry((40, 40, 2), (mm, mm, 5.0)))
    assert prepare(volume, InputSpec(spacing=1.0, spacing_tolerance=1.3)).resampled == resampled
    assert not prepare(volume, InputSpec(spacing=None)).resampled


def test_a_large_picture_is_brought_to_the_scale_of_a_head():
    picture = Volume(np.random.default_rng(0).random((1, 600, 900)), Geometry((900, 600, 1)), real_spacing=False)
    prepared = prepare(picture, InputSpec(spacing=1.0))
    assert prepared.array.shape == (1, 153, 230)
    small = Volume(picture.array[:, :200, :256], Geometry((256, 200, 1)), real_spacing=False)
    assert not prepare(small, InputSpec(spacing=1.0)).resampled


@given(
    st.integers(20, 90),
    st.integers(20, 90),
    st.tuples(*(st.floats(0.05, 0.95),) * 2),
    st.tuples(*(st.floats(0.1, 0.5),) * 2),
    st.sampled_from([4, 16, 32]),
)
@hypothesis_settings(max_examples=60)
def test_the_box_covers_the_body_and_little_more(rows, columns, centre, half, multiple):
    v, u = np.mgrid[:rows, :columns]
    body = ((v / rows - centre[0]) / half[0]) ** 2 + ((u / columns - centre[1]) / half[1]) ** 2 < 1
    array = np.stack([np.where(body, 150, 0)] * 2).astype(np.int16)
    prepared = prepare(Volume(array, Geometry((columns, rows, 2))), InputSpec(), multiple)
    outside = np.ones((rows, columns), bool)
    outside[prepared.box] = False
    assert not (body & outside).any()
    for axis, part, size in zip((1, 0), prepared.box, (rows, columns)):
        length = part.stop - part.start
        assert length % multiple == 0 or length == size
        hit = np.flatnonzero(body.any(axis))
        assert length <= hit[-1] + 1 - hit[0] + 4 + multiple


def test_empty_slices_are_known_and_a_wholly_dark_volume_is_not_skipped():
    array = np.zeros((6, 64, 64), np.int16)
    array[2:4, 10:50, 10:50] = 100
    volume = Volume(array, Geometry((64, 64, 6)))
    np.testing.assert_array_equal(prepare(volume, InputSpec()).occupied, [False, False, True, True, False, False])
    dark = Volume(np.zeros((3, 8, 8), np.int16), Geometry((8, 8, 3)))
    assert prepare(dark, InputSpec()).occupied.all()


def test_the_level_of_tissue_is_the_same_with_and_without_scalp_and_skull():
    for seed in (0, 1, 2):
        whole = head(seed, size=(112, 112, 10), spacing=(2.0, 2.0, 9.0)).volume
        stripped = whole.array.copy()
        for plane in stripped:
            inside = ndimage.binary_fill_holes(plane > 60)
            plane[2 * ndimage.distance_transform_edt(inside) < 14] = 0  # scalp and skull measure 12 mm
        assert (stripped > 0).sum() < 0.8 * (whole.array > 60).sum()
        gains = [prepare(Volume(a, whole.geometry), InputSpec()).gain for a in (whole.array, stripped)]
        assert gains[1] == pytest.approx(gains[0], rel=0.12)


def test_tissue_is_seen_alike_whatever_the_scanner_s_units():
    volume = head(4, size=(96, 96, 4), spacing=(2.3, 2.3, 20.0)).volume

    def seen(array):
        prepared = prepare(Volume(array, volume.geometry), InputSpec())
        return batch(prepared, range(4), [0], 32)

    usual = seen(volume.array)
    assert usual.min() == pytest.approx(-1.0)
    assert -0.5 < np.median(usual[usual > -0.9]) < 0.2
    np.testing.assert_allclose(seen(volume.array * 7.0), usual, atol=1e-5)
    np.testing.assert_allclose(seen(volume.array.astype(np.uint16)), usual, atol=1e-6)
    lowest = int(volume.array.min())
    np.testing.assert_allclose(seen(volume.array - lowest - 1024), seen(volume.array - lowest), atol=0.01)


def test_a_window_shows_its_limits_as_minus_one_and_one():
    array = np.array([[[-1000, -150, 50, 250, 3000]]], np.int16)
    prepared = prepare(Volume(array, Geometry((5, 1, 1))), InputSpec(scaling="window", window=(-150, 250)))
    np.testing.assert_allclose(batch(prepared, [0], [0], 1)[0, 0, 0], [-1, -1, 0, 1, 1], atol=1e-6)


@pytest.mark.parametrize(
    ("neighbours", "apart", "slice_mm", "steps"),
    [
        (0, 0.0, 5.0, [0]),
        (1, 0.0, 1.0, [-1, 0, 1]),
        (2, 0.0, 9.0, [-2, -1, 0, 1, 2]),
        (1, 3.0, 1.0, [-3, 0, 3]),
        (1, 3.0, 1.2, [-2, 0, 2]),
        (1, 5.0, 0.5, [-10, 0, 10]),
        (2, 3.0, 1.0, [-6, -3, 0, 3, 6]),
        (1, 3.0, 3.3, [-1, 0, 1]),
        (1, 3.0, None, [-1, 0, 1]),  # a distance that is not known
    ],
)
def test_neighbours_are_chosen_by_their_distance_in_mm(neighbours, apart, slice_mm, steps):
    assert neighbour_steps(InputSpec(neighbours=neighbours, neighbour_mm=apart), slice_mm) == steps


@given(
    volumes(dtypes=("uint8", "int16", "float32")),
    st.sampled_from([[0], [-1, 0, 1], [-6, -3, 0, 3, 6]]),
    st.sampled_from([1, 4, 32]),
    planes,
)
@hypothesis_settings(max_examples=50)
def test_a_batch_is_what_plain_slicing_gives(volume, steps, multiple, plane):
    prepared = prepare(volume, InputSpec(scaling="window", window=(20, 180), plane=plane), multiple)
    count = prepared.turned_shape[0]
    indices = list(range(count))[::-2]
    made = batch(prepared, indices, steps, multiple)
    turned = turn(volume.array, prepared.axes, prepared.flips).astype(np.float64)
    rows, columns = prepared.box
    for n, index in enumerate(indices):
        for channel, step in enumerate(steps):
            plain = turned[min(max(index + step, 0), count - 1)][rows, columns]
            plain = np.clip((plain - 20) / 160 * 2 - 1, -1, 1)
            h, w = plain.shape
            np.testing.assert_allclose(made[n, channel, :h, :w], plain, atol=1e-5)
            assert (made[n, channel, h:] == -1).all()
            assert (made[n, channel, :, w:] == -1).all()
    assert made.dtype == np.float32
    assert made.shape[2] == -(-h // multiple) * multiple
    assert made.shape[3] == -(-w // multiple) * multiple


def test_a_spacing_that_would_fill_the_memory_is_refused():
    volume = Volume(np.zeros((2, 60, 60), np.int16), Geometry((60, 60, 2), (4.0, 4.0, 5.0)))
    with pytest.raises(ModelError, match="Expected slices of at most 17 million pixels"):
        prepare(volume, InputSpec(spacing=0.02), 16)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_a_voxel_that_is_no_number_is_refused(value):
    array = np.random.default_rng(0).normal(100, 10, (3, 40, 40))
    array[1, 5, 5] = value
    with pytest.raises(InputError, match="Expected finite voxels that 32-bit numbers can hold"):
        prepare(Volume(array, Geometry((40, 40, 3))), InputSpec())
