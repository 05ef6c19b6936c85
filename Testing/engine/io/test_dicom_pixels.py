"""Tags that change what the pixels of a DICOM file mean are honoured or refused by name."""

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_series import PIXELS, Slice, series, write_slice
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from medtl.errors import InputError
from medtl.io.dicom import list_series
from medtl.io.read import read_volume

UNSIGNED = PIXELS.astype(np.uint16)


def table(values: list[int], first: int = 0, bits: int = 16) -> Dataset:
    item = Dataset()
    item.add_new((0x28, 0x3002), "SS" if first < 0 else "US", [len(values), first, bits])
    item.add_new((0x28, 0x3006), "US", values)
    item.ModalityLUTType = "US"
    return item


def looked_up(stored: np.ndarray, values: list[int], first: int) -> np.ndarray:
    """What a modality LUT gives, one pixel after another."""
    return np.array([values[min(max(int(v) - first, 0), len(values) - 1)] for v in stored.ravel()]).reshape(
        stored.shape
    )


@pytest.mark.parametrize(("stored", "first"), [(UNSIGNED, 0), (UNSIGNED, 100), (PIXELS - 500, -300)])
def test_a_modality_lut_is_looked_up(stored: np.ndarray, first: int, tmp_path: Path) -> None:
    values = [(7 * n * n + 3) % 60000 for n in range(700)]
    lut = {"ModalityLUTSequence": [table(values, first)]}
    for n, item in enumerate(series(2, array=stored, extra=lut)):
        write_slice(tmp_path / f"{n}.dcm", item)
    np.testing.assert_array_equal(read_volume(tmp_path).array, np.stack([looked_up(stored, values, first)] * 2))


def test_a_modality_lut_of_an_inverted_image_is_turned_over(tmp_path: Path) -> None:
    values = [3 * n for n in range(1000)]
    write_slice(
        tmp_path / "a.dcm", Slice(UNSIGNED, kind="MONOCHROME1", extra={"ModalityLUTSequence": [table(values, 0, 12)]})
    )
    np.testing.assert_array_equal(read_volume(tmp_path).array[0], 4095 - 3 * UNSIGNED.astype(int))


def test_a_modality_lut_without_its_data_is_refused(tmp_path: Path) -> None:
    broken = table([1, 2, 3])
    del broken.LUTData
    write_slice(tmp_path / "a.dcm", Slice(extra={"ModalityLUTSequence": [broken]}))
    with pytest.raises(InputError, match="cut off or damaged"):
        read_volume(tmp_path)


@pytest.mark.parametrize(("slope", "intercept"), [(100_000, 0), (1, 3e9), (1, -3e9), (2**31, 5)])
def test_values_beyond_int32_come_as_float32(slope: float, intercept: float, tmp_path: Path) -> None:
    extra = {"RescaleSlope": slope, "RescaleIntercept": intercept}
    for n, item in enumerate(series(3, array=np.where(UNSIGNED > 900, 65535, UNSIGNED).astype(np.uint16))):
        write_slice(tmp_path / f"{n}.dcm", replace(item, extra=extra if n == 1 else {}))
    got = read_volume(tmp_path).array
    stored = np.where(UNSIGNED > 900, 65535.0, UNSIGNED)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, np.stack([stored, stored * slope + intercept, stored]), rtol=1e-6)


def test_values_up_to_the_ends_of_int32_stay_whole(tmp_path: Path) -> None:
    ends = np.array([[-(2**31), 2**31 - 1], [0, 1]], np.int32)
    write_slice(tmp_path / "a.dcm", Slice(ends))
    got = read_volume(tmp_path).array
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got[0], ends)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a slope that no number holds": ({"extra": {"RescaleSlope": "1e300"}}, "32-bit numbers can hold.*RescaleSlope"),
    "a slope of zero": ({"extra": {"RescaleSlope": 0}}, "found a RescaleSlope of 0"),
    "a mosaic": ({"extra": {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]}}, "Siemens mosaic.*dcm2niix"),
    "colours by a palette": ({"kind": "PALETTE COLOR"}, r"found colour \(PALETTE COLOR\)"),
    "colours by luminance": ({"kind": "YBR_FULL"}, r"found colour \(YBR_FULL\)"),
    "some pixels in colour": ({"extra": {"PixelPresentation": "MIXED"}}, "some pixels in colour .*MIXED"),
    "three samples of grey": (
        {"array": np.zeros((4, 5, 3), np.uint8), "kind": "MONOCHROME2"},
        "one value for each pixel, found 3",
    ),
    "high bits": ({"extra": {"BitsStored": 12, "HighBit": 15}}, "the highest at 15"),
    "more bits than there are": ({"extra": {"BitsStored": 60000}}, "found 60000 of 16 bits"),
    "odd bits": ({"extra": {"BitsAllocated": 65535}}, "of 65535 bits"),
    "giant rows": ({"extra": {"Rows": 65535, "Columns": 65535}}, "8589672450 bytes of pixel data, found a file of"),
    "giant frames": ({"extra": {"NumberOfFrames": 2**31 - 1}}, "a film of 2147483647 frames"),
    "giant compressed rows": (
        {"extra": {"Rows": 65535, "Columns": 65535}, "syntax": RLELossless},
        "bytes of pixel data, found a file of",
    ),
    "compressed rubbish": ({"syntax": JPEGBaseline8Bit}, "found JPEG Baseline.*damaged or of a kind"),
    "frames without groups": (
        {"extra": {"NumberOfFrames": 4, "PerFrameFunctionalGroupsSequence": [Dataset()]}},
        "each of the 4 frames, found 1",
    ),
}


