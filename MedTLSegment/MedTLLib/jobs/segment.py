"""A job of Segment: the volume handed over, and its result written into the scene."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import slicer
from slicer.i18n import tr as _

from medtl.counted import counted
from medtl.errors import InputError, ModelError
from medtl.io.read import read_labelmap, read_volume
from medtl.model.card import ModelCard, load_card
from medtl.model.store import find_model
from medtl.volume import Labelmap

from ..mrml import scene
from ..mrml.editors import open_editor
from ..mrml.pieces import check_whole
from ..mrml.states import node_of, reference_to, segmentation_state, volume_state
from ..mrml.tags import MODEL_TAG, tag_of
from ..packages.packages import Packages
from ..prediction import writer
from ..results import doubt
from ..results.volume_table import SPACING, table_of
from . import regions
from .blocking import check_packages, run_blocking
from .job import Ending, Job, Step, discard, new_folder
from .labels import only_wanted
from .run import Engine

IMAGE, CHANNEL, RESULT = "image.nrrd", "channel-{}.nrrd", "result.seg.nrrd"
UNCERTAINTY = "uncertainty.nrrd"
CHANNEL_ROLE = "MedTL.{family}.channel{number}"  # of a node reference of the segmentation, from 1


@dataclass(frozen=True)
class Choices:
    """What the user chose for a job; `threads` 0 means all. `labels` are the ids of those to write, None for all; with
    `doubt` the uncertainty is kept."""

    model: str
    replace_edits: bool = False
    flip: bool = False
    device: str = "auto"
    threads: int = 0
    labels: tuple[str, ...] | None = None
    doubt: bool = False


@dataclass(frozen=True)
class SegmentJob(Job):
    """A job of Segment. The states show whether the nodes were changed meanwhile."""

    kind: ClassVar[str] = "segment"

    volume: Any  # a vtkWeakReference: another scene may give the node's ID to a node of its own
    volume_name: str
    volume_state: tuple[object, ...]
    target: Any  # a vtkWeakReference; None for a new segmentation
    target_state: tuple[object, ...]
    choices: Choices
    only: np.ndarray | None  # bool (Z, Y, X), where the result may be written; None for everywhere
    folder: Path
    started: float
    further: tuple[Any, ...] = ()  # vtkWeakReferences to the volumes of the other channels: each has a file

    @property
    def request(self) -> dict[str, Any]:
        further = [f"{self.folder.name}/{CHANNEL.format(number)}" for number, _ in enumerate(self.further, start=1)]
        options: dict[str, Any] = {"flip": self.choices.flip, "device": self.choices.device}
        if self.choices.threads:
            options["threads"] = self.choices.threads
        if self.choices.doubt:
            options["uncertainty"] = f"{self.folder.name}/{UNCERTAINTY}"
        return {
            "job": "segment",
            "model": self.choices.model,
            "input": [f"{self.folder.name}/{IMAGE}", *further] if further else f"{self.folder.name}/{IMAGE}",
            "output": f"{self.folder.name}/{RESULT}",
            "options": options,
        }

    def steps(self) -> Sequence[Step]:
        def read_labels(result: Mapping[str, Any]) -> tuple[Labelmap, Mapping[str, Any], np.ndarray | None]:
            return read(self), result, read_doubt(self)

        def write_segments(labels: tuple[Labelmap, Mapping[str, Any], np.ndarray | None]) -> Ending:
            finished = finish(self, *labels)
            text = _("Done in {seconds} s.") if self.only is None else _("Done in {seconds} s, inside the region only.")
            return Ending(text.format(seconds=round(finished.seconds, 1)), finished)

        return read_labels, write_segments

    @classmethod
    def filling_text(cls) -> str:
        return str(_("Writing the segments…"))


@dataclass(frozen=True)
class Finished:
    """The outcome of a job. `volume` is None when it was deleted meanwhile."""

    written: writer.Written
    segmentation: Any
    volume: Any
    warnings: tuple[str, ...]
    seconds: float


def hardened_copy(node: Any) -> Any:
    """A copy of the volume beside it, with its transform hardened; the volume stays as it is.

    Raises: InputError when the hardened volume cannot be segmented.
    """
    mrml = node.GetScene()
    name = mrml.GenerateUniqueName(f"{node.GetName()} hardened")
    copy = slicer.vtkSlicerVolumesLogic.CloneVolume(mrml, node, name)
    copy.SetAndObserveTransformNodeID(node.GetTransformNodeID())
    copy.HardenTransform()
    try:
        scene.check_volume(copy)
        scene.geometry_of(copy)
    except InputError:
        mrml.RemoveNode(copy.GetDisplayNode())
        mrml.RemoveNode(copy)
        raise
    scene.place_beside(copy, node)
    return copy


def begin(
    volume: Any,
    target: Any,
    choices: Choices,
    root: Path,
    only: np.ndarray | None = None,
    further: Sequence[Any] = (),
) -> SegmentJob:
    """A job whose folder below `root` holds the whole volume, because the model scales by all intensities, and those of
    the `further` channels.

    Raises: InputError when a volume cannot be segmented or the folder cannot be written.
    """
    for each in (volume, *further):
        scene.check_volume(each)
    with new_folder(root) as folder:
        scene.write_volume(volume, folder / IMAGE)
        for number, each in enumerate(further, start=1):
            scene.write_volume(each, folder / CHANNEL.format(number))
    return SegmentJob(
        reference_to(volume),
        volume.GetName(),
        volume_state(volume),
        reference_to(target) if target else None,
        segmentation_state(target),
        choices,
        only,
        folder,
        time.monotonic(),
        tuple(map(reference_to, further)),
    )


def read(job: SegmentJob) -> Labelmap:
    """The labels that the engine has written, of which the user wants.

    Raises: InputError when they cannot be read.
    """
    labelmap, wanted = read_labelmap(job.folder / RESULT), job.choices.labels
    return labelmap if wanted is None else only_wanted(labelmap, wanted)


def read_doubt(job: SegmentJob) -> np.ndarray | None:
    """The uncertainty that the engine has written, in whole per cent; None where there is none, also where it is the
    same everywhere."""
    try:
        return doubt.percent_of(read_volume(job.folder / UNCERTAINTY).array) if job.choices.doubt else None
    except InputError:
        return None


def finish(
    job: SegmentJob, labelmap: Labelmap, result: Mapping[str, Any], uncertainty: np.ndarray | None = None
) -> Finished:
    """Write the labels of a job into the scene and remove its folder; `result` is the engine's answer, `uncertainty` in
    whole per cent is kept with them.

    Where the volume or the target was deleted, edited or moved meanwhile, or the target does not take the result, a
    new segmentation takes it and the warnings say why.

    Raises: InputError when they cannot be written; the folder stays.
    """
    volume, target = node_of(job.volume), node_of(job.target)
    warnings = changes_since(job, volume, target)
    target = None if warnings else target
    name = _("{volume} {model}").format(volume=job.volume_name, model=job.choices.model)
    with _grid(volume, labelmap) as grid:
        try:
            only, kept = job.only, tuple[str, ...]()
            if target is not None and not job.choices.replace_edits:
                only, kept = regions.outside_seeds(labelmap, grid, target, job.choices.model, only)
            options = writer.Options(job.choices.replace_edits, open_editor(target), only)
            written = writer.write(labelmap, grid, target, options, name)
            warnings += kept
        except InputError as error:
            if target is None:
                raise
            warnings += (_("{reason} The result is in a new segmentation.").format(reason=error),)
            written = writer.write(labelmap, grid, None, writer.Options(only=job.only), name)
    discard(job)
    segmentation = slicer.mrmlScene.GetNodeByID(written.segmentation_id)
    doubt.put(uncertainty if volume is not None else None, labelmap.geometry, segmentation, volume, model_of(job))
    _remember_channels(job, segmentation, written.segment_ids)
    for record in result.get("results", ()):
        warnings += tuple(str(warning) for warning in record["warnings"])
        if any(segment["volume_ml"] is None for segment in record["segments"]):
            segmentation.SetAttribute(SPACING, "unknown")
    warnings += (*labelmap.warnings, *written.warnings)
    return Finished(written, segmentation, volume, warnings, time.monotonic() - job.started)


def undo(finished: Finished) -> str:
    """Revert the voxels of a prediction that did not change since; what was done, for the user.

    Raises: InputError when that is not possible; nothing is changed then.
    """
    segmentation, table = finished.segmentation, table_of(finished.segmentation)
    if segmentation.GetParentTransformNode():
        raise InputError(_("The segmentation is under a transform. Remove it from the transform, then undo."))
    open_editor(segmentation)
    doubt.remove(segmentation)
    reverted, left = writer.undo(finished.written)
    if segmentation.GetScene() is None:  # it held nothing but the prediction
        slicer.mrmlScene.RemoveNode(table)
    text = counted(reverted, _("Undone: 1 voxel."), _("Undone: {count} voxels."))
    if left:
        text += " " + _("Kept, because they were changed since: {count}.").format(count=left)
    return str(text)


def model_of(job: SegmentJob) -> ModelCard | None:
    """The card of the job's model; None where it was deleted meanwhile."""
    try:
        return load_card(find_model(job.choices.model))
    except ModelError:
        return None


