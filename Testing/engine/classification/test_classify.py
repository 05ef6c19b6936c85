"""Classify: which slices are asked, how their answers become one, when it says that it does not know, and where its
heat map lies."""

import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
import torch.nn.functional as functional
from PIL import Image
from scipy import ndimage
from small_classifier import CLASSES, classifier_card, spots
from small_model import save

from medtl.classification import network as network_module
from medtl.classification.classify import ClassifyOptions, classify
from medtl.classification.files import classify_file
from medtl.classification.frames import frame_slice, resample_to_frame
from medtl.classification.shape import shape_features
from medtl.classification.slices import slice_weights
from medtl.commands.cli import main
from medtl.errors import InputError, ModelError
from medtl.io.read import read_volume
from medtl.io.write import store_image, store_labelmap
from medtl.model.bundle import Model, load_model, save_bundle
from medtl.model.card import Abstention, Calibration, Coefficients, Gate, NetworkSpec, Term
from medtl.model.networks import build
from medtl.phantom import head as phantom
from medtl.volume import Geometry, Labelmap, Segment, Volume, to_sitk, voxels_sha256

THICK = (1.0, 1.0, 5.0)


def head(size=(48, 48, 12), spots_on=(4, 5, 6), geometry: Geometry | None = None) -> tuple[Volume, np.ndarray]:
    """A grey head of `size` (x, y, z) with a bright scalp, a bright cube off its middle on some slices, and that cube
    as a mask."""
    x, y, z = size
    k, j, i = np.mgrid[:z, :y, :x]
    out = (j - y / 2) ** 2 / (y / 2.4) ** 2 + (i - x / 2) ** 2 / (x / 2.6) ** 2
    image = np.where(out <= 1, np.where(out > 0.8, 200.0, 100.0), 0.0)
    cube = np.isin(k, spots_on) & (abs(j - y * 0.35) <= 3) & (abs(i - x * 0.6) <= 3)
    image[cube] = 200.0
    return Volume(image.astype(np.float32), geometry or Geometry(size, THICK), "head"), cube


def options(**changes: object) -> ClassifyOptions:
    return ClassifyOptions(device="cpu", **changes)


def test_without_a_segment_the_slices_that_draw_attention_decide():
    volume, _ = head()
    found = classify(volume, spots(), None, options())
    assert found.plane == "axial"
    assert sorted(found.slices) == sorted(found.weights) == list(range(12))
    assert sum(found.weights[k] for k in (4, 5, 6)) > 0.9
    assert sum(found.weights.values()) == pytest.approx(1)
    assert found.best == 0
    expected = np.sum([found.weights[k] * np.array(found.slices[k]) for k in range(12)], axis=0)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
    assert "12 slices, weighed" in found.rule


def test_slices_count_as_they_would_in_one_attention_over_all_their_places():
    """The twin: the network's head over the mixed features of all slices at once, as if they were one large slice."""
    network, card = a_network()
    frames = [frame_slice(plane, 64) for plane in np.random.default_rng(0).uniform(50, 200, (3, 40, 40))]
    seen = network_module.run_network(frames, Model(card, None, (network,), "cpu", False), lambda s, f: 0)
    with torch.no_grad():
        attention = network.attend(seen.features[0])[1].double().flatten(1)
    share = attention.exp() / attention.exp().sum()
    same = np.full(3, 0.4)
    np.testing.assert_allclose(slice_weights(seen.attention, same, False), share.sum(1).numpy(), rtol=1e-5)


def test_a_segment_beside_the_head_is_said():
    volume, _ = head()
    beside = np.zeros(volume.array.shape, bool)
    beside[5, 0, 0] = True
    with pytest.raises(InputError, match="within the head"):
        classify(volume, spots(), beside, options())


def test_a_slice_without_a_tumour_hardly_counts_however_much_attention_it_draws():
    attention, tumour = np.array([9.0, 7.0, 7.0]), np.array([0.0, 0.9, 0.9])
    weights = slice_weights(attention, tumour, False)
    assert weights[0] < 0.01
    assert weights[1] == weights[2]
    healthy = slice_weights(attention, np.zeros(3), False)
    assert healthy.sum() == pytest.approx(1)
    assert healthy[0] > healthy[1]


