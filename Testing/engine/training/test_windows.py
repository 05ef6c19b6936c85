"""Training of networks that see windows."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_model import CUBES, a_card

from medtl.cases import read_cases
from medtl.errors import InputError
from medtl.io.write import write_image, write_labelmap
from medtl.model.bundle import load_model
from medtl.model.card import InputSpec, Label, ModelCard, NetworkSpec, Normalisation
from medtl.model.networks import build
from medtl.segmentation import segment
from medtl.training.loss import dice_and_cross_entropy
from medtl.training.recipe import TrainingRun
from medtl.training.windows import (
    WindowAugmentation,
    WindowedCase,
    WindowFit,
    WindowRecipe,
    change_intensities,
    deep_loss,
    draw_window,
    fit_windows,
    known_logits,
    prepare_windowed,
    random_turn,
    window_batches,
)
from medtl.volume import Geometry, Labelmap, Segment, Volume

STILL = WindowAugmentation(rotation=0.0, zoom=0.0, contrast=0.0, noise=0.0, p_coarse=0.0)
SPEC = replace(CUBES, patch=(16, 16, 16), spacing=(2.0, 2.0, 2.0), normalisation=(Normalisation("zscore"),), crop=False)
ARGUMENTS = {
    "channels": 1,
    "outputs": 2,
    "features": [8, 16],
    "kernels": [[3, 3, 3]] * 2,
    "strides": [[1, 1, 1], [2, 2, 2]],
    "blocks": [1, 1],
    "decoder_blocks": [1],
}


def card() -> ModelCard:
    return replace(
        a_card(),
        name="cubes",
        labels=(Label(1, "ball", "Ball"),),
        networks=(NetworkSpec("plainunet", ARGUMENTS, "net."),),
        input=InputSpec(channels=("T1",)),
        windows=SPEC,
        decision="argmax",
    )


def ball(seed: int, size: int = 20) -> tuple[Volume, Labelmap]:
    """A bright ball in noise, stored with the first axis running backwards, at 2 x 2 x 1 mm."""
    random = np.random.default_rng(seed)
    geometry = Geometry((size, size, 2 * size), (2.0, 2.0, 1.0), direction=(1, 0, 0, 0, 1, 0, 0, 0, -1))
    z, y, x = np.indices(geometry.shape) * np.array([0.5, 1, 1])[:, None, None, None]
    at = random.uniform(6, size - 6, 3)
    inside = (z - at[0]) ** 2 + (y - at[1]) ** 2 + (x - at[2]) ** 2 < 16
    image = (100 + 150 * inside + random.normal(0, 20, inside.shape)).astype(np.int16)
    return Volume(image, geometry), Labelmap(inside.astype(np.uint8), geometry, (Segment(1, "ball", "Ball"),))


@pytest.fixture
def cases(tmp_path):
    lines = ["image,label"]
    for seed in range(4):
        volume, truth = ball(seed)
        write_image(tmp_path / f"{seed}.nrrd", volume.array, volume.geometry)
        write_labelmap(tmp_path / f"{seed}-label.nrrd", truth)
        lines.append(f"{seed}.nrrd,{seed}-label.nrrd")
    (tmp_path / "cases.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "cases.csv"


def flat(value: float, shape: tuple[int, int, int]) -> WindowedCase:
    """A case of one value without a label."""
    image = np.full((1, *shape), value, np.float32)
    return WindowedCase("a", "a", "", "", (2.0, 2.0, 2.0), image, np.zeros(shape, np.uint8))


def test_deep_supervision_teaches_every_stage_of_the_decoder(cases, tmp_path):
    recipe = WindowRecipe(card(), WindowFit(epochs=1, windows=4, deep=True), 0.25, 0, 2, False, "r", "l")
    deep = {
        **ARGUMENTS,
        "features": [8, 8, 16],
        "kernels": [[3, 3, 3]] * 3,
        "blocks": [1] * 3,
        "decoder_blocks": [1, 1],
    }
    deep["strides"] = [[1, 1, 1], [2, 2, 2], [2, 2, 2]]
    prepared = [prepare_windowed(case, card(), binary=False) for case in read_cases(cases)]
    network = build("plainunet", deep)
    image, truth = next(window_batches(prepared, 2, SPEC, recipe.fit, 0))
    label = truth.label
    stages = network.deep_logits(image)
    assert [logits.shape[2:] for logits in stages] == [(8, 8, 8), (16, 16, 16)]
    assert torch.equal(stages[-1], network(image))
    # By hand: the finer stage counts twice as much, the label of the coarser one is every other voxel.
    fine, coarse = (
        dice_and_cross_entropy(*pair) for pair in ((stages[1], label), (stages[0], label[:, ::2, ::2, ::2]))
    )
    assert torch.isclose(deep_loss(network, image, truth), (2 * fine + coarse) / 3)
    deep_loss(network, image, truth).backward()
    assert all(head.weight.grad.abs().sum() > 0 for head in network.decoder.seg_layers)
    trained = replace(recipe, card=replace(card(), networks=(NetworkSpec("plainunet", deep, "net."),)))
    assert trained.train(TrainingRun(cases, tmp_path / "out")).folder.exists()


def test_a_label_that_was_not_drawn_may_be_in_the_background():
    """By hand: its probability counts as background, and nothing teaches the network to find it or not to."""
    torch.manual_seed(0)
    logits = torch.randn(2, 4, 3, 3, requires_grad=True)
    unknown = torch.tensor([[False, False, True, False], [False] * 4])
    known = known_logits(logits, unknown)
    before, after = logits.softmax(1), known.softmax(1)
    assert torch.allclose(after[0, 0], before[0, 0] + before[0, 2])
    assert torch.allclose(after[0, [1, 3]], before[0, [1, 3]])
    assert after[0, 2].max() < 1e-30
    assert torch.equal(known[1], logits[1])
    background = dice_and_cross_entropy(known[:1], torch.zeros(1, 3, 3, dtype=torch.int64))
    (slope,) = torch.autograd.grad(background, logits)
    assert (slope[0, 2] <= 0).all()  # to find it where the truth says background costs nothing
    assert (slope[0, [1, 3]] > 0).all()


def test_labels_that_a_case_does_not_have_are_unknown_where_the_recipe_says_so(cases):
    two = replace(card(), labels=(Label(1, "ball", "Ball"), Label(2, "cube", "Cube")))
    case = read_cases(cases)[0]
    assert prepare_windowed(case, two, binary=False).unknown == ()
    prepared = prepare_windowed(case, two, binary=False, partial=True)
    assert prepared.unknown == (2,)
    _, truth = next(window_batches([prepared], 3, SPEC, WindowFit(windows=2), 0))
    assert truth.unknown.tolist() == [[False, False, True]] * 2


def test_small_labels_are_drawn_as_often_as_large_ones():
    label = np.zeros((40, 40, 40), np.uint8)
    label[:30], label[38, 20, 20] = 1, 2
    case = WindowedCase("a", "a", "", "", (1.0, 1.0, 1.0), label[None].astype(np.float32), label)
    options, random = WindowFit(foreground=1.0, augmentation=STILL), np.random.default_rng(0)
    spec = replace(SPEC, patch=(8, 8, 8))
    seen = [bool((draw_window(case, spec, options, random)[1] == 2).any()) for _ in range(100)]
    assert 35 < sum(seen) < 65


def test_beyond_the_image_lies_the_card_s_filling():
    case = WindowedCase(
        "a", "a", "", "", (2.0, 2.0, 2.0), np.full((1, 8, 8, 8), 3.0, np.float32), np.zeros((8, 8, 8), np.uint8)
    )
    spec = replace(SPEC, fill=-1.0)
    image, label = draw_window(case, spec, WindowFit(augmentation=STILL), np.random.default_rng(0))
    assert (image > 2.99).sum() == 512
    assert (image < -0.99).sum() == 16**3 - 512
    assert not label.any()


@pytest.mark.parametrize(("overhang", "most"), [(0.0, 0.0), (0.5, 1 - 0.75**3)])
def test_a_window_reaches_beyond_the_image_as_far_as_it_may(overhang, most):
    spec, random = replace(SPEC, fill=-5.0), np.random.default_rng(0)
    options = WindowFit(foreground=0.0, augmentation=replace(STILL, overhang=overhang))
    drawn = [draw_window(flat(1.0, (24, 24, 24)), spec, options, random)[0] for _ in range(300)]
    outside = [float((image < 0).float().mean()) for image in drawn]
    assert max(outside) <= most + 0.05
    assert (max(outside) > 0.3) == (overhang > 0)


@pytest.mark.parametrize("scans", [[100], [1] * 100])  # a whole scan, and many slices of one patient
def test_a_patient_of_many_slices_is_drawn_more_often_and_does_not_drown_the_others(scans):
    others = [replace(flat(0.0, (1, 8, 8)), patient=f"b{n}") for n in range(10)]
    cases = [*(flat(1.0, (n, 8, 8)) for n in scans), *others]
    spec = replace(SPEC, patch=(8, 8), spacing=(2.0, 2.0), mirror=())
    batches = window_batches(cases, 2, spec, WindowFit(windows=400, augmentation=STILL), 0)
    assert np.mean([image.mean() for image, _ in batches]) == pytest.approx(0.5, abs=0.08)


def test_the_label_lies_on_the_network_s_grid_with_its_image(cases):
    prepared = prepare_windowed(read_cases(cases)[0], card(), binary=False)
    assert prepared.image.shape[1:] == prepared.label.shape == (20, 20, 20)
    assert prepared.spacing == (2.0, 2.0, 2.0)
    _, truth = ball(0)
    # Half as many slices, from the other end: their middles lie between two of the file's.
    pairs = truth.array[::-1].reshape(20, 2, 20, 20)
    agreed = pairs[:, 0] == pairs[:, 1]
    np.testing.assert_array_equal(prepared.label[agreed], pairs[:, 0][agreed])
    assert prepared.image[0][prepared.label > 0].mean() > prepared.image[0][prepared.label == 0].mean() + 3


def test_a_window_that_is_not_changed_is_a_part_of_the_case():
    random = np.random.default_rng(0)
    image = random.normal(size=(2, 12, 10, 11)).astype(np.float32)
    label = (random.random((12, 10, 11)) < 0.1).astype(np.uint8)
    case = WindowedCase("a", "a", "", "", (1.0, 2.0, 3.0), image, label)
    spec = replace(SPEC, patch=(4, 6, 5), mirror=())
    options = WindowFit(augmentation=STILL, foreground=0.0)
    places = set()
    for _ in range(50):
        window, truth = draw_window(case, spec, options, random)
        assert window.shape == (2, 4, 6, 5)
        # It lies between voxels, and has the label of the nearest ones.
        parts = {
            (z, y, x): label[z : z + 4, y : y + 6, x : x + 5] for z in range(9) for y in range(5) for x in range(7)
        }
        places.update(place for place, part in parts.items() if np.mean(part != truth.numpy()) < 0.01)
    assert len(places) > 10


def test_windows_around_labels_show_them_and_those_anywhere_seldom_do():
    label = np.zeros((40, 40, 40), np.uint8)
    label[5:8, 30:33, 20:23] = 1
    case = WindowedCase("a", "a", "", "", (1.0, 1.0, 1.0), label[None].astype(np.float32), label)
    random = np.random.default_rng(0)
    shown = {}
    for share in (0.0, 1.0):
        options = WindowFit(foreground=share)
        shown[share] = np.mean([draw_window(case, SPEC, options, random)[1].any() for _ in range(60)])
    assert shown[1.0] > 0.9
    assert shown[0.0] < 0.3


def test_a_turn_keeps_distances_in_mm_and_thick_slices_are_turned_little():
    spacing = np.array([5.0, 1.0, 1.0])
    for seed in range(20):
        matrix = random_turn(WindowAugmentation(zoom=0.0), spacing, False, np.random.default_rng(seed))
        in_mm = matrix * spacing[:, None] / spacing
        np.testing.assert_allclose(in_mm @ in_mm.T, np.eye(3), atol=1e-12)
        assert np.degrees(np.arccos(min(1.0, in_mm[0, 0]))) < 2 * 15 / 5 + 1e-6


def test_intensities_change_and_shapes_stay():
    image = torch.randn(3, 1, 8, 6, 4)
    changed = change_intensities(image, WindowAugmentation(p_coarse=1.0), torch.Generator().manual_seed(0))
    assert changed.shape == image.shape
    assert not torch.equal(changed, image)
    np.testing.assert_array_equal(change_intensities(image, STILL, torch.Generator()).numpy(), image.numpy())


def test_a_recipe_trains_a_model_that_finds_what_it_was_shown(cases, tmp_path):
    recipe = WindowRecipe(
        card(),
        WindowFit(epochs=4, windows=80, batch=4, rate=1e-2, encoder_rate=1e-2, average=0.9),
        0.25,
        0,
        2,
        False,
        "# Cubes\n",
        "A licence\n",
        {"authors": "A test"},
    )
    run = TrainingRun(cases, tmp_path / "run")
    made = recipe.train(run)
    model = load_model(str(made.folder), "cpu")
    assert len(model.card.training["split"]["test"]) == 1
    volume, truth = ball(17)
    found = segment(volume, model).labelmap.array > 0
    inside = truth.array > 0
    assert 2 * (found & inside).sum() / (found.sum() + inside.sum()) > 0.8
    with pytest.raises(InputError, match="exists already"):
        recipe.train(run)


def test_cases_without_a_label_are_refused(tmp_path):
    with pytest.raises(InputError, match="cases with a label"):
        fit_windows(None, [flat(0.0, (9, 9, 9))], card(), WindowFit(), TrainingRun(tmp_path, tmp_path))
