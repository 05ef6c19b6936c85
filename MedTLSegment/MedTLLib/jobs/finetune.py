"""A job of Fine-tune: from the marked slices of all cases to a new model. No Qt."""

import itertools
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import slicer
from slicer.i18n import tr as _

from medtl.errors import InputError, ModelError
from medtl.finetuning.seed import write_seeds
from medtl.io.read import read_labelmap
from medtl.model.card import ModelCard, load_card
from medtl.model.store import shipped_folders, user_store
from medtl.volume import Labelmap
from medtl.worklist.case_list import CaseList

from ..mrml import editors, scene
from ..mrml.states import node_of, reference_to, segmentation_state, volume_state
from ..mrml.tags import own_ids, tag_of
from ..mrml.views import LABEL_MAP
from ..prediction import writer
from ..seeds import marks, storage
from ..worklist import tuning
from . import channels, regions
from .job import Ending, Job, Step, discard, new_folder, stage_text
from .segment import Finished, channels_of

ReadMarks = Callable[[Any, Any, ModelCard], Any]  # what `marks.read_marks` does

IMAGE, CHANNEL, SEEDS, RESULT = "image-{}.nrrd", "image-{}-channel-{}.nrrd", "seeds.json", "result.seg.nrrd"


@dataclass(frozen=True)
class Choices:
    """What the user chose: the model to start from, the time budget in seconds, how far the new model may differ."""

    model: str
    budget: float = 60.0
    strength: float = 1.0
    device: str = "auto"
    threads: int = 0


@dataclass(frozen=True)
class Case:
    """A segmentation with marks, the volume that they are on, and the numbers of fresh and of stale marks. `further`
    are the volumes of the other channels of the model, None for one that is missing."""

    segmentation: Any
    volume: Any
    fresh: int
    stale: int
    warnings: tuple[str, ...] = ()
    further: tuple[Any, ...] = ()


@dataclass(frozen=True)
class UsedCase:
    """A case that the engine got. Nodes are weak references: the scene may be closed meanwhile."""

    segmentation: Any
    volume: Any
    volume_state: tuple[object, ...]


@dataclass(frozen=True)
class FinetuneJob(Job):
    """A job of Fine-tune; `name` is that of the new model, which is kept even when the scene is closed."""

    kind: ClassVar[str] = "finetune"
    survives_scene: ClassVar[bool] = True
    keeps_late_result: ClassVar[bool] = True

    used: tuple[UsedCase, ...]
    slices: int
    choices: Choices
    name: str
    folder: Path
    started: float
    listed: bool = False  # there are SEEDs of a case list, too
    guard: Path | None = None  # the list of the guard set, in the folder
    notes: tuple[str, ...] = ()  # about cases of the list

    @property
    def request(self) -> dict[str, Any]:
        c = self.choices
        options: dict[str, Any] = {"budget": float(c.budget), "strength": float(c.strength), "device": c.device}
        if c.threads:
            options["threads"] = c.threads
        if self.guard is not None:
            options["guard"] = f"{self.folder.name}/{self.guard.name}"
        if len(self.used) == 1 and not self.listed:  # the labels of several cases would be several files
            options["result"] = f"{self.folder.name}/{RESULT}"
        seeds_file = f"{self.folder.name}/{SEEDS}"
        return {"job": "finetune", "model": c.model, "seeds": seeds_file, "output": self.name, "options": options}

    def steps(self) -> Sequence[Step]:
        def read_result(record: Mapping[str, Any]) -> Ending:
            tuned = finish(self, record)
            return Ending(_("Done in {seconds} s.").format(seconds=round(tuned.seconds)), tuned)

        return (read_result,)

    def after_cancel(self, may_wait: bool) -> Ending | None:
        """The best model so far is kept; the engine renames it as it ends."""
        if may_wait and is_renaming(self):
            return None
        best = recover_best(self)
        discard(self)
        return Ending(
            _("Stopped. The best model so far is kept.") if best else _("Stopped. Nothing was changed."), best
        )

    def after_failure(self, advice: Mapping[str, float]) -> "Tuned | TooShort | None":
        """The best model so far; where the time was too short to begin, the time that would do."""
        best = recover_best(self)
        return best if best or "budget" not in advice else TooShort(advice["budget"])

    def after_drop(self) -> None:
        """The engine may still read the folder, and keeps the best model so far as it ends."""

    def why_in_use(self, folder: Path) -> str:
        """A job uses its own folder, and at its end the models."""
        return self.busy_text()

    def progress(self, stage: str, fraction: float, seconds_left: float | None, elapsed: float) -> tuple[float, str]:
        """The bar follows the time budget."""
        left = self.choices.budget - elapsed
        text = _("{stage}, {seconds} s left") if left >= 1 else _("{stage}, nearly done")
        text = text.format(stage=stage_text(self.kind, stage), seconds=round(left))
        return min(elapsed / self.choices.budget, 0.99), text

    @classmethod
    def handing_over_text(cls) -> str:
        return str(_("Passing the SEED slices to the engine…"))

    @classmethod
    def cancelling_text(cls) -> str:
        return str(_("Stopping…"))

    @classmethod
    def busy_text(cls) -> str:
        return str(_("Fine-tune is running."))


