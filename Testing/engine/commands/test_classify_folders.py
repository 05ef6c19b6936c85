"""Which files of a folder `medtl classify` and `medtl segment` read, and what a file that crashes the reader costs."""

from pathlib import Path

import numpy as np
import pytest
from dicom_series import series, write_slice
from PIL import Image

from medtl.commands.classify import check_report, pictures_of
from medtl.errors import InputError

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8)


def picture(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(GREY).save(path)
    return path


def dicom(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for n, item in enumerate(series(3)):
        write_slice(folder / f"IM{n}", item)
    return folder


@pytest.mark.parametrize("deep", ["", "series"])
def test_a_picture_beside_a_series_does_not_stand_in_for_it(deep: str, tmp_path: Path) -> None:
    picture(tmp_path / "scan" / "preview.png")
    dicom(tmp_path / "scan" / deep)
    assert pictures_of(tmp_path / "scan") == [tmp_path / "scan"]


def test_the_visible_pictures_of_a_folder_are_its_inputs(tmp_path: Path) -> None:
    for name in ("b.png", "A.JPG", "._b.png"):
        picture(tmp_path / name)
    (tmp_path / "notes.txt").write_text("hello")
    assert pictures_of(tmp_path) == [tmp_path / "A.JPG", tmp_path / "b.png"]


def test_pictures_beside_volumes_are_refused_with_a_name_of_each(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "b.nii.gz").write_bytes(b"")
    with pytest.raises(InputError, match=r"pictures and volumes \(a.png, b.nii.gz\). Give the files one by one"):
        pictures_of(tmp_path)


def test_a_hidden_dicom_file_does_not_hide_the_pictures(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    write_slice(tmp_path / "._a.dcm", series(1)[0])
    assert pictures_of(tmp_path) == [tmp_path / "a.png"]


@pytest.mark.parametrize(
    ("report", "message"), [("none/r.csv", "none does not exist"), ("folder.csv", "found the folder")]
)
def test_a_report_that_cannot_be_written_is_refused_before_the_work(report: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match=message):
        check_report(tmp_path / report, force=True)
