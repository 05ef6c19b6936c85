"""What counts as a DICOM file, and what a bad one comes to."""

import os
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_series import PIXELS, Slice, series, write_slice
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import DeflatedExplicitVRLittleEndian

from medtl.errors import InputError, MedTLError
from medtl.io import dicom_file
from medtl.io.dicom_file import is_dicom, visible_files
from medtl.io.read import read_volume

APPLE_DOUBLE = bytes.fromhex("00051607000200004d6163204f532058") + bytes(200)


def write_series(folder: Path, count: int = 3, suffix: str = ".dcm") -> Path:
    folder.mkdir(exist_ok=True)
    for n, item in enumerate(series(count)):
        write_slice(folder / f"IM{n}{suffix}", item)
    return folder


@pytest.mark.parametrize("name", ["._IM0.dcm", ".DS_Store", ".hidden/a.dcm", "__MACOSX/._IM0.dcm", "__MACOSX/IM0.dcm"])
def test_hidden_files_beside_a_series_are_skipped(name: str, tmp_path: Path) -> None:
    folder = write_series(tmp_path / "scan")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(APPLE_DOUBLE)
    assert read_volume(folder).array.shape == (3, 4, 5)


def test_a_folder_that_is_hidden_itself_is_read(tmp_path: Path) -> None:
    assert read_volume(write_series(tmp_path / ".scan")).array.shape == (3, 4, 5)


def without_preamble(path: Path) -> None:
    path.write_bytes(path.read_bytes()[132:])


def without_meta(path: Path, *, implicit: bool) -> None:
    data = pydicom.dcmread(path)
    pixels = data["PixelData"]
    plain = pydicom.Dataset({element.tag: element for element in data})
    plain["PixelData"] = pixels
    plain.save_as(path, implicit_vr=implicit, little_endian=True, enforce_file_format=False)
    assert path.read_bytes()[:2] == b"\x08\0"


BARE: dict[str, Callable[[Path], None]] = {
    "no preamble": without_preamble,
    "no file meta": lambda path: without_meta(path, implicit=False),
    "no file meta, no types": lambda path: without_meta(path, implicit=True),
}


@pytest.mark.parametrize("suffix", [".dcm", "", ".001"])
@pytest.mark.parametrize("strip", BARE.values(), ids=BARE.keys())
def test_files_without_preamble_or_suffix_are_read(strip: Callable[[Path], None], suffix: str, tmp_path: Path) -> None:
    folder = write_series(tmp_path / "scan", suffix=suffix)
    for file in visible_files(folder):
        strip(file)
    got = read_volume(folder)
    np.testing.assert_array_equal(got.array, np.stack([PIXELS] * 3))
    assert got.geometry.spacing == (0.7, 0.8, 2.0)
    np.testing.assert_array_equal(read_volume(folder / f"IM0{suffix}").array[0], PIXELS)


@pytest.mark.parametrize(
    "data",
    [b"", b"hello" * 99, APPLE_DOUBLE, b"\x08\0" * 99, b"\x08\0\x05\0CS\0\0" + b"text" * 50, bytes(500)],
    ids=["empty", "text", "AppleDouble", "one number", "one element", "zeros"],
)
def test_other_files_are_not_taken_for_dicom(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data)
    assert not is_dicom(tmp_path / "file")


def test_a_folder_that_cannot_be_listed_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path, onerror: Callable[[OSError], None]) -> list[object]:
        onerror(PermissionError(13, "Permission denied", str(folder / "locked")))
        return []

    monkeypatch.setattr(dicom_file.os, "walk", refuse)
    with pytest.raises(InputError, match=r"found Permission denied for .*locked. Check its rights"):
        visible_files(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_name_may_have_any_bytes(compressed: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    if compressed:
        writer = sitk.ImageFileWriter()
        writer.SetFileName(str(path))
        writer.UseCompressionOn()
        writer.SetCompressor("JPEG")  # lossless, which is left to GDCM
        writer.Execute(sitk.GetImageFromArray(PIXELS))
    else:
        write_slice(path, Slice())
    odd = path.rename(tmp_path / os.fsdecode(b"l\xe9"))
    for source in (tmp_path, odd):
        np.testing.assert_array_equal(read_volume(source).array[0], PIXELS)


# Damaged and malicious files: each comes to one sentence


def element(tag: tuple[int, int], kind: bytes, value: bytes, length: int | None = None) -> bytes:
    """A data element, explicit and little endian, of a kind that has a length of 32 bits."""
    return struct.pack("<HH2sHI", *tag, kind, 0, len(value) if length is None else length) + value


def insert(path: Path, data: bytes) -> Path:
    """Put elements before the pixel data."""
    whole = path.read_bytes()
    at = whole.rindex(struct.pack("<HH", 0x7FE0, 0x0010))
    path.write_bytes(whole[:at] + data + whole[at:])
    return path


def nested(depth: int) -> bytes:
    start = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 2**32 - 1) + struct.pack("<HHI", 0xFFFE, 0xE000, 2**32 - 1)
    end = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    return start * depth + end * depth


def with_raw_value(path: Path, tag: tuple[int, int], value: bytes) -> Path:
    """Replace the value of an element of a short kind, whatever length it has."""
    whole = path.read_bytes()
    at = whole.index(struct.pack("<HH", *tag))
    (length,) = struct.unpack_from("<H", whole, at + 6)
    path.write_bytes(whole[: at + 6] + struct.pack("<H", len(value)) + value + whole[at + 8 + length :])
    return path


def deflated(path: Path, item: Slice, data: bytes | None = None) -> Path:
    """A deflated file; `data` in place of what it would hold."""
    write_slice(path, item)
    whole = path.read_bytes()
    at = 144 + struct.unpack_from("<I", whole, 140)[0]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    meta = pydicom.dcmread(path).file_meta
    meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    out = pydicom.filebase.DicomBytesIO()
    out.is_little_endian, out.is_implicit_VR = True, False
    pydicom.filewriter.write_file_meta_info(out, meta)
    body = packer.compress(whole[at:] if data is None else data) + packer.flush()
    path.write_bytes(bytes(128) + b"DICM" + out.getvalue() + body)
    return path


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "Rows of three bytes": (lambda p: with_raw_value(write_slice(p, Slice()), (0x28, 0x10), b"\1\0\0"), "a.dcm"),
    "NumberOfFrames is text": (
        lambda p: with_raw_value(write_slice(p, Slice(extra={"NumberOfFrames": 1})), (0x28, 0x8), b"x!"),
        "a.dcm",
    ),
    "position is text": (lambda p: with_raw_value(write_slice(p, Slice()), (0x20, 0x32), b"a\\b\\c "), "a.dcm"),
    "position beyond numbers": (
        lambda p: with_raw_value(write_slice(p, Slice()), (0x20, 0x32), b"0\\0\\1e309 "),
        "ImagePositionPatient",
    ),
    "deeply nested sequences": (lambda p: insert(write_slice(p, Slice()), nested(5000)), "empty or damaged"),
    "length beyond the file": (
        lambda p: insert(write_slice(p, Slice()), element((0x41, 0x10), b"OB", b"", 2**32 - 16)),
        "cut off or damaged",
    ),
    "deflated data cut off": (lambda p: cut(deflated(p, Slice()), 200), "empty or damaged|cut off or damaged"),
    "deflated rubbish": (lambda p: cut(deflated(p, Slice(array=NOISE)), -99, b"rubbish" * 20), "damaged"),
    "deflated zeros without end": (lambda p: deflated(p, Slice(), bomb(BOMB)), "found deflated data that go on"),
    "deflated header without end": (lambda p: deflated(p, Slice(), bomb(BOMB, (0x41, 0x10))), "data that go on"),
}


