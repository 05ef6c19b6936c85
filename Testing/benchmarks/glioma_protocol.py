"""The protocol of Pourmahboubi et al. 2025 beside a split by patient: encoders with fixed, free and no learned weights.

    python Testing/benchmarks/glioma_protocol.py --cases CSV --encoder-weights FILE --vgg16 FILE --work DIR [--epochs 4]

`--cases` lists FLAIR of TCGA-LGG. One recipe trains a U-Net on single slices: with blocks 1 to 4 of VGG16 as they come
from ImageNet, fixed; with EfficientNet-Lite0 fixed, free, and from random weights. `--vgg16` has Keras' weights in
torchvision's names. A fifth of the slices is kept for testing, once drawn from all slices, as the paper does, so that
slices of one head are on both sides, and once as all slices of a fifth of the patients. The figures are of all pixels
of the test slices together; Dice by patient is the mean over heads of their test slices together, with its 95 %
interval.

`DIR/glioma_protocol.jsonl` of --work keeps a line for each training; an interrupted run continues from there.
"""

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tables import header, line, mean_interval
from torch import Tensor

from medtl.cases import read_cases
from medtl.errors import MedTLError
from medtl.evaluation.metrics import auc, dice, histogram, overlaps
from medtl.memory import keep_freed_memory
from medtl.model.network import Network
from medtl.model.timm_networks import UNet2d
from medtl.progress import TerminalProgress
from medtl.training.dataset import CachedCase, prepare_cases
from medtl.training.fit import CHECKPOINT, fit, predict, start
from medtl.training.recipes import glioma_flair
from medtl.training.split import hold_out

RECIPE = glioma_flair.RECIPE
SPLITS = {"slices": "slices at random", "patients": "by patient"}
ENCODERS = {
    "vgg16": "VGG16, fixed",
    "fixed": "Lite0, fixed",
    "free": "Lite0, free",
    "random": "Lite0, no transfer",
}
LITE0 = "tf_efficientnet_lite0"
KEPT = 0.2  # the share of slices, or of patients, for testing
BLUE_GREEN_RED = (103.939, 116.779, 123.68)  # the means that Keras' VGG16 takes off
COLUMNS = ("split", "encoder", "slices", "Dice", "IoU", "AUC", "precision", "recall", "Dice by patient", "min")


