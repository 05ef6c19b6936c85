import contextlib
import itertools
import json
import math

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

from medtl.errors import Cancelled, InputError, ModelError
from medtl.model.card import InputSpec
from medtl.model.monai_networks import BasicUNet2d
from medtl.model.timm_networks import UNet2d
from medtl.progress import no_progress
from medtl.training.augment import Augmentation
from medtl.training.dataset import CachedCase
from medtl.training.fit import (
    CHECKPOINT,
    DepthwiseInFloat32,
    Fit,
    average,
    batches,
    between_slices,
    canvas,
    fit,
    one_cycle,
    predict,
    segmentation_loss,
    start,
    train_epoch,
)
from medtl.training.loss import dice_and_cross_entropy

SPEC = InputSpec(spacing=None, neighbours=1)
FIT = Fit(epochs=2, batch=3, window=(64, 64), rate=3e-3, augmentation=Augmentation(shift=5.0))


@pytest.fixture(autouse=True)
def one_thread():
    """Sums in one order, so that weights can be compared bit for bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def network():
    torch.manual_seed(0)
    return BasicUNet2d(3, 1, (4, 4, 8, 8, 8, 4))


def case(seed, slices=5):
    """A bright lesion in the middle slices of a noisy brain."""
    rng = np.random.default_rng(seed)
    z, y, x = np.mgrid[:slices, :64, :56]
    brain = np.hypot((y - 31.5) / 28, (x - 27.5) / 24) < 1
    label = (np.hypot(y - rng.integers(24, 40), x - rng.integers(20, 36)) < 8) & (z > 0) & (z < slices - 1)
    tissue = (brain + 0.7 * label) * rng.normal(1, 0.05, brain.shape)
    image = np.clip(0.8 * tissue - 1, -1, 2.2).astype(np.float16)
    return CachedCase(f"c{seed}", f"c{seed}", "", "00", 5.0, {}, image, label.astype(np.uint8), brain)


CASES = [case(0), case(1)]


class StopAt:
    """A report that cancels when training has come to this share."""

    def __init__(self, share):
        self.share = share

    def __call__(self, stage, fraction):
        if stage == "fit" and fraction >= self.share:
            raise Cancelled("The work was cancelled.")


def equal(one, two):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run of two epochs, and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    trained = fit(start(network(), FIT), CASES, SPEC, FIT, folder)
    torch.set_num_threads(threads)
    return trained, folder


@pytest.mark.parametrize("share", [0.5, 0.8], ids=["after an epoch", "within an epoch"])
def test_a_run_that_was_interrupted_ends_in_the_same_weights(whole, tmp_path, share):
    with pytest.raises(Cancelled):
        fit(start(network(), FIT), CASES, SPEC, FIT, tmp_path, StopAt(share))
    assert [entry["epoch"] for entry in json.loads((tmp_path / "history.json").read_text())] == [1]
    torch.manual_seed(99)  # other weights to begin with: all must come from the checkpoint
    resumed = fit(start(BasicUNet2d(3, 1, (4, 4, 8, 8, 8, 4)), FIT, tmp_path), CASES, SPEC, FIT, tmp_path)
    assert equal(resumed, whole[0])
    kept, wanted = load_file(tmp_path / CHECKPOINT), load_file(whole[1] / CHECKPOINT)
    assert kept.keys() == wanted.keys()
    assert all(torch.equal(kept[key], wanted[key]) for key in kept)


def test_a_run_stopped_in_its_first_epoch_leaves_nothing(tmp_path):
    with pytest.raises(Cancelled):
        fit(start(network(), FIT), CASES, SPEC, FIT, tmp_path / "run", StopAt(0.2))
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_done_is_returned_as_it_is(whole):
    before = (whole[1] / CHECKPOINT).read_bytes()
    assert equal(fit(start(network(), FIT, whole[1]), CASES, SPEC, FIT, whole[1]), whole[0])
    assert (whole[1] / CHECKPOINT).read_bytes() == before


def test_the_checkpoint_is_safetensors_and_nothing_is_pickled(whole):
    assert sorted(path.name for path in whole[1].iterdir()) == [CHECKPOINT, "history.json"]
    with safe_open(whole[1] / CHECKPOINT, "pt") as stored:
        facts = json.loads(stored.metadata()["facts"])
    assert facts["epoch"] == 2
    assert facts["history"] == json.loads((whole[1] / "history.json").read_text())


def test_the_history_holds_the_loss_of_each_epoch(whole):
    history = json.loads((whole[1] / "history.json").read_text())
    assert [entry["epoch"] for entry in history] == [1, 2]
    assert all(math.isfinite(entry["loss"]) for entry in history)


def test_a_history_file_that_lags_behind_does_not_mislead(tmp_path):
    """It is written after the checkpoint, so a crash between the two leaves it an epoch short."""
    with pytest.raises(Cancelled):
        fit(start(network(), FIT), CASES, SPEC, FIT, tmp_path, StopAt(0.6))
    (tmp_path / "history.json").unlink()
    fit(start(network(), FIT, tmp_path), CASES, SPEC, FIT, tmp_path)
    assert [entry["epoch"] for entry in json.loads((tmp_path / "history.json").read_text())] == [1, 2]


def dice_of(network, case):
    found, truth = predict(network, case, SPEC) > 0.5, case.label > 0
    return 2 * np.count_nonzero(found & truth) / (np.count_nonzero(found) + np.count_nonzero(truth))


def test_training_learns(tmp_path):
    options = Fit(
        epochs=14, batch=3, window=(64, 64), rate=1e-2, average=0.9, p_between=0.0, augmentation=Augmentation()
    )
    untrained = np.mean([dice_of(network(), c) for c in CASES])
    trained = fit(start(network(), options), CASES, SPEC, options, tmp_path)
    found = np.mean([dice_of(trained, c) for c in CASES])
    assert found > untrained + 0.3
    assert not trained.training


def test_another_seed_trains_other_weights(whole, tmp_path):
    options = Fit(**{**vars(FIT), "seed": 1})
    other = fit(start(network(), options), CASES, SPEC, options, tmp_path)
    assert not equal(other, whole[0])


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "found none. Run once without --resume"), (b"damaged", "Could not resume"), ("other", "Could not resume")],
    ids=["missing", "damaged", "of another network"],
)
def test_what_cannot_be_resumed_is_said(tmp_path, whole, content, message):
    if content == "other":
        (tmp_path / CHECKPOINT).write_bytes((whole[1] / CHECKPOINT).read_bytes())
    elif content:
        (tmp_path / CHECKPOINT).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        start(BasicUNet2d(3, 1, (4, 4, 8, 8, 16, 4)), FIT, tmp_path)
    assert "\n" not in str(caught.value)


def test_an_epoch_shows_all_lesions_and_as_many_other_slices_drawn_anew_but_no_air(tmp_path, monkeypatch):
    long = case(5, slices=16)
    label, image = long.label.copy(), long.image.copy()
    label[5:] = 0
    image[12:] = -1
    long = CachedCase(**{**vars(long), "label": label, "image": image})
    orders = []

    def noted(cases, order, *arguments):
        orders.append(order)
        return batches(cases, order, *arguments)

    monkeypatch.setattr("medtl.training.fit.batches", noted)
    fit(start(network(), FIT), [long], SPEC, FIT, tmp_path)
    shown = [[k for _, k in order] for order in orders]
    assert [sorted(set(ks) & {1, 2, 3, 4}) for ks in shown] == [[1, 2, 3, 4]] * 2
    others = [sorted(set(ks) - {1, 2, 3, 4}) for ks in shown]
    assert [len(ks) for ks in shown] == [8, 8]
    assert all(set(ks) <= {0, *range(5, 12)} and len(ks) == 4 for ks in others)
    assert others[0] != others[1]


def test_a_case_of_many_slices_shows_so_many_of_them_drawn_anew(tmp_path, monkeypatch):
    shown = []

    def record(cases, order, spec, options, epoch):
        shown.append(sorted(int(k) for c, k in order if cases[c].label[k].any()))
        return iter(())

    monkeypatch.setattr("medtl.training.fit.batches", record)
    monkeypatch.setattr("medtl.training.fit.train_epoch", lambda state, data, *rest: float(len(list(data))))
    options = Fit(epochs=12, batch=3, window=(64, 64), per_case=2)
    fit(start(network(), options), [case(0, slices=9)], SPEC, options, tmp_path)
    assert {len(slices) for slices in shown} == {2}
    assert {k for slices in shown for k in slices} == set(range(1, 8))


def test_cases_without_a_lesion_are_refused(tmp_path):
    healthy = [CachedCase(**{**vars(c), "label": np.zeros_like(c.label)}) for c in CASES]
    with pytest.raises(InputError, match="slices with a label"):
        fit(start(network(), FIT), healthy, SPEC, FIT, tmp_path)


def test_a_step_whose_gradient_is_not_finite_changes_nothing():
    state, seen = start(network(), FIT), []

    def loss_of(network, image, label):
        seen.append({name: value.clone() for name, value in network.named_parameters()})
        loss = segmentation_loss(network, image, label)
        if len(seen) == 2:  # a loss of 0 more, whose gradient is not a number
            loss = loss + sum((0 * value).sum() for value in network.parameters()).abs().sqrt()
        return loss

    order = [(0, k) for k in range(1, 4)] * 3
    mean = train_epoch(state, batches(CASES, order, SPEC, FIT, 0), 3, FIT, no_progress, loss_of)
    assert math.isfinite(mean)
    changes = [any(not torch.equal(a[name], b[name]) for name in a) for a, b in itertools.pairwise(seen)]
    assert changes == [True, False]
    assert all(torch.isfinite(value).all() for value in state.averaged.state_dict().values())


def test_fixed_weights_stay_as_they_are(tmp_path):
    torch.manual_seed(0)
    frozen = UNet2d("resnet18", 3, 1, frozen=True)
    before = {name: value.clone() for name, value in frozen.state_dict().items()}
    options = Fit(**{**vars(FIT), "epochs": 1, "batch": 6})
    trained = fit(start(frozen, options), CASES[:1], SPEC, options, tmp_path)
    for networks in (trained, frozen):
        after = networks.state_dict()
        same = {name for name, value in before.items() if torch.equal(after[name], value)}
        assert {name for name in before if ".encoder." in name} <= same
        assert len(same) < len(before)


@pytest.mark.parametrize("shown", [(1, 2), (1,), (2,)])
def test_the_loss_is_that_of_the_slow_way_and_the_dice_that_of_labels_shown(shown):
    rng = np.random.default_rng(0)
    logits, label = rng.normal(0, 2, (3, 3, 5, 4)), rng.choice((0, *shown), (3, 5, 4))
    chance = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    entropy, parts = [], []
    for n, y, x in np.ndindex(label.shape):
        entropy.append(-math.log(chance[n, label[n, y, x], y, x]))
    for value in shown:
        inside = label == value
        parts.append((2 * chance[:, value][inside].sum() + 1) / (chance[:, value].sum() + inside.sum() + 1))
    slow = 1 - np.mean(parts) + np.mean(entropy)
    assert float(dice_and_cross_entropy(torch.tensor(logits), torch.tensor(label))) == pytest.approx(slow, rel=1e-6)


def test_a_perfect_answer_costs_almost_nothing():
    label = torch.zeros((2, 8, 8), dtype=torch.long)
    label[:, 2:5, 2:5] = 1
    logits = 40.0 * (torch.nn.functional.one_hot(label, 2).movedim(-1, 1).float() - 0.5)
    assert float(dice_and_cross_entropy(logits, label)) < 1e-4
    assert float(dice_and_cross_entropy(-logits, label)) > 10


def test_pixels_of_unknown_truth_cost_nothing():
    rng = np.random.default_rng(1)
    logits, label = torch.tensor(rng.normal(0, 2, (2, 3, 6, 4))), torch.tensor(rng.integers(0, 3, (2, 6, 4)))
    label[:, 3:] = 9
    logits.requires_grad_()
    loss = dice_and_cross_entropy(logits, label, ignore=9)
    loss.backward()
    known = dice_and_cross_entropy(logits[:, :, :3], label[:, :3])
    assert loss.item() == pytest.approx(known.item(), rel=1e-6)
    assert (logits.grad[:, :, 3:] == 0).all()
    assert (logits.grad[:, :, :3] != 0).any()


def test_without_any_known_pixel_the_loss_is_zero():
    logits = torch.randn((1, 2, 8, 8), requires_grad=True)
    loss = dice_and_cross_entropy(logits, torch.full((1, 8, 8), 9), ignore=9)
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


def test_a_loss_that_is_not_a_number_ends_a_training_and_the_last_epoch_stays(tmp_path):
    state = start(network(), FIT)
    fit(state, CASES, SPEC, Fit(**{**vars(FIT), "epochs": 1}), tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()
    with torch.no_grad():
        next(state.network.parameters()).fill_(math.nan)
    with pytest.raises(ModelError, match="Expected a finite loss, found nan in epoch 2"):
        fit(state, CASES, SPEC, FIT, tmp_path)
    assert (tmp_path / CHECKPOINT).read_bytes() == before


class Spy(TorchDispatchMode):
    """Notes in what precision gradients of convolutions are taken."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution_backward.default:
            self.seen.append(args[2].dtype)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "groups", "precision"),
    [
        (6, 5, 1, 6, torch.float32),
        (6, 3, 2, 6, torch.float32),
        (6, 3, 1, 6, torch.bfloat16),
        (6, 5, 1, 1, torch.bfloat16),
        (1, 3, 2, 1, torch.bfloat16),
    ],
)
def test_slow_gradients_of_depthwise_convolutions_are_taken_in_float32(channels, kernel, stride, groups, precision):
    torch.manual_seed(0)
    image = torch.randn(2, channels, 12, 12).bfloat16()
    weight = torch.randn(6, channels // groups, kernel, kernel).bfloat16()

    def gradients(kind, *modes):
        x, w = (part.to(kind, copy=True).requires_grad_() for part in (image, weight))
        out = torch.nn.functional.conv2d(x, w, None, stride, kernel // 2, 1, groups)
        with contextlib.ExitStack() as stack:
            for mode in modes:
                stack.enter_context(mode)
            out.square().sum().backward()
        return x.grad, w.grad

    spy = Spy()
    found = gradients(torch.bfloat16, spy, DepthwiseInFloat32())
    assert spy.seen == [precision]
    for ours, exact in zip(found, gradients(torch.float32), strict=True):
        assert ours.dtype == torch.bfloat16
        assert float((ours - exact).norm() / exact.norm()) < 0.01


def test_the_rate_rises_and_falls():
    rates = [one_cycle(share) for share in np.linspace(0, 1, 101)]
    assert rates[0] == pytest.approx(0.05)
    assert max(rates) == pytest.approx(1.0)
    assert int(np.argmax(rates)) == 10
    assert rates[-1] == pytest.approx(0.01)
    assert (np.diff(rates[10:]) <= 0).all()


def test_averaged_weights_follow_the_present_ones_slower_and_slower():
    state = start(network(), FIT)
    first = [p.clone() for p in state.averaged.parameters()]
    with torch.no_grad():
        for parameter in state.network.parameters():
            parameter += 1
    state.step = 10**6
    average(state, 0.9)
    moved = [b - a for a, b in zip(first, state.averaged.parameters())]
    assert all(torch.allclose(m, torch.full_like(m, 0.1), atol=1e-6) for m in moved)
    state.step = 1
    average(state, 0.9)
    early = [b - a for a, b in zip(first, state.averaged.parameters())]
    assert all((m > 0.8).all() for m in early)


@pytest.mark.parametrize("position", [-3.0, 0.0, 0.25, 1.5, 2.0, 3.999, 4.0, 9.0])
def test_between_slices_lies_what_is_drawn_between_them(position):
    image = np.random.default_rng(0).normal(size=(5, 3, 2)).astype(np.float32)
    (found,) = between_slices(image, np.array([position]))
    inside = min(max(position, 0), 4)
    slow = [[np.interp(inside, range(5), image[:, y, x]) for x in range(2)] for y in range(3)]
    assert np.allclose(found, slow, atol=1e-6)


@pytest.mark.parametrize("shape", [(64, 56), (300, 255), (256, 301)])
def test_image_label_and_brain_lie_on_the_canvas_alike(shape):
    mask = np.zeros((3, *shape), np.uint8)
    mask[1, shape[0] // 2 - 5 : shape[0] // 2 + 9, shape[1] // 2 : shape[1] // 2 + 3] = 1
    image = (0.8 * mask - 1).astype(np.float16)
    laid = canvas(CachedCase("c", "c", "", "", 5.0, {}, image, mask, mask > 0), 1, np.array([0.0, 1.0, 2.0]))
    assert [part.shape for part in laid] == [(3, 256, 256), (256, 256), (256, 256)]
    assert laid[1].sum() == mask.sum()
    assert np.array_equal(laid[0][1] > 0.5, laid[1] > 0)
    assert np.array_equal(laid[2], laid[1] > 0)
    assert np.abs(np.argwhere(laid[1]).mean(0) - (129.5, 129)).max() <= 1


def test_a_batch_is_what_the_network_takes():
    order = [(c, k) for c in range(2) for k in range(5)]
    made = list(batches(CASES, order, SPEC, Fit(**{**vars(FIT), "batch": 4}), 0))
    assert [tuple(image.shape) for image, _ in made] == [(4, 3, 64, 64), (4, 3, 64, 64), (2, 3, 64, 64)]
    assert all(label.shape == (len(image), 64, 64) and label.dtype == torch.int64 for image, label in made)
    assert all(torch.equal(image, image.clamp(-1.0, 2.2)) for image, _ in made)


def test_each_epoch_shows_other_versions_of_a_slice():
    one, two = (next(batches(CASES, [(0, 2)], SPEC, FIT, epoch))[0] for epoch in (0, 1))
    assert not torch.equal(one, two)


def test_prediction_does_not_depend_on_the_batch_or_the_padding():
    odd = case(3)
    odd = CachedCase(**{**vars(odd), **{n: getattr(odd, n)[:, :61, :53] for n in ("image", "label", "brain")}})
    made = network()
    all_at_once = predict(made, odd, SPEC, batch=8)
    assert all_at_once.shape == odd.image.shape
    assert np.allclose(predict(made, odd, SPEC, batch=2), all_at_once, atol=0.02)


def test_mirrored_prediction_is_the_mean_of_both_and_so_has_no_side():
    made, one = network(), case(4)
    mirror = CachedCase(**{**vars(one), "image": one.image[:, :, ::-1].copy()})
    spec = InputSpec(spacing=None, neighbours=1)
    one_64 = CachedCase(**{**vars(one), "image": np.pad(one.image, ((0, 0), (0, 0), (4, 4)), constant_values=-1)})
    mirror_64 = CachedCase(**{**vars(mirror), "image": one_64.image[:, :, ::-1].copy()})
    both, other = (predict(made, c, spec, flip=True) for c in (one_64, mirror_64))
    assert np.allclose(both, other[:, :, ::-1], atol=0.02)
    assert not np.allclose(both, predict(made, one_64, spec), atol=1e-4)