def test_of_a_segment_of_several_parts_the_largest_is_looked_at():
    volume, cube = head(spots_on=(4, 5, 6))
    both = cube.copy()
    both[9, 30:34, 20:24] = True
    found = classify(volume, spots(), both, options())
    assert list(found.slices) == [4, 5, 6]
    assert "2 large parts" in found.warnings[0]
    both[9] = False
    both[9, 30, 20] = True  # a speck is not worth a word
    assert classify(volume, spots(), both, options()).warnings == ()


def test_with_a_segment_its_slices_decide_and_its_ends_are_left_out():
    volume, cube = head(spots_on=(4, 5, 6, 7))
    region = cube.copy()
    region[7] &= np.cumsum(region[7].ravel()).reshape(region[7].shape) <= 3  # three voxels: less than a quarter
    found = classify(volume, spots(), region, options())
    assert list(found.slices) == [4, 5, 6]
    assert set(found.weights.values()) == {1 / 3}
    assert found.rule == "The mean of the probabilities of 3 slices of the segment."


def test_a_healthy_head_has_no_tumour():
    volume, _ = head(spots_on=())
    found = classify(volume, spots(), None, options())
    assert CLASSES[found.best].id == "notumor"
    assert not found.reasons


def test_slices_that_show_little_of_the_head_are_not_asked():
    volume, _ = head()
    image = volume.array.copy()
    image[0, :20] = 0
    image[0, 28:] = 0
    image[11] = 0
    found = classify(replace(volume, array=image), spots(), None, options())
    assert sorted(found.slices) == list(range(1, 11))


def test_temperature_makes_it_less_sure_and_changes_no_vote():
    volume, _ = head()
    plain = classify(volume, spots(), None, options())
    soft = classify(volume, spots(calibration=Calibration(temperature=3.0)), None, options())
    assert 0.5 < max(soft.probabilities) < max(plain.probabilities)
    for k, p in plain.slices.items():
        logits = np.log(np.maximum(p, 1e-12)) / 3.0
        np.testing.assert_allclose(soft.slices[k], np.exp(logits) / np.exp(logits).sum(), atol=1e-4)


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (Abstention("energy", -1e3, 0.0), "unlike those of training"),
        (Abstention("energy", 1e3, 0.999999), "No class reaches"),
        (Abstention("energy", 1e3, 0.0), ""),
    ],
)
def test_it_abstains_with_the_reason(rule, reason):
    volume, _ = head()
    found = classify(volume, spots(gain=0.2, abstention=rule), None, options())
    assert bool(found.reasons) == bool(reason)
    assert reason in " ".join(found.reasons)


def test_energy_is_that_of_the_logits():
    volume, cube = head(spots_on=(5,))
    found = classify(volume, spots(gain=0.5), cube, options())
    p = np.array(found.slices[5])
    logits = np.array([np.log(p[0] / p[1]) / 2, -np.log(p[0] / p[1]) / 2])
    assert found.score == pytest.approx(-np.log(np.exp(logits).sum()), abs=1e-4)


def test_another_modality_is_a_reason():
    volume, _ = head()
    found = classify(replace(volume, modality="CT"), spots(gate=Gate(modality="MR")), None, options())
    assert "trained on MR, this volume is CT" in found.reasons[0]


def turned(matrix: np.ndarray, size: tuple[int, int, int], spacing: tuple[float, float, float]) -> Geometry:
    return Geometry(size, spacing, (11.0, -7.0, 31.0), tuple(matrix.ravel()))