def problem_of(volume: Any) -> str:
    """Why the volume cannot be segmented; empty when it can, in its place or as a hardened copy."""
    try:
        scene.check_image(volume)
        scene.geometry_of(volume)
    except InputError as error:
        return str(error)
    return ""


def why_not_target(target: Any) -> str:
    """Why the segmentation cannot take a result; empty when it can, or there is none."""
    if target and target.GetParentTransformNode():
        return str(_("The chosen segmentation is under a transform. Harden it, or choose another."))
    try:
        check_whole(target, target.GetSegmentation().GetSegmentIDs() if target else ())
    except InputError as error:
        return str(error)
    return ""


def channels_of(segmentation: Any, card: ModelCard) -> list[Any]:
    """The volumes of all channels but the first that the last prediction of this model, or of a relative, was made
    from; None for one that is not known, or was deleted."""
    roles = (CHANNEL_ROLE.format(family=card.family, number=n) for n in range(1, len(card.input.channels)))
    return [segmentation.GetNodeReference(role) for role in roles]


def check(volumes: Sequence[Any], packages: Packages) -> None:
    """Raise ValueError for what cannot be segmented, RuntimeError when the engine's packages are missing."""
    try:
        for volume in volumes or (None,):
            scene.check_volume(volume)
    except InputError as error:
        raise ValueError(str(error)) from error
    check_packages(packages)


