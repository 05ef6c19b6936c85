"""Volumes lie where their file says, voxel by voxel, and come back exactly."""

import errno
import gzip
import itertools
import random
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_series import PIXELS, Slice, series, write_slice
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset
from strategies import geometries, rotation, volumes

from medtl.errors import InputError
from medtl.io.dicom import list_series
from medtl.io.files import data_files, stem_of, suffix_of
from medtl.io.read import read_labelmap, read_volume
from medtl.io.write import store_image, store_labelmap, write_image, write_labelmap, write_whole
from medtl.volume import Geometry, Labelmap, Segment, Volume, geometry_of, to_sitk

NOISE = np.random.default_rng(0).integers(1, 1000, (3, 4, 5)).astype(np.int16)
OBLIQUE = Geometry((5, 4, 3), (0.7, 0.8, 2.5), (-12.3, 45.6, 78.9), tuple(rotation((0.2, -0.4, 1.1)).ravel()))
LEFT_HANDED = replace(OBLIQUE, direction=tuple((rotation((0.2, -0.4, 1.1)) * [1, 1, -1]).ravel()))
SEGMENTS = (
    Segment(1, "model.tumour", "Tumour", (0.9, 0.2, 0.1), "a~b^c~d", (("MedTL.label", "tumour"), ("MedTL.model", "m"))),
    Segment(300, "model.oedema", "Œdème (whole)", (0.1, 0.25, 1.0)),
)


def voxel_centres(image: sitk.Image) -> np.ndarray:
    """The slow twin of `Geometry.affine`: ITK is asked for each voxel, in the order of the array."""
    x, y, z = image.GetSize()
    order = [(i, j, k) for k in range(z) for j in range(y) for i in range(x)]
    return np.array([image.TransformIndexToPhysicalPoint(index) for index in order])


def centres_of(geometry: Geometry) -> np.ndarray:
    k, j, i = np.indices(geometry.shape).reshape(3, -1)
    return (np.stack([i, j, k, np.ones_like(i)], axis=1) @ geometry.affine.T)[:, :3]


def nrrd_header(path: Path) -> tuple[dict[str, str], bytes]:
    """Fields and key/value pairs of a NRRD file, and its unpacked data, by the text of the format alone."""
    head, _, data = path.read_bytes().partition(b"\n\n")
    fields = {}
    for line in head.decode("utf-8").splitlines()[1:]:
        if not line.startswith("#"):
            key, _, value = line.partition(":=") if ":=" in line else line.partition(": ")
            fields[key] = value
    return fields, gzip.decompress(data)


# Geometry


@given(geometries())
def test_every_voxel_lies_where_itk_puts_it(geometry: Geometry) -> None:
    image = to_sitk(np.zeros(geometry.shape, np.uint8), geometry)
    np.testing.assert_allclose(centres_of(geometry), voxel_centres(image), atol=1e-9)
    assert geometry_of(image).close_to(geometry, mm=1e-9)


@given(geometries())
def test_index_to_mm_to_index_is_identity(geometry: Geometry) -> None:
    index = np.append(np.array(geometry.size) - 1.0, 1.0)
    np.testing.assert_allclose(np.linalg.inv(geometry.affine) @ geometry.affine @ index, index, atol=1e-9)


@given(geometries(), st.floats(0.01, 5))
def test_a_shifted_grid_is_close_only_within_the_tolerance(geometry: Geometry, shift: float) -> None:
    moved = replace(geometry, origin=(geometry.origin[0] + shift, *geometry.origin[1:]))
    assert geometry.close_to(moved, mm=1.01 * shift)
    assert not geometry.close_to(moved, mm=0.99 * shift)


def test_grids_of_other_size_are_never_close() -> None:
    assert not OBLIQUE.close_to(replace(OBLIQUE, size=(5, 4, 2)), mm=1e6)


@pytest.mark.parametrize("spacing", [(0.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, 1.0, float("nan"))])
def test_a_spacing_that_is_not_above_zero_is_refused(spacing: tuple[float, float, float]) -> None:
    with pytest.raises(InputError, match="spacings above 0 mm"):
        Geometry((1, 1, 1), spacing)


def test_a_voxel_of_a_millimetre_is_a_thousandth_of_a_millilitre() -> None:
    assert Geometry((9, 9, 9)).voxel_ml == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("name", "stem", "suffix"),
    [
        ("a.nrrd", "a", ".nrrd"),
        ("a.b.seg.nrrd", "a.b", ".seg.nrrd"),
        ("A.NII.GZ", "A", ".nii.gz"),
        ("scan", "scan", ""),
        ("x.JPG", "x", ".jpg"),
    ],
)
def test_the_longest_known_suffix_counts(name: str, stem: str, suffix: str) -> None:
    assert (stem_of(Path(name)), suffix_of(Path(name))) == (stem, suffix)


