"""Copies of SEED slices, the windows that are looked at, and weights between two states."""

from dataclasses import replace

import numpy as np
import pytest
import small_model
import torch

from medtl.finetuning import features
from medtl.finetuning.decoder import DecoderWeights, Tuning, tune
from medtl.finetuning.features import EncodedSlices, augment_seeds, classes_of, dices, encode
from medtl.finetuning.run import TimeBudget
from medtl.finetuning.seed import IGNORE
from medtl.finetuning.slice_tuning import SliceExamples, draw_window, feature_window
from medtl.model.bundle import Model, load_model
from medtl.model.card import InputSpec
from medtl.worker import JobProgress


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("models") / "small"
    small_model.save(folder)
    return load_model(str(folder), "cpu")


def a_square(count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Slices with a bright square, and its label."""
    truth = torch.zeros((count, 64, 64), dtype=torch.long)
    truth[:, 20:44, 24:40] = 1
    return truth[:, None].float() * 0.9 - 0.4, truth


def a_cache(model: Model) -> EncodedSlices:
    image, truth = a_square()
    return EncodedSlices(0, (0, 1, 2), encode(model, image), truth)


@pytest.mark.parametrize("spec", [InputSpec(), small_model.WINDOW], ids=["tissue", "window"])
@pytest.mark.usefixtures("bright_lesions")
def test_the_label_of_a_changed_copy_stays_on_what_it_names(spec):
    image, truth = a_square(8)
    moved, classes = augment_seeds(image, truth, spec, torch.Generator().manual_seed(0))
    assert moved.shape == image.shape
    assert not torch.equal(classes, truth)
    for picture, label in zip(moved[:, 0], classes, strict=True):
        assert picture[label == 1].median() > picture[label == 0].median() + 0.2


@pytest.fixture
def bright_lesions(monkeypatch):
    """No copy has its lesion made faint or dark inside."""
    monkeypatch.setattr(features, "AUGMENTATION", replace(features.AUGMENTATION, p_faint=0.0, p_necrosis=0.0))


@pytest.mark.usefixtures("bright_lesions")
def test_bodies_are_never_mirrored_and_heads_are():
    image, truth = a_square(16)
    image[:, :, :, :32] += 0.5
    sides = {}
    for name, spec in (("head", InputSpec()), ("body", small_model.WINDOW)):
        moved, _ = augment_seeds(image, truth, spec, torch.Generator().manual_seed(1))
        sides[name] = {bool(m[:, 10:54, 4:28].mean() > m[:, 10:54, 36:60].mean()) for m in moved}
    assert sides == {"head": {True, False}, "body": {True}}


def test_what_comes_in_from_outside_is_unknown():
    image, truth = a_square(8)
    _, classes = augment_seeds(image, truth, InputSpec(), torch.Generator().manual_seed(0))
    assert (classes == IGNORE).any()
    _, none = augment_seeds(image, torch.full_like(truth, IGNORE), InputSpec(), torch.Generator().manual_seed(0))
    assert (none == IGNORE).all()


def test_a_window_lies_on_the_slice_and_often_on_its_label():
    truth = torch.zeros((96, 160), dtype=torch.long)
    truth[80, 150] = 1
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(60):
        rows, columns = draw_window(truth, 64, 32, random)
        assert (rows.stop - rows.start, columns.stop - columns.start) == (64, 64)
        assert rows.start % 32 == columns.start % 32 == 0
        assert rows.stop <= 96
        assert columns.stop <= 160
        hits += bool(truth[rows, columns].any())
    assert hits > 36
    assert draw_window(truth, 500, 32, random) == (slice(0, 96), slice(0, 160))


def test_a_window_of_features_shows_what_the_window_of_the_image_shows():
    image = torch.arange(64 * 64).float().reshape(1, 64, 64)
    rows, columns = slice(32, 64), slice(0, 32)
    coarse = torch.nn.functional.avg_pool2d(image, 4)
    found = feature_window(coarse, rows, columns, (64, 64))
    assert torch.equal(found, torch.nn.functional.avg_pool2d(image[:, rows, columns], 4))


def test_weights_go_back_to_where_they_began(model):
    before = {k: v.clone() for k, v in model.networks[0].state_dict().items()}
    options = Tuning(steps=4, rate=1e-2)
    examples = SliceExamples(model, [a_cache(model)], options)
    tuned = DecoderWeights(model, examples.parameters())
    steps = tune(tuned, examples, options, TimeBudget(60.0), lambda share, loss: None).steps
    (half,) = tuned.states(0.5)
    tuned.use(1.0)
    full = {k: v.clone() for k, v in model.networks[0].state_dict().items()}
    tuned.use(0.0)
    assert steps == 4
    assert all(torch.equal(before[k], v) for k, v in model.networks[0].state_dict().items())
    assert any(not torch.equal(before[k], full[k]) for k in before)
    assert all(torch.allclose(half[k].float(), (before[k].float() + full[k].float()) / 2, atol=1e-6) for k in before)


def test_time_ends_a_tuning_after_one_step_at_the_least(model):
    examples = SliceExamples(model, [a_cache(model)], Tuning())
    tuned = DecoderWeights(model, examples.parameters())
    assert tune(tuned, examples, Tuning(), TimeBudget(1e-9), lambda share, loss: None).steps == 1
    tuned.use(0.0)


def test_the_class_of_a_pixel_is_decided_as_segment_decides():
    logits = torch.tensor([[[[0.0, 0.0]], [[1.0, -1.0]], [[0.5, -3.0]]]])
    assert classes_of(logits, small_model.a_card()).tolist() == [[[1, 0]]]


def test_unknown_pixels_do_not_count_in_dice():
    truth = torch.tensor([[[1, 1, 0, IGNORE]], [[0, 0, 0, 0]]])
    found = torch.tensor([[[1, 0, 0, 1]], [[0, 0, 0, 0]]])
    assert dices(found, truth, 1, pooled=False).tolist() == pytest.approx([2 / 3, 1.0])
    assert dices(found, truth, 1, pooled=True).tolist() == pytest.approx([2 / 3])


def test_figures_to_draw_go_out_with_the_next_line():
    sent: list[tuple[str, dict[str, float]]] = []

    class Queue:
        def progress(self, stage: str, fraction: float, left: float | None, shown: bool, values: dict) -> None:
            if shown:
                sent.append((stage, dict(values)))

    report = JobProgress(Queue())  # type: ignore[arg-type]
    report("tune", 0.0)
    report.note({"loss": 0.5, "broken": float("nan")})
    report("tune", 1.0)
    report("write", 0.0)
    assert sent == [("tune", {}), ("tune", {"loss": 0.5}), ("write", {})]
