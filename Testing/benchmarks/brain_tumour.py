"""What kind of tumour: networks compared on the official split, which leaks, and on the near-patient split.

    python Testing/benchmarks/brain_tumour.py --official CSV --near-patient CSV --work DIR
        [--weights lite0=FILE lite1=FILE …] [--rows NAME…] [--epochs N] [--threads N] [--quick]

The lists are those of `brain_cases.py`. Each row is a training of the recipe `brain-tumour-4class` with another
encoder: from ImageNet weights where a file of them is given, from scratch for `scratch`; a row without weights says how
to fill it. Of each: accuracy, F1 (weighted), the recall of each class, AUC, calibration error with 95 % intervals over
groups, the confusion table, and the same for the three tumours alone (pictures of tumours, the other probabilities
scaled to 1). On the official split also those test pictures whose slice is not in training.

Two baselines that should be bad, on the pictures as they are and not in their frames: thumbnails of 16×16 pixels, and
the border of the picture alone (the outer tenth on each side), each by a network of one hidden layer.

Beside each row the accuracy on the training groups that were kept back for temperature and limits ("kept back"): what
to choose a network by, for the test is to be read, not chosen by.

`--work` keeps bundles and checkpoints; a run that is cut short goes on from there. `--quick` checks that everything
runs: its figures mean nothing.
"""

import argparse
import csv
import sys
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as functional
from PIL import Image
from tables import header, interval, line

from medtl.cases import ClassifiedFile, read_classified
from medtl.errors import MedTLError
from medtl.evaluation.classification import class_figures, confusion
from medtl.model.bundle import load_model
from medtl.model.networks import parameter_count
from medtl.progress import TerminalProgress
from medtl.training.classifier import CALIBRATION_FOLD, outputs_of, prepare_pictures
from medtl.training.fit import CHECKPOINT
from medtl.training.recipe import TrainingRun
from medtl.training.recipes.brain_tumour_4class import ENCODERS, RECIPE, recipe_with
from medtl.typed_json import encode

ROWS = {
    "lite0": "EfficientNet-Lite0",
    "lite1": "EfficientNet-Lite1",
    "lite2": "EfficientNet-Lite2",
    "scratch": "EfficientNet-Lite0",
    "xception": "Xception",
    "mobilenetv2": "MobileNetV2",
    "inceptionv3": "InceptionV3",
    "resnet50": "ResNet50",
    "vgg16": "VGG16",
    "densenet121": "DenseNet121",
}
SPLITS = {"near-patient": "near_patient", "official": "official"}
TUMOURS = ("glioma", "meningioma", "pituitary")
FIGURES = ("accuracy", "f1_weighted", "auc", "ece")


