"""A recipe of a network that sees windows, with other networks: each learns the same windows for as many epochs.

    python Testing/benchmarks/network_choice.py --recipe NAME --cases CSV --work DIR
        [--networks NAME…] [--epochs 8] [--set NAME=CSV…]

`--cases` is that of the recipe. `recipe` is the recipe's network, `plain` the same without deep supervision, which a
VNet cannot have; `vnet4` and `vnet16` are VNets with so many features at the finest level (Milletari 2016; 16 in the
paper), in 2D or 3D as the recipe's windows are. Dice of the patients that the recipe holds out, the mean over the
labels that a case shows and over the cases of a patient, with the 95 % interval over patients, and the paired
difference to the first network; `--set` scores other lists too. Without mirrored windows.

`DIR/NAME.jsonl` keeps a line for each network of the recipe NAME; an interrupted run continues from there.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from card_figures import named_list
from few_volumes import epochs, model_of
from scoring import dice_of
from tables import header, line, mean_interval

from medtl.cases import CaseFiles, read_cases
from medtl.errors import InputError, MedTLError
from medtl.evaluation.metrics import by_patient
from medtl.memory import keep_freed_memory
from medtl.model.card import ModelCard, NetworkSpec
from medtl.model.networks import build
from medtl.segmentation import InferenceOptions
from medtl.training.recipes import recipe_named
from medtl.training.segmenter import held_out_patients
from medtl.training.windows import WindowedCase, WindowFit, WindowRecipe, prepare_windowed

NETWORKS = ("recipe", "plain", "vnet4", "vnet16")
HELD_OUT = "held out"
UNMIRRORED = InferenceOptions(mirror=False)


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 1 when the cases cannot be used."""
    parser = argparse.ArgumentParser(description="Train a recipe of windows with several networks.")
    parser.add_argument("--recipe", required=True, metavar="NAME")
    parser.add_argument("--cases", required=True, type=Path, metavar="CSV")
    parser.add_argument("--work", required=True, type=Path, metavar="DIR")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=["recipe", "vnet16"])
    parser.add_argument("--epochs", type=int, default=8, metavar="N")
    parser.add_argument("--set", action="append", default=[], type=named_list, dest="sets", metavar="NAME=CSV")
    args = parser.parse_args(argv)
    keep_freed_memory()
    try:
        run(args)
    except MedTLError as error:
        print(f"network_choice: {error}", file=sys.stderr)
        return 1
    return 0


def run(args: argparse.Namespace) -> None:
    """Train what is not done yet, and print the table of all that is."""
    recipe = recipe_named(args.recipe)
    if not isinstance(recipe, WindowRecipe):
        raise InputError(f"Expected a recipe of a network that sees windows, found {args.recipe}. Choose another.")
    listed = read_cases(args.cases)
    held = held_out_patients(recipe, listed, None)
    sets = {HELD_OUT: [case for case in listed if case.patient in held]}
    sets |= {name: list(read_cases(path)) for name, path in args.sets}
    args.work.mkdir(parents=True, exist_ok=True)
    kept = args.work / f"{args.recipe}.jsonl"
    done = [json.loads(row) for row in kept.read_text().splitlines()] if kept.exists() else []
    wanted = [name for name in args.networks if name not in {entry["network"] for entry in done}]
    cases = [
        prepare_windowed(case, recipe.card, recipe.binary, recipe.partial)
        for case in (listed if wanted else ())
        if case.patient not in held
    ]
    for name in wanted:
        entry = one_network(name, recipe, cases, sets, args.epochs)
        done.append(entry)
        with kept.open("a") as file:
            file.write(json.dumps(entry) + "\n")
    report(done, sets)


def one_network(
    name: str,
    recipe: WindowRecipe,
    cases: Sequence[WindowedCase],
    sets: Mapping[str, Sequence[CaseFiles]],
    count: int,
) -> dict[str, Any]:
    """The figures of one training."""
    began = time.perf_counter()
    card, fit = card_of(recipe.card, name), fit_of(recipe.fit, name, count)
    torch.manual_seed(fit.seed)
    network = build(card.networks[0].name, dict(card.networks[0].arguments))
    for _, averaged in epochs(network, cases, card, fit):
        last = averaged
    minutes = (time.perf_counter() - began) / 60
    model = model_of(card, last)
    found = {}
    for key, chosen in sets.items():
        patients = [case.patient for case in chosen]
        found[key] = by_patient([dice_of(model, case, UNMIRRORED) for case in chosen], patients)
    millions = sum(value.numel() for value in network.state_dict().values()) / 1e6
    return {"network": name, "millions": millions, "minutes": minutes, "epochs": count, "dice": found}


def card_of(card: ModelCard, name: str) -> ModelCard:
    """The recipe's card with this network."""
    assert card.windows is not None
    if not name.startswith("vnet"):
        return card
    features, outputs = int(name.removeprefix("vnet")), 1 + len(card.labels)
    arguments: dict[str, Any] = {"channels": 1, "labels": outputs - 1, "dropout": 0.1, "features": features}
    if len(card.windows.patch) == 3:
        arguments = {
            "in_channels": 1,
            "out_channels": outputs,
            "dropout_prob_down": 0.1,
            "dropout_prob_up": (0.1, 0.1),
            "features": features,
        }
    kind = f"vnet{len(card.windows.patch)}d"
    return replace(card, networks=(NetworkSpec(kind, MappingProxyType(arguments), f"{kind}."),))


def fit_of(fit: WindowFit, name: str, count: int) -> WindowFit:
    """The recipe's fit of so many epochs; deep supervision is for the recipe's network."""
    return replace(fit, epochs=count, deep=fit.deep and name == "recipe")


def report(done: Sequence[Mapping[str, Any]], sets: Mapping[str, Sequence[CaseFiles]]) -> None:
    """Print the table."""
    columns = [column for key in sets for column in (f"Dice, {key}", "less the first")]
    print("\n".join(header(("network", "million weights", *columns, "epochs", "min"))))
    for entry in done:
        cells = []
        for key in sets:
            values, first = entry["dice"][key], done[0]["dice"][key]
            less = [] if entry is done[0] else [a - b for a, b in zip(values, first, strict=True)]
            cells += [f"{mean_interval(values)}, n = {len(values)}", mean_interval(less)]
        minutes = f"{entry['minutes']:.0f}"
        print(line((entry["network"], f"{entry['millions']:.1f}", *cells, str(entry["epochs"]), minutes)))


if __name__ == "__main__":
    sys.exit(main())
