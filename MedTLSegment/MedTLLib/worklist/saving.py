"""Saving the segmentation of a case: whole, read back, and never in place of what somebody else saved. No Qt."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from medtl.errors import InputError, MedTLError
from medtl.io.files import suffix_of
from medtl.io.read import read_labelmap
from medtl.io.write import write_labelmap, write_whole
from medtl.labels import MODEL_TAG
from medtl.model.card import ModelCard
from medtl.volume import Geometry, Labelmap
from medtl.worklist.case import FileState
from medtl.worklist.disk import is_changed, state_of, state_since
from medtl.worklist.places import is_bids

from ..mrml.states import segmentation_state
from ..mrml.tags import card_of
from ..results import export
from ..seeds import marks, storage
from .nodes import turned


@dataclass(frozen=True)
class Saved:
    """The file as it is now, whether its voxels differ from those of the file before, the family of its model, the
    number of its SEED slices, and sentences for the user."""

    state: FileState | None
    changed: bool
    model: str
    seeds: int
    warnings: tuple[str, ...]


def content_state(segmentation: Any) -> tuple[object, ...]:
    """A value that changes with the voxels, names, colours and tags of the segments: what a file has."""
    if segmentation is None:
        return ()
    return segmentation_state(segmentation), tuple(export.described_segments(segmentation))


def save(
    segmentation: Any, volume: Any, geometry: Geometry, path: Path, known: FileState | None, keep: bool = False
) -> Saved:
    """Save the segmentation on this grid, that of the image's file. `known` is what the file was like when it was read
    or saved last: where somebody changed it since, theirs is kept under another name; with `keep` the file is kept in
    any case.

    Raises: InputError when it cannot be saved; what is on disk is as it was.
    """
    card = card_of(segmentation)
    merged = export.merge(segmentation, volume, card)
    labelmap = turned(merged.labelmap, geometry)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        text = _("Could not make the folder {folder}: {reason}. Choose another place for the results.")
        raise InputError(text.format(folder=path.parent, reason=error.strerror)) from error
    warnings = [*merged.warnings]
    if path.exists() and is_changed(state_since([path], known), known or FileState(0, 0, "")):
        text = _("{name} was changed by somebody else meanwhile. Theirs is kept as {aside}.")
        warnings.append(text.format(name=path.name, aside=_put_aside(path, "others")))
        changed = True
    elif path.exists() and keep:
        text = _("The segmentation that {name} had before is kept as {aside}.")
        warnings.append(text.format(name=path.name, aside=_put_aside(path, "earlier")))
        changed = True
    else:
        changed = _differs(labelmap, path)
    warnings += export.save(labelmap, path)
    if is_bids(path):
        _write_for_bids(labelmap, path)
    models = (dict(segment.tags).get(MODEL_TAG, "") for segment in labelmap.segments)
    family, seeds = next(filter(None, models), ""), fresh_seeds(segmentation, volume, card)
    return Saved(state_of([path]), changed, family, seeds, tuple(warnings))


def fresh_seeds(segmentation: Any, volume: Any, card: ModelCard | None) -> int:
    """The number of SEED slices that were not edited since they were marked."""
    if card is None or not any(dict(each.tags).get(storage.TAG) for each in export.described_segments(segmentation)):
        return 0
    try:
        return sum(not mark.stale for mark in marks.marks(segmentation, volume, card))
    except InputError:
        return 0


def _differs(labelmap: Labelmap, path: Path) -> bool:
    """Whether the voxels of any segment differ from those of the file that is there."""
    if not path.exists():
        return bool(labelmap.array.any())
    try:
        before = read_labelmap(path)
    except MedTLError:  # a damaged file is replaced
        return True
    values = [{segment.id: segment.value for segment in each.segments} for each in (before, labelmap)]
    if values[0].keys() != values[1].keys() or before.array.shape != labelmap.array.shape:
        return True
    return any(not np.array_equal(before.mask(v), labelmap.mask(values[1][name])) for name, v in values[0].items())


def _put_aside(path: Path, word: str) -> str:
    """The new name of the file: the first of NAME.WORD-1.seg.nrrd, … that is free. A copy, so that there is a file of
    the old name at every moment.

    Raises: InputError when it cannot be copied.
    """
    stem, number = path.name[: -len(suffix_of(path))], 1
    while (free := path.with_name(f"{stem}.{word}-{number}{suffix_of(path)}")).exists():
        number += 1
    write_whole(free, lambda part: shutil.copyfile(path, part), replace=False)
    return free.name


def complete(path: Path) -> None:
    """Write what BIDS tools read beside a result that came from the background.

    Raises: InputError when it cannot be read or written.
    """
    if is_bids(path) and path.is_file() and not _nifti_beside(path).exists():
        _write_for_bids(read_labelmap(path), path)


def _nifti_beside(path: Path) -> Path:
    return path.with_name(f"{path.name[: -len(suffix_of(path))]}.nii.gz")


def _write_for_bids(labelmap: Labelmap, path: Path) -> None:
    """Write what BIDS tools read beside the `.seg.nrrd`: the labelmap as NIfTI, and the names of its labels."""
    write_labelmap(_nifti_beside(path), labelmap)
    rows = ["index\tname", *(f"{segment.value}\t{segment.name}" for segment in labelmap.segments)]
    content = ("\n".join(rows) + "\n").encode("utf-8", "replace")
    names = path.with_name(f"{path.name[: -len(suffix_of(path))]}.tsv")
    write_whole(names, lambda part: part.write_bytes(content))
