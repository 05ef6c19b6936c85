"""Warnings have one path: what reader and writer find odd is said by every verb, in its JSON and on standard error."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import small_model
from small_classifier import classifier_card

from medtl.commands.cli import main
from medtl.finetuning import finetune as finetune_module
from medtl.finetuning import guard
from medtl.finetuning.decoder import Tuning
from medtl.io.write import write_image, write_labelmap
from medtl.phantom import head
from medtl.volume import to_sitk

NAN = "voxels were NaN or infinite and count as"
OVERLAP = "Segments overlap in"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A few steps of tuning, and a store of our own."""
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(finetune_module, "Tuning", lambda seed: Tuning(seed=seed, steps=2, copies=1))
    monkeypatch.setattr(guard, "HEADS", range(1001, 1002))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An image with some voxels that are NaN, its lesion under another segment, a model of each task."""
    monkeypatch.chdir(tmp_path)
    made = head(3, (64, 64, 12), (3.0, 3.0, 8.0))
    array = made.volume.array.astype(np.float32)
    array[0, 0, :3] = np.nan
    write_image(Path("head.nrrd"), array, made.volume.geometry)
    lesion = made.labelmap.array > 0
    part = lesion.copy()
    part[:, :, :32] = False
    layers = sitk.Compose([to_sitk(one.astype(np.uint8), made.volume.geometry) for one in (lesion, part)])
    for number, name in enumerate(("Lesion", "Part of it")):
        for key, text in {"ID": f"s{number}", "Name": name, "Layer": str(number), "LabelValue": "1"}.items():
            layers.SetMetaData(f"Segment{number}_{key}", text)
    sitk.WriteImage(layers, "labels.seg.nrrd")
    write_image(Path("clean.nrrd"), made.volume.array, made.volume.geometry)
    write_labelmap(Path("clean-label.nrrd"), replace(made.labelmap, segments=()))
    Path("cases.csv").write_text("image,label\nhead.nrrd,labels.seg.nrrd\n")
    Path("classified.csv").write_text("image,label\nhead.nrrd,glioma\n")
    small_model.save(tmp_path / "small")
    small_model.save(tmp_path / "spots", classifier_card())
    return tmp_path


TUNE = "--slices 3,4,5,6,7 --output ./tuned --json"
SEGMENT = "--model ./small --device cpu"
CLASSIFY = "--model ./spots --device cpu"


@pytest.mark.parametrize(
    ("command", "warnings"),
    [
        (f"segment head.nrrd {SEGMENT} --output out.seg.nrrd --json", (NAN,)),
        (f"suggest head.nrrd {SEGMENT} --json", (NAN,)),
        (f"classify head.nrrd {CLASSIFY} --json", (NAN,)),
        (f"classify head.nrrd {CLASSIFY} --segmentation labels.seg.nrrd --segment Lesion --json", (NAN, OVERLAP)),
        (f"evaluate {SEGMENT} --cases cases.csv --json", (NAN, OVERLAP)),
        (f"evaluate {CLASSIFY} --cases classified.csv --json", (NAN,)),
        ("export labels.seg.nrrd --output out.nii.gz", (OVERLAP,)),
        (f"finetune {SEGMENT} --case head.nrrd labels.seg.nrrd {TUNE}", (NAN, OVERLAP)),
        (f"finetune {SEGMENT} --case clean.nrrd clean-label.nrrd {TUNE} --guard cases.csv", (NAN, OVERLAP)),
    ],
    ids=lambda value: " ".join(value.split()[:2]) if isinstance(value, str) else "",
)
def test_a_file_with_a_warning_goes_through_every_verb(command, warnings, folder, capsys):
    assert main(command.split()) == 0
    out, err = capsys.readouterr()
    for warning in warnings:
        assert warning in err
        if "--json" in command:
            assert warning in json.dumps(json.loads(out))
