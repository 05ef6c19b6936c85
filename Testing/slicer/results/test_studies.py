"""The segmentations of the scene as studies: dates of the user and of DICOM, and what cannot be compared."""

import pytest
import slicer
from study_user import FIRST, SECOND, ball, segmented

from medtl.errors import InputError
from MedTLLib.mrml import scene as mrml
from MedTLLib.results import studies
from MedTLLib.results.volume_table import SPACING

INSIDE = (20.0, 10.0, 30.0)


def give_study_date(volume, date: str) -> None:
    """What the DICOM module leaves in the subject hierarchy."""
    items = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = items.CreateStudyItem(items.GetSceneItemID(), "study")
    names = slicer.vtkMRMLSubjectHierarchyConstants
    items.SetItemAttribute(study, names.GetDICOMStudyDateAttributeName(), date)
    item = items.GetItemByDataNode(volume) or items.CreateItem(study, volume)
    items.SetItemParent(item, study)


def test_studies_come_by_date_and_hidden_ones_are_left_out(scene):
    segmented(FIRST, ball(FIRST, INSIDE, 9), "b", "2026-03-02")
    segmented(SECOND, ball(SECOND, INSIDE, 9), "a", "2026-01-31")
    hidden = slicer.vtkMRMLSegmentationNode()
    hidden.SetName("hidden")
    mrml.add_hidden(slicer.mrmlScene, hidden)
    assert [study.segmentation.GetName() for study in studies.studies()] == ["a labels", "b labels"]
    assert studies.why_not(studies.studies()) == ""


def test_the_date_is_that_of_dicom_until_the_user_gives_another(scene):
    volume, node = segmented(FIRST, ball(FIRST, INSIDE, 9), "a")
    assert studies.study_of(node).date == ""
    give_study_date(volume, "20240229")
    assert studies.study_of(node).date == "2024-02-29"
    studies.set_date(node, " 2026-01-31 ")
    assert studies.study_of(node).date == "2026-01-31"
    studies.set_date(node, "")
    assert studies.study_of(node).date == "2024-02-29"


@pytest.mark.parametrize("text", ["2026", "31.1.2026", "2026-13-01", "2026-02-30", "=1+1"])
def test_what_is_no_date_is_refused_and_changes_nothing(scene, text):
    _, node = segmented(FIRST, ball(FIRST, INSIDE, 9), "a", "2026-01-31")
    with pytest.raises(InputError, match="Expected a date"):
        studies.set_date(node, text)
    assert studies.study_of(node).date == "2026-01-31"


def test_a_segmentation_without_its_volume_or_its_spacing_says_so(scene):
    volume, node = segmented(FIRST, ball(FIRST, INSIDE, 9), "a", "2026-01-31")
    other = segmented(SECOND, ball(SECOND, INSIDE, 9), "b", "2026-03-02")[1]
    node.SetAttribute(SPACING, "unknown")
    assert "states no spacing" in studies.why_not(studies.studies())
    node.RemoveAttribute(SPACING)
    slicer.mrmlScene.RemoveNode(volume)
    assert "Expected the volume that a labels was made on" in studies.why_not(studies.studies())
    assert studies.why_not([studies.study_of(other)]).startswith("Tick two")
