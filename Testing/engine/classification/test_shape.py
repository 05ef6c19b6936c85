"""Shape features of a region, and what a model of plain numbers says to them."""

import math
from dataclasses import replace

import numpy as np
import pytest

from medtl.classification.abstention import weak_evidence
from medtl.classification.shape import FEATURES, predict, shape_features
from medtl.errors import InputError, ModelError
from medtl.model.card import Coefficients, Term
from medtl.volume import Geometry

MODEL = Coefficients(
    intercept=1.5,
    terms=(Term("sphericity", 0.9, 0.1, -0.5), Term("log_volume", 3.0, 1.5, 0.8), Term("flatness", 1.2, 0.2, 0.0)),
    resamples=tuple((1.5 + 0.1 * i, -0.5, 0.8 - 0.05 * i, 0.02 * i) for i in range(-10, 11)),
)
VALUES = {"volume": 40.0, "sphericity": 0.8, "flatness": 1.1}


def ellipsoid(radii_mm, spacing=(1.0, 1.0, 1.0), room=3, direction=None):
    """The mask (Z, Y, X) of an ellipsoid of these half axes, mm along x, y and z, in the middle of its grid."""
    half = [math.ceil(r / s) + room for r, s in zip(radii_mm, spacing)]
    x, y, z = (np.arange(-n, n + 1) * s / r for n, s, r in zip(half, spacing, radii_mm))
    mask = z[:, None, None] ** 2 + y[None, :, None] ** 2 + x[None, None, :] ** 2 <= 1
    size = tuple(2 * n + 1 for n in half)
    return mask, Geometry(size, spacing, **({"direction": direction} if direction else {}))


@pytest.mark.parametrize("radius", [8, 15, 25])
def test_a_ball_is_round_whatever_its_size(radius):
    found = shape_features(*ellipsoid((radius,) * 3)).values
    assert found["volume"] == pytest.approx(4 / 3 * math.pi * radius**3 / 1000, rel=0.02)
    assert found["sphericity"] == pytest.approx(1, abs=0.03)
    assert found["elongation"] == pytest.approx(1, abs=0.02)
    assert found["flatness"] == pytest.approx(1, abs=0.02)
    assert found["long_axis"] == pytest.approx(2 * radius, rel=0.08)  # smoothing takes a little of a small ball
    assert found["extent"] == pytest.approx(math.pi / 6, rel=0.12)


def test_the_axes_of_an_ellipsoid_are_those_it_was_made_with():
    found = shape_features(*ellipsoid((15, 20, 40))).values
    assert found["long_axis"] == pytest.approx(80, rel=0.03)
    assert found["elongation"] == pytest.approx(2, rel=0.03)
    assert found["flatness"] == pytest.approx(20 / 15, rel=0.03)
    assert found["sphericity"] < 0.95
    assert list(found) == list(FEATURES)


