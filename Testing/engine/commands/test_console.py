"""What all commands share: what they print, how they end, and what they leave behind."""

import argparse
import functools
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import failing_reader
import numpy as np
import pytest
import SimpleITK as sitk
from small_classifier import spots
from small_model import bands

from medtl.commands import cli, console
from medtl.errors import InputError
from medtl.io.header import ALLOW_OUTSIDE
from medtl.io.isolated import IsolatedReader
from medtl.io.write import write_labelmap
from medtl.volume import Geometry, Labelmap, Segment

ROOT = Path(__file__).resolve().parents[3]
NAME = "a\x1b[31m\n\u202ered\x07\x9b.nrrd"
COMMAND = [sys.executable, "-c", "import sys; from medtl.__main__ import main; sys.exit(main())"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

# A command that writes beside its output and waits for what never comes.
WAITS = """
import signal, sys, time
from pathlib import Path
{before}
from medtl.commands.console import run_command
from medtl.io.write import write_whole
def write(part):
    part.write_text("half")
    print("writing", flush=True)
    while not Path(sys.argv[2]).exists():
        time.sleep(0.01)
def command():
    write_whole(Path(sys.argv[1]), write)
    return 0
sys.exit(run_command(command))
"""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Läsion 1 [µL] 病灶 \\n", "Läsion 1 [µL] 病灶 \\n"),
        ("a\x1b]0;owned\x07b", r"a\x1b]0;owned\x07b"),
        ("line\nmedtl: a lie\r", r"line\nmedtl: a lie\r"),
        ("\u202etxt.exe\u200b\u2028", r"\u202etxt.exe\u200b\u2028"),
        ("lab\udce9l\x7f\x85", r"lab\udce9l\x7f\x85"),
        (Path("a\tb"), r"a\tb"),
    ],
)
def test_characters_that_steer_a_terminal_are_printed_as_escapes(text, shown):
    assert console.printable(text) == shown


@pytest.mark.parametrize(
    "line",
    [
        ["segment", NAME, "--model", "m", "--output", "x.nrrd"],
        ["segment", NAME, "b.nrrd", "--model", "m", "--output", NAME + "/none/"],
        ["segment", "a.nrrd", "--model", "m", "--output", NAME + ".dcm"],
        ["segment", "a.nrrd", NAME, "--model", "m", "--output", "out/"],
        ["classify", NAME, "--model", "m"],
        ["export", NAME, "--output", "x.nrrd"],
        ["export", NAME, "--output", NAME],
        ["evaluate", "--model", "m", "--cases", NAME],
        ["import", NAME],
        ["delete-model", NAME],
        [NAME],
        ["models", NAME],
    ],
    ids=lambda line: " ".join(line).encode("ascii", "backslashreplace").decode()[:40],
)
def test_no_message_about_a_name_reaches_the_terminal_with_its_control_characters(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path))
    assert cli.main(line) in (1, 2)
    done = capsys.readouterr()
    text = done.out + done.err
    assert "red" in text
    assert not set("\x1b\x07\x9b\u202e") & set(text)


def test_with_debug_the_traceback_is_printed_without_control_characters(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["--debug", "export", NAME, "--output", "x.nrrd"]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert not set("\x1b\x07\x9b\u202e") & set(err)


@pytest.mark.parametrize(("option", "hint"), console.HINTS.items())
def test_a_hint_names_its_option(option, hint):
    assert f"--{option.replace('_', '-')} " in hint


def test_the_option_that_resolves_an_error_is_named_where_the_command_has_it(capsys):
    error = InputError("Expected one frame, found 3 frames, 0 to 2.", option="frame")
    assert console.print_error(error, argparse.Namespace(frame=None)).endswith("0 to 2. Use --frame N.")
    assert console.print_error(error, argparse.Namespace(json=False)).endswith("0 to 2.")
    assert console.print_error(error).endswith("0 to 2.")
    assert capsys.readouterr().err.count("--frame") == 1


def test_an_output_that_exists_is_refused_with_the_option_that_replaces_it(tmp_path, capsys):
    (tmp_path / "there.nrrd").write_text("precious")
    labels = labelled(tmp_path / "labels.seg.nrrd")
    assert cli.main(["export", str(labels), "--output", str(tmp_path / "there.nrrd")]) == 1
    assert capsys.readouterr().err.endswith("exists already. Choose another name. Use --force to replace it.\n")


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied", "a.nrrd"), RecursionError(), MemoryError()])
def test_errors_of_the_system_are_a_sentence_and_no_class_name(error, capsys):
    text = console.print_error(error)
    assert type(error).__name__ not in text
    assert text.endswith(".")
    assert capsys.readouterr().err == f"medtl: {text}\n"


# --- how a command ends ---


def waiting(folder: Path, before: str = "") -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS.format(before=before), str(folder / "out"), str(folder / "go")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    )
    assert process.stdout.readline() == b"writing\n"
    return process