@dataclass(frozen=True)
class Tuned:
    """The outcome of a job: a model in the user's store and, for a job on one case, the labels of that case, until they
    are put into its segmentation.

    `record` is the engine's answer; empty where the job was stopped before the model was compared with its parent.
    """

    name: str
    parent: str
    record: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    used: tuple[UsedCase, ...] = ()
    labelmap: Labelmap | None = None
    seconds: float = 0.0

    @property
    def advised_budget(self) -> float | None:
        """The seconds that would do, where there was time for few steps only."""
        return self.record.get("advised_budget")


@dataclass(frozen=True)
class TooShort:
    """The outcome of a job whose time is too short to begin: the seconds that would do."""

    advised_budget: float


class MarkedCases:
    """The marked cases of the scene. A case is read again only after a change, because a large one takes a while."""

    def __init__(self, read_marks: ReadMarks = marks.read_marks) -> None:
        self._read_marks = read_marks
        self._read: dict[str, tuple[tuple[object, ...], Case]] = {}

    def cases(self, card: ModelCard, chosen: Sequence[Any] = (None,)) -> tuple[Case, ...]:
        """Every segmentation with marks of the model's family. Its volume is the first of `volumes_of` with a fresh
        mark; without one nothing is fresh. `chosen` are the volumes that the user chose, one a channel; see
        `further_of` for those of other cases.
        """
        read: dict[str, tuple[tuple[object, ...], Case]] = {}
        for segmentation in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
            ids = own_ids(segmentation, card)
            tags = tuple(tag_of(segmentation.GetSegmentation().GetSegment(i), storage.TAG) for i in ids)
            if segmentation.GetHideFromEditors() or not any(tags):
                continue
            volumes = volumes_of(segmentation, chosen[0])
            places = tuple((volume.GetID(), volume_state(volume)) for volume in volumes)
            state = (card.family, tags, segmentation_state(segmentation), places)
            before = self._read.get(segmentation.GetID())
            if before is None or before[0] != state or before[1].segmentation is not segmentation:
                before = (state, self._case(segmentation, volumes, card))
            read[segmentation.GetID()] = before
        self._read = read
        return tuple(replace(case, further=further_of(case, card, chosen)) for _, case in read.values())

    def _case(self, segmentation: Any, volumes: Sequence[Any], card: ModelCard) -> Case:
        cases = []
        for volume in volumes or (None,):
            cases.append(self._count_marks(segmentation, volume, card))
            if cases[-1].fresh:
                return cases[-1]
        return max(cases, key=lambda case: case.stale)

    def _count_marks(self, segmentation: Any, volume: Any, card: ModelCard) -> Case:
        try:
            read = self._read_marks(segmentation, volume, card)
        except InputError as error:
            return Case(segmentation, volume, 0, 0, (str(error),))
        stale = sum(mark.stale for mark in read.marks)
        return Case(segmentation, volume, len(read.marks) - stale, stale, read.warnings)


