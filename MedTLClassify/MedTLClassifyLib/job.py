"""A job of Classify: from the volume and the region to an answer in the scene."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from slicer.i18n import tr as _
from vtk.util.numpy_support import vtk_to_numpy

from medtl.errors import InputError, MedTLError
from medtl.io.read import read_volume
from medtl.io.write import write_image, write_labelmap
from medtl.model.card import ModelCard, load_card
from medtl.model.store import find_model
from medtl.volume import Labelmap, Segment
from MedTLLib.jobs import terms
from MedTLLib.jobs.blocking import check_packages, run_blocking
from MedTLLib.jobs.job import Ending, Job, Step, discard, new_folder
from MedTLLib.jobs.run import Engine
from MedTLLib.mrml import scene
from MedTLLib.mrml.states import node_of, reference_to, segmentation_state, volume_state
from MedTLLib.packages.packages import Packages

from . import heatmaps, result

IMAGE, REGION, HEATMAP = "image.nrrd", "region.seg.nrrd", "heatmap.nrrd"
REGION_ID = "region"


@dataclass(frozen=True)
class Choices:
    """What the user chose for a run; `threads` 0 means all."""

    device: str = "auto"
    threads: int = 0


@dataclass(frozen=True)
class ClassifyJob(Job):
    """A job of Classify. Nodes are weak references; the states show whether they were changed meanwhile."""

    kind: ClassVar[str] = "classify"

    volume: Any
    segmentation: Any  # None where the whole image is classified; then the segment is ""
    states: tuple[object, object]  # of the volume and the segmentation
    segment_id: str
    card: ModelCard
    choices: Choices
    input: Mapping[str, Any]  # replaces the names of the job's files in the record
    image: Mapping[str, Any]  # facts of the image that its file does not contain
    mismatches: tuple[str, ...]  # differences from the training images in what Slicer knows of the image
    folder: Path
    started: float

    @property
    def request(self) -> dict[str, Any]:
        here = self.folder.name
        options: dict[str, Any] = {"device": self.choices.device}
        if self.choices.threads:
            options["threads"] = self.choices.threads
        if self.segment_id:
            options |= {"segmentation": f"{here}/{REGION}", "segment": REGION_ID}
        if self.card.networks:
            options["heatmap"] = f"{here}/{HEATMAP}"
        return {"job": "classify", "model": self.card.name, "input": f"{here}/{IMAGE}", "options": options}

    def steps(self) -> Sequence[Step]:
        def show(answer: Mapping[str, Any]) -> Ending:
            table = finish(self, answer)
            text = _("Done in {seconds} s.").format(seconds=round(time.monotonic() - self.started, 1))
            return Ending(text, Answer(table, self.states))

        return (show,)


@dataclass(frozen=True)
class Answer:
    """The table of classes of a job, and the states of the volume and the segmentation when it began."""

    table: Any
    states: tuple[object, object]


def problem_of(volume: Any) -> str:
    """Why the volume cannot be classified; empty when it can, in its place or as a hardened copy."""
    try:
        check(volume)
    except InputError as error:
        return str(error)
    return ""


def check(volume: Any) -> None:
    """Return nothing when the volume can be classified, in its place or as a hardened copy.

    Raises: InputError with the reason when it cannot.
    """
    if volume is not None and volume.GetAttribute(heatmaps.HEATMAP):
        text = _("Expected an image, found the heat map {name}. Choose the image that it was made of.")
        raise InputError(text.format(name=volume.GetName()))
    if _components(volume) > 1:
        _grey(volume)
    else:
        scene.check_image(volume)
    scene.geometry_of(volume)


def _components(volume: Any) -> int:
    image = volume.GetImageData() if volume is not None and volume.GetScene() else None
    return int(image.GetNumberOfScalarComponents()) if image and image.GetPointData().GetScalars() else 0


def _grey(volume: Any) -> np.ndarray:
    """The one channel (Z, Y, X) of a colour picture whose channels are equal.

    Raises: InputError where they are not.
    """
    image, count = volume.GetImageData(), _components(volume)
    pixels = vtk_to_numpy(image.GetPointData().GetScalars())
    colours = pixels[:, :3]  # the fourth channel is opacity
    if count not in (3, 4) or (colours != colours[:, :1]).any():
        text = _(
            "Expected a grey image, found colours in {name}. "
            "Make it grey with the module Vector to Scalar Volume first."
        )
        raise InputError(text.format(name=volume.GetName()))
    return np.ascontiguousarray(colours[:, 0]).reshape(image.GetDimensions()[::-1])


def begin(
    volume: Any, segmentation: Any, segment_id: str, card: ModelCard, choices: Choices, root: Path
) -> ClassifyJob:
    """A job whose folder below `root` holds the volume and, where a segmentation is given, the segment on its grid.

    Raises: InputError when the volume cannot be classified, the segment is gone or not on it, the model needs one and
    there is none, or the folder cannot be written.
    """
    check(volume)
    if reason := result.why_region(card, segmentation):
        raise InputError(reason)
    with new_folder(root) as folder:
        if _components(volume) > 1:
            write_image(folder / IMAGE, _grey(volume), scene.geometry_of(volume))
        else:
            scene.write_volume(volume, folder / IMAGE)
        segment = _write_region(segmentation, segment_id, volume, folder / REGION) if segmentation else None
    facts = scene.facts_of(volume)
    image = {
        "modality": facts.modality or None,
        "description": facts.description or None,
        "date": facts.date or None,
        "dicom_instance": (volume.GetAttribute("DICOM.instanceUIDs") or "").partition(" ")[0] or None,
    }
    mismatches = scene.mismatches_of(card, facts, scene.geometry_of(volume))
    return ClassifyJob(
        reference_to(volume),
        reference_to(segmentation) if segmentation else None,
        (volume_state(volume), segmentation_state(segmentation)),
        segment_id if segmentation else "",
        card,
        choices,
        {
            "input": volume.GetName(),
            "segmentation": segmentation.GetName() if segmentation else None,
            "segment": segment,
            "heatmap": None,
        },
        image,
        tuple(f"Unlike the training images: {reason}." for reason in mismatches),  # the engine's words
        folder,
        time.monotonic(),
    )


def _write_region(segmentation: Any, segment_id: str, volume: Any, path: Path) -> str:
    """Write the segment on the volume's grid; its name."""
    geometry = scene.geometry_of(volume)
    region = scene.array_on(segmentation, segment_id, geometry)
    name = str(segmentation.GetSegmentation().GetSegment(segment_id).GetName())
    if not region.any():
        text = _(
            "Expected the segment {segment} to lie on {volume}, found none of its voxels there. "
            "Segment the tumour first, or choose another segment."
        )
        raise InputError(text.format(segment=name, volume=volume.GetName()))
    write_labelmap(path, Labelmap(region.astype(np.uint8), geometry, (Segment(1, REGION_ID, name),)))
    return name