@pytest.mark.skipif(os.name == "nt", reason="no such signals")
@pytest.mark.parametrize(
    ("name", "handler", "status"),
    [("SIGINT", "default_int_handler", 130), ("SIGTERM", "SIG_DFL", 143), ("SIGHUP", "SIG_DFL", 129)],
)
def test_a_signal_ends_the_work_without_a_trace(name, handler, status, tmp_path):
    # The tests may run where the signal is ignored, as under nohup; a terminal gives it this handler.
    process = waiting(tmp_path, f"signal.signal(signal.{name}, signal.{handler})")
    assert len(list(tmp_path.iterdir())) == 1
    process.send_signal(getattr(signal, name))
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (status, b"medtl: Cancelled.\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="no such signals")
def test_a_hangup_that_is_ignored_stays_ignored(tmp_path):
    process = waiting(tmp_path, "signal.signal(signal.SIGHUP, signal.SIG_IGN)")
    process.send_signal(signal.SIGHUP)
    (tmp_path / "go").touch()
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert sorted(f.name for f in tmp_path.iterdir()) == ["go", "out"]


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_what_a_killed_command_left_is_deleted_by_the_next_one(tmp_path):
    process = waiting(tmp_path)
    process.kill()
    process.communicate(timeout=30)
    assert len(list(tmp_path.iterdir())) == 1
    labelled(tmp_path / "labels.seg.nrrd")
    assert [f.name for f in tmp_path.iterdir()] == ["labels.seg.nrrd"]


@pytest.mark.skipif(os.name == "nt", reason="needs a shell")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("line", ["models", "models --json", "export none.nrrd --output x.nrrd", "doctor --nothing"])
def test_closed_standard_streams_are_no_error_of_ours(closed, line, tmp_path):
    script = f"{' '.join(map(repr, COMMAND))} {line} {closed}"
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, cwd=tmp_path, env=ENVIRONMENT, check=False)
    assert done.returncode == {"models": 0, "export": 1, "doctor": 2}[line.split()[0]]
    assert b"Traceback" not in done.stdout + done.stderr
    assert b"Error" not in done.stderr


def test_warnings_and_logs_of_libraries_do_not_reach_the_terminal(tmp_path):
    code = (
        "import logging, sys, warnings; from medtl.commands.console import run_command\n"
        "def command():\n"
        "    warnings.warn('overflow encountered in cast', RuntimeWarning)\n"
        "    logging.getLogger('pydicom').warning('Invalid value \\x1b[31m')\n"
        "    return 0\n"
        "sys.exit(run_command(command, len(sys.argv) > 1))\n"
    )
    for more, words in (([], b""), (["--debug"], b"overflow encountered")):
        done = subprocess.run([sys.executable, "-c", code, *more], capture_output=True, env=ENVIRONMENT, check=True)
        assert words in done.stderr
        assert bool(done.stderr) == bool(more)


def test_a_command_leaves_the_way_warnings_are_shown_and_the_signals_as_they_were():
    before = warnings.showwarning, signal.getsignal(signal.SIGTERM)
    assert console.run_command(lambda: 3) == 3
    assert (warnings.showwarning, signal.getsignal(signal.SIGTERM)) == before


# --- one input of many, and warnings ---


class OddError(Exception):
    """As some libraries have it: not derived from any of the usual classes."""


@pytest.mark.parametrize(
    "error", [OddError("odd"), RuntimeWarning("overflow"), RecursionError("deep"), StopIteration()]
)
@pytest.mark.parametrize("verb", ["segment", "classify"])
def test_an_input_ends_in_a_sentence_whatever_is_raised_and_the_others_go_on(
    error, verb, tmp_path, monkeypatch, capsys
):
    module = importlib.import_module("medtl.segmentation" if verb == "segment" else "medtl.classification.files")
    monkeypatch.setattr("medtl.model.bundle.load_model", lambda *_: bands() if verb == "segment" else spots())
    good, odd = picture(tmp_path / "good.nrrd"), picture(tmp_path / "odd.nrrd")
    work = getattr(module, f"{verb}_file")

    def failing(source, *rest):
        if odd in (source if isinstance(source, tuple) else (source,)):  # segment takes a volume a channel
            raise error
        return work(source, *rest)

    monkeypatch.setattr(module, f"{verb}_file", failing)
    output = ["--output", str(tmp_path / "out/")] if verb == "segment" else []
    assert cli.main([verb, str(odd), str(good), "--model", "m", "--json", *output]) == 1
    done = capsys.readouterr()
    answer = json.loads(done.out)
    assert [one["input"] for one in answer["results"]] == [str(good)]
    assert [one["input"] for one in answer["errors"]] == [str(odd)]
    assert "Traceback" not in done.err


