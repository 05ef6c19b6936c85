"""The pictures of a report: each contour where the label is in the patient, in every frame and plane."""

import base64
import io
import itertools

import numpy as np
import pytest
from PIL import Image

from medtl.report.pictures import data_uri, doubt_picture, index_of, lesion_pictures
from medtl.upright import plane_view
from medtl.volume import Geometry, Labelmap, Segment, Volume

RED = (1.0, 0.0, 0.0)
TILT = np.array([[np.cos(0.15), -np.sin(0.15), 0], [np.sin(0.15), np.cos(0.15), 0], [0, 0, 1]])


def frames():
    """Ten of the 48 ways to store a volume, each order of the axes and each sign among them."""
    ways = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))
    for order, signs in ways[::5]:
        yield np.eye(3)[:, order] * signs


def body(axes: np.ndarray, oblique: bool = False) -> tuple[Volume, Labelmap, tuple[float, float, float]]:
    """A bright body that fills the grid, with a lesion left of, behind and above its middle, and the lesion's place."""
    size = tuple(int(n) for n in np.abs(axes).round().T @ [60, 80, 100])  # mm, in LPS
    axes = TILT @ axes if oblique else axes
    middle = axes @ ((np.array(size) - 1) / 2)
    geometry = Geometry(size, (1.0, 1.0, 1.0), tuple(-middle), tuple(axes.ravel()))
    index = np.stack(np.indices(geometry.shape)[::-1], axis=-1)
    place = index @ geometry.affine[:3, :3].T + geometry.affine[:3, 3]
    array = np.full(geometry.shape, 100, np.int16)
    array[0, 0, 0] = 0
    centre = TILT @ (15, 20, 25) if oblique else np.array((15, 20, 25))
    lesion = np.linalg.norm(place - centre, axis=-1) < 6
    labelmap = Labelmap(lesion.astype(np.uint8), geometry, (Segment(1, "a", "A", RED),))
    return Volume(array, geometry), labelmap, tuple(float(mm) for mm in centre)


def reddest(picture: Image.Image) -> tuple[float, float]:
    """The middle of what is red, as shares of the height and the width."""
    pixels = np.asarray(picture).astype(int)
    rows, columns = np.nonzero((pixels[..., 0] > 200) & (pixels[..., 1] < 60))
    return rows.mean() / pixels.shape[0], columns.mean() / pixels.shape[1]


@pytest.mark.parametrize("oblique", [False, True])
def test_the_contour_lies_left_behind_and_above_in_every_frame(oblique):
    for axes in frames():
        volume, labelmap, place = body(axes, oblique)
        axial, coronal, sagittal = lesion_pictures(volume, labelmap, place)
        row, column = reddest(axial)
        assert row == pytest.approx(0.75, abs=0.03)  # 20 mm behind the middle of 80
        assert column == pytest.approx(0.75, abs=0.03)  # 15 mm left of the middle of 60: on the right of the picture
        row, column = reddest(coronal)
        assert row == pytest.approx(0.25, abs=0.03)  # 25 mm above the middle of 100: up
        assert column == pytest.approx(0.75, abs=0.03)
        row, column = reddest(sagittal)
        assert row == pytest.approx(0.25, abs=0.03)
        assert column == pytest.approx(0.75, abs=0.03)  # the back is on the right


def test_the_marks_point_to_the_place():
    volume, labelmap, _ = body(np.eye(3))
    axial = lesion_pictures(volume, labelmap, (15.0, 20.0, 25.0))[0]
    pixels = np.asarray(axial)
    white = np.argwhere((pixels[1] == 255).all(-1)).ravel()  # the upper edge
    assert white.mean() / axial.width == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize("place", [(0.0, 0.0, 0.0), (1e4, -1e4, 0.0)])
def test_a_place_beyond_the_grid_is_its_nearest_voxel(place):
    volume, labelmap, _ = body(np.eye(3))
    assert all(0 <= i < n for i, n in zip(index_of(place, volume.geometry), volume.geometry.shape))
    assert len(lesion_pictures(volume, labelmap, place)) == 3


@pytest.mark.parametrize("shape", [(1, 9, 8), (3, 1, 8), (2, 2, 2)])
def test_flat_volumes_can_be_shown(shape):
    z, y, x = shape
    volume = Volume(np.arange(x * y * z).reshape(shape).astype(np.int16), Geometry((x, y, z), (1.0, 2.0, 5.0)))
    pictures = lesion_pictures(volume, Labelmap(np.ones(shape, np.uint8), volume.geometry), (0.0, 0.0, 0.0))
    assert all(min(picture.size) >= 1 for picture in pictures)


def test_a_picture_becomes_text_and_back():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (7, 9, 3)).astype(np.uint8))
    head, _, text = data_uri(picture).partition(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(text, validate=True))) as again:
        np.testing.assert_array_equal(np.asarray(again), np.asarray(picture))


def test_doubt_is_coloured_where_it_is_and_nowhere_else():
    for axes in frames():
        volume, labelmap, _ = body(axes)
        index = np.stack(np.indices(volume.geometry.shape)[::-1], axis=-1)
        place = index @ volume.geometry.affine[:3, :3].T + volume.geometry.affine[:3, 3]
        uncertainty = (np.linalg.norm(place - (-15, -20, 0), axis=-1) < 8).astype(np.float32)
        view = plane_view(volume.geometry, 0)
        axis = view.order[0]
        shown = int(np.argmax(np.moveaxis(uncertainty, axis, 0).sum(axis=(1, 2))))
        pixels = np.asarray(doubt_picture(volume, uncertainty, labelmap, axis, shown)).astype(int)
        rows, columns = np.nonzero(np.ptp(pixels, axis=-1) > 30)  # everything else is grey
        assert rows.mean() / pixels.shape[0] == pytest.approx(0.25, abs=0.03)  # in front
        assert columns.mean() / pixels.shape[1] == pytest.approx(0.25, abs=0.03)  # right: on the left of the picture
        area = len(rows) / pixels[..., 0].size
        assert area == pytest.approx(np.pi * 8**2 / (60 * 80), rel=0.25)
