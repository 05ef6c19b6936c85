"""NRRD headers mean what they mean to ITK, and what ITK does not check is refused."""

import bz2
import gzip
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from grids import NOISE, centres_of, voxel_centres

from medtl.errors import InputError
from medtl.io.read import read_volume

DATA = NOISE.astype("<i2").tobytes()
SIZES = "type: short\ndimension: 3\nsizes: 5 4 3\nendian: little\n"


def nrrd(path: Path, fields: str, data: bytes = DATA) -> Path:
    path.write_bytes(f"NRRD0005\n# a comment\n{fields}\n\n".encode() + data)
    return path


@pytest.mark.parametrize(
    "fields",
    [
        "",
        "spacings: 0.5 0.6 2",
        "spacings: -0.5 0.6 2",
        "spacings: 2 2 3\naxis mins: 10 20 30",
        "spacings: 2 2 3\naxis mins: 10 20 30\ncenters: node node node",
        "space: LPS\nspace directions: (1,0,0) (0,2,0) (0,0,3)\nspace origin: (1,2,3)",
        "space: right-anterior-superior\nspace directions: (1,0,0) (0,2,0) (0,0,3)\nspace origin: (1,2,3)",
        "space: LAS\nspace directions: (0,0,1) (0,-2,0) (3,0,0)\nspace origin: (1,2,3)",
        "space: scanner-xyz\nspace directions: (1,0,0) (0,2,0) (0,0,3)\nspace origin: (1,2,3)",
        "space dimension: 3\nspace directions: (1,0,0) (0,2,0) (0,0,3)\nspace origin: (1,2,3)",
        "space: LPS\nspace directions: none none none\nspace origin: (3,4,5)",
        "space: LPS\nspace directions: (0.8,0.6,0) (-0.6,0.8,0) (0,0,3)\nspace origin: none\ncontent: a: b",
    ],
)
def test_the_grid_is_that_of_itk(fields: str, tmp_path: Path) -> None:
    path = nrrd(tmp_path / "a.nrrd", f"{SIZES}encoding: raw\n{fields}".rstrip())
    got = read_volume(path)
    np.testing.assert_allclose(centres_of(got.geometry), voxel_centres(sitk.ReadImage(str(path))), atol=1e-9)
    np.testing.assert_array_equal(got.array, NOISE)


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("raw", DATA),
        ("gzip", gzip.compress(DATA)),
        ("gz", zlib.compress(DATA)),
        ("gzip", gzip.compress(DATA[:50]) + gzip.compress(DATA[50:]) + b"\0" * 100),
        ("bzip2", bz2.compress(DATA)),
        ("ascii", " ".join(str(v) for v in NOISE.ravel()).encode()),
        ("text", "\n".join(f"{v}," for v in NOISE.ravel()).encode()),
        ("hex", DATA.hex().encode()),
    ],
)
def test_every_encoding_is_read(encoding: str, data: bytes, tmp_path: Path) -> None:
    got = read_volume(nrrd(tmp_path / "a.nrrd", f"{SIZES}encoding: {encoding}", data))
    np.testing.assert_array_equal(got.array, NOISE)
    assert got.array.dtype == NOISE.dtype


def test_big_endian_data_come_in_native_order(tmp_path: Path) -> None:
    fields = SIZES.replace("little", "big") + "encoding: raw"
    got = read_volume(nrrd(tmp_path / "a.nrrd", fields, NOISE.astype(">i2").tobytes()))
    np.testing.assert_array_equal(got.array, NOISE)
    assert got.array.dtype.isnative


@pytest.mark.parametrize(
    ("fields", "data"),
    [
        ("encoding: raw\nbyte skip: 5", b"xxxxx" + DATA),
        ("encoding: raw\nbyte skip: -1", b"xxxxx" + DATA),
        ("encoding: raw\nline skip: 2", b"one\ntwo\n" + DATA),
        ("encoding: raw\nline skip: 1\nbyte skip: 2", b"one\nxx" + DATA),
        ("encoding: gzip\nbyte skip: 3", gzip.compress(b"xxx" + DATA)),
    ],
)
def test_lines_and_bytes_before_the_data_are_skipped(fields: str, data: bytes, tmp_path: Path) -> None:
    path = nrrd(tmp_path / "a.nrrd", SIZES + fields, data)
    np.testing.assert_array_equal(read_volume(path).array, NOISE)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), NOISE)


@pytest.mark.parametrize(
    "names",
    ["data file: s%02d.raw 8 10 1", "datafile: s%02d.raw 10 8 -1", "data file: LIST\ns08.raw\ns09.raw\ns10.raw"],
)
def test_slices_in_files_of_their_own_are_one_volume(names: str, tmp_path: Path) -> None:
    for number, plane in zip((8, 9, 10), NOISE, strict=True):
        (tmp_path / f"s{number:02d}.raw").write_bytes(plane.tobytes())
    got = read_volume(nrrd(tmp_path / "a.nhdr", f"{SIZES}encoding: raw\n{names}", b""))
    np.testing.assert_array_equal(got.array, NOISE[::-1] if "-1" in names else NOISE)


