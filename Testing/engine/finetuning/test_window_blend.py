"""The result of a case in windows is that of dense logits, blended slice by slice along the SEEDs' axis."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_model import CUBES
from window_cases import a_model, a_volume, seeds_in

from medtl.decision import decide
from medtl.finetuning.between_slices import seed_distances
from medtl.finetuning.blend import Blend
from medtl.finetuning.window_blend import fill_windows, span
from medtl.finetuning.window_case import WindowCase, prepare_window_case
from medtl.model.bundle import Model
from medtl.progress import no_progress
from medtl.volume import PLANES, Geometry
from medtl.windows.resampling import along
from medtl.windows.sliding import logit_planes

SPEC = replace(CUBES, mirror=(1,))


def a_case(plane: str, decision: str, indices: list[int]) -> tuple[WindowCase, Model, Blend]:
    volume, model = a_volume(Geometry((17, 16, 15), (1.0, 1.1, 1.3)), border=1), a_model(SPEC, plane, decision=decision)
    case = prepare_window_case((volume,), seeds_in(volume, model, indices), model.card, SPEC)
    return case, model, Blend(model.card, seed_distances(case.truth, 2, decision == "regions"), 30.0)


def dense(case: WindowCase, model: Model) -> torch.Tensor:
    """The logits (outputs, …) of the whole box."""
    logits = torch.stack(list(logit_planes(case.prepared.array, model, case.spec)), 1).numpy()
    for axis in range(3):
        logits = along(case.prepared.taps[axis].matrix(logits.shape[1 + axis]), logits, 1 + axis)
    return torch.from_numpy(np.ascontiguousarray(logits))


@pytest.mark.parametrize("decision", ["argmax", "regions", "threshold"])
@pytest.mark.parametrize("plane", PLANES)
def test_each_slice_is_decided_from_its_logits_and_the_interpolation(plane, decision):
    case, model, blend = a_case(plane, decision, [4, 9])
    turned = np.zeros(case.prepared.turned_shape, np.uint8)
    assert fill_windows(turned, case, model, blend, 10**6, no_progress) == 0
    logits = dense(case, model)
    expected = np.zeros_like(turned)
    inside = np.moveaxis(expected[case.prepared.box], case.axis, 0)
    for k in case.occupied:
        inside[k] = decide(model.card, blend.probability(logits.select(1 + case.axis, k)[None], [k]))[0]
    assert len(np.unique(expected)) == 3
    assert (turned != expected).mean() < 0.002  # where both sums of floats are equal but for their rounding


@pytest.mark.parametrize("plane", PLANES)
def test_with_little_time_slices_far_from_seeds_are_filled_without_the_network(plane):
    case, model, blend = a_case(plane, "argmax", [4, 6])
    total = len(case.occupied)
    whole, cut, none = (np.zeros(case.prepared.turned_shape, np.uint8) for _ in range(3))
    plain = replace(case, spec=replace(SPEC, mirror=()))
    fill_windows(whole, plain, model, blend, total, no_progress)
    count = total - 2
    assert fill_windows(cut, plain, model, blend, count, no_progress) == 2
    assert fill_windows(none, plain, model, blend, 0, no_progress) == total
    inside = [np.moveaxis(found[case.prepared.box], case.axis, 0) for found in (whole, cut, none)]
    asked = span(plain, count)
    assert set(case.truth) <= set(asked)
    middle = sorted(case.truth)[0] + 1
    assert (inside[0][middle] == inside[1][middle]).mean() > 0.9  # its windows lie a little elsewhere
    assert (inside[2][middle] > 0).any()
    for k in set(case.occupied) - set(asked):
        assert (inside[1][k] == inside[2][k]).all()
    for k, truth in case.truth.items():
        assert (inside[2][k] == truth).mean() > 0.99


def test_mirrored_windows_are_the_first_to_go():
    case, model, blend = a_case("axial", "argmax", [4, 9])
    with_mirrored, without, less = (np.zeros(case.prepared.turned_shape, np.uint8) for _ in range(3))
    total = len(case.occupied)
    fill_windows(with_mirrored, case, model, blend, 4 * total, no_progress)
    fill_windows(less, case, model, blend, 3 * total, no_progress)
    fill_windows(without, replace(case, spec=replace(SPEC, mirror=())), model, blend, total, no_progress)
    assert (less == without).all()
    assert (less != with_mirrored).any()
