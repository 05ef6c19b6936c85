"""Volumes and their geometry; reading and writing them.

Arrays are (Z, Y, X); a `Geometry` is LPS millimetres in (x, y, z) order, as ITK has it.
"""

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from .errors import InputError

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")
VOLUMES = (".seg.nrrd", ".nrrd", ".nhdr", ".nii.gz", ".nii", ".mha", ".mhd")
OUTPUTS = (".seg.nrrd", ".nrrd", ".nii.gz")


@dataclass(frozen=True)
class Geometry:
    """A voxel grid in LPS millimetres: size, spacing and origin are (x, y, z).

    `direction` is the 3×3 matrix row by row, its columns are the unit vectors of the x, y and z index axes.

    Raises: InputError when the spacing is not positive or the axes are not orthonormal.
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

    def __post_init__(self) -> None:
        if not all(np.isfinite(s) and s > 0 for s in self.spacing):
            raise InputError(f"Expected spacings above 0 mm, found {self.spacing}. Correct the header of the file.")
        axes = self.axes
        if not np.isfinite(axes).all() or not np.allclose(axes.T @ axes, np.eye(3), atol=1e-3):
            raise InputError(
                f"Expected orthonormal axes, found the direction {tuple(round(float(d), 4) for d in self.direction)}. "
                "Resample a sheared volume onto a regular grid first."
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

    def close_to(self, other: "Geometry", mm: float = 1e-3) -> bool:
        """True when both grids have one size and all their voxels lie within `mm` of each other."""
        if self.size != other.size:
            return False
        corners = np.array([[x, y, z, 1] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=np.float64)
        corners[:, :3] *= np.array(self.size) - 1
        return bool(np.abs(corners @ (self.affine - other.affine).T).max() <= mm)


@dataclass(frozen=True)
class Volume:
    """A scalar image: array (Z, Y, X) of any integer or float dtype.

    `real_spacing` is False where the file states no spacing (pictures, or the bare default header): then
    neither mm nor mL are given. `modality` and `description` come from DICOM and are empty elsewhere.
    """

    array: np.ndarray
    geometry: Geometry
    name: str = "volume"
    modality: str = ""
    description: str = ""
    real_spacing: bool = True
    warnings: tuple[str, ...] = ()


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
    """Labels: array uint8 or uint16 (Z, Y, X), 0 is background. `warnings` says what reading had to change."""

    array: np.ndarray
    geometry: Geometry
    segments: tuple[Segment, ...] = ()
    warnings: tuple[str, ...] = ()


def suffix_of(path: Path) -> str:
    """The known suffix of a file name, `.seg.nrrd` and `.nii.gz` included; else the plain one, in lower case."""
    name = path.name.lower()
    return next((s for s in (*VOLUMES, *PICTURES) if name.endswith(s)), path.suffix.lower())


def stem_of(path: Path) -> str:
    """The name without its suffix; a folder's whole name."""
    if path.is_dir():
        return path.resolve().name
    suffix = suffix_of(path)
    return path.name[: len(path.name) - len(suffix)] if suffix else path.name


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


def read_volume(
    path: Path, *, frame: int | None = None, component: int | None = None, series: str | None = None
) -> Volume:
    """The volume of a file or DICOM folder, its array (Z, Y, X) in the dtype of the file, native byte order.

    `frame` chooses from a 4D file, `component` from a colour one (both 0-based), `series` the DICOM series (the
    UID or a unique beginning of it). Pictures have depth 1. Voxels that are NaN or infinite become the smallest
    finite value, with a warning, where they are under 1 %.

    Raises: InputError naming what was expected, what was found and what to do.
    """
    from .imagefile import chosen, is_bare, kind_of, read_itk, read_picture

    kind = kind_of(path)
    if kind == "DICOM":
        from .dicom import read_dicom

        chosen(path, "frame", frame or 0, 1)
        chosen(path, "component", component or 0, 1)
        return _checked(read_dicom(path, series), path)
    if series is not None:
        raise InputError(f"Expected a DICOM folder for --series, found the {kind} file {path}. Leave --series out.")
    if kind == "picture":
        array, geometry = read_picture(path, frame, component)
        return _checked(Volume(array, geometry, stem_of(path), real_spacing=False), path)
    image = read_itk(path, kind, frame)
    components = image.GetNumberOfComponentsPerPixel()
    index = chosen(path, "component", component, components)
    if components > 1:
        image = sitk.VectorIndexSelectionCast(image, index)
    geometry = geometry_of(image)
    volume = Volume(sitk.GetArrayFromImage(image), geometry, stem_of(path), real_spacing=not is_bare(geometry, kind))
    return _checked(volume, path)


