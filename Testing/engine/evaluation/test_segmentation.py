import json
import re
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_series import series, write_slice

from medtl.errors import Cancelled, InputError
from medtl.evaluation import metrics, segmentation
from medtl.io.read import read_volume
from medtl.io.write import write_image, write_labelmap
from medtl.model.card import InputSpec
from medtl.typed_json import encode
from medtl.volume import Geometry, Labelmap, Segment, to_sitk
from medtl.worklist.case_list import make_list, open_list
from medtl.worklist.find import find_cases

GEOMETRY = Geometry((10, 9, 5), (0.8, 0.8, 4.0), (3.0, -7.0, 11.0))


@dataclass(frozen=True)
class Label:
    value: int
    id: str
    name: str


@dataclass(frozen=True)
class Card:
    labels: tuple[Label, ...]
    name: str = "fake"
    sha256: str = "00ff"
    family: str = "fake"
    input: InputSpec = field(default_factory=InputSpec)


@dataclass(frozen=True)
class Model:
    card: Card


@dataclass(frozen=True)
class Options:
    keep_probabilities: bool = False


@dataclass(frozen=True)
class Result:
    labelmap: Labelmap
    probabilities: np.ndarray
    warnings: tuple[str, ...] = ()


ONE = Model(Card((Label(1, "tumour", "Tumour"),)))
TWO = Model(Card((Label(1, "core", "Core"), Label(2, "oedema", "Oedema"))))


def thresholds(volume, model, options, report):
    """A model that sees label 1 from 100 on, 2 from 200 on, and whose probability is the brightness."""
    assert options.keep_probabilities
    report("infer", 0.5)
    array = volume.array.astype(np.int32)
    labels = np.where(array >= 200, 2, np.where(array >= 100, 1, 0)).astype(np.uint8)
    if len(model.card.labels) == 1:
        labels = np.minimum(labels, 1)
    chance = np.stack([array / 255 for _ in model.card.labels]).astype(np.float32)
    return Result(Labelmap(labels, volume.geometry), chance)


def evaluate(*arguments, **options):
    """The record of an evaluation, as JSON has it."""
    return encode(segmentation.evaluate(*arguments, **options))


def cases_of(folder, pairs, geometry=GEOMETRY):
    """Write pairs of (image, label, patient, site) and their list."""
    lines = ["image,label,patient,site"]
    for number, (image, label, patient, site) in enumerate(pairs):
        write_image(folder / f"c{number}.nrrd", image.astype(np.int16), geometry)
        write_labelmap(folder / f"c{number}-label.nrrd", Labelmap(label.astype(np.uint8), geometry))
        lines.append(f"c{number}.nrrd,c{number}-label.nrrd,{patient},{site}")
    path = folder / "cases.csv"
    path.write_text("\n".join(lines))
    return path


def random_pair(seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 255, GEOMETRY.shape)
    label = (image >= 100) ^ (rng.random(GEOMETRY.shape) < 0.2)
    return image, label


@pytest.fixture
def three_cases(tmp_path):
    return cases_of(
        tmp_path,
        [(*random_pair(seed), patient, site) for seed, patient, site in [(0, "p", "A"), (1, "p", "A"), (2, "q", "B")]],
    )


def test_figures_are_those_of_the_metrics_by_patient(three_cases):
    found = evaluate(ONE, three_cases, Options(), segment=thresholds)
    scores = [
        metrics.score(label, image >= 100, GEOMETRY.spacing)
        for image, label in (random_pair(seed) for seed in range(3))
    ]
    assert (found["model"], found["sha256"], found["n"], found["patients"]) == ("fake", "00ff", 3, 2)
    assert found["unit"] == "mm"
    for name in ("dice", "iou", "precision", "recall", "f1", "hd95", "surface_dice", "volume_error_ml"):
        values = [getattr(s, name) for s in scores]
        assert [case[name] for case in found["cases"]] == pytest.approx(values, abs=1e-6)
        by_patient = [(values[0] + values[1]) / 2, values[2]]
        assert found[name]["mean"] == pytest.approx(np.mean(by_patient), abs=1e-6)
        assert found[name]["ci95"] == pytest.approx(sorted(by_patient), abs=1e-6)
    assert [(case["case"], case["patient"], case["site"]) for case in found["cases"]] == [
        ("c0", "p", "A"),
        ("c1", "p", "A"),
        ("c2", "q", "B"),
    ]


