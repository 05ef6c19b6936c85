"""A synthetic FLAIR head with a known lesion, for the demo, self-tests and exact tests of geometry.

The head is a function of the position in LPS millimetres with its centre at the origin: every grid, also an oblique,
flipped or coarser one, samples the same head. Only the noise belongs to the voxels.
"""

import csv
import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .errors import InputError
from .io.into_place import already_exists
from .io.write import write_image, write_labelmap, write_whole
from .volume import Geometry, Labelmap, Segment, Volume

LESION = Segment(1, "phantom.lesion", "Lesion")


def _oblique(tilt: float, turn: float) -> tuple[float, ...]:
    """A direction: tilted by `tilt` degrees about the left-right axis, then turned about the long axis."""
    (a, b), (c, d) = (np.cos(np.radians((tilt, turn))), np.sin(np.radians((tilt, turn))))
    nod = np.array([[1.0, 0.0, 0.0], [0.0, a, c], [0.0, -c, a]])
    return tuple(float(v) for v in (np.array([[b, -d, 0.0], [d, b, 0.0], [0.0, 0.0, 1.0]]) @ nod).ravel())


# As head scans commonly lie.
OBLIQUE = _oblique(10.0, 4.0)
# Brightness on FLAIR against white matter.
FAT, BONE, MUSCLE, FLUID, GREY, WHITE = 2.1, 0.12, 0.55, 0.16, 1.14, 1.0


@dataclass(frozen=True)
class Phantom:
    """A head and the truth about its lesion on the same grid."""

    volume: Volume
    labelmap: Labelmap

    @property
    def lesion_ml(self) -> float:
        """Volume of the lesion in mL: its voxels, exactly."""
        return float(np.count_nonzero(self.labelmap.array) * self.labelmap.geometry.voxel_ml)


def head(
    seed: int = 0,
    size: tuple[int, int, int] = (224, 224, 24),
    spacing: tuple[float, float, float] = (1.0, 1.0, 5.0),
    direction: tuple[float, ...] = OBLIQUE,
    lesion: bool = True,
) -> Phantom:
    """A head: volume int16 (Z, Y, X), labelmap uint8 with 1 where the lesion makes up more than half of a voxel.

    `size` and `spacing` (mm) are (x, y, z), `direction` as in `Geometry`; the grid is centred 18 mm above the
    middle of the head. One seed gives one head whatever the grid, with the lesion or (`lesion=False`) without it.
    """
    axes = np.array(direction, dtype=np.float64).reshape(3, 3)
    middle = axes @ ((np.array(size) - 1) / 2 * np.array(spacing))
    x, y, z = (float(v) for v in np.array([0.0, 0.0, 18.0]) - middle)
    geometry = Geometry(size, spacing, (x, y, z), direction)
    rng = np.random.default_rng(seed)
    signal, mixing = _signal(rng, _positions(geometry), lesion)
    level = rng.uniform(180.0, 420.0)
    sigma = rng.uniform(0.02, 0.035)
    real, imaginary = sigma * rng.standard_normal((2, *geometry.shape), dtype=np.float32)
    array = np.rint(level * np.hypot(signal + real, imaginary)).astype(np.int16)
    name = f"phantom-{seed}"
    volume = Volume(array, geometry, name, modality="MR", description="Synthetic FLAIR head")
    return Phantom(volume, Labelmap((mixing > 0.5).astype(np.uint8), geometry, (LESION,)))


