"""Saving the segmentation of a case."""

from pathlib import Path

import numpy as np
import pytest
from panel_user import LESION, MODEL, PHANTOM, SEGMENT, paint

from medtl.errors import InputError
from medtl.io.read import read_labelmap
from medtl.volume import Labelmap
from medtl.worklist.disk import state_of
from MedTLLib import samples
from MedTLLib.prediction import writer
from MedTLLib.worklist.saving import content_state, save

TRUTH = PHANTOM.labelmap.array > 0
GRID = PHANTOM.volume.geometry


@pytest.fixture
def case(scene):
    """A segmentation, as a model wrote it, and its volume."""
    volume = samples.volume_node(PHANTOM.volume, "head")
    written = writer.write(Labelmap(TRUTH.astype(np.uint8), GRID, (SEGMENT,)), volume)
    return volume.GetScene().GetNodeByID(written.segmentation_id), volume


def test_the_folder_is_made_and_the_file_says_what_it_has(case, tmp_path):
    path = tmp_path / "new" / "deep" / "a.seg.nrrd"
    saved = save(*case, GRID, path, None)
    assert saved.state == state_of([path])
    assert (saved.changed, saved.model, saved.seeds, saved.warnings) == (True, MODEL, 0, ())
    again = read_labelmap(path)
    assert [segment.id for segment in again.segments] == [LESION]
    np.testing.assert_array_equal(again.array > 0, TRUTH)


def test_whether_voxels_changed_is_seen(case, tmp_path):
    path = tmp_path / "a.seg.nrrd"
    first = save(*case, GRID, path, None)
    case[0].GetSegmentation().GetSegment(LESION).SetName("Other")
    second = save(*case, GRID, path, first.state)
    assert not second.changed
    paint(*case, np.roll(TRUTH, 1, axis=2))
    assert save(*case, GRID, path, second.state).changed


def test_what_is_unsaved_is_seen_voxels_names_and_tags(case):
    segment = case[0].GetSegmentation().GetSegment(LESION)
    states = [content_state(case[0])]
    segment.SetName("Other")
    states.append(content_state(case[0]))
    segment.SetTag("MedTL.seeds", "{}")
    states.append(content_state(case[0]))
    paint(*case, np.roll(TRUTH, 1, axis=2))
    states.append(content_state(case[0]))
    assert len(set(map(repr, states))) == 4
    assert content_state(case[0]) == states[-1]
    assert content_state(None) == ()


def test_a_file_that_is_in_the_way_as_a_folder_is_an_error(case, tmp_path):
    (tmp_path / "a.seg.nrrd").mkdir()
    with pytest.raises(InputError):
        save(*case, GRID, tmp_path / "a.seg.nrrd", None)
    assert [path.name for path in tmp_path.iterdir()] == ["a.seg.nrrd"]


def test_a_folder_that_cannot_be_made_is_an_error(case, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="Could not make the folder"):
        save(*case, GRID, tmp_path / "file" / "deep" / "a.seg.nrrd", None)


def test_theirs_is_kept_under_the_first_free_name(case, tmp_path):
    path = tmp_path / "a.seg.nrrd"
    known = save(*case, GRID, path, None).state
    (tmp_path / "a.others-1.seg.nrrd").write_text("older")
    path.write_text("theirs")
    saved = save(*case, GRID, path, known)
    assert (tmp_path / "a.others-2.seg.nrrd").read_text() == "theirs"
    assert (tmp_path / "a.others-1.seg.nrrd").read_text() == "older"
    assert saved.warnings == (
        "a.seg.nrrd was changed by somebody else meanwhile. Theirs is kept as a.others-2.seg.nrrd.",
    )


def test_a_file_of_which_nothing_is_known_is_kept_too(case, tmp_path):
    path = tmp_path / "a.seg.nrrd"
    path.write_text("a file of the user's")
    save(*case, GRID, path, None)
    assert (tmp_path / "a.others-1.seg.nrrd").read_text() == "a file of the user's"
    assert isinstance(path, Path)
