"""DICOM series are volumes that lie where ITK puts them."""

import random
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_series import PIXELS, Slice, series, write_slice
from grids import OBLIQUE, centres_of, voxel_centres
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from strategies import geometries

from medtl.io.dicom import list_series
from medtl.io.read import read_volume
from medtl.volume import Geometry, geometry_of


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
