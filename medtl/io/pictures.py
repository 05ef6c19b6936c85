"""Pictures (PNG, JPEG, TIFF, WebP, BMP), read with Pillow."""

import warnings
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..volume import Geometry
from .itk import chosen, reason_of

GREY_LEVELS = 2  # grey pictures come back from JPEG and WebP with channels that differ by a level or two


def read_picture(path: Path, frame: int | None, component: int | None) -> tuple[np.ndarray, Geometry]:
    """A PNG, JPEG, TIFF, WebP or BMP as an array (1, Y, X); colour without colours counts as grey."""
    from PIL import Image

    try:
        with warnings.catch_warnings(), Image.open(path) as picture:
            warnings.simplefilter("ignore")  # oversized or oddly tagged pictures: the pixels decide
            picture.seek(chosen(path, "frame", frame, getattr(picture, "n_frames", 1)))
            plain = picture.mode in ("L", "I", "F", "RGB") or picture.mode.startswith("I;16")
            grey = picture.mode in ("1", "LA", "La")
            pixels = np.asarray(picture if plain else picture.convert("L" if grey else "RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(reason_of(path, "picture", str(error))) from error
    if pixels.ndim == 3:
        same = int((pixels.max(axis=-1) - pixels.min(axis=-1)).max()) <= GREY_LEVELS
        pixels = pixels[..., chosen(path, "component", 0 if same and component is None else component, 3)]
    else:
        chosen(path, "component", component, 1)
    pixels = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))
    return pixels[None], Geometry((pixels.shape[1], pixels.shape[0], 1))
