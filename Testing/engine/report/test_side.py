"""The side of a lesion: told by the middle of the body, also where the head is turned or the grid is flipped."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import rotation

from medtl.phantom import head
from medtl.report.side import middle_plane, side_of
from medtl.volume import Geometry, Volume

ANGLES = st.floats(-0.3, 0.3)
HEAD = head(1, (80, 80, 20), (2.5, 2.5, 6.0), lesion=False).volume
CLOUD = np.random.default_rng(0).normal(0, 5, (200, 3))
OFF = np.array((150.0, 0.0, 0.0))
LEFT, RIGHT, FALX = (CLOUD + place for place in ((35, 10, 20), (-35, 10, 20), (0, 10, 20)))  # LPS: left is +


@settings(max_examples=25, deadline=None)
@given(st.tuples(ANGLES, ANGLES, ANGLES), st.tuples(*(st.floats(-200, 200),) * 3), st.sampled_from([1, -1]))
def test_a_turned_and_shifted_head_keeps_its_sides(angles, shift, flip):
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation(angles), shift
    geometry, affine = HEAD.geometry, matrix @ HEAD.geometry.affine
    array = HEAD.array
    if flip < 0:  # the same voxels, stored from left to right
        affine = affine @ np.array([[-1, 0, 0, geometry.size[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
        array = array[:, :, ::-1]
    direction = tuple((affine[:3, :3] / geometry.spacing).ravel())
    moved = Volume(array, Geometry(geometry.size, geometry.spacing, tuple(affine[:3, 3]), direction))
    plane = middle_plane(moved)
    for points, side in ((LEFT, "left"), (RIGHT, "right"), (FALX, "both")):
        assert side_of(points @ matrix[:3, :3].T + matrix[:3, 3], plane) == side


def test_the_middle_does_not_depend_on_the_frame_of_the_image():
    off = replace(HEAD.geometry, origin=tuple(np.array(HEAD.geometry.origin) + OFF))
    assert side_of(LEFT + OFF, middle_plane(replace(HEAD, geometry=off))) == "left"


@pytest.mark.parametrize("array", [np.zeros((4, 5, 6)), np.full((4, 5, 6), -1000.0)])
def test_without_a_body_there_is_no_side(array):
    assert middle_plane(Volume(array, Geometry((6, 5, 4)))) is None
    assert side_of(LEFT, None) == ""


def test_nothing_has_no_side():
    assert side_of(np.zeros((0, 3)), middle_plane(HEAD)) == ""
