"""Working through a case list: the case that is open, its state, and what is saved of it. No Qt."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from medtl.errors import InputError
from medtl.labels import family_of
from medtl.volume import Labelmap
from medtl.worklist.case import CORRECTED, OPEN, REVIEWED, SEGMENTED, ListedCase
from medtl.worklist.case_list import CaseList, make_list, open_list
from medtl.worklist.disk import is_changed, state_of, state_since
from medtl.worklist.find import Found
from medtl.worklist.lock import now as time_now
from medtl.worklist.lock import user_name

from ..mrml.states import node_of, reference_to
from ..prediction import writer
from ..results.volume_table import table_of
from ..worklist import nodes as case_nodes
from ..worklist.saving import Saved, complete, content_state, save
from .labels import only_wanted
from .segment import Finished

LONGEST_VISIT = 1800.0  # seconds that count as work on a case at a time: a break is none


@dataclass(frozen=True)
class Opened:
    """A case that was opened: its saved segmentation, on the grid of its volume, None where there is none; whether that
    is a prediction that nobody corrected; and sentences for the user."""

    case: ListedCase
    saved: Labelmap | None
    is_prediction: bool
    warnings: tuple[str, ...]


class CaseSession:
    """A list and the case that the user is at. `now` gives seconds.

    `name` is that of the case, empty for none; `nodes` are its nodes, None where it could not be opened.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.list: CaseList | None = None
        self.name = ""
        self.nodes: case_nodes.CaseNodes | None = None
        self._segmentation: Any = None  # a weak reference to the one that is saved
        self._clean: tuple[object, ...] = ()  # its content when it was read or saved last
        self._since = 0.0
        self._changed = self._chosen = False  # in this visit: its voxels by the user, its state by hand

    # The list

    def make(self, found: Sequence[Found], folder: Path, places: str, source: Path | None = None) -> None:
        """Make a list and open it. Raises: InputError as `make_list` and `open_list` do."""
        self.open(make_list(folder, found, places, source))

    def open(self, path: Path, take_over: bool = False) -> None:
        """Open a list, after the one before it is closed. Raises: InputError as `open_list` does."""
        listed = open_list(path, take_over)
        self.close()
        self.list = listed

    def close(self) -> None:
        """Close the list; nodes stay in the scene."""
        if self.list is not None:
            self.list.close()
        self.list, self.name, self.nodes, self._segmentation = None, "", None, None

    @property
    def case(self) -> ListedCase | None:
        """The case that the user is at."""
        return self.list.cases.get(self.name) if self.list is not None else None

    @property
    def volume(self) -> Any:
        """The first volume of the case; None where there is none."""
        return self.nodes.volume if self.nodes is not None else None

    # Opening a case

    def enter(self, name: str) -> Opened:
        """Open this case: its volumes are in the scene then. What is on disk now is compared with what was.

        Raises: InputError when an image cannot be read, or the list cannot be changed; the case is the current one
        nevertheless, so that the user can go on from it.
        """
        assert self.list is not None
        case = self.list.cases[name]
        self.name, self.nodes, self._segmentation, self._clean = name, None, None, ()
        self._since, self._changed, self._chosen = self._now(), False, False
        self.list.go_to(name)
        self.nodes = case_nodes.load_volumes(case)
        image = state_since(case.images, case.image_file)
        warnings = list(self.nodes.warnings)
        if is_changed(image, case.image_file):
            warnings.append(_("The image was changed on disk since this case was opened last."))
        saved, result, state = self._read(case, warnings)
        is_prediction = case.state == SEGMENTED and not is_changed(result, case.result_file)
        if saved is None and case.state != OPEN and not self.list.result(case).exists():
            state = OPEN
        elif saved is not None and case.state == OPEN:
            state = SEGMENTED
        case = replace(case, image_file=image, result_file=result, state=state)
        self.list.change(case)
        return Opened(case, saved, is_prediction, tuple(warnings))

    def _read(self, case: ListedCase, warnings: list[str]) -> tuple[Labelmap | None, Any, str]:
        """The saved segmentation, what its file is like now, and the state of the case; adds to the warnings."""
        assert self.list is not None
        path = self.list.result(case)
        if not path.is_file():
            if case.result_file is not None:
                warnings.append(_("The segmentation was deleted from disk: {path}.").format(path=path))
            return None, None, case.state
        result = state_since([path], case.result_file)
        if is_changed(result, case.result_file):
            warnings.append(_("The segmentation was changed on disk by somebody else; theirs is shown."))
        try:
            saved = case_nodes.read_result(path, self.volume)
        except InputError as error:  # not known, so that saving keeps it under another name
            warnings.append(str(error))
            return None, None, case.state
        warnings.extend(saved.warnings)
        return saved, result, case.state

    def show(self, opened: Opened, wanted: Sequence[str] | None = None) -> Finished | None:
        """The saved segmentation as nodes of the scene; None where there is none. A prediction is written as Segment
        writes it, so that edits are known and Undo takes it back, with the `wanted` labels alone.

        Raises: InputError when it cannot be written.
        """
        saved, volume = opened.saved, self.volume
        if saved is None or volume is None or self.nodes is None:
            return None
        name = _("{case} segmentation").format(case=opened.case.name)
        written, fewer = None, False
        if opened.is_prediction and saved.segments and len({family_of(each) for each in saved.segments}) == 1:
            kept = saved if wanted is None else only_wanted(saved, wanted)
            written = writer.write(kept, volume, None, name=name) if kept.segments else None
            fewer = len(kept.segments) < len(saved.segments)
        if written is None:
            node = case_nodes.show_saved(saved, volume, name)
            written = writer.Written(node.GetID(), tuple(each.id for each in saved.segments), (), 0, (), None)
        segmentation = volume.GetScene().GetNodeByID(written.segmentation_id)
        case_nodes.mark_spacing(segmentation, self.nodes.real_spacing)
        self._keep_clean(segmentation)
        if fewer and written.undo is not None:  # from now on the file has what the scene has
            self.predicted(segmentation)
        return Finished(written, segmentation, volume, opened.warnings, 0.0)

    def arrived(self) -> Opened:
        """The case that is open, with the segmentation that came for it from the background.

        Raises: InputError when the list cannot be changed.
        """
        assert self.list is not None
        assert self.case is not None
        warnings: list[str] = []
        saved, result, _state = self._read(self.case, warnings)
        family = family_of(saved.segments[0]) if saved is not None and saved.segments else self.case.model
        case = replace(self.case, result_file=result, state=SEGMENTED, model=family)
        self.list.change(case)
        return Opened(case, saved, True, tuple(warnings))

    def _keep_clean(self, segmentation: Any) -> None:
        self._segmentation = reference_to(segmentation)
        self._clean = content_state(segmentation)

    # Saving

    def predicted(self, segmentation: Any, with_edits: bool = False) -> tuple[str, ...]:
        """Save what a model has just written, `with_edits` of the user that it left; sentences for the user.

        Raises: InputError when it cannot be saved.
        """
        self._changed |= with_edits
        if not self.may_replace(segmentation):
            return (_("The file of this case has your corrected segmentation until you press N."),)
        saved = self._save(segmentation)
        case = self._of_now()
        state = SEGMENTED if case.state == OPEN and not self._changed else case.state
        self._store(case, saved, state)
        return saved.warnings

    def save(self, segmentation: Any, leaving: bool = False, reviewed: bool = False) -> tuple[str, ...]:
        """Save the segmentation where it differs from what is saved, and the state of the case; sentences for the user.

        The user is `leaving` the case as done, and has `reviewed` it explicitly: else a case is reviewed where nothing
        was corrected.

        Raises: InputError when it cannot be saved; then nothing on disk has changed.
        """
        case, saved = self._of_now(), None
        if self.is_own(segmentation) and self.is_unsaved(segmentation):
            saved = self._save(segmentation)
            self._changed |= saved.changed
        elif leaving and self.list is not None:
            complete(self.list.result(case))
        self._store(case, saved, self._state(case, leaving, reviewed))
        return saved.warnings if saved is not None else ()

    def may_replace(self, segmentation: Any) -> bool:
        """Whether the file of the case may be replaced without the user's word: it has nothing that the user drew, or
        this segmentation is the one that it has."""
        assert self.list is not None
        assert self.case is not None
        drawn = self._changed or self.case.state not in (OPEN, SEGMENTED)
        return not drawn or segmentation is node_of(self._segmentation) or not self.list.result(self.case).exists()

    def is_unsaved(self, segmentation: Any) -> bool:
        """Whether the segmentation has something that its file does not have."""
        if self.list is None or self.case is None or segmentation is None:
            return False
        if segmentation.GetSegmentation().GetNumberOfSegments() == 0:
            return False
        same = segmentation is node_of(self._segmentation) and content_state(segmentation) == self._clean
        return not same or not self.list.result(self.case).exists()

    def is_own(self, segmentation: Any) -> bool:
        """Whether the segmentation lies on the volume of the case."""
        if segmentation is None or self.volume is None:
            return False
        role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
        return segmentation.GetNodeReference(role) in (None, self.volume)

    def _save(self, segmentation: Any) -> Saved:
        assert self.list is not None
        assert self.nodes is not None
        assert self.case is not None
        path, keep = self.list.result(self.case), not self.may_replace(segmentation)
        saved = save(segmentation, self.volume, self.nodes.geometry, path, self.case.result_file, keep)
        self._keep_clean(segmentation)
        return saved

    def _of_now(self) -> ListedCase:
        """The case with the time that was spent on it until now."""
        assert self.case is not None
        spent, self._since = min(self._now() - self._since, LONGEST_VISIT), self._now()
        return replace(self.case, seconds=self.case.seconds + spent)

    def _state(self, case: ListedCase, leaving: bool, reviewed: bool) -> str:
        """The state of the case when it is saved."""
        assert self.list is not None
        there = self.list.result(case).exists()
        shown = there and node_of(self._segmentation) is not None
        if self._chosen:
            return case.state
        if reviewed and shown:
            return REVIEWED
        if self._changed:
            return CORRECTED
        if leaving and shown and not case.is_done:
            return REVIEWED
        return SEGMENTED if there and case.state == OPEN else case.state

    def _store(self, case: ListedCase, saved: Saved | None, state: str) -> None:
        assert self.list is not None
        if saved is not None:
            case = replace(case, result_file=saved.state, model=saved.model or case.model, seeds=saved.seeds)
        if saved is not None or state != case.state:
            case = replace(case, user=user_name(), time=time_now())
        self.list.change(replace(case, state=state))

    # What the user says about a case

    def say(self, **facts: Any) -> None:
        """Store state, rating or note of the case. Raises: InputError when that cannot be."""
        assert self.list is not None
        assert self.case is not None
        self.list.change(replace(self.case, **facts, user=user_name(), time=time_now()))
        self._chosen |= "state" in facts

    def segmented_ahead(self, name: str, family: str) -> None:
        """A model has segmented this case in the background; its file is there. Raises: InputError as `say` does."""
        if self.list is not None and (case := self.list.cases.get(name)) is not None and name != self.name:
            result = state_of([self.list.result(case)])
            state = SEGMENTED if case.state == OPEN else case.state
            self.list.change(replace(case, state=state, model=family, result_file=result))

    # Leaving a case

    def own_nodes(self) -> list[Any]:
        """The nodes of the case in the scene."""
        segmentation = node_of(self._segmentation)
        volumes = [node_of(each) for each in self.nodes.volumes] if self.nodes is not None else []
        return [each for each in (*volumes, segmentation, table_of(segmentation)) if each is not None]

    def leave(self) -> None:
        """Take the nodes of the case out of the scene: its segmentation, and the volumes that were loaded for it."""
        made = []
        if self.nodes is not None:
            made = [node_of(each) for each, new in zip(self.nodes.volumes, self.nodes.made) if new]
        case_nodes.remove([node_of(self._segmentation), *made])
        self.nodes, self._segmentation = None, None

    def scene_closed(self) -> None:
        """The nodes are gone with their scene; the list stays open."""
        self.nodes, self._segmentation = None, None
