"""An exported file has the card's values on the volume's whole grid, and nothing is lost silently."""

from types import SimpleNamespace

import numpy as np
import pytest
import slicer
import vtk

from medtl.errors import InputError
from medtl.io.read import read_labelmap, read_volume
from medtl.model.card import InputSpec, Label, ModelCard, NetworkSpec
from medtl.volume import Labelmap, Segment
from MedTLLib.mrml.scene import geometry_of, write_volume
from MedTLLib.prediction import writer
from MedTLLib.results.export import export, merge

TILTED = np.array([[0.0, -1.0, 0.0], [0.96, 0.0, -0.28], [0.28, 0.0, 0.96]]) @ np.diag([0.8, 0.9, 3.0])
TERM = (
    "Segmentation category and type - DICOM master list"
    "~SCT^49755003^Morphologically Altered Structure~{type}~^^"
    "~Anatomic codes - DICOM master list~SCT^12738006^Brain~^^"
)
NEOPLASM, EDEMA = TERM.format(type="SCT^108369006^Neoplasm"), TERM.format(type="SCT^79654002^Edema")
LABELS = (
    Label(4, "tumour", "Tumour", (0.9, 0.2, 0.1), NEOPLASM),
    Label(9, "oedema", "Œdema", (0.2, 0.5, 0.8), EDEMA),
)
CARD = ModelCard("model", "1.0", "a test", "segmentation", LABELS, (NetworkSpec("none"),), InputSpec(), "0" * 64)


@pytest.fixture
def volume(scene):
    """An oblique, anisotropic volume of 40×30×20 voxels."""
    matrix = np.eye(4)
    matrix[:3, :3] = TILTED
    matrix[:3, 3] = (5.0, -16.0, 7.0)
    return slicer.util.addVolumeFromArray(np.arange(24_000, dtype=np.int16).reshape(20, 30, 40), matrix, "T2")


@pytest.fixture
def labels(volume) -> Labelmap:
    """The model's labels, values 4 and 9, which no flip leaves alike."""
    array = np.zeros((20, 30, 40), np.uint8)
    array[2:8, 3:9, 4:12] = 4
    array[10:15, 10:20, 20:35] = 9
    array[10, 10, 20:24] = 0
    segments = tuple(
        Segment(
            label.value,
            f"model.{label.id}",
            label.name,
            label.colour,
            label.snomed,
            (
                ("MedTL.label", label.id),
                ("MedTL.model", "model"),
                ("DICOM.SegmentAlgorithmType", "AUTOMATIC"),
                ("DICOM.SegmentAlgorithmName", "model 1.0"),
            ),
        )
        for label in LABELS
    )
    return Labelmap(array, geometry_of(volume), segments)


@pytest.fixture
def segmentation(scene, volume, labels):
    """What the panel's writer makes of the labels."""
    return scene.GetNodeByID(writer.write(labels, volume).segmentation_id)


def paint(segmentation, volume, segment_id: str, mask: np.ndarray) -> None:
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), segmentation, segment_id, volume)


def add_hand_made(segmentation, volume, box: tuple[slice, slice, slice], segment_id: str = "mine") -> np.ndarray:
    segmentation.GetSegmentation().AddEmptySegment(segment_id, "Mine, drawn", (0.1, 0.9, 0.1))
    mask = np.zeros((20, 30, 40), dtype=bool)
    mask[box] = True
    paint(segmentation, volume, segment_id, mask)
    return mask


FREE = np.s_[17:19, 2:4, 2:4]