def run(engine: Engine, volumes: Sequence[Any], target: Any, choices: Choices) -> Any:
    """The segmentation node that a whole job on these volumes, one a channel, gives; see `run_blocking` for the
    errors."""

    def make(root: Path) -> SegmentJob:
        return begin(volumes[0], target, choices, root, further=volumes[1:])

    return run_blocking(engine, SegmentJob, make).segmentation


def changes_since(job: SegmentJob, volume: Any, target: Any) -> tuple[str, ...]:
    """A sentence for each way in which the nodes are not what they were when the job began."""
    warnings = []
    if volume is None:
        warnings.append(_("The volume was deleted while the model ran: its result is in a new segmentation."))
    elif volume_state(volume) != job.volume_state:
        warnings.append(_("The volume was changed or moved while the model ran: its result is in a new segmentation."))
    if job.target and target is None:
        warnings.append(_("The chosen segmentation was deleted while the model ran: the result is in a new one."))
    elif job.target and segmentation_state(target) != job.target_state:
        warnings.append(_("The chosen segmentation was edited while the model ran: the result is in a new one."))
    return tuple(warnings)


def _remember_channels(job: SegmentJob, segmentation: Any, segment_ids: Sequence[str]) -> None:
    """Let the segmentation refer to the volumes of the job's other channels."""
    for segment_id in segment_ids[:1]:
        family = tag_of(segmentation.GetSegmentation().GetSegment(segment_id), MODEL_TAG)
        for number, volume in enumerate(map(node_of, job.further), start=1):
            role = CHANNEL_ROLE.format(family=family, number=number)
            segmentation.SetNodeReferenceID(role, volume.GetID() if volume is not None else None)


@contextmanager
def _grid(volume: Any, labelmap: Labelmap) -> Iterator[Any]:
    """The volume, where its grid is still that of the labels; else a volume with their grid, which is removed again."""
    usable = volume is not None and not volume.GetParentTransformNode() and volume.GetImageData()
    if usable and scene.geometry_of(volume).close_to(labelmap.geometry):
        yield volume
        return
    geometry = labelmap.geometry
    temporary = slicer.util.addVolumeFromArray(np.zeros(geometry.shape, np.uint8), scene.ras_of(geometry), "MedTL grid")
    try:
        yield temporary
    finally:
        slicer.mrmlScene.RemoveNode(temporary.GetDisplayNode())
        slicer.mrmlScene.RemoveNode(temporary)
