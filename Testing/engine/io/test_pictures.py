"""Pictures lie and look as a viewer shows them, whatever tags say how that is stored."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, TiffImagePlugin

from medtl.errors import InputError, MedTLError
from medtl.io.pictures import read_picture
from medtl.io.read import read_labelmap, read_volume

UPRIGHT = np.arange(6 * 8, dtype=np.uint8).reshape(6, 8) * 5
TURNED = "The picture was turned upright, as its EXIF orientation says."
# How the stored pixels of each EXIF orientation come from what a viewer shows (EXIF 2.3, tag 0x0112).
STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: np.transpose,
    6: np.rot90,
    7: lambda a: np.rot90(a, 2).T,
    8: lambda a: np.rot90(a, -1),
}


def read(path: Path) -> np.ndarray:
    array: np.ndarray = read_volume(path).array[0]
    return array


def save_with_orientation(path: Path, stored: np.ndarray, number: int, **options: object) -> Path:
    picture = Image.fromarray(np.ascontiguousarray(stored))
    exif = Image.Exif()
    exif[274] = number
    if path.suffix == ".tif":
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[274] = number
        picture.save(path, tiffinfo=tags, **options)
    else:
        picture.save(path, exif=exif, **options)
    return path


@pytest.mark.parametrize("number", STORED)
@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".png", {}),
        (".jpg", {"quality": 100}),
        (".webp", {"lossless": True}),
        (".tif", {}),
        (".tif", {"compression": "tiff_lzw"}),
    ],
    ids=["PNG", "JPEG", "WebP", "TIFF", "TIFF LZW"],
)
def test_a_picture_lies_as_a_viewer_shows_it(number: int, suffix: str, options: dict, tmp_path: Path) -> None:
    path = save_with_orientation(tmp_path / f"a{suffix}", STORED[number](UPRIGHT), number, **options)
    got = read_volume(path)
    np.testing.assert_allclose(got.array[0].astype(int), UPRIGHT, atol=2 if suffix == ".jpg" else 0)
    assert got.geometry.size == (8, 6, 1)
    assert got.warnings == ((TURNED,) if number > 1 else ())


def test_the_orientation_agrees_with_pillow_on_a_colour_picture(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 255, (6, 8, 3)).astype(np.uint8)
    path = save_with_orientation(tmp_path / "a.png", colours, 6)
    array, geometry, _ = read_picture(path, None, 1)
    np.testing.assert_array_equal(array[0], np.asarray(ImageOps.exif_transpose(Image.open(path)))[..., 1])
    assert geometry.size == (6, 8, 1)


def test_a_sixteen_bit_picture_is_turned_too(tmp_path: Path) -> None:
    deep = UPRIGHT.astype(np.uint16) * 250
    path = save_with_orientation(tmp_path / "a.png", STORED[8](deep), 8)
    np.testing.assert_array_equal(read(path), deep)


def test_an_orientation_that_does_not_exist_turns_nothing(tmp_path: Path) -> None:
    got = read_volume(save_with_orientation(tmp_path / "a.png", UPRIGHT, 9))
    np.testing.assert_array_equal(got.array[0], UPRIGHT)
    assert got.warnings == ()


def test_a_labelmap_says_that_it_was_turned(tmp_path: Path) -> None:
    labelmap = read_labelmap(save_with_orientation(tmp_path / "a.png", STORED[3](UPRIGHT), 3))
    np.testing.assert_array_equal(labelmap.array[0], UPRIGHT)
    assert labelmap.warnings == (TURNED,)


# TIFF


def tiff(path: Path, stored: np.ndarray, photometric: int, *, sample_format: int = 1) -> Path:
    """A plain TIFF file, written byte by byte: Pillow writes no 16 bits with white as zero."""
    height, width = stored.shape
    tags = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, 8 * stored.dtype.itemsize),
        (259, 3, 1),
        (262, 3, photometric),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, height),
        (279, 4, stored.nbytes),
        (339, 3, sample_format),
    ]
    data = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    path.write_bytes(
        b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)
    )
    return path


@pytest.mark.parametrize(("dtype", "sample_format"), [(np.int8, 2), (np.int16, 2), (np.int32, 2), (np.uint32, 1)])
def test_values_of_a_tiff_have_the_sign_that_it_states(dtype: type, sample_format: int, tmp_path: Path) -> None:
    ends = np.iinfo(dtype)
    values = np.linspace(ends.min, ends.max, 20).astype(dtype).reshape(4, 5)
    got = read_volume(tiff(tmp_path / "a.tif", values, 1, sample_format=sample_format)).array
    np.testing.assert_array_equal(got[0].astype(np.int64), values.astype(np.int64))


def test_a_tiff_of_another_kind_of_values_is_not_called_damaged_alone(tmp_path: Path) -> None:
    tiff(tmp_path / "a.tif", np.arange(20, dtype=np.float64).reshape(4, 5), 1, sample_format=3)
    with pytest.raises(InputError, match=r"another kind of values: .*a\.tif\. Save it as PNG, or as TIFF"):
        read_volume(tmp_path / "a.tif")


@pytest.mark.parametrize("photometric", [0, 1], ids=["white is zero", "black is zero"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_larger_values_of_a_tiff_are_brighter(dtype: type, photometric: int, tmp_path: Path) -> None:
    bright = UPRIGHT.astype(dtype) * (1 if dtype is np.uint8 else 200)
    stored = bright if photometric else np.iinfo(dtype).max - bright
    np.testing.assert_array_equal(read(tiff(tmp_path / "a.tif", stored, photometric)), bright)


def test_white_as_zero_of_packed_and_one_bit_tiffs_is_turned_over(tmp_path: Path) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[262] = 0
    for name, options in (("a", {}), ("b", {"compression": "tiff_lzw"})):
        Image.fromarray(UPRIGHT).save(tmp_path / f"{name}.tif", tiffinfo=tags, **options)
        shown = np.asarray(Image.open(tmp_path / f"{name}.tif"))
        np.testing.assert_array_equal(read(tmp_path / f"{name}.tif"), shown)
    Image.fromarray(UPRIGHT > 100).save(tmp_path / "c.tif", compression="group4")
    np.testing.assert_array_equal(read(tmp_path / "c.tif"), np.where(UPRIGHT > 100, 255, 0))


def test_white_as_zero_of_floating_point_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="MinIsWhite"):
        read_volume(tiff(tmp_path / "a.tif", UPRIGHT.astype(np.float32), 0, sample_format=3))


# Colours


def test_the_colours_of_a_palette_are_read_not_its_numbers(tmp_path: Path) -> None:
    numbers = Image.fromarray(np.array([[0, 1], [2, 3]], np.uint8), "L").convert("P")
    numbers.putpalette([value for grey in (200, 10, 90, 40) for value in (grey, grey, grey)])
    for suffix in (".png", ".tif"):
        numbers.save(tmp_path / f"a{suffix}")
        np.testing.assert_array_equal(read(tmp_path / f"a{suffix}"), [[200, 10], [90, 40]])


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_a_grey_picture_in_printing_colours_is_read_as_grey(suffix: str, tmp_path: Path) -> None:
    ink = np.zeros((6, 8, 4), np.uint8)
    ink[..., 3] = 255 - UPRIGHT
    Image.fromarray(ink, "CMYK").save(tmp_path / f"a{suffix}", **({"quality": 100} if suffix == ".jpg" else {}))
    np.testing.assert_allclose(read(tmp_path / f"a{suffix}").astype(int), UPRIGHT, atol=2)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_deep_greys_keep_their_values(dtype: type, tmp_path: Path) -> None:
    deep = UPRIGHT.astype(dtype) * 250
    Image.fromarray(deep).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), deep)
    if dtype is np.uint16:
        Image.fromarray(deep).save(tmp_path / "a.png")
        np.testing.assert_array_equal(read(tmp_path / "a.png"), deep)


def test_deep_colours_lose_their_lower_bits_with_a_warning(tmp_path: Path) -> None:
    colours = np.repeat(UPRIGHT.astype(np.uint16)[..., None] * 256 + 77, 3, -1)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colours)
    (tmp_path / "a.png").write_bytes(png(8, 6, 16, 2, rows))
    got = read_volume(tmp_path / "a.png")
    np.testing.assert_array_equal(got.array[0], UPRIGHT)
    assert got.warnings == ("The picture has 16 bits a colour, of which the upper 8 are read.",)


def png(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
@pytest.mark.parametrize("alpha", [255, 0])
def test_transparent_places_are_read_with_a_warning(mode: str, alpha: int, tmp_path: Path) -> None:
    picture = Image.fromarray(UPRIGHT).convert(mode)
    holes = np.full(UPRIGHT.shape, 255, np.uint8)
    holes[2, 3] = alpha
    picture.putalpha(Image.fromarray(holes))
    picture.save(tmp_path / "a.png")
    got = read_volume(tmp_path / "a.png")
    np.testing.assert_array_equal(got.array[0], UPRIGHT)
    assert len(got.warnings) == (alpha == 0)


# Damaged pictures


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("no chunks", b"\x89PNG\r\n\x1a\n"),
        ("no tags", b"II*\0\xff\xff\xff\xff"),
        ("only a start", b"\xff\xd8\xff"),
        ("a huge size", png(60000, 60000, 8, 0, b"")),
        ("no pixels", png(8, 6, 8, 0, b"")),
        ("RIFF alone", b"RIFF\xff\xff\xff\xffWEBPVP8 \0\0\0\0"),
        ("bitmap", b"BM" + b"\xff" * 60),
    ],
)
def test_a_damaged_picture_is_one_sentence(
    name: str, data: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.png") as caught:
        read_volume(tmp_path / "a.png")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_what_libtiff_prints_about_a_damaged_picture_stays_unseen(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40)).astype(np.uint8)).save(
        path, compression="tiff_lzw"
    )
    data = bytearray(path.read_bytes())
    data[20:60] = b"\xff" * 40
    path.write_bytes(data)
    with pytest.raises(InputError):
        read_volume(path)
    assert capfd.readouterr() == ("", "")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    suffix=st.sampled_from([".png", ".jpg", ".tif", ".webp", ".bmp"]),
    changes=st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=4)), min_size=1, max_size=4),
)
def test_a_picture_with_changed_bytes_is_read_or_refused(
    suffix: str, changes: list[tuple[int, bytes]], tmp_path: Path
) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(UPRIGHT).save(path)
    data = bytearray(path.read_bytes())
    for at, value in changes:
        data[at % len(data) : at % len(data) + len(value)] = value
    path.write_bytes(data)
    message = ""
    try:
        assert read_volume(path).array.size > 1
    except MedTLError as error:
        message = str(error)
    assert "\n" not in message
