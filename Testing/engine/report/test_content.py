"""What a report says is what was measured; models are named by the tags of the segments."""

import numpy as np
import pytest

from medtl.measurement import measure_lesions
from medtl.model.card import load_card
from medtl.model.store import find_model
from medtl.phantom import head
from medtl.report.content import MOST_LISTED, MOST_PICTURED, models_of, report_of
from medtl.trend.studies import Study
from medtl.volume import Geometry, Labelmap, Segment, Volume

GRID = Geometry((40, 30, 20), (1.0, 1.0, 2.0), (-20.0, -15.0, -20.0))
TUMOUR, LIVER = Segment(1, "m.tumour", "Tumour", (1.0, 0.5, 0.0)), Segment(2, "m.liver", "Liver")


@pytest.fixture
def study():
    """A body with two lesions, the larger one on the left, a speck, and an organ of two parts."""
    array = np.zeros(GRID.shape, np.uint8)
    array[4:8, 4:9, 25:31] = 1
    array[12:14, 4:7, 8:12] = 1
    array[18, 25, 20] = 1
    array[2:5, 18:26, 5:15] = 2
    array[10:12, 18:20, 30:33] = 2
    image = np.full(GRID.shape, 100, np.int16)
    image[:, :, :2] = image[:, :, -2:] = 0
    return Study("2026-01-31", Labelmap(array, GRID, (TUMOUR, LIVER)), Volume(image, GRID, modality="MR"))


def test_the_findings_are_what_is_measured(study):
    tumour, liver = measure_lesions(study.labelmap)
    rows = report_of(study).findings
    assert [(row.label, row.lesion) for row in rows] == [("Tumour", 0), ("Tumour", 1), ("Tumour", 2), ("Liver", 0)]
    assert [row.volume_ml for row in rows] == [
        tumour.volume_ml,
        *(one.volume_ml for one in tumour.lesions),
        liver.volume_ml,
    ]
    assert [(row.longest_mm, row.perpendicular_mm) for row in rows[1:3]] == [
        (one.longest.mm, one.perpendicular.mm) for one in tumour.lesions
    ]
    assert (rows[0].longest_mm, rows[0].perpendicular_mm) == (rows[1].longest_mm, rows[1].perpendicular_mm)
    assert [row.side for row in rows] == ["both", "left", "right", "right"]
    assert [row.colour for row in rows] == ["#ff8000"] * 3 + ["#e63333"]
    assert rows[0].more == "and 1 smaller part"


def test_lesions_have_pictures_and_an_organ_one_of_its_largest_part(study):
    report = report_of(study)
    assert [one.text for one in report.pictured] == ["Liver", "Tumour, lesion 1", "Tumour, lesion 2"]
    assert all(len(one.pictures) == 3 for one in report.pictured)
    assert (report.date, report.modality) == ("2026-01-31", "MR")


def test_many_lesions_are_listed_up_to_a_limit_and_the_rest_is_counted():
    array = np.zeros((10, 60, 60), np.uint8)
    for n in range(12):
        array[2:5, 5 * n : 5 * n + 3, 2 : 10 + n] = 1
    geometry = Geometry((60, 60, 10))
    report = report_of(Study("", Labelmap(array, geometry, (TUMOUR,)), Volume(array * 9 + 1, geometry)))
    assert len(report.findings) == 1 + MOST_LISTED
    assert report.findings[0].more == f"and {12 - MOST_LISTED} smaller parts"
    assert len(report.pictured) == MOST_PICTURED


def test_without_an_image_there_are_figures_only(study):
    report = report_of(Study("", study.labelmap))
    assert report.pictured == ()
    assert {row.side for row in report.findings} == {""}
    assert report.findings[0].volume_ml == report_of(study).findings[0].volume_ml


def test_an_empty_segmentation_finds_nothing(study):
    empty = Labelmap(np.zeros(GRID.shape, np.uint8), GRID, (TUMOUR,))
    (row,) = report_of(Study("", empty, study.volume)).findings
    assert (row.volume_ml, row.longest_mm, row.side) == (0.0, None, "")
    assert report_of(Study("", Labelmap(empty.array, GRID), study.volume)).findings == ()


def test_models_are_named_by_the_tags_of_the_segments():
    def segment(value, **tags):
        names = {"by": "DICOM.SegmentAlgorithmName", "sha256": "MedTL.sha256"}
        return Segment(value, f"s{value}", f"S{value}", tags=tuple((names[k], v) for k, v in tags.items()))

    segments = (segment(1, by="a 1.0", sha256="11"), segment(2, by="a 1.0", sha256="11"), segment(3))
    found = models_of(Labelmap(np.zeros((1, 1, 1), np.uint8), Geometry((1, 1, 1)), segments))
    assert [(one.model, one.sha256) for one in found] == [("a 1.0", "11")]


@pytest.mark.parametrize("version", ["", "0.0.1"])
def test_without_its_tag_the_sha256_is_that_of_the_installed_model_of_the_version(version):
    card = load_card(find_model("glioma-flair"))
    by = f"glioma-flair {version or card.version}"
    segment = Segment(1, "a", "A", tags=(("DICOM.SegmentAlgorithmName", by),))
    (found,) = models_of(Labelmap(np.zeros((1, 1, 1), np.uint8), Geometry((1, 1, 1)), (segment,)))
    assert found.sha256 == ("" if version else card.sha256)


@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        (("AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"), "S1, S2"),
        (("semiautomatic ",), "S0"),
        (("AUTOMATIC", ""), None),  # another program may have edited it and left the tag
        ((), None),
    ],
)
def test_segments_by_hand_are_named_by_their_tags_unless_the_caller_knows(kinds, told):
    tags = [(("DICOM.SegmentAlgorithmType", kind),) for kind in kinds]
    segments = tuple(Segment(n + 1, f"s{n}", f"S{n}", tags=each) for n, each in enumerate(tags))
    study = Study("", Labelmap(np.zeros((1, 1, 1), np.uint8), Geometry((1, 1, 1)), segments))
    assert report_of(study).by_hand == told
    assert report_of(study, by_hand="").by_hand == ""
    assert report_of(study, by_hand="Mine").by_hand == "Mine"


def test_the_doubt_has_its_slices_and_what_it_is_worth(study):
    uncertainty = np.zeros(GRID.shape, np.float32)
    uncertainty[5, 5:8, 25:30] = 0.8
    doubt = report_of(study, uncertainty=uncertainty).doubt
    assert [one.index for one in doubt.slices] == [5]
    assert doubt.picture.startswith("data:image/png")
    assert doubt.calibration.startswith("Not calibrated")
    assert report_of(study, uncertainty=uncertainty * 0).doubt is None


def test_a_real_head_is_reported():
    made = head(1, (64, 64, 12), (3.0, 3.0, 10.0))
    report = report_of(Study("", made.labelmap, made.volume))
    assert report.findings[0].volume_ml == pytest.approx(made.lesion_ml)
    assert report.findings[0].side in ("left", "right")
