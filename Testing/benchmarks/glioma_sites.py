"""`glioma-flair` on sites and patients that it did not learn from: each group is left out once.

    python Testing/benchmarks/glioma_sites.py --cases CSV --encoder-weights FILE --work DIR
        [--split sites|patients] [--only GROUP…] [--epochs 8]

`--cases` is the list of `Testing/datasets/glioma_cases.py`. With `--split sites` a group is a collection or a hospital
of TCGA-LGG: BraTS of all years, then CS, DU, FG and HT. With `patients` it is one of five folds of the recipe. Each
training has the recipe's steps, for fewer epochs; the patients left out are segmented as a user would. Dice is over a
volume, with the 95 % interval over patients.

`DIR/SPLIT.jsonl` of --work keeps a line for each group; an interrupted run continues from there.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scoring import dice_of
from tables import header, line, mean_interval

from medtl.cases import CaseFiles, read_cases
from medtl.errors import InputError, MedTLError
from medtl.memory import keep_freed_memory
from medtl.model.bundle import Model
from medtl.model.card import ModelCard
from medtl.model.network import Network
from medtl.model.networks import bf16_pays, build, place
from medtl.progress import TerminalProgress
from medtl.segmentation import InferenceOptions
from medtl.training.dataset import CachedCase, prepare_cases
from medtl.training.fit import CHECKPOINT, fit, start
from medtl.training.recipes import glioma_flair
from medtl.training.split import folds

RECIPE = glioma_flair.RECIPE
SITES = {"BraTS": "brats", "CS": "lgg-flair CS", "DU": "lgg-flair DU", "FG": "lgg-flair FG", "HT": "lgg-flair HT"}


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 1 when the cases cannot be used."""
    parser = argparse.ArgumentParser(description="Train glioma-flair with sites or patients left out.")
    parser.add_argument("--cases", required=True, type=Path, metavar="CSV")
    parser.add_argument("--encoder-weights", required=True, metavar="FILE")
    parser.add_argument("--work", required=True, type=Path, metavar="DIR")
    parser.add_argument("--split", choices=("sites", "patients"), default="sites")
    parser.add_argument("--only", nargs="*", metavar="GROUP")
    parser.add_argument("--epochs", type=int, default=8, metavar="N")
    args = parser.parse_args(argv)
    keep_freed_memory()
    try:
        run(args)
    except MedTLError as error:
        print(f"glioma_sites: {error}", file=sys.stderr)
        return 1
    return 0


def run(args: argparse.Namespace) -> None:
    """Train what is not done yet, and print the table of all that is."""
    listed = read_cases(args.cases)
    groups = groups_of(listed, args.split)
    if unknown := set(args.only or ()) - set(groups):
        raise InputError(f"Expected groups of {', '.join(groups)}, found {', '.join(sorted(unknown))}. Choose again.")
    args.work.mkdir(parents=True, exist_ok=True)
    kept = args.work / f"{args.split}.jsonl"
    done = [json.loads(row) for row in kept.read_text().splitlines()] if kept.exists() else []
    wanted = [name for name in args.only or groups if name not in {entry["group"] for entry in done}]
    progress = TerminalProgress()
    cases = prepare_cases(listed, RECIPE.card, args.work / "cache", RECIPE.binary, progress) if wanted else []
    for name in wanted:
        began = time.perf_counter()
        learned = [case for case in cases if case.patient not in groups[name]]
        network = trained(learned, args.encoder_weights, args.epochs, args.work / f"{args.split}-{name}", progress)
        progress.close()
        found = scores(RECIPE.card, network, [case for case in listed if case.patient in groups[name]])
        entry = {"group": name, "dice": found, "minutes": (time.perf_counter() - began) / 60}
        done.append(entry)
        with kept.open("a") as file:
            file.write(json.dumps(entry) + "\n")
    report(done, args.epochs)


def groups_of(listed: Sequence[CaseFiles], split: str) -> dict[str, frozenset[str]]:
    """The patients of each group."""
    if split == "patients":
        parts = folds([(case.patient, case.site) for case in listed], RECIPE.folds, RECIPE.seed)
        return {str(number): part for number, part in enumerate(parts)}
    return {
        name: frozenset(case.patient for case in listed if case.site.startswith(begin)) for name, begin in SITES.items()
    }


def trained(
    cases: Sequence[CachedCase], weights: str, epochs: int, folder: Path, progress: TerminalProgress
) -> Network:
    """The recipe's network after so many epochs; goes on where an earlier run stopped."""
    spec, options = RECIPE.card.networks[0], replace(RECIPE.fit, epochs=epochs)
    torch.manual_seed(options.seed)
    network = build(spec.name, dict(spec.arguments) | {"encoder_weights": weights})
    state = start(network, options, folder if (folder / CHECKPOINT).exists() else None)
    return fit(state, cases, RECIPE.card.input, options, folder, progress)


def scores(card: ModelCard, network: Network, cases: Sequence[CaseFiles]) -> dict[str, float]:
    """The Dice of each case."""
    placed = place(network.eval(), "cpu")
    model = Model(card, Path(card.name), (placed,), "cpu", bf16_pays(placed, 3))
    return {case.case: dice_of(model, case, InferenceOptions()) for case in cases}


def report(done: Sequence[Mapping[str, Any]], epochs: int) -> None:
    """Print the table."""
    print("\n".join(header(("left out", "n", "Dice", "median", "lowest"))))
    every: list[float] = []
    for entry in done:
        values = list(entry["dice"].values())
        every += values
        print(row(entry["group"], values))
    print(row("all", every))
    print(f"\n{epochs} epochs, {np.mean([entry['minutes'] for entry in done]):.0f} minutes each.")


def row(name: str, values: Sequence[float]) -> str:
    """One row of the table."""
    return line((name, str(len(values)), mean_interval(values), f"{np.median(values):.3f}", f"{min(values):.3f}"))


if __name__ == "__main__":
    sys.exit(main())
