"""Which files of a folder are cases, and what the cases are called."""

from pathlib import Path

import pytest
from dicom_series import series, write_slice

from medtl.errors import InputError
from medtl.worklist.find import find_cases


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def names(folder: Path) -> list[str]:
    return [found.name for found in find_cases(folder)]


def test_volumes_of_every_kind_are_cases_in_the_order_in_which_people_count(tmp_path):
    touch(tmp_path, "case 10.nrrd", "case 2.nii.gz", "sub/case 1.mha", "case 9.nhdr", "case 9.raw", "notes.txt")
    assert names(tmp_path) == ["case 2", "case 9", "case 10", "case 1"]


@pytest.mark.parametrize(
    "name",
    [
        "a.seg.nrrd",
        "a_label.nrrd",
        "a-mask.nii.gz",
        "a_seg.nii.gz",
        "sub-01_dseg.nii.gz",
        "labelsTr/a.nii.gz",
        "derivatives/medtl/sub-01/a.nii.gz",
        ".hidden.nrrd",
        "._a.nrrd",
        ".medtl-x/a.nrrd",
    ],
)
def test_segmentations_and_hidden_files_are_no_cases(name, tmp_path):
    touch(tmp_path, "image.nrrd", name)
    assert names(tmp_path) == ["image"]


def test_cases_of_one_name_are_told_apart_by_their_folders_and_then_by_a_number(tmp_path):
    touch(tmp_path, "p1/flair.nrrd", "p2/flair.nrrd", "p2/flair.nii", "p3/T2.nrrd", "P3_t2.nrrd")
    assert names(tmp_path) == ["p1_flair", "p2_flair", "p2_flair-2", "T2", "P3_t2"]


def test_names_with_spaces_and_letters_of_any_language_stay(tmp_path):
    touch(tmp_path, "Müller é 日本.nrrd", "a:b?.nrrd", "line\nbreak.nrrd")
    assert set(names(tmp_path)) == {"Müller é 日本", "a_b_", "line_break"}


def test_numbered_files_are_the_channels_of_one_case(tmp_path):
    touch(tmp_path, "a_0000.nii.gz", "a_0001.nii.gz", "b_0000.nii.gz", "c_0001.nii.gz", "2021_2022.nrrd")
    found = {each.name: [image.name for image in each.images] for each in find_cases(tmp_path)}
    assert found == {
        "a": ["a_0000.nii.gz", "a_0001.nii.gz"],
        "b_0000": ["b_0000.nii.gz"],
        "c_0001": ["c_0001.nii.gz"],
        "2021_2022": ["2021_2022.nrrd"],
    }


def test_every_series_of_a_dicom_folder_is_a_case(tmp_path):
    number = 0
    (tmp_path / "patient").mkdir()
    (tmp_path / "other").mkdir()
    for uid, description in (("1.1", "T1 post/contrast"), ("1.2", "FLAIR"), ("1.3", "")):
        for item in series(3, uid=uid, description=description):
            number += 1
            write_slice(tmp_path / "patient" / f"{number}.dcm", item)
    for item in series(3, uid="1.4"):
        number += 1
        write_slice(tmp_path / "other" / f"IM{number}", item)
    found = find_cases(tmp_path)
    assert [(each.name, each.series, each.images[0].name) for each in found] == [
        ("other", "1.4", "other"),
        ("patient_FLAIR", "1.2", "patient"),
        ("patient_T1_post_contrast", "1.1", "patient"),
        ("patient_series_1", "1.3", "patient"),
    ]


def test_nothing_of_the_patient_in_a_dicom_file_becomes_a_name(tmp_path):
    (tmp_path / "a").mkdir()
    for number, item in enumerate(series(3, extra={"PatientName": "Doe^John", "PatientID": "4711"})):
        write_slice(tmp_path / "a" / f"{number}.dcm", item)
    assert "Doe" not in str(find_cases(tmp_path))
    assert "4711" not in str(find_cases(tmp_path))


@pytest.mark.parametrize("what", ["nothing", "text", "a file"])
def test_a_folder_without_images_is_an_error(what, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    if what == "text":
        touch(folder, "readme.txt", "a_label.nrrd")
    if what == "a file":
        folder = touch(tmp_path, "a.nrrd") / "a.nrrd"
    with pytest.raises(InputError, match=r"Expected (images|a folder of images)"):
        find_cases(folder)


def test_it_says_how_far_it_is(tmp_path):
    touch(tmp_path, "a/1.nrrd", "b/1.nrrd", "c/1.nrrd", "d/1.nrrd")
    told = []
    find_cases(tmp_path, lambda stage, share: told.append((stage, share)))
    assert told == [("read", 0.0), ("read", 0.25), ("read", 0.5), ("read", 0.75)]
