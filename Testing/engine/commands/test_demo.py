"""The demo: what it writes, says and returns."""

from types import SimpleNamespace

import numpy as np
import pytest

from medtl import phantom
from medtl.commands import demo
from medtl.errors import ModelError
from medtl.io.read import read_labelmap
from medtl.io.write import write_image, write_labelmap
from medtl.results import SegmentedFile, SegmentFigures
from medtl.volume import Labelmap, Segment


@pytest.fixture
def engine(monkeypatch):
    """A model that finds what is bright, or what `engine.shift` makes of it."""
    fake = SimpleNamespace(shift=0)

    def load_model(name, device="auto"):
        if name == "none":
            raise ModelError("Expected a model, found 'none'.")
        return name

    def segment_file(source, model, outputs, progress, reader):
        volume = reader.read_volume(source)
        truth = phantom.head(size=volume.geometry.size).labelmap.array
        labels = Labelmap(np.roll(truth, fake.shift, axis=2), volume.geometry, (Segment(1, "fake.t", "Tumour"),))
        write_labelmap(outputs.labelmap, labels)
        segments = (SegmentFigures("fake.t", "Tumour", 12.345, ()),)
        seconds = {"write": 0.2, "infer": 0.5}
        return SegmentedFile(str(source), str(outputs.labelmap), segments, seconds, ("small field of view",), "fp32")

    monkeypatch.setattr("medtl.model.bundle.load_model", load_model)
    monkeypatch.setattr("medtl.segmentation.segment_file", segment_file)
    return fake


def test_the_demo_shows_everything_on_its_own_line_and_can_be_repeated(engine, tmp_path, capsys):
    for _ in range(2):
        assert demo.main(["--output", str(tmp_path / "demo")]) == 0
        done = capsys.readouterr()
        assert done.err == "medtl: warning: small field of view\n"
        lines = done.out.splitlines()
        assert "Tumour: 12.3 mL" in lines
        assert "Dice against the known truth: 1.000" in lines
        stages = [line.split(":")[0] for line in lines if line.endswith(" s")]
        assert stages == ["load", "phantom", "infer", "write", "preview"]
        assert "infer: 0.50 s" in lines
        written = [line.removeprefix("written: ") for line in lines if line.startswith("written: ")]
        assert [name[name.index("-demo") :] for name in written] == ["-demo.seg.nrrd", "-demo.nrrd", "-demo.png"]
    seg, plain = (read_labelmap(tmp_path / "demo" / f"phantom-0-demo{s}") for s in (".seg.nrrd", ".nrrd"))
    assert np.array_equal(seg.array, plain.array)
    assert seg.array.any()
    assert len(list((tmp_path / "demo").iterdir())) == 4


def test_a_low_dice_is_a_failure(engine, tmp_path, capsys):
    engine.shift = 60
    assert demo.main(["--output", str(tmp_path)]) == 1
    done = capsys.readouterr()
    assert "Dice against the known truth: 0." in done.out
    assert "below 0.70" in done.err


def test_a_volume_of_ones_own_has_no_known_truth_and_stays_as_it_is(engine, tmp_path, capsys):
    made = phantom.head(size=(64, 64, 12))
    case = tmp_path / "mine.nrrd"
    write_image(case, made.volume.array, made.volume.geometry)
    before = case.read_bytes()
    assert demo.main(["--output", str(tmp_path), "--case", str(case)]) == 0
    assert "Dice" not in capsys.readouterr().out
    assert case.read_bytes() == before
    assert (tmp_path / "mine-demo.png").is_file()


@pytest.mark.parametrize(("option", "value"), [("--case", "none.nrrd"), ("--model", "none")])
def test_what_is_missing_is_one_line(option, value, engine, tmp_path, capsys):
    assert demo.main(["--output", str(tmp_path), option, value]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(("error", "status"), [(TypeError("a bug"), 1), (KeyboardInterrupt(), 130)])
def test_a_failure_of_any_kind_is_one_line(error, status, engine, tmp_path, capsys, monkeypatch):
    def load_model(name):
        raise error

    monkeypatch.setattr("medtl.model.bundle.load_model", load_model)
    assert demo.main(["--output", str(tmp_path)]) == status
    assert capsys.readouterr().err.count("\n") == 1
    assert demo.main(["--output", str(tmp_path), "--debug"]) == status
    assert "Traceback" in capsys.readouterr().err


def test_an_empty_output_is_a_usage_error(engine, capsys):
    assert demo.main(["--output", ""]) == 2
    assert "found nothing" in capsys.readouterr().err
