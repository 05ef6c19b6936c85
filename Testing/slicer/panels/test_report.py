"""What leaves the panel: the text equal to the table, the report, and the way to MedTL Classify."""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import host
import numpy as np
import pytest
import qt
import slicer
from panel_user import ROOT, agree, tip
from study_user import FIRST, LESION, MADE, SECOND, SHA256, StudyUser, ball, segmented

from medtl import __version__
from medtl.io.read import read_labelmap, read_volume
from medtl.report.side import NOTE
from MedTLLib.jobs.worker import Worker
from MedTLLib.results import classification, doubt
from MedTLLib.results.classification import Classification
from MedTLLib.results.studies import set_date

ENGINE_PYTHON = os.environ.get("MEDTL_ENGINE_PYTHON", str(ROOT / ".venv" / "bin" / "python"))
needs_engine = pytest.mark.skipif(
    not Path(ENGINE_PYTHON).exists(), reason="no interpreter with torch: make setup, or set MEDTL_ENGINE_PYTHON"
)
LEFT, RIGHT = (-30.0, 0.0, 30.0), (30.0, 0.0, 30.0)  # RAS mm
TWO = ball(FIRST, LEFT, 14) | ball(FIRST, RIGHT, 9)
GLIOMA = {
    "class": "glioma",
    "name": "Glioma",
    "probabilities": {"glioma": 0.91, "other": 0.09},
    "abstained": False,
    "reasons": [],
    "input": "DOE^JANE",
    "segment": "Tumour",
    "rule": "",
    "warnings": [],
}


@pytest.fixture
def user_class() -> type[StudyUser]:
    return StudyUser


@pytest.fixture
def user(user: StudyUser) -> StudyUser:
    """The panel is open in an empty scene with slice views, with two lesions of a volume named after its patient."""
    user.widget.enter()
    user.worker.segments, user.worker.doubt = (MADE,), TWO * 0.4
    user.load(FIRST, "DOE^JANE 4711")
    return user


def copied(user: StudyUser) -> str:
    """The text that the button puts on the clipboard."""
    qt.QApplication.clipboard().setText("")
    user.ui.copyButton.click()
    return str(qt.QApplication.clipboard().text())


def classify(segmentation, **changes) -> None:
    """The table that MedTL Classify makes of an answer about this segmentation."""
    record = {**GLIOMA, **changes}
    answer = Classification(
        "brain-tumour-4class", "1.0.0", "ef" * 32, {"glioma": "Glioma", "other": "Another"}, LESION, record, {}
    )
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "class")
    table.SetAttribute(classification.RESULT, json.dumps(asdict(answer)))
    table.SetNodeReferenceID(classification.SEGMENTATION_ROLE, segmentation.GetID())


# The text


def test_without_a_result_the_buttons_say_why(user):
    for button in (user.ui.copyButton, user.ui.reportButton, user.ui.classifyButton):
        assert not button.enabled
        assert "no result yet" in tip(button)


def test_the_text_is_equal_to_the_table(user):
    user.segment(TWO)
    text = copied(user)
    lines = text.splitlines()
    for row in user.table("resultTable"):
        name, ml, diameters, area = row
        found = next(line for line in lines if line.strip().startswith(f"{name}:"))
        assert f"{ml} mL, {diameters} mm, {area} cm²" in found
    assert "Copied" in user.result()


def test_the_text_says_the_sides_the_model_and_what_it_is_for(user):
    user.segment(TWO)
    lines = copied(user).splitlines()
    assert lines[0] == "Results"
    assert lines[2].startswith("  Lesion 1:")
    assert lines[2].endswith("left of middle")
    assert lines[3].endswith("right of middle")
    assert lines[1].endswith("both sides of middle")
    assert lines[4] == NOTE
    assert any("glioma-flair" in line and SHA256 in line for line in lines)
    assert lines[-1] == f"MedTL {__version__}. Research use, not for diagnosis."


def test_the_text_has_the_date_and_no_name_of_a_node(user):
    node = user.segment(TWO)
    set_date(node, "2026-03-02")
    classify(node)
    text = copied(user)
    assert text.startswith("Results of 2026-03-02\n")
    assert "DOE" not in text
    assert "4711" not in text


def test_a_rejected_lesion_is_said(user):
    user.segment(TWO)
    user.ui.resultTable.item(2, 0).setCheckState(qt.Qt.Unchecked)
    for _turn in range(4):
        slicer.app.processEvents()
    assert [row[0] for row in user.table("resultTable")][-1] == "Rejected"
    assert "  Rejected: " in copied(user)