failing = functools.partial(IsolatedReader, command=failing_reader.COMMAND)


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("verb", ["segment", "classify"])
def test_a_file_that_crashes_the_reader_is_one_sentence_and_the_others_go_on(verb, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("medtl.model.bundle.load_model", lambda *_: bands() if verb == "segment" else spots())
    monkeypatch.setattr("medtl.io.isolated.IsolatedReader", failing)
    first, crash, last = (picture(tmp_path / f"{name}.nrrd") for name in ("first", "crash", "last"))
    output = ["--output", str(tmp_path / "out/")] if verb == "segment" else []
    assert cli.main([verb, str(first), str(crash), str(last), "--model", "m", "--json", *output]) == 1
    done = capsys.readouterr()
    answer = json.loads(done.out)
    assert [one["input"] for one in answer["results"]] == [str(first), str(last)]
    assert "the reader crashed (SIGSEGV)" in answer["errors"][0]["message"]
    assert [line for line in done.err.splitlines() if "crash" in line] == [f"medtl: {answer['errors'][0]['message']}"]


READING_VERBS = ["segment", "classify", "finetune", "suggest", "evaluate", "train", "export"]


def arguments_of(verb: str, image: Path, folder: Path) -> list[str]:
    """The arguments of a verb that reads the image; its outputs are in the folder."""
    labels = labelled(folder / "labels.seg.nrrd")
    (folder / "cases.csv").write_text(f"image,label\n{image},{labels}\n")
    return {
        "segment": [str(image), "--model", "m", "--output", str(folder / "out.nrrd")],
        "classify": [str(image), "--model", "m"],
        "finetune": ["--case", str(image), str(labels), "--model", "m", "--output", str(folder / "out")],
        "suggest": [str(image), "--model", "m"],
        "evaluate": ["--cases", str(folder / "cases.csv"), "--model", "m"],
        "train": ["glioma-flair", "--cases", str(folder / "cases.csv"), "--output", str(folder / "run")],
        "export": [str(image), "--output", str(folder / "out.nrrd")],
    }[verb]


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("verb", READING_VERBS)
def test_the_only_input_may_crash_the_reader_too(verb, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("medtl.model.bundle.load_model", lambda *_: spots() if verb == "classify" else bands())
    monkeypatch.setattr("medtl.io.isolated.IsolatedReader", failing)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    crash = picture(tmp_path / "crash.nrrd")
    assert cli.main([verb, *arguments_of(verb, crash, tmp_path)]) == 1
    done = capsys.readouterr()
    assert done.out == ""
    (line,) = done.err.splitlines()
    assert line.startswith("medtl: ")
    assert f"found one on which the reader crashed (SIGSEGV): {crash}." in line
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(("out", "."))] == []
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize("verb", READING_VERBS)
def test_data_outside_the_folder_of_a_header_are_read_with_the_option_that_the_error_names(
    verb, tmp_path, monkeypatch, capsys
):
    monkeypatch.delenv(ALLOW_OUTSIDE, raising=False)
    monkeypatch.setattr("medtl.model.bundle.load_model", lambda *_: spots() if verb == "classify" else bands())
    (tmp_path / "case").mkdir()
    (tmp_path / "a.raw").write_bytes(bytes(64 * 64 * 4))  # alike everywhere, which an image may not be
    header = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 64 64 4\nencoding: raw\ndata file: ../a.raw\n"
    (tmp_path / "case" / "a.nhdr").write_text(header)
    line = [verb, *arguments_of(verb, tmp_path / "case" / "a.nhdr", tmp_path)]
    assert cli.main(line) == 1
    assert capsys.readouterr().err.endswith("Move it there. Use --data-outside if you trust the header.\n")
    assert cli.main([*line, "--data-outside"]) == (0 if verb == "export" else 1)
    err = capsys.readouterr().err
    assert err == "" if verb == "export" else "found the value 0 in every voxel" in err


@pytest.mark.parametrize("verb", ["segment", "classify", "suggest", "evaluate"])
def test_an_impossible_number_of_threads_is_one_sentence(verb, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("medtl.model.bundle.load_model", lambda *_: spots() if verb == "classify" else bands())
    image = picture(tmp_path / "a.nrrd")
    more = {
        "segment": [str(image), "--output", str(tmp_path / "x.nrrd")],
        "classify": [str(image)],
        "suggest": [str(image)],
        "evaluate": ["--cases", str(case_list(tmp_path, image))],
    }[verb]
    assert cli.main([verb, *more, "--model", "m", "--threads", "1000000000"]) == 1
    err = capsys.readouterr().err
    assert "threads, found 1000000000" in err
    assert err.count("\n") == 1


def picture(path: Path, holes: int = 0) -> Path:
    """A head with a bright spot; some voxels may be NaN, of which reading warns."""
    array = np.zeros((4, 64, 64), np.float32)
    array[:, 10:54, 10:54] = 100
    array[1:3, 28:34, 28:34] = 200
    array.flat[:holes] = np.nan
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((3.0, 3.0, 5.0))
    sitk.WriteImage(image, str(path))
    return path


def labelled(path: Path, overlap: bool = False) -> Path:
    """A labelmap of two segments; they may overlap, of which reading warns."""
    array = np.zeros((4, 64, 64), np.uint8)
    array[1:3, 28:34, 28:34] = 1
    geometry = Geometry((64, 64, 4), (3.0, 3.0, 5.0), (0.1, 0.2, 1 / 3))
    write_labelmap(path, Labelmap(array, geometry, (Segment(1, "small.lesion", "Lesion"),)))
    if overlap:
        image = sitk.ReadImage(str(path))
        layers = np.stack([array, array * 2], axis=-1)
        both = sitk.GetImageFromArray(layers, isVector=True)
        both.CopyInformation(image)
        for key in image.GetMetaDataKeys():
            both.SetMetaData(key, image.GetMetaData(key))
        for entry, value in {"ID": "other", "Name": "Other", "LabelValue": "2", "Layer": "1"}.items():
            both.SetMetaData(f"Segment1_{entry}", value)
        sitk.WriteImage(both, str(path))
    return path


def case_list(folder: Path, image: Path) -> Path:
    labels = labelled(folder / "labels.seg.nrrd")
    array = sitk.ReadImage(str(image))
    truth = sitk.ReadImage(str(labels))
    truth.CopyInformation(array)
    sitk.WriteImage(truth, str(folder / "truth.nrrd"))
    (folder / "cases.csv").write_text(f"image,label\n{image},{folder / 'truth.nrrd'}\n")
    return folder / "cases.csv"


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("verb", ["segment", "classify", "evaluate"])
def test_a_warning_of_the_reader_is_printed_by_every_verb(verb, as_json, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("medtl.model.bundle.load_model", lambda *_: spots() if verb == "classify" else bands())
    image = picture(tmp_path / "a.nrrd", holes=3)
    more = {
        "segment": [str(image), "--output", str(tmp_path / "x.nrrd")],
        "classify": [str(image)],
        "evaluate": ["--cases", str(case_list(tmp_path, image))],
    }[verb]
    assert cli.main([verb, *more, "--model", "m", *(["--json"] if as_json else [])]) == 0
    done = capsys.readouterr()
    (line,) = [line for line in done.err.splitlines() if "NaN" in line]
    assert line.startswith("medtl: warning: ")
    if as_json:
        answer = json.loads(done.out)
        (result,) = answer["cases"] if verb == "evaluate" else answer["results"]
        assert any("NaN" in warning for warning in result["warnings"])


def test_export_prints_the_warnings_of_reading_and_of_writing(tmp_path, capsys):
    labels = labelled(tmp_path / "labels.seg.nrrd", overlap=True)
    assert cli.main(["export", str(labels), "--output", str(tmp_path / "x.nii.gz")]) == 0
    err = capsys.readouterr().err.splitlines()
    assert all(line.startswith("medtl: warning: ") for line in err)
    assert any("overlap" in line for line in err)


@pytest.mark.parametrize(
    ("verb", "words"),
    [("segment", "Use --frame N."), ("classify", "Use --frame N."), ("suggest", "")],
)
def test_a_file_of_several_frames_is_refused_with_the_option_that_the_verb_has(
    verb, words, tmp_path, monkeypatch, capsys
):
    """It is read in another process; the option is named all the same."""
    monkeypatch.setattr("medtl.model.bundle.load_model", lambda *_: spots() if verb == "classify" else bands())
    image = sitk.ReadImage(str(picture(tmp_path / "a.nrrd")))
    sitk.WriteImage(sitk.JoinSeries([image, image + 1]), str(tmp_path / "two.nii.gz"))
    inputs = [str(tmp_path / "two.nii.gz")] + ([] if verb == "suggest" else [str(tmp_path / "a.nrrd")])
    output = ["--output", str(tmp_path / "out/")] if verb == "segment" else []
    assert cli.main([verb, *inputs, "--model", "m", *output]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "found 2 frames" in line]
    assert line.endswith(words)
    assert ("--" in line) == bool(words)
