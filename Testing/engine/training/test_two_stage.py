"""Models of two stages: trained, written, loaded, run, and tuned further."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_model import a_card

from medtl.errors import InputError, ModelError
from medtl.finetuning.tuned_bundle import inherited_from, write_bundle
from medtl.io.write import write_image, write_labelmap
from medtl.model.bundle import load_model
from medtl.model.card import (
    Cleanup,
    InputSpec,
    Label,
    ModelCard,
    NetworkSpec,
    Normalisation,
    RegionSpec,
    WindowSpec,
    check_card,
)
from medtl.model.network import Network
from medtl.model.networks import build
from medtl.segmentation import InferenceOptions, region_of, segment
from medtl.training.recipe import TrainingRun
from medtl.training.two_stage import TwoStageRecipe, auxiliary_card, with_auxiliary
from medtl.training.windows import WindowFit
from medtl.volume import Geometry, Labelmap, Segment, Volume
from medtl.windows.prepare import prepare_windows

GEOMETRY = Geometry((64, 64, 1), (1.0, 1.0, 3.0), direction=(-1, 0, 0, 0, 1, 0, 0, 0, 1))


def arguments(features: list[int], outputs: int) -> dict[str, object]:
    return {
        "channels": 1,
        "outputs": outputs,
        "features": features,
        "kernels": [[3, 3], [3, 3]],
        "strides": [[1, 1], [2, 2]],
        "blocks": [1, 1],
        "decoder_blocks": [1],
    }


FINE = {"encoder": "mobilenetv2_050", "channels": 1, "labels": 2, "decoder": [16, 8, 8]}


def windows(patch: int, mm: float) -> WindowSpec:
    scaling = (Normalisation("fixed", limits=(0.0, 250.0), shift=125.0, scale=125.0),)
    return WindowSpec((patch, patch), (mm, mm), scaling, orientation="LPS", crop=False, order=1)


def card() -> ModelCard:
    return replace(
        a_card(),
        name="stages",
        labels=(Label(1, "organ", "Organ"), Label(2, "tumour", "Tumour")),
        networks=(NetworkSpec("dualunet2d", FINE, "fine."),),
        input=InputSpec(channels=("CT",)),
        windows=windows(16, 1.0),
        region=RegionSpec(NetworkSpec("plainunet", arguments([4, 8], 2), "region."), windows(16, 3.0), 4.0),
        decision="argmax",
    )


FIT = WindowFit(epochs=6, batch=4, windows=40, rate=1e-2, encoder_rate=1e-2, average=0.8)


def recipe() -> TwoStageRecipe:
    return TwoStageRecipe(card(), replace(FIT, windows=80), FIT, FIT, None, 0.25, 0, 2, "text", "terms")


def organ(seed: int, tumour: bool = True) -> tuple[Volume, Labelmap]:
    """A grey disc with a bright one in it, in noise."""
    random = np.random.default_rng(seed)
    y, x = np.indices((64, 64))
    centre = random.uniform(20, 44, 2)
    away = np.hypot(y - centre[0], x - centre[1])
    labels = (away < 10).astype(np.uint8)
    if tumour:
        labels[np.hypot(y - centre[0], x - centre[1] - 3) < 5] = 2
    image = np.choose(labels, (30, 120, 220)) + random.normal(0, 8, labels.shape)
    segments = (Segment(1, "organ", "Organ"), Segment(2, "tumour", "Tumour"))
    return Volume(image.astype(np.int16)[None], GEOMETRY), Labelmap(labels[None], GEOMETRY, segments[: 1 + tumour])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The own and the auxiliary list."""
    path = tmp_path_factory.mktemp("cases")
    for name, tumour, seeds in (("own", True, range(4)), ("auxiliary", False, range(10, 13))):
        lines = ["image,label"]
        for seed in seeds:
            volume, truth = organ(seed, tumour)
            write_image(path / f"{seed}.nrrd", volume.array, volume.geometry)
            write_labelmap(path / f"{seed}-label.nrrd", truth)
            lines.append(f"{seed}.nrrd,{seed}-label.nrrd")
        (path / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    return recipe().train(TrainingRun(folder, tmp_path_factory.mktemp("run"))).folder


def test_a_trained_model_of_two_stages_finds_both_labels(trained):
    model = load_model(str(trained), "cpu")
    volume, truth = organ(20)
    found = segment(volume, model).labelmap
    assert found.geometry == volume.geometry
    for value in (1, 2):
        both = np.count_nonzero((found.array == value) & (truth.array == value))
        assert 2 * both > 0.8 * (np.count_nonzero(found.array == value) + np.count_nonzero(truth.array == value))
    assert len(model.card.training["split"]["train"]) == 3


def test_the_second_stage_sees_the_region_with_its_margin_alone(trained):
    model = load_model(str(trained), "cpu")
    volume, truth = organ(21)
    box = region_of([volume], model, lambda *_: None).box
    prepared = prepare_windows([volume], model.card, model.card.windows, box)
    assert prepared.array.shape[2] < 48
    # The array runs from right to left, as the volume's x does not.
    rows, columns = (np.flatnonzero((truth.array[0] > 0).any(axis)) for axis in (1, 0))
    assert box[1].start <= rows[0] - 2
    assert rows[-1] + 2 < box[1].stop
    assert box[2].start <= 63 - columns[-1] - 2
    assert 63 - columns[0] + 2 < box[2].stop
    assert not segment(volume, model).labelmap.array[:, : box[1].start].any()


def test_where_the_first_stage_finds_nothing_the_second_sees_everything(trained):
    model = load_model(str(trained), "cpu")
    volume, _ = organ(23)
    alone = replace(model, region=None)
    with torch.no_grad():
        model.region.networks[0].decoder.seg_layers[-1].bias[0] = 1e4  # background everywhere
    region = region_of([volume], model, lambda *_: None)
    assert region.box == (slice(0, 1), slice(0, 64), slice(0, 64))
    found = segment(volume, model)
    np.testing.assert_array_equal(found.labelmap.array, segment(volume, alone).labelmap.array)
    assert [text for text in found.warnings if "stages of stages disagree: Dice 0.00" in text]


def with_stages(trained, first, second):
    """The model with a first and a second network that mark by these rules."""
    model = load_model(str(trained), "cpu")
    return replace(
        model, networks=(Marks(second, 3).eval(),), region=replace(model.region, networks=(Marks(first, 2).eval(),))
    )


def scaled(value):
    """An image's value as the networks see it."""
    return value / 125 - 1


class Marks(Network):
    """A network whose label 1 is where its rule for the input is true."""

    def __init__(self, rule, classes) -> None:
        super().__init__()
        self.rule, self.classes, self.multiples = rule, classes, (1, 1)
        self.nothing = torch.nn.Parameter(torch.zeros(1), requires_grad=False)  # tells the device

    def encode(self, x):
        return [x]

    def decode(self, features):
        marked = self.rule(features[0]).float()
        return torch.cat([1 - marked, marked, *([torch.full_like(marked, -9.0)] * (self.classes - 2))], 1)


def spots(values) -> Volume:
    """Squares of 9 mm of these values along the diagonal, 15 mm apart."""
    array = np.zeros((1, 64, 64), np.int16)
    for number, value in enumerate(values):
        at = slice(3 + 15 * number, 12 + 15 * number)
        array[0, at, at] = value
    return Volume(array, GEOMETRY)


def test_labels_count_only_near_what_the_first_stage_found(trained):
    """The box around two of three squares holds the third, which the first stage did not mark."""
    volume = spots((200, 120, 200))
    model = with_stages(trained, lambda x: x > scaled(150), lambda x: x > scaled(60))
    options = InferenceOptions(keep_probabilities=True, keep_uncertainty=True)
    found = segment(volume, model, options)
    np.testing.assert_array_equal(found.labelmap.array == 1, volume.array == 200)
    assert not found.probabilities[:, volume.array == 120].any()
    assert not found.uncertainty[volume.array == 120].any()
    alone = segment(volume, replace(model, region=None)).labelmap.array
    np.testing.assert_array_equal(alone == 1, volume.array > 0)


@pytest.mark.parametrize(
    ("values", "lowest", "warned"),
    [
        ((200, 200), 60, False),  # both find both
        ((200, 200), 230, True),  # the second finds nothing
        ((200, 120, 120, 120), 150, True),  # the second finds one of four
        ((0, 9), 60, False),  # neither finds anything
    ],
)
def test_stages_that_disagree_give_a_warning(trained, values, lowest, warned):
    model = with_stages(trained, lambda x: x > scaled(60), lambda x: x > scaled(lowest))
    said = [text for text in segment(spots(values), model).warnings if "The two stages of stages disagree" in text]
    assert len(said) == warned


def test_the_auxiliary_encoder_stays_as_it_learned_the_other_set(trained, folder):
    stored = load_file(trained / "models" / "model.safetensors")
    helper = load_file(trained.parent / "auxiliary" / "checkpoint.safetensors")
    names = [name for name in stored if name.startswith("fine.auxiliary.")]
    assert names
    for name in names:
        learned = helper["averaged." + name.replace("fine.auxiliary.", "unet.encoder.")]
        np.testing.assert_allclose(stored[name].float().numpy(), learned.numpy(), rtol=1e-3, atol=2e-3)


def test_a_tuned_model_keeps_the_first_stage(trained, tmp_path):
    model = load_model(str(trained), "cpu")
    tuned = replace(model.card, training={"tuned": [TUNING]})
    write_bundle(tmp_path / "tuned", tuned, [dict(model.networks[0].state_dict())], inherited_from(model))
    again = load_model(str(tmp_path / "tuned"), "cpu")
    volume, _ = organ(22)
    np.testing.assert_array_equal(segment(volume, again).labelmap.array, segment(volume, model).labelmap.array)


TUNING = {"parent": {"name": "stages", "sha256": "0" * 64}, "medtl": "0", "seeds": []}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"windows": None}, "without windows"),
        ({"region": replace(card().region, margin_mm=-1.0)}, "a margin of -1"),
        ({"region": replace(card().region, margin_mm=float("nan"))}, "a margin of nan"),
        ({"region": replace(card().region, windows=replace(windows(16, 3.0), orientation="RAS"))}, "other axes"),
        ({"region": replace(card().region, windows=windows(16, -3.0))}, "spacing -3"),
        ({"region": replace(card().region, network=NetworkSpec("plainunet", {}, "fine."))}, "same prefix"),
        ({"cleanup": Cleanup(anchor="bone")}, "the anchor 'bone' of the clean-up"),
    ],
)
def test_a_first_stage_that_cannot_be_is_refused(change, problem):
    with pytest.raises(ModelError, match=problem):
        check_card(replace(card(), **change), "card")


