"""Slices as pictures: framed by the head, whatever lies around it, and heat maps back on their pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medtl.classification.frames import acquired_plane, frame_slice, resample_from_frame
from medtl.volume import Geometry


def ellipse(shape: tuple[int, int], centre: tuple[float, float], radii: tuple[float, float]) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return ((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2 <= 1


def head(shape=(90, 120), centre=(44.0, 60.0), radii=(30.0, 24.0)) -> np.ndarray:
    """A grey head with a bright spot right above its middle."""
    image = np.where(ellipse(shape, centre, radii), 100.0, 0.0)
    image[ellipse(shape, (centre[0] - radii[0] / 2, centre[1] + radii[1] / 3), (4, 4))] = 200.0
    return image


def test_the_head_fills_its_frame():
    frame = frame_slice(head(), 64)
    inside = frame.image > -0.9
    rows, columns = (np.flatnonzero(inside.any(axis=k)) for k in (1, 0))
    assert (rows[0] <= 4, rows[-1] >= 59) == (True, True)
    assert abs((columns[0] + columns[-1]) / 2 - 31.5) < 1.5
    assert (frame.image.min(), frame.image.max()) == (-1.0, 1.0)
    assert frame.image.shape == (64, 64)
    assert frame.image.dtype == np.float32


@pytest.mark.parametrize("change", [lambda a: a * 7.3, lambda a: a.astype(np.uint8), lambda a: a - 500])
def test_brightness_and_dtype_do_not_matter(change):
    np.testing.assert_allclose(frame_slice(change(head()), 64).image, frame_slice(head(), 64).image, atol=0.02)


def test_letters_beside_the_head_do_not_count():
    image = head()
    image[2:9, 100:118] = 200
    same, plain = frame_slice(image, 64), frame_slice(head(), 64)
    assert (same.top, same.left, same.rows) == pytest.approx((plain.top, plain.left, plain.rows))


def test_pixels_that_are_no_squares_give_the_same_picture():
    wide = head((90, 60), (44.0, 30.0), (30.0, 12.0))
    square = head((90, 120), (44.0, 60.5), (30.0, 24.0))
    difference = np.abs(frame_slice(wide, 64, (1.0, 2.0)).image - frame_slice(square, 64).image)
    assert difference.mean() < 0.08


@pytest.mark.parametrize("image", [np.zeros((40, 40)), np.full((40, 40), 7.0)[:3, :3]], ids=["air", "nine pixels"])
def test_a_slice_that_shows_nothing_has_no_frame(image):
    assert frame_slice(image, 64) is None


def slowly_resampled(heat: np.ndarray, frame, shape: tuple[int, int]) -> np.ndarray:
    """Pixel by pixel: where its middle lies on the map, and the four values around that."""
    found = np.zeros(shape)
    for r in range(shape[0]):
        for c in range(shape[1]):
            y = (r + 0.5 - frame.top) / frame.rows * heat.shape[0] - 0.5
            x = (c + 0.5 - frame.left) / frame.columns * heat.shape[1] - 0.5
            if not (-0.5 <= y <= heat.shape[0] - 0.5 and -0.5 <= x <= heat.shape[1] - 0.5):
                continue
            y, x = np.clip(y, 0, heat.shape[0] - 1), np.clip(x, 0, heat.shape[1] - 1)
            low = int(min(y, heat.shape[0] - 2)), int(min(x, heat.shape[1] - 2))
            v, u = y - low[0], x - low[1]
            corner = heat[low[0] : low[0] + 2, low[1] : low[1] + 2]
            found[r, c] = np.array([1 - v, v]) @ corner @ np.array([1 - u, u])
    return found


@given(
    st.tuples(st.integers(30, 60), st.integers(30, 60)),
    st.tuples(st.floats(0.3, 0.7), st.floats(0.3, 0.7)),
    st.floats(0.5, 2.0),
    st.integers(0, 2**31),
)
@settings(max_examples=25, deadline=None)
def test_a_map_lies_on_the_pixels_it_was_made_from(shape, at, aspect, seed):
    image = head(shape, (shape[0] * at[0], shape[1] * at[1]), (shape[0] / 4, shape[1] / 5))
    frame = frame_slice(image, 32, (aspect, 1.0))
    heat = np.random.default_rng(seed).random((7, 9)).astype(np.float32)
    np.testing.assert_allclose(resample_from_frame(heat, frame, shape), slowly_resampled(heat, frame, shape), atol=1e-5)


def test_a_picture_put_back_is_the_slice():
    image = head()
    frame = frame_slice(image, 64)
    back = resample_from_frame((frame.image + 1) / 2, frame, image.shape) * 200
    assert np.abs(back - image).mean() < 3
    spot = np.argwhere(back > 150).mean(0)
    np.testing.assert_allclose(spot, np.argwhere(image > 150).mean(0), atol=0.7)


@pytest.mark.parametrize(
    ("size", "spacing", "plane"),
    [
        ((256, 256, 24), (0.9, 0.9, 5.0), "axial"),
        ((20, 256, 256), (5.0, 0.9, 0.9), "sagittal"),
        ((256, 20, 256), (0.9, 5.0, 0.9), "coronal"),
        ((240, 240, 155), (1.0, 1.0, 1.0), "axial"),
        ((200, 100, 1), (1.0, 1.0, 1.0), "axial"),
    ],
)
def test_the_plane_is_that_of_the_thick_slices(size, spacing, plane):
    assert acquired_plane(Geometry(size, spacing)) == plane


def test_the_plane_goes_by_anatomy_and_not_by_the_order_of_the_array():
    sagittal = (0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0)  # x index runs to posterior, y to inferior, z to left
    assert acquired_plane(Geometry((256, 256, 20), (1.0, 1.0, 5.0), direction=sagittal)) == "sagittal"
