"""Mixing logits only where neighbours disagree gives the classes of mixing all of them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from small_model import CUBES, windowed

from medtl.decision import decide, probabilities_of
from medtl.windows.resampling import along, spline_matrix, taps
from medtl.windows.restore import MIXED, classes_of, outputs_of, pairs

SIDES = st.tuples(*(st.integers(1, 9),) * 3)


@given(
    SIDES,
    SIDES,
    st.sampled_from([("argmax", 3), ("regions", 3), ("threshold", 1), ("threshold", 3)]),
    st.sampled_from([None, 0, 2]),
    st.integers(0, 999),
)
@hypothesis_settings(max_examples=150)
def test_the_classes_are_those_of_mixed_logits(old, new, kind, thick, seed):
    decision, labels = kind
    card = windowed(CUBES, labels, decision=decision).card
    logits = np.random.default_rng(seed).normal(size=(labels + (decision != "regions"), *old)).astype(np.float32)
    logits[:, : old[0] // 2] += np.float32(4) * (np.arange(len(logits)) == 0)[:, None, None, None]  # large parts agree
    slow = logits.astype(np.float64)
    for axis in range(3):
        slow = along(spline_matrix(old[axis], new[axis], int(axis != thick), axis == thick), slow, axis + 1)
    expected = decide(card, probabilities_of(card, torch.from_numpy(slow)[None]))[0].numpy()
    lines = tuple(taps(old[axis], new[axis], int(axis != thick), axis == thick) for axis in range(3))
    made = list(pairs(torch.from_numpy(logits).movedim(1, 0), card, lines))
    np.testing.assert_array_equal(np.stack([classes_of(pair, card, *lines[1:]) for pair in made]), expected)
    full = torch.stack([outputs_of(pair, *lines[1:]) for pair in made], 1)
    np.testing.assert_allclose(full.numpy(), slow, atol=1e-4)


@pytest.mark.parametrize("decision", ["argmax", "regions"])
def test_little_is_mixed_where_the_network_is_sure(decision):
    card = windowed(CUBES, 2, decision=decision).card
    logits = torch.full((2 + (decision != "regions"), 20, 20, 20), -5.0)
    logits[0] = 5.0
    logits[-1, 5:15, 5:15, 5:15] = 9.0
    lines = (taps(20, 60, 1),) * 3
    made = list(pairs(logits.movedim(1, 0), card, lines))
    assert np.mean([pair.low.classes == MIXED for pair in made]) < 0.1
    inner = np.stack([classes_of(pair, card, *lines[1:]) for pair in made])[16:44, 16:44, 16:44]
    assert (inner == inner[0, 0, 0]).all()