def test_a_list_instead_of_the_folder_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match=r"Expected a folder with own\.csv and auxiliary\.csv"):
        recipe().train(TrainingRun(folder / "own.csv", tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_two_encoders_are_joined_at_each_level():
    spec = auxiliary_card(card()).networks[0]
    helper = build(spec.name, dict(spec.arguments)).eval()
    network = with_auxiliary(card(), helper).train().eval()
    x = torch.randn(1, 1, 16, 16)
    with torch.inference_mode():
        joined = network.encode(x)
        for both, known, own in zip(joined, helper.encode(x), network.unet.encoder(x), strict=True):
            torch.testing.assert_close(both, torch.cat((known, own), 1))
        assert network(x).shape == (1, 3, 16, 16)
    assert not any(weight.requires_grad for weight in network.auxiliary.parameters())
    assert all(weight.requires_grad for weight in network.unet.encoder.parameters())


def test_batch_statistics_of_the_auxiliary_encoder_stay_while_the_rest_learns():
    spec = auxiliary_card(card()).networks[0]
    network = with_auxiliary(card(), build(spec.name, dict(spec.arguments))).train()
    before = {name: value.clone() for name, value in network.auxiliary.state_dict().items()}
    network(torch.randn(2, 1, 16, 16) + 3)
    assert all(torch.equal(value, before[name]) for name, value in network.auxiliary.state_dict().items())