def test_pooled_figures_count_all_voxels_together(three_cases):
    found = evaluate(ONE, three_cases, Options(), segment=thresholds)["pooled"]
    pairs = [random_pair(seed) for seed in range(3)]
    image, label = (np.concatenate(arrays) for arrays in zip(*pairs, strict=True))
    together = metrics.count(label, image >= 100).overlaps
    for name, value in together.items():
        assert found[name]["mean"] == pytest.approx(value)
        assert found[name]["ci95"][0] <= value <= found[name]["ci95"][1]
    inside, outside = image[label], image[~label]
    slow = np.mean([(v > outside).mean() + 0.5 * (v == outside).mean() for v in inside])
    assert found["auc"]["mean"] == pytest.approx(slow, abs=1e-3)
    assert found["auc"]["ci95"][0] <= slow <= found["auc"]["ci95"][1]


def test_sites_have_their_own_means(three_cases):
    found = evaluate(ONE, three_cases, Options(), segment=thresholds)
    dice = [case["dice"] for case in found["cases"]]
    assert {site: values["n"] for site, values in found["sites"].items()} == {"A": 2, "B": 1}
    assert found["sites"]["A"]["dice"] == pytest.approx(np.mean(dice[:2]))
    assert found["sites"]["B"]["dice"] == pytest.approx(dice[2])


def test_the_answer_is_json_without_nan_and_the_same_every_time(three_cases):
    first = json.dumps(evaluate(ONE, three_cases, Options(), segment=thresholds), allow_nan=False)
    assert first == json.dumps(evaluate(ONE, three_cases, Options(), segment=thresholds), allow_nan=False)


def test_several_labels_have_a_figure_each_and_a_case_their_mean(tmp_path):
    image, _ = random_pair(0)
    truth = np.where(image >= 180, 2, np.where(image >= 90, 1, 0))
    path = cases_of(tmp_path, [(image, truth, "p", "")])
    found = evaluate(TWO, path, Options(), segment=thresholds)
    core = metrics.count(truth == 1, (image >= 100) & (image < 200)).overlaps["dice"]
    oedema = metrics.count(truth == 2, image >= 200).overlaps["dice"]
    assert found["labels"]["core"]["mean"] == pytest.approx(core)
    assert found["labels"]["oedema"]["mean"] == pytest.approx(oedema)
    assert found["dice"]["mean"] == found["cases"][0]["dice"] == pytest.approx((core + oedema) / 2)
    assert found["pooled"]["dice"]["mean"] == pytest.approx((core + oedema) / 2)
    assert found["sites"] == {}


def test_a_label_that_was_not_drawn_in_a_case_does_not_count_there(tmp_path):
    both, core = np.zeros(GEOMETRY.shape, int), np.zeros(GEOMETRY.shape, int)
    both[1, 2:4], both[3, 2:6], core[1, 2:5] = 1, 2, 1
    image = 100 * both
    listed = cases_of(tmp_path, [(image, both, "p", "A"), (image, core, "q", "A")])
    whole = evaluate(TWO, listed, Options(), segment=thresholds)
    partial = evaluate(TWO, listed, Options(), segment=thresholds, partial=True)
    assert [case["labels"]["oedema"]["dice"] for case in whole["cases"]] == [1.0, 0.0]
    assert [case["labels"]["oedema"]["dice"] for case in partial["cases"]] == [1.0, None]
    assert (partial["labels"]["oedema"]["mean"], partial["labels"]["oedema"]["n"]) == (1.0, 1)
    assert (partial["labels"]["core"]["mean"], partial["labels"]["core"]["n"]) == (pytest.approx(0.9), 2)
    assert partial["cases"][1]["dice"] == pytest.approx(0.8)
    assert partial["pooled"]["dice"]["mean"] > whole["pooled"]["dice"]["mean"]


