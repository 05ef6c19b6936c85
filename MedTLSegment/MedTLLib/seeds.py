"""SEED marks: which slices of a segmentation the user said are right, whole. No Qt.

They are JSON in the tag `MedTL.seeds` of each of the model's segments, so that saving the `.seg.nrrd` alone keeps them;
the first readable one counts. A mark says where the middle of its slice lies (LPS mm) and what was in it: an index
alone would not do, for Slicer opens a left-handed volume with its slices in reverse order.

The Segment Editor's Undo brings back the tags of the state that it goes back to: save a state before marking, too.
"""

import hashlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from medtl.card import ModelCard
from medtl.errors import InputError
from medtl.gate import slice_axis
from medtl.seed import Seed, array_axis, voxels_sha256
from medtl.volume import Geometry, read_volume

from . import seed_tags, snapshots
from .report import check_segmentation
from .scene import array_on, check_volume, geometry_of, ras_of, values_of
from .segments import check_place
from .snapshots import MODEL_TAG, tag_of


@dataclass(frozen=True)
class Mark:
    """A slice that was marked: its 0-based `index` along the array axis nearest the normal of the model's plane, and
    when (ISO 8601, UTC). It is `stale` once the slice's labels or voxels are not what was marked."""

    index: int
    time: str
    stale: bool