@pytest.mark.parametrize("suffix", [".nrrd", ".seg.nrrd", ".nii.gz"])
def test_the_file_has_the_cards_values_on_the_whole_grid(segmentation, volume, labels, tmp_path, suffix):
    path = tmp_path / f"result{suffix}"
    text = export(segmentation, volume, path, CARD)
    assert text.startswith(f"Saved at {path}, read back, identical.")
    again = read_labelmap(path)
    np.testing.assert_array_equal(again.array, labels.array)
    assert again.geometry.close_to(labels.geometry, 1e-4)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_the_file_lies_on_the_volume_that_the_engine_would_read(segmentation, volume, tmp_path):
    export(segmentation, volume, tmp_path / "labels.nrrd", CARD)
    write_volume(volume, tmp_path / "image.nrrd")
    image, again = read_volume(tmp_path / "image.nrrd"), read_labelmap(tmp_path / "labels.nrrd")
    assert again.geometry.close_to(image.geometry, 1e-6)


def test_values_stay_the_cards_after_slicer_has_renumbered_its_own(segmentation, volume, labels, tmp_path):
    for label in LABELS:  # each write gives the segment a layer of its own, with the value 1
        paint(segmentation, volume, f"model.{label.id}", labels.array == label.value)
    segments = segmentation.GetSegmentation()
    assert {segments.GetSegment(f"model.{label.id}").GetLabelValue() for label in LABELS} == {1}
    segments.SetSegmentIndex("model.oedema", 0)
    export(segmentation, volume, tmp_path / "x.nrrd", CARD)
    np.testing.assert_array_equal(read_labelmap(tmp_path / "x.nrrd").array, labels.array)


def test_a_segmentation_file_keeps_names_colours_terminology_and_tags(segmentation, volume, labels, tmp_path):
    segmentation.GetSegmentation().GetSegment("model.tumour").SetTag("MedTL.seeds", '{"k": [3, 4]}')
    export(segmentation, volume, tmp_path / "x.seg.nrrd", CARD)
    again = read_labelmap(tmp_path / "x.seg.nrrd").segments
    for found, written in zip(again, labels.segments, strict=True):
        assert (found.value, found.id, found.name) == (written.value, written.id, written.name)
        assert found.colour == pytest.approx(written.colour, abs=1e-4)
        assert found.terminology == written.terminology
        assert set(written.tags) <= set(found.tags)
    assert dict(again[0].tags)["MedTL.seeds"] == '{"k": [3, 4]}'


def test_slicer_reads_the_segmentation_file_again(segmentation, volume, labels, scene, tmp_path):
    path = tmp_path / "x.seg.nrrd"
    export(segmentation, volume, path, CARD)
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(path))
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert storage.ReadData(node)
    for label in LABELS:
        found = slicer.util.arrayFromSegmentBinaryLabelmap(node, f"model.{label.id}", volume)
        np.testing.assert_array_equal(found > 0, labels.array == label.value)


def test_a_segment_of_the_users_gets_the_next_value_after_the_cards(segmentation, volume, tmp_path):
    mine = add_hand_made(segmentation, volume, FREE)
    export(segmentation, volume, tmp_path / "x.seg.nrrd", CARD)
    again = read_labelmap(tmp_path / "x.seg.nrrd")
    assert {s.id: s.value for s in again.segments} == {"model.tumour": 4, "model.oedema": 9, "mine": 10}
    np.testing.assert_array_equal(again.array == 10, mine)


def test_without_a_card_segments_are_numbered_in_their_order(segmentation, volume):
    merged = merge(segmentation, volume)
    assert [s.value for s in merged.labelmap.segments] == [1, 2]


def test_where_segments_overlap_the_earlier_one_counts_and_the_text_says_so(segmentation, volume, labels, tmp_path):
    add_hand_made(segmentation, volume, np.s_[2:8, 3:9, 4:6])
    text = export(segmentation, volume, tmp_path / "x.nrrd", CARD)
    assert f"Segments overlap in {6 * 6 * 2} voxels" in text
    np.testing.assert_array_equal(read_labelmap(tmp_path / "x.nrrd").array, labels.array)