def test_cases_without_lesion_leave_no_nan(tmp_path):
    empty = np.zeros(GEOMETRY.shape)
    dim = np.arange(empty.size).reshape(empty.shape) % 50
    path = cases_of(tmp_path, [(dim, empty, "p", ""), (dim + 150, empty, "q", "")])
    found = evaluate(ONE, path, Options(), segment=thresholds)
    json.dumps(found, allow_nan=False)
    assert [case["dice"] for case in found["cases"]] == [1.0, 0.0]
    assert found["hd95"] == {"mean": None, "ci95": None, "median": None, "n": 0}
    assert found["pooled"]["auc"] == {"mean": None, "ci95": None}
    assert [case["auc"] for case in found["cases"]] == [None, None]
    assert found["lesion_sensitivity"]["n"] == 0
    assert [case["false_positives_per_case"] for case in found["cases"]] == [0.0, 1.0]


def test_auc_of_a_pool_where_some_patients_have_no_lesion_is_given(tmp_path):
    image, label = random_pair(0)
    path = cases_of(tmp_path, [(image, label, "p", ""), (image, label * 0, "q", "")])
    area = evaluate(ONE, path, Options(), segment=thresholds)["pooled"]["auc"]
    assert 0.5 < area["ci95"][0] <= area["mean"] <= area["ci95"][1] <= 1.0


def test_without_a_real_spacing_there_are_pixels_and_no_ml(tmp_path):
    image, label = random_pair(0)
    path = cases_of(tmp_path, [(image, label, "p", "")], Geometry(GEOMETRY.size))
    found = evaluate(ONE, path, Options(), segment=thresholds)
    assert found["unit"] == "px"
    assert found["volume_error_ml"]["mean"] is None
    assert found["hd95"]["mean"] == pytest.approx(metrics.surfaces(label, image >= 100).hd95, abs=1e-6)


