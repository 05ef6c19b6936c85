"""Volumes and their geometry; reading and writing them.

Arrays are (Z, Y, X); a `Geometry` is LPS millimetres in (x, y, z) order, as ITK has it.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import SimpleITK as sitk

from .errors import InputError

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")
VOLUMES = (".seg.nrrd", ".nrrd", ".nhdr", ".nii.gz", ".nii", ".mha", ".mhd")
OUTPUTS = (".seg.nrrd", ".nrrd", ".nii.gz")

T = TypeVar("T")


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

    def distance(self, other: "Geometry") -> float:
        """How far a voxel lies from its twin on the other grid, mm on an axis at most; infinite where sizes differ."""
        if self.size != other.size:
            return float("inf")
        corners = np.array([[x, y, z, 1] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=np.float64)
        corners[:, :3] *= np.array(self.size) - 1
        return float(np.abs(corners @ (self.affine - other.affine).T).max())

    def close_to(self, other: "Geometry", mm: float = 1e-3) -> bool:
        """True when both grids have one size and all their voxels lie within `mm` of each other on each axis."""
        return self.distance(other) <= mm


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


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add the file to the message of a Geometry that cannot be."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{error} The file is {path}.") from error


def data_files(path: Path) -> tuple[Path, ...]:
    """The files an input consists of: itself with the detached data of a header, or all files below a folder."""
    from .io.itk import detached_files

    try:
        if path.is_dir():
            return tuple(sorted(file for file in path.rglob("*") if file.is_file()))
        return (path, *detached_files(path))
    except OSError:  # nothing there, or not to be read
        return (path,)


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
    from .io.itk import chosen, kind_of, read_itk, read_picture, states_spacing

    kind = kind_of(path)
    if kind == "DICOM":
        from .io.dicom import read_dicom

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
    with naming(path):
        geometry = geometry_of(image)
    real = states_spacing(path, kind, geometry)
    return _checked(Volume(sitk.GetArrayFromImage(image), geometry, stem_of(path), real_spacing=real), path)


def _checked(volume: Volume, path: Path) -> Volume:
    """The volume with finite voxels that are not all alike and that 32-bit floats can hold."""
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
            f"Expected an image or a labelmap that shows something, found the value {array.flat[0]:g} in every voxel "
            f"of {path}. Choose another."
        )
    largest = max(abs(float(array.min())), abs(float(array.max())))
    if not 1e-30 <= largest <= 3e38:
        raise InputError(
            f"Expected values that 32-bit numbers can hold, found magnitudes up to {largest:g} in {path}. "
            "Scale them in the program that wrote it."
        )
    return volume


def read_labelmap(path: Path) -> Labelmap:
    """The labels of a file, uint16 (Z, Y, X), with the segments that a `.seg.nrrd` names.

    Overlapping segments (layers of a `.seg.nrrd`) are merged, the later one wins, and `warnings` says so; where
    Slicer gave the same value to several of them, they are numbered from 1 in their order.

    Raises: InputError, also where a value is not a whole number from 0 to 65535.
    """
    from .io.itk import chosen, kind_of, read_itk, read_picture
    from .io.seg_nrrd import merged, segments_of

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
    with naming(path):
        geometry = geometry_of(image)
    if array.ndim == 3:
        return Labelmap(array, geometry, tuple(segment for segment, _ in found))
    layers = array if image.GetDimension() == 4 else np.moveaxis(array, -1, 0)
    if not found:
        chosen(path, "layer", None, len(layers))
    return merged(layers, geometry, found, path)


def _as_labels(array: np.ndarray, path: Path) -> np.ndarray:
    whole = array.dtype.kind in "iu" or bool((np.isfinite(array) & (array == np.rint(array))).all())
    if not whole or array.min() < 0 or array.max() > 65535:
        raise InputError(
            f"Expected whole numbers from 0 to 65535 as labels, found values from {array.min():g} to {array.max():g} "
            f"in {path}. Choose the labelmap, not the image."
        )
    return array.astype(np.uint16)


def identities(sources: Iterable[Path]) -> set[tuple[int, int]]:
    """Device and number of every file that the inputs consist of: no other name, link or spelling hides one."""
    found = set()
    for file in (file for source in sources for file in data_files(source)):
        with suppress(OSError):  # reading it will say what is wrong
            stat = file.stat()
            found.add((stat.st_dev, stat.st_ino))
    return found


def check_output(file: Path, inputs: set[tuple[int, int]], force: bool) -> None:
    """Raise InputError when the output belongs to an input (`identities` of them), exists and may not be replaced, has
    no folder to lie in that can be written, or a suffix that cannot be written."""
    if suffix_of(file) not in (*OUTPUTS, ".nii", ".mha"):
        raise InputError(f"Expected an output that ends in {', '.join(OUTPUTS)}, found {file.name}. Rename it.")
    if file.is_file() and identities([file]) & inputs:
        raise InputError(f"The output {file} is an input or a part of one. Choose another output.")
    if file.is_dir():
        raise InputError(f"Expected a file name for the output, found the folder {file}. Choose a file.")
    if file.exists() and not force:
        raise InputError(f"The output {file} exists already. Use --force to replace it, or choose another name.")
    if not file.parent.is_dir():
        raise InputError(f"The folder {file.parent} does not exist. Create it or choose another output.")
    if not os.access(file.parent, os.W_OK):
        raise InputError(f"The folder {file.parent} is read-only. Choose a folder that you may write to.")


def write_whole(path: Path, write: Callable[[Path], T]) -> T:
    """What `write` returns, called with a temporary path that is then renamed: the file is whole or not there at all.

    Raises: InputError when the folder is missing or cannot be written, or the disk is full.
    """
    part = path
    try:
        if not path.parent.is_dir():
            raise InputError(f"The folder {path.parent} does not exist. Create it or choose another output.")
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".medtl-") as folder:
            part = Path(folder) / path.name
            result = write(part)
            part.replace(path)
        return result
    except (OSError, RuntimeError) as error:
        from .io.itk import plain_reason

        reason = error.strerror if isinstance(error, OSError) else None
        reason = reason or plain_reason(str(error).replace(str(part), str(path)))
        full = "" if isinstance(error, OSError) else "; the disk may be full"
        raise InputError(
            f"Could not write {path}: {reason}{full}. Choose a folder with space that you may write to."
        ) from error


def write_labelmap(path: Path, labelmap: Labelmap) -> tuple[str, ...]:
    """Write the labelmap whole or not at all and return warnings (see `store_labelmap`).

    Raises: InputError when the suffix is unknown or the file cannot be written.
    """
    return write_whole(path, lambda part: store_labelmap(part, labelmap))


def write_image(path: Path, array: np.ndarray, geometry: Geometry) -> tuple[str, ...]:
    """Write an image whole or not at all and return warnings (see `store_image`).

    Raises: InputError when the suffix is unknown or the file cannot be written.
    """
    return write_whole(path, lambda part: store_image(part, array, geometry))


def store_labelmap(path: Path, labelmap: Labelmap) -> tuple[str, ...]:
    """Write the labelmap, `.seg.nrrd` with names, colours, terminology and tags, inside a `write_whole`.

    Voxels are uint8 where the labels fit, else uint16. NRRD keeps every voxel's place to 1e-9 mm. NIfTI stores
    geometry as float32: the origin is kept to 2e-5 mm and the far corner of a 512³ grid to 3e-4 mm (measured).
    A place that is off by more than 1e-6 mm is the warning that comes back.

    Raises: InputError when the suffix is unknown; OSError or RuntimeError when writing fails.
    """
    from .io.seg_nrrd import segment_keys

    small = labelmap.array.size == 0 or labelmap.array.max() < 256
    image = to_sitk(labelmap.array.astype(np.uint8 if small else np.uint16), labelmap.geometry)
    if suffix_of(path) == ".seg.nrrd":
        for key, value in segment_keys(labelmap).items():
            image.SetMetaData(key, value)
    return _store(path, image, labelmap.geometry)


def store_image(path: Path, array: np.ndarray, geometry: Geometry) -> tuple[str, ...]:
    """Write a scalar array (Z, Y, X), or several channels (C, Z, Y, X) as a vector image, inside a `write_whole`.

    Returns warnings and raises as `store_labelmap` does.
    """
    image = to_sitk(array, geometry) if array.ndim == 3 else sitk.Compose([to_sitk(a, geometry) for a in array])
    return _store(path, image, geometry)


def _store(path: Path, image: sitk.Image, geometry: Geometry) -> tuple[str, ...]:
    from .io.itk import kind_of, quiet_stderr, read_itk

    if suffix_of(path) not in (*OUTPUTS, ".nii", ".mha"):
        raise InputError(f"Expected an output that ends in {', '.join(OUTPUTS)}, found {path.name}. Rename it.")
    with quiet_stderr():
        sitk.WriteImage(image, str(path), True)
    try:  # ITK notices a full disk only sometimes
        back = geometry_of(read_itk(path, kind_of(path), None, layers=True))
    except InputError as error:
        raise OSError("what was written is not whole, the disk may be full") from error
    moved = geometry.distance(back)
    if moved <= 1e-6:
        return ()
    return (
        f"Voxels in {path.name} lie up to {moved:.1g} mm beside those of the image, for the format stores positions "
        "with fewer digits. Write .seg.nrrd or .nrrd where that matters.",
    )