@pytest.mark.parametrize("protect", ["status", "tag"])
def test_where_segments_overlap_a_protected_one_counts_first(segmentation, volume, protect, tmp_path):
    mine = add_hand_made(segmentation, volume, np.s_[2:8, 3:9, 4:6])
    segment = segmentation.GetSegmentation().GetSegment("mine")
    if protect == "status":
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        logic.SetSegmentStatus(segment, logic.Completed)
    else:
        segment.SetTag(writer.PROTECTED_TAG, "1")
    export(segmentation, volume, tmp_path / "x.nrrd", CARD)
    np.testing.assert_array_equal(read_labelmap(tmp_path / "x.nrrd").array == 10, mine)


def test_a_file_that_exists_is_replaced_only_when_that_was_confirmed(segmentation, volume, labels, tmp_path):
    path = tmp_path / "x.nrrd"
    path.write_text("precious")
    with pytest.raises(InputError, match=r"exists already\. Confirm that it may be replaced"):
        export(segmentation, volume, path, CARD)
    assert path.read_text() == "precious"
    export(segmentation, volume, path, CARD, replace=True)
    np.testing.assert_array_equal(read_labelmap(path).array, labels.array)


def test_a_file_that_could_not_be_read_back_as_written_replaces_nothing(segmentation, volume, tmp_path, monkeypatch):
    def spoilt(path):
        labelmap = read_labelmap(path)
        labelmap.array[0, 0, 0] += 1
        return labelmap

    monkeypatch.setattr("MedTLLib.results.export.read_labelmap", spoilt)
    path = tmp_path / "x.nrrd"
    path.write_text("precious")
    with pytest.raises(InputError, match="is not what was written"):
        export(segmentation, volume, path, CARD, replace=True)
    assert [p.name for p in tmp_path.iterdir()] == ["x.nrrd"]
    assert path.read_text() == "precious"


def test_the_volumes_own_file_is_never_replaced(segmentation, volume, scene, tmp_path):
    path = tmp_path / "image.nrrd"
    storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(path))
    assert storage.WriteData(volume)
    volume.SetAndObserveStorageNodeID(storage.GetID())
    before = path.read_bytes()
    with pytest.raises(InputError, match="another node of this scene"):
        export(segmentation, volume, path, CARD, replace=True)
    assert path.read_bytes() == before


def test_the_file_of_any_other_node_is_never_replaced(segmentation, volume, scene, tmp_path):
    path = tmp_path / "t1.nrrd"
    other = slicer.util.addVolumeFromArray(np.ones((2, 3, 4), np.int16))
    storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(path))
    assert storage.WriteData(other)
    other.SetAndObserveStorageNodeID(storage.GetID())
    before = path.read_bytes()
    with pytest.raises(InputError, match="another node of this scene"):
        export(segmentation, volume, path, CARD, replace=True)
    assert path.read_bytes() == before


def test_the_segmentations_own_file_is_replaced_when_that_was_confirmed(segmentation, volume, labels, scene, tmp_path):
    path = tmp_path / "case.seg.nrrd"
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(path))
    assert storage.WriteData(segmentation)
    segmentation.SetAndObserveStorageNodeID(storage.GetID())
    with pytest.raises(InputError, match="exists already"):
        export(segmentation, volume, path, CARD)
    assert "identical" in export(segmentation, volume, path, CARD, replace=True)
    np.testing.assert_array_equal(read_labelmap(path).array, labels.array)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("x.png", r"Expected a file ending in \.seg\.nrrd"),
        ("folder.nrrd", "found the folder"),
        ("no/x.nrrd", "does not exist"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_with_the_reason(segmentation, volume, tmp_path, name, complaint):
    (tmp_path / "folder.nrrd").mkdir()
    with pytest.raises(InputError, match=complaint):
        export(segmentation, volume, tmp_path / name, CARD)


def test_voxels_beyond_the_volume_are_counted_in_the_text(segmentation, volume, tmp_path, scene):
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    larger = slicer.util.addVolumeFromArray(np.ones((24, 30, 40), np.int16), slicer.util.arrayFromVTKMatrix(matrix))
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(larger)
    segmentation.GetSegmentation().AddEmptySegment("mine", "Long")
    mask = np.zeros((24, 30, 40), np.uint8)
    mask[18:23, 2:4, 2:4] = 1
    paint(segmentation, larger, "mine", mask)
    text = export(segmentation, volume, tmp_path / "x.nrrd", CARD)
    assert f"Long reaches {3 * 2 * 2} voxels beyond the volume, which the file does not have." in text


def test_an_empty_segmentation_is_refused(volume, scene, tmp_path):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Nothing")
    with pytest.raises(InputError, match="Expected segments, found none in Nothing"):
        export(node, volume, tmp_path / "x.nrrd", CARD)


# --- what Slicer's own export as DICOM SEG looks for (Modules/Scripted/DICOMPlugins/DICOMSegmentationPlugin.py) ---


def dicom_entry(segment) -> SimpleNamespace:
    """Category, type and region as the plugin reads them."""
    tag = vtk.reference("")
    assert segment.GetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), tag)
    entry = slicer.vtkSlicerTerminologyEntry()
    assert slicer.vtkSlicerTerminologiesModuleLogic().DeserializeTerminologyEntry(str(tag), entry)
    parts = {"category": entry.GetCategoryObject(), "type": entry.GetTypeObject(), "region": entry.GetRegionObject()}
    return SimpleNamespace(**parts)