def test_distances_of_unlike_units_are_not_averaged(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    image, label = random_pair(0)
    cases_of(tmp_path / "a", [(image, label, "p", "")])
    cases_of(tmp_path / "b", [(image, label, "q", "")], Geometry(GEOMETRY.size))
    path = tmp_path / "both.csv"
    path.write_text("image,label\na/c0.nrrd,a/c0-label.nrrd\nb/c0.nrrd,b/c0-label.nrrd\n")
    found = evaluate(ONE, path, Options(), segment=thresholds)
    assert (found["unit"], found["hd95"]["mean"]) == ("mixed", None)
    assert [case["unit"] for case in found["cases"]] == ["mm", "px"]
    assert all(case["hd95"] is not None for case in found["cases"])


def test_binary_takes_every_value_as_the_one_label(tmp_path):
    image, label = random_pair(0)
    values = label * np.random.default_rng(1).choice([1, 2, 4], GEOMETRY.shape)
    path = cases_of(tmp_path, [(image, values, "p", "")])
    found = evaluate(ONE, path, Options(), binary=True, segment=thresholds)
    assert found["dice"]["mean"] == pytest.approx(metrics.count(label, image >= 100).overlaps["dice"])
    (error,) = evaluate(ONE, path, Options(), segment=thresholds)["errors"]
    assert "found 2, 4. Correct the values, or use --binary" in error["message"]


def test_binary_needs_a_model_of_one_label(three_cases):
    with pytest.raises(InputError, match="one label"):
        evaluate(TWO, three_cases, Options(), binary=True, segment=thresholds)


def test_segments_of_the_model_are_known_by_id_whatever_their_values(tmp_path):
    image, _ = random_pair(0)
    truth = np.where(image >= 200, 1, np.where(image >= 100, 2, 0)).astype(np.uint8)
    path = cases_of(tmp_path, [(image, truth, "p", "")])
    segments = (Segment(1, "fake.oedema", "Oedema"), Segment(2, "fake.core", "Core"))
    write_labelmap(tmp_path / "truth.seg.nrrd", Labelmap(truth, GEOMETRY, segments))
    path.write_text("image,label\nc0.nrrd,truth.seg.nrrd\n")
    assert evaluate(TWO, path, Options(), segment=thresholds)["dice"]["mean"] == 1.0


def test_a_tuned_models_segments_are_found_by_its_family(tmp_path):
    """A tuned model writes the ids of its family; their values may be swapped."""
    image, _ = random_pair(0)
    truth = np.where(image >= 200, 1, np.where(image >= 100, 2, 0)).astype(np.uint8)
    path = cases_of(tmp_path, [(image, truth, "p", "")])
    segments = (Segment(1, "parent.oedema", "Oedema"), Segment(2, "parent.core", "Core"))
    write_labelmap(tmp_path / "truth.seg.nrrd", Labelmap(truth, GEOMETRY, segments))
    path.write_text("image,label\nc0.nrrd,truth.seg.nrrd\n")
    tuned = Model(replace(TWO.card, name="tuned", family="parent"))
    assert evaluate(tuned, path, Options(), segment=thresholds)["dice"]["mean"] == 1.0


def overlapping(path, layers, segments):
    """Write a segmentation of one layer a segment, as Slicer does where segments overlap."""
    image = sitk.Compose([to_sitk(layer.astype(np.uint8), GEOMETRY) for layer in layers])
    for number, segment in enumerate(segments):
        entries = {"ID": segment.id, "Name": segment.name, "Layer": str(number), "LabelValue": "1"}
        for key, text in entries.items():
            image.SetMetaData(f"Segment{number}_{key}", text)
    sitk.WriteImage(image, str(path))


def test_a_segment_under_others_is_compared_whole_and_the_others_are_named(tmp_path):
    image, _ = random_pair(0)
    path = cases_of(tmp_path, [(image, image >= 100, "p", "")])
    segments = (Segment(1, "s1", "Tumour"), Segment(2, "s2", "Left half"))
    half = np.zeros(GEOMETRY.shape, bool)
    half[:, :, :5] = True
    overlapping(tmp_path / "truth.seg.nrrd", [image >= 100, half], segments)
    path.write_text("image,label\nc0.nrrd,truth.seg.nrrd\n")
    found = evaluate(ONE, path, Options(), segment=thresholds)
    assert found["errors"] == []
    assert found["dice"]["mean"] == 1.0
    (warnings,) = [case["warnings"] for case in found["cases"]]
    lost = np.count_nonzero(half & (image >= 100))
    assert f"voxels lost to it: Tumour {lost} of {np.count_nonzero(image >= 100)}" in " ".join(warnings)
    assert "so not compared: Left half (s2)" in " ".join(warnings)


def test_two_segments_of_one_label_are_an_error_of_the_case(tmp_path):
    image, label = random_pair(0)
    path = cases_of(tmp_path, [(image, label, "p", "")])
    segments = (Segment(1, "s1", "Tumour"), Segment(2, "s2", "Tumour"))
    write_labelmap(tmp_path / "truth.seg.nrrd", Labelmap(label * np.uint8(1), GEOMETRY, segments))
    path.write_text("image,label\nc0.nrrd,truth.seg.nrrd\n")
    (error,) = evaluate(ONE, path, Options(), segment=thresholds)["errors"]
    assert "Expected one segment for the label Tumour of fake, found 2" in error["message"]


def test_a_label_without_a_segment_is_said(tmp_path):
    image, label = random_pair(0)
    path = cases_of(tmp_path, [(image, label, "p", "")])
    write_labelmap(tmp_path / "truth.seg.nrrd", Labelmap(label * np.uint8(1), GEOMETRY, (Segment(1, "s", "core"),)))
    path.write_text("image,label\nc0.nrrd,truth.seg.nrrd\n")
    (case,) = evaluate(TWO, path, Options(), segment=thresholds)["cases"]
    assert case["warnings"] == ["No segment was found for Oedema; it counts as empty in the truth."]


@pytest.mark.parametrize(
    "geometry",
    [replace(GEOMETRY, spacing=(0.8, 0.8, 5.0)), replace(GEOMETRY, origin=(0.0, 0.0, 0.0))],
    ids=["another spacing", "another place"],
)
def test_a_label_on_another_grid_is_refused_naming_both(tmp_path, geometry):
    image, label = random_pair(0)
    path = cases_of(tmp_path, [(image, label, "p", "")])
    write_labelmap(tmp_path / "c0-label.nrrd", Labelmap(label.astype(np.uint8), geometry))
    found = evaluate(ONE, path, Options(), segment=thresholds)
    assert (found["n"], found["cases"]) == (0, [])
    assert re.search(r"c0-label\.nrrd on the grid of .*c0\.nrrd", found["errors"][0]["message"])


@pytest.mark.parametrize("error", [OSError("torn"), TypeError("a bug"), InputError("Expected another.")])
def test_a_case_that_fails_is_an_error_and_the_figures_are_of_the_others(error, three_cases, tmp_path):
    (tmp_path / "c0.nrrd").write_text("no volume")

    def segment(volume, model, options, report):
        if volume.name == "c1":
            raise error
        return thresholds(volume, model, options, report)

    told = []
    found = evaluate(ONE, three_cases, Options(), segment=segment, failed=lambda case, why: told.append((case, why)))
    alone = tmp_path / "alone.csv"
    alone.write_text("image,label,patient,site\nc2.nrrd,c2-label.nrrd,q,B\n")
    assert found["n"] == 1
    assert [e["case"] for e in found["errors"]] == [case for case, _ in told] == ["c0", "c1"]
    assert told[1][1] is error
    assert all("\n" not in e["message"] for e in found["errors"])
    assert found | {"errors": []} == evaluate(ONE, alone, Options(), segment=thresholds)


def test_progress_goes_up_to_the_end_and_can_stop_the_work(three_cases):
    seen = []
    evaluate(ONE, three_cases, Options(), lambda stage, fraction: seen.append(fraction), segment=thresholds)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0

    def stop(stage, fraction):
        if fraction > 0.3:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        evaluate(ONE, three_cases, Options(), stop, segment=thresholds)


def test_a_model_of_several_channels_gets_them_in_its_order_and_is_compared_on_the_first_ones_grid(tmp_path):
    image, label = random_pair(0)
    cases_of(tmp_path, [(image, label, "p", "A")])
    write_image(tmp_path / "dark.nrrd", (image // 2).astype(np.int16), GEOMETRY)
    (tmp_path / "cases.csv").write_text("FLAIR,T2,label\ndark.nrrd,c0.nrrd,c0-label.nrrd\n")
    model = Model(replace(ONE.card, input=InputSpec(channels=("T2", "FLAIR"))))

    def brightest(volumes, model, options, report):
        first, second = volumes
        assert (first.array // 2 == second.array).all()
        return thresholds(first, model, options, report)

    found = evaluate(model, tmp_path / "cases.csv", Options(), segment=brightest)
    alone = evaluate(ONE, cases_of(tmp_path, [(image, label, "p", "A")]), Options(), segment=thresholds)
    assert (found["n"], found["errors"], found["dice"]) == (1, [], alone["dice"])


def test_the_reviewed_cases_of_a_list_are_a_test_set(tmp_path):
    for number in range(3):
        image, label = random_pair(number)
        write_image(tmp_path / f"c{number}.nrrd", image.astype(np.int16), GEOMETRY)
        write_labelmap(tmp_path / f"c{number}.seg.nrrd", Labelmap(label.astype(np.uint8), GEOMETRY))
    listed = open_list(make_list(tmp_path, find_cases(tmp_path), "beside", tmp_path))
    listed.change(replace(listed.cases["c0"], state="reviewed"))
    listed.change(replace(listed.cases["c1"], state="reviewed", seeds=2))
    listed.close()
    (case,) = evaluate(ONE, tmp_path, Options(), segment=thresholds)["cases"]
    image, label = random_pair(0)
    assert (case["case"], case["dice"]) == ("c0", pytest.approx(metrics.dice(label, image >= 100)))


def test_a_dicom_series_of_a_list_is_read_by_its_uid(tmp_path):
    folder = tmp_path / "patient"
    folder.mkdir()
    rng = np.random.default_rng(0)
    arrays = {uid: rng.integers(0, 255, (4, 6, 7)).astype(np.int16) for uid in ("1.1", "1.2")}
    for uid, array in arrays.items():
        for k, item in enumerate(series(4, uid=uid, description=uid)):
            write_slice(folder / f"{uid}-{k}.dcm", replace(item, array=array[k]))
    listed = open_list(make_list(tmp_path, find_cases(tmp_path), "beside", tmp_path))
    for case in tuple(listed.cases.values()):
        geometry = read_volume(folder, series=case.series).geometry
        labels = (arrays[case.series] >= 100).astype(np.uint8)
        write_labelmap(listed.result(case), Labelmap(labels, geometry))
        listed.change(replace(case, state="reviewed"))
    listed.close()
    record = evaluate(ONE, tmp_path, Options(), segment=thresholds)
    assert [(case["case"], case["dice"]) for case in record["cases"]] == [("patient_1_1", 1.0), ("patient_1_2", 1.0)]
