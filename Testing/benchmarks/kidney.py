"""Kidney and renal tumour on few CT slices: one network, one that starts from another set, and two encoders.

    python Testing/benchmarks/kidney.py --cases DIR --encoder-weights FILE --work DIR [--only FOLD…] [--epochs 12]

`--cases` is the folder of `Testing/datasets/kidney_cases.py`; folds are by patient. In each fold the first stage of
`kidney-tumour-ct` is trained once, the encoder of the auxiliary set once for all folds, and then four networks with
the recipe's steps: `single` from ImageNet's weights; `tuned`, the same network from the weights that the auxiliary set
gave; `dual`, that of two encoders, which learns the own images alone; `both`, the recipe's, which learns the images of
the auxiliary set too. All see the region that the first stage finds; `whole` is `both` on whole slices. Dice of kidney
and tumour in all slices of a patient together; 95 % interval over patients, who weigh the same, and the paired
difference to `single`. A last table has the volume of the auxiliary set, which every first stage and `both` learned
from: Dice of its kidneys, and mL of tumour, of which it has none.

`DIR/kidney.jsonl` of --work keeps a line a fold; an interrupted run continues from there.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tables import header, line, mean_interval

from medtl.cases import CaseFiles, read_cases
from medtl.errors import MedTLError
from medtl.evaluation.metrics import Counts, count
from medtl.io.read import read_labelmap, read_volume
from medtl.model.bundle import Model
from medtl.model.card import ModelCard, NetworkSpec, region_card
from medtl.model.network import Network
from medtl.model.networks import place
from medtl.segmentation import InferenceOptions, segment
from medtl.training.fit import start
from medtl.training.recipe import TrainingRun
from medtl.training.recipes.kidney_tumour_ct import RECIPE
from medtl.training.split import folds
from medtl.training.two_stage import AUXILIARY, OWN, auxiliary_card, prepared, untrained, with_auxiliary
from medtl.training.windows import WindowedCase, WindowFit, fit_windows

WAYS = {
    "single": "one network",
    "tuned": "one network, from the auxiliary set",
    "dual": "two encoders, own images alone",
    "both": "two encoders, images of both sets",
    "whole": "the same, without the first stage",
}

OWN_WINDOWS = 240  # an epoch where the own set is learned alone, as many as `both` draws of it
Dices = dict[str, float]  # by patient


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 1 when the cases cannot be used."""
    parser = argparse.ArgumentParser(description="Kidney and renal tumour on few CT slices, in three ways.")
    parser.add_argument("--cases", required=True, type=Path, metavar="DIR")
    parser.add_argument("--encoder-weights", required=True, metavar="FILE")
    parser.add_argument("--work", required=True, type=Path, metavar="DIR")
    parser.add_argument("--only", type=int, nargs="*", metavar="FOLD")
    parser.add_argument("--epochs", type=int, default=RECIPE.fit.epochs)
    args = parser.parse_args(argv)
    try:
        run(args)
    except MedTLError as error:
        print(f"kidney: {error}", file=sys.stderr)
        return 1
    return 0


def run(args: argparse.Namespace) -> None:
    """Train what is not done yet, and print the tables of all that is."""
    args.work.mkdir(parents=True, exist_ok=True)
    kept = args.work / "kidney.jsonl"
    done = [json.loads(row) for row in kept.read_text().splitlines()] if kept.exists() else []
    listed, others = read_cases(args.cases / OWN), read_cases(args.cases / AUXILIARY)
    groups = folds([(case.patient, case.site) for case in listed], RECIPE.folds, RECIPE.seed)
    wanted = [fold for fold in args.only or range(RECIPE.folds) if fold not in {entry["fold"] for entry in done}]
    both = replace(RECIPE.fit, epochs=args.epochs)
    alone = replace(both, windows=OWN_WINDOWS)
    card, one = RECIPE.card, single_card(RECIPE.card)
    if wanted:
        every = {case.case: case for case in prepared(listed, card, binary=False)}
        more = prepared(others, card)
        known = auxiliary_card(card)
        helper = trained(
            new(known, args), known, RECIPE.auxiliary_fit, prepared(others, known), args.work / "auxiliary"
        )
    for fold in wanted:
        learned = [case for case in listed if case.patient not in groups[fold]]
        tested = [case for case in listed if case.patient in groups[fold]]
        first = region_card(card)
        folder = args.work / f"fold-{fold}"
        seen = prepared([*learned, *others], first)
        found = trained(new(first, args), first, RECIPE.region_fit, seen, folder / "region")
        own = [every[case.case] for case in learned]
        starts = {
            "single": (one, new(one, args), own, alone),
            "tuned": (one, from_weights(new(one, args), helper), own, alone),
            "dual": (card, with_auxiliary(card, helper, args.encoder_weights), own, alone),
            "both": (card, with_auxiliary(card, helper, args.encoder_weights), [*own, *more], both),
        }
        entry: dict[str, Any] = {"fold": fold, "volume": {}}
        for way, (its, network, cases, fit) in starts.items():
            network = trained(network, its, fit, cases, folder / way)
            model = model_of(its, network, found)
            entry[way] = scores(model, tested)
            entry["volume"][way] = of_volume(model, others)
            if way == "both":
                entry["whole"] = scores(replace(model, region=None), tested)
        done.append(entry)
        with kept.open("a") as file:
            file.write(json.dumps(entry) + "\n")
    report(done)


