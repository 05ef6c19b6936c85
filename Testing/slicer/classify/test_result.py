"""What a classification leaves in the scene, and what is handed over for it; no panel."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import host
import numpy as np
import pytest
import slicer
import vtk
from class_user import BRAIN, GLIOMA, RENAL, STRANGE, ClassWorker, card, install, renal
from panel_user import PHANTOM, FakePackages

from medtl.errors import InputError
from medtl.io.read import read_volume
from medtl.volume import Geometry, Volume
from MedTLClassifyLib import heatmaps
from MedTLClassifyLib import job as classify_job
from MedTLClassifyLib import result as class_result
from MedTLClassifyLib.result import Classification
from MedTLLib import samples
from MedTLLib.mrml import scene, views
from MedTLLib.packages import packages

TRUTH = PHANTOM.labelmap.array > 0
PACKAGES = FakePackages()
RECORD = {
    "probabilities": GLIOMA,
    "abstained": False,
    "reasons": [],
    "votes": {"glioma": 1, "notumor": 1},
    "slices": [
        {"index": 3, "weight": 0.75, "probabilities": GLIOMA},
        {"index": 4, "weight": 0.25, "probabilities": GLIOMA},
    ],
    "features": [],
    "interval": None,
    "plane": "axial",
    "rule": "",
    "warnings": [],
    "input": "head",
    "segment": None,
}


@pytest.fixture
def volume(scene: Any) -> Any:
    return samples.volume_node(PHANTOM.volume, "head")


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClassWorker]:
    """An engine that answers as soon as it is asked, by `then`."""
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))
    install(card(BRAIN), renal())
    worker = ClassWorker(tmp_path / "worker")
    worker.then = worker.classified
    yield worker
    worker.stop()


def network_result(**changes: Any) -> Classification:
    """The result of the network with four classes for the whole volume "head"."""
    one = card(BRAIN)
    names = {each.id: each.name for each in one.classes}
    return Classification(BRAIN, one.version, one.sha256, names, "", RECORD | changes, {})


def segmented(volume: Any, *names: str) -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "tumours")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for name in names:
        node.GetSegmentation().AddEmptySegment(name, name)
    return node


def paint(segmentation: Any, volume: Any, segment_id: str, mask: np.ndarray) -> None:
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), segmentation, segment_id, volume)


# The table


def test_the_table_says_a_class_a_row_and_its_details_a_slice_a_row(volume):
    table = class_result.put(network_result(), card(BRAIN), volume, None, None)
    details = table.GetNodeReference(class_result.DETAILS_ROLE)
    columns = {table.GetColumnName(n): n for n in range(table.GetNumberOfColumns())}
    assert list(columns) == ["Class", "Probability", "Slices"]
    assert [table.GetCellText(row, 0) for row in range(4)] == ["Glioma", "Meningioma", "Pituitary tumour", "No tumour"]
    chances = [table.GetTable().GetValue(row, 1).ToDouble() for row in range(4)]
    assert chances == list(GLIOMA.values())
    assert [table.GetCellText(row, 2) for row in range(4)] == ["1", "0", "0", "1"]
    assert [details.GetColumnName(n) for n in range(3)] == ["Slice", "Glioma", "Meningioma"]
    assert [details.GetCellText(row, 0) for row in range(details.GetNumberOfRows())] == ["3", "4"]
    assert table.GetLocked()


def test_a_second_answer_to_the_same_question_takes_the_place_of_the_first(volume):
    heat = Volume(np.zeros(PHANTOM.volume.array.shape, np.float32), PHANTOM.volume.geometry)
    first = class_result.put(network_result(), card(BRAIN), volume, None, heat)
    class_result.outdate(first)
    counts = [slicer.mrmlScene.GetNumberOfNodesByClass(f"vtkMRML{kind}Node") for kind in ("Table", "ScalarVolume")]
    second = class_result.put(network_result(abstained=True), card(BRAIN), volume, None, heat)
    after = [slicer.mrmlScene.GetNumberOfNodesByClass(f"vtkMRML{kind}Node") for kind in ("Table", "ScalarVolume")]
    assert second is first
    assert after == counts
    assert class_result.read(first).abstained
    assert class_result.why_outdated(first, volume, None, "", card(BRAIN)) == ""


def test_answers_to_other_questions_stand_beside_each_other_and_each_is_found(volume):
    other = samples.volume_node(PHANTOM.volume, "other")
    segmentation = segmented(volume, "a", "b")
    questions = [(volume, None, ""), (other, None, ""), (volume, segmentation, "a"), (volume, segmentation, "b")]
    tables = []
    for at, where, segment in questions:
        found = replace(network_result(), segment=segment)
        tables.append(class_result.put(found, card(BRAIN), at, where, None))
    assert len(set(tables)) == 4
    for table, question in zip(tables, questions, strict=True):
        assert class_result.find(*question, card(BRAIN)) is table
    assert class_result.find(*questions[0], renal()) is None
    assert class_result.find(*questions[0], card(BRAIN, sha256="another training")) is None
    assert class_result.find(None, None, "", card(BRAIN)) is None


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("the same", ""),
        ("other volume", "for the volume head"),
        ("segment", "for the whole image"),
        ("model", f"by the model {BRAIN} 1.0.0"),
        ("no model", "by the model"),
    ],
)
def test_an_answer_is_stale_for_every_other_question(volume, question, reason):
    table = class_result.put(network_result(), card(BRAIN), volume, None, None)
    segmentation = segmented(volume, "a")
    asked = {
        "the same": (volume, None, "", card(BRAIN)),
        "other volume": (samples.volume_node(PHANTOM.volume, "other"), None, "", card(BRAIN)),
        "segment": (volume, segmentation, "a", card(BRAIN)),
        "model": (volume, None, "", renal()),
        "no model": (volume, None, "", None),
    }[question]
    found = class_result.why_outdated(table, *asked)
    assert (found == "") == (reason == "")
    assert reason in found


def test_a_table_that_is_damaged_or_of_another_kind_is_no_answer(volume):
    table = class_result.put(network_result(), card(BRAIN), volume, None, None)
    for text in ("{", "[]", '{"model": 1}', "null"):
        table.SetAttribute(class_result.RESULT, text)
        assert class_result.read(table) is None, text
    assert class_result.read(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode")) is None
    assert class_result.read(None) is None


def test_a_saved_scene_has_the_answer_with_all_that_belongs_to_it(volume, tmp_path):
    heat = np.linspace(0, 1, TRUTH.size, dtype=np.float32).reshape(TRUTH.shape)
    table = class_result.put(network_result(), card(BRAIN), volume, None, Volume(heat, PHANTOM.volume.geometry))
    path, name = tmp_path / "scene.mrb", table.GetName()
    assert slicer.mrmlScene.WriteToMRB(str(path))
    slicer.mrmlScene.Clear()
    slicer.mrmlScene.ReadFromMRB(str(path), True)
    table = slicer.util.getFirstNodeByName(name)
    assert class_result.read(table) == network_result()
    assert table.GetNodeReference(class_result.VOLUME_ROLE).GetName() == "head"
    node = table.GetNodeReference(class_result.HEATMAP_ROLE)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), heat)
    assert node.GetDisplayNode().GetColorNode().GetName() == heatmaps.COLOURS


def test_the_segment_that_is_most_likely_the_tumour_is_preferred(volume):
    node = segmented(volume, "kidney", "my tumour", "ours", "lesion of ours")
    segments = node.GetSegmentation()
    assert class_result.preferred_segment(node) == "my tumour"
    segments.GetSegment("ours").SetTag("MedTL.model", "kidneys")
    assert class_result.preferred_segment(node) == "my tumour"
    segments.GetSegment("lesion of ours").SetTag("MedTL.model", "tumours")
    segments.GetSegment("lesion of ours").SetTag("MedTL.label", "lesion")
    assert class_result.preferred_segment(node) == "lesion of ours"
    assert class_result.preferred_segment(segmented(volume, "first", "second")) == "first"
    assert class_result.preferred_segment(segmented(volume)) == ""
    assert class_result.preferred_segment(None) == ""


# Places


def oblique() -> Geometry:
    """A grid of unlike spacings, turned about two axes, its slices from above to below."""
    a, b = np.deg2rad(20.0), np.deg2rad(35.0)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    axes = about_z @ about_x @ np.diag([1.0, 1.0, -1.0])
    return Geometry((9, 7, 5), (1.5, 2.0, 6.0), (-12.0, 30.0, 8.0), tuple(axes.ravel()))


def test_the_heat_map_lies_on_an_oblique_volume_voxel_by_voxel(scene):
    geometry = oblique()
    heat = np.random.default_rng(1).random(geometry.shape, dtype=np.float32)
    volume = samples.volume_node(Volume(np.zeros(heat.shape, np.float32), geometry), "oblique")
    node = heatmaps.put(heat, geometry, "heat")
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), heat)
    for z, y, x in [(0, 0, 0), (4, 6, 8), (2, 5, 1)]:
        places = [ras_of_voxel(each, (x, y, z)) for each in (volume, node)]
        np.testing.assert_allclose(places[0], places[1], atol=1e-9)


def ras_of_voxel(node: Any, ijk: tuple[int, int, int]) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return np.array(matrix.MultiplyPoint((*ijk, 1)))[:3]


@pytest.mark.parametrize(("plane", "axis"), [("axial", 2), ("coronal", 1), ("sagittal", 0), (None, 2)])
def test_a_slice_s_place_is_the_mean_of_its_voxels(scene, plane, axis):
    geometry = oblique()
    volume = samples.volume_node(Volume(np.zeros(geometry.shape), geometry), "oblique")
    place, along = class_result.place_of(volume, plane, 1)
    z, y, x = np.indices(geometry.shape).reshape(3, -1)
    voxels = np.stack([x, y, z, np.ones_like(x)])[:, (x, y, z)[axis] == 1]
    slow = (np.diag([-1.0, -1.0, 1.0, 1.0]) @ geometry.affine @ voxels).mean(axis=1)[:3]
    assert along == axis
    np.testing.assert_allclose(place, slow, atol=1e-9)


# The heat map over the slices


def red() -> Any:
    return slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()


@pytest.fixture
def shown(volume: Any) -> Any:
    """A heat map that is shown, over views where the user had another volume in front."""
    host.open_views()
    views.turn_to(volume)
    node = heatmaps.put(TRUTH.astype(np.float32), PHANTOM.volume.geometry, "heat")
    front = samples.volume_node(PHANTOM.volume, "front")
    red().SetForegroundVolumeID(front.GetID())
    red().SetForegroundOpacity(0.3)
    heatmaps.show(node, volume)
    return node


def test_what_the_user_had_in_front_comes_back(shown):
    assert heatmaps.shown(shown)
    assert red().GetForegroundVolumeID() == shown.GetID()
    assert red().GetForegroundOpacity() == heatmaps.OPACITY
    heatmaps.show(shown, slicer.util.getNode("head"))  # twice is once
    heatmaps.hide()
    assert not heatmaps.shown(shown)
    assert red().GetForegroundVolumeID() == slicer.util.getNode("front").GetID()
    assert red().GetForegroundOpacity() == 0.3
    green = slicer.app.layoutManager().sliceWidget("Green").mrmlSliceCompositeNode()
    assert green.GetForegroundVolumeID() is None


def test_what_the_user_put_in_front_meanwhile_stays(shown):
    mine = samples.volume_node(PHANTOM.volume, "mine")
    red().SetForegroundVolumeID(mine.GetID())
    red().SetForegroundOpacity(0.8)
    heatmaps.hide()
    assert red().GetForegroundVolumeID() == mine.GetID()
    assert red().GetForegroundOpacity() == 0.8


def test_a_heat_map_or_a_foreground_that_was_deleted_breaks_nothing(shown):
    slicer.mrmlScene.RemoveNode(slicer.util.getNode("front"))
    slicer.mrmlScene.RemoveNode(shown)
    heatmaps.hide()
    assert red().GetForegroundVolumeID() is None
    heatmaps.hide()


def test_where_the_heat_is_low_nothing_is_laid_over_the_image(shown):
    colours = shown.GetDisplayNode().GetColorNode()
    rgba = [0.0] * 4
    alphas = []
    for shade in range(heatmaps.SHADES):
        colours.GetColor(shade, rgba)
        alphas.append(rgba[3])
    low = round(heatmaps.CLEAR * heatmaps.SHADES)
    assert alphas[: low - 1] == [0.0] * (low - 1)
    assert alphas[low + 1 :] == [1.0] * (heatmaps.SHADES - low - 1)
    assert (rgba[0], rgba[1]) == (1.0, 1.0)


# What is handed over


def begun(volume: Any, tmp_path: Path, segmentation: Any = None, segment: str = "", of: Any = None) -> Any:
    of = of or card(BRAIN)
    return classify_job.begin(volume, segmentation, segment, of, classify_job.Choices("cpu", 2), tmp_path)


def test_the_engine_is_handed_the_volume_and_the_segment_to_the_voxel(volume, tmp_path):
    segmentation = segmented(volume, "other", "tumour")
    paint(segmentation, volume, "other", ~TRUTH)
    paint(segmentation, volume, "tumour", TRUTH)
    job = begun(volume, tmp_path, segmentation, "tumour")
    np.testing.assert_array_equal(read_volume(tmp_path / job.request["input"]).array, PHANTOM.volume.array)
    options = job.request["options"]
    assert (options["device"], options["threads"]) == ("cpu", 2)
    worker = ClassWorker(tmp_path)
    worker.submit(job.request, print, print, print)
    np.testing.assert_array_equal(worker.region(), TRUTH)
    assert "heatmap" in options
    assert "heatmap" not in begun(volume, tmp_path, segmentation, "tumour", renal()).request["options"]
    assert "segmentation" not in begun(volume, tmp_path).request["options"]


def test_a_segment_without_voxels_on_the_volume_is_refused_and_leaves_no_folder(volume, tmp_path):
    segmentation = segmented(volume, "empty")
    with pytest.raises(InputError, match="found none of its voxels there"):
        begun(volume, tmp_path, segmentation, "empty")
    with pytest.raises(InputError, match="gone"):
        begun(volume, tmp_path, segmentation, "gone")
    with pytest.raises(InputError, match="measures the shape"):
        begun(volume, tmp_path, of=renal())
    assert list(tmp_path.iterdir()) == []


def picture(*channels: np.ndarray) -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "picture")
    slicer.util.updateVolumeFromArray(node, np.stack(channels, axis=-1)[None])
    return node


def test_a_colour_picture_whose_channels_are_equal_is_grey(scene, tmp_path):
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8)
    for node in (picture(grey, grey, grey), picture(grey, grey, grey, np.full_like(grey, 255))):
        job = begun(node, tmp_path)
        np.testing.assert_array_equal(read_volume(tmp_path / job.request["input"]).array, grey[None])
    for node in (picture(grey, grey, grey + 1), picture(grey, grey)):
        with pytest.raises(InputError, match="Vector to Scalar Volume"):
            begun(node, tmp_path)


def test_a_heat_map_a_label_map_and_nothing_are_no_images(volume, tmp_path):
    heat = heatmaps.put(TRUTH.astype(np.float32), PHANTOM.volume.geometry, "heat")
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    for node, reason in ((heat, "heat map"), (labels, "label map"), (empty, "no voxels"), (None, "found none")):
        with pytest.raises(InputError, match=reason):
            begun(node, tmp_path)


# A whole run


def test_what_slicer_knows_of_the_image_is_held_against_the_answer(volume, worker):
    gate = replace(card(BRAIN).gate, not_sequence=("*flair*",))
    volume.SetName("head_FLAIR")
    install(card(BRAIN, gate=gate))
    found = class_result.read(classify_job.run(worker, PACKAGES, volume, BRAIN))
    assert found.abstained
    assert "head FLAIR" in found.record["reasons"][0]


def test_a_run_gives_the_record_without_the_files_that_are_gone(volume, worker):
    table = classify_job.run(worker, PACKAGES, volume, BRAIN)
    found = class_result.read(table)
    assert found.record["input"] == "head"
    assert worker.folder.name not in json.dumps(class_result.report(found))
    assert list(worker.folder.iterdir()) == []
    assert found.record["image"]["size"] == [56, 56, 10]
    assert found.settings == {"device": "auto", "threads": "all"}
    assert worker.state == "stopped"


@pytest.mark.parametrize("what", ["edited", "deleted", "segment"])
def test_what_was_touched_while_the_model_ran_makes_the_answer_outdated(volume, worker, what):
    segmentation = segmented(volume, "tumour")
    paint(segmentation, volume, "tumour", TRUTH)

    def touch() -> None:
        if what == "edited":
            slicer.util.updateVolumeFromArray(volume, PHANTOM.volume.array + 1)
        elif what == "deleted":
            slicer.mrmlScene.RemoveNode(volume)
        else:
            paint(segmentation, volume, "tumour", ~TRUTH)
        worker.classified()

    worker.then = touch
    table = classify_job.run(worker, PACKAGES, volume, BRAIN, segmentation)
    assert table.GetAttribute(class_result.OUTDATED)
    assert class_result.read(table).record["segment"] == "tumour"


def test_an_engine_without_a_result_or_with_a_broken_heat_map_gives_a_message(volume, worker):
    def nothing() -> None:
        worker.jobs.pop(1)[1]({"results": [], "errors": [{"input": "x", "message": "Expected slices."}]})

    worker.then = nothing
    with pytest.raises(ValueError, match="Expected slices"):
        classify_job.run(worker, PACKAGES, volume, BRAIN)
    worker.then = lambda: worker.classified(heat=np.zeros(TRUTH.shape))
    found = class_result.read(classify_job.run(worker, PACKAGES, volume, BRAIN))
    assert found.record["warnings"][0].startswith("There is no heat map")


def test_a_model_that_does_not_classify_or_is_not_there_is_a_value_error(volume, worker):
    for name, reason in (("glioma-flair", "that classifies"), ("none", "found 'none'"), (RENAL, "measures the shape")):
        with pytest.raises(ValueError, match=reason):
            classify_job.run(worker, PACKAGES, volume, name)
    missing = FakePackages()
    missing.needed = packages.required()[:2]
    with pytest.raises(RuntimeError, match="packages are missing"):
        classify_job.run(worker, missing, volume, BRAIN)
    assert worker.requests == []


def test_the_reasons_to_abstain_stay_with_the_answer(volume, worker):
    worker.then = lambda: worker.classified(reasons=(STRANGE,), warnings=("odd",))
    found = class_result.read(classify_job.run(worker, PACKAGES, volume, BRAIN))
    assert (found.abstained, found.record["reasons"], found.record["warnings"]) == (True, [STRANGE], ["odd"])
    assert found.best == "glioma"
    assert scene.facts_of(volume).name == "head"
