"""The module as Slicer meets it: file, self-test, logic from the console, and the whole way with the real engine."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import host
import numpy as np
import pytest
import qt
import slicer
from panel_user import LESION, MODEL, MODULE, PHANTOM, ROOT, FakeWorker, User, accept_terms, paint, voxels

from medtl.io.read import read_volume
from medtl.model.card import load_card
from medtl.model.store import find_model
from medtl.phantom import head
from MedTLLib import samples
from MedTLLib.jobs.worker import Worker
from MedTLLib.module import ModuleWidget
from MedTLLib.packages import packages
from MedTLLib.seeds import marks

ENGINE_PYTHON = os.environ.get("MEDTL_ENGINE_PYTHON", str(ROOT / ".venv" / "bin" / "python"))
needs_engine = pytest.mark.skipif(
    not Path(ENGINE_PYTHON).exists(), reason="no interpreter with torch: make setup, or set MEDTL_ENGINE_PYTHON"
)


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[User]:
    """The panel is open in an empty scene without views."""
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))
    host.new_scene()
    user = User(tmp_path / "worker")
    yield user
    user.close()
    host.new_scene()


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """The real engine, in its own Python."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder = tmp_path / "engine"
    folder.mkdir()
    worker = Worker([ENGINE_PYTHON, "-u", "-P", "-m", "medtl.worker"], folder)
    yield worker
    worker.stop()


@pytest.fixture
def served(user: User, engine: Worker) -> Iterator[User]:
    """The panel, served by the real engine."""
    user.close()
    user = User(engine.folder, engine)
    yield user
    user.close()


def test_the_module_says_what_it_is(user):
    parent = slicer.modules.medtlsegment
    assert parent.title == "MedTL Segment (tumours and organs, MRI/CT)"
    assert list(parent.categories) == ["Segmentation"]
    assert list(parent.contributors)
    assert "not for diagnosis" in parent.helpText
    assert parent.acknowledgementText


def test_the_module_s_file_is_short():
    assert len(MODULE.read_text(encoding="utf-8").splitlines()) <= 250


def test_opening_the_panel_starts_no_process_and_asks_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path))
    host.new_scene()
    before = len(host.dialogs.shown)
    widget = host.load_module(MODULE)
    assert widget.logic.engine.state == "stopped"
    assert len(host.dialogs.shown) == before
    widget.parent.setMRMLScene(slicer.vtkMRMLScene())  # what Slicer's generic tests do
    host.unload_module("MedTLSegment")
    assert "torch" not in sys.modules


def test_the_module_s_own_test_passes_where_the_engine_is_not_installed(user, monkeypatch):
    user.packages.needed = packages.required()[:2]
    selfTest, said = sys.modules["MedTLSegment"].MedTLSegmentTest, []
    monkeypatch.setattr(selfTest, "delayDisplay", lambda self, text: said.append(text))
    before = len(host.dialogs.shown)
    selfTest().runTest()
    assert said == ["Test passed"]
    assert (user.packages.needed, len(host.dialogs.shown)) == (packages.required()[:2], before), (
        "nothing was installed or asked"
    )


def test_sample_data_makes_the_phantom_when_it_is_asked_for(user):
    import SampleData

    sys.modules["MedTLSegment"].registerSampleData()
    source = next(each for each in SampleData.sources if each.sampleName == samples.NAME)
    assert Path(source.thumbnailFileName).is_file()
    before = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    node = source.customDownloader(source)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == before + 1
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), head(1).volume.array)


def test_after_a_setup_that_failed_nothing_else_raises(user):
    def broken(self: ModuleWidget) -> None:
        raise ZeroDivisionError

    broken_widget = type("MedTLSegmentWidget", (ModuleWidget,), {"makePanels": broken})  # the name says whose form
    frame = slicer.qMRMLWidget()
    frame.setLayout(qt.QVBoxLayout())
    widget = broken_widget(frame)
    with pytest.raises(ZeroDivisionError):
        widget.setup()
    widget.enter()
    widget.exit()
    slicer.mrmlScene.Clear()
    widget.cleanup()
    assert host.errors == []


def test_a_widget_that_was_cleaned_up_once_is_left_alone(user):
    user.widget.cleanup()
    user.widget.cleanup()
    slicer.mrmlScene.Clear()
    assert host.errors == []


