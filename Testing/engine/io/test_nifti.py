"""NIfTI files lie where readers of the sform put them, and what is odd about a header is a warning."""

import gzip
import struct
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from grids import NOISE, OBLIQUE, centres_of
from hypothesis import given, settings
from strategies import geometries, rotation

from medtl.errors import InputError
from medtl.io.files import data_files
from medtl.io.read import read_labelmap, read_volume
from medtl.io.write import write_labelmap
from medtl.volume import Geometry, Labelmap, to_sitk

GRID = Geometry((5, 4, 3), (0.7, 0.8, 2.5), (-12.0, 45.0, 78.0))
Patch = tuple[str, int, tuple[float, ...]]
CODES = 252  # offset of qform_code and sform_code
SFORM = 280


def patched(path: Path, *patches: Patch, geometry: Geometry = GRID, array: np.ndarray = NOISE) -> Path:
    """A NIfTI-1 file of ITK's with other numbers in its header."""
    sitk.WriteImage(to_sitk(array, geometry), str(path.with_name("plain.nii")))
    data = bytearray(path.with_name("plain.nii").read_bytes())
    for code, offset, values in patches:
        struct.pack_into("<" + code, data, offset, *values)
    path.write_bytes(gzip.compress(data) if path.name.lower().endswith(".gz") else data)
    return path


def sform_of(path: Path) -> np.ndarray:
    """Index to LPS as readers of the sform have it, by the text of the format alone."""
    rows = np.array(struct.unpack_from("<12f", path.read_bytes(), SFORM)).reshape(3, 4)
    return np.vstack([rows * [[-1], [-1], [1]], [0, 0, 0, 1]])


def test_an_image_lies_by_its_sform_and_the_distance_to_the_qform_is_a_warning(tmp_path: Path) -> None:
    path = patched(tmp_path / "a.nii", ("2h", CODES, (1, 2)), ("f", SFORM + 12, (32.0,)))
    got = read_volume(path)
    np.testing.assert_allclose(got.geometry.affine, sform_of(path), atol=1e-5)
    (warning,) = got.warnings
    assert "sform and the qform of the header place voxels up to 20 mm apart; the sform is used" in warning


def test_a_turned_qform_is_noticed_at_the_farthest_voxel(tmp_path: Path) -> None:
    grid = Geometry((100, 100, 3), (1.0, 1.0, 1.0))
    array = np.arange(30000, dtype=np.int16).reshape(grid.shape)
    path = patched(tmp_path / "a.nii", ("3f", 256, (0.0, 0.01, 0.99995)), geometry=grid, array=array)
    (warning,) = read_volume(path).warnings
    assert "place voxels up to 2 mm apart" in warning


def test_a_qform_that_is_no_rotation_is_a_warning_beside_an_sform_and_refused_alone(tmp_path: Path) -> None:
    path = patched(tmp_path / "a.nii", ("3f", 256, (3.0, 0.0, float("nan"))))
    assert "place voxels by far apart" in read_volume(path).warnings[0]
    path = patched(tmp_path / "a.nii", ("3f", 256, (3.0, 0.0, 0.0)), ("2h", CODES, (1, 0)))
    with pytest.raises(InputError, match=r"a qform that is a rotation .*a\.nii"):
        read_volume(path)


@settings(max_examples=60)
@given(geometries(400))
def test_the_rounding_of_a_whole_header_is_no_warning(geometry: Geometry) -> None:
    small = replace(geometry, size=(*geometry.size[:2], 2))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.nii.gz"
        labels = np.zeros(small.shape, np.uint8)
        assert write_labelmap(path, Labelmap(labels, small)) == ()
        got = read_labelmap(path)
    assert got.warnings == ()
    assert got.geometry.close_to(small)


@pytest.mark.parametrize("decimals", [3, 4])
@pytest.mark.parametrize("angle", [0.0, 0.02, 0.35, 3.14])
def test_our_own_nifti_of_a_rounded_header_is_on_the_same_grid(angle: float, decimals: int, tmp_path: Path) -> None:
    axes = np.round(rotation((0.1, angle, 0.2)), decimals)
    grid = Geometry((300, 300, 2), (0.9375, 0.9375, 5.0), (-140.123, 130.4, 70.0), tuple(axes.ravel()))
    labels = Labelmap(np.zeros(grid.shape, np.uint8), grid)
    assert write_labelmap(tmp_path / "a.nii.gz", labels) == ()
    got = read_labelmap(tmp_path / "a.nii.gz")
    assert got.geometry.close_to(grid, 1e-3)
    assert got.warnings == ()