@dataclass(frozen=True)
class Row:
    """Probabilities of the test pictures, (n, classes), none where the row could not be trained; its accuracy on the
    groups kept back, and how it was trained, as texts."""

    probabilities: np.ndarray
    kept_back: str = ""
    about: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 1 when the pictures cannot be used."""
    parser = argparse.ArgumentParser(description="Compare networks that tell the kind of a brain tumour.")
    parser.add_argument("--official", required=True, type=Path, metavar="CSV")
    parser.add_argument("--near-patient", required=True, type=Path, metavar="CSV")
    parser.add_argument("--work", required=True, type=Path, metavar="DIR")
    parser.add_argument("--weights", nargs="*", default=[], metavar="ROW=FILE", help="ImageNet weights (.safetensors)")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="NAME")
    parser.add_argument("--splits", nargs="+", choices=list(SPLITS), default=list(SPLITS), metavar="NAME")
    parser.add_argument("--epochs", type=int, metavar="N")
    parser.add_argument("--threads", type=int, metavar="N")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    weights = dict(item.split("=", 1) for item in args.weights)
    try:
        args.work.mkdir(parents=True, exist_ok=True)
        for split in args.splits:
            run(split, getattr(args, SPLITS[split]), weights, args)
    except MedTLError as error:
        print(f"brain_tumour: {error}", file=sys.stderr)
        return 1
    return 0


def run(split: str, cases: Path, weights: Mapping[str, str], args: argparse.Namespace) -> None:
    """Train what is not trained yet on a split, and print its tables."""
    ids = tuple(one.id for one in RECIPE.card.classes)
    listed = [c for c in read_classified(cases, ids) if not args.quick or zlib.crc32(c.patient.encode()) % 6 == 0]
    tested = [c for c in listed if c.split == "test"]
    learned = [c for c in listed if c.split in ("", "train")]
    work = args.work / split
    work.mkdir(exist_ok=True)
    lacking = unleaked(cases)
    print(f"\n## {split}: {len(tested)} test pictures of {len({c.patient for c in tested})} groups, ", end="")
    print(f"{len(learned)} to learn from\n", flush=True)
    found: dict[str, Row] = {}
    for name in args.rows:
        if name != "scratch" and name not in weights:
            found[name] = Row(np.zeros((0, len(ids))), about=f"no ImageNet weights here: add --weights {name}=FILE")
            continue
        found[name] = trained(name, cases, learned, tested, ids, weights.get(name), work, args)
    for name in ("thumbnails", "border"):
        found[name] = Row(baseline(name, learned, tested, ids))
    truth = np.array([ids.index(c.label) for c in tested])
    summarise(found, truth, tested, ids, lacking)


def unleaked(cases: Path) -> set[str]:
    """The test pictures whose slice is not in training, where the list tells."""
    with cases.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row.get("leak") == "0" and row["split"] == "test"]
    return {str(cases.parent / row["image"]) for row in rows}


def trained(
    name: str,
    cases: Path,
    learned: Sequence[ClassifiedFile],
    tested: Sequence[ClassifiedFile],
    ids: Sequence[str],
    weights: str | None,
    work: Path,
    args: argparse.Namespace,
) -> Row:
    """What the row says of the test pictures after training."""
    made = recipe_with(ENCODERS[ROWS[name]])
    epochs = 1 if args.quick else args.epochs or made.fit.epochs
    made = replace(made, encoder_weights=None, fit=replace(made.fit, epochs=epochs))
    folder = work / name
    progress = TerminalProgress()
    if not (folder / made.card.name).exists():
        began = time.perf_counter()
        resume = (folder / CHECKPOINT).exists()
        made.train(TrainingRun(cases, folder, resume=resume, encoder_weights=weights), progress)
        (folder / "minutes.txt").write_text(f"{(time.perf_counter() - began) / 60:.1f}")
    progress.close()
    model = load_model(str(folder / made.card.name), "cpu", "classification")
    network, side = model.networks[0], model.card.input.side or 224
    held = [case for case in learned if case.fold == CALIBRATION_FOLD]
    probabilities = []
    for part, cache in ((tested, "cache-test"), (held, "cache-kept-back")):
        logits, _, _ = outputs_of(network, prepare_pictures(part, ids, side, work / cache))  # type: ignore[arg-type]
        probabilities.append((logits / model.card.calibration.temperature).softmax(1).numpy())
    truth = np.array([ids.index(case.label) for case in held])
    kept_back = encode(class_figures(truth, probabilities[1], [case.patient for case in held], ids))["accuracy"]
    about = f"{parameter_count(network) / 1e6:.1f} M, {epochs} epochs, {(folder / 'minutes.txt').read_text()} min"
    return Row(probabilities[0], interval(kept_back), about)


def baseline(
    name: str, learned: Sequence[ClassifiedFile], tested: Sequence[ClassifiedFile], ids: Sequence[str]
) -> np.ndarray:
    """Probabilities of the test pictures by a small network on thumbnails or on the border alone."""
    torch.manual_seed(0)
    sets = [torch.from_numpy(np.stack([seen(name, c.image) for c in cases])) for cases in (learned, tested)]
    mean, spread = sets[0].mean(0), sets[0].std(0) + 1e-3
    train, test = ((x - mean) / spread for x in sets)
    truth = torch.tensor([ids.index(c.label) for c in learned])
    network = torch.nn.Sequential(
        torch.nn.Linear(train.shape[1], 64), torch.nn.ReLU(), torch.nn.Dropout(0.3), torch.nn.Linear(64, len(ids))
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    for _ in range(40):
        for batch in torch.randperm(len(train)).split(64):
            loss = functional.cross_entropy(network(train[batch]), truth[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.inference_mode():
        return network.eval()(test).softmax(1).numpy()


def seen(name: str, path: Path) -> np.ndarray:
    """What a baseline sees of a picture, float32 (n,)."""
    with Image.open(path) as picture:
        grey = picture.convert("L")
        if name == "thumbnails":
            return np.asarray(grey.resize((16, 16), Image.Resampling.BOX), np.float32).ravel() / 255
        small = np.asarray(grey.resize((60, 60), Image.Resampling.BOX), np.float32) / 255
    inner = np.zeros((60, 60), bool)
    inner[6:-6, 6:-6] = True
    return small[~inner]


def summarise(
    found: Mapping[str, Row],
    truth: np.ndarray,
    tested: Sequence[ClassifiedFile],
    ids: Sequence[str],
    lacking: set[str],
) -> None:
    """The tables of a split."""
    groups = [case.patient for case in tested]
    three = np.array([case.label in TUMOURS for case in tested])
    columns = [ids.index(name) for name in TUMOURS]
    tumours = np.array([TUMOURS.index(case.label) if case.label in TUMOURS else 0 for case in tested])
    for title, chosen in (("Four classes", np.ones(len(truth), bool)), ("The three tumours alone", three)):
        names = ids if chosen.all() else TUMOURS
        head = ["network", *FIGURES, *(f"recall {name}" for name in names)]
        head += ["kept back", "trained"] if chosen.all() else ["trained"]
        print(f"\n{title}, n = {chosen.sum()}\n", *header(head), sep="\n")
        for name, row in found.items():
            if not len(row.probabilities):
                if chosen.all():
                    print(line([name, *["–"] * (len(head) - 2), row.about]))
                continue
            p = row.probabilities[chosen] if chosen.all() else scaled(row.probabilities[chosen][:, columns])
            true = truth[chosen] if chosen.all() else tumours[chosen]
            figures = encode(class_figures(true, p, [g for g, c in zip(groups, chosen) if c], names))
            cells = [interval(figures[key]) for key in (*FIGURES, *(f"recall_{one}" for one in names))]
            cells += [row.kept_back, row.about] if chosen.all() else [row.about]
            print(line([name, *cells]), flush=True)
    new = np.array([str(case.image) in lacking for case in tested])
    head = ["network", *ids, "mean of one class against the rest"]
    head += [f"right of the {new.sum()} whose slice is not in training"] if new.any() else []
    print(f"\nPictures of each class, and how many were called {', '.join(ids)}")
    print("", *header(head), sep="\n")
    for name, row in found.items():
        if len(row.probabilities):
            called = row.probabilities.argmax(1)
            table = confusion(truth, called, len(ids))
            rest = [table.sum() - table[k].sum() - table[:, k].sum() + 2 * table[k, k] for k in range(len(ids))]
            cells = [*(" ".join(map(str, row)) for row in table), f"{np.mean(rest) / table.sum():.4f}"]
            cells += [f"{(called == truth)[new].mean():.3f}"] if new.any() else []
            print(line([name, *cells]), flush=True)


def scaled(probabilities: np.ndarray) -> np.ndarray:
    """Rows that sum to 1; where all is 0, as a baseline may be that sure of another class, all alike."""
    raised = probabilities + 1e-9
    return raised / raised.sum(1, keepdims=True)


if __name__ == "__main__":
    sys.exit(main())