def single_card(card: ModelCard) -> ModelCard:
    """The card with a network of one encoder."""
    spec = card.networks[0]
    return replace(card, networks=(NetworkSpec("unet2d", spec.arguments, "single."),))


def new(card: ModelCard, args: argparse.Namespace) -> Network:
    """The card's network before training."""
    return untrained(card.networks[0], args.encoder_weights)


def from_weights(network: Network, helper: Network) -> Network:
    """The network with all weights of the helper that fit: all but the heads."""
    own = network.state_dict()
    weights = {name: value for name, value in helper.state_dict().items() if value.shape == own[name].shape}
    network.load_state_dict(own | weights)
    return network


def trained(
    network: Network, card: ModelCard, options: WindowFit, cases: Sequence[WindowedCase], folder: Path
) -> Network:
    """The network after training; goes on where an earlier run stopped."""
    folder.mkdir(parents=True, exist_ok=True)
    resumed = folder if (folder / "checkpoint.safetensors").exists() else None
    return fit_windows(start(network, options, resumed), cases, card, options, TrainingRun(folder, folder))


def model_of(card: ModelCard, network: Network, found: Network) -> Model:
    """The networks as a model of two stages."""
    first = region_card(card)
    stages = [
        Model(its, Path(its.name), (place(one.eval(), "cpu"),), "cpu", False)
        for its, one in ((card, network), (first, found))
    ]
    return replace(stages[0], region=stages[1])


def scores(model: Model, cases: Sequence[CaseFiles]) -> dict[str, Dices]:
    """The Dice of each label in all slices of a patient together, for the patients who have the label."""
    counts: dict[tuple[str, str], Counts] = {}
    for case in cases:
        truth = read_labelmap(case.label).array
        labels = segment(read_volume(case.image), model, InferenceOptions()).labelmap.array
        for label in model.card.labels:
            key = label.id, case.patient
            counts[key] = counts.get(key, Counts()) + count(truth == label.value, labels == label.value)
    answer: dict[str, Dices] = {label.id: {} for label in model.card.labels}
    for (name, patient), found in counts.items():
        if found.tp + found.fn:
            answer[name][patient] = found.overlaps["dice"]
    return answer


def of_volume(model: Model, others: Sequence[CaseFiles]) -> tuple[float, float]:
    """In the largest volume of the auxiliary set: the Dice of the kidneys, and the mL of tumour."""
    case = max(others, key=lambda one: one.image.stat().st_size)
    truth, found = read_labelmap(case.label).array, segment(read_volume(case.image), model).labelmap
    ml = np.count_nonzero(found.array == 2) * found.geometry.voxel_ml
    return count(truth > 0, found.array == 1).overlaps["dice"], ml


def report(done: Sequence[Mapping[str, Any]]) -> None:
    """Print the table."""
    print("\n".join(header(["way", "label", "patients", "Dice", "median", "less one network, paired"])))
    for way, title in WAYS.items():
        for label in RECIPE.card.labels:
            found, base = (all_of(done, one, label.id) for one in (way, "single"))
            values = list(found.values())
            less = [found[name] - base[name] for name in found] if way != "single" else []
            cells = (str(len(values)), mean_interval(values), f"{np.median(values):.3f}", mean_interval(less))
            print(line([title, label.name, *cells]))
    print("\n".join(["", *header(["way", "Dice of the volume's kidneys, each fold", "mL of tumour, each fold"])]))
    for way in (way for way in WAYS if way != "whole"):
        dice, ml = zip(*(entry["volume"][way] for entry in done), strict=True)
        print(line([WAYS[way], ", ".join(f"{one:.2f}" for one in dice), ", ".join(f"{one:.0f}" for one in ml)]))


def all_of(done: Sequence[Mapping[str, Any]], way: str, label: str) -> Dices:
    """The Dice of each patient, of all folds."""
    return {patient: value for entry in done for patient, value in entry[way][label].items()}


if __name__ == "__main__":
    sys.exit(main())