def test_sample_data_is_shown_in_every_slice_view_and_chosen(user):
    host.open_views()
    node = samples.load()
    manager = slicer.app.layoutManager()
    for name in manager.sliceViewNames():
        view = manager.sliceWidget(name)
        assert view.mrmlSliceCompositeNode().GetBackgroundVolumeID() == node.GetID()
        assert view.mrmlSliceNode().GetFieldOfView()[0] >= 224  # mm: all of the head
    user.widget.enter()
    assert user.ui.inputSelector.currentNode() is node


def test_sample_data_needs_no_views(user):
    assert slicer.app.layoutManager() is None
    assert samples.load() is not None


def test_process_refuses_bad_input_with_a_value_error(user):
    logic = user.widget.logic
    with pytest.raises(ValueError, match="Expected a volume"):
        logic.process(None, MODEL)
    volume = samples.volume_node(PHANTOM.volume)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "shift")
    volume.SetAndObserveTransformNodeID(transform.GetID())
    with pytest.raises(ValueError, match="transform"):
        logic.process(volume, MODEL)
    assert user.worker.requests == []


def test_process_tells_which_errors_are_the_caller_s(user, tmp_path):
    worker = FakeWorker(tmp_path / "failing")
    logic = sys.modules["MedTLSegment"].MedTLSegmentLogic(worker)
    volume = samples.volume_node(PHANTOM.volume)
    worker.then = lambda: worker.error("ModelError", "Expected the name of a model, found 'x'.")
    with pytest.raises(ValueError, match="found 'x'"):
        logic.process(volume, "x")
    worker.then = lambda: worker.error("DeviceError", "Not enough memory.")
    with pytest.raises(RuntimeError, match="memory"):
        logic.process(volume, MODEL)
    assert worker.state == "stopped"
    assert list(worker.folder.iterdir()) == []


def test_process_without_packages_says_where_they_come_from(user, monkeypatch):
    user.packages.needed = packages.required()[:2]
    with pytest.raises(RuntimeError, match="Open the module MedTL Segment"):
        user.widget.logic.process(samples.volume_node(PHANTOM.volume), MODEL)


@needs_engine
def test_from_the_button_to_the_lesion_with_the_real_engine_while_timers_keep_firing(served):
    user = served
    phantom = head(1, (96, 96, 12), (2.0, 2.0, 10.0))
    volume = user.load(phantom)
    beats: list[float] = []
    timer = qt.QTimer()
    timer.setInterval(10)
    timer.connect("timeout()", lambda: beats.append(time.monotonic()))
    texts = set()
    user.ui.segmentButton.click()
    timer.start()
    began = time.monotonic()

    def done() -> bool:
        texts.add(user.status().split(",")[0])
        return bool(user.ui.segmentButton.enabled)

    host.process_until(done, 90.0, "The result")
    last = len(beats)
    host.process_until(lambda: user.rows() and len(beats) > last, 10.0, "A beat after the result")
    timer.stop()
    assert user.status().startswith("Done in"), user.status()
    assert {"Starting the engine…", "Segmenting"} <= texts
    gaps = np.diff([began, *beats])
    assert len(beats) > 20
    assert gaps.max() < 1.0
    found, truth = voxels(user.chosen.resultSegmentation, volume), phantom.labelmap.array > 0
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.8
    assert float(user.rows()[0][1]) == pytest.approx(found.sum() * 0.04, abs=0.006)
    assert "torch" not in sys.modules


@needs_engine
def test_cancel_in_the_middle_of_the_real_engine_frees_the_panel_within_two_seconds(served):
    user = served
    user.load()
    user.ui.segmentButton.click()
    host.process_until(lambda: user.worker.state == "busy", 90.0, "The engine")
    user.ui.cancelButton.click()
    began = time.monotonic()
    host.process_until(lambda: user.ui.segmentButton.enabled, 10.0, "The cancel")
    assert time.monotonic() - began < 3.0
    assert user.status() == "Cancelled. Nothing was changed."
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


