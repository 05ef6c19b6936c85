"""Step one of training: from case files to a cache of arrays, one `.npz` a case. Step two, fit, reads only the cache.

A cached case is in the model's plane: `image` float16 in the network's units, `label` uint8, `brain` bool (all
(slices, rows, columns)), so fit runs wherever torch is.
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from ..cases import CaseFiles
from ..errors import InputError
from ..io import read
from ..io.isolated import Reader
from ..labels import label_numbers, label_segments, label_values, unknown_values
from ..model.card import ModelCard
from ..preprocess import prepare, to_tissue_units, turn
from ..progress import Progress, no_progress
from ..typed_json import encode
from ..volume import Labelmap, check_same_grid, voxels_sha256


@dataclass(frozen=True)
class CachedCase:
    """One prepared case: `image` in the network's units, `label` 0 for background, `sha256` of the image's voxels, and
    the `warnings` of reading its files."""

    case: str
    patient: str
    site: str
    sha256: str
    slice_mm: float | None
    statistics: Mapping[str, float]
    image: np.ndarray
    label: np.ndarray
    brain: np.ndarray
    warnings: tuple[str, ...] = ()


def prepare_cases(
    cases: tuple[CaseFiles, ...],
    card: ModelCard,
    cache: Path,
    binary: bool = True,
    progress: Progress = no_progress,
    reader: Reader = read,
) -> tuple[CachedCase, ...]:
    """All cases prepared for the model of this card, from the cache where it is up to date, else read and cached.
    `medtl.labels` finds the labels; `binary`: where no segment is the label's, every value above 0 is.

    Raises: InputError when an image and its label do not lie on the same grid, or the labels are not the model's.
    """
    cache.mkdir(parents=True, exist_ok=True)
    prepared = []
    for number, case in enumerate(cases):
        progress("prepare", number / len(cases))
        path = cache / f"{case.case}.npz"
        key = cache_key(case, card, binary)
        cached = load(path, key)
        if cached is None:
            cached = prepare_case(case, card, binary, reader)
            store(path, cached, key)
        # Patient and site come from the case list, where they may have been corrected.
        prepared.append(replace(cached, patient=case.patient, site=case.site))
    progress("prepare", 1.0)
    return tuple(prepared)


def prepare_case(case: CaseFiles, card: ModelCard, binary: bool, reader: Reader = read) -> CachedCase:
    """One case, read from its files and turned into the model's plane."""
    spec = card.input
    volume, truth = reader.read_volume(case.image), reader.read_labelmap(case.label)
    check_same_grid(truth.geometry, volume.geometry, case.label, case.image)
    prepared = prepare(volume, spec)
    if prepared.resampled:
        raise InputError(
            f"Expected {case.image} within a factor {spec.spacing_tolerance} of {spec.spacing} mm in plane, found "
            f"{volume.geometry.spacing}. Resample training cases beforehand."
        )
    rows, columns = prepared.box
    image = prepared.array[:, rows, columns].astype(np.float32) * prepared.gain + prepared.offset
    label = turn(true_labels(case, truth, card, binary), prepared.axes, prepared.flips)[:, rows, columns]
    return CachedCase(
        case.case,
        case.patient,
        case.site,
        voxels_sha256(volume.array),
        prepared.slice_mm,
        prepared.statistics,
        np.clip(image, *prepared.clip).astype(np.float16),
        label,
        brain_mask(to_tissue_units(image)),
        (*volume.warnings, *truth.warnings),
    )


def true_labels(case: CaseFiles, truth: Labelmap, card: ModelCard, binary: bool) -> np.ndarray:
    """The number of each voxel's label, from 1, uint8 (Z, Y, X); 0 for none."""
    by_segment = bool(label_segments(truth.segments, card))
    if binary and not by_segment:
        return (truth.array > 0).astype(np.uint8)
    unknown = () if by_segment else unknown_values(truth, label_values(truth, card))
    if unknown:
        raise InputError(
            f"Expected the label values {', '.join(str(label.value) for label in card.labels)} of {card.name} in "
            f"{case.label}, found {', '.join(map(str, unknown))}. Correct the values."
        )
    return label_numbers(truth, card).astype(np.uint8)


def cache_key(case: CaseFiles, card: ModelCard, binary: bool) -> str:
    """All that a cached case depends on, as text; a cache file with another key is out of date."""
    files = [(file.stat().st_size, file.stat().st_mtime_ns) for file in (case.image, case.label)]
    return json.dumps([encode(card.input), encode(card.labels), card.family, binary, files])


def store(path: Path, case: CachedCase, key: str) -> None:
    """Write the cached case, whole or not at all."""
    numbers = case.slice_mm, dict(case.statistics)
    facts = json.dumps([key, case.case, case.patient, case.site, case.sha256, *numbers, list(case.warnings)])
    part = path.with_suffix(".part.npz")
    np.savez(part, image=case.image, label=case.label, brain=case.brain, facts=np.array(facts))
    part.replace(path)


def load(path: Path, key: str) -> CachedCase | None:
    """The cached case of a file; None where there is none, it is damaged or its key is another one."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            stored_key, *facts, warnings = json.loads(str(stored["facts"]))
            case, patient, site, sha256, slice_mm, statistics = facts
            arrays = (stored["image"], stored["label"], stored["brain"])
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    if stored_key != key:
        return None
    return CachedCase(case, patient, site, sha256, slice_mm, statistics, *arrays, tuple(warnings))


def brain_mask(tissue: np.ndarray) -> np.ndarray:
    """A rough brain mask of a FLAIR head in tissue units (brain is 1): what dark bone separates from the scalp.

    For augmentation only, where a border that is off by a few pixels does no harm. Source: project.
    """
    smooth = ndimage.gaussian_filter(tissue, (0, 1, 1))
    head = [ndimage.binary_fill_holes(s) for s in ndimage.binary_opening(smooth > 0.25, disk(2))]
    depth = np.stack([ndimage.distance_transform_edt(np.pad(s, 1))[1:-1, 1:-1] for s in head])
    parts, count = ndimage.label(ndimage.binary_opening((smooth > 0.55) & (depth > 7), disk(5)))
    if count == 0:
        return depth > 7
    inner = np.bincount(parts[depth > 25], minlength=count + 1)
    inner[0] = 0
    brain = np.pad(parts == inner.argmax(), ((0, 0), (12, 12), (12, 12)))
    brain = ndimage.binary_closing(brain, disk(10))[:, 12:-12, 12:-12]
    filled = np.stack([ndimage.binary_fill_holes(s) for s in brain])
    return np.asarray(ndimage.binary_dilation(filled, disk(2)))


def disk(radius: int) -> np.ndarray:
    """A flat disk in the plane, bool (1, 2r + 1, 2r + 1)."""
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray((x * x + y * y <= radius * radius)[None])
