"""`medtl train renal-malignancy`: splits by patient, honest probabilities, figures, and the bundle it writes."""

import math
from itertools import product

import numpy as np
import pytest
from scipy.special import expit

from medtl.classification.abstention import weak_evidence
from medtl.classification.shape import predict, shape_features
from medtl.errors import InputError
from medtl.evaluation.metrics import draw_patients, rows_by_patient
from medtl.evaluation.reliability import auc, calibration_slope, log_loss, reliability, scores
from medtl.io.write import write_labelmap
from medtl.model.bundle import load_model
from medtl.model.card import load_card
from medtl.training import renal
from medtl.training.recipe import TrainingRun
from medtl.training.recipes.renal_malignancy import RECIPE
from medtl.volume import Geometry, Labelmap


def a_table(n=240, seed=0, strength=1.5, share=0.8, per_patient=1):
    """Cases whose first feature tells, whose second is noise."""
    rng = np.random.default_rng(seed)
    patients = np.repeat(np.arange(n // per_patient), per_patient)
    truth = np.repeat(rng.random(n // per_patient) < share, per_patient)
    values = np.stack([10 + 3 * (rng.normal(size=n) + strength * truth), rng.normal(size=n)], axis=1)
    names = tuple(f"c{i}" for i in range(n))
    return renal.Table(names, ("",) * n, np.array([f"p{p}" for p in patients]), truth, ("volume", "extent"), values)


def test_no_patient_is_on_both_sides_and_every_fold_has_its_share_of_benign():
    table = a_table(per_patient=3)
    tested = np.zeros(len(table.cases), int)
    for train, test in renal.splits(table.malignant, table.patients, 0):
        assert not set(table.patients[train]) & set(table.patients[test])
        assert table.malignant[test].mean() == pytest.approx(table.malignant.mean(), abs=0.08)
        tested[test] += 1
    assert (tested == 1).all()


@pytest.mark.parametrize("share", [0.05, 0.5, 0.913])
def test_the_intercept_makes_the_mean_probability_the_share(share):
    odds = np.random.default_rng(0).normal(size=50) * 30
    assert expit(odds + renal.unbiased_intercept(odds, share)).mean() == pytest.approx(share, abs=1e-9)


@pytest.mark.parametrize("balanced", [True, False])
def test_probabilities_are_those_of_the_data_even_where_the_fit_balances_the_classes(balanced):
    table = a_table(share=0.9)
    model = renal.fit(table.values, table.malignant, table.patients, balanced=balanced)
    said = model.probability(table.values)
    assert said.mean() == pytest.approx(table.malignant.mean(), abs=1e-6)
    assert auc(table.malignant, said, np.zeros(len(said))) > 0.8
    assert calibration_slope(table.malignant, said) == pytest.approx(1, abs=0.4)


def test_a_feature_that_says_nothing_is_left_out_and_one_that_tells_is_not():
    table = a_table(strength=1.5)
    model = renal.fit(table.values, table.malignant, table.patients)
    assert model.weights[0] > 5 * abs(model.weights[1])


def test_what_is_said_of_a_patient_comes_from_a_model_that_never_saw_him():
    table = a_table(n=100)
    models = renal.fold_models(table, repeats=2)
    said, folds = renal.out_of_fold(models, table.values)
    for repeat, case in product(range(2), range(100)):
        test, model = models[repeat][folds[repeat, case]]
        assert case in test
        train = np.setdiff1d(np.arange(100), test)
        assert model.mean == pytest.approx(table.values[train].mean(axis=0))
        assert said[repeat, case] == pytest.approx(model.probability(table.values[case : case + 1])[0])


def test_diagnoses_drawn_at_random_are_not_told_apart():
    table = a_table(n=400, strength=0.0)
    said, folds = renal.out_of_fold(renal.fold_models(table, repeats=3), table.values)
    assert np.mean([auc(table.malignant, p, f) for p, f in zip(said, folds)]) == pytest.approx(0.5, abs=0.1)


def test_the_area_under_the_curve_is_that_of_a_slow_count():
    rng = np.random.default_rng(0)
    truth, said, folds = rng.random(80) < 0.7, rng.integers(0, 9, 80) / 9, rng.integers(0, 3, 80)
    right = pairs = 0.0
    for i, j in product(range(80), range(80)):
        if truth[i] and not truth[j] and folds[i] == folds[j]:
            pairs += 1
            right += 1.0 if said[i] > said[j] else 0.5 if said[i] == said[j] else 0.0
    assert auc(truth, said, folds) == pytest.approx(right / pairs)
    assert math.isnan(auc(np.ones(3, bool), np.ones(3), np.zeros(3)))


@pytest.mark.parametrize("slope", [0.5, 1.0, 2.0])
def test_the_calibration_slope_finds_how_much_too_sure_a_model_is(slope):
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    odds = rng.normal(size=4000) * 1.5
    truth = rng.random(4000) < expit(slope * odds + 0.7)
    found = calibration_slope(truth, expit(odds))
    assert found == pytest.approx(slope, abs=0.15)
    assert found == pytest.approx(LogisticRegression(C=1e9).fit(odds[:, None], truth).coef_[0, 0], rel=1e-3)
    assert math.isnan(calibration_slope(truth, np.full(4000, 0.7)))


def test_scores_of_probabilities_that_are_right_and_of_the_share_alone():
    truth = np.array([True] * 8 + [False] * 2)
    folds = np.zeros(10)
    right = scores(truth, np.where(truth, 0.99, 0.01), folds)
    assert (right["auc"], right["sensitivity"], right["specificity"]) == (1, 1, 1)
    assert right["brier_skill"] > 0.99
    assert right["ece"] == pytest.approx(0.01)
    alone = scores(truth, np.full(10, 0.8), folds)
    assert (alone["auc"], alone["brier_skill"]) == (0.5, pytest.approx(0))
    assert sum(b["n"] for b in reliability(truth, np.linspace(0, 1, 10))) == 10
    assert log_loss(truth, np.full(10, 0.8)) == pytest.approx(-(0.8 * math.log(0.8) + 0.2 * math.log(0.2)))


def test_the_stored_resamples_say_what_the_models_fitted_to_them_say(monkeypatch):
    monkeypatch.setattr(renal, "RESAMPLES", 4)
    table = a_table(n=150)
    stored = renal.final_model(table)
    rng, groups = np.random.default_rng(renal.SEED), rows_by_patient(table.patients)
    row = {"volume": 12.5, "extent": -0.4}
    values = np.array([[12.5, -0.4]])
    for sample in stored.resamples:
        rows = draw_patients(groups, rng)
        refitted = renal.fit(table.values[rows], table.malignant[rows], table.patients[rows])
        one = type(stored)(
            sample[0],
            tuple(type(t)(t.feature, t.mean, t.deviation, w) for t, w in zip(stored.terms, sample[1:])),
        )
        assert predict(row, one).probability == pytest.approx(refitted.probability(values)[0], rel=1e-3)
    assert predict(row, stored).probability == pytest.approx(
        renal.fit(table.values, table.malignant, table.patients).probability(values)[0]
    )


def ellipsoid(radii):
    """A labelmap: an ellipsoid of the value 2 with a rim of kidney, 1."""
    half = [r + 4 for r in radii]
    x, y, z = (np.arange(-h, h + 1) / r for h, r in zip(half, radii))
    distance = z[:, None, None] ** 2 + y[None, :, None] ** 2 + x[None, None, :] ** 2
    size = tuple(2 * h + 1 for h in half)
    return Labelmap(np.where(distance <= 1, 2, np.where(distance <= 1.2, 1, 0)).astype(np.uint8), Geometry(size))


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """A list of 14 large round tumours, malignant, and 11 small long ones, benign."""
    folder = tmp_path_factory.mktemp("renal")
    rng = np.random.default_rng(0)
    lines = ["image,label,patient"]
    for i in range(25):
        benign = i >= 14
        a = int(rng.integers(5, 8) if benign else rng.integers(7, 12))
        write_labelmap(folder / f"t{i}.nrrd", ellipsoid((a, a + 1, a + (4 if benign else 2))))
        lines.append(f"t{i}.nrrd,{'benign' if benign else 'malignant'},p{i}")
    (folder / "cases.csv").write_text("\n".join(lines) + "\n")
    return folder / "cases.csv"


@pytest.fixture
def quick(monkeypatch):
    for name, value in (("REPEATS", 1), ("RESAMPLES", 3), ("INTERVAL_RESAMPLES", 20)):
        monkeypatch.setattr(renal, name, value)


def test_the_bundle_is_plain_numbers_with_its_figures_and_can_be_asked(cases, quick, tmp_path):
    seen = []
    bundle = RECIPE.train(TrainingRun(cases, tmp_path / "out"), lambda stage, fraction: seen.append(stage)).folder
    assert bundle == tmp_path / "out" / "renal-malignancy"
    assert list(dict.fromkeys(seen)) == ["measure", "validate", "intervals", "resample"]
    assert not list(bundle.rglob("*.safetensors"))
    card = load_card(bundle)
    assert [one.id for one in card.classes] == ["benign", "malignant"]
    assert card.coefficients.values == (2,)
    assert len(card.coefficients.resamples) == 3
    assert card.coefficients.prevalence == 14 / 25
    assert all(float(f"{x:.5g}") == x for sample in card.coefficients.resamples for x in sample)
    assert card.training["figures"]["n"] == 25
    assert len(card.training["split"]["train"]) == 25
    model = load_model(str(bundle), "cpu", task="classification").card.coefficients
    large, small = (
        predict(shape_features(labels.array == 2, labels.geometry).values, model).probability
        for labels in (ellipsoid((11, 12, 13)), ellipsoid((5, 6, 9)))
    )
    assert large > 0.56 > small
    readme = (bundle / "docs" / "README.md").read_text(encoding="utf-8")
    assert "25 cases" in readme
    assert "11 benign" in readme
    assert "Research use, not for diagnosis" in readme
    assert "CC BY-NC-SA" in (bundle / "LICENSE").read_text(encoding="utf-8")
    with pytest.raises(InputError, match="exists already"):
        RECIPE.train(TrainingRun(cases, tmp_path / "out"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("benign", "harmless"), "Expected a label of benign, malignant.*found 'harmless'"),
        (lambda text: "\n".join(text.splitlines()[:20]) + "\n", "at least 10 patients of each class, found 14 mal"),
        (lambda text: text.replace("p24", "p0"), "one diagnosis for a patient, found both for p0"),
        (lambda text: text.replace("t3.nrrd", "gone.nrrd"), "found 1 missing"),
        (lambda text: text.replace("t3.nrrd", "kidney.nrrd"), "found 1. Choose the right one|segment of the value 2"),
    ],
    ids=["another class", "too few", "two diagnoses", "missing", "no tumour"],
)
def test_a_list_that_cannot_be_used_is_refused_and_nothing_is_written(cases, quick, tmp_path, change, message):
    labels = ellipsoid((6, 6, 6))
    array = labels.array.copy()
    array[array == 2] = 3
    write_labelmap(cases.parent / "kidney.nrrd", Labelmap(array, labels.geometry))
    path = cases.parent / "changed.csv"
    path.write_text(change(cases.read_text()))
    with pytest.raises(InputError, match=message):
        RECIPE.train(TrainingRun(path, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("radii", "says_little"), [((18, 21, 26), True), ((5, 5, 5), False)], ids=["usual", "small"])
def test_the_model_that_ships_says_little_of_a_usual_tumour_and_more_of_a_small_round_one(radii, says_little):
    model = load_model("renal-malignancy", task="classification").card.coefficients
    labels = ellipsoid(radii)
    said = predict(shape_features(labels.array == 2, labels.geometry).values, model)
    low, high = said.interval
    assert bool(weak_evidence(said, model, "Malignant")) == says_little == (low <= 0.9133 <= high)
    assert said.probability < model.prevalence + 0.03


def test_without_scikit_learn_the_training_says_what_to_install(cases, tmp_path, monkeypatch):
    monkeypatch.setattr(renal, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"scikit-learn.*medtl\[renal\]"):
        RECIPE.train(TrainingRun(cases, tmp_path / "out"))