@pytest.mark.parametrize("flip", [1.0, -1.0])
@pytest.mark.parametrize("tilt", [0.0, 0.3])
def test_the_heat_lies_on_the_tumour_in_the_world(tilt, flip, tmp_path):
    c, s = np.cos(tilt), np.sin(tilt)
    matrix = np.array([[flip, 0, 0], [0, c, -s * flip], [0, s, c * flip]])
    volume, cube = head(geometry=turned(matrix, (48, 48, 12), THICK))
    store_image(tmp_path / "head.nrrd", volume.array, volume.geometry)
    record = classify_file(tmp_path / "head.nrrd", spots(), options(heatmap=tmp_path / "heat.nrrd"))
    heat, image = sitk.ReadImage(str(tmp_path / "heat.nrrd")), sitk.ReadImage(str(tmp_path / "head.nrrd"))
    np.testing.assert_allclose(heat.GetDirection(), image.GetDirection(), atol=1e-9)
    values = sitk.GetArrayFromImage(heat)
    assert values.dtype == np.float32
    assert values.min() == 0
    assert 0.8 < values.max() <= 1
    peak = np.array(np.unravel_index(values.argmax(), values.shape))
    there = heat.TransformContinuousIndexToPhysicalPoint([float(v) for v in peak[::-1]])
    centre = [float(v) for v in np.argwhere(cube).mean(0)[::-1]]
    away = np.subtract(there, image.TransformContinuousIndexToPhysicalPoint(centre))
    assert np.linalg.norm(away) < 8
    assert values[cube].mean() > 10 * values[~cube & (volume.array > 0)].mean()
    assert record.heatmap == str(tmp_path / "heat.nrrd")


def a_network(**changes):
    """A classifier with an untrained network, and its card."""
    torch.manual_seed(0)
    card = classifier_card()
    return build("classifier2d", dict(card.networks[0].arguments) | changes).eval(), card


def test_the_heat_is_what_each_place_adds_to_the_answer():
    """Against the textbook: at each place, feature times the gradient of the class's logit, slice by slice."""
    network, card = a_network()
    features = network.encode(torch.randn(3, 1, 64, 64))[0].detach()
    model = Model(card, None, (network,), "cpu", False)
    found = network_module.heat_maps([[features[:2]], [features[2:]]], model, 1, lambda s, f: 0)
    for k in range(3):
        one = features[k : k + 1].clone().requires_grad_()
        network.decode([one])[0, 1].backward()
        expected = sum(g * m for g, m in zip(one.grad[0], features[k])).clamp(min=0)
        np.testing.assert_allclose(found[k], expected.detach().numpy(), atol=1e-6)


def test_a_segment_confines_where_the_network_looks():
    """What lies beside the segment no longer counts, but for what the encoder saw of it there."""
    network, card = a_network()
    with torch.no_grad():
        network.attention.weight *= (
            300  # a trained one prefers some places by far, and must not look there all the same
        )
    model = Model(card, None, (network,), "cpu", False)
    volume, cube = head(spots_on=(5,))
    found = classify(volume, model, cube, options(keep_heat=True))
    near = ndimage.binary_dilation(cube, iterations=20)
    assert found.heat.max() > 0
    assert found.heat[~near].max(initial=0) < 1e-3
    frame = frame_slice(volume.array[5], 64, volume.geometry.spacing[:2])
    features = network.encode(torch.from_numpy(frame.image)[None, None])
    grid = functional.adaptive_avg_pool2d(torch.tensor(resample_to_frame(cube[5], frame))[None], features[0].shape[2:])
    with torch.no_grad():
        mixed = network.mix(features[0])
        attention = network.attention(mixed)[0, 0].double()
        assert float(attention.max() - attention.min()) > 20
        share = ((attention - attention[grid[0] > 0].max()).clamp(max=0).exp() * grid[0]).numpy()
        averaged = (mixed[0].numpy() * share).sum((1, 2)) / share.sum()
        expected = network.head(torch.from_numpy(averaged.astype(np.float32))).softmax(0).numpy()
    np.testing.assert_allclose(found.slices[5], expected, atol=1e-3)


