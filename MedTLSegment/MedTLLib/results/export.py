"""A segmentation as a labelmap file on the volume's whole grid, read back and compared. No Qt.

Labels have the values that the model's card states, whatever values Slicer gives its layers. Where segments overlap, a
`.seg.nrrd` has layers and loses nothing. Other formats hold one value a voxel: there a protected segment (status
Completed, or locked from MedTL) wins, then the earlier one.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from medtl.counted import counted
from medtl.errors import InputError
from medtl.io.files import OUTPUTS, identities, suffix_of
from medtl.io.read import read_labelmap
from medtl.io.write import store_labelmap, write_whole
from medtl.labels import AUTOMATIC, SEMIAUTOMATIC, TYPE_TAG, candidates
from medtl.model.card import ModelCard
from medtl.volume import Geometry, Labelmap, Segment

from ..mrml.boxes import start_of
from ..mrml.scene import check_segmentation, check_volume, geometry_of, image_of, placed, values_of
from ..mrml.segments import mask_of
from ..prediction.masks import protected_segments
from . import save_path
from .by_hand import edited_segments

STATUS_TAG = "Segmentation.Status"
LARGEST_VALUE = 65535
FORMATS = (".seg.nrrd", ".nrrd", ".nii.gz")
FOLDER, SUFFIX = "MedTL/exportFolder", "MedTL/exportSuffix"  # the user's settings: those used last


@dataclass(frozen=True)
class Merged:
    """A labelmap of all segments, warnings about what it does not contain, and the number of voxels in which segments
    overlap."""

    labelmap: Labelmap
    warnings: tuple[str, ...]
    overlap: int = 0


def export(segmentation: Any, volume: Any, path: Path, card: ModelCard | None = None, replace: bool = False) -> str:
    """A sentence for the user on what was saved where. The file has the volume's grid; its suffix states the format.

    A file that exists is replaced only with `replace`, and only when the new one is whole and was read back.

    Raises: InputError when there is nothing to save, the file exists or belongs to another node in the scene, it
    cannot be written, or what is read back is not what was written.
    """
    _check_path(path, segmentation, replace)
    merged = merge(segmentation, volume, card)
    warnings = save(merged.labelmap, path)
    saved = _("Saved at {path}, read back, identical.").format(path=path)
    overlap: tuple[str, ...] = ()
    if merged.overlap and suffix_of(path) != ".seg.nrrd":
        shared = counted(merged.overlap, _("1 voxel"), _("{count} voxels"))
        text = _("Segments overlap in {voxels}; there a protected segment wins, else the earlier one.")
        overlap = (text.format(voxels=shared),)
    return " ".join((saved, *overlap, *merged.warnings, *warnings))


def save(labelmap: Labelmap, path: Path) -> tuple[str, ...]:
    """Warnings of saving the labelmap, in place of a file that is there: only when the new one is whole and was read
    back.

    Raises: InputError when it cannot be written, or what is read back is not what was written.
    """
    return write_whole(path, lambda part: _store(part, path, labelmap))


def formats() -> tuple[str, ...]:
    """The formats, the one used last first."""
    last = str(slicer.app.userSettings().value(SUFFIX, FORMATS[0]))
    return tuple(sorted(FORMATS, key=lambda each: each != last))


def suggested_path(segmentation: Any) -> Path:
    """Where the segmentation is saved unless the user chooses another place."""
    return save_path.suggested(segmentation.GetName(), formats()[0], slicer.app.userSettings().value(FOLDER))


def remember(path: Path) -> None:
    """Suggest this folder and this format the next time."""
    settings = slicer.app.userSettings()
    settings.setValue(FOLDER, str(path.parent))
    settings.setValue(SUFFIX, next(each for each in FORMATS if path.name.lower().endswith(each)))


def _check_path(path: Path, segmentation: Any, replace: bool) -> None:
    if suffix_of(path) not in OUTPUTS:
        raise InputError(f"Expected a file ending in {', '.join(OUTPUTS)}, found {path.name}. Rename it.")
    if path.is_dir():
        raise InputError(f"Expected a file name, found the folder {path}. Choose a file.")
    if path.exists() and identities([path]) & identities(_files_of_others(segmentation)):
        raise InputError(f"The file {path} belongs to another node of this scene. Choose another name.")
    if path.exists() and not replace:
        raise InputError(f"The file {path} exists already. Confirm that it may be replaced, or choose another name.")


def _files_of_others(segmentation: Any) -> list[Path]:
    """The files that the nodes of the scene were read from or saved to, but for the segmentation's own."""
    names = []
    for storage in slicer.util.getNodesByClass("vtkMRMLStorageNode"):
        if segmentation is None or storage is not segmentation.GetStorageNode():
            names += [storage.GetFileName(), *map(storage.GetNthFileName, range(storage.GetNumberOfFileNames()))]
    return [Path(name) for name in names if name]