class Vgg16UNet(UNet2d):
    """A U-Net over blocks 1 to 4 of Keras' VGG16, which are fixed."""

    def __init__(self, weights: str) -> None:
        super().__init__("vgg16", 3, 1, weights, frozen=True, decoder=(128, 64, 32))

    def encode(self, x: Tensor) -> list[Tensor]:
        """The features of images from -1 to 1."""
        means = torch.tensor(BLUE_GREEN_RED, dtype=x.dtype).view(1, 3, 1, 1)
        return super().encode((x + 1) * 127.5 - means)


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 1 when the cases cannot be used."""
    parser = argparse.ArgumentParser(description="Compare encoders on slices at random and by patient.")
    parser.add_argument("--cases", required=True, type=Path, metavar="CSV")
    parser.add_argument("--encoder-weights", required=True, metavar="FILE")
    parser.add_argument("--vgg16", required=True, metavar="FILE")
    parser.add_argument("--work", required=True, type=Path, metavar="DIR")
    parser.add_argument("--epochs", type=int, default=4, metavar="N")
    args = parser.parse_args(argv)
    keep_freed_memory()
    try:
        run(args)
    except MedTLError as error:
        print(f"glioma_protocol: {error}", file=sys.stderr)
        return 1
    return 0


def run(args: argparse.Namespace) -> None:
    """Train what is not done yet, and print the table."""
    args.work.mkdir(parents=True, exist_ok=True)
    kept = args.work / "glioma_protocol.jsonl"
    done = [json.loads(row) for row in kept.read_text().splitlines()] if kept.exists() else []
    known = {(entry["split"], entry["encoder"]) for entry in done}
    progress = TerminalProgress()
    cases = prepare_cases(read_cases(args.cases), RECIPE.card, args.work / "cache", RECIPE.binary, progress)
    for split in SPLITS:
        tested, learned = divided(cases, split)
        for encoder in ENCODERS:
            if (split, encoder) in known:
                continue
            began = time.perf_counter()
            network = trained(learned, encoder, args, args.work / f"{split}-{encoder}", progress)
            progress.close()
            entry = {"split": split, "encoder": encoder, **figures(network, tested)}
            done.append(entry | {"minutes": (time.perf_counter() - began) / 60})
            with kept.open("a") as file:
                file.write(json.dumps(done[-1]) + "\n")
    report(done)


def divided(cases: Sequence[CachedCase], split: str) -> tuple[list[CachedCase], list[CachedCase]]:
    """The slices for testing and for training, each a case of its own."""
    singles = [one for case in cases for one in slices_of(case)]
    if split == "patients":
        held = hold_out([(case.patient, case.site) for case in cases], KEPT, RECIPE.seed)
        return [one for one in singles if one.patient in held], [one for one in singles if one.patient not in held]
    drawn = np.random.default_rng(RECIPE.seed).permutation(len(singles))
    count = round(KEPT * len(singles))
    return [singles[n] for n in drawn[:count]], [singles[n] for n in drawn[count:]]


def slices_of(case: CachedCase) -> list[CachedCase]:
    """Each slice of a case as a case."""
    parts = [(case.image[k : k + 1], case.label[k : k + 1], case.brain[k : k + 1]) for k in range(len(case.image))]
    return [replace(case, image=image, label=label, brain=brain) for image, label, brain in parts]


def network_of(encoder: str, args: argparse.Namespace) -> Network:
    """The untrained network over an encoder."""
    torch.manual_seed(RECIPE.fit.seed)
    if encoder == "vgg16":
        return Vgg16UNet(args.vgg16)
    weights = None if encoder == "random" else args.encoder_weights
    return UNet2d(LITE0, 3, 1, weights, frozen=encoder == "fixed", decoder=(128, 64, 32, 16, 8))


def trained(
    cases: Sequence[CachedCase], encoder: str, args: argparse.Namespace, folder: Path, progress: TerminalProgress
) -> Network:
    """The network after the epochs; goes on where an earlier run stopped."""
    # Random weights learn at the rate of a decoder.
    rate = RECIPE.fit.rate if encoder == "random" else RECIPE.fit.encoder_rate
    options = replace(RECIPE.fit, epochs=args.epochs, negatives=0.3, per_case=None, p_between=0.0, encoder_rate=rate)
    folder.mkdir(parents=True, exist_ok=True)
    state = start(network_of(encoder, args), options, folder if (folder / CHECKPOINT).exists() else None)
    return fit(state, cases, RECIPE.card.input, options, folder, progress)


def figures(network: Network, cases: Sequence[CachedCase]) -> dict[str, Any]:
    """The figures of all test slices, and the Dice by patient."""
    tables, heads = [], defaultdict[str, tuple[list[np.ndarray], list[np.ndarray]]](lambda: ([], []))
    for case in cases:
        probability = predict(network, case, RECIPE.card.input)
        tables.append(histogram(case.label, probability))
        heads[case.patient][0].append(case.label[0].ravel() > 0)
        heads[case.patient][1].append(probability[0].ravel() > RECIPE.card.calibration.threshold)
    both = [(np.concatenate(truths), np.concatenate(founds)) for truths, founds in heads.values()]
    truth, found = (np.concatenate(parts) for parts in zip(*both, strict=True))
    tp, fp, fn = (int(np.count_nonzero(x)) for x in (truth & found, found & ~truth, truth & ~found))
    by_patient = [dice(*pair) for pair in both if pair[0].any()]
    pooled = {name: float(value) for name, value in overlaps(tp, fp, fn).items()}
    return {"slices": len(cases), **pooled, "auc": float(auc(np.sum(tables, axis=0))), "by_patient": by_patient}


def report(done: Sequence[Mapping[str, Any]]) -> None:
    """Print the table."""
    print("\n".join(header(COLUMNS)))
    for entry in sorted(done, key=lambda one: (list(SPLITS).index(one["split"]), list(ENCODERS).index(one["encoder"]))):
        values = [f"{entry[name]:.3f}" for name in ("dice", "iou", "auc", "precision", "recall")]
        titles = (SPLITS[entry["split"]], ENCODERS[entry["encoder"]], str(entry["slices"]))
        print(line((*titles, *values, mean_interval(entry["by_patient"]), f"{entry['minutes']:.0f}")))


if __name__ == "__main__":
    sys.exit(main())