def finish(job: ClassifyJob, answer: Mapping[str, Any]) -> Any:
    """The table of classes with all that belongs to it, in the scene; the job's folder is removed.

    Where the volume or the segmentation was changed or deleted meanwhile, the table is out of date from the beginning.

    Raises: InputError when the engine gave no result; the folder stays.
    """
    if not answer["results"]:
        messages = " ".join(str(error["message"]) for error in answer["errors"])
        raise InputError(messages or _("The engine gave no result. Try again."))
    record = dict(answer["results"][0])
    warnings, heatmap = list(record["warnings"]), None
    if record["heatmap"]:
        try:
            heatmap = read_volume(job.folder / HEATMAP)
        except InputError as error:
            warnings.append(_("There is no heat map: {reason}").format(reason=error))
    reasons = list(dict.fromkeys([*job.mismatches, *record["reasons"]]))
    image = {**record["image"], **{name: value for name, value in job.image.items() if value}}
    record |= {**job.input, "image": image, "warnings": warnings, "reasons": reasons, "abstained": bool(reasons)}
    classification = result.Classification(
        str(answer["model"]),
        str(answer["version"]),
        str(answer["sha256"]),
        {one.id: one.name for one in job.card.classes},
        job.segment_id,
        record,
        {"device": job.choices.device, "threads": job.choices.threads or "all"},
    )
    volume, segmentation = node_of(job.volume), node_of(job.segmentation)
    table = result.put(classification, job.card, volume, segmentation, heatmap)
    if volume is None or job.states != (volume_state(volume), segmentation_state(segmentation)):
        result.outdate(table)
    discard(job)
    return table


def is_outdated(answer: Answer) -> bool:
    """Whether the volume or the segmentation of an answer was changed since the job began."""
    volume = answer.table.GetNodeReference(result.VOLUME_ROLE)
    segmentation = answer.table.GetNodeReference(result.SEGMENTATION_ROLE)
    return volume is not None and answer.states != (volume_state(volume), segmentation_state(segmentation))


def run(
    engine: Engine, packages: Packages, volume: Any, model: str, segmentation: Any = None, segment_id: str = ""
) -> Any:
    """The table of classes of a whole run; events are processed until it is done. Without a segment the one that is
    most likely the tumour.

    Raises: ValueError on bad input, RuntimeError when the engine fails or the scene is closed meanwhile.
    """
    try:
        check(volume)
        card = load_card(find_model(model))
    except MedTLError as error:
        raise ValueError(str(error)) from error
    if card.task != "classification":
        raise ValueError(_("Expected a model that classifies, found {name}.").format(name=model))
    check_packages(packages)
    terms.remind(model)
    segment_id = segment_id or result.preferred_segment(segmentation)

    def make(root: Path) -> ClassifyJob:
        return begin(volume, segmentation, segment_id, card, Choices(), root)

    return run_blocking(engine, ClassifyJob, make).table
