"""The command line as scripts see it: standard output, standard error, exit status, files."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import small_model

from medtl.commands import cli, console
from medtl.commands import segment as batch_segment
from medtl.errors import Cancelled, InputError, ModelError
from medtl.io.read import read_labelmap
from medtl.io.write import write_labelmap
from medtl.model.nnunet import ImportOptions
from medtl.model.store import ModelEntry
from medtl.model.terms import Terms
from medtl.results import LesionFigures, SegmentedFile, SegmentFigures
from medtl.segmentation import InferenceOptions, OutputOptions, ReadOptions
from medtl.training.recipe import TrainedBundle
from medtl.volume import Geometry, Labelmap, Segment

CARD = SimpleNamespace(name="fake", version="1.0", task="segmentation", unfinished=False, family="fake")


class Engine:
    """Fakes of `load_model` and `segment_file` that note what they are asked for."""

    def __init__(self):
        self.loaded, self.calls = [], []
        self.load_error: BaseException | None = None

    def load_model(self, name, device="auto", task="segmentation"):
        self.loaded.append((name, device))
        if self.load_error:
            raise self.load_error
        return SimpleNamespace(card=CARD, sha256="abc", folder=Path("fake"))

    def segment_file(self, sources, model, outputs, reading, options, progress, reader):
        (source,) = sources
        sys.stdout.write("a library prints\n")
        self.calls.append((source, outputs, reading, options))
        content = source.read_text()
        if content == "bad":
            raise InputError(f"Expected a volume, found {source}.\nChoose another.")
        if content == "cancel":
            raise Cancelled("The work was cancelled.")
        if content == "interrupt":
            raise KeyboardInterrupt
        if content == "memory":
            raise MemoryError("no room")
        if content == "bug":
            raise TypeError("unsupported\noperand")
        progress("infer", 1.0)
        outputs.labelmap.write_text("labels")
        ml = None if source.suffix == ".png" else 0.0 if content == "healthy" else 12.34
        seconds = {"write": 0.12345, "read": 0.1, "infer": float("nan")}
        lesions = () if content == "healthy" else (LesionFigures(ml, 34.4, (0.0, 0.0, 0.0)),)
        segments = (SegmentFigures("fake.tumour", "Tumour", ml, lesions),)
        return SegmentedFile(str(source), str(outputs.labelmap), segments, seconds, ("field of view is small",), "fp32")


@pytest.fixture
def engine(monkeypatch):
    fake = Engine()
    monkeypatch.setattr("medtl.model.bundle.load_model", fake.load_model)
    monkeypatch.setattr("medtl.segmentation.segment_file", fake.segment_file)
    return fake


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.nrrd", "b.nii.gz", "picture.png"):
        Path(name).write_text("good")
    Path("bad.nrrd").write_text("bad")
    Path("twin").mkdir()
    Path("twin/a.nii").write_text("good")
    Path("out").mkdir()
    Path("scan").mkdir()
    Path("scan/1.nrrd").write_text("a slice")
    Path("c.nrrd").write_text("good")
    Path("c.nhdr").write_text("NRRD0004\ntype: uchar\ndimension: 3\nsizes: 1 1 4\nencoding: raw\ndata file: c.nrrd\n")
    Path("link.nrrd").hardlink_to("a.nrrd")
    Path("there.seg.nrrd").write_text("precious")
    return tmp_path


def run(line: str, capsys) -> tuple[int, str, str]:
    status = cli.main(line.split())
    done = capsys.readouterr()
    return status, done.out, done.err


SEGMENT = "segment --model fake "
REFUSED = {
    "nothing there": ("none.nrrd --output x.nrrd", 1, "found nothing at none.nrrd"),
    "output exists": ("a.nrrd --output there.seg.nrrd", 1, "there.seg.nrrd exists already"),
    "output is the input": ("a.nrrd --output a.nrrd --force", 1, "The output a.nrrd is an input"),
    "outputs become inputs": ("a.nrrd bad.nrrd --output . --format .nrrd --force", 1, "bad.nrrd is an input"),
    "output is the data of a detached header": ("c.nhdr --output c.nrrd --force", 1, "c.nrrd is an input or a part"),
    "output is a link to the input": ("a.nrrd --output link.nrrd --force", 1, "link.nrrd is an input"),
    "output lies in the DICOM folder": ("scan --output scan/1.nrrd --force", 1, "scan/1.nrrd is an input or a part"),
    "output folder missing": ("a.nrrd --output none/x.nrrd", 1, "The folder none does not exist"),
    "parent of a new folder missing": ("a.nrrd --output none/deeper/", 1, "Could not make the folder none/deeper"),
    "one stem twice": ("a.nrrd twin/a.nii --output out", 1, "would both be written to out/a.seg.nrrd"),
    "uncertainty is the output": ("a.nrrd --output x.nrrd --uncertainty x.nrrd", 1, "Two outputs have the same name"),
    "uncertainty exists": ("b.nii.gz --output x.nrrd --uncertainty a.nrrd", 1, "a.nrrd exists already"),
    "probabilities are the input": ("a.nrrd --output x.nrrd --probabilities a.nrrd --force", 1, "is an input"),
    "several inputs to a file": ("a.nrrd b.nii.gz --output x.nrrd", 2, "several inputs need a folder"),
    "several inputs to a file that is there": (
        "a.nrrd b.nii.gz --output picture.png",
        2,
        "several inputs need a folder",
    ),
    "unknown output format": ("a.nrrd --output x.dcm", 2, "expected --output to end in .seg.nrrd, .nrrd, .nii.gz"),
    "contradicting format": ("a.nrrd --output x.nrrd --format .nii.gz", 2, "--format .nii.gz contradicts"),
    "unknown format": ("a.nrrd --output out --format .mha", 2, "as --format, found .mha"),
    "probabilities of several": ("a.nrrd b.nii.gz --output out --probabilities p.nrrd", 2, "go with one input"),
    "probabilities as a picture": ("a.nrrd --output x.nrrd --probabilities p.png", 2, "ending in .nrrd or .nii.gz"),
    "negative frame": ("a.nrrd --output x.nrrd --frame -1", 2, "--frame"),
    "frame that is no number": ("a.nrrd --output x.nrrd --frame first", 2, "whole number from 0 on"),
    "no threads": ("a.nrrd --output x.nrrd --threads 0", 2, "whole number from 1 on"),
    "unknown device": ("a.nrrd --output x.nrrd --device tpu", 2, "invalid choice"),
    "empty output": ("a.nrrd --output=", 2, "expected a path, found nothing"),
    "empty uncertainty": ("a.nrrd --output x.nrrd --uncertainty=", 2, "expected a path, found nothing"),
    "no input": ("--output x.nrrd", 2, "INPUT"),
    "no output": ("a.nrrd", 2, "--output"),
}


@pytest.mark.parametrize(("line", "status", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_done_is_refused_before_any_work(line, status, message, folder, engine, capsys):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    found, out, err = run(SEGMENT + line, capsys)
    assert found == status
    assert message in err
    assert out == ""
    assert engine.loaded == engine.calls == []
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    if status == 1:
        assert all(text.startswith("medtl: ") for text in err.splitlines())


@pytest.mark.parametrize("case", [name for name, row in REFUSED.items() if row[1] == 1])
def test_a_refusal_is_one_json_object_with_json(case, folder, engine, capsys):
    line, _, message = REFUSED[case]
    status, out, _ = run(SEGMENT + line + " --json", capsys)
    answer = json.loads(out)
    assert status == 1
    assert (answer["model"], answer["results"]) == ("fake", [])
    assert any(message in error["message"] for error in answer["errors"])
    assert all(error["input"] is None or error["input"] in line.split() for error in answer["errors"])


def test_a_result_is_shown_in_words(folder, engine, capsys):
    status, out, err = run(SEGMENT + "a.nrrd --output x.nii.gz --uncertainty u.nrrd", capsys)
    assert status == 0
    lines = out.splitlines()
    assert lines[:3] == ["Tumour: 12.3 mL, largest diameter 34 mm", "written: x.nii.gz", "written: u.nrrd"]
    assert lines[3].startswith("seconds: load ")
    assert "medtl: warning: field of view is small" in err
    assert "a library prints" in err


def test_a_result_without_a_voxel_is_told(folder, engine, capsys):
    Path("a.nrrd").write_text("healthy")
    lines = run(SEGMENT + "a.nrrd --output x.nrrd", capsys)[1].splitlines()
    assert lines[:3] == ["Tumour: 0.0 mL", "nothing was found", "written: x.nrrd"]
    assert "nothing" not in run(SEGMENT + "b.nii.gz --output y.nrrd", capsys)[1]


@pytest.mark.parametrize(
    ("lesions", "words"),
    [
        ([], "Tumour: 12.3 mL"),
        ([(12.34, 34.4)], "Tumour: 12.3 mL, largest diameter 34 mm"),
        (
            [(12.0, 33.6), (0.34, 9.0)],
            "Tumour: 12.3 mL in 2 lesions, the largest 12.0 mL, 34 mm",
        ),
    ],
)
def test_lesions_are_told_on_the_line_of_their_segment(lesions, words):
    found = tuple(LesionFigures(ml, mm, (0.0, 0.0, 0.0)) for ml, mm in lesions)
    assert console.volume_text(SegmentFigures("fake.tumour", "Tumour", 12.34, found)) == words
    organ = console.volume_text(SegmentFigures("fake.lung", "Lung", 12.34, found))
    assert organ == words.replace("Tumour", "Lung").replace("lesions", "parts")


def test_no_millilitres_are_stated_for_a_picture(folder, engine, capsys):
    _, out, _ = run(SEGMENT + "picture.png --output x.nrrd", capsys)
    assert out.splitlines()[0] == "Tumour: volume unknown, no real spacing"
    _, out, _ = run(SEGMENT + "picture.png --output y.nrrd --json", capsys)
    assert json.loads(out)["results"][0]["segments"][0]["volume_ml"] is None


def test_json_is_one_object_and_nothing_else_on_standard_output(folder, engine, capsys):
    status, out, _ = run(SEGMENT + "a.nrrd --output x.nrrd --json", capsys)
    assert status == 0
    assert out.count("\n") == 1
    answer = json.loads(out, parse_constant=pytest.fail)
    assert list(answer) == ["model", "sha256", "results", "errors"]
    assert (answer["model"], answer["sha256"], answer["errors"]) == ("fake", "abc", [])
    assert set(answer["results"][0]) == {"input", "output", "segments", "seconds", "warnings", "precision"}
    assert set(answer["results"][0]["seconds"]) == {"load", "read", "infer", "write"}


def test_a_bad_input_does_not_stop_the_others(folder, engine, capsys):
    status, out, err = run(SEGMENT + "a.nrrd none.nrrd bad.nrrd b.nii.gz --output out --json", capsys)
    answer = json.loads(out)
    assert status == 1
    assert [r["output"] for r in answer["results"]] == ["out/a.seg.nrrd", "out/b.seg.nrrd"]
    assert [e["input"] for e in answer["errors"]] == ["none.nrrd", "bad.nrrd"]
    assert "medtl: Expected a volume, found bad.nrrd. Choose another." in err.splitlines()
    assert len(engine.loaded) == 1


@pytest.mark.parametrize(("content", "status"), [("cancel", 130), ("interrupt", 130), ("memory", 1), ("bug", 1)])
def test_cancel_stops_all_and_other_failures_one(content, status, folder, engine, capsys):
    Path("stop.nrrd").write_text(content)
    found, out, err = run(SEGMENT + "a.nrrd stop.nrrd b.nii.gz --output out --json", capsys)
    answer = json.loads(out)
    assert found == status
    assert len(answer["results"]) == (1 if status == 130 else 2)
    assert answer["errors"][0]["input"] == "stop.nrrd"
    assert "Traceback" not in err


def test_an_existing_output_stops_only_its_own_input(folder, engine, capsys):
    Path("out/a.seg.nrrd").write_text("precious")
    status, out, err = run(SEGMENT + "a.nrrd b.nii.gz --output out --json", capsys)
    answer = json.loads(out)
    assert status == 1
    assert [r["output"] for r in answer["results"]] == ["out/b.seg.nrrd"]
    assert [e["input"] for e in answer["errors"]] == ["a.nrrd"]
    assert Path("out/a.seg.nrrd").read_text() == "precious"
    assert "medtl: a.nrrd: The output out/a.seg.nrrd exists already" in err


def test_an_output_that_is_another_input_stops_only_its_own_input(folder, engine, capsys):
    status, out, _ = run(SEGMENT + "twin/a.nii b.nii.gz a.nrrd --output . --format .nii.gz --force --json", capsys)
    answer = json.loads(out)
    assert (status, answer["results"]) == (1, [])  # two results are named a.nii.gz
    status, out, _ = run(SEGMENT + "twin/a.nii b.nii.gz --output . --format .nii.gz --force --json", capsys)
    answer = json.loads(out)
    assert status == 1
    assert [r["output"] for r in answer["results"]] == ["a.nii.gz"]
    assert [e["input"] for e in answer["errors"]] == ["b.nii.gz"]
    assert Path("b.nii.gz").read_text() == "good"


def test_seconds_are_whole_milliseconds_in_the_order_of_the_work(folder, engine, capsys):
    _, out, _ = run(SEGMENT + "a.nrrd --output x.nrrd --json", capsys)
    seconds = json.loads(out)["results"][0]["seconds"]
    assert list(seconds) == ["load", "read", "infer", "write"]
    assert seconds["write"] == 0.123
    assert seconds["load"] == round(seconds["load"], 3)


def test_force_overwrites_and_a_failed_run_keeps_what_was_there(folder, engine, capsys):
    assert run(SEGMENT + "bad.nrrd --output there.seg.nrrd --force", capsys)[0] == 1
    assert Path("there.seg.nrrd").read_text() == "precious"
    assert run(SEGMENT + "a.nrrd --output there.seg.nrrd --force", capsys)[0] == 0
    assert Path("there.seg.nrrd").read_text() == "labels"


def test_the_output_folder_is_made_and_vanishes_when_nothing_came_of_it(folder, engine, capsys):
    assert run(SEGMENT + "bad.nrrd --output new/", capsys)[0] == 1
    assert not Path("new").exists()
    assert run(SEGMENT + "a.nrrd b.nii.gz --output new --format .nii.gz", capsys)[0] == 0
    assert sorted(p.name for p in Path("new").iterdir()) == ["a.nii.gz", "b.nii.gz"]


def test_a_folder_of_dicom_gives_its_whole_name(folder, engine, capsys, monkeypatch):
    Path("T1.3.2").mkdir()
    monkeypatch.setattr(engine, "segment_file", None)
    args = cli.build_parser().parse_args((SEGMENT + "T1.3.2 --output out").split())
    jobs = batch_segment.plan_jobs(args, batch_segment.output_folder(args), batch_segment.Run("fake"))
    assert jobs == [batch_segment.Job((Path("T1.3.2"),), Path("out/T1.3.2.seg.nrrd"))]


def test_a_read_only_folder_is_refused_before_any_work(folder, engine, capsys, monkeypatch):
    monkeypatch.setattr(batch_segment.os, "access", lambda path, mode: Path(path) != Path("out"))
    status, _, err = run(SEGMENT + "a.nrrd --output out/x.nrrd", capsys)
    assert (status, engine.loaded) == (1, [])
    assert err.startswith("medtl: The folder out is read-only.")


@pytest.mark.parametrize("message", ["Expected a model, found 'fake'.", "The weights of fake are damaged."])
def test_a_model_that_cannot_be_loaded_is_one_line(message, folder, engine, capsys):
    engine.load_error = ModelError(message)
    status, out, err = run(SEGMENT + "a.nrrd b.nii.gz --output new --json", capsys)
    assert status == 1
    assert json.loads(out) == {
        "model": "fake",
        "sha256": None,
        "results": [],
        "errors": [{"input": None, "message": message}],
    }
    assert err == f"medtl: {message}\n"
    assert not Path("new").exists()


@pytest.mark.parametrize(
    "line", ["--debug " + SEGMENT + "bad.nrrd --output x.nrrd", SEGMENT + "bad.nrrd --output x.nrrd --debug"]
)
def test_debug_before_or_after_the_verb_shows_the_traceback(line, folder, engine, capsys):
    status, _, err = run(line, capsys)
    assert status == 1
    assert "Traceback" in err
    assert err.splitlines()[-1] == "medtl: Expected a volume, found bad.nrrd. Choose another."


def test_options_reach_the_engine(folder, engine, capsys):
    image = "a.nrrd --output x.nrrd --frame 2 --component 1 --series 1.2"
    assert run(SEGMENT + image + " --flip --no-mirror --no-cleanup --device cpu --threads 3 --force", capsys)[0] == 0
    assert engine.loaded == [("fake", "cpu")]
    assert engine.calls[0][1:] == (
        OutputOptions(Path("x.nrrd"), force=True),
        ReadOptions(2, 1, "1.2"),
        InferenceOptions(flip=True, mirror=False, cleanup=False, threads=3),
    )


# --- the other verbs ---


def test_usage_ends_with_two_and_help_with_zero(capsys):
    assert run("", capsys)[0] == 2
    assert run("dance", capsys)[0] == 2
    assert run("segment --help", capsys)[0] == 0
    assert run("--version", capsys)[1].startswith("medtl ")


@pytest.fixture
def evaluation(engine, monkeypatch):
    module = ModuleType("medtl.evaluation.segmentation")
    figure = {"mean": 0.8712, "ci95": [0.81, 0.9], "n": 3}
    answer = {
        "model": "fake",
        "n": 3,
        "dice": figure,
        "auc": {"mean": None, "ci95": None},
        "pooled": {"dice": figure},
        "labels": {"core": figure},
        "cases": [{"case": "a", "dice": float("nan")}],
        "errors": [],
    }

    def evaluate(model, cases, options, progress, binary=False, failed=None, reader=None, partial=False):
        if cases.name == "partly.csv":
            failed("torn", InputError("Expected a volume."))
            return {**answer, "errors": [{"case": "torn", "message": "Expected a volume."}]}
        if cases.name == "bad.csv":
            raise InputError("Expected the columns image and label.")
        return {**answer, "binary": binary}

    module.evaluate = evaluate
    monkeypatch.setitem(sys.modules, "medtl.evaluation.segmentation", module)


def test_figures_are_a_table_and_with_json_an_object(folder, evaluation, capsys):
    Path("cases.csv").write_text("image,label\n")
    status, out, _ = run("evaluate --model fake --cases cases.csv", capsys)
    assert status == 0
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["fake:", "n", "=", "3"]
    assert ["dice", "0.871", "[0.810,", "0.900]"] in rows
    assert ["pooled", "dice", "0.871", "[0.810,", "0.900]"] in rows
    assert ["dice", "core", "0.871", "[0.810,", "0.900]"] in rows
    assert ["auc", "-", "[-,", "-]"] in rows
    _, out, _ = run("evaluate --model fake --cases cases.csv --binary --json", capsys)
    answer = json.loads(out, parse_constant=pytest.fail)
    assert answer["binary"] is True
    assert answer["cases"] == [{"case": "a", "dice": None}]


def test_a_case_that_failed_is_said_and_the_figures_are_of_the_others(folder, evaluation, capsys):
    Path("partly.csv").write_text("image,label\n")
    status, out, err = run("evaluate --model fake --cases partly.csv", capsys)
    assert status == 1
    assert out.splitlines()[0] == "fake: n = 3 (1 failed)"
    assert err == "medtl: torn: Expected a volume.\n"


@pytest.mark.parametrize(("cases", "message"), [("bad.csv", "Expected the columns"), ("none.csv", "found nothing at")])
def test_cases_that_cannot_be_read_are_one_line(cases, message, folder, evaluation, capsys):
    Path("bad.csv").write_text("x")
    status, out, err = run(f"evaluate --model fake --cases {cases} --json", capsys)
    assert status == 1
    assert message in json.loads(out)["errors"][0]["message"]
    assert err.count("\n") == 1


def test_train_prints_the_bundle_folder(monkeypatch, capsys):
    module = ModuleType("medtl.training.train")
    asked = []

    def train(recipe, run, progress, reader):
        asked.append((recipe, run.fold, run.resume))
        return TrainedBundle(run.output / recipe)

    module.train = train
    monkeypatch.setitem(sys.modules, "medtl.training.train", module)
    status, out, _ = run("train glioma-flair --cases c.csv --output o --fold 0 --resume", capsys)
    assert (status, out) == (0, str(Path("o/glioma-flair")) + "\n")
    assert asked == [("glioma-flair", 0, True)]


def test_models_lists_damaged_ones_with_the_problem(monkeypatch, capsys):
    good = ModelEntry("fake", Path("f"), "shipped", CARD, terms=Terms("CC BY-NC 4.0", "…"))
    broken = ModelEntry("torn", Path("t"), "user", None, "weights are damaged")
    monkeypatch.setattr("medtl.model.store.list_models", lambda: (good, broken))
    status, out, _ = run("models", capsys)
    assert status == 0
    assert out.splitlines() == [
        "fake  1.0  segmentation  shipped  CC BY-NC 4.0: NON-COMMERCIAL USE ONLY",
        "torn  -  user  weights are damaged",
    ]
    _, out, _ = run("models --json", capsys)
    assert [(m["name"], m["problem"]) for m in json.loads(out)["models"]] == [
        ("fake", None),
        ("torn", "weights are damaged"),
    ]
    assert [(m["licence"], m["permissive"]) for m in json.loads(out)["models"]] == [
        ("CC BY-NC 4.0", False),
        (None, False),
    ]


def test_import_prints_where_the_bundle_went(monkeypatch, capsys):
    def import_model(path, options, progress):
        if path.name == "bad.zip":
            raise ModelError("bad.zip is no bundle.")
        asked.append(options)
        return Path("store") / path.stem

    asked = []
    monkeypatch.setattr("medtl.model.import_model.import_model", import_model)
    assert run("import my.zip", capsys)[:2] == (0, str(Path("store/my")) + "\n")
    more = "--configuration 2d --folds 0,1 --name mine --channels FLAIR,T2 --orientation ras --json"
    assert json.loads(run(f"import my {more}", capsys)[1]) == {"model": "my", "folder": str(Path("store/my"))}
    assert asked == [ImportOptions(), ImportOptions("2d", ("0", "1"), "mine", ("FLAIR", "T2"), "RAS")]
    assert run("import bad.zip", capsys) == (1, "", "medtl: bad.zip is no bundle.\n")


def test_a_model_goes_out_as_a_zip_is_deleted_and_comes_back(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))
    folder, path = tmp_path / "home" / "models" / "small", tmp_path / "small.zip"
    folder.parent.mkdir(parents=True)
    small_model.save(folder)
    assert run(f"export-model small --output {path}", capsys) == (0, f"{path}\n", "")
    assert run("delete-model small", capsys) == (0, f"{folder}\n", "")
    assert not folder.exists()
    assert "found 'small'" in run("delete-model small", capsys)[2]
    assert run(f"import {path}", capsys)[:2] == (0, f"{folder}\n")
    status, _, err = run(f"export-model small --output {path}", capsys)
    assert (status, "exists already" in err) == (1, True)
    assert run(f"export-model small --output {path} --force", capsys)[0] == 0
    status, _, err = run("delete-model glioma-flair", capsys)
    assert (status, "comes with MedTL" in err) == (1, True)


@pytest.fixture
def labels(tmp_path):
    array = np.zeros((3, 4, 5), np.uint8)
    array[1, 2, 3] = 1
    geometry = Geometry((5, 4, 3), (1.0, 2.0, 3.0), (7.0, -8.0, 9.0), (0.6, -0.8, 0, 0.8, 0.6, 0, 0, 0, 1))
    path = tmp_path / "s.seg.nrrd"
    write_labelmap(path, Labelmap(array, geometry, (Segment(1, "fake.tumour", "Tumour"),)))
    return path


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".seg.nrrd"])
def test_export_keeps_labels_and_place(suffix, labels, tmp_path, capsys):
    target = tmp_path / f"x{suffix}"
    assert run(f"export {labels} --output {target}", capsys)[:2] == (0, f"{target}\n")
    before, after = read_labelmap(labels), read_labelmap(target)
    assert np.array_equal(before.array, after.array)
    assert after.geometry.close_to(before.geometry, 1e-4)
    status, _, err = run(f"export {labels} --output {target}", capsys)
    assert status == 1
    assert "exists already" in err
    assert run(f"export {labels} --output {target} --force", capsys)[0] == 0


def test_export_refuses_its_own_input_and_unknown_formats(labels, tmp_path, capsys):
    assert "is an input" in run(f"export {labels} --output {labels} --force", capsys)[2]
    assert run(f"export {labels} --output {tmp_path / 'x.stl'}", capsys)[0] == 2
    assert "does not exist" in run(f"export {labels} --output {tmp_path / 'none' / 'x.nrrd'}", capsys)[2]


def test_phantom_writes_a_case_list(tmp_path, capsys):
    status, out, _ = run(f"phantom {tmp_path / 'heads'}", capsys)
    assert status == 0
    assert Path(out.strip()).is_file()
    assert len(list((tmp_path / "heads").glob("*.nrrd"))) == 2


@pytest.mark.parametrize("problems", [(), ("No usable model. Add one.",)])
def test_doctor_says_what_is_broken_by_its_exit_status(problems, monkeypatch, capsys):
    from medtl import requirements
    from medtl.commands import doctor

    store = doctor.Store("models", True, 9.5)
    system = requirements.system_of()
    parts = ("0.1", "3.12", "python", "Linux", system, {}, doctor.Torch(), "", store, None, ())
    state = doctor.Installation(*parts, problems)
    monkeypatch.setattr(doctor, "examine", lambda: state)
    status, out, _ = run("doctor --json", capsys)
    assert (status, json.loads(out)["problems"]) == (bool(problems), list(problems))
    status, out, _ = run("doctor", capsys)
    last = f"problem: {problems[0]}" if problems else "Nothing is broken."
    assert (status, out.splitlines()[-1]) == (bool(problems), last)


def test_what_a_library_writes_to_the_real_standard_output_goes_to_standard_error():
    code = (
        "import os, sys; from medtl.commands.console import result_stream\n"
        "with result_stream() as out:\n"
        "    os.write(1, b'library\\n'); print('more'); print('result', file=out)\n"
        "print('after')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["result", "after"]
    assert sorted(done.stderr.splitlines()) == ["library", "more"]


@pytest.mark.parametrize("line", ["models --json", "--help", "segment --help"])
def test_a_reader_that_goes_away_is_no_error(line, tmp_path):
    """As `| head` does: its end of the pipe is closed before anything is written."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-c", "import sys; from medtl.__main__ import main; sys.exit(main())", *line.split()]
    # argparse says nothing of a write that fails at once, as it does where standard output is not buffered
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, cwd=tmp_path, env=buffered, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (console.READER_GONE, b"")


@pytest.mark.parametrize(
    "moment", ["argparse", "medtl.commands.cli", "medtl.commands.console", "medtl.phantom", "numpy"]
)
def test_cancelling_at_any_moment_is_one_line(moment, tmp_path):
    code = (
        "import sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *rest):\n"
        f"        if name == {moment!r}: raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "from medtl.__main__ import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", code, "phantom", "x"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "medtl: Cancelled.\n")


@pytest.mark.parametrize("error", [TypeError, KeyError, ZeroDivisionError, AttributeError, struct.error, EOFError])
def test_a_mistake_of_ours_is_one_line_and_with_debug_a_traceback(error, monkeypatch, capsys):
    def list_models():
        raise error("some\nthing")

    monkeypatch.setattr("medtl.model.store.list_models", list_models)
    status, out, err = run("models --json", capsys)
    assert status == 1
    assert err.count("\n") == 1
    assert f"{error.__name__}: " in json.loads(out)["errors"][0]["message"]
    assert "Traceback" in run("models --debug", capsys)[2]


def test_the_command_line_loads_nothing_heavy():
    heavy = "{'torch', 'monai', 'SimpleITK', 'numpy'}"
    code = f"import sys, medtl.commands.cli as cli; cli.build_parser(); print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
