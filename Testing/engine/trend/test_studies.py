"""Studies: how a command names them, their dates, and what is refused."""

from dataclasses import replace
from pathlib import Path

import dicom_series
import numpy as np
import pytest
from PIL import Image

from medtl.errors import InputError
from medtl.io.dicom import iso_date
from medtl.io.read import read_labelmap, read_volume
from medtl.io.write import write_image, write_labelmap
from medtl.trend.studies import StudyFiles, by_date, parse_study, read_study
from medtl.volume import Geometry, Labelmap

GRID = Geometry((6, 5, 4), (1.0, 2.0, 3.0), (7.0, 8.0, 9.0))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with an image and its labels."""
    monkeypatch.chdir(tmp_path)
    write_image(Path("image.nrrd"), np.arange(120, dtype=np.int16).reshape(GRID.shape), GRID)
    labels = np.zeros(GRID.shape, np.uint8)
    labels[1, 1, 1] = 1
    write_labelmap(Path("label.nrrd"), Labelmap(labels, GRID))
    return tmp_path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-31=label.nrrd,image.nrrd", StudyFiles(Path("label.nrrd"), Path("image.nrrd"), "2026-01-31")),
        ("2026-01-31=label.nrrd", StudyFiles(Path("label.nrrd"), None, "2026-01-31")),
        ("label.nrrd, image.nrrd", StudyFiles(Path("label.nrrd"), Path("image.nrrd"))),
        ("label.nrrd", StudyFiles(Path("label.nrrd"))),
        ("a=b.nrrd", StudyFiles(Path("a=b.nrrd"))),
    ],
)
def test_a_study_is_a_date_a_segmentation_and_an_image(here, text, expected):
    assert parse_study(text) == expected


@pytest.mark.parametrize("name", ["a,b.nrrd", "2026-01-31=x.nrrd", "2026-01-31=a,b.nrrd"])
def test_a_file_that_has_such_a_name_is_taken_as_it_is(here, name):
    Path(name).touch()
    assert parse_study(name) == StudyFiles(Path(name))


def test_a_file_with_a_comma_may_have_a_date(here):
    Path("a,b.nrrd").touch()
    assert parse_study("2026-01-31=a,b.nrrd") == StudyFiles(Path("a,b.nrrd"), None, "2026-01-31")


@pytest.mark.parametrize(
    "text", ["2026-02-30=label.nrrd", "2026-13-01=label.nrrd", "a,b,c", "label.nrrd,", ",image.nrrd", "2026-01-31=,"]
)
def test_what_is_no_study_is_refused(here, text):
    with pytest.raises(InputError, match="Expected"):
        parse_study(text)


def test_the_date_of_a_dicom_folder_is_that_of_its_study(here):
    Path("series").mkdir()
    for number, item in enumerate(dicom_series.series(4)):
        changed = replace(item, extra={"SeriesDate": "20240301"})
        dicom_series.write_slice(Path("series") / f"{number}.dcm", changed)
    volume = read_volume(Path("series"))
    assert volume.date == "2024-02-29"
    write_labelmap(Path("on-series.nrrd"), Labelmap((volume.array > 500).astype(np.uint8), volume.geometry))
    files = StudyFiles(Path("on-series.nrrd"), Path("series"))
    assert read_study(by_date([files])[0]).date == "2024-02-29"
    assert read_study(replace(files, date="2026-01-31")).date == "2026-01-31"  # what the user says counts


@pytest.mark.parametrize("text", ["", "2024", "20240230", "2024-W09", "2024W091", "20\uff1240229", "2024.02.29"])
def test_a_date_that_is_none_is_not_taken(text):
    assert iso_date(text) == ""


def test_studies_come_by_date(here):
    days = ["2026-03-01", "2025-12-31", "2026-01-31"]
    assert [one.date for one in by_date([StudyFiles(Path("label.nrrd"), None, day) for day in days])] == sorted(days)


def test_one_study_needs_no_date(here):
    assert by_date([StudyFiles(Path("label.nrrd"))]) == [StudyFiles(Path("label.nrrd"))]


def test_several_studies_need_a_date_each(here):
    with pytest.raises(InputError, match=r"Expected a date for label.nrrd"):
        by_date([StudyFiles(Path("label.nrrd"), Path("image.nrrd")), StudyFiles(Path("b"), None, "2026-01-31")])


def test_two_segmentations_of_one_date_are_refused(here):
    same = [StudyFiles(Path(name), None, "2026-01-31") for name in ("a.nrrd", "b.nrrd")]
    with pytest.raises(InputError, match=r"two of 2026-01-31: a.nrrd and b.nrrd"):
        by_date(same)


def test_an_image_that_lies_elsewhere_is_refused(here):
    write_image(Path("away.nrrd"), np.arange(120).reshape(GRID.shape), replace(GRID, origin=(0.0, 0.0, 0.0)))
    with pytest.raises(InputError, match=r"Expected label.nrrd on the grid of away.nrrd"):
        read_study(StudyFiles(Path("label.nrrd"), Path("away.nrrd")))


def test_without_a_spacing_there_are_no_ml(here):
    Image.fromarray(np.eye(8, dtype=np.uint8)).save("label.png")
    Image.fromarray(np.eye(8, dtype=np.uint8) * 200).save("image.png")
    for files in (StudyFiles(Path("label.png")), StudyFiles(Path("label.png"), Path("image.png"))):
        with pytest.raises(InputError, match="without it there are no mL"):
            read_study(files)


def test_labels_without_a_spacing_take_that_of_their_image(here):
    """A program may drop the spacing from the labels; the image has it."""
    labels = read_labelmap(Path("label.nrrd"))
    Image.fromarray(labels.array[1].astype(np.uint8)).save("flat.png")
    flat = Geometry((6, 5, 1), (1.0, 2.0, 3.0))
    write_image(Path("flat.nrrd"), np.arange(30, dtype=np.int16).reshape(flat.shape), flat)
    study = read_study(StudyFiles(Path("flat.png"), Path("flat.nrrd")))
    assert study.labelmap.geometry == flat
    assert study.labelmap.real_spacing
