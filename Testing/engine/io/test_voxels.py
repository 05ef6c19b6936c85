"""Voxels are read as far as a header promises them, and not at all where that is too much."""

import gzip
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from grids import NOISE, OBLIQUE

from medtl.errors import InputError
from medtl.io.formats import read_header
from medtl.io.limits import LARGEST_DATA, check_memory, free_memory
from medtl.io.voxels import read_voxels
from medtl.volume import to_sitk

HEAD = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: {}\nencoding: {}\n\n"


def nrrd(path: Path, sizes: str, encoding: str, data: bytes) -> Path:
    path.write_bytes(HEAD.format(sizes, encoding).encode() + data)
    return path


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii", ".nii.gz"])
@pytest.mark.parametrize("packed", [False, True])
def test_one_frame_and_all_frames_are_those_of_itk(suffix: str, packed: bool, tmp_path: Path) -> None:
    image = sitk.JoinSeries([to_sitk(NOISE + 100 * n, OBLIQUE) for n in range(3)])
    sitk.WriteImage(image, str(tmp_path / f"a{suffix}"), packed)
    kind = {".nrrd": "NRRD", ".mha": "MetaImage"}.get(suffix, "NIfTI")
    header = read_header(tmp_path / f"a{suffix}", kind)
    frames = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"a{suffix}")))
    np.testing.assert_array_equal(read_voxels(header, None), frames)
    for n in range(3):
        np.testing.assert_array_equal(read_voxels(header, n), frames[n : n + 1])


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_a_promise_that_the_file_cannot_keep_takes_no_memory(encoding: str, tmp_path: Path) -> None:
    data = b"x" * 100 if encoding == "raw" else gzip.compress(bytes(1000))
    path = nrrd(tmp_path / "a.nrrd", "2000 2000 1250", encoding, data)
    tracemalloc.start()
    with pytest.raises(InputError, match=r"5000000000 bytes of data in .*: it is cut off|GB"):
        read_voxels(read_header(path, "NRRD"), None)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_unpacking_stops_just_behind_the_promise(tmp_path: Path) -> None:
    path = nrrd(tmp_path / "a.nrrd", "4 4 4", "gzip", gzip.compress(bytes(200_000_000), 1))
    tracemalloc.start()
    with pytest.raises(InputError, match=r"64 bytes of data in .*, found more"):
        read_voxels(read_header(path, "NRRD"), None)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_more_than_the_limit_is_refused_by_the_header_alone(tmp_path: Path) -> None:
    path = nrrd(tmp_path / "a.nrrd", "10000 10000 10000", "gzip", gzip.compress(b"x"))
    with pytest.raises(InputError, match=r"at most .* GB \(memory that is free, .* states 1e\+03 GB"):
        read_voxels(read_header(path, "NRRD"), None)


def test_the_limit_is_what_is_free_and_never_more_than_the_stated_one() -> None:
    free = free_memory()
    assert free is None or 1 << 20 < free < 1 << 50
    check_memory(1 << 20, Path("a"))
    with pytest.raises(InputError, match=r"never more than 17\.2 GB"):
        check_memory(LARGEST_DATA + 1, Path("a"))


def test_a_data_file_without_rights_is_told_as_that(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(bytes(range(64)))
    (tmp_path / "a.nhdr").write_bytes(HEAD.format("4 4 4", "raw").encode()[:-1] + b"data file: a.raw\n")
    (tmp_path / "a.raw").chmod(0)
    if os.access(tmp_path / "a.raw", os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(InputError, match=r"a readable file, found Permission denied for .*a\.raw\. Check its rights"):
        read_voxels(read_header(tmp_path / "a.nhdr", "NRRD"), None)
