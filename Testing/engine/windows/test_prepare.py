"""A volume on the network's grid takes little memory beside its own."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from small_model import CUBES, PLAIN, windowed

from medtl.volume import Geometry, Volume
from medtl.windows.prepare import moments, prepare_windows


def test_one_channel_at_a_time_is_held_in_float32():
    spec = replace(CUBES, spacing=(4.0, 4.0, 4.0), normalisation=(PLAIN,) * 3)
    numbers = np.random.default_rng(0).integers(-1000, 1000, (90, 100, 110)).astype(np.int16)
    volumes = [Volume(numbers, Geometry(numbers.shape[::-1]), name) for name in "abc"]
    tracemalloc.start()
    try:
        prepared = prepare_windows(volumes, windowed(spec).card, spec)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert prepared.array.shape == (3, 22, 25, 28)
    # The channel as float32, what becomes of it along the first axis, and little else.
    assert peak < (4 + 4 / 4 + 0.7) * numbers.size


@pytest.mark.parametrize("shape", [(1,), (999,), (20_011,), (31, 17, 45)])
def test_mean_and_deviation_are_those_of_numpy_to_the_last_bit(shape):
    values = np.random.default_rng(5).normal(300, 80, shape).astype(np.float32)
    wanted = float(values.mean()), float(values.std())
    assert moments(values, np.empty_like(values)) == wanted
    assert moments(values, values) == wanted
