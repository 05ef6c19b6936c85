"""The most doubtful slices are those of a slow twin; what the uncertainty is worth follows from the model's card."""

from dataclasses import replace

import numpy as np
import pytest
import small_model
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import geometries

from medtl.doubt import APART_MM, calibration_text, coloured, doubtful_slices, is_calibrated
from medtl.errors import InputError
from medtl.model.card import Calibration, Parent
from medtl.volume import Geometry


def slow(uncertainty: np.ndarray, lesion: np.ndarray, geometry: Geometry, axis: int) -> list[tuple[int, float]]:
    """The twin: slice by slice, then the best again and again."""
    spacing = geometry.spacing[::-1]
    area = {0: spacing[1] * spacing[2], 1: spacing[0] * spacing[2], 2: spacing[0] * spacing[1]}[axis]
    count = uncertainty.shape[axis]
    shows = [bool(np.take(lesion, k, axis).any()) for k in range(count)]
    left = {
        k: sum(float(v) for v in np.take(uncertainty, k, axis).ravel()) * area
        for k in range(count)
        if any(shows[max(0, k - 1) : k + 2])
    }
    found: list[tuple[int, float]] = []
    while left and len(found) < 10:
        best = max(left, key=lambda k: (left[k], -k))
        if left[best] > 0 and all(abs(best - k) * spacing[axis] >= APART_MM for k, _ in found):
            found.append((best, left[best]))
        del left[best]
    return found


@settings(max_examples=60, deadline=None)
@given(geometries(), st.integers(0, 2), st.integers(0, 2**32 - 1))
def test_the_slices_are_those_of_the_slow_twin(geometry, axis, seed):
    rng = np.random.default_rng(seed)
    uncertainty = np.where(rng.random(geometry.shape) < 0.5, rng.random(geometry.shape), 0).astype(np.float32)
    lesion = rng.random(geometry.shape) < 0.1
    found = doubtful_slices(uncertainty, lesion, geometry, axis)
    twin = slow(uncertainty, lesion, geometry, axis)
    assert [one.mm2 for one in found] == pytest.approx([mm2 for _, mm2 in twin], rel=1e-5)
    assert [one.index for one in found] == [k for k, _ in twin]
    for one in found:
        index = np.linalg.inv(geometry.affine) @ [*one.centre, 1.0]
        assert round(index[2 - axis], 3) == one.index  # the place lies in the slice


def test_the_place_is_the_middle_of_the_doubt():
    geometry = Geometry((20, 10, 4), (1.0, 2.0, 5.0), (10.0, 20.0, 30.0))
    uncertainty = np.zeros(geometry.shape)
    uncertainty[2, 3:6, 10:15] = 0.5
    (one,) = doubtful_slices(uncertainty, uncertainty > 0, geometry, 0)
    assert (one.index, one.mm2) == (2, pytest.approx(15 * 0.5 * 2.0))
    assert one.centre == pytest.approx((10 + 12, 20 + 2 * 4, 30 + 5 * 2))


def test_without_doubt_or_lesion_no_slice_is_listed():
    geometry = Geometry((4, 4, 4))
    nothing = np.zeros(geometry.shape)
    assert doubtful_slices(nothing, nothing == 0, geometry, 0) == ()
    assert doubtful_slices(nothing + 1, nothing > 0, geometry, 0) == ()


def test_a_map_of_another_image_is_refused():
    geometry = Geometry((4, 4, 4))
    with pytest.raises(InputError, match=r"found \(4, 4, 5\)"):
        doubtful_slices(np.zeros((4, 4, 5)), np.zeros(geometry.shape), geometry, 0)


def test_what_the_uncertainty_is_worth():
    plain = small_model.bands().card
    fitted = replace(plain, calibration=Calibration(1.4))
    tuned = replace(fitted, parent=Parent("p", "0" * 64))
    imported = replace(fitted, training={"imported": {"from": "elsewhere"}})
    assert [is_calibrated(card) for card in (plain, fitted, tuned, imported)] == [False, True, False, False]
    assert "Calibrated on held-out cases" in calibration_text(fitted)
    assert "since the model was tuned" in calibration_text(tuned)
    for card in (None, plain, imported):
        assert calibration_text(card).startswith("Not calibrated:")


def test_the_colours_rise_from_dark_to_bright():
    brightness = coloured(np.linspace(0, 1, 20)).sum(axis=-1)
    assert (np.diff(brightness) > 0).all()