def volumes_of(segmentation: Any, open_volume: Any = None) -> tuple[Any, ...]:
    """The volumes that the marks of a segmentation may be on, the most probable first: the volume that it was made on.
    Where that is not known, because the segmentation was read from a file: the open volume, then all others."""
    made_on = segmentation.GetNodeReference(slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole())
    if made_on is not None:
        return (made_on,)
    others = [v for v in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if not v.IsA(LABEL_MAP)]
    return tuple(v for v in dict.fromkeys((open_volume, *others)) if v is not None)


def further_of(case: Case, card: ModelCard, chosen: Sequence[Any]) -> tuple[Any, ...]:
    """The volumes of the case for all channels but the first: those `chosen` where the case is open, else those of its
    last prediction; None for one that is not known. None is found by its name: the user would not see it."""
    return tuple(chosen[1:] if case.volume is chosen[0] else channels_of(case.segmentation, card))


def why_not_tunable(card: ModelCard) -> str:
    """Why the model cannot be tuned, whatever is marked; empty when it can."""
    if card.windows is not None and card.windows.foreground:
        return str(_("{name} cannot be tuned: it sees a part of the volume that it chooses.").format(name=card.name))
    return ""


def free_name(family: str) -> str:
    """The first name "<family>-tuned-N" that no model has, and no state that a stopped job left."""
    for number in itertools.count(1):
        name = f"{family[:52]}-tuned-{number}"  # a name has at most 64 letters
        roots = (*shipped_folders(), user_store())
        if not any((root / name).exists() for root in roots) and not _states_left(name):
            return name
    raise AssertionError


def begin(
    cases: Sequence[Case],
    card: ModelCard,
    choices: Choices,
    root: Path,
    listed: CaseList | None = None,
    opened: str = "",
) -> FinetuneJob:
    """A job whose folder below `root` holds the images and the fresh SEEDs of the cases, as they are now, and of a case
    list, whose case `opened` is among them already.

    Raises: InputError when nothing is marked, a case does not fit or lacks a channel, or the folder cannot be written.
    """
    marked = [case for case in cases if case.fresh]
    if reason := why_no_channel(marked, card):
        raise InputError(reason)
    with new_folder(root) as folder:
        given, further = [], dict[Path, tuple[Path, ...]]()
        for number, case in enumerate(marked):
            path = folder / IMAGE.format(number)
            scene.write_volume(case.volume, path)
            given.append((case.segmentation, case.volume, path))
            further[path] = tuple(folder / CHANNEL.format(number, n) for n, _volume in enumerate(case.further, start=1))
            for volume, channel in zip(case.further, further[path], strict=True):
                scene.write_volume(volume, channel)
        # A bundle lists its cases, and the name of a volume may be a patient's.
        from_list, notes = tuning.collect(listed, card, folder, opened) if listed is not None else ([], ())
        marked_here = marks.collect(given, card) if given or not from_list else ()
        collected = [replace(seed, case=seed.image.stem, channels=further[seed.image]) for seed in marked_here]
        write_seeds(folder / SEEDS, [*collected, *from_list])
        guard = tuning.write_guard(listed, card, folder, opened) if listed is not None else None
    used = tuple(
        UsedCase(reference_to(case.segmentation), reference_to(case.volume), volume_state(case.volume))
        for case in marked
    )
    slices, name = len(collected) + len(from_list), free_name(card.family)
    return FinetuneJob(used, slices, choices, name, folder, time.monotonic(), bool(from_list), guard, notes)


def finish(job: FinetuneJob, record: Mapping[str, Any]) -> Tuned:
    """The outcome of the job: its labels are read, its folder is removed; `record` is the engine's answer. Where the
    labels cannot be read, there is a warning, and the model is kept."""
    labelmap, warnings = None, (*job.notes, *(str(warning) for warning in record.get("notes", ())))
    if "result" in record:
        try:
            labelmap = read_labelmap(job.folder / RESULT)
            warnings += labelmap.warnings
        except InputError as error:
            warnings += (str(error),)
    discard(job)
    name, seconds = str(record.get("name", job.name)), time.monotonic() - job.started
    return Tuned(name, job.choices.model, record, warnings, job.used, labelmap, seconds)


