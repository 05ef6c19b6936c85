"""SEED marks: the slices of a segmentation that the user marked as right. No Qt.

They are JSON in the tag `MedTL.seeds` of each of the model's segments, so that saving the `.seg.nrrd` alone keeps them;
the first readable one counts. A mark has the middle of its slice (LPS mm) and a hash of its contents. An index
alone is not enough, because Slicer opens a left-handed volume with its slices in reverse order.

The Segment Editor's Undo also restores the tags of a state, so save a state before marking.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from medtl.errors import InputError
from medtl.finetuning.seed import Seed
from medtl.io.read import read_volume
from medtl.model.card import ModelCard
from medtl.volume import Geometry, array_axis, slice_axis, voxels_sha256

from ..mrml.boxes import Box, around
from ..mrml.scene import check_segmentation, check_volume, geometry_of, ras_of, values_of
from ..mrml.tags import MODEL_TAG, own_ids, tag_of
from ..prediction import snapshots
from ..prediction.edits import boxes_around, closest_prediction, segments_in
from . import storage
from .slices import Slices, slices_of


@dataclass(frozen=True)
class Mark:
    """A slice that was marked: its 0-based `index` along the array axis nearest the normal of the model's plane, and
    when (ISO 8601, UTC). It is `stale` once the slice's labels or voxels differ from what was marked."""

    index: int
    time: str
    stale: bool


@dataclass(frozen=True)
class Marks:
    """The marks by index, and warnings: marks that could not be read or do not fit."""

    marks: tuple[Mark, ...]
    warnings: tuple[str, ...] = ()


def marks(segmentation: Any, volume: Any, card: ModelCard) -> tuple[Mark, ...]:
    """The marked slices of the volume, by index; see `read_marks`."""
    return read_marks(segmentation, volume, card).marks


def read_marks(segmentation: Any, volume: Any, card: ModelCard) -> Marks:
    """The marked slices of the volume, by index, with warnings. A damaged tag counts as no marks.

    All are stale where the segments cannot be compared with what was marked: one is gone, or on another grid.

    Raises: InputError when the volume cannot be segmented.
    """
    check_volume(volume)
    try:
        records, warning = storage.read(segmentation, card)
    except InputError as error:  # of a newer MedTL
        return Marks((), (str(error),))
    warnings = [warning] if warning else []
    here, elsewhere = storage.placed(records, geometry_of(volume), card)
    if elsewhere:
        warnings.append(
            _("SEED marks that are not on slices of {volume} ({plane}) are not used: {count}.").format(
                volume=volume.GetName(), plane=card.input.plane, count=len(elsewhere)
            )
        )
    if not here:
        return Marks((), tuple(warnings))
    try:
        slices = slices_of(segmentation, volume, card)
    except InputError as error:
        warnings.append(str(error))
        return Marks(tuple(Mark(k, here[k].time, True) for k in sorted(here)), tuple(warnings))
    unknown = _unknown_segments(segmentation, card)
    if unknown:
        warnings.append(
            _("Fine-tune does not use segments that are not labels of {model}: {names}.").format(
                model=card.name, names=", ".join(unknown)
            )
        )
    marked = (Mark(k, here[k].time, slices.fingerprint(k) != here[k].sha256) for k in sorted(here))
    return Marks(tuple(marked), tuple(warnings))


def mark(segmentation: Any, volume: Any, card: ModelCard, k: int, before: Callable[[], object] = lambda: None) -> Mark:
    """Mark slice k as right, as it is now; returns the mark. No voxel changes.

    `before` is called after the checks and before anything is written: an editor can save a state for its Undo.

    Raises: InputError when there is no such slice, labels overlap in it, a segment of the model is gone or on another
    grid, or the marks there are of a newer MedTL.
    """
    slices = slices_of(segmentation, volume, card)
    _check_index(volume, len(slices.image), card, k)
    _check_overlap(slices, card, volume, k)
    here, elsewhere = storage.placed(storage.read(segmentation, card)[0], slices.geometry, card)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    centre = storage.centre_of(slices.geometry, card.input.plane, k)
    here[k] = storage.Record(card.input.plane, int(k), centre, stamp, slices.fingerprint(k))
    before()
    storage.write(segmentation, card, (*elsewhere, *(here[index] for index in sorted(here))))
    return Mark(int(k), stamp, False)


