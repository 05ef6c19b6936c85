"""Volumes and labelmaps lie where their file says, voxel by voxel."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_series import PIXELS
from grids import LEFT_HANDED, NOISE, OBLIQUE, centres_of, voxel_centres
from hypothesis import given, settings
from PIL import Image
from strategies import volumes

from medtl.errors import InputError
from medtl.io.read import read_labelmap, read_volume
from medtl.io.write import write_image, write_labelmap
from medtl.volume import Geometry, Labelmap, Volume, to_sitk


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
    assert got.warnings == ("1 voxel was NaN or infinite and counts as 5.",)


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


# Labelmaps


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


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("LabelValue", "0", "a label value of 0, which is not from 1 to 65535"),
        ("LabelValue", "-1", "a label value of -1"),
        ("LabelValue", "70000", "a label value of 70000"),
        ("Layer", "1", "layers 0 to 0, found segment a on layer 1"),
        ("Layer", "-1", "layers 0 to 0, found segment a on layer -1"),
    ],
)
def test_a_segment_of_no_label_or_layer_is_refused(key: str, value: str, message: str, tmp_path: Path) -> None:
    image = to_sitk(np.eye(12, dtype=np.uint8).reshape(3, 4, 12), Geometry((12, 4, 3)))
    image.SetMetaData("Segment0_ID", "a")
    image.SetMetaData(f"Segment0_{key}", value)
    sitk.WriteImage(image, str(tmp_path / "a.seg.nrrd"))
    with pytest.raises(InputError, match=message):
        read_labelmap(tmp_path / "a.seg.nrrd")


def test_segments_whose_numbers_have_gaps_keep_their_names(tmp_path: Path) -> None:
    image = to_sitk(np.arange(60, dtype=np.uint8).reshape(3, 4, 5) % 3, OBLIQUE)
    for number, name, value in ((2, "one", 2), (10, "other", 1)):
        for key, text in {"ID": f"S{number}", "Name": name, "LabelValue": str(value)}.items():
            image.SetMetaData(f"Segment{number}_{key}", text)
    sitk.WriteImage(image, str(tmp_path / "a.seg.nrrd"))
    got = read_labelmap(tmp_path / "a.seg.nrrd").segments
    assert [(one.id, one.name, one.value) for one in got] == [("S2", "one", 2), ("S10", "other", 1)]


@pytest.mark.parametrize(("value", "shown"), [(0.5, "0.5"), (-1, "-1"), (70000, "70000"), (np.nan, "nan")])
def test_a_value_that_is_no_label_is_shown(value: float, shown: str, tmp_path: Path) -> None:
    labels = np.zeros((3, 4, 5), np.float32)
    labels[0], labels[1, 1, 1] = 1, value
    write_image(tmp_path / "a.nrrd", labels, OBLIQUE)
    with pytest.raises(InputError, match=rf"other values in 1 voxel\(s\), as {shown}, in"):
        read_labelmap(tmp_path / "a.nrrd")


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.uint8])
def test_whole_numbers_of_any_dtype_are_labels(dtype: type, tmp_path: Path) -> None:
    labels = np.arange(60).reshape(3, 4, 5)
    write_image(tmp_path / "a.nrrd", labels.astype(dtype), OBLIQUE)
    got = read_labelmap(tmp_path / "a.nrrd")
    assert got.array.dtype == np.uint16
    np.testing.assert_array_equal(got.array, labels)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_an_image_in_the_place_of_a_labelmap_is_refused(dtype: type, tmp_path: Path) -> None:
    """Also one of 8 bits with much of its darkest and brightest value."""
    z, y, x = np.indices((4, 60, 60))
    image = np.clip(900 - 12 * np.hypot(y - 30, x - 28) ** 1.2 + np.random.default_rng(0).normal(0, 6, z.shape), 0, 255)
    write_image(tmp_path / "a.nrrd", np.rint(image).astype(dtype), Geometry((60, 60, 4)))
    with pytest.raises(InputError, match=r"Expected a segmentation, found an image with \d+ values in"):
        read_labelmap(tmp_path / "a.nrrd")
    Image.fromarray(np.rint(image[0]).astype(np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="Expected a segmentation, found an image"):
        read_labelmap(tmp_path / "a.png")


def test_a_labelmap_of_many_small_regions_is_a_labelmap(tmp_path: Path) -> None:
    z, y, x = np.indices((6, 40, 40))
    labels = (z // 3 * 400 + y // 2 * 20 + x // 2 + 1).astype(np.uint16)  # 800 regions, two voxels wide
    write_image(tmp_path / "a.nrrd", labels, Geometry((40, 40, 6)))
    np.testing.assert_array_equal(read_labelmap(tmp_path / "a.nrrd").array, labels)


def test_an_empty_labelmap_is_a_labelmap(tmp_path: Path) -> None:
    write_labelmap(tmp_path / "a.nrrd", Labelmap(np.zeros((3, 4, 5), np.uint16), OBLIQUE))
    assert not read_labelmap(tmp_path / "a.nrrd").array.any()


def test_a_mask_picture_is_a_labelmap(tmp_path: Path) -> None:
    Image.fromarray((PIXELS > 500).astype(np.uint8) * 255).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_labelmap(tmp_path / "a.png").array[0], (PIXELS > 500) * 255)
