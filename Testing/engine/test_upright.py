"""Slices are turned upright in every frame."""

import itertools

import numpy as np
import pytest

from medtl import upright
from medtl.volume import Geometry

# Ten degrees off, so that the nearest patient axis has to be found.
C, S = np.cos(np.radians(10)), np.sin(np.radians(10))
TILT = np.array([[C, -S, 0], [S, C, 0], [0, 0, 1]])


def frames():
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            yield np.eye(3)[:, order] * signs


@pytest.mark.parametrize("tilt", [np.eye(3), TILT], ids=["straight", "oblique"])
def test_every_frame_is_shown_with_patient_right_on_image_left_and_front_on_top(tilt):
    for axes in frames():
        geometry = Geometry((4, 5, 6), (1.0, 2.0, 3.0), (0.0, 0.0, 0.0), tuple((tilt @ axes).ravel()))
        index = np.stack(np.meshgrid(*(np.arange(n) for n in geometry.shape), indexing="ij"))[::-1]
        position = np.einsum("ij,jzyx->izyx", geometry.affine[:3, :3], index)
        view = upright.view_of(geometry)
        left, back, up = (view.of(p) for p in position)
        assert np.diff(up[:, 0, 0]).min() > 0  # slices rise towards the head
        assert np.diff(back[0, :, 0]).min() > 0  # rows go to the back
        assert np.diff(left[0, 0, :]).min() > 0  # columns go to the patient's left
        steps = [np.linalg.norm(np.diff(position, axis=1 + axis).reshape(3, -1)[:, 0]) for axis in view.order]
        assert np.allclose(view.spacing, steps)


@pytest.mark.parametrize(("axis", "plane", "sides"), [(2, 0, "RL"), (1, 1, "RL"), (0, 2, "AP")])
def test_a_single_slice_is_shown_in_its_own_plane_with_the_head_up(axis, plane, sides):
    size = [5, 6, 7]
    size[axis] = 1
    view = upright.view_of(Geometry((size[0], size[1], size[2]), (1.0, 2.0, 3.0)))
    z = np.broadcast_to(np.arange(size[2])[:, None, None], size[::-1])
    assert view.plane == plane
    assert upright.SIDES[view.plane] == tuple(sides)
    assert len(view.of(z)) == 1
    if plane:
        assert np.diff(view.of(z)[0, :, 0]).max() < 0
