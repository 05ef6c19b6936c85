"""The side of a lesion: told by the middle of what the image shows, also where the head is turned or the grid is
flipped."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import rotation

from medtl.io.read import read_labelmap, read_volume
from medtl.io.write import write_image, write_labelmap
from medtl.phantom import head
from medtl.report.content import report_of
from medtl.report.side import NOTE, SIDES, middle_plane, side_of
from medtl.trend.studies import Study
from medtl.volume import Geometry, Labelmap, Segment, Volume

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


def stored(array, order, flips):
    """The same voxels of HEAD's grid with the axes (z, y, x) in another order and reversed, and their grid."""
    geometry = HEAD.geometry
    index = np.zeros((4, 4))  # of the new voxels, x, y, z, 1, to the old ones
    index[3, 3] = 1
    for new, old in enumerate(order):
        sign = -1 if old in flips else 1
        index[2 - old, 2 - new], index[2 - old, 3] = sign, 0 if sign > 0 else geometry.shape[old] - 1
    affine = geometry.affine @ index
    spacing = tuple(float(mm) for mm in np.linalg.norm(affine[:3, :3], axis=0))
    turned = np.ascontiguousarray(np.flip(array, flips).transpose(order))
    direction = tuple((affine[:3, :3] / spacing).ravel())
    return turned, Geometry(turned.shape[::-1], spacing, tuple(affine[:3, 3]), direction)


@pytest.mark.parametrize("suffix", ["nrrd", "nii.gz"])  # LPS, RAS
@pytest.mark.parametrize("flips", [(), (0,), (1,), (2,), (0, 2)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_files_of_either_frame_and_any_axes_say_the_same_sides(tmp_path, suffix, order, flips):
    index = np.stack(np.indices(HEAD.geometry.shape)[::-1], axis=-1)
    place = index @ HEAD.geometry.affine[:3, :3].T + HEAD.geometry.affine[:3, 3]
    labels = np.zeros(HEAD.geometry.shape, np.uint8)
    for value, centre in enumerate(((35, 10, 20), (-35, 10, 20), (0, 10, 20)), start=1):  # LPS mm
        labels[np.linalg.norm(place - np.array(centre), axis=-1) < 10] = value
    turned, grid = stored(labels, order, flips)
    segments = tuple(Segment(value, f"s{value}", f"S{value}") for value in (1, 2, 3))
    write_labelmap(tmp_path / f"l.{suffix}", Labelmap(turned, grid, segments))
    write_image(tmp_path / f"i.{suffix}", *stored(HEAD.array, order, flips))
    study = Study("", read_labelmap(tmp_path / f"l.{suffix}"), read_volume(tmp_path / f"i.{suffix}"))
    assert [row.side for row in report_of(study).findings if not row.lesion] == ["left", "right", "both"]


def test_of_one_leg_it_is_the_side_of_the_leg_s_own_middle():
    geometry = Geometry((40, 40, 20), (4.0, 4.0, 10.0), (60.0, -80.0, 0.0))  # the left leg around x = 140 mm
    y, x = np.indices((40, 40)) * 4.0
    leg = np.broadcast_to(np.hypot(x - 80, y - 80) < 60, (20, 40, 40)) * 100
    plane = middle_plane(Volume(leg, geometry))
    for offset, side in ((30, "left"), (-30, "right"), (0, "both")):
        assert side_of(CLOUD + np.array((140 + offset, 0, 100)), plane) == side
    assert "middle" in SIDES["left"]
    assert "one leg" in NOTE


@pytest.mark.parametrize("array", [np.zeros((4, 5, 6)), np.full((4, 5, 6), -1000.0)])
def test_without_a_body_there_is_no_side(array):
    assert middle_plane(Volume(array, Geometry((6, 5, 4)))) is None
    assert side_of(LEFT, None) == ""


def test_nothing_has_no_side():
    assert side_of(np.zeros((0, 3)), middle_plane(HEAD)) == ""