def write(folder: Path, count: int = 1, seed: int = 0) -> Path:
    """The case list `cases.csv` of `count` heads (seeds from `seed` on) that were written into `folder` with it.

    Each head is `phantom-<seed>_image.nrrd` and `phantom-<seed>_label.nrrd`.

    Raises: InputError when the folder cannot be written or holds the case list or the images of
    something else.
    """
    seeds = range(seed, seed + count)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("image", "label", "patient", "site"))
    rows.writerows((f"phantom-{s}_image.nrrd", f"phantom-{s}_label.nrrd", f"phantom-{s}", "phantom") for s in seeds)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Could not make the folder {folder}: {error.strerror}. Choose another folder.") from error
    cases = folder / "cases.csv"
    if cases.exists() and cases.read_bytes() != text.getvalue().encode():
        raise InputError(f"{cases} exists already and lists other cases. Choose another folder or remove that file.")
    images = [folder / f"phantom-{s}_{kind}.nrrd" for s in seeds for kind in ("image", "label")]
    if not cases.exists() and (taken := [image for image in images if os.path.lexists(image)]):
        raise already_exists(taken[0], "The output")
    for s in seeds:
        made = head(s)
        write_image(folder / f"phantom-{s}_image.nrrd", made.volume.array, made.volume.geometry)
        write_labelmap(folder / f"phantom-{s}_label.nrrd", made.labelmap)
    write_whole(cases, lambda part: part.write_bytes(text.getvalue().encode()))
    return cases


def _positions(geometry: Geometry) -> np.ndarray:
    """LPS mm of every voxel, float32 (3, Z, Y, X)."""
    x, y, z = (np.arange(n, dtype=np.float32) for n in geometry.size)
    index = np.broadcast_arrays(x[None, None, :], y[None, :, None], z[:, None, None])
    affine = geometry.affine.astype(np.float32)
    return np.stack([sum(affine[i, j] * index[j] for j in range(3)) + affine[i, 3] for i in range(3)])


def _noise(rng: np.random.Generator, points: np.ndarray, mm: float, waves: int = 20) -> np.ndarray:
    """Smooth noise of standard deviation 1 whose blobs are about `mm` wide, float32 of points' grid.

    A sum of plane waves: band-limited, and defined at any position.
    """
    vectors = rng.standard_normal((waves, 3))
    vectors *= (np.pi / mm) * rng.uniform(0.75, 1.3, (waves, 1)) / np.linalg.norm(vectors, axis=1, keepdims=True)
    phases = rng.uniform(0.0, 2 * np.pi, waves)
    total = np.zeros(points.shape[1:], dtype=np.float32)
    for (a, b, c), phase in zip(vectors.astype(np.float32), phases.astype(np.float32), strict=True):
        total += np.cos(a * points[0] + b * points[1] + c * points[2] + phase)
    return total * np.float32(np.sqrt(2.0 / waves))


def _step(depth: np.ndarray, width: float = 1.5) -> np.ndarray:
    """0 outside, 1 inside, a linear ramp of `width` mm between: a voxel at a border holds both tissues."""
    ramp: np.ndarray = np.clip(depth / np.float32(width) + np.float32(0.5), 0.0, 1.0)
    return ramp


def _blend(below: np.ndarray, weight: np.ndarray, above: np.ndarray | float) -> np.ndarray:
    mixed: np.ndarray = below + weight * (above - below)
    return mixed