def test_a_folder_with_dots_keeps_its_whole_name(tmp_path: Path) -> None:
    folder = tmp_path / "1.2.840"
    folder.mkdir()
    assert stem_of(folder) == "1.2.840"


# Volume files


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz", ".nii", ".nhdr", ".mhd"])
@settings(max_examples=25)
@given(volumes())
def test_a_volume_comes_back_with_its_voxels_dtype_and_place(suffix: str, volume: Volume) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"case{suffix}"
        sitk.WriteImage(to_sitk(volume.array, volume.geometry), str(path))
        if volume.array.size == 1:
            with pytest.raises(InputError, match="in every voxel"):
                read_volume(path)
            return
        got = read_volume(path)
    np.testing.assert_array_equal(got.array, volume.array)
    assert got.array.dtype == volume.array.dtype
    assert got.geometry.close_to(volume.geometry, mm=1e-4 if "nii" in suffix else 1e-9)
    assert (got.name, got.real_spacing, got.warnings) == ("case", True, ())


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz"])
def test_a_left_handed_oblique_volume_is_not_mirrored(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(to_sitk(NOISE, LEFT_HANDED), str(path))
    got = read_volume(path)
    assert np.linalg.det(got.geometry.axes) == pytest.approx(-1)
    np.testing.assert_allclose(centres_of(got.geometry), voxel_centres(sitk.ReadImage(str(path))), atol=1e-9)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz"])
def test_a_frame_of_a_4d_file_is_the_one_asked_for(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(sitk.JoinSeries([to_sitk(NOISE + n, LEFT_HANDED) for n in range(3)]), str(path))
    got = read_volume(path, frame=2)
    np.testing.assert_array_equal(got.array, NOISE + 2)
    assert got.geometry.close_to(LEFT_HANDED, mm=1e-4)


def test_a_4d_file_of_one_frame_is_a_volume(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.JoinSeries([to_sitk(NOISE, OBLIQUE)]), str(tmp_path / "a.nii"))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii").array, NOISE)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz"])
def test_a_component_is_the_one_asked_for(suffix: str, tmp_path: Path) -> None:
    write_image(path := tmp_path / f"a{suffix}", np.stack([NOISE, NOISE + 7]), OBLIQUE)
    got = read_volume(path, component=1)
    np.testing.assert_array_equal(got.array, NOISE + 7)
    assert got.geometry.close_to(OBLIQUE, mm=1e-4)


def test_a_scaled_nifti_gives_scaled_values(tmp_path: Path) -> None:
    sitk.WriteImage(to_sitk(NOISE, OBLIQUE), str(tmp_path / "a.nii"))
    data = bytearray((tmp_path / "a.nii").read_bytes())
    data[112:120] = np.array([0.5, 3], "<f4").tobytes()  # scl_slope, scl_inter
    (tmp_path / "a.nii").write_bytes(data)
    np.testing.assert_allclose(read_volume(tmp_path / "a.nii").array, NOISE * 0.5 + 3)