def cut(path: Path, count: int, end: bytes = b"") -> Path:
    """The file without its last bytes, or with others behind its end."""
    data = path.read_bytes()
    path.write_bytes((data[:-count] if count > 0 else data[:count]) + end)
    return path


NOISE = np.random.default_rng(0).integers(0, 30000, (64, 64)).astype(np.int16)
BOMB = 80 << 20  # bytes, which a file of 80 kB inflates to


def bomb(size: int, tag: tuple[int, int] = (0x7FE0, 0x0010)) -> bytes:
    """A small image with an element of many zeros: its pixel data, or one before them."""
    item = Slice()
    header = [
        element((0x08, 0x16), b"UI", b""),
        struct.pack("<HH2sHH", 0x28, 0x10, b"US", 2, item.array.shape[0]),
        struct.pack("<HH2sHH", 0x28, 0x11, b"US", 2, item.array.shape[1]),
        struct.pack("<HH2sHH", 0x28, 0x100, b"US", 2, 16),
    ]
    return b"".join(header[1:]) + element(tag, b"OW", b"", size) + bytes(size)


@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD.keys())
def test_a_bad_file_is_one_sentence_that_names_it(
    make: Callable[[Path], Path], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = make(tmp_path / "a.dcm")
    for source in (path, tmp_path):
        with pytest.raises(InputError, match=message) as caught:
            read_volume(source)
        assert "a.dcm" in str(caught.value)
        assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_inflating_stops_soon_after_what_the_header_promises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []

    class Counting:
        def __init__(self, *arguments: int) -> None:
            self._real = REAL(*arguments)

        def decompress(self, data: bytes, limit: int) -> bytes:
            out = self._real.decompress(data, limit)
            counts.append(len(out))
            return out

        def __getattr__(self, name: str) -> object:
            return getattr(self._real, name)

    REAL = zlib.decompressobj
    deflated(tmp_path / "a.dcm", Slice(), bomb(BOMB))
    monkeypatch.setattr(dicom_file.zlib, "decompressobj", Counting)
    with pytest.raises(InputError):
        read_volume(tmp_path / "a.dcm")
    assert max(counts) < 40 << 20


def test_a_deflated_file_is_read(tmp_path: Path) -> None:
    for n, item in enumerate(series(3)):
        deflated(tmp_path / f"{n}.dcm", item)
    np.testing.assert_array_equal(read_volume(tmp_path).array, np.stack([PIXELS] * 3))


def test_a_deflated_file_may_hold_more_pixels_than_it_has_bytes(tmp_path: Path) -> None:
    array = np.zeros((512, 512), np.int16)
    array[100:200, 100:200] = 7
    path = deflated(tmp_path / "a.dcm", Slice(array=array))
    assert path.stat().st_size < array.nbytes / 50
    np.testing.assert_array_equal(read_volume(path).array[0], array)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(changes=st.lists(st.tuples(st.integers(128, 2500), st.binary(min_size=1, max_size=4)), min_size=1, max_size=4))
def test_a_file_with_changed_bytes_is_read_or_refused(changes: list[tuple[int, bytes]], tmp_path: Path) -> None:
    path = write_slice(tmp_path / "a.dcm", Slice(array=NOISE[:20, :20], extra={"RescaleSlope": 2}))
    data = bytearray(path.read_bytes())
    for at, value in changes:
        data[at % len(data) : at % len(data) + len(value)] = value
    path.write_bytes(data)
    message = ""
    try:
        assert read_volume(tmp_path).array.size > 1
    except MedTLError as error:
        message = str(error)
    assert "\n" not in message