def merge(segmentation: Any, volume: Any, card: ModelCard | None = None) -> Merged:
    """All segments in one labelmap on the volume's grid, with their names, colours, terminology and tags. Those that
    were edited since their prediction are no longer AUTOMATIC for DICOM.

    Raises: InputError when there is no segment or the nodes cannot be measured (see `check_segmentation`).
    """
    check_segmentation(segmentation)
    check_volume(volume)
    geometry = geometry_of(volume)
    described = described_segments(segmentation)
    if not described:
        raise InputError(f"Expected segments, found none in {segmentation.GetName()}. Segment the volume first.")
    edited = edited_segments(segmentation, volume)
    numbered = with_values([_stated(each) if edited.get(each.id) else each for each in described], card)
    array = np.zeros(geometry.shape, np.uint16)
    covered = [np.zeros((0, 2), np.int64)]
    warnings: list[str] = []
    protected = protected_segments(segmentation)
    for segment in sorted(numbered, key=lambda one: one.id not in protected):  # stable: then the earlier one
        mask, box = mask_of(segmentation, segment.id, geometry)
        part = array[box]
        if (lost := mask & (part != 0)).any():
            index = np.stack(np.nonzero(lost)) + np.array(start_of(box))[:, None]
            places = np.ravel_multi_index(tuple(index), geometry.shape)
            covered.append(np.column_stack([np.full_like(places, segment.value), places]))
        part[mask & (part == 0)] = segment.value
        warnings += _lost_by_export(segmentation, segment, mask, geometry)
    below = np.vstack(covered)
    return Merged(Labelmap(array, geometry, tuple(numbered), covered=below), tuple(warnings), below.shape[0])


def with_values(segments: list[Segment], card: ModelCard | None) -> list[Segment]:
    """The segments with the label values of the card; others get the next values after the card's, in their order.

    Raises: InputError when there are more segments than values.
    """
    labels = card.labels if card else ()
    by_label = candidates(segments, card) if card else {}
    # A copy of a segment has the same tags: the first one gets the label's value.
    stated = {by_label[label.id][0].id: label.value for label in labels if label.id in by_label}
    following = max((label.value for label in labels), default=0)
    numbered: list[Segment] = []
    for segment in segments:
        value = stated.get(segment.id)
        if value is None:
            following += 1
            value = following
        numbered.append(dataclasses.replace(segment, value=value))
    if following > LARGEST_VALUE:
        raise InputError(f"Expected label values up to {LARGEST_VALUE}, found {following}. Export fewer segments.")
    return numbered


def described_segments(segmentation: Any) -> list[Segment]:
    """The segments with names, colours and tags as they are saved, in their order; all have the value 1."""
    segments = segmentation.GetSegmentation()
    return [_described(segment_id, segments.GetSegment(segment_id)) for segment_id in segments.GetSegmentIDs()]


def _described(segment_id: str, segment: Any) -> Segment:
    """The segment as the engine writes it. Slicer lists the tags of a segment to Python only as a text."""
    tags = {}
    for line in str(segment).splitlines():
        name, value = line.strip().partition(":")[0], vtk.reference("")
        if segment.HasTag(name) and segment.GetTag(name, value):
            tags[name] = _as_stored(str(value))
    terminology = tags.pop(slicer.vtkSegment.GetTerminologyEntryTagName(), "")
    if tags.get(STATUS_TAG) == "inprogress":
        del tags[STATUS_TAG]  # the default status
    red, green, blue = segment.GetColor()
    name = _as_stored(segment.GetName() or segment_id)
    return Segment(1, segment_id, name, (red, green, blue), terminology, tuple(tags.items()))


def _stated(segment: Segment) -> Segment:
    """An edited segment: its tag says that it is not all automatic."""
    tags = ((name, SEMIAUTOMATIC if (name, tag) == (TYPE_TAG, AUTOMATIC) else tag) for name, tag in segment.tags)
    return dataclasses.replace(segment, tags=tuple(tags))


def _as_stored(text: str) -> str:
    """The text in one line and without the bar, which separates entries in a `.seg.nrrd`."""
    return " ".join(text.replace("|", "/").split())


def _lost_by_export(segmentation: Any, segment: Segment, mask: np.ndarray, geometry: Geometry) -> list[str]:
    """Warnings about parts of a segment that the volume's grid does not contain."""
    image = image_of(segmentation, segment.id)
    if image is None:
        return []
    if placed(image, geometry) is None:
        return [_("{name} has another grid and was resampled to the volume's.").format(name=segment.name)]
    outside = int(np.count_nonzero(values_of(image)) - np.count_nonzero(mask))
    if not outside:
        return []
    voxels = counted(outside, _("1 voxel"), _("{count} voxels"))
    text = _("{name} reaches {voxels} beyond the volume, which the file does not have.")
    return [text.format(name=segment.name, voxels=voxels)]


def _store(part: Path, path: Path, labelmap: Labelmap) -> tuple[str, ...]:
    """Write the file, read it back and compare; the warnings of writing."""
    warnings = store_labelmap(part, labelmap)
    again = read_labelmap(part)
    named = suffix_of(path) == ".seg.nrrd"
    names = not named or _same_segments(again.segments, labelmap.segments)
    if named and len(labelmap.covered):  # the order of segments decides which of them the array shows
        values = [segment.value for segment in labelmap.segments]
        same = all(np.array_equal(again.mask(value), labelmap.mask(value)) for value in values)
    else:
        same = np.array_equal(again.array, labelmap.array)
    if not (names and same and again.geometry.close_to(labelmap.geometry)):
        raise InputError(f"What was read back from {path} is not what was written. Save it to another disk.")
    return warnings


def _same_segments(again: tuple[Segment, ...], written: tuple[Segment, ...]) -> bool:
    return len(again) == len(written) and all(
        np.allclose(a.colour, b.colour, atol=1e-4)
        and dict(a.tags) == {k: v for k, v in b.tags if v}
        and (a.value, a.id, a.name, a.terminology) == (b.value, b.id, b.name, b.terminology)
        for a, b in zip(again, written)
    )
