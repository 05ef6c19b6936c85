"""Pictures are volumes of depth one."""

from pathlib import Path

import numpy as np
import pytest
from dicom_series import PIXELS
from PIL import Image

from medtl.errors import InputError
from medtl.io.read import read_volume
from medtl.volume import Geometry


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