@dataclass(frozen=True)
class Marks:
    """The marks by index, and sentences for the user about what could not be read or does not fit."""

    marks: tuple[Mark, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Slices:
    """A case slice by slice: voxels, and for each label of the model where it is. The slices' axis comes first."""

    geometry: Geometry
    axis: int
    image: np.ndarray
    labels: dict[str, np.ndarray]

    def fingerprint(self, k: int) -> str:
        """SHA-256 of what is in slice k: whatever values and layers the labels have in Slicer, in whatever order the
        labels come, and whichever way the volume's axes run."""
        found = hashlib.sha256(self._upright(self.image[k].astype(np.float64)))
        for name in sorted(self.labels):
            found.update(self._upright(self.labels[name][k]))
        return found.hexdigest()

    def overlaps(self, k: int) -> bool:
        """True where two labels share a voxel of slice k."""
        return bool((np.sum([planes[k] for planes in self.labels.values()], axis=0) > 1).any())

    def _upright(self, plane: np.ndarray) -> bytes:
        """The slice's values in an order that does not change when an axis of the volume is reversed."""
        for position, axis in enumerate(axis for axis in range(3) if axis != self.axis):
            column = np.round(self.geometry.axes[:, 2 - axis], 3)  # so that noise does not choose between two alike
            if column[np.argmax(np.abs(column))] < 0:
                plane = np.flip(plane, position)
        return f"{plane.shape}".encode() + np.ascontiguousarray(plane).tobytes()


def marks(segmentation: Any, volume: Any, card: ModelCard) -> tuple[Mark, ...]:
    """The marked slices of the volume, by index; see `read_marks`."""
    return read_marks(segmentation, volume, card).marks


def read_marks(segmentation: Any, volume: Any, card: ModelCard) -> Marks:
    """The marked slices of the volume, by index, with notes. A damaged tag counts as no marks.

    All are stale where the segments cannot be compared with what was marked: one is gone, or on another grid.

    Raises: InputError when the volume cannot be segmented.
    """
    check_volume(volume)
    try:
        records, note = seed_tags.read(segmentation, card)
    except InputError as error:  # of a newer MedTL
        return Marks((), (str(error),))
    notes = [note] if note else []
    here, elsewhere = seed_tags.placed(records, geometry_of(volume), card)
    if elsewhere:
        notes.append(
            _("SEED marks that are not on slices of {volume} ({plane}) were left out: {count}.").format(
                volume=volume.GetName(), plane=card.input.plane, count=len(elsewhere)
            )
        )
    if not here:
        return Marks((), tuple(notes))
    try:
        slices = slices_of(segmentation, volume, card)
    except InputError as error:
        notes.append(str(error))
        return Marks(tuple(Mark(k, here[k].time, True) for k in sorted(here)), tuple(notes))
    strangers = _strangers(segmentation, card)
    if strangers:
        notes.append(
            _("Not among the labels of {model}, so not learned from: {names}.").format(
                model=card.name, names=", ".join(strangers)
            )
        )
    found = (Mark(k, here[k].time, slices.fingerprint(k) != here[k].sha256) for k in sorted(here))
    return Marks(tuple(found), tuple(notes))


def mark(segmentation: Any, volume: Any, card: ModelCard, k: int) -> Mark:
    """Mark slice k as right, whole, as it is now, and return the mark. No voxel changes.

    Raises: InputError when there is no such slice, labels overlap in it, a segment of the model is gone or on another
    grid, or the marks there are of a newer MedTL.
    """
    slices = slices_of(segmentation, volume, card)
    _check_index(volume, len(slices.image), card, k)
    _check_overlap(slices, card, volume, k)
    here, elsewhere = seed_tags.placed(seed_tags.read(segmentation, card)[0], slices.geometry, card)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    centre = seed_tags.centre_of(slices.geometry, card.input.plane, k)
    here[k] = seed_tags.Record(card.input.plane, int(k), centre, stamp, slices.fingerprint(k))
    seed_tags.write(segmentation, card, (*elsewhere, *(here[index] for index in sorted(here))))
    return Mark(int(k), stamp, False)


def unmark(segmentation: Any, volume: Any, card: ModelCard, k: int) -> None:
    """Take the mark off slice k; a slice without one stays as it is.

    Raises: InputError when the volume cannot be segmented, or the marks there are of a newer MedTL.
    """
    check_volume(volume)
    check_segmentation(segmentation)
    here, elsewhere = seed_tags.placed(seed_tags.read(segmentation, card)[0], geometry_of(volume), card)
    if here.pop(k, None) is not None:
        seed_tags.write(segmentation, card, (*elsewhere, *(here[index] for index in sorted(here))))


def slices_of(segmentation: Any, volume: Any, card: ModelCard) -> Slices:
    """The case slice by slice in the model's plane.

    Raises: InputError when it does not fit: no segmentation or volume, one under a transform, a segment of the model
    gone, another's segment under its id, or a segment on another grid.
    """
    check_volume(volume)
    check_segmentation(segmentation)
    there = seed_tags.ids_there(segmentation, card)
    missing = [label.name for label in card.labels if seed_tags.id_of(card, label.id) not in there]
    if missing:
        what = _("A segment of it was removed or replaced since the prediction.") if there else ""
        raise InputError(
            _(
                "Expected a segment for each label of {model} in {segmentation}, found none for {names}. {what} "
                "Segment the volume with {model} again, or choose its segmentation."
            )
            .format(model=card.name, segmentation=segmentation.GetName(), names=", ".join(missing), what=what)
            .replace("  ", " ")
        )
    geometry = geometry_of(volume)
    check_place(segmentation, there, geometry)
    axis = array_axis(geometry, card.input.plane)
    masks = {label.id: array_on(segmentation, seed_tags.id_of(card, label.id), geometry) for label in card.labels}
    image = np.moveaxis(values_of(volume.GetImageData()), axis, 0)
    return Slices(geometry, axis, image, {name: np.moveaxis(mask, axis, 0) for name, mask in masks.items()})


def edited(segmentation: Any, volume: Any, card: ModelCard) -> tuple[int, ...]:
    """The slices that the user edited since the last prediction: to be listed, for edited is not yet right.

    Where the last prediction was lost or lies on another grid, all slices with voxels of the model's segments count.

    Raises: InputError when the volume cannot be segmented.
    """
    check_volume(volume)
    geometry = geometry_of(volume)
    last = _last(segmentation, card, geometry)
    changed = np.zeros(geometry.shape, dtype=bool)
    for segment_id in seed_tags.ids_there(segmentation, card):
        now = array_on(segmentation, segment_id, geometry)
        changed |= now ^ last.mask(segment_id) if last and segment_id in last.segment_ids else now
    return _used(changed, array_axis(geometry, card.input.plane))


def proposals(
    segmentation: Any, volume: Any, card: ModelCard, count: int, marked: Iterable[int] = ()
) -> tuple[int, ...]:
    """The slices to look at for `count` SEEDs, some of them `marked` already, by index.

    The extent of the last prediction (else of the segments, else of the volume) is cut into `count` equal parts; the
    middle of each part in which nothing is marked is proposed.

    Raises: InputError when the volume cannot be segmented.
    """
    check_volume(volume)
    geometry = geometry_of(volume)
    axis, there = array_axis(geometry, card.input.plane), seed_tags.ids_there(segmentation, card)
    last = _last(segmentation, card, geometry)
    used = _used(last.labels > 0, axis) if last else ()
    if not used:
        used = _used(np.any([array_on(segmentation, i, geometry) for i in there], axis=0), axis) if there else ()
    used = used or tuple(range(geometry.shape[axis]))
    first, length = used[0], used[-1] - used[0] + 1
    count = min(count, length)
    taken = {(k - first) * count // length for k in marked}  # the part that a slice lies in
    return tuple(first + (2 * part + 1) * length // (2 * count) for part in range(count) if part not in taken)


def next_slice(segmentation: Any, volume: Any, card: ModelCard, k: int, count: int) -> int | None:
    """The slice to look at after k on the way to `count` SEEDs: the next that is proposed or whose mark is stale, the
    first one again after the last, None where nothing is left to do.

    Raises: InputError when the volume cannot be segmented.
    """
    known = marks(segmentation, volume, card)
    wanted = {*proposals(segmentation, volume, card, count, [m.index for m in known])}
    wanted |= {m.index for m in known if m.stale}
    return min(wanted, key=lambda index: (index <= k, index), default=None)


def collect(cases: Sequence[tuple[Any, Any, Path]], card: ModelCard) -> tuple[Seed, ...]:
    """The SEEDs of the cases (segmentation, volume, file of the image), stale ones left out. The file must hold the
    voxels of the volume in their order, as `scene.write_volume` writes them.

    Raises: InputError when nothing is marked in any of them, or one does not fit (see `mark`, `slices_of`).
    """
    seeds: list[Seed] = []
    stale = 0
    ids = tuple(label.id for label in card.labels)
    for segmentation, volume, image in cases:
        known = marks(segmentation, volume, card)
        if not known:
            continue
        slices = slices_of(segmentation, volume, card)  # says why where all marks are stale for one reason
        stale += sum(m.stale for m in known)
        fresh = [m for m in known if not m.stale]
        sha256 = _sha256(image, volume) if fresh else ""
        for m in fresh:
            mask = np.zeros(slices.image.shape[1:], np.uint16)
            for number, name in enumerate(ids, start=1):
                mask[slices.labels[name][m.index]] = number
            seeds.append(Seed(volume.GetName(), image, sha256, card.input.plane, m.index, ids, mask, m.time))
    if not seeds:
        raise InputError(
            _(
                "Expected at least one SEED slice, found none (edited since they were marked: {stale}). Correct a "
                "slice, then mark it as right."
            ).format(stale=stale)
        )
    return tuple(seeds)


def slice_position_ras(volume: Any, card: ModelCard, k: int) -> tuple[float, float, float]:
    """The middle of slice k, RAS mm.

    Raises: InputError when there is no such slice, or the volume cannot be segmented.
    """
    check_volume(volume)
    geometry = geometry_of(volume)
    _check_index(volume, geometry.shape[array_axis(geometry, card.input.plane)], card, k)
    left, posterior, superior = seed_tags.centre_of(geometry, card.input.plane, k)
    return -left, -posterior, superior


def slice_at(volume: Any, card: ModelCard, ras: Sequence[float]) -> int:
    """The slice nearest the point (RAS mm), which may lie beside the volume but not before or behind its slices.

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
                "{volume}. Take the shared voxels out of one, then mark the slice."
            ).format(model=card.name, k=k, volume=volume.GetName())
        )


def _sha256(image: Path, volume: Any) -> str:
    """What the engine will know the image by. It is read as the engine does: voxels that are NaN get another value."""
    read, values = read_volume(image), values_of(volume.GetImageData())
    finite = np.isfinite(values)
    if not read.geometry.close_to(geometry_of(volume)) or not np.array_equal(read.array[finite], values[finite]):
        raise InputError(
            _("Expected the voxels of {volume} in {path}, found others. Write the volume to that file again.").format(
                volume=volume.GetName(), path=image
            )
        )
    return voxels_sha256(read.array)


def _strangers(segmentation: Any, card: ModelCard) -> list[str]:
    """Names of the segments that are neither the model's labels nor another model's."""
    segments = segmentation.GetSegmentation()
    others = [
        segments.GetSegment(i) for i in segments.GetSegmentIDs() if i not in seed_tags.ids_there(segmentation, card)
    ]
    return [segment.GetName() for segment in others if tag_of(segment, MODEL_TAG) in ("", card.name)]


def _last(segmentation: Any, card: ModelCard, geometry: Geometry) -> snapshots.Snapshot | None:
    last = snapshots.read(segmentation, card.name) if segmentation is not None else None
    return last if last is not None and last.geometry.close_to(geometry) else None


def _used(mask: np.ndarray, axis: int) -> tuple[int, ...]:
    return tuple(int(k) for k in np.flatnonzero(np.moveaxis(mask, axis, 0).any(axis=(1, 2))))
