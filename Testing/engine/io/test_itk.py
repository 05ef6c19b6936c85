"""Files of any name are written, and messages of libraries are one plain line."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from grids import NOISE, OBLIQUE

from medtl.io.itk import plain_reason
from medtl.io.read import read_labelmap, read_volume
from medtl.io.write import write_image, write_labelmap
from medtl.volume import Labelmap, to_sitk


@pytest.mark.parametrize(
    "name", ["A.NRRD", "a.Nii.GZ", "A.NII", "A.MHA", "a.SEG.nrrd", "ä ö.nrrd", "a%d.nrrd", "%n.mha"]
)
def test_capitals_spaces_and_signs_in_a_name_are_only_a_name(name: str, tmp_path: Path) -> None:
    write_labelmap(tmp_path / name, Labelmap(NOISE, OBLIQUE))
    np.testing.assert_array_equal(read_labelmap(tmp_path / name).array, NOISE)
    np.testing.assert_array_equal(read_volume(tmp_path / name).array, NOISE)
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are text there")
@pytest.mark.parametrize("suffix", [".seg.nrrd", ".nii.gz", ".mha"])
def test_names_that_are_not_utf_8_are_read_and_written(suffix: str, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"f\xe4lle")
    folder.mkdir()
    path = folder / os.fsdecode(b"lab\xe9l" + suffix.encode())
    write_labelmap(path, Labelmap(NOISE, OBLIQUE))
    write_image(folder / f"plain{suffix}", NOISE, OBLIQUE)
    for file in (path, folder / f"plain{suffix}"):
        np.testing.assert_array_equal(read_labelmap(file).array, NOISE)
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("suffix", [".NRRD", ".MHA", ".nii.GZ", ".Nii", ".NHDR"])
def test_capitals_in_the_suffix_of_an_input_are_read(suffix: str, tmp_path: Path) -> None:
    sitk.WriteImage(to_sitk(NOISE, OBLIQUE), str(tmp_path / f"a{suffix.lower()}"))
    (tmp_path / f"a{suffix.lower()}").rename(tmp_path / f"A{suffix}")
    np.testing.assert_array_equal(read_volume(tmp_path / f"A{suffix}").array, NOISE)


def test_a_reason_is_one_line_without_addresses() -> None:
    text = "sitk::ERROR: wrong\nReason: No such file\nITK ERROR: NrrdImageIO(0x55d8): [nrrd] _nrrdRead: bad thing."
    assert plain_reason(text).strip().endswith("bad thing")
    assert not any(word in plain_reason(text) for word in ("0x", "ITK", "\n", "Reason"))
