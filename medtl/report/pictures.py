"""Pictures of a report: a lesion in three planes, and the uncertainty over a slice, as PNG data of a web page."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from ..doubt import CLEAR, coloured
from ..drawing import box_around, draw_contours, draw_slice, label_tile, tile_size, window
from ..planes import PLANES
from ..upright import SIDES, View, plane_view
from ..volume import Geometry, Labelmap, Volume

MARK = 8  # pixels of the marks at the edge that point to a lesion
OPACITY = 0.55


def data_uri(picture: Image.Image) -> str:
    """The picture as a PNG in a text that a page can contain."""
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def lesion_pictures(volume: Volume, labelmap: Labelmap, place: tuple[float, float, float]) -> list[Image.Image]:
    """An axial, a coronal and a sagittal slice through a place (LPS mm), cut to the body, with the contours of all
    labels in their colours; marks at the edges point to the place. The grid is shown along its own axes."""
    index = index_of(place, volume.geometry)
    levels = window(volume.array)
    return [_slice(volume, labelmap, index, plane, levels) for plane in range(len(PLANES))]


def index_of(place: tuple[float, float, float], geometry: Geometry) -> tuple[int, int, int]:
    """The voxel (z, y, x) nearest a place, LPS mm."""
    x, y, z = (np.linalg.inv(geometry.affine) @ [*place, 1.0])[:3]
    return tuple(int(np.clip(round(float(v)), 0, n - 1)) for v, n in zip((z, y, x), geometry.shape, strict=True))  # type: ignore[return-value]


def _slice(
    volume: Volume, labelmap: Labelmap, index: tuple[int, int, int], plane: int, levels: tuple[float, float]
) -> Image.Image:
    view = plane_view(volume.geometry, plane)
    k, row, column = _turned(index, view, volume.geometry)
    image, labels = view.of(volume.array)[k], view.of(labelmap.array)[k]
    box = box_around(image > levels[0] + 0.1 * (levels[1] - levels[0]))
    size = tile_size(image[box].shape, view.spacing[1:])
    tile = draw_slice(image[box], *levels, size)
    for segment in labelmap.segments:
        draw_contours(tile, np.where(labels[box] == segment.value, 1, 0), rgb(segment.colour), 2)
    unnamed = np.isin(labels[box], [segment.value for segment in labelmap.segments], invert=True)
    draw_contours(tile, np.where(unnamed, labels[box], 0), (255, 214, 0), 2)
    scale = [n / count for n, count in zip(tile.size[::-1], image[box].shape, strict=True)]
    at = [(place - side.start + 0.5) * s for place, side, s in zip((row, column), box, scale, strict=True)]
    _mark(tile, at[0], at[1])
    return label_tile(tile, PLANES[plane], SIDES[plane])


def _turned(index: tuple[int, int, int], view: View, geometry: Geometry) -> tuple[int, int, int]:
    """The voxel (z, y, x) as (slice, row, column) of a view."""
    k, row, column = (
        geometry.shape[axis] - 1 - index[axis] if n in view.flips else index[axis] for n, axis in enumerate(view.order)
    )
    return k, row, column


def _mark(tile: Image.Image, row: float, column: float) -> None:
    draw = ImageDraw.Draw(tile)
    for top, bottom in ((0, MARK), (tile.height - 1 - MARK, tile.height - 1)):
        draw.line((column, top, column, bottom), fill=(255, 255, 255), width=2)
    for left, right in ((0, MARK), (tile.width - 1 - MARK, tile.width - 1)):
        draw.line((left, row, right, row), fill=(255, 255, 255), width=2)


def rgb(colour: Sequence[float]) -> tuple[int, int, int]:
    """A colour of 0 to 1 as one of 0 to 255."""
    red, green, blue = (round(255 * min(max(part, 0.0), 1.0)) for part in colour)
    return red, green, blue


def doubt_picture(volume: Volume, uncertainty: np.ndarray, labelmap: Labelmap, axis: int, index: int) -> Image.Image:
    """A slice with its uncertainty (0 to 1) in colours and the contours of the labels in white: the slice `index` along
    an array axis (0 is Z)."""
    plane = next(n for n in range(len(PLANES)) if plane_view(volume.geometry, n).order[0] == axis)
    view = plane_view(volume.geometry, plane)
    k = volume.geometry.shape[axis] - 1 - index if 0 in view.flips else index
    levels = window(volume.array)
    image, doubt, labels = (view.of(array)[k] for array in (volume.array, uncertainty, labelmap.array))
    box = box_around(image > levels[0] + 0.1 * (levels[1] - levels[0]))
    size = tile_size(image[box].shape, view.spacing[1:])
    tile = draw_slice(image[box], *levels, size)
    shown = Image.fromarray(np.clip(doubt[box], 0, 1).astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    values = np.asarray(shown)
    mask = np.where(values >= CLEAR, round(255 * OPACITY), 0).astype(np.uint8)
    tile.paste(Image.fromarray(coloured(values)), mask=Image.fromarray(mask))
    draw_contours(tile, labels[box], (255, 255, 255), 1)
    return label_tile(tile, f"{PLANES[plane]}, slice {index}", SIDES[plane])
