import os
import sys

import pytest

from medtl import cases
from medtl.cases import CaseFiles, read_cases
from medtl.errors import InputError


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def listed(tmp_path, text, *names):
    """A case list with the given files beside it."""
    touch(tmp_path, *names)
    path = tmp_path / "cases.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_csv_lists_images_labels_patients_and_sites(tmp_path):
    path = listed(tmp_path, "image,label,patient,site\na.nii.gz,sub/b.nrrd,p1,CS\n", "a.nii.gz", "sub/b.nrrd")
    assert read_cases(path) == (CaseFiles("a", tmp_path / "a.nii.gz", tmp_path / "sub/b.nrrd", "p1", "CS"),)


def test_without_patients_each_case_is_its_own(tmp_path):
    path = listed(tmp_path, "image,label\na.nrrd,l.nrrd\n", "a.nrrd", "l.nrrd")
    (case,) = read_cases(path)
    assert (case.patient, case.site) == ("a", "")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("\ufeffimage,label\na.nrrd,l.nrrd\n", id="byte order mark"),
        pytest.param(
            "label, image ,note\r\n l.nrrd, a.nrrd ,hello\r\n\r\n,,\r\n", id="order, blanks, empty lines, more"
        ),
    ],
)
def test_a_csv_from_a_spreadsheet_is_read(tmp_path, text):
    (case,) = read_cases(listed(tmp_path, text, "a.nrrd", "l.nrrd"))
    assert (case.image.name, case.label.name) == ("a.nrrd", "l.nrrd")


def test_paths_may_be_absolute(tmp_path):
    path = listed(tmp_path, f"image,label\n{tmp_path / 'a.nrrd'},l.nrrd\n", "a.nrrd", "l.nrrd")
    assert read_cases(path)[0].image == tmp_path / "a.nrrd"


def test_images_of_one_name_are_told_apart_by_their_folders(tmp_path):
    text = "image,label\np1/flair.nrrd,p1/seg.nrrd\np2/flair.nrrd,p2/seg.nrrd\nother.nrrd,p1/seg.nrrd\n"
    path = listed(tmp_path, text, "p1/flair.nrrd", "p1/seg.nrrd", "p2/flair.nrrd", "p2/seg.nrrd", "other.nrrd")
    assert [case.case for case in read_cases(path)] == ["p1_flair", "p2_flair", "other"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "found none", id="empty file"),
        pytest.param("image,label\n", "at least one case", id="no case"),
        pytest.param("image,mask\na.nrrd,l.nrrd\n", "Add the column label", id="missing column"),
        pytest.param("image,label\na.nrrd,x.nrrd\n", r"1 missing, the first .*x\.nrrd", id="missing file"),
        pytest.param("image,label\na.nrrd,\n", "line 2", id="empty cell"),
        pytest.param("image,label\na.nrrd,l.nrrd\n./a.nrrd,l.nrrd\n", "each image once", id="image listed twice"),
        pytest.param("image,label\na.nrrd,l.nrrd\na.nii,l.nrrd\n", "two called a", id="names alike"),
    ],
)
def test_a_bad_csv_is_refused_with_the_reason(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_cases(listed(tmp_path, text, "a.nrrd", "a.nii", "l.nrrd"))


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "cases.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(InputError, match="UTF-8"):
        read_cases(tmp_path / "cases.csv")


def test_a_path_without_anything_is_refused(tmp_path):
    with pytest.raises(InputError, match="found nothing at"):
        read_cases(tmp_path / "nowhere.csv")


@pytest.mark.parametrize("image", ["c1_0000.nii.gz", "c1.nii.gz"], ids=["nnU-Net", "MSD"])
def test_a_folder_of_nnunet_or_msd_is_read(tmp_path, image):
    touch(
        tmp_path,
        f"imagesTr/{image}",
        "labelsTr/c1.nii.gz",
        "imagesTr/._c1.nii.gz",
        "labelsTr/notes.txt",
        "dataset.json",
    )
    assert read_cases(tmp_path) == (
        CaseFiles("c1", tmp_path / "imagesTr" / image, tmp_path / "labelsTr" / "c1.nii.gz", "c1"),
    )


def test_the_test_set_of_a_folder_goes_before_the_training_set(tmp_path):
    touch(tmp_path, "imagesTr/a.nrrd", "labelsTr/a.nrrd", "imagesTs/b.nrrd", "labelsTs/b.nrrd")
    assert [case.case for case in read_cases(tmp_path)] == ["b"]


def test_test_images_without_labels_leave_the_training_set(tmp_path):
    touch(tmp_path, "imagesTr/a.nrrd", "labelsTr/a.nrrd", "imagesTs/b.nrrd")
    assert [case.case for case in read_cases(tmp_path)] == ["a"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        pytest.param(["a.nrrd"], "found neither pair", id="another layout"),
        pytest.param(["imagesTr/a.nrrd", "labelsTr/b.nrrd"], "found no a in .*labelsTr .2 without", id="unmatched"),
        pytest.param(
            ["imagesTr/a_0000.nrrd", "imagesTr/a_0001.nrrd", "labelsTr/a.nrrd"], "found more of a", id="channels"
        ),
        pytest.param(["imagesTr/readme.txt", "labelsTr/readme.txt"], "at least one case", id="no image"),
    ],
)
def test_a_bad_folder_is_refused_with_the_reason(tmp_path, files, message):
    touch(tmp_path, *files)
    with pytest.raises(InputError, match=message):
        read_cases(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such pipes")
def test_a_pipe_is_no_list_of_cases_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "cases.csv")
    with pytest.raises(InputError, match="Expected a regular file"):
        read_cases(tmp_path / "cases.csv")


def test_a_list_of_cases_that_would_fill_the_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = listed(tmp_path, "image,label\n" + "a.nrrd,b.nrrd\n" * 10, "a.nrrd", "b.nrrd")
    monkeypatch.setattr(cases, "MAX_LIST_BYTES", 100)
    with pytest.raises(InputError, match="it has more than"):
        read_cases(path)