def test_a_result_without_spacing_has_no_figures(user):
    user.ui.segmentButton.click()
    user.worker.done(TWO, ml=None)
    text = copied(user)
    assert "mL" not in text
    assert "Lesion 1: left of middle" in text


def test_nothing_found_is_text_too(user):
    user.segment(np.zeros_like(TWO))
    assert "Glioma (FLAIR abnormality): 0.00 mL" in copied(user)


def without_predictions() -> None:
    """The scene as after reading a file: what models predicted is not in it."""
    for node in slicer.util.getNodesByClass("vtkMRMLLabelMapVolumeNode"):
        slicer.mrmlScene.RemoveNode(node)


def test_the_text_and_the_report_say_whether_it_was_edited_by_hand(user, tmp_path):
    user.segment(TWO)
    assert "\nNot edited by hand.\n" in copied(user)
    assert begin_report(user, tmp_path / "a.html")["options"]["by_hand"] == ""
    user.worker.finish({"output": "", "date": "", "warnings": []})
    user.ui.resultTable.item(2, 0).setCheckState(qt.Qt.Unchecked)
    for _turn in range(4):
        slicer.app.processEvents()
    assert f"\nDrawn or edited by hand: {MADE.name}.\n" in copied(user)
    assert begin_report(user, tmp_path / "b.html")["options"]["by_hand"] == MADE.name
    user.worker.finish({"output": "", "date": "", "warnings": []})
    without_predictions()
    assert "by hand" not in copied(user)
    assert "by_hand" not in begin_report(user, tmp_path / "c.html")["options"]


# The class


def test_the_class_stands_above_the_table_and_in_the_text(user):
    node = user.segment(TWO)
    assert not user.ui.classResultLabel.visible
    classify(node)
    user.widget.results.update()
    assert user.ui.classResultLabel.text == "Class: Glioma, 91 % (brain-tumour-4class 1.0.0)."
    layout = user.ui.resultTable.parentWidget().layout()
    assert layout.indexOf(user.ui.classResultLabel) < layout.indexOf(user.ui.resultTable)
    assert f"Class: Glioma, 91 % (brain-tumour-4class 1.0.0). SHA-256 {'ef' * 32}." in copied(user)


def test_a_model_that_abstains_is_uncertain(user):
    classify(user.segment(TWO), abstained=True, reasons=["no class stands out"])
    assert "Class: Uncertain: review" in copied(user)


def test_the_class_of_an_older_state_is_marked(user):
    classify(user.segment(TWO))
    slicer.util.getNode("class").SetAttribute(classification.OUTDATED, "1")
    user.widget.results.update()
    assert "Out of date" in user.ui.classResultLabel.text


def test_classify_this_opens_the_other_module_with_volume_and_segmentation(user, monkeypatch):
    node = user.segment(TWO)
    assert "not there" in tip(user.ui.classifyButton)
    widget = host.load_module(ROOT / "MedTLClassify" / "MedTLClassify.py")
    opened = []

    def select(name: str) -> None:
        opened.append(name)
        slicer.modules.medtlclassify.widgetRepresentation().enter()

    monkeypatch.setattr(slicer.util, "selectModule", select)
    user.widget.results.update()
    user.ui.resultTable.setCurrentCell(1, 0)
    user.ui.classifyButton.click()
    assert opened == ["MedTLClassify"]
    chosen = widget._parameterNode
    assert chosen.inputVolume is user.chosen.inputVolume
    assert chosen.segmentation is node
    assert chosen.segmentId == LESION
    host.unload_module("MedTLClassify")


# The changes


def compared(user: StudyUser) -> None:
    """An earlier date, compared with the result of the panel."""
    segmented(SECOND, ball(SECOND, LEFT, 10), "earlier", "2026-01-31")
    set_date(user.segment(TWO), "2026-03-02")
    user.ui.trendBox.collapsed = False
    user.widget.trend.update()
    user.tick("earlier labels", user.chosen.resultSegmentation.GetName())
    user.ui.matchCheckBox.click()
    agree(True)
    user.ui.trendButton.click()
    user.worker.compare()


def test_the_changes_are_in_the_text_until_the_segmentation_changes(user):
    compared(user)
    text = copied(user)
    shown = user.table("trendTable")
    assert f"    2026-03-02: {shown[2][1]} mL ({', '.join(f'{each} %' for each in shown[2][2:])})" in text
    assert ", new" in text
    user.ui.resultTable.item(2, 0).setCheckState(qt.Qt.Unchecked)
    for _turn in range(4):
        slicer.app.processEvents()
    text = copied(user)
    assert "out of date, compare the dates again" in text
    assert "2026-01-31" not in text


