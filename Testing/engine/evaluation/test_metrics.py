import itertools
import math

import numpy as np
import pytest

from medtl.evaluation import metrics
from medtl.evaluation.metrics import Counts, Lesions, Surfaces

SHAPE = (6, 9, 8)
SPACING = (0.7, 1.1, 3.0)


def blobs(seed, shape=SHAPE, share=0.25):
    """A random mask of lumps."""
    noise = np.random.default_rng(seed).random(shape)
    smooth = sum(np.roll(noise, step, axis) for axis in range(3) for step in (-1, 0, 1))
    return smooth > np.quantile(smooth, 1 - share)


def slow_surface(mask):
    """Coordinates of the mask's voxels with a face neighbour outside it, one voxel at a time."""
    found = []
    for index in np.argwhere(mask):
        for axis, step in itertools.product((a for a in range(3) if mask.shape[a] > 1), (-1, 1)):
            other = index.copy()
            other[axis] += step
            if not 0 <= other[axis] < mask.shape[axis] or not mask[tuple(other)]:
                found.append(index)
                break
    return np.array(found)


def slow_distances(from_mask, to_mask, spacing):
    """From each surface voxel of one mask to the nearest of the other, all pairs."""
    scale = np.array(spacing[::-1])
    here, there = slow_surface(from_mask) * scale, slow_surface(to_mask) * scale
    return np.array([min(math.dist(a, b) for b in there) for a in here])


def slow_components(mask):
    """Sets of 26-connected voxels, by flood fill."""
    left, parts = {tuple(i) for i in np.argwhere(mask)}, []
    while left:
        part, border = set(), [left.pop()]
        while border:
            voxel = border.pop()
            part.add(voxel)
            for step in itertools.product((-1, 0, 1), repeat=3):
                other = tuple(np.add(voxel, step).tolist())
                if other in left:
                    left.remove(other)
                    border.append(other)
        parts.append(part)
    return parts


def test_counts_agree_with_counting_voxel_by_voxel():
    truth, prediction = blobs(0), blobs(1)
    pairs = list(zip(truth.ravel().tolist(), prediction.ravel().tolist(), strict=True))
    expected = Counts(*(pairs.count(pair) for pair in ((True, True), (False, True), (True, False), (False, False))))
    assert metrics.count(truth, prediction) == expected


def test_dice_over_labels_leaves_out_what_nobody_knows():
    """The twin: pixel by pixel, one label after another."""
    rng = np.random.default_rng(5)
    truth, prediction = rng.integers(0, 3, (4, 6, 5)), rng.integers(0, 3, (4, 6, 5))
    truth[1, :3] = 9
    truth[3] = prediction[3] = 0

    def slow(true, predicted):
        scores = []
        for label in (1, 2):
            pairs = [
                (t == label, p == label) for t, p in zip(true.ravel().tolist(), predicted.ravel().tolist()) if t != 9
            ]
            total = sum(t + p for t, p in pairs)
            scores.append(2 * sum(t and p for t, p in pairs) / total if total else 1.0)
        return sum(scores) / 2

    assert metrics.label_dice(prediction, truth, 2, 9) == pytest.approx(slow(truth, prediction))
    by_slice = metrics.label_dice(prediction, truth, 2, 9, by_slice=True)
    assert by_slice == pytest.approx([slow(t, p) for t, p in zip(truth, prediction)])
    assert by_slice[3] == 1.0
    assert metrics.dice(truth == 1, prediction == 1) == metrics.count(truth == 1, prediction == 1).overlaps["dice"]


@pytest.mark.parametrize("seed", range(3))
def test_the_area_of_values_is_the_share_of_pairs_in_order(seed):
    rng = np.random.default_rng(seed)
    positive, values = rng.random(40) < 0.4, np.round(rng.normal(size=40), 1)
    pairs = [(a > b) + 0.5 * (a == b) for a in values[positive] for b in values[~positive]]
    table = metrics.value_table(positive, values)
    assert metrics.auc(table) == pytest.approx(np.mean(pairs))
    assert metrics.ranked_pairs(table) == (sum(pairs), len(pairs))
    assert np.isnan(metrics.auc(metrics.value_table(np.ones(4, bool), values[:4])))


def test_counts_of_two_volumes_add_up():
    assert Counts(1, 2, 3, 4) + Counts(10, 20, 30, 40) == Counts(11, 22, 33, 44)


def test_overlaps_are_the_textbook_ratios_of_voxel_sets():
    truth, prediction = blobs(2), blobs(3)
    a, b = ({tuple(i) for i in np.argwhere(m)} for m in (truth, prediction))
    found = metrics.count(truth, prediction).overlaps
    assert found["dice"] == pytest.approx(2 * len(a & b) / (len(a) + len(b)))
    assert found["iou"] == pytest.approx(len(a & b) / len(a | b))
    assert found["precision"] == pytest.approx(len(a & b) / len(b))
    assert found["recall"] == pytest.approx(len(a & b) / len(a))
    assert found["f1"] == pytest.approx(2 / (1 / found["precision"] + 1 / found["recall"]))


