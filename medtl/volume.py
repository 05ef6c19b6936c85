"""Volumes and their geometry.

Arrays are (Z, Y, X); a `Geometry` is LPS millimetres in (x, y, z) order, as ITK has it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import SimpleITK as sitk

from .errors import InputError
from .planes import PLANES

SMALLEST_SPACING, LARGEST_SPACING = 1e-6, 1e4  # mm: one nanometre to ten metres
FARTHEST_ORIGIN = 1e7  # mm


@dataclass(frozen=True)
class Geometry:
    """A voxel grid in LPS millimetres: size, spacing and origin are (x, y, z).

    `direction` is the 3×3 matrix row by row, its columns are the unit vectors of the x, y and z index axes.

    Raises: InputError when the spacing is not from 1e-6 to 1e4 mm, the origin not within 1e7 mm, or the axes are not
    orthonormal.
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

    def __post_init__(self) -> None:
        if not all(SMALLEST_SPACING <= s <= LARGEST_SPACING for s in self.spacing):
            raise InputError(
                f"Expected spacings above 0 mm, from {SMALLEST_SPACING:g} to {LARGEST_SPACING:g}, found "
                f"{' × '.join(f'{s:g}' for s in self.spacing)}. Correct the header of the file."
            )
        if not all(abs(o) <= FARTHEST_ORIGIN for o in self.origin):
            raise InputError(
                f"Expected an origin within {FARTHEST_ORIGIN:g} mm, found "
                f"({', '.join(f'{o:g}' for o in self.origin)}). Correct the header of the file."
            )
        axes = self.axes
        if not np.isfinite(axes).all() or not np.allclose(axes.T @ axes, np.eye(3), atol=1e-3):
            raise InputError(
                "Expected orthonormal axes, found a sheared or singular direction "
                f"{tuple(round(float(d), 4) for d in self.direction)}. Resample it onto a regular grid first."
            )

    @property
    def axes(self) -> np.ndarray:
        """Columns are the unit vectors (LPS) of the x, y and z index axes, float64 (3, 3)."""
        return np.array(self.direction, dtype=np.float64).reshape(3, 3)

    @property
    def shape(self) -> tuple[int, int, int]:
        """The array's shape, (Z, Y, X)."""
        x, y, z = self.size
        return z, y, x

    @property
    def affine(self) -> np.ndarray:
        """Index (x, y, z, 1) to LPS mm, float64 (4, 4)."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.axes * np.array(self.spacing)
        matrix[:3, 3] = self.origin
        return matrix

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in mL."""
        return float(np.prod(self.spacing)) / 1000.0

    def distance(self, other: "Geometry") -> float:
        """The largest distance along an axis between a voxel's places on both grids, mm; infinite if sizes differ."""
        if self.size != other.size:
            return float("inf")
        corners = np.array([[x, y, z, 1] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=np.float64)
        corners[:, :3] *= np.array(self.size) - 1
        return float(np.abs(corners @ (self.affine - other.affine).T).max())

    @property
    def rounding(self) -> float:
        """How far the rounding of file formats may move a voxel, mm.

        DICOM and text headers often have directions of 3 or 4 decimals and positions of 3, NIfTI has 32-bit numbers
        and an orthonormal rotation. So the rounding is 1e-3 mm, plus 1e-4 of the longest side, plus the share of that
        side by which the axes depart from orthonormal.
        """
        longest = max(n * s for n, s in zip(self.size, self.spacing, strict=True))
        departure = float(np.linalg.norm(self.axes.T @ self.axes - np.eye(3)))
        return 1e-3 + (1e-4 + departure) * longest

    @property
    def tolerance(self) -> float:
        """The distance at which two voxels count as one, mm: `rounding`, at most a fifth of the smallest spacing."""
        return min(self.rounding, 0.2 * min(self.spacing))

    def close_to(self, other: "Geometry", mm: float | None = None) -> bool:
        """True when both grids have one size and all their voxels lie within `mm` of each other on each axis.

        Without `mm`, the larger of both grids' `tolerance` counts: the rule for two files that show the same grid.
        """
        return self.distance(other) <= (max(self.tolerance, other.tolerance) if mm is None else mm)


def reversed_along(geometry: Geometry, axes: Sequence[int]) -> Geometry:
    """The same voxels counted backwards along these index axes (0 is x)."""
    matrix, last = geometry.affine, np.zeros(3)
    columns = geometry.axes.copy()
    for axis in axes:
        last[axis] = geometry.size[axis] - 1
        columns[:, axis] *= -1
    x, y, z = (float(mm) for mm in (matrix @ (*last, 1.0))[:3])
    return replace(geometry, origin=(x, y, z), direction=tuple(float(d) for d in columns.ravel()))


def reversed_axes(own: Geometry, other: Geometry) -> tuple[int, ...] | None:
    """The index axes (0 is x) along which `own` has to be counted backwards to be `other`; None where no reversal makes
    it that grid."""
    ways = ((), *((axis,) for axis in range(3)), (0, 1), (0, 2), (1, 2), (0, 1, 2))
    return next((axes for axes in ways if reversed_along(own, axes).close_to(other)), None)


def flipped(array: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """The array (Z, Y, X) counted backwards along these index axes (0 is x), contiguous."""
    return np.ascontiguousarray(np.flip(array, tuple(2 - axis for axis in axes))) if axes else array


LARGEST_VALUE = 3e38  # of a voxel: 32-bit floats hold it


@dataclass(frozen=True)
class Volume:
    """A scalar image: array (Z, Y, X) of any integer or float dtype.

    `real_spacing` is False where the file states no spacing (pictures, or the bare default header): then
    neither mm nor mL are given. `modality`, `description` and the `date` of the study (YYYY-MM-DD) come from DICOM and
    are empty elsewhere.
    """

    array: np.ndarray
    geometry: Geometry
    name: str = "volume"
    modality: str = ""
    description: str = ""
    real_spacing: bool = True
    warnings: tuple[str, ...] = ()
    date: str = ""

    @property
    def sequence(self) -> str:
        """What tells the sequence: the description, else the name, because a file's name often contains it."""
        return self.description or self.name.replace("_", " ")


def check_voxels(volume: Volume) -> None:
    """Raise InputError when a voxel is NaN, infinite or too large for 32 bits: models would take it for what it is
    not. Volumes that MedTL reads have none."""
    if volume.array.dtype.kind == "f":
        low, high = float(volume.array.min()), float(volume.array.max())  # NaN where any voxel is
        if not -LARGEST_VALUE <= low <= high <= LARGEST_VALUE:
            raise InputError(
                f"Expected finite voxels that 32-bit numbers can hold in {volume.name}, found values from {low:g} to "
                f"{high:g}. Replace them."
            )


@dataclass(frozen=True)
class Segment:
    """One label of a labelmap. `id` is `<model>.<label id>`; colour is RGB in 0..1."""

    value: int
    id: str
    name: str
    colour: tuple[float, float, float] = (0.9, 0.2, 0.2)
    terminology: str = ""
    tags: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Labelmap:
    """Labels: array uint8 or uint16 (Z, Y, X), 0 is background. `warnings` has what reading had to change.

    Where segments of a file overlap, the array has the later one. `covered` has the voxels that a segment lost in this
    way, int64 (n, 2): the label value and the voxel's flat index into the array. `real_spacing` is as of a Volume.
    """

    array: np.ndarray
    geometry: Geometry
    segments: tuple[Segment, ...] = ()
    warnings: tuple[str, ...] = ()
    covered: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    real_spacing: bool = True

    def mask(self, *values: int) -> np.ndarray:
        """The voxels with one of these labels, bool (Z, Y, X), also those that a later segment covers."""
        mask: np.ndarray = self.array == values[0] if len(values) == 1 else np.isin(self.array, values)
        np.put(mask, self.covered[np.isin(self.covered[:, 0], values), 1], True)
        return mask


COUNTED = 500_000  # voxels at once: bincount makes eight bytes of each


def voxel_counts(numbers: np.ndarray) -> np.ndarray:
    """How many voxels of a contiguous array have the value 0, 1, 2 and so on, int64."""
    flat, counts = numbers.reshape(-1), np.zeros(int(numbers.max(initial=0)) + 1, np.int64)
    for begin in range(0, flat.size, COUNTED):
        counts += np.bincount(flat[begin : begin + COUNTED], minlength=len(counts))
    return counts


def label_boxes(labels: np.ndarray) -> dict[int, tuple[slice, slice, slice]]:
    """The box around each value of the labels (Z, Y, X), no negative ones, but 0: by value, in order.

    However many values there are, every voxel is looked at once: only the ends of runs along x count.
    """
    depth, rows, columns = labels.shape
    size = int(labels.max(initial=0)) + 1
    low, high = np.full((3, size), max(labels.shape), np.int64), np.full((3, size), -1, np.int64)
    begins = np.ones((rows, columns), bool)
    for z in range(depth):
        plane = labels[z]
        if not plane.any():
            continue
        np.not_equal(plane[:, 1:], plane[:, :-1], out=begins[:, 1:])
        starts = np.flatnonzero(begins)
        ends = np.append(starts[1:], rows * columns) - 1
        values = plane.ravel()[starts]
        used = values != 0
        values, starts, ends = values[used], starts[used], ends[used]
        for axis, first, last in ((1, starts // columns, starts // columns), (2, starts % columns, ends % columns)):
            np.minimum.at(low[axis], values, first)
            np.maximum.at(high[axis], values, last)
        low[0, values] = np.minimum(low[0, values], z)
        high[0, values] = z
    return {
        int(value): (
            slice(int(low[0, value]), int(high[0, value]) + 1),
            slice(int(low[1, value]), int(high[1, value]) + 1),
            slice(int(low[2, value]), int(high[2, value]) + 1),
        )
        for value in np.flatnonzero(high[0] >= 0)
    }


def check_same_grid(labels: Geometry, image: Geometry, labels_name: object, image_name: object) -> None:
    """Raise InputError where labels do not lie on the grid of their image, by `Geometry.close_to`."""
    if labels.close_to(image):
        return
    if labels.size != image.size:
        found = f"{_sizes(labels)} voxels beside {_sizes(image)}"
    else:
        found = f"voxels up to {labels.distance(image):.3g} mm beside those of the image"
    raise InputError(
        f"Expected {labels_name} on the grid of {image_name}, found {found}. Resample the labels onto the image."
    )


def on_grid_of(image: Volume, labels: Labelmap, labels_name: object, image_name: object) -> Labelmap:
    """The labels on the grid of their image. Those that state no spacing take that of an image of their size.

    Raises: InputError where they lie on another grid.
    """
    bare = image.real_spacing and not labels.real_spacing
    if bare and labels.geometry.size == image.geometry.size:
        return replace(labels, geometry=image.geometry, real_spacing=True)
    check_same_grid(labels.geometry, image.geometry, labels_name, image_name)
    return labels


def _sizes(geometry: Geometry) -> str:
    return " × ".join(str(n) for n in geometry.size)


def geometry_of(image: sitk.Image) -> Geometry:
    """The geometry of a 3D SimpleITK image; of a 4D one that of its frames."""
    if image.GetDimension() == 4:
        image = image[:, :, :, 0]
    x, y, z = (int(n) for n in image.GetSize())
    sx, sy, sz = (float(s) for s in image.GetSpacing())
    ox, oy, oz = (float(o) for o in image.GetOrigin())
    return Geometry((x, y, z), (sx, sy, sz), (ox, oy, oz), tuple(float(d) for d in image.GetDirection()))


def to_sitk(array: np.ndarray, geometry: Geometry) -> sitk.Image:
    """The array (Z, Y, X) on its grid as a SimpleITK image."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    return image


def slice_axis(plane: str, direction: Sequence[float]) -> int:
    """The index axis (0 is x) along which slices of the plane are taken: the one nearest its normal."""
    row = 3 * (2 - PLANES.index(plane))  # axial slices follow each other along S, coronal along P, sagittal along L
    return max(range(3), key=lambda index: abs(direction[row + index]))


def voxels_sha256(array: np.ndarray) -> str:
    """SHA-256 of an image's voxels in (Z, Y, X) order, which identifies an image in any file format."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def array_axis(geometry: Geometry, plane: str) -> int:
    """The axis of the (Z, Y, X) array along which the plane's slices lie."""
    return 2 - slice_axis(plane, geometry.direction)
