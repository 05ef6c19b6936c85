"""Variants of the recipe of `glioma-flair`: short trainings, scored on one held-out site of the training patients.

    python Testing/benchmarks/recipe_choice.py --cases CSV --encoder-weights FILE --work DIR [--epochs 3] [VARIANT…]

The recipe's test patients are removed first and never read. Variants: `same` (a slice three times instead of with its
neighbours), `neighbours` (the recipe), `plain` (the recipe without changes of lesions and with less of contrast and
skull removal). Each is scored on the held-out site as it is and with the skull removed. A run takes some ten minutes;
an interrupted run continues where it was.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from tables import header, line

from medtl.cases import read_cases
from medtl.errors import MedTLError
from medtl.evaluation.metrics import dice
from medtl.model.card import InputSpec
from medtl.model.network import Network
from medtl.model.networks import build
from medtl.preprocess import TISSUE_CLIP, from_tissue_units, to_tissue_units
from medtl.progress import TerminalProgress
from medtl.training import fit as training
from medtl.training.augment import Augmentation
from medtl.training.dataset import CachedCase, prepare_cases
from medtl.training.recipes import recipe_named
from medtl.training.segmenter import SegmentationRecipe, held_out_patients

PLAIN = Augmentation(p_strip=0.35, p_faint=0.0, p_necrosis=0.0, contrast=0.2)
VARIANTS = ("same", "neighbours", "plain")
THRESHOLDS = (0.3, 0.5, 0.7)


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 1 when the cases cannot be used."""
    parser = argparse.ArgumentParser(description="Compare variants of the recipe on a site left out.")
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help=", ".join(VARIANTS))
    parser.add_argument("--cases", required=True, type=Path, metavar="CSV")
    parser.add_argument("--encoder-weights", required=True, metavar="FILE")
    parser.add_argument("--work", required=True, type=Path, metavar="DIR")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--recipe", default="glioma-flair")
    parser.add_argument("--site", default="HT", help="the site left out")
    args = parser.parse_args(argv)
    if unknown := set(args.variants) - set(VARIANTS):
        parser.error(f"expected variants of {', '.join(VARIANTS)}, found {', '.join(sorted(unknown))}")
    progress = TerminalProgress()
    try:
        recipe = recipe_named(args.recipe)
        if not isinstance(recipe, SegmentationRecipe):
            parser.error(f"expected the recipe of a segmentation, found {args.recipe}")
        listed = read_cases(args.cases)
        held = held_out_patients(recipe, listed, None)
        ours = tuple(case for case in listed if case.patient not in held)
        cases = prepare_cases(ours, recipe.card, args.work / "cache", recipe.binary, progress)
        trained = [case for case in cases if case.site != args.site]
        left_out = [case for case in cases if case.site == args.site]
        head = ["variant", "head", *(f"mean / median Dice at {t}" for t in THRESHOLDS), "volume, found / true"]
        print(*header(head), sep="\n", flush=True)
        for name in args.variants or VARIANTS:
            network = trained_network(recipe, name, trained, args.encoder_weights, args.epochs, args.work, progress)
            progress.close()
            with neighbours_of(name):
                for skull in ("as it is", "without skull"):
                    shown = [stripped(case) for case in left_out] if skull == "without skull" else left_out
                    print(line([name, skull, *scores(network, shown, recipe.card.input)]), flush=True)
    except MedTLError as error:
        progress.close()
        print(f"recipe_choice: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def trained_network(
    recipe: SegmentationRecipe,
    name: str,
    cases: Sequence[CachedCase],
    weights: str,
    epochs: int,
    work: Path,
    progress: TerminalProgress,
) -> Network:
    """The network of a variant; goes on where an earlier run stopped."""
    changes = PLAIN if name == "plain" else recipe.fit.augmentation
    spec, options = recipe.card.networks[0], replace(recipe.fit, epochs=epochs, augmentation=changes)
    folder = work / f"{name}-{epochs}"
    torch.manual_seed(options.seed)
    network = build(spec.name, dict(spec.arguments) | {"encoder_weights": weights})
    resume_from = folder if (folder / training.CHECKPOINT).exists() else None
    with neighbours_of(name):
        state = training.start(network, options, resume_from)
        network = training.fit(state, cases, recipe.card.input, options, folder, progress)
    history = json.loads((folder / "history.json").read_text(encoding="utf-8"))
    print(f"{name}: loss {history[-1]['loss']:.3f} after {epochs} epochs", file=sys.stderr)
    return network


@contextmanager
def neighbours_of(name: str) -> Iterator[None]:
    """For the variant `same`, all channels show the slice itself; nothing else differs."""

    def nowhere(spec: InputSpec, slice_mm: float | None) -> list[int]:
        return [0] * (2 * spec.neighbours + 1)

    if name != "same":
        yield
        return
    with mock.patch.object(training, "neighbour_steps", nowhere):
        yield


def scores(network: Network, cases: Sequence[CachedCase], spec: InputSpec) -> list[str]:
    """Mean and median Dice at each threshold, and the mean ratio of volumes at 0.5."""
    rows, ratios = [], []
    for case in cases:
        probability, truth = training.predict(network, case, spec), case.label > 0
        rows.append([dice(probability > threshold, truth) for threshold in THRESHOLDS])
        ratios.append((probability > 0.5).sum() / max(truth.sum(), 1))
    found = np.array(rows)
    means, medians = found.mean(0), np.median(found, axis=0)
    return [*(f"{a:.3f} / {b:.3f}" for a, b in zip(means, medians)), f"{np.mean(ratios):.2f}"]


def stripped(case: CachedCase) -> CachedCase:
    """The case with nothing but its brain (and lesion), scaled anew by what is left, as a stripped volume would be."""
    tissue = to_tissue_units(case.image.astype(np.float32))
    tissue[~(case.brain | (case.label > 0))] = 0.0
    level = float(np.median(tissue[case.brain])) if case.brain.any() else 1.0
    return replace(case, image=np.clip(from_tissue_units(tissue / level), *TISSUE_CLIP).astype(np.float16))


if __name__ == "__main__":
    sys.exit(main())
