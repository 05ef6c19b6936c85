"""Slices as pictures: in proportion, and the checkerboard of two images."""

import numpy as np
import pytest
from strategies import rotation

from medtl import drawing
from medtl.phantom import head
from medtl.volume import Geometry, Volume


def test_a_tile_has_the_patients_proportions():
    assert drawing.tile_size((100, 100), (2.0, 1.0)) == (128, 256)
    assert drawing.tile_size((512, 512), (0.5, 0.5)) == (512, 512)


HEAD = head(1, (64, 64, 24), (3.5, 3.5, 7.0)).volume


def test_squares_of_one_image_with_itself_are_the_image():
    board = np.asarray(drawing.checkerboard(HEAD, HEAD, np.eye(4))).astype(int)
    inverted = Volume(HEAD.array.max() - HEAD.array, HEAD.geometry)
    other = np.asarray(drawing.checkerboard(HEAD, inverted, np.eye(4))).astype(int)
    differs = (board != other).any(axis=-1)
    assert 0.3 < differs.mean() < 0.7  # half of the squares
    seams = np.abs(np.diff(board[..., 0], axis=1))
    assert np.percentile(seams, 99) < 100  # no edge where squares meet


@pytest.mark.parametrize("flip", [1, -1])
def test_a_moved_image_is_brought_back(flip):
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation((0.1, -0.2, 0.3)), (30.0, -20.0, 10.0)
    affine, array = matrix @ HEAD.geometry.affine, HEAD.array
    if flip < 0:
        affine = affine @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, HEAD.geometry.size[2] - 1], [0, 0, 0, 1.0]])
        array = array[::-1]
    direction = tuple((affine[:3, :3] / HEAD.geometry.spacing).ravel())
    moved = Volume(array, Geometry(HEAD.geometry.size, HEAD.geometry.spacing, tuple(affine[:3, 3]), direction))
    board, whole = (
        np.asarray(drawing.checkerboard(HEAD, each, m)).astype(int) for each, m in ((moved, matrix), (HEAD, np.eye(4)))
    )
    assert np.abs(board - whole).mean() < 3
    beside = np.asarray(drawing.checkerboard(HEAD, moved, np.eye(4))).astype(int)
    assert np.abs(beside - whole).mean() > 15


def test_a_row_and_a_column_of_pictures():
    tiles = [drawing.Image.new("RGB", size) for size in ((10, 20), (30, 5))]
    assert drawing.in_a_row(tiles).size == (10 + 30 + drawing.GAP, 20)
    assert drawing.in_a_row(tiles, down=True).size == (30, 20 + 5 + drawing.GAP)
