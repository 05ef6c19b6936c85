"""Fill between slices, and its blend with a network's word."""

import numpy as np
import pytest

from medtl.finetuning.between_slices import blend_classes, interpolate_labels, signed_distance


def disc(radius: float, size: int = 41) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - size // 2
    return (x * x + y * y <= radius * radius).astype(np.int64)


def test_the_distance_is_zero_at_the_border_and_grows_inwards():
    found = signed_distance(disc(10) > 0)
    assert ((found > 0) == (disc(10) > 0)).all()
    assert found[20, 20] == pytest.approx(10, abs=1)
    assert found[20, 0] == pytest.approx(-10, abs=1)
    assert np.abs(np.diff(found[20])).max() <= 1.0 + 1e-6, "no step at the border"


def test_between_two_discs_lies_one_of_the_size_between():
    found = interpolate_labels({0: disc(6), 10: disc(16)}, range(11), 1)[:, 0] > 0
    assert (found[0] == (disc(6) > 0)).all()
    assert (found[10] == (disc(16) > 0)).all()
    assert found[5].sum() == pytest.approx(np.pi * 11**2, rel=0.1)


def test_beyond_the_last_seeds_a_label_shrinks_and_ends():
    found = interpolate_labels({10: disc(12), 14: disc(12)}, range(25), 1)[:, 0] > 0
    areas = found.sum((1, 2))
    assert (np.diff(areas[14:]) <= 0).all()
    assert areas[16] > 0
    assert areas[24] == areas[0] == 0


def test_where_all_seeds_lie_in_one_part_of_a_label_the_network_has_the_word_in_the_others():
    logits = np.zeros((30, 2, 41, 41))
    logits[:, 1] = np.where(disc(12) > 0, 3.0, -3.0)
    distances = interpolate_labels({2: disc(12), 6: disc(12)}, range(30), 1)
    found = blend_classes(logits, distances, 4.0)
    assert found.dtype.kind == "i"
    assert (distances[11:] == 0).all()
    assert (found[11:] == disc(12)).all()


def test_an_empty_seed_ends_a_label_before_it():
    found = interpolate_labels({0: disc(8), 4: disc(0) * 0}, range(5), 1)[:, 0] > 0
    assert found[0].any()
    assert found[1].sum() < found[0].sum()
    assert not found[4].any()


def test_the_weight_decides_between_network_and_interpolation():
    logits = np.zeros((1, 2, 41, 41))
    logits[0, 1] = np.where(disc(5) > 0, 4.0, -4.0)
    distances = interpolate_labels({0: disc(12)}, [0], 1)
    assert (blend_classes(logits, distances, 0.0)[0] == disc(5)).all()
    assert (blend_classes(logits, distances, 100.0)[0] == disc(12)).all()
    assert disc(5).sum() < blend_classes(logits, distances, 1.0)[0].sum() < disc(12).sum()


def test_several_labels_keep_their_places():
    seeds = disc(14) + disc(6)  # 2 within 1
    found = blend_classes(np.zeros((1, 3, 41, 41)), interpolate_labels({3: seeds}, [3], 2), 1.0)[0]
    assert (
        np.mean([2 * ((found == n) & (seeds == n)).sum() / ((found == n).sum() + (seeds == n).sum()) for n in (1, 2)])
        > 0.95
    )
