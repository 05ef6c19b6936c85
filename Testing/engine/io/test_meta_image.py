"""MetaImage headers mean what they mean to ITK, and what ITK garbles is read whole or refused."""

import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from grids import NOISE, centres_of, voxel_centres

from medtl.errors import InputError
from medtl.io.read import read_volume

DATA = NOISE.astype("<i2").tobytes()
PACKED = zlib.compress(DATA)
HEAD = "ObjectType = Image\nNDims = 3\nDimSize = 5 4 3\n"


def mha(path: Path, fields: str = "", data: bytes = DATA, head: str = HEAD, file: str = "LOCAL") -> Path:
    path.write_bytes(f"{head}{fields}ElementType = MET_SHORT\nElementDataFile = {file}\n".encode() + data)
    return path


@pytest.mark.parametrize(
    "fields",
    [
        "",
        "ElementSpacing = 0.5 0.6 2\nOffset = 1 2 3\n",
        "ElementSize = 0.5 0.6 2\n",
        "ElementSize = 1 1 1\nElementSpacing = 4 5 6\n",
        "Position = 1 2 3\n",
        "Origin = 1 2 3\nAnatomicalOrientation = LPI\n",
        "TransformMatrix = 0 1 0 -1 0 0 0 0 1\n",
        "Orientation = 0.8 0.6 0 -0.6 0.8 0 0 0 1\nCenterOfRotation = 0 0 0\n",
        "Rotation = 0 0 1 0 1 0 -1 0 0\nOffset = 1 2 3\nElementSpacing = 1 2 3\n",
        "ElementSpacing = -2 2 2\n",
        "ElementSpacing : 2 2 2\n",
        "Comment = a = b\nSomething = else\n",
    ],
)
def test_the_grid_is_that_of_itk(fields: str, tmp_path: Path) -> None:
    path = mha(tmp_path / "a.mha", fields)
    got = read_volume(path)
    np.testing.assert_allclose(centres_of(got.geometry), voxel_centres(sitk.ReadImage(str(path))), atol=1e-9)
    np.testing.assert_array_equal(got.array, NOISE)


@pytest.mark.parametrize(
    ("fields", "data"),
    [
        ("CompressedData = True\n", PACKED),
        (f"CompressedData = True\nCompressedDataSize = {len(PACKED)}\n", PACKED),
        ("BinaryData = False\n", " ".join(str(v) for v in NOISE.ravel()).encode()),
        ("BinaryDataByteOrderMSB = True\n", NOISE.astype(">i2").tobytes()),
        ("HeaderSize = -1\n", b"xxxx" + DATA),
    ],
)
def test_whole_data_are_read_however_they_are_stored(fields: str, data: bytes, tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_volume(mha(tmp_path / "a.mha", fields, data)).array, NOISE)


