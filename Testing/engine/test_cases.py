import os
import sys

import pytest

from medtl import cases
from medtl.cases import CaseFiles, ListedImages, read_cases, read_images
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


PAIR = ("T2", "FLAIR")


@pytest.mark.parametrize("columns", ["image,image_2", "T2,FLAIR"])
def test_several_channels_have_a_column_each(tmp_path, columns):
    path = listed(tmp_path, f"{columns},label\na.nrrd,sub/b.nrrd,l.nrrd\n", "a.nrrd", "sub/b.nrrd", "l.nrrd")
    (case,) = read_cases(path, PAIR)
    assert case == CaseFiles("a", tmp_path / "a.nrrd", tmp_path / "l.nrrd", "a", channels=(tmp_path / "sub/b.nrrd",))
    assert case.images == (tmp_path / "a.nrrd", tmp_path / "sub/b.nrrd")
    assert read_images(path, PAIR) == (ListedImages("a", case.images),)


def test_a_case_may_have_a_name(tmp_path):
    text = "case,T2,FLAIR,label\none,a.nrrd,b.nrrd,l.nrrd\n,c.nrrd,d.nrrd,l.nrrd\n"
    path = listed(tmp_path, text, "a.nrrd", "b.nrrd", "c.nrrd", "d.nrrd", "l.nrrd")
    assert [(case.case, case.patient) for case in read_cases(path, PAIR)] == [("one", "one"), ("c", "c")]


def test_a_list_of_one_image_needs_no_labels_to_be_segmented(tmp_path):
    path = listed(tmp_path, "image\na.nrrd\n", "a.nrrd")
    assert read_images(path, ("FLAIR",)) == (ListedImages("a", (tmp_path / "a.nrrd",)),)


@pytest.mark.parametrize(
    ("text", "channels", "message"),
    [
        pytest.param("image,label\na.nrrd,l.nrrd\n", PAIR, "Add the column image_2", id="one image for two"),
        pytest.param("T2,label\na.nrrd,l.nrrd\n", PAIR, "T2,FLAIR,label .*Add the column FLAIR", id="one name of two"),
        pytest.param("T2,FLAIR,label\na.nrrd,,l.nrrd\n", PAIR, "line 2 of .*, found FLAIR empty", id="empty cell"),
        pytest.param("T2,FLAIR,label\na.nrrd,x.nrrd,l.nrrd\n", PAIR, r"1 missing, the first .*x\.nrrd", id="missing"),
        pytest.param("T2,FLAIR,label\na.nrrd,a.nrrd,l.nrrd\n", PAIR, "each image once", id="one image for both"),
        pytest.param(
            "image,image_2,label\na.nrrd,b.nrrd,l.nrrd\n", ("T2",), "the column image_2 too", id="two for one"
        ),
    ],
)
def test_a_list_that_does_not_fit_the_channels_is_refused(tmp_path, text, channels, message):
    with pytest.raises(InputError, match=message):
        read_cases(listed(tmp_path, text, "a.nrrd", "b.nrrd", "l.nrrd"), channels)


def test_a_folder_of_nnunet_has_a_file_for_each_channel(tmp_path):
    names = ["a_0000", "a_0001", "b_1_0000", "b_1_0001"]
    touch(tmp_path, *(f"imagesTr/{name}.nii.gz" for name in names), "labelsTr/a.nii.gz", "labelsTr/b_1.nii.gz")
    found = {case.case: [image.name for image in case.images] for case in read_cases(tmp_path, PAIR)}
    assert found == {
        "a": ["a_0000.nii.gz", "a_0001.nii.gz"],
        "b_1": ["b_1_0000.nii.gz", "b_1_0001.nii.gz"],
    }


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (["a_0000", "a_0001", "a_0002"], "Expected 2 channels a case in .*, found more of a"),
        (["a_0000"], r"found no a_0001 \(1 missing in all\)"),
        (["a_0001"], "found no a_0000"),
        (["a"], r"found no a_0000 \(2 missing in all\)"),
    ],
)
def test_a_folder_with_other_channels_is_refused(tmp_path, images, message):
    touch(tmp_path, *(f"imagesTr/{name}.nii.gz" for name in images), "labelsTr/a.nii.gz")
    with pytest.raises(InputError, match=message):
        read_cases(tmp_path, PAIR)


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
