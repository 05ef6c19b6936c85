"""The output of a tuning: claimed by one run, and nothing removed that a run did not make."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import small_model

from medtl.errors import InputError
from medtl.finetuning.output import TuningOutput, claim_path, free_folder, is_checkpoint
from medtl.model.card import load_card

# A run that saves a checkpoint, says so and then waits to be killed.
OTHER_RUN = """
import shutil, sys, time
from pathlib import Path
from medtl.finetuning.output import TuningOutput

with TuningOutput(Path(sys.argv[1])) as output:
    output.save(lambda folder: shutil.copytree(sys.argv[2], folder))
    print("saved", flush=True)
    time.sleep(600)
"""


def checkpoint(folder: Path) -> None:
    """Write the bundle of an unfinished tuning."""
    small_model.save(folder, replace(small_model.a_card(), training={"tuned": [{"unfinished": True, "seeds": []}]}))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def other_run(tmp_path, tmp_path_factory):
    """A process that tunes to `out` and has saved `out.best-1`."""
    made = tmp_path_factory.mktemp("made") / "bundle"
    checkpoint(made)
    code = f"import sys; sys.path[:0] = {sys.path!r}\n{OTHER_RUN}"
    command = [sys.executable, "-c", code, str(tmp_path / "out"), str(made)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "saved\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_newer_checkpoint_replaces_the_older_and_nothing_stays_at_the_end(tmp_path):
    with TuningOutput(tmp_path / "out") as output:
        output.save(checkpoint)
        output.save(checkpoint)
        assert names(tmp_path) == [".out.tuning", "out.best-2"]
        output.drop()
    assert names(tmp_path) == []


def test_a_checkpoint_becomes_the_output(tmp_path):
    with TuningOutput(tmp_path / "out") as output:
        output.save(checkpoint)
        assert output.settle() == tmp_path / "out"
    assert names(tmp_path) == ["out"]
    assert load_card(tmp_path / "out").name == "small"


def test_a_checkpoint_stays_where_it_is_when_the_output_appears_meanwhile(tmp_path):
    with TuningOutput(tmp_path / "out") as output:
        output.save(checkpoint)
        (tmp_path / "out").mkdir()
        assert output.settle() == tmp_path / "out.best-1"
    assert names(tmp_path) == ["out", "out.best-1"]
    assert list((tmp_path / "out").iterdir()) == []


def test_folders_that_the_run_did_not_make_stay(tmp_path):
    (tmp_path / "out.best-1").mkdir()
    (tmp_path / "out.best-1" / "mine.txt").write_text("precious")
    checkpoint(tmp_path / "out.best-2")  # of a run that this claim does not name
    (tmp_path / "out.best-3").symlink_to(tmp_path / "absent")
    with TuningOutput(tmp_path / "out") as output:
        output.save(checkpoint)
        assert (tmp_path / "out.best-4").is_dir()
        output.drop()
    assert names(tmp_path) == ["out.best-1", "out.best-2", "out.best-3"]
    assert (tmp_path / "out.best-1" / "mine.txt").read_text() == "precious"


def test_an_output_that_another_process_writes_is_refused_and_its_checkpoint_stays(tmp_path, other_run):
    with pytest.raises(InputError, match="another one that writes there"), TuningOutput(tmp_path / "out"):
        pass
    with TuningOutput(tmp_path / "else"):  # sweeps the folder of dead claims
        pass
    assert names(tmp_path) == [".out.tuning", "out.best-1"]


def test_what_a_killed_run_left_is_removed_by_the_next_of_that_output_alone(tmp_path, other_run):
    other_run.kill()
    other_run.wait()
    with TuningOutput(tmp_path / "else"):
        pass
    assert names(tmp_path) == [".out.tuning", "out.best-1"], "it may still be wanted"
    with TuningOutput(tmp_path / "out"):
        assert names(tmp_path) == [".out.tuning"]
    assert names(tmp_path) == []


def test_what_the_user_put_into_a_killed_runs_checkpoint_stays(tmp_path, other_run):
    other_run.kill()
    other_run.wait()
    (tmp_path / "out.best-1" / "mine.txt").write_text("precious")
    with TuningOutput(tmp_path / "out"):
        pass
    assert names(tmp_path) == ["out.best-1"]
    assert (tmp_path / "out.best-1" / "mine.txt").read_text() == "precious"


def test_a_claim_of_a_dead_run_whose_checkpoint_was_taken_away_goes_with_the_next_run(tmp_path, other_run):
    other_run.kill()
    other_run.wait()
    (tmp_path / "out.best-1").rename(tmp_path / "out")
    with TuningOutput(tmp_path / "else"):
        pass
    assert names(tmp_path) == ["out"]


def test_a_file_of_another_program_in_the_place_of_the_claim_stays(tmp_path):
    claim_path(tmp_path / "out").write_text("something else")
    (tmp_path / ".empty.tuning").touch()
    with pytest.raises(InputError, match="Expected no file of another program"), TuningOutput(tmp_path / "out"):
        pass
    with TuningOutput(tmp_path / "else"):
        pass
    assert names(tmp_path) == [".empty.tuning", ".out.tuning"]
    assert claim_path(tmp_path / "out").read_text() == "something else"


def test_a_link_in_the_place_of_the_claim_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("")
    claim_path(tmp_path / "out").symlink_to(tmp_path / "precious")
    with pytest.raises(InputError, match="Could not write to the folder"), TuningOutput(tmp_path / "out"):
        pass
    assert (tmp_path / "precious").read_text() == ""


def test_names_in_a_claim_lead_nowhere_else(tmp_path):
    (tmp_path / "store").mkdir()
    checkpoint(tmp_path / "other.best-1")
    checkpoint(tmp_path / "store" / "other.best-1")
    claim_path(tmp_path / "store" / "out").write_text("MedTL tuning\n../other.best-1\nother.best-1\n..\n\n")
    with TuningOutput(tmp_path / "store" / "out"):
        pass
    assert is_checkpoint(tmp_path / "other.best-1")
    assert is_checkpoint(tmp_path / "store" / "other.best-1")


def test_a_finished_model_is_no_checkpoint(tmp_path):
    small_model.save(tmp_path / "whole")
    checkpoint(tmp_path / "part")
    assert [is_checkpoint(tmp_path / name) for name in ("whole", "part", "absent")] == [False, True, False]


def test_a_free_folder_is_numbered_and_its_name_stays_a_models_name(tmp_path):
    assert free_folder(tmp_path / "out") == tmp_path / "out"
    (tmp_path / "out").mkdir()
    (tmp_path / "out-2").symlink_to(tmp_path / "absent")
    assert free_folder(tmp_path / "out") == tmp_path / "out-3"
    (tmp_path / ("x" * 64)).mkdir()
    assert len(free_folder(tmp_path / ("x" * 64)).name) <= 64