@pytest.mark.parametrize(("values", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_would_be_misread_is_refused_by_name(
    values: dict[str, Any], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_slice(tmp_path / "a.dcm", Slice(**values))
    with pytest.raises(InputError, match=message) as caught:
        read_volume(tmp_path)
    assert "a.dcm" in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_private_mosaic_without_the_word_is_refused(tmp_path: Path) -> None:
    path = write_slice(tmp_path / "a.dcm", Slice())
    data = pydicom.dcmread(path)
    data.private_block(0x19, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", 36)
    data.save_as(path)
    with pytest.raises(InputError, match="Siemens mosaic"):
        read_volume(path)


def test_what_cannot_be_read_is_listed_and_stops_no_other_series(tmp_path: Path) -> None:
    for n, item in enumerate(series(3)):
        write_slice(tmp_path / f"{n}.dcm", item)
    write_slice(tmp_path / "film.dcm", Slice(uid="1.9", extra={"NumberOfFrames": 9}))
    write_slice(tmp_path / "colour.dcm", Slice(np.zeros((4, 5, 3), np.uint8), uid="1.8", kind="RGB"))
    assert [one.uid for one in list_series(tmp_path)] == ["1.2.3", "1.8", "1.9"]
    assert read_volume(tmp_path, series="1.2").array.shape == (3, 4, 5)


def test_bits_above_those_of_the_pixel_do_not_count(tmp_path: Path) -> None:
    extra = {"BitsStored": 12, "HighBit": 11}
    write_slice(tmp_path / "a.dcm", Slice(UNSIGNED | 0x4000, extra=extra))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.dcm").array[0], UNSIGNED)


def test_signed_values_of_fewer_bits_keep_their_sign(tmp_path: Path) -> None:
    stored = (PIXELS - 500) & 0x0FFF
    write_slice(tmp_path / "a.dcm", Slice(stored.astype(np.int16), extra={"BitsStored": 12, "HighBit": 11}))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.dcm").array[0], PIXELS - 500)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless])
def test_a_compressed_picture_of_another_size_is_not_decompressed(
    syntax: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jpeg = struct.pack(
        ">2sHHBHHB", b"\xff\xd8", 0xFFF7 if syntax == JPEGLSLossless else 0xFFC3, 11, 16, 60000, 60000, 1
    )
    stream = struct.pack(">4sHH6I", b"\xff\x4f\xff\x51", 41, 0, 60000, 60000, 0, 0, 60000, 60000)
    path = write_slice(tmp_path / "a.dcm", Slice())
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = syntax
    data.PixelData = encapsulate([(stream if syntax == JPEG2000Lossless else jpeg) + bytes(300)])
    data["PixelData"].VR = "OB"
    data.save_as(path)
    monkeypatch.setattr("SimpleITK.ReadImage", lambda *_, **__: pytest.fail("GDCM was asked"))
    with pytest.raises(InputError, match="can be decompressed here, found JPEG"):
        read_volume(path)


def write_floats(path: Path, values: np.ndarray, name: str) -> Path:
    write_slice(path, Slice())
    data = pydicom.dcmread(path)
    for tag in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(data, tag)
    data.BitsAllocated = 8 * values.dtype.itemsize
    data.Rows, data.Columns = values.shape
    setattr(data, name, values.tobytes())
    data.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize(("name", "dtype"), [("FloatPixelData", "<f4"), ("DoubleFloatPixelData", "<f8")])
def test_floating_point_pixel_data_keep_their_fractions(name: str, dtype: str, tmp_path: Path) -> None:
    values = (PIXELS / 7).astype(dtype)
    got = read_volume(write_floats(tmp_path / "a.dcm", values, name)).array
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got[0], values.astype(np.float32))


def test_a_few_pixels_that_are_no_number_count_as_the_smallest(tmp_path: Path) -> None:
    values = np.arange(3, 403, dtype="<f4").reshape(20, 20)
    values[5, 6] = np.nan
    got = read_volume(write_floats(tmp_path / "a.dcm", values, "FloatPixelData"))
    assert got.array[0, 5, 6] == 3
    assert "1 voxel was NaN or infinite and counts as 3." in got.warnings


def test_pixel_data_of_more_rows_than_the_header_has_are_refused(tmp_path: Path) -> None:
    write_slice(tmp_path / "a.dcm", Slice(extra={"Rows": 3}))
    with pytest.raises(InputError, match=r"30 bytes of pixel data for 3 × 5 pixels, found 40 in .*a\.dcm"):
        read_volume(tmp_path / "a.dcm")


def test_a_few_bytes_after_the_pixel_data_are_padding(tmp_path: Path) -> None:
    write_slice(tmp_path / "a.dcm", Slice())
    data = pydicom.dcmread(tmp_path / "a.dcm")
    data.PixelData += bytes(4)
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.dcm").array[0], PIXELS)


def test_a_missing_entry_is_named(tmp_path: Path) -> None:
    write_slice(tmp_path / "a.dcm", Slice())
    data = pydicom.dcmread(tmp_path / "a.dcm")
    del data.PixelRepresentation
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(InputError, match="Pixel Representation"):
        read_volume(tmp_path / "a.dcm")