def recover_best(job: FinetuneJob) -> Tuned | None:
    """The best model of a job that was stopped; None where it left none.

    The engine renames the best state to the model's name as it ends; where it did not, that is done here.
    """
    store = user_store()
    if not (store / job.name).is_dir():
        for folder in _states_left(job.name):
            with suppress(OSError, ModelError):
                load_card(folder)  # raises where it is not whole
                folder.rename(store / job.name)
                break
        for folder in _states_left(job.name) if (store / job.name).is_dir() else ():
            shutil.rmtree(folder, ignore_errors=True)
    return Tuned(job.name, job.choices.model) if (store / job.name).is_dir() else None


def is_renaming(job: FinetuneJob) -> bool:
    """Whether the best state of a job that was stopped is not yet renamed to the model's name."""
    return bool(_states_left(job.name)) and not (user_store() / job.name).is_dir()


def _states_left(name: str) -> list[Path]:
    """The bundles that a job keeps beside its output while it improves, the last one first."""
    states = user_store().glob(f"{name}.best-*")
    return sorted(states, key=lambda folder: (len(folder.name), folder.name), reverse=True)


def round_budget(seconds: float) -> int:
    """At least this time in seconds, a time that a person would choose: whole minutes, above ten minutes every five,
    above an hour every thirty."""
    step = next((step for step, until in ((60, 600), (300, 3600)) if seconds <= until), 1800)
    return math.ceil(seconds / step) * step


def why_nothing_to_learn(cases: Sequence[Case], listed: int = 0) -> str:
    """Why there is nothing to learn from; empty when there is. `listed` is the number of SEEDs of a case list."""
    if listed or any(case.fresh for case in cases):
        return ""
    warnings = " ".join(dict.fromkeys(warning for case in cases for warning in case.warnings))
    return f"{_('Mark at least one slice as right first.')} {warnings}".strip()


def why_no_channel(cases: Sequence[Case], card: ModelCard, opened: Any = None) -> str:
    """Why the volumes of a case that counts are not one a channel of the model; empty when they are. `opened` is the
    volume that the user looks at."""
    for case in cases:
        if case.fresh and (reason := channels.why_not(card, [case.volume, *case.further])):
            if None in case.further and opened not in (None, case.volume):
                reason += " " + _("Select this volume above to choose them, then press Segment.")
            return f"{case.volume.GetName()}: {reason}"
    return ""


def problem(tuned: Tuned) -> str:
    """Why the labels of a job cannot be put into the segmentation that was marked; empty when they can."""
    if tuned.labelmap is None:
        return str(_("There is a result only for a run on one case. Use the new model, then press Segment."))
    segmentation, volume = segmentation_of(tuned), node_of(tuned.used[0].volume)
    if volume is None:
        return str(_("The volume was deleted. The new model is kept."))
    if volume_state(volume) != tuned.used[0].volume_state:
        return str(_("The volume was changed or moved since. Use the new model, then press Segment."))
    if segmentation is None:
        return str(_("The segmentation was deleted. The new model is kept."))
    if segmentation.GetParentTransformNode() is not None:
        return str(_("The segmentation is under a transform. Remove it from the transform first."))
    return ""


def segmentation_of(tuned: Tuned) -> Any:
    """The segmentation that the labels are for; None where it is gone, or there are none."""
    return node_of(tuned.used[0].segmentation) if tuned.labelmap is not None else None


def put(tuned: Tuned) -> Finished:
    """Write the labels of a job into the segmentation that was marked. As with Segment, slices that were edited since
    the last prediction, or marked as right, stay. Nothing changes where it raises.

    Raises: InputError when there are none, or they do not fit any more.
    """
    reason = problem(tuned)
    if reason or tuned.labelmap is None:
        raise InputError(reason)
    segmentation, volume = segmentation_of(tuned), node_of(tuned.used[0].volume)
    only, kept = regions.outside_seeds(tuned.labelmap, volume, segmentation, tuned.parent)
    options = writer.Options(editor_node=editors.open_editor(segmentation), only=only)
    written = writer.write(tuned.labelmap, volume, segmentation, options)
    return Finished(written, segmentation, volume, (*written.warnings, *kept), tuned.seconds)
