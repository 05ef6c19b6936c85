"""What a model says about itself: read strictly, written back unchanged."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from small_model import a_card

from medtl.errors import ModelError
from medtl.model.card import (
    METADATA,
    Calibration,
    Cleanup,
    Gate,
    InputSpec,
    Label,
    ModelCard,
    NetworkSpec,
    Normalisation,
    Parent,
    WindowSpec,
    load_card,
)
from medtl.typed_json import decode, encode


@pytest.fixture
def rich() -> ModelCard:
    """A card with an entry of every kind."""
    return ModelCard(
        name="rich-1.x_Y",
        version="2.0.1",
        description="Says «a lot»",
        task="segmentation",
        labels=(Label(1, "core", "Core", (0.0, 0.5, 1.0), "a~b"), Label(65534, "rim", "Rim")),
        networks=(NetworkSpec("unet2d", {"encoder": "vgg19", "channels": 5, "deep": {"list": [1, 2.5, None]}}, "n."),),
        input=InputSpec(("T1c",), "coronal", 0.9, 1.5, "window", (-100.0, 200.0), 2, 3.0),
        sha256="ab" * 32,
        calibration=Calibration(1.3, 0.4),
        cleanup=Cleanup(0.1, 0.05, True),
        gate=Gate("MR", ("*flair* -t1*",), ("dwi", "*t2* c"), (150.0, 300.0), {"dark": (0.1, 0.9)}),
        training={"data": "some", "dice": {"mean": 0.87, "n": 15}},
        parent=Parent("older", "cd" * 32),
    )


def written(folder: Path, card: ModelCard, change=lambda metadata: None) -> Path:
    """The folder with the card in it, after `change` has had its way with the JSON."""
    block = encode(card)
    metadata = {"version": block.pop("version"), "description": block.pop("description")}
    metadata["medtl"] = {"schema": 1, **block}
    replaced = change(metadata)
    (folder / METADATA).parent.mkdir(parents=True, exist_ok=True)
    (folder / METADATA).write_text(json.dumps(metadata if replaced is None else replaced), encoding="utf-8")
    return folder


def test_a_card_comes_back_from_json_unchanged(rich, tmp_path):
    assert load_card(written(tmp_path, rich)) == rich
    assert load_card(written(tmp_path, a_card())) == a_card()
    assert rich != replace(rich, gate=Gate("MR"))


def test_entries_left_out_take_their_defaults(tmp_path):
    optional = ("calibration", "cleanup", "gate", "training", "parent")

    def remove(metadata):
        for name in optional:
            del metadata["medtl"][name]
        metadata["medtl"]["input"] = {}

    card = load_card(written(tmp_path, a_card(), remove))
    assert card == replace(a_card(), input=InputSpec())


def test_whole_numbers_are_taken_where_a_fraction_may_stand(tmp_path):
    def change(metadata):
        metadata["medtl"]["calibration"]["temperature"] = 2

    temperature = load_card(written(tmp_path, a_card(), change)).calibration.temperature
    assert temperature == 2.0
    assert type(temperature) is float


WRONG_TYPES = {
    "labels is text": ({"labels": "lesion"}, "labels: expected"),
    "label value is text": ({"labels": [{"value": "1", "id": "a", "name": "A"}]}, "value: expected int, found '1'"),
    "label value is a fraction": ({"labels": [{"value": 1.0, "id": "a", "name": "A"}]}, "value: expected int"),
    "label value is true": ({"labels": [{"value": True, "id": "a", "name": "A"}]}, "value: expected int"),
    "colour has two parts": ({"labels": [{"value": 1, "id": "a", "name": "A", "colour": [1, 0]}]}, "colour: expected"),
    "temperature is true": ({"calibration": {"temperature": True}}, "temperature: expected float"),
    "threshold is null": ({"calibration": {"threshold": None}}, "threshold: expected float"),
    "cleanup is a list": ({"cleanup": [1]}, "cleanup: expected Cleanup"),
    "fill_holes is a number": ({"cleanup": {"fill_holes": 1}}, "fill_holes: expected bool"),
    "statistics of three": ({"gate": {"statistics": {"dark": [1, 2, 3]}}}, "dark: expected"),
    "training is a list": ({"training": []}, "training: expected"),
    "name is null": ({"name": None}, "name: expected str"),
    "window is a number": ({"input": {"window": 7}}, "window: expected"),
    "an unknown entry": ({"colour": 1}, "unknown entry 'colour'; it may need a newer MedTL"),
    "an unknown entry below": ({"input": {"patch": [1]}}, "input: unknown entry 'patch'"),
    "a label without a name": ({"labels": [{"value": 1, "id": "a"}]}, "expected the entries value, id, name, found"),
    "an empty network": ({"networks": [{}]}, "expected the entries name, found none"),
}


@pytest.mark.parametrize(("change", "message"), WRONG_TYPES.values(), ids=WRONG_TYPES)
def test_an_entry_of_the_wrong_type_is_named(change, message, tmp_path):
    with pytest.raises(ModelError, match=message) as raised:
        load_card(written(tmp_path, a_card(), lambda metadata: metadata["medtl"].update(change)))
    assert "metadata.json" in str(raised.value)
    assert "\n" not in str(raised.value)


LABEL = {"value": 1, "id": "a", "name": "A"}
LABEL_B = {"value": 2, "id": "b", "name": "B"}
CLASS = {"id": "a", "name": "A"}
CLASSIFIER = {
    "task": "classification",
    "labels": [],
    "classes": [CLASS, CLASS | {"id": "b"}],
    "input": {"scaling": "picture", "side": 64},
}
TERM = {"feature": "volume", "mean": 1, "deviation": 2, "weight": 3}
NUMBERS = {"intercept": 0.5, "terms": [TERM], "resamples": [[0.1, 0.2]], "values": [2]}
PLAIN = CLASSIFIER | {"networks": [], "coefficients": NUMBERS}
SCALED = {"scheme": "zscore"}
WINDOWS = {"patch": [16, 32, 32], "spacing": [3, 1, 1], "normalisation": [SCALED]}


def windows(**change: object) -> dict:
    """Entries of a card whose network sees windows, some of them changed."""
    return {"windows": WINDOWS | change}


FOLD = {"name": "plainunet", "arguments": {"channels": 1}, "prefix": "fold_0."}


CONTRADICTIONS = {
    "another decision": ({"decision": "mood"}, "the decision 'mood'"),
    "regions of slices": ({"decision": "regions"}, "no regions"),
    "a patch of four axes": (windows(patch=[8, 8, 8, 8]), "a patch of 4 and a spacing of 3 axes"),
    "a spacing of two axes": (windows(spacing=[1, 1]), "a patch of 3 and a spacing of 2 axes"),
    "a giant patch": (windows(patch=[4096, 4096, 4096]), "a patch of 4096 x 4096 x 4096 voxels"),
    "a patch of nothing": (windows(patch=[0, 8, 8]), "a patch of 0 x 8 x 8"),
    "axes twice": (windows(axes=[0, 0, 2]), "no order of 0, 1, 2"),
    "a mirrored axis too many": (windows(patch=[8, 8], spacing=[1, 1], mirror=[2]), "the patch does not have"),
    "an orientation of two letters": (windows(orientation="RA"), "the orientation 'RA'"),
    "an orientation along one axis": (windows(orientation="RLA"), "the orientation 'RLA'"),
    "a normalisation too many": (windows(normalisation=[SCALED, SCALED]), "2 normalisations for 1 channels"),
    "another normalisation": (windows(normalisation=[{"scheme": "mood"}]), "the normalisation 'mood'"),
    "limits upside down": (windows(normalisation=[SCALED | {"limits": [1, 0]}]), "limits of a normalisation"),
    "a scale of 0": (windows(normalisation=[SCALED | {"scale": 0}]), "the scale of a normalisation 0"),
    "a spacing of 0": (windows(spacing=[0, 1, 1]), "the spacing 0"),
    "a step of 0": (windows(step=0), "the step of the windows 0"),
    "a spline of degree 9": (windows(order=9), "the order of a spline 9"),
    "cubic logits": (windows(logits_order=3), "the order of a spline of logits 3"),
    "windows without a network": (windows() | {"networks": []}, "0 networks"),
    "folds that differ": (windows() | {"networks": [FOLD, FOLD | {"arguments": {}}]}, "networks that differ"),
    "folds of one prefix": (windows() | {"networks": [FOLD, FOLD]}, "the same prefix"),
    "windows of a classifier": (CLASSIFIER | windows(), "no labels or windows"),
    "no name": ({"name": ""}, "the name ''"),
    "a name that leads elsewhere": ({"name": "../../evil"}, "the name"),
    "a hidden name": ({"name": ".hidden"}, "the name"),
    "a name with a line break": ({"name": "a\n"}, "the name"),
    "too long a name": ({"name": "a" * 65}, "the name"),
    "another task": ({"task": "detection"}, "the task 'detection'"),
    "windows placed at random": (windows(placement="random"), "'random' for the placement of windows; known are even"),
    "weights of another kind": (windows(weights="cosine"), "'cosine' for the weights of windows"),
    "another padding": (windows(padding="reflect"), "'reflect' for the padding of windows"),
    "another resampling": (windows(resampling="lanczos"), "'lanczos' for the resampling of windows"),
    "another mixture": (windows(mixed="labels"), "'labels' for the mixed outputs of windows"),
    "cubic splines between points": (windows(resampling="points"), "splines of another degree than 1"),
    "weights that are a spike": (windows(sigma=0.001), "the deviation of the weights 0.001"),
    "a filling without end": (windows(fill=1e300), "the value around the volume 1e"),
    "a hundred scalings": (windows(rescaling=[{}] * 100), "100 further scalings; it has at most 8"),
    "a scaling of another kind": (windows(rescaling=[{"scheme": "log"}]), "the normalisation 'log'"),
    "a spacing of one axis": (windows(spacing=[1]), "a spacing of 1 axes"),
    "classes of a segmentation": ({"classes": [CLASS, CLASS | {"id": "b"}]}, "belong to the task 'classification'"),
    "labels of a classification": ({"task": "classification"}, "needs 2 classes or more, unique, and no labels"),
    "one class": (CLASSIFIER | {"classes": [CLASS]}, "1 classes"),
    "one class twice": (CLASSIFIER | {"classes": [CLASS, CLASS]}, "unique"),
    "classes without a network": (CLASSIFIER | {"networks": []}, "has one, or coefficients and none"),
    "a classifier that is shown volumes": (CLASSIFIER | {"input": {"scaling": "tissue", "side": 64}}, "is 'picture'"),
    "a classifier without a side": (CLASSIFIER | {"input": {"scaling": "picture"}}, "a side of 32 to 1024"),
    "another score": (
        CLASSIFIER | {"abstention": {"score": "mood", "threshold": 1, "min_probability": 0.5}},
        "the score 'mood'",
    ),
    "coefficients beside a network": (CLASSIFIER | {"coefficients": NUMBERS}, "has one, or coefficients and none"),
    "a deviation of 0": (
        PLAIN | {"coefficients": NUMBERS | {"terms": [TERM | {"deviation": 0}]}},
        "deviations above 0",
    ),
    "resamples of another length": (
        PLAIN | {"coefficients": NUMBERS | {"resamples": [[1, 2, 3]]}},
        "resamples of another length than 2",
    ),
    "a prevalence that is no share": (PLAIN | {"coefficients": NUMBERS | {"prevalence": 91}}, "the prevalence 91"),
    "three classes by plain numbers": (
        PLAIN | {"classes": [CLASS, CLASS | {"id": "b"}, CLASS | {"id": "c"}]},
        "takes two classes",
    ),
    "no labels": ({"labels": []}, "0 labels; .* 1 to 255"),
    "label 0": ({"labels": [LABEL | {"value": 0}]}, "value 0; label values are from 1 to 65534"),
    "label 65535": ({"labels": [LABEL | {"value": 65535}]}, "value 65535; label values are from 1 to 65534"),
    "one value twice": ({"labels": [LABEL, LABEL | {"id": "b"}]}, "must be unique"),
    "one id twice": ({"labels": [LABEL, LABEL | {"value": 2}]}, "must be unique"),
    "ids that differ in capitals alone": ({"labels": [LABEL, LABEL_B | {"id": "A"}]}, "must be unique"),
    "a label without an id": ({"labels": [LABEL | {"id": " "}]}, "a label has an id and a name"),
    "a label without a name": ({"labels": [LABEL | {"name": ""}]}, "a label has an id and a name"),
    "an id that ends a tag": ({"labels": [LABEL | {"id": "a|b"}]}, "no '|' in its id"),
    "a class without an id": (CLASSIFIER | {"classes": [CLASS, CLASS | {"id": ""}]}, "a class has an id and a name"),
    "no network": ({"networks": []}, "0 networks"),
    "two networks": ({"networks": [{"name": "a"}, {"name": "b"}]}, "2 networks"),
    "another plane": ({"input": {"plane": "oblique"}}, "the plane 'oblique'"),
    "another scaling": ({"input": {"scaling": "zscore"}}, "the scaling 'zscore'"),
    "a window scaling without a window": ({"input": {"scaling": "window"}}, "with a window in HU"),
    "a window that is not used": ({"input": {"window": [0, 1]}}, "with a window in HU"),
    "an empty window": ({"input": {"scaling": "window", "window": [5, 5]}}, "lower limit comes first"),
    "extent the wrong way round": ({"gate": {"extent_mm": [300, 100]}}, "lower limit comes first"),
    "no channels": ({"input": {"channels": []}}, "0 channels"),
    "negative neighbours": ({"input": {"neighbours": -1}}, "neighbours -1; it lies between 0 and 16"),
    "a million neighbours": ({"input": {"neighbours": 10**6}}, "neighbours 1000000"),
    "no spacing": ({"input": {"spacing": 0}}, "the spacing 0"),
    "a tolerance under 1": ({"input": {"spacing_tolerance": 0.5}}, "the spacing tolerance 0.5"),
    "no temperature": ({"calibration": {"temperature": 0}}, "the temperature 0"),
    "threshold 1": ({"calibration": {"threshold": 1}}, "the threshold 1; it lies between 0 and 1"),
    "the name of a device": ({"name": "COM1.old"}, "the name 'COM1.old'"),
    "a name that ends in a dot": ({"name": "small."}, "the name 'small.'"),
    "a parent of a name that leads elsewhere": ({"parent": {"name": "../x", "sha256": "a"}}, "the name '../x'"),
    "256 labels": (
        {"labels": [LABEL | {"value": value, "id": str(value)} for value in range(1, 257)]},
        "256 labels; .* 1 to 255",
    ),
    "a label value of 4000 digits": ({"labels": [LABEL | {"value": 10**4000}]}, "the label value 1000000000"),
    "a colour above 1": ({"labels": [LABEL, LABEL_B | {"colour": [0, 1.5, 0]}]}, "the colour 1.5; .* between 0 and 1"),
    "a colour below 0": ({"labels": [LABEL | {"colour": [0, -5, 0]}]}, "the colour -5"),
    "a thousand channels": ({"input": {"channels": ["x"] * 1000}}, "1000 channels; use 1 to 16"),
    "two channels of slices": ({"input": {"channels": ["T2", "FLAIR"]}}, "2 channels; only a model that sees windows"),
    "a spacing of kilometres": ({"input": {"spacing": 1e9}}, "the spacing 1000000000.0; it lies between 0.001 and 100"),
    "a spacing of nanometres": ({"input": {"spacing": 1e-9}}, "the spacing 1e-09"),
    "a tolerance without end": ({"input": {"spacing_tolerance": 1e300}}, "the spacing tolerance 1e"),
    "neighbours beyond the world": ({"input": {"neighbour_mm": 1e7}}, "the distance of neighbours"),
    "neighbours behind": ({"input": {"neighbour_mm": -1}}, "the distance of neighbours"),
    "a side of nothing": ({"input": {"side": 0}}, "the side 0"),
    "a window of no width": ({"input": {"scaling": "window", "window": [0, 1e-300]}}, "the width of the window 1e-300"),
    "a window of a million": ({"input": {"scaling": "window", "window": [0, 1e6]}}, "the window limit 1000000"),
    "a tiny temperature": ({"calibration": {"temperature": 1e-320}}, "the temperature 1e-320"),
    "a huge temperature": ({"calibration": {"temperature": 1e300}}, "the temperature 1e"),
    "a negative volume": ({"cleanup": {"min_ml": -1}}, "the smallest volume in mL -1"),
    "a share above 1": ({"cleanup": {"min_share": 1e300}}, "the smallest share 1e"),
    "negative pixels": ({"cleanup": {"min_pixels": -1}}, "the smallest number of pixels -1"),
    "an extent of a galaxy": ({"gate": {"extent_mm": [0, 1e30]}}, "the extent in mm 1e"),
    "a statistic beyond reason": ({"gate": {"statistics": {"dark": [0, 1e300]}}}, "the statistic 1e"),
    "a score beyond reason": (
        CLASSIFIER | {"abstention": {"score": "energy", "threshold": 1e300, "min_probability": 0.5}},
        "the threshold of the score 1e",
    ),
    "a probability above 1": (
        CLASSIFIER | {"abstention": {"score": "energy", "threshold": 1, "min_probability": 2}},
        "the smallest probability 2",
    ),
    "a coefficient beyond reason": (PLAIN | {"coefficients": NUMBERS | {"intercept": 1e300}}, "the coefficient 1e"),
    "a region of label 0": (PLAIN | {"coefficients": NUMBERS | {"values": [0]}}, "the label value 0"),
    "a pattern": ({"gate": {"not_sequence": ["(a+)+$"]}}, r"the phrase '\(a\+\)\+\$' for the sequence"),
    "an empty phrase": ({"gate": {"sequence": [""]}}, "the phrase '' for the sequence"),
    "a phrase of what must not be": ({"gate": {"sequence": ["-t1*"]}}, "the phrase '-t1"),
    "a thousand phrases": ({"gate": {"sequence": ["dwi"] * 1000}}, "1000 phrases"),
    "a terminal escape": ({"labels": [LABEL | {"name": "\x1b[2J"}]}, r"the text '\\x1b\[2J'; use no line breaks"),
    "text that runs backwards": ({"labels": [LABEL | {"id": "a\u202eb"}]}, r"the text 'a\\u202eb'"),
    "half a character": ({"labels": [LABEL | {"snomed": "\ud800"}]}, r"the text '\\ud800'"),
    "a line break in an entry's name": ({"training": {"a\nb": 1}}, r"the text 'a\\nb'"),
    "a text of a book's length": ({"training": {"a": "x" * 5000}}, "a text of 5000 characters"),
}


@pytest.mark.parametrize(("change", "message"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_card_that_contradicts_itself_is_refused(change, message, tmp_path):
    with pytest.raises(ModelError, match=message) as raised:
        load_card(written(tmp_path, a_card(), lambda metadata: metadata["medtl"].update(change)))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not valid JSON"),
        (b'{"medtl": ', "is not valid JSON"),
        (b"\xff\xfe{}", "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON"),
        (b"[" * 50 + b"]" * 50, "nested more than 40 deep"),
        (b'{"a": ' * 900 + b"1" + b"}" * 900, "nested more than 40 deep"),
        (b'{"x": NaN}', "NaN is no number"),
        (b'{"medtl": {"calibration": {"temperature": Infinity}}}', "Infinity is no number"),
        (b'{"x": [-Infinity]}', "-Infinity is no number"),
        (b'{"x": 1e999}', "the number 1e999 is too large"),
        (b'{"x": ' + b"9" * 5000 + b"}", "is not valid JSON"),
        (b'{"name": 1, "name": 2}', "has 'name' twice"),
        (b"\xef\xbb\xbf{}", "is not valid JSON"),
        (b'{"medtl": {"schema": true}}', "has schema True, expected 1"),
        (b"[]", "is not valid JSON .it is no object"),
        (b"{}", "has no block 'medtl'"),
        (b'{"medtl": [1]}', "has no block 'medtl'"),
        (b'{"medtl": {}}', "has schema None, expected 1"),
        (b'{"medtl": {"schema": 3}}', "has schema 3, expected 1 to 2. Update MedTL"),
        (b'{"medtl": {"schema": 2}}', "version: expected str, found 'None'"),
        (b'{"medtl": {"schema": 1}}', "version: expected str, found 'None'"),
    ],
)
def test_a_file_that_is_no_card_is_refused(content, message, tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / METADATA).write_bytes(content)
    with pytest.raises(ModelError, match=message):
        load_card(tmp_path)


def test_a_card_of_megabytes_is_refused_before_it_is_read(tmp_path):
    (tmp_path / "configs").mkdir()
    with (tmp_path / METADATA).open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(ModelError, match=r"at most 8 MB, found 1000000\.0 MB"):
        load_card(tmp_path)


@pytest.mark.parametrize(
    ("pattern", "phrases"),
    [
        ("", ()),
        ("flair", ("*flair*",)),
        (r"\bt1|DWI", ("t1*", "*dwi*")),
        (r"\bt[12]|dark.?fluid|\badc\b", ("t1*", "t2*", "*dark* *fluid*", "adc")),
        (r"^(?!.*\bt1.{0,4}flair).*(flair|tirm|dark.?fluid)", ("*flair* -t1*", "*tirm*", "*dark* *fluid*")),
    ],
)
def test_plain_words_of_a_card_with_regular_expressions_are_understood(pattern, phrases, tmp_path):
    def change(metadata):
        metadata["medtl"]["gate"] = {"sequence": pattern}

    assert load_card(written(tmp_path, a_card(), change)).gate == Gate(sequence=phrases)


@pytest.mark.parametrize(
    "pattern", ["(.*)*(.*)*(.*)*!", "(a+)+$", "a{1,1000}", "(" * 10_000 + ")" * 10_000, "t1(", "a|b|"]
)
def test_any_other_regular_expression_is_refused_and_never_run(pattern, tmp_path):
    def change(metadata):
        metadata["medtl"]["gate"] = {"not_sequence": pattern}

    with pytest.raises(ModelError, match=r"these are no longer run\. Write a list of words") as raised:
        load_card(written(tmp_path, a_card(), change))
    assert len(str(raised.value)) < 400 + len(str(tmp_path))


def test_a_folder_without_a_card_is_no_model(tmp_path):
    with pytest.raises(ModelError, match=r"Expected configs/metadata\.json in .*, found none"):
        load_card(tmp_path)
    (tmp_path / METADATA).mkdir(parents=True)
    with pytest.raises(ModelError, match=r"Expected configs/metadata\.json"):
        load_card(tmp_path)


def test_nothing_in_a_card_is_evaluated(tmp_path):
    def change(metadata):
        metadata["medtl"]["training"] = {"data": "$import os", "_target_": "os.system", "n": "__import__('os')"}

    training = load_card(written(tmp_path, a_card(), change)).training
    assert dict(training) == {"data": "$import os", "_target_": "os.system", "n": "__import__('os')"}


def test_a_card_cannot_be_changed_by_accident(rich, tmp_path):
    card = load_card(written(tmp_path, rich))
    with pytest.raises(TypeError):
        card.training["data"] = "other"
    with pytest.raises(AttributeError):
        card.name = "other"


def test_a_number_too_large_is_refused_and_not_a_crash():
    with pytest.raises(ModelError, match="expected float"):
        decode(float, 10**400, "here")


@pytest.mark.parametrize(
    ("training", "experimental"),
    [
        ({}, False),
        ({"split": {"train": {f"case {n}": "00" for n in range(29)}}}, True),
        ({"split": {"train": {f"case {n}": "00" for n in range(30)}}}, False),
        ({"split": {"train": {f"case {n}": "00" for n in range(60)}, "patients": 12}}, True),
        ({"split": {"train": {f"case {n}": "00" for n in range(60)}, "patients": 30}}, False),
        ({"split": "by patient"}, False),
        ({"split": {"train": {}, "patients": "many"}}, False),
    ],
)
def test_a_model_that_learned_from_few_patients_is_experimental(training, experimental):
    assert replace(a_card(), training=training).experimental is experimental


def test_a_model_shows_its_images_as_it_sees_them():
    hu = Normalisation("fixed", limits=(-150.0, 250.0), shift=50.0, scale=100.0)
    spec = WindowSpec((8, 8, 8), (1.0, 1.0, 1.0), (hu,))
    assert replace(a_card(), windows=spec).display_window == (-150.0, 250.0)
    for other in (Normalisation(), Normalisation("fixed"), Normalisation("zscore", limits=(0.0, 9.0))):
        assert replace(a_card(), windows=replace(spec, normalisation=(other,))).display_window is None
    assert a_card().display_window is None
    window = InputSpec(channels=("CT",), scaling="window", window=(0.0, 200.0))
    assert replace(a_card(), input=window).display_window == (0.0, 200.0)
