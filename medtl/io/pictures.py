"""Pictures (PNG, JPEG, TIFF, WebP, BMP), read with Pillow."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, MedTLError
from ..volume import Geometry
from .choice import choose
from .itk import quiet_stderr, reason_of

if TYPE_CHECKING:
    from PIL.Image import Image

GREY_LEVELS = 2  # grey pictures come back from JPEG and WebP with channels that differ by a level or two
ORIENTATION, BITS, PHOTOMETRIC, SAMPLE_FORMAT = 274, 258, 262, 339  # tags of EXIF and TIFF
WHITE_IS_ZERO = 0  # of PHOTOMETRIC
UNSIGNED, SIGNED = 1, 2  # of SAMPLE_FORMAT


def read_picture(path: Path, frame: int | None, component: int | None) -> tuple[np.ndarray, Geometry, tuple[str, ...]]:
    """A PNG, JPEG, TIFF, WebP or BMP as an array (1, Y, X), its grid and warnings. RGB with equal channels is grey.

    Pixels lie as a viewer shows them: turned as the EXIF orientation says, larger values brighter.

    Raises: InputError when the picture is damaged, or `frame` or `component` has to be chosen.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings(), quiet_stderr():  # libtiff prints
            warnings.simplefilter("ignore")  # oversized pictures or unusual tags: only the pixels matter
            # a file, not its name: Pillow 13 maps a named TIFF file into memory and ignores that it lies on its side
            with path.open("rb") as file, Image.open(file) as picture:
                picture.seek(choose(path, "frame", frame, getattr(picture, "n_frames", 1)))
                pixels, changes = _pixels(picture, path)
    except (MedTLError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise InputError(
            f"Expected a picture of a kind that Pillow reads, found a damaged one or another kind of values: {path}. "
            "Save it as PNG, or as TIFF with 8 or 16 bits."
        ) from error
    except Exception as error:  # Pillow raises what its decoders meet: SyntaxError, struct.error, EOFError and others
        raise InputError(reason_of(path, "picture", str(error) or type(error).__name__)) from error
    if pixels.ndim == 3:
        same = int((pixels.max(axis=-1) - pixels.min(axis=-1)).max()) <= GREY_LEVELS
        pixels = pixels[..., choose(path, "component", 0 if same and component is None else component, 3)]
    else:
        choose(path, "component", component, 1)
    pixels = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))
    return pixels[None], Geometry((pixels.shape[1], pixels.shape[0], 1)), changes


def _pixels(picture: "Image", path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """The pixels (Y, X) or (Y, X, 3) as a viewer shows them, and warnings of what was changed or lost."""
    from PIL import ImageOps

    tags: Any = getattr(picture, "tag_v2", {})
    tiles: Any = getattr(picture, "tile", ())
    white_is_zero = bool(tags) and tags.get(PHOTOMETRIC, WHITE_IS_ZERO) == WHITE_IS_ZERO
    deep_colours = any(";16" in str(tile[3]) for tile in tiles) and not picture.mode.startswith("I")
    turned = picture.getexif().get(ORIENTATION, 1) in range(2, 9)
    bits = tags.get(BITS, (8,))[0]
    changes = []
    if turned:
        picture = ImageOps.exif_transpose(picture)  # TIFF files are turned by Pillow already
        changes.append("The picture was turned upright, as its EXIF orientation says.")
    if deep_colours:
        changes.append("The picture has 16 bits a colour, of which the upper 8 are read.")
    if _is_transparent(picture):
        changes.append("The picture is transparent in places; what lies under them is read.")
    is_supported = picture.mode in ("L", "I", "F", "RGB") or picture.mode.startswith("I;16")
    is_grey = picture.mode in ("1", "LA", "La")
    pixels = np.asarray(picture if is_supported else picture.convert("L" if is_grey else "RGB"))
    pixels = _signed_as_stated(pixels, tags.get(SAMPLE_FORMAT, (UNSIGNED,))[0], bits)
    if white_is_zero and picture.mode.startswith("I;16"):  # Pillow inverts 8 bits and fewer
        pixels = 2**bits - 1 - pixels
    elif white_is_zero and picture.mode in ("I", "F"):
        raise InputError(
            f"Expected a picture with black as the smallest value, found white (MinIsWhite) in {path}. "
            "Save it again as MinIsBlack."
        )
    return pixels, tuple(changes)


def _signed_as_stated(pixels: np.ndarray, sample_format: int, bits: int) -> np.ndarray:
    """The pixels of a TIFF as signed or unsigned as its header says: of 8 and 32 bits Pillow reads one kind alone."""
    if sample_format == SIGNED and pixels.dtype == np.uint8:
        return pixels.view(np.int8)
    if sample_format == UNSIGNED and bits == 32 and pixels.dtype == np.int32:
        return pixels.view(np.uint32)
    return pixels


def _is_transparent(picture: "Image") -> bool:
    """True where a pixel is not opaque."""
    if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        return bool(np.asarray(picture.getchannel(picture.getbands()[-1])).min() < 255)
    return "transparency" in picture.info and _is_transparent(picture.convert("RGBA"))