MAKE_RESULTS = """
import sys
from pathlib import Path
sys.path.insert(0, "Testing/engine")
import torch
import small_results as small

def two(plans):
    configuration = plans["configurations"]["3d_fullres"]
    configuration |= {"normalization_schemes": ["ZScoreNormalization"] * 2, "use_mask_for_norm": [False] * 2}
    figures = plans["foreground_intensity_properties_per_channel"]
    figures["1"] = figures["0"]

folder = small.write_results(Path(sys.argv[1]))
small.change(folder / small.PLANS, two)
small.change(folder / small.DATASET, lambda dataset: dataset.update(channel_names={"0": "T1", "1": "T2"}))
for fold in ("0", "1"):
    weights = small.some_weights(int(fold), channels=2)
    torch.save(small.a_checkpoint(weights), folder / f"fold_{fold}" / "checkpoint_final.pth")
print(folder)
"""


@needs_engine
def test_nnu_net_s_results_of_two_channels_are_imported_run_and_fine_tuned_by_the_real_engine(served, tmp_path):
    user = served
    made = subprocess.run(
        [ENGINE_PYTHON, "-c", MAKE_RESULTS, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    host.answer(str(Path(made.stdout.strip()) / "plans.json"), qt.QDialog.Accepted)
    user.ui.importButton.click()
    host.process_until(lambda: user.ui.importButton.enabled, 90.0, "The import")
    name = "Tiny-3d_fullres"
    assert user.status() == f"Imported: {name}."
    accept_terms()
    for number, called in enumerate(("p1_t2", "p1_t1")):
        volume = samples.volume_node(head(number, (16, 16, 4), (2.0, 2.0, 10.0)).volume, called)
    slicer.app.processEvents()
    combo = user.ui.modelCombo
    combo.currentIndex = combo.findData(name)
    user.ui.segmentButton.click()
    host.process_until(lambda: user.ui.segmentButton.enabled, 90.0, "The result")
    host.process_until(lambda: user.rows(), 10.0, "The table")
    assert user.status().startswith("Done in"), user.status()
    segmentation = user.chosen.resultSegmentation
    ids = segmentation.GetSegmentation().GetSegmentIDs()
    assert ids == (f"{name}.edema", f"{name}.core")
    assert sum(voxels(segmentation, volume, each).sum() for each in ids) > 0

    card = load_card(find_model(name))
    corrected = {each: np.zeros((4, 16, 16), bool) for each in ids}
    corrected[ids[0]][1:3, 4:12, 4:8] = True
    corrected[ids[1]][1:3, 4:12, 8:12] = True
    for each, mask in corrected.items():
        paint(segmentation, volume, mask, each)
    for k in (1, 2):
        marks.mark(segmentation, volume, card, k)
    user.ui.finetuneBox.collapsed = False
    user.ui.budgetSpinBox.value = 20
    host.process_until(lambda: user.ui.tuneButton.enabled, 10.0, "The marks")
    user.ui.tuneButton.click()
    host.process_until(lambda: user.ui.tuneButton.enabled, 120.0, "The tuned model")
    assert user.ui.tuneStatusLabel.text.startswith("Done in"), user.ui.tuneStatusLabel.text
    assert user.ui.compareBox.visible
    user.ui.putButton.click()
    for each, mask in corrected.items():
        np.testing.assert_array_equal(voxels(segmentation, volume, each)[1:3], mask[1:3])
    user.ui.useButton.click()
    assert user.chosen.modelName == f"{name}-tuned-1"
    assert not user.ui.reasonLabel.visible, user.ui.reasonLabel.text
    assert "torch" not in sys.modules


@needs_engine
def test_process_returns_the_segmentation_and_leaves_no_process(user, engine):
    logic = sys.modules["MedTLSegment"].MedTLSegmentLogic(engine)
    phantom = head(1, (64, 64, 8), (3.0, 3.0, 15.0))
    volume = samples.volume_node(phantom.volume)
    segmentation = logic.process(volume, MODEL)
    assert segmentation.GetSegmentation().GetSegmentIDs() == (LESION,)
    assert (voxels(segmentation, volume) & (phantom.labelmap.array > 0)).any()
    assert engine.state == "stopped"


def test_the_file_that_the_engine_gets_is_the_volume_to_the_voxel(user):
    volume = user.load()
    user.ui.segmentButton.click()
    image = user.worker.folder / user.worker.requests[0]["input"]
    read = read_volume(image)
    np.testing.assert_array_equal(read.array, slicer.util.arrayFromVolume(volume))
    assert read.geometry.close_to(PHANTOM.volume.geometry, 1e-6)
    assert not (user.worker.folder / user.worker.requests[0]["output"]).exists()
