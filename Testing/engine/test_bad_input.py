"""Bad input and the message it gets, one row each: an InputError in one line that says what to do."""

import gzip
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_series import Slice, series, write_slice
from PIL import Image

from medtl.errors import InputError
from medtl.io.read import read_labelmap, read_volume
from medtl.volume import Geometry, to_sitk

NOISE = np.random.default_rng(0).integers(0, 1000, (3, 4, 5)).astype(np.int16)
GRID = Geometry((5, 4, 3), (0.7, 0.8, 2.0))
NRRD = """NRRD0004
type: short
dimension: 3
space: left-posterior-superior
sizes: 5 4 3
space directions: {directions}
kinds: domain domain domain
endian: little
encoding: raw
space origin: (0,0,0)

"""
MHA = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = False
TransformMatrix = {matrix}
Offset = 0 0 0
ElementSpacing = {spacing}
DimSize = 5 4 3
ElementType = MET_SHORT
ElementDataFile = LOCAL
"""


def written(path: Path, array: np.ndarray = NOISE, *, vector: bool = False, packed: bool = False) -> Path:
    image = sitk.GetImageFromArray(array, isVector=True) if vector else to_sitk(array, GRID)
    sitk.WriteImage(image, str(path), packed)
    return path


def cut(path: Path, rest: int) -> Path:
    path.write_bytes(path.read_bytes()[:-rest])
    return path


def scratched(path: Path, back: int = 30) -> Path:
    """A few bytes near the end of the file are other ones; what is packed in it unpacks to another image."""
    data = bytearray(path.read_bytes())
    data[-back - 4 : -back] = bytes(255 - b for b in data[-back - 4 : -back])
    return bytes_in(path, bytes(data))


def stored(data: bytes) -> bytes:
    """A gzip file that holds the data as they are, so that a changed byte changes a voxel and no code."""
    return gzip.compress(data, 0)


def packed_nifti(path: Path) -> Path:
    plain = written(path.with_name("plain.nii"))
    return bytes_in(path, stored(plain.read_bytes()))


def packed_nrrd(path: Path, data_file: str = "") -> Path:
    head = NRRD.format(directions="(1,0,0) (0,1,0) (0,0,1)").replace("raw", "gzip").encode()
    if not data_file:
        return bytes_in(path, head + stored(NOISE.tobytes()))
    scratched(bytes_in(path.with_name(data_file), stored(NOISE.tobytes())))
    return bytes_in(path, head[:-1] + f"data file: {data_file}\n".encode())


def packed_mha(path: Path) -> Path:
    data = zlib.compress(NOISE.tobytes(), 0)
    head = MHA.format(spacing="1 1 1", matrix="1 0 0 0 1 0 0 0 1")
    head = head.replace("CompressedData = False", f"CompressedData = True\nCompressedDataSize = {len(data)}")
    return bytes_in(path, head.encode() + data)


def bytes_in(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def nrrd(path: Path, directions: str) -> Path:
    return bytes_in(path, NRRD.format(directions=directions).encode() + NOISE.tobytes())


def mha(path: Path, spacing: str = "1 1 1", matrix: str = "1 0 0 0 1 0 0 0 1") -> Path:
    return bytes_in(path, MHA.format(spacing=spacing, matrix=matrix).encode() + NOISE.tobytes())


def nifti(path: Path, *patches: tuple[str, int, tuple[float, ...]]) -> Path:
    data = bytearray(written(path).read_bytes())
    for code, offset, values in patches:
        struct.pack_into("<" + code, data, offset, *values)
    return bytes_in(path, bytes(data))


def headless(path: Path, *names: str) -> Path:
    """The DICOM file ends before these header entries, as one does that was cut off while it was copied."""
    data = pydicom.dcmread(path)
    for name in (*names, "PixelData"):
        delattr(data, name)
    data.save_as(path)
    return path


def four_d(path: Path, frames: int = 3) -> Path:
    sitk.WriteImage(sitk.JoinSeries([to_sitk(NOISE + n, GRID) for n in range(frames)]), str(path))
    return path


def picture(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def holed(share: float) -> np.ndarray:
    array = NOISE.astype(np.float32)
    array.flat[: int(np.ceil(share * array.size))] = np.nan
    return array


def renamed(path: Path, name: str) -> Path:
    return path.rename(path.with_name(name))


def folder(path: Path, **slices: Slice) -> Path:
    path.mkdir()
    for name, item in slices.items():
        write_slice(path / f"{name}.dcm", item)
    return path


COLOURS = np.random.default_rng(1).integers(0, 255, (6, 7, 3)).astype(np.uint8)
PLANES = series(6)
Maker = Callable[[Path], Path]

FILES: dict[str, tuple[Maker, str]] = {
    "missing": (lambda d: d / "gone.nrrd", "found nothing at .*gone.nrrd. Check the path"),
    "empty file": (lambda d: bytes_in(d / "a.nrrd", b""), "found an empty file"),
    "not an image": (lambda d: bytes_in(d / "a.nrrd", b"patient list\n" * 50), "found something else"),
    "a text file named as gzip": (lambda d: bytes_in(d / "a.nii.gz", b"hello" * 99), "found something else"),
    "a packed text": (lambda d: bytes_in(d / "a.nii.gz", gzip.compress(b"hello" * 99)), "found something else"),
    "broken gzip": (lambda d: bytes_in(d / "a.nii.gz", b"\x1f\x8b" + b"rubbish" * 99), "found something else"),
    "truncated NRRD": (
        lambda d: cut(written(d / "a.nrrd"), 30),
        "Expected 120 bytes of data in .*a.nrrd, found 90: it is cut off",
    ),
    "truncated packed NRRD": (lambda d: cut(written(d / "a.nrrd", packed=True), 30), "whole NRRD file"),
    "truncated NIfTI": (
        lambda d: cut(written(d / "a.nii"), 30),
        "Expected 120 bytes of data in .*, found 90: it is cut off",
    ),
    "truncated packed NIfTI": (lambda d: cut(written(d / "a.nii.gz"), 30), "whole NIfTI file"),
    "changed packed NIfTI": (
        lambda d: scratched(packed_nifti(d / "a.nii.gz")),
        "whole NIfTI .*packed data are cut off",
    ),
    "changed packed NRRD": (lambda d: scratched(packed_nrrd(d / "a.nrrd")), "whole NRRD .*packed data are cut off"),
    "changed packed MHA": (lambda d: scratched(packed_mha(d / "a.mha")), "whole MetaImage .*packed data are cut off"),
    "changed detached data": (lambda d: packed_nrrd(d / "a.nhdr", "a.raw.gz"), "whole NRRD .*packed data are cut off"),
    "short packed NIfTI": (
        lambda d: bytes_in(d / "a.nii.gz", gzip.compress(written(d / "b.nii").read_bytes()[:-2])),
        "Expected 120 bytes of data in .*, found 118: it is cut off",
    ),
    "very long name": (lambda d: d / ("a" * 300 + ".nrrd"), "found nothing at"),
    "truncated MHA": (lambda d: cut(written(d / "a.mha"), 30), "Expected 120 bytes .*, found 90: it is cut off"),
    "truncated packed MHA": (
        lambda d: cut(written(d / "a.mha", packed=True), 30),
        "bytes of data in .*a.mha, .*it is cut off",
    ),
    "truncated PNG": (lambda d: cut(picture(d / "a.png", COLOURS), 40), "whole picture file"),
    "detached data missing": (
        lambda d: bytes_in(
            d / "a.nhdr", NRRD.format(directions="(1,0,0) (0,1,0) (0,0,1)")[:-1].encode() + b"data file: x.raw\n"
        ),
        "Expected the data file of .*a.nhdr, found .* at .*x.raw. Copy it there",
    ),
    "suffix lies": (
        lambda d: renamed(written(d / "a.nii.gz"), "a.nrrd"),
        "what it holds: NIfTI. Rename it to end in .nii",
    ),
    "4D NIfTI": (lambda d: four_d(d / "a.nii.gz"), "found 3 frames in .*a.nii.gz, 0 to 2. Choose one"),
    "4D NRRD": (lambda d: four_d(d / "a.nrrd", 2), "found 2 frames in .*a.nrrd, 0 to 1. Choose one"),
    "vector NRRD": (
        lambda d: written(d / "a.nrrd", NOISE.reshape(3, 2, 5, 2), vector=True),
        "found 2 components in .*a.nrrd, 0 to 1. Choose one",
    ),
    "colour picture": (lambda d: picture(d / "a.png", COLOURS), "found 3 components in .*, 0 to 2. Choose one"),
    "colour JPEG": (lambda d: picture(d / "a.jpg", COLOURS), "found 3 components in .*, 0 to 2. Choose one"),
    "complex": (lambda d: written(d / "a.nrrd", NOISE + 1j), "found complex ones .* Export the magnitude"),
    "NaN": (lambda d: written(d / "a.nrrd", holed(0.05)), "found 3 of 60 that are NaN or infinite"),
    "constant": (lambda d: written(d / "a.nrrd", np.full_like(NOISE, 7)), "found the value 7 in every voxel"),
    "zero spacing in NRRD": (
        lambda d: nrrd(d / "a.nrrd", "(0,0,0) (0,1,0) (0,0,1)"),
        "spacings above 0 mm, .* found 0 × 1 × 1. .*a.nrrd",
    ),
    "zero spacing in MHA": (lambda d: mha(d / "a.mha", "0 1 1"), "spacings above 0 mm, .*found 0 × 1 × 1. .*a.mha"),
    "zero spacing in NIfTI": (lambda d: nifti(d / "a.nii", ("f", 84, (0.0,))), "found 0 on axis 2"),
    "NaN spacing in NIfTI": (lambda d: nifti(d / "a.nii", ("f", 88, (np.nan,))), "found nan on axis 3"),
    "infinite spacing in NIfTI": (lambda d: nifti(d / "a.nii", ("f", 80, (np.inf,))), "found inf on axis 1"),
    "huge values": (lambda d: written(d / "a.nrrd", NOISE * 1e300), "32-bit numbers can hold, found .*e\\+302"),
    "tiny values": (lambda d: written(d / "a.nrrd", NOISE * 1e-40), "32-bit numbers can hold, found .*e-38"),
    "NaN spacing": (lambda d: nrrd(d / "a.nrrd", "(nan,0,0) (0,1,0) (0,0,1)"), "number.s. as a vector, found .nan 0 0"),
    "sheared NRRD": (lambda d: nrrd(d / "a.nrrd", "(1,0.5,0) (0,1,0) (0,0,1)"), "orthonormal axes.*a.nrrd"),
    "sheared MHA": (lambda d: mha(d / "a.mha", matrix="1 0.5 0 0 1 0 0 0 1"), "orthonormal axes.*regular grid.*a.mha"),
    "singular direction": (lambda d: nrrd(d / "a.nrrd", "(1,0,0) (1,0,0) (0,0,1)"), "sheared or singular direction"),
    "sheared NIfTI": (
        lambda d: nifti(d / "a.nii", ("h", 252, (0,)), ("4f", 280, (0.7, 0.4, 0.0, 0.0))),
        "sheared or singular direction",
    ),
    "NIfTI without sizes": (lambda d: nifti(d / "a.nii", ("h", 42, (0,))), "sizes of at least 1 voxel, found 0 4 3"),
}

FOLDERS: dict[str, tuple[Maker, str]] = {
    "empty folder": (lambda d: folder(d / "s"), "found none at .*s. Choose the folder that holds the slices"),
    "folder of other files": (
        lambda d: written(folder(d / "s") / "a.nrrd").parent,
        "DICOM series of images, found none",
    ),
    "empty DICOM file": (lambda d: bytes_in(folder(d / "s") / "a.dcm", b"").parent, "empty or damaged one: .*a.dcm"),
    "truncated DICOM file": (
        lambda d: cut(folder(d / "s", a=PLANES[0], b=PLANES[1]) / "b.dcm", 9).parent,
        "b.dcm cut off",
    ),
    "last slice cut off in its header": (
        lambda d: headless(folder(d / "s", a=PLANES[0], b=PLANES[1], c=PLANES[2]) / "c.dcm", "Rows", "Columns").parent,
        "empty or damaged one: .*c.dcm",
    ),
    "header without columns": (
        lambda d: headless(folder(d / "s", a=PLANES[0]) / "a.dcm", "Columns").parent,
        "empty or damaged one: .*a.dcm",
    ),
    "empty columns": (
        lambda d: folder(d / "s", a=Slice(extra={"Columns": None})),
        r"DICOM image header, found nothing where Columns has 1 number\(s\) in .*a.dcm",
    ),
    "three direction cosines": (
        lambda d: folder(d / "s", a=Slice(axes=(1, 0, 0))),
        r"found 1.0, 0.0, 0.0 where ImageOrientationPatient has 6 number\(s\) in .*a.dcm",
    ),
    "two coordinates": (lambda d: folder(d / "s", a=Slice(position=(1, 2))), "ImagePositionPatient has 3 .*a.dcm"),
    "one pixel spacing": (
        lambda d: folder(d / "s", a=Slice(extra={"PixelSpacing": 0.5})),
        "PixelSpacing has 2 .*a.dcm",
    ),
    "two series": (
        lambda d: folder(d / "s", a=PLANES[0], b=Slice(uid="1.2.9", description="T1 c", position=(0, 0, 9))),
        r"found 2 series at .*1\.2\.9 \(T1 c, MR, 1 slice\).*Choose one of them; a unique beginning of its UID",
    ),
    "missing slice": (
        lambda d: folder(d / "s", a=PLANES[0], b=PLANES[1], c=PLANES[2], e=PLANES[4], f=PLANES[5]),
        r"every 2 mm, found 1 gap\(s\).*: 4 mm between c.dcm and e.dcm \(slices 3 and 4\). Export the missing",
    ),
    "doubled slice": (
        lambda d: folder(d / "s", a=PLANES[0], b=PLANES[1], c=PLANES[1], e=PLANES[2]),
        "found 1 doubled .* b.dcm and c.dcm",
    ),
    "two sizes": (
        lambda d: folder(d / "s", a=PLANES[0], b=Slice(array=NOISE[0, :3], position=(0, 0, 2))),
        r"found sizes \(5, 4\) and \(5, 3\).*a.dcm and b.dcm",
    ),
    "two orientations": (
        lambda d: folder(d / "s", a=PLANES[0], b=Slice(position=(0, 0, 2), axes=(1, 0, 0, 0, 0, -1))),
        "found two orientations",
    ),
    "two pixel spacings": (
        lambda d: folder(d / "s", a=PLANES[0], b=Slice(position=(0, 0, 2), spacing=(0.5, 0.5))),
        "found pixel spacings",
    ),
    "no positions": (
        lambda d: folder(d / "s", a=Slice(position=None), b=Slice(position=None)),
        r"found no position \(0020,0032\)",
    ),
    "gantry tilt": (
        lambda d: folder(d / "s", **{f"s{n}": Slice(position=(0, 0.6 * n, 2 * n)) for n in range(5)}),
        "leans by 2.4 mm",
    ),
    "colour DICOM": (lambda d: folder(d / "s", a=Slice(array=COLOURS, kind="RGB")), r"found colour \(RGB\)"),
    "film": (lambda d: folder(d / "s", a=Slice(extra={"NumberOfFrames": 4})), "found a film of 4 frames"),
    "unknown compression": (
        lambda d: folder(d / "s", a=Slice(syntax="1.2.840.10008.1.2.4.80")),
        "found JPEG-LS Lossless Image Compression in .*pylibjpeg-libjpeg",
    ),
    "constant DICOM": (lambda d: folder(d / "s", a=Slice(array=NOISE[0] * 0)), "found the value 0 in every voxel"),
}

OPTIONS: dict[str, tuple[Maker, dict[str, object], str]] = {
    "frame past the end": (lambda d: four_d(d / "a.nii"), {"frame": 3}, "a frame from 0 to 2, found 3"),
    "negative frame": (lambda d: four_d(d / "a.nii"), {"frame": -1}, "a frame from 0 to 2, found -1"),
    "frame of a 3D file": (lambda d: written(d / "a.nii"), {"frame": 1}, "a frame from 0 to 0, found 1"),
    "component of a grey file": (lambda d: written(d / "a.nii"), {"component": 1}, "a component from 0 to 0"),
    "series of a file": (lambda d: written(d / "a.nii"), {"series": "1"}, "a DICOM folder to choose a series from"),
    "frame of a DICOM folder": (lambda d: folder(d / "s", a=PLANES[0]), {"frame": 2}, "a frame from 0 to 0"),
    "unknown series": (
        lambda d: folder(d / "s", a=PLANES[0]),
        {"series": "9.9"},
        "found 0 that begin with '9.9' among 1",
    ),
    "ambiguous series": (
        lambda d: folder(d / "s", a=PLANES[0], b=Slice(uid="1.2.9")),
        {"series": "1.2"},
        "found 2 that begin with '1.2' among 2",
    ),
}

LABELS: dict[str, tuple[Maker, str]] = {
    "labels with fractions": (lambda d: written(d / "a.nrrd", NOISE / 7), "whole numbers from 0 to 65535 as labels"),
    "negative labels": (lambda d: written(d / "a.nrrd", NOISE - 5000), "whole numbers .* Choose the labelmap"),
    "labels above 65535": (lambda d: written(d / "a.nrrd", NOISE.astype(np.int32) * 999), "whole numbers"),
    "labels that are NaN": (lambda d: written(d / "a.nrrd", holed(0.01)), "whole numbers"),
    "layers without segments": (
        lambda d: written(d / "a.nrrd", NOISE.reshape(3, 2, 5, 2), vector=True),
        "found 2 layers",
    ),
    "a DICOM folder": (lambda d: folder(d / "s", a=PLANES[0]), "labelmap file .* found DICOM"),
}


def assert_message(error: InputError) -> None:
    assert "\n" not in str(error)
    assert "Traceback" not in str(error)


@pytest.mark.parametrize(("make", "message"), FILES.values(), ids=FILES.keys())
def test_a_bad_file_is_refused_with_the_reason(
    make: Maker, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_volume(make(tmp_path))
    assert_message(caught.value)
    assert capfd.readouterr() == ("", "")  # what ITK's libraries print would spoil the one line of the command


@pytest.mark.parametrize(("make", "message"), FOLDERS.values(), ids=FOLDERS.keys())
def test_a_bad_dicom_folder_is_refused_with_the_reason(
    make: Maker, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_volume(make(tmp_path))
    assert_message(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("make", "options", "message"), OPTIONS.values(), ids=OPTIONS.keys())
def test_a_choice_that_does_not_exist_is_refused(
    make: Maker, options: dict[str, int], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_volume(make(tmp_path), **options)
    assert_message(caught.value)


@pytest.mark.parametrize(("make", "message"), LABELS.values(), ids=LABELS.keys())
def test_what_is_no_labelmap_is_refused(make: Maker, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_labelmap(make(tmp_path))
    assert_message(caught.value)


def test_reasons_of_itk_come_without_addresses_and_guesses(tmp_path: Path) -> None:
    for path in (cut(written(tmp_path / "a.mha"), 30), cut(written(tmp_path / "a.nrrd"), 30)):
        with pytest.raises(InputError) as caught:
            read_volume(path)
        assert not re.search(r"0x|ITK ERROR|\[nrrd\]|Reason|No such file", str(caught.value))


@pytest.mark.parametrize("make", [packed_nifti, packed_nrrd, packed_mha], ids=["NIfTI", "NRRD", "MetaImage"])
def test_packed_data_that_nobody_changed_are_read(make: Maker, tmp_path: Path) -> None:
    suffix = {packed_nifti: ".nii.gz", packed_nrrd: ".nrrd", packed_mha: ".mha"}[make]
    np.testing.assert_array_equal(read_volume(make(tmp_path / f"a{suffix}")).array, NOISE)


def test_a_packed_file_of_many_parts_is_read(tmp_path: Path) -> None:
    data = written(tmp_path / "a.nii").read_bytes()
    parts = b"".join(gzip.compress(data[n : n + 360]) for n in range(0, len(data), 360))
    np.testing.assert_array_equal(read_volume(bytes_in(tmp_path / "a.nii.gz", parts)).array, NOISE)
