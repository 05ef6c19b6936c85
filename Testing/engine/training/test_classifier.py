"""Training a classifier: pictures in, a bundle out that says what it was shown, and knows what it was not."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from small_classifier import classifier_card

from medtl.classification.files import classify_file
from medtl.commands.cli import main
from medtl.errors import InputError
from medtl.evaluation.classification import calibration_error, class_aucs, class_figures, point_figures
from medtl.model.bundle import load_model
from medtl.model.card import Abstention, NetworkSpec, load_card
from medtl.model.networks import build
from medtl.training import classifier
from medtl.training.augment import Augmentation
from medtl.training.classifier import ClassFit, ClassificationRecipe
from medtl.training.picture_set import prepare_pictures, sharp_as_another
from medtl.training.recipe import TrainingRun
from medtl.training.recipes.brain_tumour_4class import ENCODERS

FIT = ClassFit(epochs=2, batch=8, head=60, augmentation=Augmentation(shift=2.0, elastic=1.0, p_strip=0.0))


def picture(kind: str, seed: int) -> tuple[Image.Image, Image.Image]:
    """A head with a bright disk, or without, and that disk as a mask."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64]
    out = ((y - 32) / 28) ** 2 + ((x - 32) / 22) ** 2
    image = np.where(out <= 1, np.where(out > 0.8, 220, 90), 0) + random.normal(0, 4, (64, 64)) * (out <= 1)
    disk = np.zeros((64, 64), bool)
    if kind == "glioma":
        cy, cx = random.integers(22, 42, 2)
        disk = (y - cy) ** 2 + (x - cx) ** 2 <= 64
        image[disk] = 220
    return Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)), Image.fromarray(disk.astype(np.uint8))