def test_other_sizes_of_voxels_in_pixdim_than_in_the_sform_are_a_warning(tmp_path: Path) -> None:
    got = read_volume(patched(tmp_path / "a.nii", ("f", 88, (4.0,)), ("2h", CODES, (0, 1))))
    assert got.geometry.spacing == pytest.approx(GRID.spacing)
    assert got.warnings == (
        "The header gives voxels of 0.7 × 0.8 × 4 mm as pixdim and of 0.7 × 0.8 × 2.5 mm as sform; the sform is used.",
    )


def test_a_header_without_codes_says_that_it_knows_no_place(tmp_path: Path) -> None:
    (warning,) = read_volume(patched(tmp_path / "a.nii", ("2h", CODES, (0, 0)))).warnings
    assert "does not state how the image lies" in warning


@pytest.mark.parametrize(("unit", "factor", "name"), [(1, 1000.0, "m"), (3, 0.001, "µm")])
def test_other_units_than_millimetres_are_turned_into_them(unit: int, factor: float, name: str, tmp_path: Path) -> None:
    got = read_volume(patched(tmp_path / "a.nii", ("b", 123, (unit,))))
    assert got.geometry.spacing == pytest.approx([s * factor for s in GRID.spacing])
    assert got.geometry.origin == pytest.approx([o * factor for o in GRID.origin])
    assert got.warnings == (f"The header gives lengths in {name}; they are turned into mm.",)


@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("geometry", [OBLIQUE, replace(GRID, direction=(1, 0, 0, 0, 0, 1, 0, -1, 0))])
def test_a_2d_image_has_the_place_and_thickness_of_the_same_slice_in_3d(
    geometry: Geometry, codes: tuple[int, int], tmp_path: Path
) -> None:
    grid = replace(geometry, size=(5, 4, 1))
    patches: list[Patch] = [("8h", 40, (2, 5, 4, 1, 1, 1, 1, 1)), ("2h", CODES, codes)]
    got = read_volume(patched(tmp_path / "a.nii", *patches, geometry=grid, array=NOISE[:1]))
    np.testing.assert_allclose(centres_of(got.geometry), centres_of(grid), atol=1e-4)
    assert got.geometry.spacing == pytest.approx(grid.spacing, abs=1e-5)
    assert got.warnings == ()


def test_a_2d_image_without_a_third_axis_gets_one_at_right_angles(tmp_path: Path) -> None:
    patches: list[Patch] = [("8h", 40, (2, 5, 4, 1, 1, 1, 1, 1))]
    patches += [("f", SFORM + offset, (0.0,)) for offset in (8, 24, 40)]
    got = read_volume(patched(tmp_path / "a.nii", *patches, geometry=replace(GRID, size=(5, 4, 1)), array=NOISE[:1]))
    assert got.geometry.spacing == pytest.approx(GRID.spacing)
    assert got.geometry.origin == pytest.approx(GRID.origin)


def test_an_assumed_slice_thickness_is_a_warning(tmp_path: Path) -> None:
    patches: list[Patch] = [("8h", 40, (2, 5, 4, 1, 1, 1, 1, 1)), ("f", 88, (0.0,)), ("2h", CODES, (1, 0))]
    got = read_volume(patched(tmp_path / "a.nii", *patches, geometry=replace(GRID, size=(5, 4, 1)), array=NOISE[:1]))
    assert got.warnings == ("The header gives no slice thickness; 1 mm is assumed.",)


def test_voxels_that_are_nan_stay_nan_until_they_are_counted(tmp_path: Path) -> None:
    array = NOISE.astype(np.float32)
    array[0] = np.nan
    with pytest.raises(InputError, match=r"found 20 of 60 that are NaN or infinite in .*a\.nii\.gz"):
        read_volume(patched(tmp_path / "a.nii.gz", array=array))


@pytest.mark.parametrize(("slope", "intercept"), [(0.0, 5.0), (float("nan"), 1.0), (1.0, 0.0), (float("inf"), 0.0)])
def test_a_scale_that_is_none_leaves_the_values(slope: float, intercept: float, tmp_path: Path) -> None:
    got = read_volume(patched(tmp_path / "a.nii", ("2f", 112, (slope, intercept))))
    np.testing.assert_array_equal(got.array, NOISE)
    assert got.array.dtype == NOISE.dtype


