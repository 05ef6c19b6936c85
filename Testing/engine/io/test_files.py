"""Kinds, names and files of an input."""

import gzip
from pathlib import Path

import pytest
import SimpleITK as sitk
from dicom_series import Slice, write_slice
from grids import NOISE, OBLIQUE

from medtl.errors import InputError
from medtl.io.files import data_files, kind_of, stem_of, suffix_of
from medtl.io.read import read_volume
from medtl.volume import to_sitk


@pytest.mark.parametrize(
    ("name", "stem", "suffix"),
    [
        ("a.nrrd", "a", ".nrrd"),
        ("a.b.seg.nrrd", "a.b", ".seg.nrrd"),
        ("A.NII.GZ", "A", ".nii.gz"),
        ("scan", "scan", ""),
        ("x.JPG", "x", ".jpg"),
    ],
)
def test_the_longest_known_suffix_counts(name: str, stem: str, suffix: str) -> None:
    assert (stem_of(Path(name)), suffix_of(Path(name))) == (stem, suffix)


def test_a_folder_with_dots_keeps_its_whole_name(tmp_path: Path) -> None:
    folder = tmp_path / "1.2.840"
    folder.mkdir()
    assert stem_of(folder) == "1.2.840"


@pytest.mark.parametrize(("name", "data"), [("a.nhdr", "a.raw.gz"), ("a.mhd", "a.zraw")])
def test_a_detached_header_and_its_data_are_one_input(name: str, data: str, tmp_path: Path) -> None:
    sitk.WriteImage(to_sitk(NOISE, OBLIQUE), str(tmp_path / name), True)
    assert data_files(tmp_path / name) == (tmp_path / name, tmp_path / data)
    assert sorted(tmp_path.iterdir()) == sorted(data_files(tmp_path / name))


@pytest.mark.parametrize(
    "text",
    [
        "NRRD0004\ndata file: my slice%02d.raw 8 10 1\n",
        "NRRD0004\ndatafile: LIST\nmy slice08.raw\nmy slice09.raw\nmy slice10.raw\n",
        "ObjectType = Image\nNDims = 3\nElementDataFile = LIST\nmy slice08.raw\nmy slice09.raw\nmy slice10.raw\n",
    ],
)
def test_all_the_data_files_that_a_header_lists_are_known(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(text)
    assert [file.name for file in data_files(tmp_path / "a.txt")[1:]] == [f"my slice{n:02d}.raw" for n in (8, 9, 10)]


def test_other_inputs_are_their_own_file_or_the_files_in_their_folder(tmp_path: Path) -> None:
    (tmp_path / "s" / "deep").mkdir(parents=True)
    for name in ("a.dcm", "deep/b.dcm"):
        write_slice(tmp_path / "s" / name, Slice())
    assert data_files(tmp_path / "s") == (tmp_path / "s" / "a.dcm", tmp_path / "s" / "deep" / "b.dcm")
    for name in ("a.nrrd", "a.nii.gz", "a.mha"):
        sitk.WriteImage(to_sitk(NOISE, OBLIQUE), str(tmp_path / name), True)
        assert data_files(tmp_path / name) == (tmp_path / name,)
    for name in ("gone.nrrd", "a" * 300):
        assert data_files(tmp_path / name) == (tmp_path / name,)


@pytest.mark.parametrize("name", ["a.nrrd.gz", "a.nrrd", "a.mha.gz"])
def test_a_file_that_is_packed_as_a_whole_is_refused_by_that(name: str, tmp_path: Path) -> None:
    sitk.WriteImage(to_sitk(NOISE, OBLIQUE), str(tmp_path / f"x{Path(name.removesuffix('.gz')).suffix}"))
    data = next(tmp_path.iterdir()).read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(data))
    with pytest.raises(InputError, match=r"found one packed with gzip: .* Unpack it first"):
        kind_of(tmp_path / name)


def test_a_nifti_file_is_known_by_its_content_whether_packed_or_not(tmp_path: Path) -> None:
    sitk.WriteImage(to_sitk(NOISE, OBLIQUE), str(tmp_path / "a.nii"))
    (tmp_path / "b.nii.gz").write_bytes((tmp_path / "a.nii").read_bytes())
    (tmp_path / "c.nii").write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes()))
    for name in ("a.nii", "b.nii.gz", "c.nii"):
        assert kind_of(tmp_path / name) == "NIfTI"
        assert (read_volume(tmp_path / name).array == NOISE).all()