@pytest.mark.parametrize(
    ("true", "predicted", "overlap", "surface", "error"),
    [
        pytest.param(0, 0, 1.0, Surfaces(None, 1.0), None, id="both empty"),
        pytest.param(1, 0, 0.0, Surfaces(None, 0.0), -1.0, id="nothing predicted"),
        pytest.param(0, 1, 0.0, Surfaces(None, 0.0), None, id="nothing there"),
        pytest.param(1, 1, 1.0, Surfaces(0.0, 1.0), 0.0, id="one and the same voxel"),
    ],
)
def test_empty_masks_follow_the_stated_convention(true, predicted, overlap, surface, error):
    truth, prediction = np.zeros((2, *SHAPE), dtype=np.uint8)
    truth[2, 3, 4], prediction[2, 3, 4] = true, predicted
    scores = metrics.score(truth, prediction, SPACING)
    assert {scores.dice, scores.iou, scores.precision, scores.recall, scores.f1} == {overlap}
    assert Surfaces(scores.hd95, scores.surface_dice) == surface
    assert scores.volume_error_relative == error
    assert scores.lesions.sensitivity == (None if not true else float(predicted))
    assert scores.lesions.false_positives == int(predicted and not true)


@pytest.mark.parametrize("shape", [SHAPE, (1, 12, 11), (7, 7, 7)], ids=["volume", "picture", "cube"])
@pytest.mark.parametrize("seed", range(3))
def test_surface_distances_agree_with_all_pairs(shape, seed):
    truth, prediction = blobs(seed, shape), blobs(seed + 10, shape)
    there = slow_distances(truth, prediction, SPACING)
    back = slow_distances(prediction, truth, SPACING)
    found = metrics.surfaces(truth, prediction, SPACING, tolerance=1.2)
    assert found.hd95 == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)), abs=1e-5)
    near = np.concatenate([there, back]) <= 1.2
    assert found.surface_dice == pytest.approx(near.mean())


def test_a_mask_on_one_slice_of_a_volume_is_all_surface():
    truth, prediction = np.zeros((2, 5, 9, 9), dtype=bool)
    truth[2, 2:7, 2:7] = True
    prediction[2, 4, 4] = True
    assert metrics.surfaces(truth, prediction).hd95 == pytest.approx(
        np.percentile(slow_distances(truth, prediction, (1, 1, 1)), 95)
    )


def test_two_voxels_are_as_far_apart_as_their_spacing_says():
    truth, prediction = np.zeros((2, *SHAPE), dtype=bool)
    truth[1, 2, 3], prediction[3, 2, 3] = True, True
    assert metrics.surfaces(truth, prediction, SPACING).hd95 == pytest.approx(6.0)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
def test_distances_agree_with_monai():
    torch = pytest.importorskip("torch")
    monai = pytest.importorskip("monai.metrics")
    truth, prediction = blobs(4, (10, 12, 11)), blobs(5, (10, 12, 11))
    one_hot = [torch.from_numpy(np.stack([~m, m])[None].astype(np.float32)) for m in (prediction, truth)]
    spacing = SPACING[::-1]
    found = metrics.surfaces(truth, prediction, SPACING, tolerance=1.5)
    hd95 = monai.compute_hausdorff_distance(*one_hot, percentile=95, spacing=spacing)
    dice = monai.compute_surface_dice(*one_hot, class_thresholds=[1.5], spacing=spacing)
    assert found.hd95 == pytest.approx(float(hd95), abs=1e-4)
    assert found.surface_dice == pytest.approx(float(dice), abs=1e-6)
    overlap = monai.compute_dice(*one_hot, include_background=False)
    assert metrics.count(truth, prediction).overlaps["dice"] == pytest.approx(float(overlap))


def test_dice_and_iou_agree_with_simpleitk():
    sitk = pytest.importorskip("SimpleITK")
    truth, prediction = blobs(6), blobs(7)
    measure = sitk.LabelOverlapMeasuresImageFilter()
    measure.Execute(*(sitk.GetImageFromArray(m.astype(np.uint8)) for m in (truth, prediction)))
    found = metrics.count(truth, prediction).overlaps
    assert found["dice"] == pytest.approx(measure.GetDiceCoefficient())
    assert found["iou"] == pytest.approx(measure.GetJaccardCoefficient())


@pytest.mark.parametrize("seed", range(4))
def test_lesions_agree_with_flood_fill(seed):
    truth, prediction = blobs(seed, share=0.08), blobs(seed + 20, share=0.08)
    inside = {tuple(i) for i in np.argwhere(prediction)}
    true, predicted = slow_components(truth), slow_components(prediction)
    found = sum(len(part & inside) >= 0.1 * len(part) for part in true)
    wrong = sum(not any(truth[voxel] for voxel in part) for part in predicted)
    assert metrics.lesions(truth, prediction) == Lesions(len(true), found, wrong)