def test_a_classifier_bundle_goes_through_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))
    save(tmp_path / "spots", classifier_card())
    volume, cube = head()
    store_image(tmp_path / "head.nrrd", volume.array, volume.geometry)
    store_labelmap(tmp_path / "tumour.nrrd", Labelmap(cube.astype(np.uint8), volume.geometry))
    arguments = [str(tmp_path / "head.nrrd"), "--model", str(tmp_path / "spots"), "--device", "cpu"]
    arguments += ["--segmentation", str(tmp_path / "tumour.nrrd"), "--heatmap", str(tmp_path / "heat.nrrd")]
    assert main(["classify", *arguments, "--report", str(tmp_path / "r.csv"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    (result,) = answer["results"]
    assert set(result["probabilities"]) == {"glioma", "notumor"}
    assert sum(result["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    assert [one["index"] for one in result["slices"]] == [4, 5, 6]
    assert sum(result["votes"].values()) == 3
    assert (tmp_path / "heat.nrrd").exists()
    lines = (tmp_path / "r.csv").read_text().splitlines()
    assert lines[0].startswith("input,class,name")
    assert answer["sha256"] in lines[1]
    assert "not for diagnosis" in lines[1]
    assert main(["classify", *arguments, "--json"]) == 1
    assert "exists already" in json.loads(capsys.readouterr().out)["errors"][0]["message"]
    assert main(["classify", str(tmp_path / "head.nrrd"), "--model", str(tmp_path / "spots")]) == 0
    assert "not for diagnosis" in capsys.readouterr().out


def test_a_folder_of_pictures_is_classified_picture_by_picture(tmp_path, capsys):
    save(tmp_path / "spots", classifier_card())
    (tmp_path / "pictures").mkdir()
    volume, _ = head()
    for k in (1, 5):
        Image.fromarray(volume.array[k].astype(np.uint8)).convert("RGB").save(tmp_path / "pictures" / f"{k}.png")
    colour = np.zeros((48, 48, 3), np.uint8)
    colour[10:40, 10:40] = (200, 30, 90)
    Image.fromarray(colour).save(tmp_path / "pictures" / "colour.png")
    status = main(["classify", str(tmp_path / "pictures"), "--model", str(tmp_path / "spots"), "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert status == 1
    assert [r["input"].rsplit("/")[-1] for r in answer["results"]] == ["1.png", "5.png"]
    assert "colour" in answer["errors"][0]["message"]


def numbers(**changes: object):
    """A card of plain numbers: the larger, the more it is malignant."""
    terms = (Term("volume", 5.0, 3.0, 1.5), Term("sphericity", 0.8, 0.1, -0.5))
    model = Coefficients(0.3, terms, tuple((0.3 + d, 1.5 - d, -0.5) for d in np.linspace(-0.4, 0.4, 9)), (2,))
    classes = (replace(CLASSES[0], id="benign", name="Benign"), replace(CLASSES[0], id="malignant", name="Malignant"))
    return replace(classifier_card(), name="shape", classes=classes, networks=(), coefficients=model, **changes)


def test_a_model_of_plain_numbers_is_saved_checked_and_asked(tmp_path, capsys):
    save_bundle(tmp_path / "shape", numbers(), {}, "# Shape", "Terms", {})
    assert not (tmp_path / "shape" / "models").exists()
    k, j, i = np.mgrid[:30, :40, :40]
    ball = (k - 15) ** 2 + (j - 20) ** 2 + (i - 20) ** 2 <= 100
    labels = np.where(ball, 2, 0).astype(np.uint8)
    labels[2:4, 2:4, 2:4] = 1
    geometry = Geometry((40, 40, 30), (1.0, 1.0, 1.0001))
    store_labelmap(tmp_path / "labels.nrrd", Labelmap(labels, geometry))
    arguments = ["classify", str(tmp_path / "labels.nrrd"), "--model", str(tmp_path / "shape"), "--json"]
    assert main(arguments) == 0
    result = json.loads(capsys.readouterr().out)["results"][0]
    shape = shape_features(ball, geometry).values
    logit = 0.3 + 1.5 * (shape["volume"] - 5) / 3 - 0.5 * (shape["sphericity"] - 0.8) / 0.1
    assert result["probabilities"]["malignant"] == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-3)
    assert result["interval"][0] < result["probabilities"]["malignant"] < result["interval"][1]
    assert {f["name"] for f in result["features"]} == {"volume", "sphericity"}
    assert result["slices"] == []
    assert (result["abstained"], result["reasons"], result["prevalence"]) == (False, [], None)
    assert main(arguments[:-1]) == 0
    assert "usual" not in capsys.readouterr().out
    metadata = tmp_path / "shape" / "configs" / "metadata.json"
    metadata.write_text(metadata.read_text().replace('"intercept": 0.3', '"intercept": 0.9'))
    assert main(arguments) == 1
    assert "are damaged" in json.loads(capsys.readouterr().out)["errors"][0]["message"]


@pytest.mark.parametrize(("share", "abstains"), [(0.25, True), (0.05, False), (0.9, False)])
def test_a_shape_that_says_no_more_than_the_prevalence_is_uncertain(share, abstains, tmp_path, capsys):
    card = numbers()
    card = replace(card, coefficients=replace(card.coefficients, prevalence=share))
    save_bundle(tmp_path / "shape", card, {}, "# Shape", "Terms", {})
    k, j, i = np.mgrid[:30, :40, :40]
    ball = ((k - 15) ** 2 + (j - 20) ** 2 + (i - 20) ** 2 <= 100).astype(np.uint8)
    store_labelmap(tmp_path / "labels.nrrd", Labelmap(ball, Geometry((40, 40, 30), (1.0, 1.0, 1.0001))))
    arguments = ["classify", str(tmp_path / "labels.nrrd"), "--model", str(tmp_path / "shape")]
    assert main([*arguments, "--json", "--report", str(tmp_path / "r.csv")]) == 0
    result = json.loads(capsys.readouterr().out)["results"][0]
    low, high = result["interval"]
    assert (low <= share <= high) == abstains
    assert result["abstained"] == abstains
    assert result["prevalence"] == share
    assert f",{share}," in (tmp_path / "r.csv").read_text()
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert ("uncertain: review" in said) == abstains
    assert ("The shape adds no evidence: 25% of the training tumours are" in said) == abstains
    usual = share if result["class"] == "malignant" else 1 - share
    assert f"({result['name']} {result['probabilities'][result['class']]:.1%}, usual: {usual:.1%})" in said


def labelled(folder, change=lambda labels: labels, geometry=None, segments=()):
    volume, cube = head()
    store_image(folder / "head.nrrd", volume.array, volume.geometry)
    labels = change(cube.astype(np.uint8))
    store_labelmap(folder / "labels.seg.nrrd", Labelmap(labels, geometry or volume.geometry, segments))
    return folder / "head.nrrd", options(segmentation=folder / "labels.seg.nrrd")


@pytest.mark.parametrize(
    ("change", "chosen", "message"),
    [
        (lambda labels: labels * 0, None, "found it empty"),
        (lambda labels: labels, "edema", "is not there: it has m.tumour"),
        (lambda labels: labels, "7", "is not there"),
    ],
)
def test_a_segment_that_is_missing_or_empty_is_said(change, chosen, message, tmp_path):
    segments = (Segment(1, "m.tumour", "Tumour"),)
    source, given = labelled(tmp_path, change, segments=segments)
    with pytest.raises(InputError, match=message):
        classify_file(source, spots(), replace(given, segment=chosen))


def test_a_segment_is_found_by_id_name_and_value(tmp_path):
    segments = (Segment(1, "m.tumour", "Tumour"), Segment(2, "m.other", "Other"))
    grow = lambda labels: np.where(np.roll(labels, 3, 0) > labels, 2, labels).astype(np.uint8)  # noqa: E731
    source, given = labelled(tmp_path, grow, segments=segments)
    found = [
        [s.index for s in classify_file(source, spots(), replace(given, segment=name)).slices]
        for name in ("m.tumour", "Tumour", "1", "m.other")
    ]
    assert found == [[4, 5, 6]] * 3 + [[7, 8, 9]]


def test_segments_that_are_taken_together_are_named_in_a_warning(tmp_path):
    segments = (Segment(1, "m.tumour", "Tumour"), Segment(2, "m.other", "Other"))
    grow = lambda labels: np.where(np.roll(labels, 3, 0) > labels, 2, labels).astype(np.uint8)  # noqa: E731
    source, given = labelled(tmp_path, grow, segments=segments)
    united = "All 2 segments count as one region: m.tumour, m.other."
    assert united in classify_file(source, spots(), given).warnings
    assert united not in classify_file(source, spots(), replace(given, segment="Tumour")).warnings


def test_many_values_are_named_in_part(tmp_path):
    grow = lambda labels: (np.cumsum(labels.ravel()).reshape(labels.shape) % 30).astype(np.uint8)  # noqa: E731
    source, given = labelled(tmp_path, grow)
    with pytest.raises(InputError, match="it has 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 19 more"):
        classify_file(source, spots(), replace(given, segment="99"))


def test_a_segment_under_another_is_classified_whole(tmp_path):
    volume, cube = head()
    store_image(tmp_path / "head.nrrd", volume.array, volume.geometry)
    whole = np.ones_like(cube)
    image = sitk.Compose([to_sitk(layer.astype(np.uint8), volume.geometry) for layer in (cube, whole)])
    for number, name in enumerate(("Tumour", "Head")):
        for key, text in {"ID": f"s{number}", "Name": name, "Layer": str(number), "LabelValue": "1"}.items():
            image.SetMetaData(f"Segment{number}_{key}", text)
    sitk.WriteImage(image, str(tmp_path / "labels.seg.nrrd"))
    given = options(segmentation=tmp_path / "labels.seg.nrrd", segment="Tumour")
    found = classify_file(tmp_path / "head.nrrd", spots(), given)
    assert [s.index for s in found.slices] == [4, 5, 6]
    assert f"voxels lost to it: Tumour {cube.sum()} of {cube.sum()}" in " ".join(found.warnings)


def test_two_segments_of_one_name_are_refused(tmp_path):
    segments = (Segment(1, "a", "Tumour"), Segment(2, "b", "Tumour"))
    source, given = labelled(tmp_path, segments=segments)
    with pytest.raises(InputError, match=r"one segment called 'Tumour', found 2: Tumour \(a\), Tumour \(b\)"):
        classify_file(source, spots(), replace(given, segment="Tumour"))


@pytest.mark.parametrize("damage", [float("nan"), float("inf")])
def test_a_network_with_weights_that_are_not_finite_is_an_error(damage, tmp_path):
    volume, cube = head()
    for region in (None, cube):
        with pytest.raises(ModelError, match=r"finite numbers from the network of spots, found NaN"):
            classify(volume, spots(gain=damage), region, options())


def test_coefficients_that_overflow_are_an_error():
    volume, cube = head()
    terms = (Term("volume", 0.0, 1e-300, 1e300), Term("flatness", 0.0, 1e-300, -1e300))
    model = Coefficients(0.0, terms, (), (1,))
    card = replace(numbers(), coefficients=model)
    with pytest.raises(ModelError, match="finite numbers from the model's coefficients"):
        classify(volume, Model(card, None, (), "cpu", False), cube, options())


def test_a_model_of_shapes_takes_the_segment_that_is_called_tumour(tmp_path):
    k, j, i = np.mgrid[:30, :40, :40]
    ball = (k - 15) ** 2 + (j - 20) ** 2 + (i - 20) ** 2 <= 100
    labels = np.where(ball, 1, 0).astype(np.uint8)
    labels[2:5, 2:5, 2:5] = 2
    grid = Geometry((40, 40, 30), (1.0, 1.0, 1.0001))
    model, path = Model(numbers(), None, (), "cpu", False), tmp_path / "labels.seg.nrrd"
    named = (Segment(1, "a", "Renal tumour"), Segment(2, "b", "Kidney"))
    store_labelmap(path, Labelmap(labels, grid, named))
    volume = next(f.value for f in classify_file(path, model).features if f.name == "volume")
    assert volume == pytest.approx(ball.sum() * grid.voxel_ml, abs=1e-3)
    store_labelmap(path, Labelmap(labels, grid, (replace(named[0], name="Cyst"), named[1])))
    message = r"a segment called tumour, found a, b\. Choose the right one, or call it so\.$"
    with pytest.raises(InputError, match=message) as caught:
        classify_file(path, model)
    assert caught.value.option == "segment"  # which `evaluate` and `train` do not have
    store_labelmap(path, Labelmap(labels, grid, (named[0], replace(named[1], name="Second tumour"))))
    with pytest.raises(InputError, match="one segment of a tumour, found 2"):
        classify_file(path, model)


def test_a_segmentation_on_another_grid_is_refused(tmp_path):
    source, given = labelled(tmp_path, geometry=Geometry((48, 48, 12), (1.0, 1.0, 4.0)))
    with pytest.raises(InputError, match="on the grid of"):
        classify_file(source, spots(), given)


def test_a_volume_of_two_slices_is_enough():
    volume, _ = head((48, 48, 2), (0,))
    found = classify(volume, spots(), None, options())
    assert sorted(found.slices) == [0, 1]


def test_a_volume_that_shows_nothing_is_said():
    volume, _ = head()
    with pytest.raises(InputError, match="none that shows anything"):
        classify(replace(volume, array=np.zeros_like(volume.array)), spots(), None, options())


def test_a_shape_without_a_spacing_or_a_segment_is_refused():
    volume, cube = head()
    model = Model(numbers(), None, (), "cpu", False)
    with pytest.raises(InputError, match="Expected a segmentation for shape"):
        classify(volume, model, None, options())
    with pytest.raises(InputError, match="states its spacing"):
        classify(replace(volume, real_spacing=False), model, cube, options())


def test_an_image_in_place_of_a_labelmap_is_said(tmp_path):
    volume = phantom(0).volume
    store_image(tmp_path / "flair.nrrd", volume.array.astype(np.uint16), volume.geometry)
    model = Model(numbers(), None, (), "cpu", False)
    with pytest.raises(InputError, match=r"an image with \d+ values in .*flair.nrrd.*of a segmentation"):
        classify_file(tmp_path / "flair.nrrd", model)
    with pytest.raises(InputError, match=r"found an image with \d+ values in .*flair.nrrd"):
        classify_file(tmp_path / "flair.nrrd", spots(), options(segmentation=tmp_path / "flair.nrrd"))


def test_models_do_only_what_they_are_for(tmp_path):
    save(tmp_path / "small")
    save(tmp_path / "spots", classifier_card())
    with pytest.raises(ModelError, match="for classification, found small, which is for segmentation"):
        load_model(str(tmp_path / "small"), "cpu", "classification")
    with pytest.raises(ModelError, match="for segmentation, found spots"):
        load_model(str(tmp_path / "spots"), "cpu")


def test_the_phantom_goes_through():
    volume = phantom(0).volume
    found = classify(volume, spots(), None, options(keep_heat=True))
    assert found.heat.shape == volume.array.shape
    assert len(found.slices) > 3


def test_mahalanobis_is_the_distance_from_what_training_looked_like():
    network, _ = a_network(strangeness=True)
    network.usual.copy_(torch.randn(network.usual.shape))
    network.directions.copy_(torch.randn(network.directions.shape) / 30)
    features = network.encode(torch.randn(4, 1, 64, 64))
    means = features[0].detach().numpy().mean((2, 3))
    place = (means - network.usual.numpy()) @ network.directions.numpy()
    np.testing.assert_allclose(network.distance(features).detach().numpy(), (place**2).mean(1), rtol=1e-3)


def test_a_saved_classifier_looks_the_same_again(tmp_path):
    card = classifier_card(
        networks=(NetworkSpec("classifier2d", {"encoder": "mobilenetv2_050", "channels": 1, "classes": 2}, "n."),)
    )
    save(tmp_path / "m", card)
    volume, _ = head()
    # Whether bfloat16 pays is measured at each load, and a busy machine may answer otherwise the second time.
    models = [replace(load_model(str(tmp_path / "m"), "cpu", "classification"), bf16=False) for _ in "12"]
    first, again = (classify(volume, model, None, options()) for model in models)
    assert first.slices == again.slices


def test_reading_it_back_gives_the_volume_that_was_classified(tmp_path):
    volume, _ = head()
    store_image(tmp_path / "head.nrrd", volume.array, volume.geometry)
    record = classify_file(tmp_path / "head.nrrd", spots(), options())
    assert record.image.sha256 == voxels_sha256(read_volume(tmp_path / "head.nrrd").array)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_voxel_that_is_no_number_is_refused(value):
    volume, cube = head()
    array = volume.array.astype(np.float32)
    array[0, 0, 0] = value
    with pytest.raises(InputError, match="Expected finite voxels"):
        classify(replace(volume, array=array), spots(), cube, options())