def _checked(volume: Volume, path: Path) -> Volume:
    """The volume with finite voxels that are not all alike."""
    array = volume.array
    bad = ~np.isfinite(array) if array.dtype.kind == "f" else np.zeros(1, dtype=bool)
    count = int(bad.sum())
    if count >= 0.01 * array.size and count:
        raise InputError(
            f"Expected finite voxels, found {count} of {array.size} that are NaN or infinite in {path}. "
            "Replace them in the program that wrote it."
        )
    if count:
        array = np.where(bad, array[~bad].min(), array)
        note = f"{count} voxels were NaN or infinite and count as {array.min():g}."
        volume = replace(volume, array=array, warnings=(*volume.warnings, note))
    if array.min() == array.max():
        raise InputError(
            f"Expected an image, found the value {array.flat[0]:g} in every voxel of {path}. Choose another."
        )
    return volume


def read_labelmap(path: Path) -> Labelmap:
    """The labels of a file, uint16 (Z, Y, X), with the segments that a `.seg.nrrd` names.

    Overlapping segments (layers of a `.seg.nrrd`) are merged, the later one wins, and `warnings` says so; where
    Slicer gave the same value to several of them, they are numbered from 1 in their order.

    Raises: InputError, also where a value is not a whole number from 0 to 65535.
    """
    from .imagefile import chosen, kind_of, read_itk, read_picture
    from .segnrrd import merged, segments_of

    kind = kind_of(path)
    if kind == "DICOM":
        raise InputError(
            f"Expected a labelmap file (.seg.nrrd, .nrrd, .nii.gz), found DICOM: {path}. Convert it first."
        )
    if kind == "picture":
        array, geometry = read_picture(path, None, None)
        return Labelmap(_as_labels(array, path), geometry)
    image = read_itk(path, kind, None, layers=True)
    found = segments_of({key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}, path)
    array = _as_labels(sitk.GetArrayFromImage(image), path)
    if array.ndim == 3:
        return Labelmap(array, geometry_of(image), tuple(segment for segment, _ in found))
    layers = array if image.GetDimension() == 4 else np.moveaxis(array, -1, 0)
    if not found:
        chosen(path, "layer", None, len(layers))
    return merged(layers, geometry_of(image), found, path)


def _as_labels(array: np.ndarray, path: Path) -> np.ndarray:
    whole = array.dtype.kind in "iu" or bool((np.isfinite(array) & (array == np.rint(array))).all())
    if not whole or array.min() < 0 or array.max() > 65535:
        raise InputError(
            f"Expected whole numbers from 0 to 65535 as labels, found values from {array.min():g} to {array.max():g} "
            f"in {path}. Choose the labelmap, not the image."
        )
    return array.astype(np.uint16)


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Call `write` with a temporary path beside `path`, then rename: the file is whole or not there at all.

    Raises: InputError when the folder is missing or cannot be written, or the disk is full.
    """
    if not path.parent.is_dir():
        raise InputError(f"The folder {path.parent} does not exist. Create it or choose another output.")
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".medtl-") as folder:
            part = Path(folder) / path.name
            write(part)
            part.replace(path)
    except (OSError, RuntimeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        reason = re.sub(r"\s+", " ", reason).strip()[-200:]
        raise InputError(
            f"Could not write {path}: {reason}. Choose a folder with space that you may write to."
        ) from error


def write_labelmap(path: Path, labelmap: Labelmap) -> None:
    """Write the labelmap whole or not at all; `.seg.nrrd` files carry names, colours, terminology and tags.

    Voxels are uint8 where the labels fit, else uint16. NRRD keeps every voxel's place to 1e-9 mm. NIfTI stores
    geometry as float32: the origin is kept to 2e-5 mm and the far corner of a 512³ grid to 3e-4 mm (measured),
    or to 1e-6 mm where the geometry came from a NIfTI file.

    Raises: InputError when the suffix is unknown or the file cannot be written.
    """
    from .segnrrd import segment_keys

    small = labelmap.array.size == 0 or labelmap.array.max() < 256
    image = to_sitk(labelmap.array.astype(np.uint8 if small else np.uint16), labelmap.geometry)
    if suffix_of(path) == ".seg.nrrd":
        for key, value in segment_keys(labelmap).items():
            image.SetMetaData(key, value)
    _write_itk(path, image)


def write_image(path: Path, array: np.ndarray, geometry: Geometry) -> None:
    """Write a scalar array (Z, Y, X), or several channels (C, Z, Y, X) as a vector image, whole or not at all.

    Raises: InputError when the suffix is unknown or the file cannot be written.
    """
    _write_itk(
        path, to_sitk(array, geometry) if array.ndim == 3 else sitk.Compose([to_sitk(a, geometry) for a in array])
    )


def _write_itk(path: Path, image: sitk.Image) -> None:
    from .imagefile import kind_of, quiet_stderr, read_itk

    if suffix_of(path) not in (*OUTPUTS, ".nii", ".mha"):
        raise InputError(f"Expected an output that ends in {', '.join(OUTPUTS)}, found {path.name}. Rename it.")

    def write(part: Path) -> None:
        sitk.WriteImage(image, str(part), True)
        try:  # ITK notices a full disk only sometimes
            read_itk(part, kind_of(part), None, layers=True)
        except InputError as error:
            raise OSError("what was written is not whole, the disk may be full") from error

    with quiet_stderr():
        write_whole(path, write)