@pytest.mark.parametrize(("voxels", "found"), [(1, 0), (2, 1)])
def test_a_lesion_is_found_from_a_tenth_of_its_voxels_on(voxels, found):
    truth, prediction = np.zeros((2, 1, 1, 40), dtype=bool)
    truth[..., 5:25] = True
    prediction[..., 25 - voxels : 30] = True
    assert metrics.lesions(truth, prediction) == Lesions(1, found, 0)


def test_touching_by_a_corner_makes_one_lesion():
    truth = np.zeros((4, 4, 4), dtype=bool)
    truth[1, 1, 1] = truth[2, 2, 2] = True
    assert metrics.lesions(truth, truth) == Lesions(1, 1, 0)


def test_volume_errors_are_signed_and_in_ml():
    truth, prediction = np.zeros((2, 10, 10, 10), dtype=bool)
    truth[:5], prediction[:4] = True, True
    scores = metrics.score(truth, prediction, (2.0, 2.0, 5.0))
    assert scores.volume_error_ml == pytest.approx(-100 * 20 / 1000)
    assert scores.volume_error_relative == pytest.approx(-0.2)


def test_without_a_real_spacing_distances_are_pixels_and_there_is_no_ml():
    truth, prediction = np.zeros((2, *SHAPE), dtype=bool)
    truth[1, 2, 3], prediction[3, 2, 3] = True, True
    scores = metrics.score(truth, prediction, (1.0, 1.0, 7.0), real_spacing=False)
    assert scores.volume_error_ml is None
    assert scores.hd95 == pytest.approx(2.0)


def test_label_values_above_one_count_as_inside():
    truth = blobs(0)
    assert metrics.score(truth * np.uint16(4), truth).dice == 1.0


def test_auc_agrees_with_comparing_every_pair_of_voxels():
    rng = np.random.default_rng(0)
    truth = rng.random(SHAPE) < 0.2
    probability = np.clip(0.3 * truth + rng.random(SHAPE), 0, 1).astype(np.float32)
    inside, outside = probability[truth], probability[~truth]
    slow = np.mean([(p > outside).mean() + 0.5 * (p == outside).mean() for p in inside])
    assert float(metrics.auc(metrics.histogram(truth, probability))) == pytest.approx(slow, abs=1e-3)


def test_histograms_of_two_volumes_add_up_to_the_auc_of_both():
    rng = np.random.default_rng(1)
    truth, probability = rng.random((2, *SHAPE)) < 0.3, rng.random((2, *SHAPE), dtype=np.float32)
    apart = sum(metrics.histogram(t, p) for t, p in zip(truth, probability, strict=True))
    together = metrics.histogram(truth.reshape(-1, 9, 8), probability.reshape(-1, 9, 8))
    np.testing.assert_array_equal(apart, together)


@pytest.mark.parametrize(("probability", "area"), [(0.0, 0.5), (1.0, 0.5)], ids=["all 0", "all 1"])
def test_one_probability_everywhere_ranks_nothing(probability, area):
    table = metrics.histogram(blobs(0), np.full(SHAPE, probability, dtype=np.float32))
    assert float(metrics.auc(table)) == area


def test_auc_without_a_lesion_is_unknown():
    assert np.isnan(metrics.auc(metrics.histogram(np.zeros(SHAPE), np.zeros(SHAPE))))


def test_several_cases_of_one_patient_are_averaged_first():
    assert metrics.by_patient([1.0, 0.0, None, 0.5, None], ["a", "a", "b", "c", "c"]) == [0.5, 0.5]


def test_the_interval_is_that_of_plain_resampling_and_returns_with_the_seed():
    values = [0.2, 0.5, 0.9, 0.85, 0.7, 0.95, 0.4]
    rng = np.random.default_rng(5)
    slow = np.percentile([np.mean(rng.choice(values, len(values))) for _ in range(10000)], (2.5, 97.5))
    found = metrics.bootstrap_ci(values)
    np.testing.assert_allclose(found, slow, atol=0.01)
    assert found == metrics.bootstrap_ci(values)
    assert found != metrics.bootstrap_ci(values, seed=1)


def test_one_patient_has_no_spread():
    assert metrics.bootstrap_ci([0.75]) == (0.75, 0.75)


def test_the_interval_of_pooled_dice_is_that_of_pooling_resampled_patients():
    patients = [Counts(90, 10, 20), Counts(5, 30, 20), Counts(400, 40, 30), Counts(60, 5, 50)]
    rng = np.random.default_rng(3)
    slow = []
    for _ in range(4000):
        drawn = sum((patients[i] for i in rng.integers(0, 4, 4)), start=Counts())
        slow.append(drawn.overlaps["dice"])
    table = np.array([(c.tp, c.fp, c.fn) for c in patients])
    found = metrics.pooled_ci(lambda pooled: metrics.overlaps(*pooled.T)["dice"], table)
    np.testing.assert_allclose(found, np.percentile(slow, (2.5, 97.5)), atol=0.02)