@pytest.mark.parametrize("axes", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
def test_the_shape_does_not_depend_on_how_the_patient_lies(axes):
    """The ellipsoid's axes along other index axes, mirrored, on an oblique grid with another spacing on each axis."""
    radii, spacing = np.array((14.0, 20.0, 30.0)), np.array((0.7, 1.1, 2.5))
    wanted = shape_features(*ellipsoid((14.0, 20.0, 30.0))).values
    turn = math.radians(20)
    direction = (math.cos(turn), -math.sin(turn), 0, math.sin(turn), math.cos(turn), 0, 0, 0, 1.0)
    mask, geometry = ellipsoid(tuple(radii[list(axes)]), tuple(spacing), direction=direction)
    found = shape_features(mask[::-1], geometry).values
    assert found["volume"] == pytest.approx(wanted["volume"], rel=0.03)
    for name in ("sphericity", "elongation", "flatness", "extent", "long_axis"):
        assert found[name] == pytest.approx(wanted[name], rel=0.05), name


def test_thick_slices_hardly_change_the_form():
    thin = shape_features(*ellipsoid((12, 14, 20), (0.8, 0.8, 0.5))).values
    thick = shape_features(*ellipsoid((12, 14, 20), (0.8, 0.8, 5.0))).values
    assert thick["sphericity"] == pytest.approx(thin["sphericity"], abs=0.03)
    assert thick["elongation"] == pytest.approx(thin["elongation"], rel=0.05)


def test_only_the_largest_part_is_used_with_a_warning():
    mask, geometry = ellipsoid((10, 10, 10), room=15)
    alone = shape_features(mask, geometry)
    both = mask.copy()
    both[1:6, 1:12, 1:12] = True
    crumb = mask.copy()
    crumb[1:3, 1:3, 1:3] = True
    assert shape_features(both, geometry).values == alone.values
    assert "2 large parts" in " ".join(shape_features(both, geometry).warnings)
    assert shape_features(crumb, geometry) == alone
    assert alone.warnings == ()


def test_a_region_at_the_edge_may_be_cut_off():
    mask, geometry = ellipsoid((10, 10, 10), room=0)
    cut = mask[8:]
    shape = shape_features(cut, Geometry((geometry.size[0], geometry.size[1], len(cut))))
    assert "cut off" in " ".join(shape.warnings)


@pytest.mark.parametrize(
    ("mask", "spacing", "message"),
    [
        (np.zeros((5, 5, 5), bool), (1.0, 1.0, 1.0), "found no voxel"),
        (np.ones((1, 30, 30), bool), (1.0, 1.0, 5.0), "three dimensions, found one of 30 × 30 × 1"),
        (np.ones((2, 2, 2), bool), (0.5, 0.5, 0.5), r"whose shape can be measured, found one of 8 voxels \(0.001 mL\)"),
        (np.ones((300, 3, 3), bool), (1.0, 1.0, 5.0), "found a region 1500 mm long"),
    ],
    ids=["empty", "one slice", "a speck", "too large"],
)
def test_a_region_without_a_shape_is_refused_with_the_reason(mask, spacing, message):
    padded = np.pad(mask, 2)
    z, y, x = padded.shape
    with pytest.raises(InputError, match=message):
        shape_features(padded, Geometry((x, y, z), spacing))


def slow_probability(weights, intercept):
    total = intercept
    for term, weight in zip(MODEL.terms, weights):
        name = term.feature.replace("log_", "")
        x = math.log(VALUES[name]) if term.feature.startswith("log_") else VALUES[name]
        total += weight * (x - term.mean) / term.deviation
    return 1 / (1 + math.exp(-total))


def test_the_prediction_is_that_of_the_formula_written_out():
    said = predict(VALUES, MODEL)
    assert said.probability == pytest.approx(slow_probability([t.weight for t in MODEL.terms], MODEL.intercept))
    ranked = sorted(slow_probability(sample[1:], sample[0]) for sample in MODEL.resamples)
    assert said.interval == pytest.approx((np.percentile(ranked, 2.5), np.percentile(ranked, 97.5)))
    assert said.interval[0] < said.probability < said.interval[1]


def test_the_contributions_add_up_to_the_log_odds_the_largest_first():
    said = predict(VALUES, MODEL)
    total = MODEL.intercept + sum(feature.contribution for feature in said.features)
    assert math.log(said.probability / (1 - said.probability)) == pytest.approx(total)
    assert [feature.name for feature in said.features] == ["sphericity", "volume", "flatness"]
    assert said.features[0].contribution == pytest.approx(0.5)
    # A logarithm is how the model sees the volume, not what a radiologist reads.
    assert (said.features[1].label, said.features[1].value) == ("Volume (mL)", 40.0)


def test_without_resamples_there_is_no_interval():
    assert predict(VALUES, Coefficients(0.0, MODEL.terms)).interval is None


def test_an_interval_holds_the_probability_even_where_the_resamples_lie_aside():
    aside = Coefficients(0.0, MODEL.terms, ((3.0, 0.0, 0.0, 0.0), (4.0, 0.0, 0.0, 0.0)))
    said = predict(VALUES, aside)
    assert said.interval[0] == said.probability < said.interval[1]


def test_an_answer_whose_interval_holds_the_prevalence_says_little():
    low, high = predict(VALUES, MODEL).interval
    for share, inside in ((low - 1e-6, False), (low, True), (high, True), (high + 1e-6, False)):
        model = replace(MODEL, prevalence=share)
        assert bool(weak_evidence(predict(VALUES, model), model, "Malignant")) == inside, share
    model = replace(MODEL, prevalence=0.9, resamples=((1.5, 0.0, 0.0, 0.0), (3.0, 0.0, 0.0, 0.0)))
    assert weak_evidence(predict(VALUES, model), model, "Malignant") == (
        "The shape adds no evidence: 90% of the training tumours are Malignant, and the interval of the probability "
        "(82% to 95%) contains that.",
    )


@pytest.mark.parametrize("model", [MODEL, Coefficients(1.5, MODEL.terms, prevalence=0.9)], ids=["share", "interval"])
def test_without_a_prevalence_or_an_interval_there_is_nothing_to_hold_it_against(model):
    assert weak_evidence(predict(VALUES, model), model, "Malignant") == ()


def test_numbers_far_from_the_training_cases_are_said():
    assert predict(VALUES, MODEL).warnings == ()
    (warning,) = predict(VALUES | {"flatness": 2.5}, MODEL).warnings
    assert "Middle to shortest axis: 2.5 is far from" in warning


def test_a_model_that_needs_a_feature_unknown_here_is_refused():
    with pytest.raises(ModelError, match="needs the feature 'spikes'; this MedTL measures volume"):
        predict(VALUES, Coefficients(0.0, (Term("log_spikes", 0.0, 1.0, 1.0),)))


def test_odds_beyond_all_bounds_are_no_overflow():
    sure = Coefficients(-5000.0, MODEL.terms[:1])
    assert predict(VALUES, sure).probability == 0.0