def _ellipsoid(points: np.ndarray, centre: tuple[float, float, float], axes: tuple[float, ...]) -> np.ndarray:
    """Depth below the surface in mm, negative outside; to first order."""
    x, y, z = ((points[i] - np.float32(centre[i])) / np.float32(axes[i]) for i in range(3))
    a, b, c = axes
    radius = np.sqrt(x * x + y * y + z * z)
    slope = np.sqrt((x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2)
    depth: np.ndarray = (1.0 - radius) * radius / np.maximum(slope, np.float32(1e-6))
    return depth


def _tube(points: np.ndarray, start: tuple[float, ...], end: tuple[float, ...], radius: float) -> np.ndarray:
    """Depth below the surface of a round-ended tube in mm, negative outside."""
    along = np.array(end) - np.array(start)
    x, y, z = (points[i] - np.float32(start[i]) for i in range(3))
    a, b, c = (float(v) for v in along)
    share = np.clip((a * x + b * y + c * z) / float(along @ along), 0.0, 1.0)
    depth: np.ndarray = radius - np.sqrt((x - share * a) ** 2 + (y - share * b) ** 2 + (z - share * c) ** 2)
    return depth


def _signal(rng: np.random.Generator, points: np.ndarray, lesion: bool) -> tuple[np.ndarray, np.ndarray]:
    """Brightness against white matter without noise, and the lesion's share of each voxel; float32 (Z, Y, X)."""
    points = points / rng.uniform(0.96, 1.04, (3, 1, 1, 1)).astype(np.float32)
    x, y, z = points
    mirrored = np.stack([np.abs(x), y, z])
    wobble = _noise(rng, points, 45.0)
    skin = np.where(
        z > 0, _ellipsoid(points, (0, 0, 0), (74, 93, 88)), _ellipsoid(points, (0, 0, 0), (74, 93, 190))
    ) + (0.8 * wobble)
    inner = skin - np.float32(12.0) - 0.7 * wobble
    brain = _brain_depth(points, mirrored, inner)

    value = _blend(np.zeros_like(x), _step(skin), _outside_the_brain(rng, points, mirrored, skin))
    value = _blend(value, _step(inner + 2.0) * _step(z + 17, 6.0), FLUID)
    tissue, fluid = _tissue(rng, points, mirrored, brain, inner)
    mixing = _lesion_share(rng, points, _step(brain) * (1 - _step(_ventricles(mirrored, wobble))))
    heat = rng.uniform(1.45, 1.75) + 0.13 * _noise(rng, points, 9.0)
    if not lesion:
        mixing = np.zeros_like(mixing)
    # Swelling narrows the sulci within a lesion.
    tissue = _blend(tissue, fluid * (1 - 0.8 * mixing), FLUID)
    tissue = _blend(tissue, mixing, heat)
    tissue = _blend(tissue, _step(_ventricles(mirrored, wobble)), FLUID)
    value = _blend(value, _step(brain), tissue)
    bias = np.exp(0.08 * _noise(rng, points, 130.0, 8) + 0.04 * _noise(rng, points, 70.0, 8))
    return value * bias, mixing


def _brain_depth(points: np.ndarray, mirrored: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Depth below the brain's surface: the cerebrum within the skull, temporal lobes, cerebellum and stem."""
    cerebrum = np.minimum(inner, points[2] + 18.0 - 0.08 * np.maximum(-20 - points[1], 0.0))
    low = (
        _ellipsoid(mirrored, (36, -4, -22), (25, 44, 20)),
        _ellipsoid(mirrored, (22, 44, -34), (32, 34, 29)),
        _ellipsoid(points, (0, 14, -35), (14, 13, 50)),
        _ellipsoid(points, (0, 2, -12), (24, 24, 15)),
    )
    depth: np.ndarray = np.maximum(cerebrum, np.minimum(np.maximum.reduce(low), inner))
    return depth


def _outside_the_brain(
    rng: np.random.Generator, points: np.ndarray, mirrored: np.ndarray, skin: np.ndarray
) -> np.ndarray:
    """Scalp, skull, and below the brain bone, muscle, fat and the eyes."""
    texture = _noise(rng, points, 7.0)
    scalp = FAT + 0.15 * texture + 0.3 * _noise(rng, points, 60.0, 8) - 0.5 * _step(1.2 - skin)
    skull = BONE + 0.2 * _step(1.5 - np.abs(skin - 8.5)) * (1 + 0.5 * texture)
    face = np.clip(MUSCLE + 0.35 * _noise(rng, points, 14.0) + 0.25 * texture, BONE, FAT)
    below = _step(-points[2] - 20 - 0.1 * points[1], 8.0)
    value = _blend(_blend(skull, _step(skin - 11) * below, face), _step(5.2 + 0.4 * texture - skin), scalp)
    orbit = _ellipsoid(mirrored, (30, -62, -30), (16, 26, 15))
    eye = _ellipsoid(mirrored, (31, -72, -30), (12, 12, 12))
    return _blend(_blend(value, _step(np.minimum(orbit, skin - 3)), FAT), _step(eye), FLUID)


def _ventricles(mirrored: np.ndarray, wobble: np.ndarray) -> np.ndarray:
    """Depth below the wall of the ventricles in mm, negative outside."""
    parts = (
        _tube(mirrored, (4.5, -2, 21), (11, -30, 12), 3.6),
        _tube(mirrored, (4.5, -2, 21), (19, 26, 12), 4.0),
        _tube(mirrored, (19, 26, 12), (22, 44, 6), 3.2),
        _tube(mirrored, (19, 26, 10), (30, 4, -16), 2.2),
        _tube(mirrored, (0, -8, 1), (0, 10, 5), 2.0),
        _tube(mirrored, (0, 26, -36), (0, 30, -32), 3.5),
    )
    depth: np.ndarray = np.maximum.reduce(parts) + 0.5 * wobble
    return depth


def _tissue(
    rng: np.random.Generator, points: np.ndarray, mirrored: np.ndarray, brain: np.ndarray, inner: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Grey and white matter, and the share of fluid in sulci and fissures."""
    x, y, z = points
    # Mostly the direction from the centre decides, so folds run inwards from the surface.
    radius = np.maximum(np.sqrt((x / 0.8) ** 2 + y**2 + z**2), np.float32(1.0))
    folds = _noise(rng, points * (0.25 + 0.75 * 65.0 / np.maximum(radius, np.float32(25.0))), 11.0, 40)
    to_fold = np.abs(folds) * np.float32(11.0 / np.pi)
    reach = np.maximum(14.0 + 5.0 * _noise(rng, points, 25.0), 4.0)
    sulci = _step(np.minimum(1.6 * (1 - inner / reach) - to_fold, z + 12), 1.4)
    wiggle = 0.9 * _noise(rng, points, 20.0)
    core = _ellipsoid(points, (0, 2, 4), (200, 34, 26))
    falx = _step(np.minimum(0.9 - np.abs(x + wiggle), np.minimum(-core, z + 12)), 1.4)
    sylvian = _step(
        np.maximum(_tube(mirrored, (33, -22, -5), (47, 0, -5), 2.4), _tube(mirrored, (34, -20, 4), (50, 6, 5), 2.4))
        + wiggle
    )
    fluid = np.maximum.reduce([sulci, 0.75 * falx, sylvian * 0.9])
    depth = np.minimum(brain, np.maximum(to_fold - 1.0, 0.8 * (inner - reach)))
    deep = np.maximum(_ellipsoid(mirrored, (11, 6, 7), (8, 13, 9)), _ellipsoid(mirrored, (22, -8, 5), (7, 16, 9)))
    grey = np.maximum(_step(3.0 - depth, 2.0), 0.7 * _step(deep, 3.0))
    tissue = WHITE + (GREY - WHITE) * grey + 0.03 * _noise(rng, points, 3.0, 48) + 0.03 * _noise(rng, points, 12.0)
    return tissue, fluid


def _lesion_share(rng: np.random.Generator, points: np.ndarray, room: np.ndarray) -> np.ndarray:
    """The lesion's share of each voxel: lumpy, with a soft border, on one side of the midline."""
    side = rng.choice((-1.0, 1.0))
    centre = (side * rng.uniform(29, 37), rng.uniform(-35, 25), rng.uniform(18, 38))
    first = _ellipsoid(points, centre, tuple(rng.uniform(15, 21, 3)))
    beside = (centre[0] + rng.uniform(-8, 8), centre[1] + rng.uniform(-16, 16), centre[2] + rng.uniform(-8, 8))
    second = _ellipsoid(points, beside, tuple(rng.uniform(9, 14, 3)))
    depth = np.maximum(first, second) + 2.0 * _noise(rng, points, 13.0) + 0.8 * _noise(rng, points, 6.0)
    share: np.ndarray = _step(depth, 4.0) * _step(np.float32(side) * points[0] - 3.0) * room
    return share
