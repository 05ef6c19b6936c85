"""DICOM series: what else lies in the folder, which slices belong together, and where they lie."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_series import PIXELS, Slice, series, write_slice
from PIL import Image

from medtl.errors import InputError
from medtl.io.header import NO_THICKNESS
from medtl.io.read import read_volume

OTHER = "The folder holds other images, which are not read: "


def write_series(folder: Path, count: int = 3, **values: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for n, item in enumerate(series(count, **values)):
        write_slice(folder / f"IM{n}", item)
    return folder


def write_picture(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(PIXELS.astype(np.uint8)).save(path)


@pytest.mark.parametrize("name", ["preview.png", "IM1.JPG", "deep/key image.tiff", "mask.seg.nrrd", "IM.nii.gz"])
def test_other_images_in_the_folder_are_named_in_a_warning(name: str, tmp_path: Path) -> None:
    folder = write_series(tmp_path / "scan")
    if Path(name).suffix.lower() in (".png", ".jpg", ".tiff"):
        write_picture(folder / name)
    else:
        (folder / name).write_bytes(b"NRRD0004\n")
    got = read_volume(folder)
    assert got.array.shape == (3, 4, 5)
    assert got.warnings == (f"{OTHER}{Path(name).name}.",)


def test_many_other_images_are_counted(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "scan")
    for n in range(5):
        write_picture(folder / f"{n}.png")
    (folder / "readme.txt").write_text("no image")
    assert read_volume(folder).warnings == (f"{OTHER}0.png, 1.png, 2.png and 2 more.",)


def test_a_folder_of_other_images_alone_is_refused_with_their_names(tmp_path: Path) -> None:
    write_picture(tmp_path / "scan" / "a.png")
    with pytest.raises(InputError, match=r"found none at .*scan but a.png. Give such a file itself"):
        read_volume(tmp_path / "scan")


def test_a_dicom_file_with_the_suffix_of_a_picture_is_a_slice(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "scan")
    (folder / "IM1").rename(folder / "IM1.png")
    got = read_volume(folder)
    assert (got.array.shape, got.warnings) == ((3, 4, 5), ())


def test_one_file_of_a_series_says_that_its_neighbours_are_missing(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "scan")
    (folder / "note.txt").write_text("hello")
    write_slice(folder / "A", Slice(uid="9"))
    thickness, warning = read_volume(folder / "IM1").warnings
    assert thickness == NO_THICKNESS
    assert warning.startswith("Only one slice of the series is read: its neighbours, IM0 for one, are missing.")


def test_one_slice_without_others_says_that_they_may_be_missing(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "scan", 1)
    for path in (folder, folder / "IM0"):
        assert read_volume(path).warnings == (
            NO_THICKNESS,
            "Only one slice of the series was found: if it has more, they are missing.",
        )


@pytest.mark.parametrize("extra", [{"SliceThickness": 4}, {"SpacingBetweenSlices": -4}])
def test_one_slice_with_a_thickness_is_as_thick(extra: dict[str, Any], tmp_path: Path) -> None:
    got = read_volume(write_slice(tmp_path / "a.dcm", Slice(extra=extra)))
    assert got.geometry.spacing[2] == 4
    assert NO_THICKNESS not in got.warnings


def test_a_missing_slice_among_three_is_refused(tmp_path: Path) -> None:
    for n, item in enumerate(series(4)):
        if n != 2:
            write_slice(tmp_path / f"{n}.dcm", item)
    with pytest.raises(InputError, match=r"a slice every 2 mm, found 1 gap.*between 1\.dcm and 3\.dcm"):
        read_volume(tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"spacing": (-0.8, 0.7)}, "-0.8 mm as PixelSpacing"),
        ({"spacing": (0.8, 0)}, "0 mm as PixelSpacing"),
        ({"axes": (2, 0, 0, 0, 1, 0)}, "no pair of unit vectors"),
        ({"axes": (0, 0, 0, 0, 1, 0)}, "no pair of unit vectors"),
    ],
)
def test_a_grid_that_cannot_be_is_told_as_what_it_is(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    for n, item in enumerate(series(3, **values)):
        write_slice(tmp_path / f"{n}.dcm", item)
    with pytest.raises(InputError, match=message):
        read_volume(tmp_path)


def test_a_damaged_neighbour_does_not_stop_the_reading_of_one_file(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "scan", 1)
    (folder / "IM1.dcm").write_bytes(b"")
    assert read_volume(folder / "IM0").array.shape == (1, 4, 5)


def test_one_file_of_a_folder_that_cannot_be_listed_is_read(tmp_path: Path) -> None:
    path = write_series(tmp_path / "scan") / "IM1"
    path.parent.chmod(0o100)
    try:
        if os.access(path.parent, os.R_OK):
            pytest.skip("this user may list everything")
        np.testing.assert_array_equal(read_volume(path).array[0], PIXELS)
    finally:
        path.parent.chmod(0o700)


def test_a_radiograph_has_no_neighbours(tmp_path: Path) -> None:
    path = write_slice(tmp_path / "a.dcm", Slice(position=None, extra={"Modality": "DX"}))
    assert read_volume(path).warnings == ()


@pytest.mark.parametrize(
    ("tag", "values"), [("PatientID", "AB"), ("StudyInstanceUID", ("1.1", "1.2")), ("Modality", ("CT", "MR"))]
)
def test_two_patients_under_one_series_uid_are_not_mixed(tag: str, values: tuple[str, str], tmp_path: Path) -> None:
    for n, item in enumerate(series(4)):
        write_slice(tmp_path / f"{n}.dcm", replace(item, extra={tag: values[n % 2]}))
    with pytest.raises(InputError, match=r"found two patients, studies or modalities in .*0.dcm and 1.dcm"):
        read_volume(tmp_path)


def test_slices_that_state_no_orientation_are_axial_with_a_warning(tmp_path: Path) -> None:
    for n, item in enumerate(series(3)):
        data = pydicom.dcmread(write_slice(tmp_path / f"{n}.dcm", item))
        del data.ImageOrientationPatient
        data.save_as(tmp_path / f"{n}.dcm")
    got = read_volume(tmp_path)
    assert got.geometry.direction == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    assert got.warnings == ("The files state no orientation (0020,0037): the slices count as axial.",)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"position": (0, 0, 1e300)}, "ImagePositionPatient"),
        ({"spacing": (1e-300, 1e300)}, "PixelSpacing"),
        ({"extra": {"SliceThickness": "1e30"}}, "SliceThickness"),
        ({"extra": {"SpacingBetweenSlices": "1e30"}}, "SpacingBetweenSlices"),
    ],
)
def test_lengths_beyond_a_kilometre_are_refused(values: dict[str, Any], name: str, tmp_path: Path) -> None:
    write_slice(tmp_path / "a.dcm", Slice(**values))
    with pytest.raises(InputError, match=f"found 1e.* mm as {name} in .*a.dcm"):
        read_volume(tmp_path)
