"""Shape features of the tumours of `kidney-ct-masks`, on true and on altered masks, kept in a file; for `renal.py`."""

import csv
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import distance_transform_edt

from medtl.classification.region import region_of
from medtl.classification.shape import FEATURES, shape_features
from medtl.errors import InputError
from medtl.io.read import read_labelmap
from medtl.measurement import components
from medtl.training.recipes.renal_malignancy import VALUES
from medtl.training.renal import Table
from medtl.volume import Geometry, Labelmap, to_sitk

MILLIMETRES = (1, 2, 3)
THICK_MM = 5.0
THIN_MM = 1.01


def altered(mask: np.ndarray, geometry: Geometry) -> dict[str, Callable[[], tuple[np.ndarray, Geometry]]]:
    """Masks (Z, Y, X) that a segmentation might have given for this one, by name, on 1 mm voxels; `thick` only where
    slices are thin: the mask itself, every so many slices that they lie 5 mm apart."""
    fine, grid = on_millimetres(mask, geometry)
    # Of a voxel's centre from the surface between voxels, mm.
    depth = distance_transform_edt(fine) - 0.5
    height = distance_transform_edt(~fine) - 0.5

    def smooth(mm: int) -> np.ndarray:
        smoothed = sitk.SmoothingRecursiveGaussian(to_sitk(fine.astype(np.float32), grid), float(mm))
        return np.asarray(sitk.GetArrayFromImage(smoothed) >= 0.5)

    found: dict[str, Callable[[], tuple[np.ndarray, Geometry]]] = {"1 mm grid": lambda: (fine, grid)}
    for mm in MILLIMETRES:
        found[f"eroded {mm} mm"] = lambda mm=mm: (fine & (depth >= mm), grid)
        found[f"dilated {mm} mm"] = lambda mm=mm: (fine | (height <= mm), grid)
        found[f"smoothed {mm} mm"] = lambda mm=mm: (smooth(mm), grid)
    if geometry.spacing[2] <= THIN_MM:
        found["thick"] = lambda: thick(mask, geometry)
    return found


def on_millimetres(mask: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, Geometry]:
    """The mask on a 1 mm grid around it, linear, with room for 6 mm more on all sides."""
    inside = np.argwhere(mask)
    spacing = np.array(geometry.spacing)
    room = np.ceil(6 / spacing).astype(int)[::-1]
    size = np.ptp(inside, axis=0) + 1 + 2 * room
    box = np.zeros(size, np.float32)
    box[tuple((inside - inside.min(axis=0) + room).T)] = 1
    wanted = [int(n * s) for n, s in zip(size[::-1], spacing)]
    z, y, x = map(int, size)
    image = to_sitk(box, Geometry((x, y, z), geometry.spacing))
    fine = sitk.Resample(image, wanted, sitk.Transform(), sitk.sitkLinear, (0.0,) * 3, (1.0,) * 3)
    return sitk.GetArrayFromImage(fine) >= 0.5, Geometry((wanted[0], wanted[1], wanted[2]))


def thick(mask: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, Geometry]:
    """Every so many slices of the mask that they lie 5 mm apart."""
    step = round(THICK_MM / geometry.spacing[2])
    x, y, _ = geometry.size
    array = mask[step // 2 :: step]
    sx, sy, sz = geometry.spacing
    return array, replace(geometry, size=(x, y, len(array)), spacing=(sx, sy, sz * step))


def as_drawn(mask: np.ndarray, geometry: Geometry) -> dict[str, float]:
    """Form features of the largest part measured on its voxels as they are, to show what the common grid is for."""
    indices = components(mask)[0]
    indices = indices - indices.min(axis=0) + 1
    x, y, z = (int(n) for n in np.ptp(indices, axis=0) + 3)
    array = np.zeros((z, y, x), np.uint8)
    array[tuple(indices.T[::-1])] = 1
    statistics = sitk.LabelShapeStatisticsImageFilter()
    statistics.ComputeOrientedBoundingBoxOn()
    statistics.Execute(to_sitk(array, Geometry((x, y, z), geometry.spacing)))
    return {
        "volume": float("nan"),
        "long_axis": max(statistics.GetEquivalentEllipsoidDiameter(1)),
        "sphericity": statistics.GetRoundness(1),
        "elongation": statistics.GetElongation(1),
        "flatness": statistics.GetFlatness(1),
        "extent": statistics.GetPhysicalSize(1) / float(np.prod(statistics.GetOrientedBoundingBoxSize(1))),
    }


def rows_of(labels: Labelmap) -> dict[str, dict[str, float] | None]:
    """Features by variant of the mask; None where a variant has no shape left."""
    mask = region_of(labels, None, VALUES)
    found: dict[str, dict[str, float] | None] = {"true": dict(shape_features(mask, labels.geometry).values)}
    for name, make in altered(mask, labels.geometry).items():
        array, geometry = make()
        try:
            found[name] = dict(shape_features(array, geometry).values)
        except InputError:
            found[name] = None
        if name == "thick" and array.any():
            found["thin, as drawn"] = as_drawn(mask, labels.geometry)
            found["thick, as drawn"] = as_drawn(array, geometry)
    return found


def measured_masks(cases: dict[str, Path], store: Path) -> dict[str, dict[str, list[float]]]:
    """Features (those of FEATURES) by variant and case, from the file `store` where they are in it already."""
    names = list(FEATURES)
    if not store.exists():
        store.write_text(",".join(["case", "variant", *names]) + "\n", encoding="utf-8")
    kept: dict[str, dict[str, list[float]]] = {}
    with store.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            kept.setdefault(row["variant"], {})[row["case"]] = [float(row[name]) for name in names]
    whole = kept.get("end", {})
    for done, (case, path) in enumerate(cases.items()):
        if case in whole:
            continue
        print(f"{done} of {len(cases)}: {case}", file=sys.stderr)
        lines = []
        for variant, values in (rows_of(read_labelmap(path)) | {"end": None}).items():
            kept.setdefault(variant, {})[case] = numbers = [(values or {}).get(name, float("nan")) for name in names]
            lines.append(",".join([case, f'"{variant}"', *(f"{x:.9g}" for x in numbers)]))
        with store.open("a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    return kept


def unpacked(data: Path, name: str, work: Path) -> Path:
    """The folder of a set of the data folder, unpacked by its own program."""
    folder = work / name
    if not folder.exists():
        subprocess.run([sys.executable, data / "unpack.py", name, folder], check=True, stdout=subprocess.DEVNULL)
    return folder


def table_of(rows: list[dict[str, str]], features: dict[str, list[float]]) -> Table:
    """The table of the cases of the index with a diagnosis; NaN where a variant has no shape."""
    empty = [float("nan")] * len(FEATURES)
    return Table(
        tuple(row["case"] for row in rows),
        ("",) * len(rows),
        np.array([row["case"] for row in rows]),
        np.array([row["malignant"] == "True" for row in rows]),
        tuple(FEATURES),
        np.array([features.get(row["case"], empty) for row in rows]),
    )


if __name__ == "__main__":
    data, work = map(Path, sys.argv[1:3])
    with (data / "kidney-ct-masks" / "index.csv").open(encoding="utf-8", newline="") as file:
        index = [row for row in csv.DictReader(file) if row["malignant"]]
    measured_masks({row["case"]: data / "kidney-ct-masks" / row["file"] for row in index}, work / "shapes.csv")