def unmark(
    segmentation: Any, volume: Any, card: ModelCard, k: int, before: Callable[[], object] = lambda: None
) -> None:
    """Remove the mark of slice k, if it has one. `before` as for `mark`.

    Raises: InputError when the volume cannot be segmented, or the marks there are of a newer MedTL.
    """
    check_volume(volume)
    check_segmentation(segmentation)
    here, elsewhere = storage.placed(storage.read(segmentation, card)[0], geometry_of(volume), card)
    if here.pop(k, None) is not None:
        before()
        storage.write(segmentation, card, (*elsewhere, *(here[index] for index in sorted(here))))


def edited(segmentation: Any, volume: Any, card: ModelCard) -> tuple[int, ...]:
    """The slices that the user edited since the prediction; an edited slice is not yet a SEED.

    As in `edits`, a prediction that the Segment Editor's Undo restored is no edit. Where the predictions were lost, all
    slices with voxels of the model's segments count.

    Raises: InputError when the volume cannot be segmented.
    """
    check_volume(volume)
    geometry, ids = geometry_of(volume), own_ids(segmentation, card)
    past = snapshots.history(segmentation, card.family, geometry) if ids else []
    boxes = boxes_around(segmentation, ids, geometry, past)
    box, now = around(boxes.values(), geometry.shape), segments_in(segmentation, boxes, geometry)
    last = closest_prediction(past or [snapshots.empty(geometry)], now, box)[0]
    axis, edited_slices = array_axis(geometry, card.input.plane), set()
    for segment_id, part in now.items():
        edited_slices |= {*_used(part.array ^ last.mask(segment_id, part.box), axis, part.box)}
    return tuple(sorted(edited_slices))