def test_dicom_export_finds_the_volume_that_the_segments_refer_to(segmentation, volume):
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    assert segmentation.GetNodeReference(role) is volume


def test_dicom_export_finds_the_codes_of_every_segment(segmentation):
    for number, meaning in enumerate(("Neoplasm", "Edema")):
        entry = dicom_entry(segmentation.GetSegmentation().GetNthSegment(number))
        assert entry.type.GetCodeMeaning() == meaning
        for code in (entry.category, entry.type, entry.region):
            assert code.GetCodingSchemeDesignator() == "SCT"
            assert code.GetCodeValue()
            assert code.GetCodeMeaning()


def test_dicom_export_names_the_segments_and_the_algorithm(segmentation):
    for number, label in enumerate(LABELS):
        segment = segmentation.GetSegmentation().GetNthSegment(number)
        assert segment.GetName() == label.name
        found = {}
        for tag in ("DICOM.SegmentAlgorithmType", "DICOM.SegmentAlgorithmName"):
            value = vtk.reference("")
            assert segment.GetTag(tag, value), f"without {tag} the export calls the segment drawn by hand"
            found[tag] = str(value)
        assert found["DICOM.SegmentAlgorithmType"] in ("AUTOMATIC", "SEMIAUTOMATIC")
        assert 0 < len(found["DICOM.SegmentAlgorithmName"]) <= 64


def test_dicom_export_finds_every_predicted_segment_with_a_labelmap_and_a_display_node(segmentation):
    assert segmentation.GetDisplayNode() is not None
    for number in range(2):
        representation = segmentation.GetSegmentation().GetNthSegment(number).GetRepresentation("Binary labelmap")
        assert representation.GetPointData().GetArray("ImageScalars").GetValueRange() != (0, 0)


def test_where_segments_overlap_a_segmentation_file_loses_nothing_for_slicer_and_for_medtl(
    segmentation, volume, labels, tmp_path
):
    mine = add_hand_made(segmentation, volume, np.s_[2:8, 3:9, 4:6])
    text = export(segmentation, volume, tmp_path / "x.seg.nrrd", CARD)
    assert "Segments overlap" not in text
    again = read_labelmap(tmp_path / "x.seg.nrrd")
    expected = {"mine": mine, "model.tumour": labels.array == 4, "model.oedema": labels.array == 9}
    assert (mine & (labels.array > 0)).any()
    for segment in again.segments:
        np.testing.assert_array_equal(again.mask(segment.value), expected[segment.id])
    loaded = slicer.util.loadSegmentation(str(tmp_path / "x.seg.nrrd"))
    for segment_id, mask in expected.items():
        found = slicer.util.arrayFromSegmentBinaryLabelmap(loaded, segment_id, volume) > 0
        np.testing.assert_array_equal(found, mask)