@pytest.mark.parametrize("first", [True, False], ids=["first axis", "last axis"])
def test_a_time_axis_counts_frames_wherever_it_is(first: bool, tmp_path: Path) -> None:
    frames = np.stack([NOISE, NOISE + 1000])
    sizes, kinds = ("2 5 4 3", "time space space space") if first else ("5 4 3 2", "space space space time")
    directions = "none (1,0,0) (0,2,0) (0,0,3)" if first else "(1,0,0) (0,2,0) (0,0,3) none"
    data = (np.moveaxis(frames, 0, -1) if first else frames).tobytes()
    fields = f"type: short\ndimension: 4\nsizes: {sizes}\nendian: little\nencoding: raw\nspace: RAS\n"
    fields += f"space directions: {directions}\nkinds: {kinds}\nspace origin: (1,2,3)"
    got = read_volume(nrrd(tmp_path / "a.nrrd", fields, data), frame=1)
    np.testing.assert_array_equal(got.array, NOISE + 1000)
    assert got.geometry.spacing == (1, 2, 3)
    assert got.geometry.origin == (-1, -2, 3)


def test_a_2d_image_in_space_keeps_its_plane(tmp_path: Path) -> None:
    fields = "type: short\ndimension: 2\nsizes: 5 4\nendian: little\nencoding: raw\nspace: LPS\n"
    fields += "space directions: (0,0.5,0) (0,0,-2)\nspace origin: (7,8,9)"
    got = read_volume(nrrd(tmp_path / "a.nrrd", fields, NOISE[0].tobytes()))
    np.testing.assert_array_equal(got.array, NOISE[:1])
    np.testing.assert_allclose(got.geometry.affine[:3] @ [4, 3, 0, 1], [7, 10, 3])
    assert got.warnings == ("The header gives no slice thickness; 1 mm is assumed.",)


def test_other_units_are_a_warning(tmp_path: Path) -> None:
    fields = 'space: LPS\nspace directions: (1,0,0) (0,2,0) (0,0,3)\nspace units: "um" "um" "mm"'
    got = read_volume(nrrd(tmp_path / "a.nrrd", f"{SIZES}encoding: raw\n{fields}"))
    assert got.warnings == ("The header gives lengths in um; they are taken as mm.",)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (SIZES + "encoding: zrl", "the encoding ascii, bzip2, gzip, hex, raw, found zrl"),
        (SIZES.replace("short", "block") + "encoding: raw", "a type of numbers, as short or float, found block"),
        (SIZES.replace("endian: little\n", "") + "encoding: raw", "the field endian"),
        (SIZES.replace("dimension: 3", "dimension: 12") + "encoding: raw", "1 to 5 dimensions, found 12"),
        (SIZES.replace("dimension: 3", "dimension: -1") + "encoding: raw", "1 to 5 dimensions, found -1"),
        (SIZES.replace("5 4 3", "5 4") + "encoding: raw", "3 whole number.s. as sizes"),
        (SIZES.replace("5 4 3", "5 0 3") + "encoding: raw", "sizes of at least 1 voxel"),
        (SIZES.replace("5 4 3", "5 4 -3") + "encoding: raw", "sizes of at least 1 voxel"),
        (SIZES.replace("5 4 3", "5 4 1e3") + "encoding: raw", "whole number.s. as sizes, found '5 4 1e3'"),
        (SIZES.replace("5 4 3", "99999999999999999999 4 3") + "encoding: raw", "whole number.s. as sizes"),
        (SIZES.replace("5 4 3", "4294967296 4294967296 1") + "encoding: raw", "GB"),
        (SIZES, "the field encoding, found none"),
        (SIZES + "encoding: raw\nsizes: 5 4 3", "each field once, found sizes twice"),
        (SIZES + "encoding: raw\nfoo: 3", "fields of the NRRD format, found 'foo: 3'"),
        (SIZES + "encoding: raw\nkinds: list vector domain", "one axis of components at most"),
        (SIZES + "encoding: raw\nkinds: domain domain", "3 kinds, found 2"),
        (SIZES + "encoding: raw\nspacings: 1e30 1 1", "numbers up to 1e\\+18 as spacings"),
        (SIZES + "encoding: raw\nspacings: inf 1 1", "number.s. as spacings"),
        (SIZES + "encoding: raw\nspacings: 1 1 0", "spacings above 0 mm"),
        (SIZES + "encoding: raw\nspacings: 1 1 2\naxis mins: 0 0 0\naxis maxs: 5 4 3", "spacings of 2 and 1 on axis 3"),
        (
            SIZES + "encoding: raw\nspacings: 9 1 1\nspace: LPS\nspace directions: (1,0,0) (0,1,0) (0,0,1)",
            "spacings of 9 and 1 on axis 1",
        ),
        (SIZES + "encoding: raw\nspacings: 2 1 1\nspace: RAS", "space directions beside a space, found spacings"),
        (SIZES + "encoding: raw\nspacings: 1e17 1 1", "spacings above 0 mm, from 1e-06 to 10000, found 1e\\+17"),
        (SIZES + "encoding: raw\nspacings: 1e-300 1 1", "spacings above 0 mm, from 1e-06"),
        (SIZES + "encoding: raw\nspace: moon\nspace directions: (1,0,0) (0,1,0) (0,0,1)", "one known space"),
        (SIZES + "encoding: raw\nspace: LPS\nspace directions: (1,0,0) (0,1,0)", "3 space directions, found 2"),
        (SIZES + "encoding: raw\nspace: LPS\nspace directions: (1,0) (0,1) (0,0)", "3 number.s. as a vector"),
        (SIZES + "encoding: raw\nspace directions: (1,0,0) (0,1,0) (0,0,1)", "a space and vectors in it"),
        (SIZES + "encoding: raw\nspace: LPS\nspace origin: (nan,inf,1e308)", "number.s. as a vector"),
        (SIZES + "encoding: raw\nspace: LPS\nspace origin: (1e9,0,0)", "an origin within 1e\\+07 mm"),
        (SIZES + "encoding: gzip\nbyte skip: -1", "lines and bytes to skip"),
        (SIZES + "encoding: raw\nbyte skip: 99999999", "cut off"),
        (SIZES + "encoding: raw\nbyte skip: 2", "120 bytes of data in .*, found 118"),
        (SIZES + "encoding: hex", "hexadecimal digits as data"),
        (SIZES + "encoding: ascii", "numbers of the type .* as data"),
        (SIZES + "encoding: bzip2", "packed data are cut off or changed"),
        (SIZES + "encoding: gzip", "packed data are cut off or changed"),
    ],
)
def test_a_header_that_cannot_be_is_refused(fields: str, message: str, tmp_path: Path) -> None:
    data = b"\xff" + DATA[1:]
    with pytest.raises(InputError, match=message) as caught:
        read_volume(nrrd(tmp_path / "a.nrrd", fields, data))
    assert "a.nrrd" in str(caught.value)


