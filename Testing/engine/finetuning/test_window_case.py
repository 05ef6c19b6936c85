"""SEEDs of any plane and orientation lie where a dense interpolation of all logits has them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from small_model import CUBES, PLAIN
from strategies import geometries
from window_cases import a_model, a_volume, seeds_in

from medtl.errors import InputError
from medtl.finetuning.features import turned_index
from medtl.finetuning.window_case import WindowCase, prepare_window_case
from medtl.model.bundle import Model
from medtl.model.card import InputSpec, WindowSpec
from medtl.preprocess import turn_back
from medtl.volume import PLANES, Geometry, array_axis
from medtl.windows.resampling import along
from medtl.windows.sliding import logit_planes

SHEETS = replace(CUBES, patch=(8, 7), spacing=(1.0, 1.2), axes=(1, 0, 2))


def dense_logits(case: WindowCase, model: Model) -> np.ndarray:
    """The logits of the whole box (outputs, …) by matrices over all of it, on the axes of the volume's array; NaN
    outside of the box."""
    prepared, spec = case.prepared, replace(case.spec, mirror=())
    logits = torch.stack(list(logit_planes(prepared.array, model, spec)), 1).numpy().astype(np.float64)
    for axis in range(3):
        taps = prepared.taps[axis]
        logits = along(taps.matrix(logits.shape[1 + axis]), logits, 1 + axis)
    whole = np.full((len(logits), *prepared.turned_shape), np.nan)
    whole[:, *prepared.box] = logits
    return np.stack([turn_back(one, prepared.axes, prepared.flips) for one in whole])


def big(spec: WindowSpec) -> WindowSpec:
    """Windows that hold the whole grid."""
    return replace(spec, patch=(48,) * len(spec.patch))


@given(geometries(), st.sampled_from(PLANES), st.sampled_from([CUBES, SHEETS]), st.data())
@hypothesis_settings(max_examples=60)
def test_the_logits_of_a_slice_are_those_of_the_whole_volume_there(geometry, plane, spec, data):
    spec = replace(big(spec), spacing=tuple(1.7 for _ in spec.spacing), normalisation=(PLAIN,))
    volume, model = a_volume(geometry, border=data.draw(st.sampled_from([0, 2]))), a_model(spec, plane)
    axis = array_axis(geometry, plane)
    index = data.draw(st.integers(0, geometry.shape[axis] - 1))
    (seed,) = seeds_in(volume, model, [index])
    if not volume.array.take(index, axis).any():
        with pytest.raises(InputError, match="only empty ones"):
            prepare_window_case((volume,), [seed], model.card, spec)
        return
    case = prepare_window_case((volume,), [seed], model.card, spec)
    ((k, truth),) = case.truth.items()
    found = torch.cat(list(case.show(model, [k]).logits(model)))[0].numpy()
    expected = dense_logits(case, model).take(index, 1 + axis)
    inside = ~np.isnan(expected[0])
    assert inside.sum() == found[0].size
    # Classes and logits are cut out alike, so any order of rows and columns pairs the same pixels.
    pairs = {(int(c), *np.round(values, 3)) for c, values in zip(truth.ravel(), found.reshape(len(found), -1).T)}
    wanted = {(int(c), *np.round(values, 3)) for c, values in zip(seed.mask[inside], expected[:, inside].T)}
    close = [min(np.abs(np.subtract(a, b)).max() for b in wanted) for a in pairs]
    assert max(close) < 0.01


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("spec", [CUBES, SHEETS], ids=["3D", "2D"])
def test_a_window_shows_its_part_of_a_slice(spec, plane):
    volume = a_volume(Geometry((22, 20, 18), (0.8, 1.1, 0.9)))
    model = a_model(spec, plane)
    case = prepare_window_case((volume,), seeds_in(volume, model, [9]), model.card, spec)
    whole = torch.randn((2, *case.image.shape[1:]), generator=torch.Generator().manual_seed(0))
    all_of_it = replace(case, spec=replace(spec, patch=tuple(whole.shape[1:])))
    (k,) = case.truth
    expected = all_of_it.slice_logits(whole, (0, 0, 0), k)
    seen = 0
    low, high = case.ends(case.axis)
    for place in np.ndindex(*(n - side + 1 for n, side in zip(whole.shape[1:], spec.window, strict=True))):
        if place[case.axis] <= low[k] and high[k] < place[case.axis] + spec.window[case.axis]:
            z, y, x = (slice(at, at + n) for at, n in zip(place, spec.window, strict=True))
            found = case.slice_logits(whole[:, z, y, x], place, k)
            rows, columns = (case.inside(axis, place[axis]) for axis in range(3) if axis != case.axis)
            torch.testing.assert_close(found, expected[:, rows][:, :, columns])
            seen += found.numel()
    assert seen


@pytest.mark.parametrize("plane", PLANES)
def test_slices_are_computed_in_slabs_as_deep_as_a_window(plane):
    volume = a_volume(Geometry((22, 20, 26), (1.0, 1.0, 1.0)))
    model = a_model(CUBES, plane)
    case = prepare_window_case((volume,), (), model.card, CUBES)
    slices = case.occupied
    shown = case.show(model, slices, torch.zeros(0))
    depth, (low, high) = CUBES.window[case.axis], case.ends(case.axis)
    assert [k for _, part in shown.slabs() for k in part] == slices
    assert len(shown.slabs()) < len(slices) / 2
    for first, part in shown.slabs():
        assert first <= min(low[part])
        assert max(high[part]) < first + depth <= case.image.shape[1 + case.axis]
    assert len(list(shown.logits(model))) == len(slices)


def test_a_seed_outside_of_what_is_shown_is_left_out_and_with_no_other_refused():
    volume = a_volume(Geometry((20, 20, 20)), border=4)
    model = a_model(CUBES, "axial")
    case = prepare_window_case((volume,), seeds_in(volume, model, [1, 10]), model.card, CUBES)
    assert list(case.truth) == [turned_index(10, case.prepared, case.axis) - case.prepared.box[case.axis].start]
    with pytest.raises(InputError, match="only empty ones"):
        prepare_window_case((volume,), seeds_in(volume, model, [1]), model.card, CUBES)


def test_several_channels_are_several_volumes():
    spec = replace(CUBES, normalisation=(PLAIN, PLAIN))
    model = a_model(spec, "axial")
    assert model.card.input == InputSpec(channels=("MR0", "MR1"), plane="axial")
    first, second = (a_volume(Geometry((10, 10, 10)), seed) for seed in (0, 1))
    case = prepare_window_case((first, second), seeds_in(first, model, [5]), model.card, spec)
    assert len(case.image) == 2
    with pytest.raises(InputError, match="missing: MR1"):
        prepare_window_case((first,), (), model.card, spec)