def second_version(order: str, magic: bytes = b"n+2\0\r\n\x1a\n", offset: int = 544) -> bytes:
    """The header of a NIfTI-2 file, by the text of the format."""
    head = bytearray(544)
    struct.pack_into(order + "i8shh", head, 0, 540, magic, 4, 16)
    struct.pack_into(order + "8q", head, 16, 3, 5, 4, 3, 1, 1, 1, 1)
    struct.pack_into(order + "8d", head, 104, 1, *GRID.spacing, 0, 0, 0, 0)
    struct.pack_into(order + "q2d", head, 168, offset, 0, 0)
    rows = GRID.affine[:3] * [[-1], [-1], [1]]
    struct.pack_into(order + "2i", head, 344, 0, 1)
    struct.pack_into(order + "12d", head, 400, *rows.ravel())
    struct.pack_into(order + "2i", head, 500, 2, 0)
    return bytes(head)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_the_second_version_is_read_in_both_byte_orders(name: str, order: str, tmp_path: Path) -> None:
    data = second_version(order) + NOISE.astype(f"{order}i2").tobytes()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    got = read_volume(tmp_path / name)
    np.testing.assert_array_equal(got.array, NOISE)
    assert got.array.dtype == np.dtype("=i2")
    assert got.geometry.close_to(GRID, 1e-9)


@pytest.mark.parametrize(
    ("header", "image"), [("a.hdr", "a.img"), ("A.HDR", "A.IMG"), ("a.hdr", "a.img.gz"), ("a.hdr.gz", "a.img.gz")]
)
def test_a_pair_of_header_and_image_is_one_volume(header: str, image: str, tmp_path: Path) -> None:
    data = bytearray(patched(tmp_path / "x.nii").read_bytes())
    data[344:348], data[108:112] = b"ni1\0", struct.pack("<f", 0)
    for name, part in ((header, bytes(data[:348])), (image, NOISE.tobytes())):
        (tmp_path / name).write_bytes(gzip.compress(part) if name.endswith("gz") else part)
    got = read_volume(tmp_path / header)
    np.testing.assert_array_equal(got.array, NOISE)
    assert got.geometry.close_to(GRID, 1e-4)
    assert got.name == header[0]
    assert data_files(tmp_path / header) == (tmp_path / header, tmp_path / image)
    with pytest.raises(InputError, match=r"Choose the header that belongs to it, which ends in \.hdr"):
        read_volume(tmp_path / image)
    (tmp_path / image).unlink()
    with pytest.raises(InputError, match=r"voxels of the NIfTI pair .* beside it, found no file"):
        read_volume(tmp_path / header)


def test_analyze_is_refused_by_its_name(tmp_path: Path) -> None:
    data = bytearray(patched(tmp_path / "x.nii").read_bytes()[:348])
    data[344:348] = b"\0\0\0\0"
    data[38:39] = b"r"
    (tmp_path / "a.hdr").write_bytes(data)
    (tmp_path / "a.img").write_bytes(NOISE.tobytes())
    with pytest.raises(InputError, match=r"Analyze 7\.5, which does not state what is left and right"):
        read_volume(tmp_path / "a.hdr")


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        (("8h", 40, (6, 5, 2, 3, 1, 1, 2, 1)), "1 to 5 dimensions, found 6"),
        (("h", 40, (-5,)), "1 to 5 dimensions, found -5"),
        (("h", 40, (30000,)), "1 to 5 dimensions, found 30000"),
        (("h", 42, (-1,)), "sizes of at least 1 voxel"),
        (("7h", 42, (32767, 32767, 32767, 1, 1, 1, 1)), "GB"),
        (("h", 72, (0,)), "found type 4 of 0 bits"),
        (("h", 70, (9999,)), "found type 9999"),
        (("2h", 70, (1792, 128)), "real values, found complex ones"),
        (("f", 108, (float("nan"),)), "data from byte 348 on, found nan"),
        (("f", 108, (0.0,)), "data from byte 348 on, found 0"),
        (("f", 108, (352.5,)), "data from byte 348 on, found 352.5"),
        (("f", 108, (1e30,)), "data from byte 348 on"),
        (("f", 108, (500.0,)), "cut off"),
        (("f", SFORM, (float("inf"),)), "finite numbers as sform"),
        (("f", SFORM + 12, (1e30,)), "finite numbers as sform"),
        (("f", SFORM + 12, (1e9,)), "origin within"),
        (("f", SFORM, (1e8,)), "spacings above 0 mm"),
        (("2f", 112, (2.0, float("nan"))), "a finite scl_inter beside the scl_slope 2, found nan"),
        (("h", 42, (4,)), "header and data do not belong together"),
    ],
)
def test_a_header_that_cannot_be_is_refused(patch: Patch, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_volume(patched(tmp_path / "a.nii", patch))
    assert "a.nii" in str(caught.value)
