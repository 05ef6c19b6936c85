"""The public Python API: the list of names, that they load lazily, and the pages that show them at work."""

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_model

import medtl
from medtl import api
from medtl.phantom import head, write
from medtl.volume import Geometry, Labelmap, Segment

ROOT = Path(__file__).resolve().parents[2]
FUNCTIONS = {
    *("read_volume", "read_labelmap", "write_labelmap", "load_model", "models", "segment", "classify", "finetune"),
    *("suggest", "evaluate", "measure", "measure_lesions"),
}
TYPES = {
    *("Volume", "Geometry", "Labelmap", "Segment", "Model", "ModelEntry", "Segmentation", "InferenceOptions"),
    *("Classification", "ClassifyOptions", "CaseInput", "FinetuneOptions", "TunedModel", "Suggestion", "Evaluation"),
    *("ClassEvaluation", "SegmentFigures", "MeasuredSegment"),
    *("MedTLError", "InputError", "ModelError", "DeviceError", "Cancelled"),
}


def test_the_public_names_are_these():
    assert set(medtl.__all__) == FUNCTIONS | TYPES
    assert all(inspect.isfunction(getattr(medtl, name)) for name in FUNCTIONS)
    assert all(inspect.isclass(getattr(medtl, name)) for name in TYPES)
    assert set(medtl.__all__) <= set(dir(medtl))
    with pytest.raises(AttributeError, match="no attribute 'segmentate'"):
        medtl.segmentate  # noqa: B018


def test_a_public_name_stays_a_function_when_every_module_is_imported():
    code = (
        "import medtl, pkgutil, importlib\n"
        "for found in pkgutil.walk_packages(medtl.__path__, 'medtl.'):\n"
        "    if not found.name.endswith('__main__'): importlib.import_module(found.name)\n"
        f"print([name for name in {sorted(FUNCTIONS)} if not callable(getattr(medtl, name))])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_import_loads_no_torch_and_reading_needs_none():
    code = "import sys, medtl; medtl.read_volume; medtl.models(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_a_public_function_documents_arguments_results_and_errors(name):
    function = getattr(medtl, name)
    text = inspect.getdoc(function)
    parameters = inspect.signature(function).parameters
    assert "Returns:" in text
    assert ("Args:" in text) == bool(parameters)
    for parameter in parameters:
        assert re.search(rf"^    {parameter}: ", text, re.MULTILINE), f"{name}: {parameter} is not documented"
    assert "Raises:" in text or name in ("models", "measure", "measure_lesions")


def test_measuring_gives_whole_segments_also_where_they_overlap():
    array = np.zeros((1, 4, 4), np.uint8)
    array[0, :2] = 1
    array[0, 2, 0] = 7  # without a segment
    labelmap = Labelmap(array, Geometry((4, 4, 1), (10.0, 10.0, 10.0)), (Segment(1, "m.lesion", "Lesion"),))
    lesion, other = medtl.measure(labelmap)
    assert (lesion.name, lesion.volume_ml, len(lesion.lesions)) == ("Lesion", 8.0, 1)
    assert (other.name, other.volume_ml) == ("7", 1.0)
    assert medtl.measure(labelmap, real_spacing=False)[0].volume_ml is None


def test_a_model_of_the_wrong_task_is_refused(tmp_path):
    small_model.save(tmp_path / "m", small_model.a_card())
    model = medtl.load_model(tmp_path / "m", "cpu")
    with pytest.raises(medtl.ModelError, match="Expected a model for classification"):
        medtl.classify(head(1, (32, 32, 4), (6.0, 6.0, 30.0)).volume, model)


def code_of(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


@pytest.fixture
def example(tmp_path, monkeypatch):
    """A folder with the phantom's files, as the pages have it, and a user store of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))
    write(tmp_path / "phantom")
    (tmp_path / "home" / "models").mkdir(parents=True)
    small_model.save(tmp_path / "home" / "models" / "t2-flair", small_model.pair_card())
    return tmp_path


@pytest.mark.slow
def test_the_page_runs_as_it_stands(example):
    blocks = code_of((ROOT / "docs" / "python.md").read_text(encoding="utf-8"))
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    assert len(blocks) > 5
    assert Path("lesion.seg.nrrd").exists()
    assert names["tuned"].folder.is_dir()


@pytest.mark.slow
def test_the_notebook_runs_and_keeps_no_outputs(example):
    notebook = json.loads((ROOT / "docs" / "quickstart.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells)
    names: dict[str, object] = {}
    for cell in cells:
        exec(compile("".join(cell["source"]), "docs/quickstart.ipynb", "exec"), names)
    assert names["dice"] > 0.8


def test_the_functions_are_those_of_the_api_module():
    assert {name for name in FUNCTIONS if getattr(medtl, name) is getattr(api, name)} == FUNCTIONS
