"""Reading in a child process: what comes back is what reading here gives, and a crash costs one sentence."""

import os
import select
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from failing_reader import COMMAND as FAILING
from PIL import Image

from medtl.errors import Cancelled, InputError, MedTLError
from medtl.io import read
from medtl.io.header import ALLOW_OUTSIDE
from medtl.io.isolated import IsolatedReader
from medtl.io.write import write_labelmap
from medtl.volume import Geometry, Labelmap, Segment

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.fromarray(GREY).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.fixture(autouse=True)
def nothing_left(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert list(folder.iterdir()) == []


def volumes(reader: IsolatedReader, *paths: Path) -> list[str]:
    """What each reading came to: ok, or the message."""
    results = []
    for path in paths:
        try:
            reader.read_volume(path)
            results.append("ok")
        except InputError as error:
            results.append(str(error))
    return results


def test_volumes_and_labelmaps_come_back_as_reading_here_gives_them(tmp_path: Path) -> None:
    grid = Geometry((4, 3, 2), (0.1, 1 / 3, 2.5), (1e-9, -7.25, 3))
    segment = Segment(3, "m.x", 'ä "x"', (0.25, 0.5, 1.0), "SCT", (("MedTL.label", "x"), ("b", "")))
    array = np.zeros(grid.shape, np.uint16)
    array[1, 2] = 3
    write_labelmap(tmp_path / "l.seg.nrrd", Labelmap(array, grid, (segment,)))
    with IsolatedReader() as reader:
        for _ in range(2):
            mine, theirs = read.read_volume(tmp_path / "l.seg.nrrd"), reader.read_volume(tmp_path / "l.seg.nrrd")
            assert mine.array.dtype == theirs.array.dtype
            np.testing.assert_array_equal(mine.array, theirs.array)
            assert (mine.geometry, mine.name, mine.real_spacing, mine.warnings) == (
                theirs.geometry,
                theirs.name,
                theirs.real_spacing,
                theirs.warnings,
            )
            ours, labels = read.read_labelmap(tmp_path / "l.seg.nrrd"), reader.read_labelmap(tmp_path / "l.seg.nrrd")
            np.testing.assert_array_equal(ours.array, labels.array)
            np.testing.assert_array_equal(ours.covered, labels.covered)
            assert (ours.geometry, ours.segments, ours.warnings) == (labels.geometry, labels.segments, labels.warnings)


def test_after_the_last_input_the_child_is_gone_and_one_more_is_read_all_the_same(picture: Path) -> None:
    with IsolatedReader(reads=2) as reader:
        assert volumes(reader, picture) == ["ok"]
        child = reader._child
        assert child is not None
        assert not child.has_ended()
        assert "found nothing" in volumes(reader, picture.with_name("none.png"))[0]
        assert child.has_ended()
        assert volumes(reader, picture) == ["ok"]


def test_options_reach_the_reader(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 255, (6, 8, 3)).astype(np.uint8)
    Image.fromarray(colours).save(tmp_path / "a.png")
    with IsolatedReader() as reader:
        np.testing.assert_array_equal(reader.read_volume(tmp_path / "a.png", component=2).array[0], colours[..., 2])


def test_errors_of_the_reader_come_with_the_same_message(picture: Path) -> None:
    with IsolatedReader() as reader:
        for path, frame in ((picture.with_name("gone.nrrd"), 0), (Path(os.fsdecode(b"l\xe9.png")), 0), (picture, 7)):
            with pytest.raises(InputError) as here:
                read.read_volume(path, frame=frame)
            with pytest.raises(InputError) as there:
                reader.read_volume(path, frame=frame)
            assert (str(here.value), here.value.option) == (str(there.value), there.value.option)
        assert volumes(reader, picture) == ["ok"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_crash_is_one_sentence_about_one_file(picture: Path) -> None:
    crash, killed, end = (picture.with_name(f"{name}.png") for name in ("crash", "killed", "exit"))
    with IsolatedReader(command=FAILING) as reader:
        first, crashed, second, was_killed, ended, third = volumes(
            reader, picture, crash, picture, killed, end, picture
        )
    assert (first, second, third) == ("ok", "ok", "ok")
    assert crashed.startswith(f"Expected a readable image, found one on which the reader crashed (SIGSEGV): {crash}.")
    assert "(killed, perhaps because memory ran out)" in was_killed
    assert f"crashed (exit status 3): {end}" in ended


def test_a_mistake_in_the_reader_is_one_sentence_too(picture: Path) -> None:
    with IsolatedReader(command=FAILING) as reader:
        bug, after = volumes(reader, picture.with_name("bug.png"), picture)
    reason = f"Could not read {picture.with_name('bug.png')} (ZeroDivisionError: one bug)."
    assert (bug, after) == (f"{reason} Export it again, or leave it out.", "ok")


def test_a_file_that_takes_too_long_is_given_up(picture: Path) -> None:
    with IsolatedReader(command=FAILING, seconds=2.0) as reader:
        volumes(reader, picture)
        slow, after = volumes(reader, picture.with_name("hang.png"), picture)
    assert slow.startswith(f"Expected an image that is read in time, found one that takes too long: {picture.parent}")
    assert after == "ok"


def test_cancelling_ends_a_long_read_within_a_second(picture: Path) -> None:
    calls: list[float] = []

    def cancel_later(stage: str, fraction: float) -> None:
        assert stage == "read"
        calls.append(time.monotonic())
        if hanging and time.monotonic() - hanging[0] > 0.3:
            raise Cancelled("The job was cancelled.")

    hanging: list[float] = []
    with IsolatedReader(cancel_later, FAILING) as reader:
        assert volumes(reader, picture) == ["ok"]
        hanging.append(time.monotonic())
        with pytest.raises(Cancelled):
            reader.read_volume(picture.with_name("hang.png"))
        assert time.monotonic() - hanging[0] < 1.3
        hanging.clear()
        assert volumes(reader, picture) == ["ok"]


@pytest.mark.parametrize("command", [(sys.executable, "-c", "raise SystemExit(7)"), ("no-such-program",)])
def test_a_program_that_does_not_start_is_not_the_fault_of_the_file(command: tuple[str, ...], picture: Path) -> None:
    with pytest.raises(MedTLError, match="did not start") as caught, IsolatedReader(command=command) as reader:
        reader.read_volume(picture)
    assert not isinstance(caught.value, InputError)


@pytest.mark.skipif(sys.platform == "win32", reason="a shell")
def test_behind_a_launcher_the_reader_itself_is_ended(picture: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "alive")  # ends when nobody holds it open: neither the launcher nor the reader
    alive = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    launcher = tmp_path / "launcher"
    launcher.write_text(f"""#!/bin/sh
echo the launcher greets
exec 3<&0 4>{tmp_path / "alive"}
"$@" <&3 3<&- &
wait $!
""")
    launcher.chmod(0o755)
    with IsolatedReader(command=(str(launcher), *FAILING), seconds=0.5) as reader:
        assert "ok" in volumes(reader, picture)
        assert "too long" in volumes(reader, picture.with_name("hang.png"))[0]
        assert select.select([alive], [], [], 10) == ([alive], [], [])
    assert os.read(alive, 1) == b""
    os.close(alive)


@pytest.mark.parametrize("allowed", [False, True])
def test_data_outside_the_folder_of_a_header_are_read_where_the_reader_may(
    allowed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ALLOW_OUTSIDE, raising=False)
    (tmp_path / "a.raw").write_bytes(GREY.tobytes())
    (tmp_path / "case").mkdir()
    header = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 8 6 1\nencoding: raw\ndata file: ../a.raw\n"
    (tmp_path / "case" / "a.nhdr").write_text(header)
    with IsolatedReader(command=FAILING, data_outside=allowed) as reader:
        volumes(reader, tmp_path / "exit.png")  # the next child may as much as the first
        (result,) = volumes(reader, tmp_path / "case" / "a.nhdr")
    assert (result == "ok") == allowed
    assert allowed or "Expected data files in the folder" in result
    assert ALLOW_OUTSIDE not in os.environ
