"""Hostile headers: nothing that they name is opened, and nothing that they promise is believed."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from grids import NOISE

from medtl.errors import InputError
from medtl.io.files import data_files, identities
from medtl.io.header import ALLOW_OUTSIDE
from medtl.io.read import read_volume

NRRD = "NRRD0004\ntype: short\ndimension: 3\nsizes: 5 4 3\nendian: little\nencoding: raw\n{}\n"
MHD = "ObjectType = Image\nNDims = 3\nDimSize = 5 4 3\nElementType = MET_SHORT\nElementDataFile = {}\n"


@pytest.mark.parametrize(
    "pattern",
    [
        *("%n%n.raw 0 2 1", "p%3d%n%n.raw 0 2 1", "p%300d.raw 0 2 1", "p%s%n%9d.raw 0 2 1", "p%0d%0d.raw 0 2 1"),
        *("p%d.raw", "p%d%.raw 0 2 1", "p%-3d.raw 0 2 1", "p%ld.raw 0 2 1", "p%03d.raw 0 2", "%", "a%20b.raw"),
        *("%1$n.raw 0 2 1", "p%*d.raw 0 2 1", "p%03x.raw 0 2 1", "p%d.raw 0 1e9 1", "p%d.raw 0 2 1 2 3"),
    ],
)
@pytest.mark.parametrize("text", [NRRD.replace("{}", "data file: {}"), MHD], ids=["NRRD", "MetaImage"])
def test_a_pattern_is_one_number_and_nothing_else(text: str, pattern: str, tmp_path: Path) -> None:
    path = tmp_path / ("a.nhdr" if "NRRD" in text else "a.mhd")
    path.write_text(text.format(pattern))
    with pytest.raises(InputError, match=r"a pattern as slice%03d\.raw 1 20 1"):
        read_volume(path)
    assert data_files(path) == (path,)


@pytest.mark.parametrize(("first", "last", "step"), [(0, 99999999, 1), (99999999, 0, -1)])
def test_a_pattern_of_many_files_is_refused(first: int, last: int, step: int, tmp_path: Path) -> None:
    (tmp_path / "a.nhdr").write_text(NRRD.format(f"data file: p%d.raw {first} {last} {step}"))
    with pytest.raises(InputError, match="at most 65536 data files, found 100000000"):
        read_volume(tmp_path / "a.nhdr")


@pytest.mark.parametrize(
    "lines",
    [
        "\n".join(f"k{n}:=v" for n in range(300_000)),
        "# " + "a" * 20_000_000,
        "k:=" + "a" * 20_000_000,
        "data file: LIST\n" + "x.raw\n" * 300_000,
    ],
    ids=["keys", "comment", "value", "names"],
)
def test_a_header_without_end_is_refused_at_once(lines: str, tmp_path: Path) -> None:
    (tmp_path / "a.nrrd").write_bytes(NRRD.format(lines).encode() + NOISE.tobytes())
    began = time.perf_counter()
    with pytest.raises(InputError, match="at most 65536 lines and 4 MB, found more"):
        read_volume(tmp_path / "a.nrrd")
    assert time.perf_counter() - began < 5


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", ["a.nrrd", "a.raw"], ids=["header", "data"])
def test_a_pipe_is_not_waited_for(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.nhdr").write_text(NRRD.format("data file: a.raw"))
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="a regular file, found another kind of file"):
        read_volume(tmp_path / ("a.nrrd" if name == "a.nrrd" else "a.nhdr"))


@pytest.mark.parametrize("where", ["above", "absolute", "link", "link to a folder"])
def test_data_outside_the_folder_of_the_header_are_read_only_where_that_is_allowed(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "case").mkdir()
    data = tmp_path / "secret" / "patient.raw"
    data.write_bytes(NOISE.tobytes())
    name = {"above": "../secret/patient.raw", "absolute": str(data), "link": "a.raw"}.get(where, "s/patient.raw")
    if where == "link":
        (tmp_path / "case" / "a.raw").symlink_to(data)
    elif where == "link to a folder":
        (tmp_path / "case" / "s").symlink_to(tmp_path / "secret")
    path = tmp_path / "case" / "a.nhdr"
    path.write_text(NRRD.format(f"data file: {name}"))
    monkeypatch.delenv(ALLOW_OUTSIDE, raising=False)
    with pytest.raises(InputError, match=r"data files in the folder of .*, found .*\. Move it there\.$") as caught:
        read_volume(path)
    assert caught.value.option == "data_outside"
    monkeypatch.setenv(ALLOW_OUTSIDE, "1")
    np.testing.assert_array_equal(read_volume(path).array, NOISE)
    assert identities([data]) < identities([path])  # such a file is never overwritten by an output


def test_data_in_a_folder_below_are_read(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.raw").write_bytes(NOISE.tobytes())
    (tmp_path / "a.nhdr").write_text(NRRD.format("data file: raw/a.raw"))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nhdr").array, NOISE)


def test_a_data_file_of_another_size_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.nhdr").write_text(NRRD.format("data file: a.raw"))
    for data, message in ((NOISE.tobytes()[:-1], "found 119: it is cut off"), (bytes(121), "found more")):
        (tmp_path / "a.raw").write_bytes(data)
        with pytest.raises(InputError, match=f"120 bytes of data in .*a.raw, {message}"):
            read_volume(tmp_path / "a.nhdr")
