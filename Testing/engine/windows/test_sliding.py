"""Planes of logits in order are those of a whole volume of logits."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from monai.data.utils import dense_patch_slices
from monai.inferers.utils import _get_scan_interval
from scipy import ndimage
from small_model import CUBES, PLAIN, windowed

from medtl.errors import Cancelled, ModelError
from medtl.windows.sliding import gaussian, logit_planes, window_starts


def slow_starts(size: int, patch: int, step: float) -> list[int]:
    """Even steps, as nnU-Net takes them."""
    count = int(np.ceil((size - patch) / (patch * step))) + 1
    return [int(np.round(i)) for i in np.linspace(0, size - patch, count)]


def whole_logits(array: np.ndarray, model, spec) -> np.ndarray:
    """The logits of the whole array (outputs, D, H, W), float64."""
    planar = len(spec.patch) == 2
    patch = (1, *spec.patch) if planar else spec.patch
    missing = [max(side - n, 0) for n, side in zip(array.shape[1:], patch)]
    padded = np.pad(array, [(0, 0), *((n // 2, n - n // 2) for n in missing)]).astype(np.float64)
    peak = np.zeros(spec.patch)
    peak[tuple(side // 2 for side in spec.patch)] = 1
    weights = ndimage.gaussian_filter(peak, [side / 8 for side in spec.patch], mode="constant").reshape(patch)
    weights = np.maximum(weights, weights[weights > 0].min())
    total, sums = 0.0, np.zeros(padded.shape[1:])
    starts = [slow_starts(n, side, spec.step) for n, side in zip(padded.shape[1:], patch)]
    if planar:
        starts[0] = range(padded.shape[1])
    flips = [f for n in range(4) for f in itertools.combinations([a + 2 for a in spec.mirror], n)]
    for place in itertools.product(*starts):
        part = tuple(slice(a, a + n) for a, n in zip(place, patch))
        window = torch.from_numpy(padded[(slice(None), *part)].copy())[None]
        window = window[:, :, 0] if planar else window
        outputs = [
            network.double()(window.flip(flip)).flip(flip)[0].numpy() for network in model.networks for flip in flips
        ]
        logits = np.mean(outputs, axis=0).reshape(-1, *patch)
        if isinstance(total, float):
            total = np.zeros((len(logits), *padded.shape[1:]))
        total[(slice(None), *part)] += logits * weights
        sums[part] += weights
    inner = tuple(slice(n // 2, n // 2 + size) for n, size in zip(missing, array.shape[1:]))
    for network in model.networks:
        network.float()
    return (total / sums)[(slice(None), *inner)]


@given(
    st.tuples(*(st.integers(1, 15),) * 3),
    st.sampled_from([(6, 8, 7), (1, 5, 4), (8, 7), (3, 3)]),
    st.sampled_from([(), (0,), (0, 1)]),
    st.integers(1, 2),
    st.sampled_from([0.5, 0.75, 1.0]),
    st.integers(0, 9),
)
@hypothesis_settings(max_examples=60)
def test_the_planes_are_those_of_the_whole_volume(shape, patch, mirror, folds, step, seed):
    spec = replace(CUBES, patch=patch, spacing=(1.0,) * len(patch), mirror=mirror, step=step)
    model = windowed(spec, folds=folds)
    array = np.random.default_rng(seed).normal(size=(1, *shape)).astype(np.float32)
    array[:, : shape[0] // 2] = 0  # air: windows of one value
    planes = list(logit_planes(array, model, spec))
    assert len(planes) == shape[0]
    np.testing.assert_allclose(torch.stack(planes, 1).numpy(), whole_logits(array, model, spec), atol=1e-4)


def test_windows_of_air_are_computed_once(monkeypatch):
    spec = replace(CUBES, patch=(4, 4, 4), normalisation=(PLAIN, PLAIN))
    model = windowed(spec)
    images = []
    forward = model.networks[0].forward
    monkeypatch.setattr(model.networks[0], "forward", lambda x: (images.append(len(x)), forward(x))[1])
    array = np.zeros((2, 4, 4, 64), np.float32)
    array[1] = 5.0
    planes = list(logit_planes(array, model, spec))
    assert sum(images) <= 2 * 2  # the first two windows go together
    np.testing.assert_allclose(torch.stack(planes, 1).numpy(), whole_logits(array, model, spec), atol=1e-4)


def test_progress_comes_with_each_window_and_can_cancel():
    spec = replace(CUBES, patch=(4, 4, 4), mirror=(0, 1, 2))
    array = np.random.default_rng(0).normal(size=(1, 8, 8, 8)).astype(np.float32)
    shares = []
    list(logit_planes(array, windowed(spec), spec, lambda stage, share: shares.append(share)))
    assert shares == [n / 27 for n in range(27)] + [1.0]

    def stop(stage: str, share: float) -> None:
        if share > 0.2:
            raise Cancelled("Cancelled.")

    with pytest.raises(Cancelled):
        list(logit_planes(array, windowed(spec), spec, stop))


def test_logits_that_are_not_finite_are_an_error():
    model = windowed(CUBES)
    model.networks[0].convolution.weight[0, 0, 0, 0, 0] = float("nan")
    with pytest.raises(ModelError, match="finite numbers from the network of small"):
        list(logit_planes(np.ones((1, 9, 9, 9), np.float32), model, CUBES))


@pytest.mark.parametrize(("size", "patch"), [(110, 64), (64, 64), (65, 64), (500, 96)])
def test_windows_begin_at_even_steps_and_cover_the_axis(size, patch):
    starts = window_starts(size, patch, 0.5)
    assert starts == slow_starts(size, patch, 0.5)
    assert starts[0] == 0
    assert starts[-1] + patch == size
    assert all(0 < after - before <= patch // 2 for before, after in itertools.pairwise(starts))


@given(st.integers(1, 90), st.integers(1, 40), st.sampled_from([0.1, 0.25, 0.5, 0.7, 1.0]))
def test_windows_in_fixed_steps_are_those_of_monai(more, patch, step):
    size = patch + more - 1
    slices = dense_patch_slices((size,), (patch,), _get_scan_interval((size,), (patch,), 1, (1 - step,)))
    assert window_starts(size, patch, 1 - (1 - step), "fixed") == [part.start for (part,) in slices]


def test_the_weights_are_highest_in_the_middle_and_nowhere_0():
    weights = gaussian((32, 16, 128), 0.125)
    assert weights.max() == weights[16, 8, 64] == 1
    assert weights.min() > 0
