"""The classification of a report: what `medtl classify` wrote, and nothing else."""

import json

import pytest

from medtl.errors import InputError
from medtl.report.classification import read_classification

RESULT = {
    "class": "glioma",
    "name": "Glioma",
    "probabilities": {"glioma": 0.9, "other": 0.1},
    "abstained": False,
    "reasons": [],
}
ANSWER = {"model": "m", "version": "1.0", "sha256": "ab", "results": [RESULT], "errors": []}


def read(folder, answer):
    path = folder / "c.json"
    path.write_text(answer if isinstance(answer, str) else json.dumps(answer), encoding="utf-8")
    return read_classification(path)


def test_the_result_is_read_with_its_model(tmp_path):
    found = read(tmp_path, ANSWER)
    assert (found.model, found.version, found.sha256, found.best) == ("m", "1.0", "ab", "Glioma")
    assert dict(found.probabilities) == {"Glioma": 0.9, "other": 0.1}
    assert found.reasons == ()


def test_the_names_that_slicer_adds_are_used(tmp_path):
    named = {**RESULT, "names": {"glioma": "Glioma", "other": "Another tumour"}}
    assert list(read(tmp_path, {**ANSWER, "results": [named]}).probabilities) == ["Glioma", "Another tumour"]


def test_a_model_that_abstains_gives_its_reasons(tmp_path):
    unsure = {**RESULT, "abstained": True, "reasons": ["no class stands out"]}
    assert read(tmp_path, {**ANSWER, "results": [unsure]}).reasons == ("no class stands out",)


@pytest.mark.parametrize(
    "answer",
    [
        "no json {",
        "[" * 100_000,
        [1],
        {"results": "x"},
        {**ANSWER, "results": []},
        {**ANSWER, "results": [RESULT, RESULT]},
        {**ANSWER, "results": [{}]},
        {**ANSWER, "results": ["x"]},
        {**ANSWER, "results": [{**RESULT, "probabilities": {}}]},
        {**ANSWER, "results": [{**RESULT, "probabilities": {"a": 1.5}}]},
        {**ANSWER, "results": [{**RESULT, "probabilities": {"a": "high"}}]},
        {**ANSWER, "results": [{**RESULT, "probabilities": [0.5]}]},
        {**ANSWER, "results": [{**RESULT, "abstained": True}]},
        {**ANSWER, "results": [{**RESULT, "names": [1]}]},
    ],
)
def test_another_file_is_refused(tmp_path, answer):
    with pytest.raises(InputError, match="Expected the result of medtl classify for one image"):
        read(tmp_path, answer)


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="could not read"):
        read_classification(tmp_path / "gone.json")