@pytest.mark.parametrize(
    ("fields", "data", "message"),
    [
        (f"CompressedDataSize = {len(PACKED) - 9}\n", PACKED, "packed data are cut off"),
        (f"CompressedDataSize = {len(PACKED) + 9}\n", PACKED, "is cut off"),
        ("CompressedDataSize = 99999999999\n", PACKED, "is cut off"),
        ("", PACKED[:-5], "packed data are cut off"),
        ("", PACKED[:-1] + b"x", "packed data are cut off or changed"),
        ("", zlib.compress(DATA[:-2]), "120 bytes of data in .*, found 118"),
        ("", zlib.compress(DATA + b"xx"), "120 bytes of data in .*, found more"),
        ("", zlib.compress(bytes(50_000_000)), "120 bytes of data in .*, found more"),
        ("", DATA, "packed data are cut off or changed"),
    ],
)
def test_packed_data_that_do_not_fit_the_header_are_refused(
    fields: str, data: bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        read_volume(mha(tmp_path / "a.mha", f"CompressedData = True\n{fields}", data))


LISTED = "s1.raw\ns2.raw\ns3.raw"


@pytest.mark.parametrize("file", ["a.raw", "s%d.raw 1 3 1", f"LIST\n{LISTED}", f"LIST 2\n{LISTED}"])
def test_data_in_other_files_are_read(file: str, tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(b"head" + DATA)
    for number, plane in enumerate(NOISE, start=1):
        (tmp_path / f"s{number}.raw").write_bytes(b"head" + plane.tobytes())
    path = mha(tmp_path / "a.mhd", "HeaderSize = 4\n", b"", file=file)
    np.testing.assert_array_equal(read_volume(path).array, NOISE)


@pytest.mark.parametrize(
    ("fields", "head", "message"),
    [
        ("", HEAD.replace("NDims = 3", "NDims = -1"), "1 to 5 dimensions, found -1"),
        ("", HEAD.replace("NDims = 3", "NDims = 65536"), "1 to 5 dimensions, found 65536"),
        ("", HEAD.replace("NDims = 3", "NDims = three"), "whole number.s. as NDims"),
        ("", HEAD.replace("5 4 3", "5 4"), "3 whole number.s. as sizes"),
        ("", HEAD.replace("Image", "Tube"), "ObjectType = Image, found Tube"),
        ("TransformMatrix = 1 0 0 1e308 1 0 0 0 1\n", HEAD, "as TransformMatrix"),
        ("TransformMatrix = 1 0 0 1e10 1 0 0 0 1\n", HEAD, "a TransformMatrix of unit vectors"),
        ("TransformMatrix = 1 0 0\n", HEAD, "9 number.s. as TransformMatrix"),
        ("ElementSpacing = 1 1 1e30\n", HEAD, "as ElementSpacing"),
        ("ElementSpacing = 1 1 inf\n", HEAD, "as ElementSpacing"),
        ("ElementSpacing = 1 1 1e9\n", HEAD, "spacings above 0 mm, .* found 1 × 1 × 1e"),
        ("Offset = 1 1 nan\n", HEAD, "as Offset"),
        ("Offset = 1 2 3\nOrigin = 4 5 6\n", HEAD, "each field once, found Origin twice"),
        ("ElementNumberOfChannels = 1000000000\n", HEAD, "found 1000000000 components"),
        ("ElementNumberOfChannels = 0\n", HEAD, "at least one channel"),
        ("HeaderSize = 2\n", HEAD, "HeaderSize and CompressedDataSize that fit"),
        ("ElementToIntensityFunctionSlope = 2\n", HEAD, "values without a scale"),
        ("no sign\n", HEAD, "lines of the form Key = Value, found 'no sign'"),
    ],
)
def test_a_header_that_cannot_be_is_refused(fields: str, head: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_volume(mha(tmp_path / "a.mha", fields, head=head))
    assert "a.mha" in str(caught.value)


@pytest.mark.parametrize("unit", ["um", "m", "cm"])
def test_lengths_in_another_unit_are_a_warning(unit: str, tmp_path: Path) -> None:
    got = read_volume(mha(tmp_path / "a.mha", f"ElementSpacing = 2 2 2\nDistanceUnits = {unit}\n"))
    assert got.warnings == (f"The header gives lengths in {unit}; they are taken as mm.",)


@pytest.mark.parametrize("unit", ["mm", "?"])
def test_lengths_in_millimetres_are_no_warning(unit: str, tmp_path: Path) -> None:
    assert read_volume(mha(tmp_path / "a.mha", f"ElementSpacing = 2 2 2\nDistanceUnits = {unit}\n")).warnings == ()


@pytest.mark.parametrize(
    "fields",
    [
        "Offset = 1 2 3\nPosition = 1 2 3\nOrigin = 1 2 3\n",
        "Offset = 1 2 3\nBinaryDataByteOrderMSB = False\nElementByteOrderMSB = False\n",
    ],
)
def test_two_names_of_a_field_may_say_the_same(fields: str, tmp_path: Path) -> None:
    assert read_volume(mha(tmp_path / "a.mha", fields)).geometry.origin == (1, 2, 3)