def proposals(
    segmentation: Any, volume: Any, card: ModelCard, count: int, marked: Iterable[int] = ()
) -> tuple[int, ...]:
    """The slices proposed for `count` SEEDs, some of which are `marked` already, by index.

    The extent of the last prediction (else of the segments, else of the volume) is cut into `count` equal parts; the
    middle of each part in which nothing is marked is proposed.

    Raises: InputError when the volume cannot be segmented.
    """
    check_volume(volume)
    geometry = geometry_of(volume)
    axis, there = array_axis(geometry, card.input.plane), own_ids(segmentation, card)
    last = _last_prediction(segmentation, card, geometry)
    used = _used(last.part, axis, last.box) if last else ()
    if not used:
        now = segments_in(segmentation, boxes_around(segmentation, there, geometry, []), geometry)
        used = tuple(sorted({k for part in now.values() for k in _used(part.array, axis, part.box)}))
    used = used or tuple(range(geometry.shape[axis]))
    first, length = used[0], used[-1] - used[0] + 1
    count = min(count, length)
    taken = {(2 * (k - first) + 1) * count // (2 * length) for k in marked}  # the part that a slice's middle lies in
    return tuple(first + (2 * part + 1) * length // (2 * count) for part in range(count) if part not in taken)


def next_slice(segmentation: Any, volume: Any, card: ModelCard, k: int, count: int) -> int | None:
    """The next slice after k to mark for `count` SEEDs: one that is proposed or whose mark is stale; the first one
    again after the last; None where none is left.

    Raises: InputError when the volume cannot be segmented.
    """
    known = marks(segmentation, volume, card)
    wanted = {*proposals(segmentation, volume, card, count, [m.index for m in known])}
    wanted |= {m.index for m in known if m.stale}
    return min(wanted, key=lambda index: (index <= k, index), default=None)


def collect(cases: Sequence[tuple[Any, Any, Path]], card: ModelCard) -> tuple[Seed, ...]:
    """The SEEDs of the cases (segmentation, volume, file of the image), without stale ones.

    Where a slice is marked in a segmentation and in a copy of it, the later mark counts.

    The file must hold the voxels of the volume in their order, as `scene.write_volume` writes them.

    Raises: InputError when nothing is marked in any of them, or one does not fit (see `mark`, `slices_of`).
    """
    seeds: dict[tuple[str, int], Seed] = {}
    stale = 0
    ids = tuple(label.id for label in card.labels)
    for segmentation, volume, image in cases:
        known = marks(segmentation, volume, card)
        if not known:
            continue
        slices = slices_of(segmentation, volume, card)  # raises with the reason where all marks are stale for it
        stale += sum(m.stale for m in known)
        fresh = [m for m in known if not m.stale]
        sha256 = _sha256(image, volume) if fresh else ""
        for m in fresh:
            mask = np.zeros(slices.image.shape[1:], np.uint16)
            for number, name in enumerate(ids, start=1):
                mask[slices.mask(name, m.index)] = number
            seed = Seed(volume.GetName(), image, sha256, card.input.plane, m.index, ids, mask, m.time)
            seeds[sha256, m.index] = max(seeds.get((sha256, m.index), seed), seed, key=lambda one: one.time)
    if not seeds:
        raise InputError(
            _(
                "Expected at least one SEED slice, found none (edited since they were marked: {stale}). Correct a "
                "slice, then mark it as right."
            ).format(stale=stale)
        )
    return tuple(seeds.values())


def slice_position_ras(volume: Any, card: ModelCard, k: int) -> tuple[float, float, float]:
    """The middle of slice k, RAS mm.

    Raises: InputError when there is no such slice, or the volume cannot be segmented.
    """
    check_volume(volume)
    geometry = geometry_of(volume)
    _check_index(volume, geometry.shape[array_axis(geometry, card.input.plane)], card, k)
    left, posterior, superior = storage.centre_of(geometry, card.input.plane, k)
    return -left, -posterior, superior


def slice_at(volume: Any, card: ModelCard, ras: Sequence[float]) -> int:
    """The slice nearest the point (RAS mm), which may lie beside the volume but not before its first or behind its last
    slice.

    Raises: InputError when it lies there, or the volume cannot be segmented.
    """
    check_volume(volume)
    geometry = geometry_of(volume)
    axis = slice_axis(card.input.plane, geometry.direction)
    k = int(np.floor((np.linalg.inv(ras_of(geometry)) @ (*ras, 1.0))[axis] + 0.5))
    _check_index(volume, geometry.size[axis], card, k)
    return k


def _check_index(volume: Any, count: int, card: ModelCard, k: int) -> None:
    if not 0 <= k < count:
        raise InputError(
            _(
                "Expected one of the {plane} slices 0 to {last} of {volume}, found {k}. Move the view into the volume."
            ).format(plane=card.input.plane, last=count - 1, volume=volume.GetName(), k=k)
        )


def _check_overlap(slices: Slices, card: ModelCard, volume: Any, k: int) -> None:
    if slices.overlaps(k):
        raise InputError(
            _(
                "Expected segments that do not overlap, found voxels of {model} in two of them in slice {k} of "
                "{volume}. Remove the shared voxels from one, then mark the slice."
            ).format(model=card.name, k=k, volume=volume.GetName())
        )


def _sha256(image: Path, volume: Any) -> str:
    """The hash by which the engine identifies the image, read as by the engine, which replaces NaN voxels."""
    read, values = read_volume(image), values_of(volume.GetImageData())
    pairs = zip(read.array, values)  # slice by slice: copies of a large volume take seconds
    same = read.array.shape == values.shape and all(((a == b) | ~np.isfinite(b)).all() for a, b in pairs)
    if not same or not read.geometry.close_to(geometry_of(volume)):
        raise InputError(
            _("Expected the voxels of {volume} in {path}, found others. Write the volume to that file again.").format(
                volume=volume.GetName(), path=image
            )
        )
    return voxels_sha256(read.array)


def _unknown_segments(segmentation: Any, card: ModelCard) -> list[str]:
    """Names of the segments that are neither the model's labels nor another model's."""
    segments = segmentation.GetSegmentation()
    others = [segments.GetSegment(i) for i in segments.GetSegmentIDs() if i not in own_ids(segmentation, card)]
    return [segment.GetName() for segment in others if tag_of(segment, MODEL_TAG) in ("", card.family)]


def _last_prediction(segmentation: Any, card: ModelCard, geometry: Geometry) -> snapshots.Snapshot | None:
    last = snapshots.read(segmentation, card.family) if segmentation is not None else None
    return last if last is not None and last.geometry.close_to(geometry) else None


def _used(values: np.ndarray, axis: int, box: Box) -> tuple[int, ...]:
    """The slices of the grid along the axis in which something of a box of it is set."""
    used = np.flatnonzero(values.any(axis=tuple(other for other in range(3) if other != axis)))
    return tuple(int(k) + box[axis].start for k in used)