GRID = "space: LPS\nspace directions: (1,0,0) (0,2,0) (0,0,3)\nspace origin: (1,2,3)"


@pytest.mark.parametrize(
    ("fields", "unit"),
    [
        (f'{GRID}\nspace units: "m" "m" "m"', "m"),
        (f"{GRID}\nspace units: um um um", "um"),
        ('spacings: 1 2 3\nunits: "mm" "mm" "cm"', "cm"),
        (f'{GRID}\nspace units: "mm" "MM" "millimeter"', ""),
        (f'{GRID}\nspace units: "" "" ""', ""),
    ],
)
def test_lengths_in_another_unit_are_a_warning(fields: str, unit: str, tmp_path: Path) -> None:
    got = read_volume(nrrd(tmp_path / "a.nrrd", f"{SIZES}encoding: raw\n{fields}"))
    assert got.geometry.spacing == (1, 2, 3)
    assert got.warnings == ((f"The header gives lengths in {unit}; they are taken as mm.",) if unit else ())


@pytest.mark.parametrize("centers", ["", "\ncenters: node node node"])
def test_ends_of_the_axes_state_the_spacing(centers: str, tmp_path: Path) -> None:
    got = read_volume(nrrd(tmp_path / "a.nrrd", f"{SIZES}encoding: raw\naxis mins: 0 4 8\naxis maxs: 8 10 12{centers}"))
    steps = (4, 3, 2) if centers else (5, 4, 3)
    spacing = [length / n for length, n in zip((8, 6, 4), steps, strict=True)]
    np.testing.assert_allclose(got.geometry.spacing, spacing)
    np.testing.assert_allclose(
        got.geometry.origin, [low + (0 if centers else s / 2) for low, s in zip((0, 4, 8), spacing)]
    )
    assert got.real_spacing
    assert got.warnings == ()


@pytest.mark.parametrize(
    ("fields", "warning"),
    [
        ("spacings: 1 2 nan", "The header gives no spacing for an axis; 1 mm is assumed."),
        ("spacings: 1 2 3\naxis mins: 4 5 nan", "The header does not state where an axis begins; 0 mm is assumed."),
        (
            GRID.replace("LPS", "scanner-xyz"),
            "The header does not state how the patient lies in its space; left is assumed.",
        ),
        (
            GRID.replace("LPS", "3D-left-handed"),
            "The header does not state how the patient lies in its space; left is assumed.",
        ),
    ],
)
def test_what_the_header_leaves_open_is_a_warning(fields: str, warning: str, tmp_path: Path) -> None:
    assert read_volume(nrrd(tmp_path / "a.nrrd", f"{SIZES}encoding: raw\n{fields}")).warnings == (warning,)


def test_the_axes_that_state_their_place_keep_it(tmp_path: Path) -> None:
    got = read_volume(nrrd(tmp_path / "a.nrrd", f"{SIZES}encoding: raw\nspacings: 1 2 3\naxis mins: 4 5 nan"))
    assert got.geometry.origin == (4.5, 6, 0)