@pytest.fixture(scope="module")
def case_list(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    rows = []
    for number in range(48):
        kind = ("glioma", "notumor")[number % 2]
        image, disk = picture(kind, number)
        image.save(folder / f"{number}.png")
        disk.save(folder / f"{number}.mask.png")
        split = "test" if number >= 40 else "train"
        mask = f"{number}.mask.png" if kind == "glioma" else ""
        fold = "" if split == "test" else number // 8 % 5
        rows.append([f"{number}.png", kind, f"p{number // 4}", split, mask, fold])
    with (folder / "cases.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["image", "label", "patient", "split", "mask", "fold"], *rows])
    return folder / "cases.csv"


def recipe(fit: ClassFit = FIT) -> ClassificationRecipe:
    arguments = {"encoder": "mobilenetv2_050", "channels": 1, "classes": 2, "strangeness": True}
    card = classifier_card(
        networks=(NetworkSpec("classifier2d", arguments, "net."),), abstention=Abstention("mahalanobis", 0.0, 0.0)
    )
    return ClassificationRecipe(card, fit, None, "# Spots", "Terms")


@pytest.fixture(scope="module")
def trained(case_list, tmp_path_factory):
    output = tmp_path_factory.mktemp("run") / "out"
    return recipe().train(TrainingRun(case_list, output)).folder, output


def test_training_gives_a_bundle_that_classifies(trained, case_list):
    folder, _ = trained
    model = load_model(str(folder), "cpu", "classification")
    found = classify_file(case_list.parent / "41.png", model)
    assert sum(found.probabilities.values()) == pytest.approx(1, abs=1e-3)
    assert model.card.calibration.temperature > 0


def test_the_card_says_who_was_learned_from_and_test_cases_are_not_among_them(trained):
    split = load_card(trained[0]).training["split"]
    assert not {f"{n}" for n in range(40, 48)} & (set(split["train"]) | set(split["limits"]))
    assert set(split["limits"]) == {str(n) for n in range(40) if n // 8 == 0}
    assert len(split["train"]) + len(split["limits"]) == 40


def test_what_the_list_leaves_out_is_not_learned_from(case_list, tmp_path):
    text = case_list.read_text().replace("37.png,notumor,p9,train,,4", "37.png,notumor,p9,left-out,,")
    assert "left-out" in text
    (case_list.parent / "some.csv").write_text(text)
    folder = recipe().train(TrainingRun(case_list.parent / "some.csv", tmp_path / "out")).folder
    split = load_card(folder).training["split"]
    assert "37" not in {*split["train"], *split["limits"]}
    assert "38" in split["train"]


def test_a_run_that_was_cut_short_goes_on_to_the_same_weights(trained, case_list, tmp_path, monkeypatch):
    """The head is trained before the first epoch, and stands in the checkpoint."""
    whole = classifier.save_checkpoint

    def once(folder, state):
        whole(folder, state)
        if state.epoch == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(classifier, "save_checkpoint", once)
    with pytest.raises(KeyboardInterrupt):
        recipe().train(TrainingRun(case_list, tmp_path / "out"))
    monkeypatch.setattr(classifier, "save_checkpoint", whole)
    with pytest.raises(InputError, match="--resume"):
        recipe().train(TrainingRun(case_list, tmp_path / "out"))
    again = recipe().train(TrainingRun(case_list, tmp_path / "out", resume=True)).folder
    assert load_card(again).sha256 == load_card(trained[0]).sha256


def prepared(case_list, cache, split="train"):
    ids = ("glioma", "notumor")
    cases = [c for c in classifier.read_classified(case_list, ids) if c.split == split]
    return prepare_pictures(cases, ids, 64, cache)


def test_strangeness_is_measured_in_the_spread_of_the_training_pictures(trained, case_list, tmp_path):
    network = load_model(str(trained[0]), "cpu", "classification").networks[0]
    pictures = prepared(case_list, tmp_path)
    learned = pictures.of([c.fold != "0" for c in pictures.files])
    _, summaries, distances = classifier.outputs_of(network, learned)
    np.testing.assert_allclose(network.usual.numpy(), summaries.numpy().mean(0), rtol=0.02, atol=0.02)
    noise = replace(learned, images=np.random.default_rng(0).integers(0, 255, learned.images.shape).astype(np.uint8))
    assert classifier.outputs_of(network, noise)[2].min() > distances.max()


def test_the_attention_learns_where_tumours_were_drawn(case_list, tmp_path):
    """Even of an encoder that was never trained; with nothing drawn it need not."""
    pictures = prepared(case_list, tmp_path)
    ill = pictures.of(pictures.classes == 0)
    assert ill.tumours.any((1, 2)).all()
    inside = []
    for weight in (0.5, 0.0):
        torch.manual_seed(0)
        network = build("classifier2d", dict(recipe().card.networks[0].arguments))
        classifier.fit_head(network, pictures, replace(FIT, head=200, attention=weight))
        network.eval()
        with torch.no_grad():
            _, attention = network.attend(network.encode(classifier.as_input(ill.images)))
        tumours = torch.from_numpy(ill.tumours.astype(np.float32))
        there = torch.nn.functional.adaptive_avg_pool2d(tumours, (4, 4)) > 0.1
        inside.append(float((attention.flatten(1).softmax(1) * there.flatten(1)).sum(1).mean()))
    assert inside[0] > 0.5
    assert inside[0] > 1.5 * inside[1]


def test_pictures_without_a_drawing_teach_no_attention():
    options = ClassFit()
    loss_of = classifier.classification_loss(np.array([0, 1]), 2, options)
    logits, truth = torch.randn(2, 2), torch.tensor([0, 1])
    drawn = torch.zeros(2, 8, 8)
    drawn[0, :4, 4:] = 1
    attention = torch.randn(2, 2, 2, requires_grad=True)
    without = loss_of(logits, attention, truth, torch.zeros(2, 8, 8))
    (loss_of(logits, attention, truth, drawn) - without).backward()
    assert not attention.grad[1].any()
    share = attention[0].detach().flatten().softmax(0)
    with torch.no_grad():
        extra = loss_of(logits, attention, truth, drawn) - without
    assert float(extra) == pytest.approx(-options.attention * float(share[1].log()), abs=1e-5)


def test_a_mask_of_another_size_is_said(case_list, tmp_path):
    Image.new("L", (10, 10)).save(tmp_path / "mask.png")
    lines = case_list.read_text().splitlines()
    lines[1] = lines[1].replace("0.mask.png", str(tmp_path / "mask.png"))
    (case_list.parent / "wrong-mask.csv").write_text("\n".join(lines))
    with pytest.raises(InputError, match="in the size of"):
        recipe().train(TrainingRun(case_list.parent / "wrong-mask.csv", tmp_path / "out"))


def ring_strength(image: np.ndarray) -> np.ndarray:
    steps = np.fft.fftfreq(len(image), 1 / len(image))
    rings = np.round(np.hypot(*np.meshgrid(steps, steps, indexing="ij"))).astype(int)
    spectrum = abs(np.fft.fft2(image))
    return np.array([spectrum[rings == r].mean() for r in range(1, len(image) // 3)])


def test_a_picture_as_sharp_as_another_keeps_its_shape(case_list, tmp_path):
    pictures = prepared(case_list, tmp_path)
    sharp = torch.from_numpy(pictures.images[:1].astype(np.float32) / 255)[:, None]
    blurred = torch.nn.functional.avg_pool2d(sharp, 5, 1, 2)
    both = torch.cat([sharp, blurred])
    moved = []
    for seed in range(40):
        changed = sharp_as_another(both, 1.0, torch.Generator().manual_seed(seed))
        one, other = (ring_strength(both[k, 0].numpy()) for k in range(2))
        now = ring_strength(changed[1, 0].numpy())
        high = slice(12, None)
        assert now[high].mean() <= 1.1 * one[high].mean()
        assert now[high].mean() >= 0.9 * other[high].mean()
        moved.append(now[high].mean() / other[high].mean())
        assert np.corrcoef(changed[1, 0].numpy().ravel(), blurred[0, 0].numpy().ravel())[0, 1] > 0.9
    assert max(moved) > 1.5
    torch.testing.assert_close(sharp_as_another(both, 0.0, torch.Generator().manual_seed(0)), both, atol=1e-5, rtol=0)


def test_the_temperature_is_that_of_a_search_over_all():
    random = np.random.default_rng(0)
    logits = torch.from_numpy(random.normal(0, 4, (400, 3)).astype(np.float32))
    truth = torch.from_numpy(np.array([random.choice(3, p=p) for p in (logits.double() / 2.5).softmax(1).numpy()]))
    grid = np.exp(np.linspace(np.log(0.1), np.log(10), 2000))
    losses = [float(torch.nn.functional.cross_entropy(logits / float(t), truth)) for t in grid]
    found = classifier.fitted_temperature(logits, truth)
    assert found == pytest.approx(grid[int(np.argmin(losses))], rel=0.02)
    assert found == pytest.approx(2.5, rel=0.25)


def test_the_head_learns_while_the_encoder_stays(case_list, tmp_path):
    torch.manual_seed(0)
    network = build("classifier2d", dict(recipe().card.networks[0].arguments))
    before = {k: v.clone() for k, v in network.state_dict().items()}
    classifier.fit_head(network, prepared(case_list, tmp_path), FIT)
    changed = {k.split(".")[0] for k, v in network.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"mix", "attention", "head"}


def test_rare_classes_weigh_as_much_as_common_ones():
    weights = classifier.class_weights(np.array([0] * 30 + [1] * 10), 2)
    assert (weights[0] * 30, weights[1] * 10) == (20, 20)


def test_a_class_without_pictures_to_judge_by_is_said(case_list, tmp_path):
    lines = [line for line in case_list.read_text().splitlines() if not line.endswith(",0")]
    (case_list.parent / "no-fold.csv").write_text("\n".join(lines))
    with pytest.raises(InputError, match="in fold 0"):
        recipe().train(TrainingRun(case_list.parent / "no-fold.csv", tmp_path / "out"))


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
def test_the_encoders_of_the_comparison_all_run(encoder):
    torch.manual_seed(0)
    network = build("classifier2d", {"encoder": encoder, "channels": 1, "classes": 4}).eval()
    with torch.inference_mode():
        features = network.encode(torch.zeros(1, 1, 96, 96))
        assert network.decode(features).shape == (1, 4)
    assert features[0].ndim == 4


def test_figures_are_those_of_the_textbook():
    truth = np.array([0, 0, 0, 1, 1, 2])
    probabilities = np.array(
        [[0.8, 0.1, 0.1], [0.4, 0.5, 0.1], [0.6, 0.2, 0.2], [0.1, 0.8, 0.1], [0.5, 0.3, 0.2], [0.2, 0.2, 0.6]]
    )
    found = point_figures(truth, probabilities, ("a", "b", "c"))
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["recall_a"] == pytest.approx(2 / 3)
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    f1 = [2 * 2 / (3 + 3), 2 * 1 / (2 + 2), 1.0]
    assert found["f1_macro"] == pytest.approx(np.mean(f1))
    assert found["f1_weighted"] == pytest.approx(np.dot(f1, [3, 2, 1]) / 6)


def test_the_area_is_the_share_of_pairs_in_order():
    random = np.random.default_rng(2)
    truth, p = random.integers(0, 3, 60), np.round(random.dirichlet(np.ones(3), 60), 1)
    for k, area in enumerate(class_aucs(truth, p)):
        pairs = [(a > b) + 0.5 * (a == b) for a in p[truth == k, k] for b in p[truth != k, k]]
        assert area == pytest.approx(np.mean(pairs))


def test_calibration_error_is_the_gap_between_said_and_found():
    truth = np.array([0] * 7 + [1] * 3)
    assert calibration_error(truth, np.tile([0.7, 0.3], (10, 1))) == pytest.approx(0, abs=1e-9)
    assert calibration_error(truth, np.tile([0.9, 0.1], (10, 1))) == pytest.approx(0.2)


def test_pictures_of_one_patient_are_no_independent_ones():
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 40).repeat(10)
    right = (random.random(40) < 0.8).repeat(10)
    p = np.where(right, truth, 1 - truth)
    probabilities = np.stack([1 - p, p], 1).astype(float)
    by_patient = (
        class_figures(truth, probabilities, [str(k // 10) for k in range(400)], ("a", "b")).figures["accuracy"].ci95
    )
    by_picture = class_figures(truth, probabilities, [str(k) for k in range(400)], ("a", "b")).figures["accuracy"].ci95
    assert by_patient[1] - by_patient[0] > 2 * (by_picture[1] - by_picture[0])


def test_evaluate_takes_a_classifier(trained, case_list, capsys):
    assert main(["evaluate", "--model", str(trained[0]), "--cases", str(case_list), "--json", "--device", "cpu"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["n"] == 48
    assert answer["patients"] == 12
    assert 0 <= answer["accuracy"]["mean"] <= 1
    assert np.sum(answer["confusion"]) == 48
    assert {c["label"] for c in answer["cases"]} == {"glioma", "notumor"}
    text = case_list.read_text().replace("0.png,glioma", "0.png,edema", 1)
    (case_list.parent / "wrong.csv").write_text(text)
    assert main(["evaluate", "--model", str(trained[0]), "--cases", str(case_list.parent / "wrong.csv")]) == 1
    assert "Expected a label of glioma, notumor" in capsys.readouterr().err