def test_a_2d_file_is_a_volume_of_depth_one(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(NOISE[0])
    image.SetSpacing((0.5, 0.6))
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    got = read_volume(tmp_path / "a.mha")
    np.testing.assert_array_equal(got.array, NOISE[:1])
    assert got.geometry.spacing == (0.5, 0.6, 1.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_few_voxels_that_are_no_number_become_the_smallest_one_and_are_reported(bad: float, tmp_path: Path) -> None:
    array = np.arange(1000, dtype=np.float32).reshape(10, 10, 10) + 5
    array[4, 4, 4] = bad
    write_image(tmp_path / "a.nrrd", array, Geometry((10, 10, 10)))
    got = read_volume(tmp_path / "a.nrrd")
    assert got.array[4, 4, 4] == 5
    assert got.array.dtype == np.float32
    assert got.warnings == ("1 voxels were NaN or infinite and count as 5.",)


@pytest.mark.parametrize(
    ("name", "direction", "spacing", "real"),
    [
        ("a.nrrd", (1, 0, 0, 0, 1, 0, 0, 0, 1), (1, 1, 1), False),
        ("a.nii", (-1, 0, 0, 0, -1, 0, 0, 0, 1), (1, 1, 1), True),  # its codes say that this is meant
        ("a.nrrd", (-1, 0, 0, 0, -1, 0, 0, 0, 1), (1, 1, 1), True),
        ("a.nrrd", (1, 0, 0, 0, 1, 0, 0, 0, 1), (1, 1, 2), True),
    ],
)
def test_a_bare_header_states_no_spacing(
    name: str, direction: tuple[float, ...], spacing: tuple[float, float, float], real: bool, tmp_path: Path
) -> None:
    sitk.WriteImage(to_sitk(NOISE, Geometry((5, 4, 3), spacing, direction=direction)), str(tmp_path / name))
    assert read_volume(tmp_path / name).real_spacing is real


@pytest.mark.parametrize("codes", [(0, 0), (1, 0), (0, 1)])
def test_a_nifti_file_without_codes_states_no_spacing(codes: tuple[int, int], tmp_path: Path) -> None:
    sitk.WriteImage(to_sitk(NOISE, Geometry((5, 4, 3), origin=(1, 2, 3))), str(tmp_path / "a.nii"))
    data = bytearray((tmp_path / "a.nii").read_bytes())
    data[252:256] = np.array(codes, "<i2").tobytes()  # qform_code, sform_code
    (tmp_path / "a.nii").write_bytes(data)
    assert read_volume(tmp_path / "a.nii").real_spacing is any(codes)


@pytest.mark.parametrize(
    ("fields", "real"),
    [
        ("space: left-posterior-superior\nspace directions: none none none\nspace origin: (3,4,5)", False),
        ("space: left-posterior-superior\nspace directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (3,4,5)", True),
        ("spacings: 0.5 0.5 nan", False),
        ("spacings: 0.5 0.5 2", True),
        ("content: nothing about space", False),
    ],
)
def test_a_nrrd_file_states_a_spacing_with_numbers_only(fields: str, real: bool, tmp_path: Path) -> None:
    head = f"NRRD0004\ntype: short\ndimension: 3\n{fields}\nsizes: 5 4 3\nendian: little\nencoding: raw\n\n"
    (tmp_path / "a.nrrd").write_bytes(head.encode() + NOISE.tobytes())
    assert read_volume(tmp_path / "a.nrrd").real_spacing is real


# The files of an input


@pytest.mark.parametrize(("name", "data"), [("a.nhdr", "a.raw.gz"), ("a.mhd", "a.zraw")])
def test_a_detached_header_and_its_data_are_one_input(name: str, data: str, tmp_path: Path) -> None:
    sitk.WriteImage(to_sitk(NOISE, OBLIQUE), str(tmp_path / name), True)
    assert data_files(tmp_path / name) == (tmp_path / name, tmp_path / data)
    assert sorted(tmp_path.iterdir()) == sorted(data_files(tmp_path / name))


@pytest.mark.parametrize(
    "text",
    [
        "NRRD0004\ndata file: my slice%02d.raw 8 10 1\n",
        "NRRD0004\ndatafile: LIST\nmy slice08.raw\nmy slice09.raw\nmy slice10.raw\n",
        "ObjectType = Image\nNDims = 3\nElementDataFile = LIST\nmy slice08.raw\nmy slice09.raw\nmy slice10.raw\n",
    ],
)
def test_all_the_data_files_that_a_header_lists_are_known(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(text)
    assert [file.name for file in data_files(tmp_path / "a.txt")[1:]] == [f"my slice{n:02d}.raw" for n in (8, 9, 10)]


def test_other_inputs_are_their_own_file_or_the_files_in_their_folder(tmp_path: Path) -> None:
    (tmp_path / "s" / "deep").mkdir(parents=True)
    for name in ("a.dcm", "deep/b.dcm"):
        write_slice(tmp_path / "s" / name, Slice())
    assert data_files(tmp_path / "s") == (tmp_path / "s" / "a.dcm", tmp_path / "s" / "deep" / "b.dcm")
    for name in ("a.nrrd", "a.nii.gz", "a.mha"):
        sitk.WriteImage(to_sitk(NOISE, OBLIQUE), str(tmp_path / name), True)
        assert data_files(tmp_path / name) == (tmp_path / name,)
    for name in ("gone.nrrd", "a" * 300):
        assert data_files(tmp_path / name) == (tmp_path / name,)


# Pictures


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".bmp", ".webp"])
def test_a_grey_picture_is_a_volume_of_depth_one_without_spacing(suffix: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (6, 7)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / f"a{suffix}", lossless=True)
    got = read_volume(tmp_path / f"a{suffix}")
    assert np.abs(got.array[0].astype(int) - pixels).max() <= (1 if suffix == ".webp" else 0)  # WebP knows colour only
    assert (got.geometry, got.real_spacing, got.name) == (Geometry((7, 6, 1)), False, "a")


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_a_grey_picture_stored_as_lossy_colour_counts_as_grey(suffix: str, tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 64).astype(np.uint8)[:, None].repeat(64, axis=1)
    Image.fromarray(ramp[..., None].repeat(3, axis=2)).save(tmp_path / f"a{suffix}", quality=90)
    assert np.abs(read_volume(tmp_path / f"a{suffix}").array[0].astype(int) - ramp).max() < 8


def test_a_channel_of_a_colour_picture_is_the_one_asked_for(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (6, 7, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.png", component=1).array[0], pixels[..., 1])


def test_a_16_bit_picture_keeps_its_values(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 60000, (6, 7)).astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.png").array[0], pixels)


def test_pages_of_a_tiff_are_frames(tmp_path: Path) -> None:
    pages = [Image.fromarray(PIXELS.astype(np.uint8) + n) for n in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(InputError, match="found 3 frames"):
        read_volume(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif", frame=1).array[0], np.asarray(pages[1]))


def test_a_picture_whose_suffix_lies_is_read_by_its_content(tmp_path: Path) -> None:
    Image.fromarray(PIXELS.astype(np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.jpg").array[0], PIXELS.astype(np.uint8))


# DICOM


def write_stack(folder: Path, geometry: Geometry, array: np.ndarray, order: list[int], **extra: object) -> None:
    """The slices of a right-handed volume under names in another order than their positions."""
    folder.mkdir(exist_ok=True)
    axes = geometry.axes
    for name, z in zip("abcdefghijkl", order, strict=False):
        position = tuple(geometry.affine[:3] @ [0, 0, z, 1])
        spacing = (geometry.spacing[1], geometry.spacing[0])
        item = Slice(array[z], position, (*axes[:, 0], *axes[:, 1]), spacing, extra=dict(extra))
        write_slice(folder / f"{name}.dcm", item)


@settings(max_examples=15)
@given(geometries(6), st.randoms(use_true_random=False))
def test_dicom_slices_are_sorted_by_position_not_by_name(geometry: Geometry, shuffler: random.Random) -> None:
    if np.linalg.det(geometry.axes) < 0:  # a stack of slices is right-handed
        geometry = replace(geometry, direction=tuple((geometry.axes * [1, 1, -1]).ravel()))
    geometry = replace(geometry, size=(5, 4, max(2, geometry.size[2])))
    array = np.random.default_rng(0).integers(0, 999, geometry.shape).astype(np.int16)
    order = list(range(geometry.size[2]))
    shuffler.shuffle(order)
    with tempfile.TemporaryDirectory() as folder:
        write_stack(Path(folder) / "s", geometry, array, order)
        got = read_volume(Path(folder) / "s")
    np.testing.assert_array_equal(got.array, array)
    assert got.geometry.close_to(geometry, mm=1e-6)
    assert (got.modality, got.description, got.name, got.real_spacing) == ("MR", "T1", "s", True)


def test_a_dicom_volume_lies_where_itk_puts_the_sorted_series(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 999, (3, 4, 5)).astype(np.int16)
    write_stack(tmp_path / "s", OBLIQUE, array, [2, 0, 1])
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(file) for file in list_series(tmp_path / "s")[0].files])
    image = reader.Execute()
    got = read_volume(tmp_path / "s")
    np.testing.assert_array_equal(got.array, sitk.GetArrayFromImage(image))
    np.testing.assert_allclose(centres_of(got.geometry), voxel_centres(image), atol=1e-4)


def test_series_are_listed_and_chosen_by_the_beginning_of_their_uid(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for n, item in enumerate(series(3)):
        write_slice(tmp_path / f"{n}.dcm", item)
    for n, item in enumerate(series(4, uid="1.7.9", description="T2", array=PIXELS + 1)):
        write_slice(tmp_path / "deep" / f"IM{n}", item)
    first, second = list_series(tmp_path)
    assert (first.uid, first.description, first.modality, first.date, first.size) == (
        "1.2.3",
        "T1",
        "MR",
        "20240229",
        (5, 4, 3),
    )
    assert (second.uid, second.size[2], second.files[0]) == ("1.7.9", 4, tmp_path / "deep" / "IM0")
    got = read_volume(tmp_path, series="1.7")
    np.testing.assert_array_equal(got.array[0], PIXELS + 1)
    assert got.description == "T2"


def test_localizers_reports_segmentations_and_other_files_are_no_series(tmp_path: Path) -> None:
    write_slice(tmp_path / "a.dcm", Slice())
    scout = Slice(uid="1.9.1", extra={"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]})
    write_slice(tmp_path / "b.dcm", scout)
    write_slice(tmp_path / "c.dcm", Slice(uid="1.9.2", extra={"Modality": "SEG"}))
    report = pydicom.dcmread(tmp_path / "a.dcm")
    report.SeriesInstanceUID, report.Modality = "1.9.3", "SR"
    del report.Rows, report.PixelData
    report.save_as(tmp_path / "d.dcm")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty").touch()
    assert [s.uid for s in list_series(tmp_path)] == ["1.2.3"]


@pytest.mark.parametrize(
    ("slope", "intercept", "dtype"), [(1, -1024, np.int16), (100, 0, np.int32), (0.5, 0.25, np.float32)]
)
def test_dicom_values_are_rescaled(slope: float, intercept: float, dtype: type, tmp_path: Path) -> None:
    write_slice(tmp_path / "a.dcm", Slice(extra={"RescaleSlope": slope, "RescaleIntercept": intercept}))
    got = read_volume(tmp_path / "a.dcm")
    np.testing.assert_allclose(got.array[0], PIXELS.astype(int) * slope + intercept)
    assert got.array.dtype == dtype


def test_each_dicom_slice_has_its_own_scale(tmp_path: Path) -> None:
    for n, item in enumerate(series(3)):
        write_slice(tmp_path / f"{n}.dcm", replace(item, extra={"RescaleSlope": n + 1, "RescaleIntercept": 0}))
    np.testing.assert_array_equal(read_volume(tmp_path).array, np.stack([PIXELS, PIXELS * 2, PIXELS * 3]))


def test_inverted_grey_becomes_plain_grey(tmp_path: Path) -> None:
    extra = {"RescaleSlope": 2, "RescaleIntercept": 3, "BitsStored": 12, "HighBit": 11}
    write_slice(tmp_path / "a.dcm", Slice(PIXELS.astype(np.uint16), kind="MONOCHROME1", extra=extra))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.dcm").array[0], (4095 - PIXELS.astype(int)) * 2 + 3)


@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000"])
def test_losslessly_compressed_dicom_is_read(compressor: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 3000, (32, 32)).astype(np.uint16)
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(tmp_path / "a.dcm"))
    writer.UseCompressionOn()
    writer.SetCompressor(compressor)
    writer.Execute(sitk.GetImageFromArray(pixels))
    assert pydicom.dcmread(tmp_path / "a.dcm").file_meta.TransferSyntaxUID.is_compressed
    np.testing.assert_array_equal(read_volume(tmp_path / "a.dcm").array[0], pixels)


def test_the_frames_of_an_enhanced_file_are_sorted_by_position(tmp_path: Path) -> None:
    stored = np.stack([PIXELS + n for n in range(3)])
    data = pydicom.dcmread(write_slice(tmp_path / "a.dcm", Slice(position=None)))
    del data.ImageOrientationPatient, data.PixelSpacing
    data.NumberOfFrames, data.PixelData = 3, stored.tobytes()
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.8, 0.7], 2.0
    orientation.ImageOrientationPatient = [0, 1, 0, 0, 0, 1]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    data.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for n, x in enumerate((4.0, 0.0, 2.0)):
        frame, position, scale = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [x, 5, 6]
        scale.RescaleSlope, scale.RescaleIntercept = n + 1, 10
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [position], [scale]
        frames.append(frame)
    data.PerFrameFunctionalGroupsSequence = frames
    data.save_as(tmp_path / "a.dcm")
    got = read_volume(tmp_path / "a.dcm")
    np.testing.assert_array_equal(got.array, np.stack([stored[n] * (n + 1) + 10 for n in (1, 2, 0)]))
    assert got.geometry.close_to(Geometry((5, 4, 3), (0.7, 0.8, 2.0), (0, 5, 6), (0, 0, 1, 1, 0, 0, 0, 1, 0)))


def test_a_single_slice_takes_its_thickness_from_the_header(tmp_path: Path) -> None:
    write_slice(tmp_path / "a.dcm", Slice(position=(1, 2, 3), extra={"SliceThickness": 4.5}))
    got = read_volume(tmp_path / "a.dcm")
    assert got.geometry == Geometry((5, 4, 1), (0.7, 0.8, 4.5), (1, 2, 3))


def test_uneven_slices_are_read_with_a_warning(tmp_path: Path) -> None:
    for n, z in enumerate((0, 2, 4, 6.5)):
        write_slice(tmp_path / f"{n}.dcm", Slice(position=(0, 0, z)))
    assert read_volume(tmp_path).warnings == ("Slices lie 2 to 2.5 mm apart; the mean is used.",)


# Labelmaps


@pytest.mark.parametrize(("suffix", "mm"), [(".seg.nrrd", 1e-9), (".nrrd", 1e-9), (".mha", 1e-9), (".nii.gz", 1e-4)])
@settings(max_examples=20)
@given(geometries())
def test_a_labelmap_comes_back_with_its_voxels_and_place(suffix: str, mm: float, geometry: Geometry) -> None:
    labels = np.random.default_rng(0).integers(0, 3, geometry.shape).astype(np.uint16)
    with tempfile.TemporaryDirectory() as folder:
        write_labelmap(path := Path(folder) / f"a{suffix}", Labelmap(labels, geometry))
        image = sitk.ReadImage(str(path))
        got = read_labelmap(path)
    np.testing.assert_array_equal(got.array, labels)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), labels)
    assert got.array.dtype == np.uint16
    np.testing.assert_allclose(voxel_centres(image), centres_of(geometry), atol=mm)


def test_nifti_in_nifti_out_moves_no_voxel(tmp_path: Path) -> None:
    sitk.WriteImage(to_sitk(NOISE, LEFT_HANDED), str(tmp_path / "in.nii.gz"))
    geometry = read_volume(tmp_path / "in.nii.gz").geometry
    write_labelmap(tmp_path / "out.nii.gz", Labelmap(NOISE, geometry))
    assert read_labelmap(tmp_path / "out.nii.gz").geometry.close_to(geometry, mm=1e-6)


@pytest.mark.parametrize(("largest", "kind"), [(255, "unsigned char"), (256, "unsigned short")])
def test_labels_take_one_byte_where_they_fit(largest: int, kind: str, tmp_path: Path) -> None:
    labels = np.zeros((3, 4, 5), np.int64)
    labels[1, 2, 3] = largest
    write_labelmap(tmp_path / "a.nrrd", Labelmap(labels, OBLIQUE))
    fields, data = nrrd_header(tmp_path / "a.nrrd")
    assert (fields["type"], fields["encoding"], fields["sizes"]) == (kind, "gzip", "5 4 3")
    assert fields["space"] == "left-posterior-superior"
    np.testing.assert_array_equal(np.frombuffer(data, "u1" if largest < 256 else "<u2").reshape(3, 4, 5), labels)


def test_the_header_of_a_segmentation_says_what_slicer_looks_for(tmp_path: Path) -> None:
    write_labelmap(tmp_path / "a.seg.nrrd", Labelmap(np.ones((3, 4, 5), np.uint16), OBLIQUE, SEGMENTS))
    fields, _ = nrrd_header(tmp_path / "a.seg.nrrd")
    expected = {
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
        "Segment0_ID": "model.tumour",
        "Segment0_Name": "Tumour",
        "Segment0_Color": "0.9 0.2 0.1",
        "Segment0_NameAutoGenerated": "0",
        "Segment0_ColorAutoGenerated": "0",
        "Segment0_Extent": "0 4 0 3 0 2",
        "Segment0_LabelValue": "1",
        "Segment0_Layer": "0",
        "Segment0_Tags": ("Segmentation.Status:inprogress|TerminologyEntry:a~b^c~d|MedTL.label:tumour|MedTL.model:m|"),
        "Segment1_Name": "Œdème (whole)",
        "Segment1_LabelValue": "300",
        "Segment1_Tags": "Segmentation.Status:inprogress|",
    }
    assert {key: fields.get(key) for key in expected} == expected
    name, numbers, _ = fields["Segmentation_ConversionParameters"].split("|")
    *matrix, last = (float(v) for v in numbers.rstrip(";").split(";"))
    assert (name, matrix[16:], last) == ("Reference image geometry", [0, 4, 0, 3, 0], 2)
    ras = np.reshape(matrix[:16], (4, 4))
    np.testing.assert_allclose(ras, OBLIQUE.affine * [[-1], [-1], [1], [1]])


def test_segments_come_back_with_names_colours_terms_and_tags(tmp_path: Path) -> None:
    labels = np.zeros((3, 4, 5), np.uint16)
    labels[0], labels[1] = 1, 300
    write_labelmap(tmp_path / "a.seg.nrrd", Labelmap(labels, OBLIQUE, SEGMENTS))
    got = read_labelmap(tmp_path / "a.seg.nrrd")
    assert got.segments == SEGMENTS
    np.testing.assert_array_equal(got.array, labels)


def test_text_that_would_break_the_header_is_made_harmless(tmp_path: Path) -> None:
    odd = Segment(1, "m.a", "two\nlines", tags=(("note", "a|b:c"),))
    write_labelmap(tmp_path / "a.seg.nrrd", Labelmap(np.ones((3, 4, 5), np.uint16), OBLIQUE, (odd,)))
    (got,) = read_labelmap(tmp_path / "a.seg.nrrd").segments
    assert (got.name, got.tags) == ("two lines", (("note", "a/b:c"),))


def write_layers(path: Path, layers: np.ndarray, values: tuple[int, int], *, four_d: bool) -> None:
    """A segmentation of two overlapping segments as Slicer writes it: a list axis, in old files a fourth one."""
    images = [to_sitk(layer, OBLIQUE) for layer in layers]
    image = sitk.JoinSeries(images) if four_d else sitk.Compose(images)
    for n, value in enumerate(values):
        for key, text in {"ID": f"S{n}", "Name": f"n{n}", "Layer": str(n), "LabelValue": str(value)}.items():
            image.SetMetaData(f"Segment{n}_{key}", text)
    sitk.WriteImage(image, str(path), True)


@pytest.mark.parametrize("four_d", [False, True], ids=["list axis", "fourth axis"])
@pytest.mark.parametrize(("values", "merged"), [((1, 1), (1, 2)), ((3, 5), (3, 5))])
def test_overlapping_segments_are_merged_and_reported(
    four_d: bool, values: tuple[int, int], merged: tuple[int, int], tmp_path: Path
) -> None:
    layers = np.zeros((2, 3, 4, 5), np.uint8)
    layers[0, 0], layers[1, 0, 0], layers[1, 2] = values[0], values[1], values[1]
    write_layers(tmp_path / "a.seg.nrrd", layers, values, four_d=four_d)
    got = read_labelmap(tmp_path / "a.seg.nrrd")
    expected = np.zeros((3, 4, 5))
    expected[0], expected[0, 0], expected[2] = merged[0], merged[1], merged[1]
    np.testing.assert_array_equal(got.array, expected)
    assert tuple(s.value for s in got.segments) == merged
    overlap = (
        "Segments overlap in 5 voxels. Where a voxel has one label only, the later segment counts; voxels lost to it"
    )
    assert got.warnings[-1] == f"{overlap}: n0 5 of 20."
    renumbered = ("Several segments have the same label value in the file; they are numbered 1 n0, 2 n1.",)
    assert got.warnings[:-1] == (renumbered if values != merged else ())
    for value, stored, layer in zip(merged, values, layers, strict=True):
        np.testing.assert_array_equal(got.mask(value), layer == stored)
    assert got.geometry.close_to(OBLIQUE)


@pytest.mark.parametrize(("key", "value"), [("LabelValue", "one"), ("Layer", "x"), ("Color", "red"), ("Color", "1 0")])
def test_a_segment_entry_that_is_no_number_is_refused(key: str, value: str, tmp_path: Path) -> None:
    image = to_sitk(np.ones((3, 4, 5), np.uint8), OBLIQUE)
    image.SetMetaData("Segment0_ID", "a")
    image.SetMetaData(f"Segment0_{key}", value)
    sitk.WriteImage(image, str(tmp_path / "a.seg.nrrd"))
    with pytest.raises(InputError, match="Segment0_ entries"):
        read_labelmap(tmp_path / "a.seg.nrrd")


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.uint8])
def test_whole_numbers_of_any_dtype_are_labels(dtype: type, tmp_path: Path) -> None:
    labels = np.arange(60).reshape(3, 4, 5)
    write_image(tmp_path / "a.nrrd", labels.astype(dtype), OBLIQUE)
    got = read_labelmap(tmp_path / "a.nrrd")
    assert got.array.dtype == np.uint16
    np.testing.assert_array_equal(got.array, labels)


def test_an_empty_labelmap_is_a_labelmap(tmp_path: Path) -> None:
    write_labelmap(tmp_path / "a.nrrd", Labelmap(np.zeros((3, 4, 5), np.uint16), OBLIQUE))
    assert not read_labelmap(tmp_path / "a.nrrd").array.any()


def test_a_mask_picture_is_a_labelmap(tmp_path: Path) -> None:
    Image.fromarray((PIXELS > 500).astype(np.uint8) * 255).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_labelmap(tmp_path / "a.png").array[0], (PIXELS > 500) * 255)


# Writing whole or not at all


def test_several_channels_are_written_as_one_vector_image(tmp_path: Path) -> None:
    channels = np.random.default_rng(0).random((2, 3, 4, 5)).astype(np.float32)
    write_image(tmp_path / "p.nrrd", channels, OBLIQUE)
    image = sitk.ReadImage(str(tmp_path / "p.nrrd"))
    np.testing.assert_array_equal(np.moveaxis(sitk.GetArrayFromImage(image), -1, 0), channels)
    assert geometry_of(image).close_to(OBLIQUE, mm=1e-9)


def fail_with(error: Exception) -> object:
    def write(*_: object, **__: object) -> None:
        raise error

    return write


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device. Choose a folder with space"),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied. Choose a folder"),
        (OSError(errno.EROFS, "Read-only file system"), "Read-only file system"),
        (RuntimeError("ITK ERROR: X(0x1f):\nError writing it\n[nrrd] f: no"), "f: no; the disk may be full"),
    ],
)
def test_a_failed_write_leaves_the_old_result_and_nothing_else(
    error: Exception, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.seg.nrrd"
    path.write_bytes(b"old result")
    monkeypatch.setattr(sitk, "WriteImage", fail_with(error))
    with pytest.raises(InputError, match=message) as caught:
        write_labelmap(path, Labelmap(NOISE, OBLIQUE))
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"old result"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_names_the_file_that_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(_: object, name: str, *rest: object) -> None:
        raise RuntimeError(f"Error writing {name}, as the {'long ' * 50}tale goes")

    monkeypatch.setattr(sitk, "WriteImage", write)
    path = tmp_path / "a.nrrd"
    for attempt in (
        lambda: write_labelmap(path, Labelmap(NOISE, OBLIQUE)),
        lambda: write_image(path, NOISE, OBLIQUE),
        lambda: write_whole(path, lambda part: store_image(part, NOISE, OBLIQUE)),
    ):
        with pytest.raises(InputError) as caught:
            attempt()
        assert f"Could not write {path}: Error writing {path}, as the long" in str(caught.value)
        assert ".medtl-" not in str(caught.value)


def test_places_that_a_format_cannot_keep_are_reported(tmp_path: Path) -> None:
    far = replace(OBLIQUE, origin=(-1234.56789, 45.6, 78.9))
    labels = Labelmap(NOISE, far)
    assert write_labelmap(tmp_path / "a.seg.nrrd", labels) == ()
    assert write_image(tmp_path / "a.nrrd", NOISE, far) == ()
    (note,) = write_labelmap(tmp_path / "a.nii.gz", labels)
    moved = np.abs(voxel_centres(sitk.ReadImage(str(tmp_path / "a.nii.gz"))) - centres_of(far)).max()
    assert moved > 1e-6
    assert f"Voxels in a.nii.gz lie up to {moved:.1g} mm beside those of the image" in note
    assert store_labelmap(tmp_path / "b.nii.gz", labels) == (note.replace("a.nii.gz", "b.nii.gz"),)


@pytest.mark.parametrize("suffix", [".seg.nrrd", ".nii.gz", ".nii", ".mha"])
def test_a_file_that_a_full_disk_cut_off_unnoticed_is_not_a_result(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_write = sitk.WriteImage

    def write_half(image: sitk.Image, name: str, *rest: object) -> None:
        true_write(image, name, *rest)
        Path(name).write_bytes(Path(name).read_bytes()[:-25])

    monkeypatch.setattr(sitk, "WriteImage", write_half)
    with pytest.raises(InputError, match="not whole, the disk may be full"):
        write_labelmap(tmp_path / f"a{suffix}", Labelmap(NOISE, OBLIQUE))
    assert list(tmp_path.iterdir()) == []


def test_a_rename_that_fails_leaves_the_old_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    monkeypatch.setattr(Path, "replace", fail_with(PermissionError(errno.EACCES, "Permission denied")))
    with pytest.raises(InputError, match="Permission denied"):
        write_whole(path, lambda part: part.write_text("new"))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_output_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone does not exist\. Create it"):
        write_labelmap(tmp_path / "gone" / "a.nrrd", Labelmap(NOISE, OBLIQUE))


def test_a_folder_that_is_a_file_is_no_output_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="does not exist"):
        write_labelmap(tmp_path / "file" / "a.nrrd", Labelmap(NOISE, OBLIQUE))


def test_an_unknown_output_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ends in .seg.nrrd, .nrrd, .nii.gz, found a.png"):
        write_labelmap(tmp_path / "a.png", Labelmap(NOISE, OBLIQUE))
    assert list(tmp_path.iterdir()) == []


def test_an_existing_result_is_replaced_when_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.nrrd"
    path.write_bytes(b"old result")
    write_labelmap(path, Labelmap(NOISE, OBLIQUE))
    np.testing.assert_array_equal(read_labelmap(path).array, NOISE)
    assert list(tmp_path.iterdir()) == [path]


# Real data


@pytest.mark.parametrize(
    ("name", "modality", "size", "step"),
    [("dicom_mr_vsseg_6", "MR", (512, 512, 6), 1.5), ("dicom_ct_3slice_ge", "CT", (512, 512, 3), 1.0)],
)
def test_a_real_dicom_series_lies_where_itk_puts_it(
    name: str, modality: str, size: tuple[int, int, int], step: float, shared_data: Path
) -> None:
    got = read_volume(shared_data / "volumes" / name)
    assert (got.modality, got.geometry.size, got.real_spacing) == (modality, size, True)
    assert got.geometry.spacing[2] == pytest.approx(step)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(file) for file in list_series(shared_data / "volumes" / name)[0].files])
    image = reader.Execute()
    np.testing.assert_array_equal(got.array, sitk.GetArrayFromImage(image))
    assert got.geometry.close_to(geometry_of(image), mm=1e-4)


def test_ct_values_are_hounsfield_units(shared_data: Path) -> None:
    values = read_volume(shared_data / "volumes" / "dicom_ct_3slice_ge").array
    middle = values[:, 200:312, 200:312]
    assert -200 < np.median(middle) < 200  # soft tissue


def test_a_labelmap_on_a_real_oblique_head_overlays_it_in_a_second_reader(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "volumes" / "MR_Gd.nii.gz"
    volume = read_volume(source)
    truth = sitk.ReadImage(str(source))
    write_labelmap(tmp_path / "a.seg.nrrd", Labelmap(volume.array > 500, volume.geometry, SEGMENTS[:1]))
    labels = sitk.ReadImage(str(tmp_path / "a.seg.nrrd"))
    assert labels.GetSize() == truth.GetSize()
    for corner in itertools.product(*((0, n - 1) for n in truth.GetSize())):
        here, there = (image.TransformIndexToPhysicalPoint(corner) for image in (labels, truth))
        np.testing.assert_allclose(here, there, atol=1e-6)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(labels), sitk.GetArrayFromImage(truth) > 500)
