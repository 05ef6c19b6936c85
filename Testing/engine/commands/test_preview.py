"""The preview picture: upright, in proportion, contours where the labels are."""

import numpy as np
import pytest
from PIL import Image

from medtl import phantom
from medtl.commands import preview
from medtl.errors import InputError
from medtl.volume import Geometry, Labelmap, Volume


@pytest.mark.parametrize(
    ("hits", "expected"),
    [
        ([4, 5, 6], [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ([0], [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ([19], [11, 12, 13, 14, 15, 16, 17, 18, 19]),
        (list(range(2, 19)), [2, 4, 6, 8, 10, 12, 14, 16, 18]),
    ],
)
def test_the_slices_go_through_the_lesion(hits, expected):
    lesion = np.zeros(20, bool)
    lesion[hits] = True
    assert preview.chosen_slices(lesion, 9) == expected


def test_without_a_lesion_the_middle_is_shown():
    assert preview.chosen_slices(np.zeros(101, bool), 9) == [10, 20, 30, 40, 50, 60, 70, 80, 90]
    assert preview.chosen_slices(np.zeros(3, bool), 9) == [0, 1, 2]
    assert preview.chosen_slices(np.zeros(1, bool), 9) == [0]


def coloured(path, colour):
    with Image.open(path) as picture:
        return np.argwhere((np.asarray(picture.convert("RGB")) == colour).all(-1))


@pytest.fixture
def a_square():
    geometry = Geometry((64, 64, 1))
    labels = np.zeros((1, 64, 64), np.uint8)
    labels[0, 10:20, 40:50] = 1
    return Volume(np.arange(64 * 64, dtype=np.int16).reshape(1, 64, 64), geometry), Labelmap(labels, geometry)


def test_the_contour_lies_where_the_label_is(a_square, tmp_path):
    volume, labels = a_square
    preview.write_preview(tmp_path / "p.png", volume, labels, slices=1)
    found = coloured(tmp_path / "p.png", preview.PREDICTION)
    found = found[found[:, 0] < 256]  # the tile, without the legend
    low, high = found.min(axis=0), found.max(axis=0)
    assert np.abs(low - [40, 160]).max() <= 2  # 256 pixels for 64 voxels
    assert np.abs(high - [80, 200]).max() <= 2
    assert len(coloured(tmp_path / "p.png", preview.TRUTH)) == 0


def test_the_truth_has_its_own_colour(a_square, tmp_path):
    volume, labels = a_square
    truth = Labelmap(np.roll(labels.array, 30, axis=1), labels.geometry)
    preview.write_preview(tmp_path / "p.png", volume, labels, truth)
    assert 150 < np.median(coloured(tmp_path / "p.png", preview.TRUTH)[:, 0]) < 210


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((5, 8, 9), np.int16),
        np.full((5, 8, 9), np.nan, np.float32),
        np.random.default_rng(0).normal(size=(5, 8, 9)).astype(np.float32) * [[[np.inf]]],
        np.random.default_rng(0).integers(0, 65535, (5, 8, 9)).astype(np.uint16),
        np.zeros((1, 1, 1), np.uint8),
    ],
    ids=["constant", "nan", "infinite", "16 bit", "one voxel"],
)
def test_any_values_can_be_shown(array, tmp_path):
    z, y, x = array.shape
    geometry = Geometry((x, y, z), (0.5, 0.7, 6.0))
    preview.write_preview(
        tmp_path / "p.png", Volume(array, geometry, "Kopf-ä-頭"), Labelmap(np.ones((z, y, x), np.uint8), geometry)
    )
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.size[0] >= 420


def test_one_head_looks_alike_in_two_frames(tmp_path):
    centres = []
    for direction in ((1, 0, 0, 0, 1, 0, 0, 0, 1), (0, 0, -1, 1, 0, 0, 0, -1, 0)):
        made = phantom.head(size=(48, 48, 48), spacing=(4.0, 4.0, 4.0), direction=tuple(float(d) for d in direction))
        preview.write_preview(tmp_path / "p.png", made.volume, made.labelmap, slices=1)
        found = coloured(tmp_path / "p.png", preview.PREDICTION)
        centres.append(found[found[:, 0] < 256].mean(axis=0))
    assert np.abs(centres[0] - centres[1]).max() < 10


def test_labels_of_another_grid_are_refused(a_square, tmp_path):
    volume, labels = a_square
    moved = Labelmap(labels.array, Geometry((64, 64, 1), origin=(5.0, 0.0, 0.0)))
    with pytest.raises(InputError, match="Expected labels on the grid of"):
        preview.write_preview(tmp_path / "p.png", volume, moved)
    assert not list(tmp_path.iterdir())