# The report


def begin_report(user: StudyUser, path: Path) -> dict:
    host.answer(str(path))
    user.ui.reportButton.click()
    return user.worker.requests[-1]


def test_the_report_gets_all_that_the_panel_shows(user, tmp_path):
    compared(user)
    node = user.chosen.resultSegmentation
    classify(node)
    request = begin_report(user, tmp_path / "r")
    assert request["output"] == str(tmp_path / "r.html")
    (study,) = request["input"]
    folder = user.worker.folder
    labels = read_labelmap(folder / study["segmentation"])
    np.testing.assert_array_equal(labels.array > 0, TWO)
    assert dict(labels.segments[0].tags)["MedTL.sha256"] == SHA256
    np.testing.assert_array_equal(read_volume(folder / study["image"]).array, FIRST.volume.array)
    options = request["options"]
    np.testing.assert_allclose(read_volume(folder / options["uncertainty"]).array, TWO * 0.4, atol=0.01)
    trend = json.loads((folder / options["trend"]).read_text())
    assert [each["date"] for each in trend["studies"]] == ["2026-01-31", "2026-03-02"]
    found = json.loads((folder / options["classification"]).read_text())
    assert found["results"][0]["names"] == {"glioma": "Glioma", "other": "Another"}
    assert "DOE" not in json.dumps([request, trend])
    user.worker.finish({"output": request["output"], "date": "2026-03-02", "warnings": ["A warning."]})
    assert user.result() == f"Saved at {tmp_path / 'r.html'}. A warning."
    assert not list(folder.glob("job-*"))


def test_a_report_of_little_is_asked_for_with_little(user, tmp_path):
    user.worker.doubt = None
    user.segment(TWO)
    assert begin_report(user, tmp_path / "r.html")["options"] == {"force": True, "by_hand": ""}


def test_no_file_is_replaced_without_a_question(user, tmp_path):
    user.segment(TWO)
    (tmp_path / "r.html").write_text("mine")
    count = len(user.worker.requests)
    host.answer(str(tmp_path / "r"))
    agree(False)
    user.ui.reportButton.click()
    assert len(user.worker.requests) == count


def test_a_report_that_fails_says_why(user, tmp_path):
    user.segment(TWO)
    begin_report(user, tmp_path / "r.html")
    user.worker.error("InputError", "The disk is full.")
    assert user.result() == "The disk is full."
    assert user.ui.reportButton.enabled


def test_without_spacing_there_is_no_report(user, tmp_path):
    user.ui.segmentButton.click()
    user.worker.done(TWO, ml=None)
    count = len(user.worker.requests)
    host.answer(str(tmp_path / "r.html"))
    user.ui.reportButton.click()
    assert len(user.worker.requests) == count
    assert "states no spacing" in user.result()


@needs_engine
@pytest.mark.slow
def test_the_real_engine_writes_the_report(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))
    host.new_scene()
    host.open_views()
    folder = tmp_path / "worker"
    folder.mkdir()
    user = StudyUser(folder, Worker([ENGINE_PYTHON, "-u", "-P", "-m", "medtl.worker"], folder))
    volume, node = segmented(FIRST, TWO, "head", "2026-03-02", replace(MADE, name="Tumour <b>"))
    doubt.put(doubt.percent_of(TWO * 0.4), FIRST.volume.geometry, node, volume, None)
    classify(node)
    user.ui.inputSelector.setCurrentNode(volume)
    user.chosen.resultSegmentation = node
    user.ui.tableButton.click()
    text = copied(user)
    host.answer(str(tmp_path / "r.html"))
    user.ui.reportButton.click()
    host.process_until(lambda: "Saved at" in user.result(), 120, "The report")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    for row in user.table("resultTable"):
        assert row[1] in page
        assert row[2] in page
    for part in (
        "Tumour &lt;b&gt;",
        "Not edited by hand.",
        "Report of 2026-03-02",
        "Glioma, 91 %",
        "Most doubtful slices",
        SHA256,
    ):
        assert part in page, part
    for side in ("left of middle", "right of middle"):  # both say the same side
        assert f">{side}</td>" in page
        assert side in text
    user.close()
    host.new_scene()


@pytest.mark.parametrize("width", [300, 500])
def test_everything_fits(user, tmp_path, width):
    compared(user)
    classify(user.chosen.resultSegmentation)
    user.widget.results.update()
    host.screenshot(user.widget.parent, tmp_path / "report.png", width)
    assert host.screenshot(user.widget.parent, tmp_path / "report.png", width)[0] == width
