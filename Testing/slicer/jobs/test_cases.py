"""A session with a case list, without a panel: which state a case gets."""

from pathlib import Path

import numpy as np
import pytest
import slicer
from case_user import write_cases
from panel_user import PHANTOM, SEGMENT, paint

from medtl.volume import Labelmap
from medtl.worklist.find import find_cases
from MedTLLib.jobs.cases import LONGEST_VISIT, CaseSession
from MedTLLib.prediction import writer

TRUTH = PHANTOM.labelmap.array > 0


class Session(CaseSession):
    """Its clock is `time`."""

    def __init__(self) -> None:
        self.time = 0.0
        super().__init__(lambda: self.time)

    def segment(self, mask: np.ndarray = TRUTH):
        """A model writes this mask, in a new segmentation; the node."""
        labelmap = Labelmap(mask.astype(np.uint8), self.nodes.geometry, (SEGMENT,))
        written = writer.write(labelmap, self.volume)
        node = slicer.mrmlScene.GetNodeByID(written.segmentation_id)
        self.predicted(node)
        return node

    @property
    def state(self) -> str:
        return self.case.state


@pytest.fixture
def session(scene, tmp_path: Path):
    images = write_cases(tmp_path / "images", 2)
    opened = Session()
    opened.make(find_cases(images), images, "beside", images)
    opened.enter("case 1")
    yield opened
    opened.close()


def test_open_segmented_reviewed(session):
    assert session.state == "open"
    node = session.segment()
    assert session.state == "segmented"
    session.save(node)
    assert session.state == "segmented"
    session.save(node, leaving=True)
    assert session.state == "reviewed"


def test_corrected_and_then_reviewed_by_the_user_s_word(session):
    node = session.segment()
    paint(node, session.volume, np.roll(TRUTH, 1, axis=2))
    session.save(node)
    assert session.state == "corrected"
    session.save(node, leaving=True)
    assert session.state == "corrected"
    session.save(node, leaving=True, reviewed=True)
    assert session.state == "reviewed"


def test_a_reviewed_case_that_is_changed_is_corrected(session):
    node = session.segment()
    session.save(node, leaving=True)
    session.leave()
    finished = session.show(session.enter("case 1"))
    paint(finished.segmentation, session.volume, np.roll(TRUTH, 2, axis=2))
    session.save(finished.segmentation, leaving=True)
    assert session.state == "corrected"


def test_without_a_segmentation_nothing_is_done(session):
    session.save(None, leaving=True, reviewed=True)
    assert session.state == "open"


def test_edits_that_a_prediction_left_make_a_case_corrected(session):
    node = session.segment()
    session.predicted(node, with_edits=True)
    session.save(node, leaving=True)
    assert session.state == "corrected"


def test_a_prediction_from_disk_can_be_undone_and_a_corrected_one_not(session):
    session.segment()
    session.leave()
    finished = session.show(session.enter("case 1"))
    assert finished.written.undo is not None
    paint(finished.segmentation, session.volume, np.roll(TRUTH, 1, axis=2))
    session.save(finished.segmentation)
    session.leave()
    again = session.show(session.enter("case 1"))
    assert again.written.undo is None


def test_a_long_break_is_no_work(session):
    session.time += 100.0
    session.save(None)
    session.time += 10 * LONGEST_VISIT
    session.save(None)
    assert session.case.seconds == 100.0 + LONGEST_VISIT


def test_a_result_of_the_background_is_kept_for_its_case(session, tmp_path):
    session.segment()
    result = session.list.result(session.list.cases["case 2"])
    result.write_bytes(session.list.result(session.case).read_bytes())
    session.segmented_ahead("case 2", "glioma-flair")
    case = session.list.cases["case 2"]
    assert (case.state, case.model) == ("segmented", "glioma-flair")
    assert case.result_file.size == result.stat().st_size
    session.segmented_ahead("nobody", "glioma-flair")


def test_opening_another_list_closes_the_one_before(session, tmp_path):
    first = session.list
    other = write_cases(tmp_path / "other", 1)
    session.make(find_cases(other), other, "beside", other)
    assert session.list is not first
    assert not first.is_mine
