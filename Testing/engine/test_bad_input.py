"""Bad input and the message it gets, one row each: an InputError in one line that says what to do."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_series import Slice, series, write_slice
from PIL import Image

from medtl.errors import InputError
from medtl.volume import Geometry, read_labelmap, read_volume, to_sitk

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
    "truncated NRRD": (lambda d: cut(written(d / "a.nrrd"), 30), "whole NRRD file, found one that is cut off"),
    "truncated packed NRRD": (lambda d: cut(written(d / "a.nrrd", packed=True), 30), "whole NRRD file"),
    "truncated NIfTI": (lambda d: cut(written(d / "a.nii"), 30), "found fewer: it is cut off"),
    "truncated packed NIfTI": (lambda d: cut(written(d / "a.nii.gz"), 30), "found fewer: it is cut off"),
    "truncated MHA": (lambda d: cut(written(d / "a.mha"), 30), "whole MetaImage file"),
    "truncated packed MHA": (lambda d: cut(written(d / "a.mha", packed=True), 30), "whole MetaImage file"),
    "truncated PNG": (lambda d: cut(picture(d / "a.png", COLOURS), 40), "whole picture file"),
    "detached data missing": (
        lambda d: bytes_in(
            d / "a.nhdr", NRRD.format(directions="(1,0,0) (0,1,0) (0,0,1)")[:-1].encode() + b"data file: x.raw\n"
        ),
        "without its data file",
    ),
    "suffix lies": (
        lambda d: renamed(written(d / "a.nii.gz"), "a.nrrd"),
        "what it holds: NIfTI. Rename it to end in .nii",
    ),
    "4D NIfTI": (lambda d: four_d(d / "a.nii.gz"), "found 3 frames in .*--frame N, N from 0 to 2"),
    "4D NRRD": (lambda d: four_d(d / "a.nrrd", 2), "found 2 frames in .*--frame N, N from 0 to 1"),
    "vector NRRD": (
        lambda d: written(d / "a.nrrd", NOISE.reshape(3, 2, 5, 2), vector=True),
        "found 2 components in .*--component N, N from 0 to 1",
    ),
    "colour picture": (lambda d: picture(d / "a.png", COLOURS), "found 3 components in .*--component N"),
    "colour JPEG": (lambda d: picture(d / "a.jpg", COLOURS), "found 3 components in .*--component N"),
    "complex": (lambda d: written(d / "a.nrrd", NOISE + 1j), "found complex ones .* Export the magnitude"),
    "NaN": (lambda d: written(d / "a.nrrd", holed(0.05)), "found 3 of 60 that are NaN or infinite"),
    "constant": (lambda d: written(d / "a.nrrd", np.full_like(NOISE, 7)), "found the value 7 in every voxel"),
    "zero spacing in NRRD": (
        lambda d: nrrd(d / "a.nrrd", "(0,0,0) (0,1,0) (0,0,1)"),
        "spacings above 0 mm, found zero",
    ),
    "zero spacing in MHA": (lambda d: mha(d / "a.mha", "0 1 1"), "spacings above 0 mm, found zero"),
    "zero spacing in NIfTI": (lambda d: nifti(d / "a.nii", ("f", 84, (0.0,))), "found 0 on axis 2"),
    "NaN spacing": (lambda d: nrrd(d / "a.nrrd", "(nan,0,0) (0,1,0) (0,0,1)"), "found zero or no number"),
    "sheared NRRD": (lambda d: nrrd(d / "a.nrrd", "(1,0.5,0) (0,1,0) (0,0,1)"), "orthonormal axes.*regular grid"),
    "sheared MHA": (lambda d: mha(d / "a.mha", matrix="1 0.5 0 0 1 0 0 0 1"), "orthonormal axes.*regular grid"),
    "singular direction": (lambda d: nrrd(d / "a.nrrd", "(1,0,0) (1,0,0) (0,0,1)"), "sheared or singular direction"),
    "sheared NIfTI": (
        lambda d: nifti(d / "a.nii", ("h", 252, (0,)), ("4f", 280, (0.7, 0.4, 0.0, 0.0))),
        "sheared or singular direction",
    ),
    "NIfTI without sizes": (lambda d: nifti(d / "a.nii", ("h", 42, (0,))), "whole NIfTI file"),
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
    "two series": (
        lambda d: folder(d / "s", a=PLANES[0], b=Slice(uid="1.2.9", description="T1 c", position=(0, 0, 9))),
        r"found 2 series at .*1\.2\.9 \(T1 c, MR, 1 slices\).*--series UID",
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
    "frame past the end": (lambda d: four_d(d / "a.nii"), {"frame": 3}, "--frame from 0 to 2, found 3"),
    "negative frame": (lambda d: four_d(d / "a.nii"), {"frame": -1}, "--frame from 0 to 2, found -1"),
    "frame of a 3D file": (lambda d: written(d / "a.nii"), {"frame": 1}, "--frame from 0 to 0, found 1"),
    "component of a grey file": (lambda d: written(d / "a.nii"), {"component": 1}, "--component from 0 to 0"),
    "series of a file": (lambda d: written(d / "a.nii"), {"series": "1"}, "a DICOM folder for --series"),
    "frame of a DICOM folder": (lambda d: folder(d / "s", a=PLANES[0]), {"frame": 2}, "--frame from 0 to 0"),
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
