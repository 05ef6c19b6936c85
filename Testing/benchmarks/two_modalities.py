"""Soft-tissue tumours on T1 MR and on CT of the same patients: one network each, one for both, and transfer.

    python Testing/benchmarks/two_modalities.py --mr CSV --ct CSV --work DIR [--folds 4] [--only FOLD…] [--epochs 40]

The lists are those of `Testing/datasets/sts_cases.py`, that of the CT made with `--like`, so that both have the same
patients in each fold. The network, its windows and changes of images are those of `sarcoma-mr` and `sarcoma-ct`. `MR`
and `CT` learn one modality; `both` learns all volumes, each scaled as its modality is; `CT after MR` starts from the
weights of `MR`, `MR after CT` from those of `CT`. Dice over the volumes of the patients held out, with the 95 %
interval over patients, and the paired difference to the network of that modality alone.

`DIR/two_modalities.jsonl` of --work keeps a line for each fold; an interrupted run continues from there.
"""

import argparse
import copy
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from few_volumes import epochs, model_of, scores
from tables import header, line, mean_interval

from medtl.cases import CaseFiles, read_cases
from medtl.errors import InputError, MedTLError
from medtl.memory import keep_freed_memory
from medtl.model.network import Network
from medtl.model.networks import build
from medtl.training.recipes import sarcoma_ct, sarcoma_mr
from medtl.training.split import folds
from medtl.training.windows import WindowedCase, prepare_windowed

CARDS = {"MR": sarcoma_mr.CARD, "CT": sarcoma_ct.CARD}
# What each network learns, and the network whose weights it starts from.
WAYS = {
    "MR": (("MR",), None),
    "CT": (("CT",), None),
    "both": (("MR", "CT"), None),
    "CT after MR": (("CT",), "MR"),
    "MR after CT": (("MR",), "CT"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 1 when the cases cannot be used."""
    parser = argparse.ArgumentParser(description="Soft-tissue tumours on T1 MR and on CT of the same patients.")
    parser.add_argument("--mr", required=True, type=Path, metavar="CSV")
    parser.add_argument("--ct", required=True, type=Path, metavar="CSV")
    parser.add_argument("--work", required=True, type=Path, metavar="DIR")
    parser.add_argument("--folds", type=int, default=4, metavar="N")
    parser.add_argument("--only", type=int, nargs="*", metavar="FOLD")
    parser.add_argument("--epochs", type=int, default=40, metavar="N")
    args = parser.parse_args(argv)
    keep_freed_memory()
    try:
        run(args)
    except MedTLError as error:
        print(f"two_modalities: {error}", file=sys.stderr)
        return 1
    return 0


def run(args: argparse.Namespace) -> None:
    """Train what is not done yet, and print the table of all that is."""
    listed = {"MR": read_cases(args.mr), "CT": read_cases(args.ct)}
    people = [sorted((case.patient, case.site) for case in cases) for cases in listed.values()]
    if people[0] != people[1]:
        raise InputError("Expected two lists of the same patients and sites, found others. Make that of the CT --like.")
    args.work.mkdir(parents=True, exist_ok=True)
    kept = args.work / "two_modalities.jsonl"
    done = [json.loads(row) for row in kept.read_text().splitlines()] if kept.exists() else []
    wanted = [fold for fold in args.only or range(args.folds) if fold not in {entry["fold"] for entry in done}]
    groups = folds(people[0], args.folds, sarcoma_mr.RECIPE.seed)
    prepared = {
        name: {case.case: prepare_windowed(case, CARDS[name], binary=True) for case in cases}
        for name, cases in (listed if wanted else {}).items()
    }
    for fold in wanted:
        entry = one_fold(listed, prepared, groups[fold], args.epochs) | {"fold": fold}
        done.append(entry)
        with kept.open("a") as file:
            file.write(json.dumps(entry) + "\n")
    report(done)


def one_fold(
    listed: Mapping[str, Sequence[CaseFiles]],
    prepared: Mapping[str, Mapping[str, WindowedCase]],
    held: frozenset[str],
    count: int,
) -> dict[str, Any]:
    """The Dice of each network, by modality and patient."""
    began, networks, entry = time.perf_counter(), {}, {}
    for way, (modalities, before) in WAYS.items():
        training = [
            prepared[name][case.case] for name in modalities for case in listed[name] if case.patient not in held
        ]
        networks[way] = learned(training, networks[before] if before else None, count)
        entry[way] = {}
        for name in modalities:
            tested = [case for case in listed[name] if case.patient in held]
            found = scores(model_of(CARDS[name], networks[way]), tested, mirror=True)
            entry[way][name] = {case.patient: found[case.case] for case in tested}
    return {"minutes": (time.perf_counter() - began) / 60, "dice": entry}


def learned(cases: Sequence[WindowedCase], before: Network | None, count: int) -> Network:
    """A network that learned the cases, from random weights or those of another."""
    card, fit = CARDS["MR"], replace(sarcoma_mr.FIT, epochs=count)
    torch.manual_seed(0)
    network = build(card.networks[0].name, dict(card.networks[0].arguments))
    if before is not None:
        network.load_state_dict(before.state_dict())
    for _, averaged in epochs(network, cases, card, fit):
        last = averaged
    return copy.deepcopy(last)


def report(done: Sequence[Mapping[str, Any]]) -> None:
    """Print the table."""
    print("\n".join(header(("network", "tested on", "patients", "Dice", "less that modality alone, paired"))))
    for way, (modalities, _) in WAYS.items():
        for name in modalities:
            found = {patient: value for entry in done for patient, value in entry["dice"][way][name].items()}
            alone = {patient: value for entry in done for patient, value in entry["dice"][name][name].items()}
            less = [found[patient] - alone[patient] for patient in found] if way != name else []
            print(line((way, name, str(len(found)), mean_interval(list(found.values())), mean_interval(less))))
    print(f"\n{np.mean([entry['minutes'] for entry in done]):.0f} minutes a fold.")


if __name__ == "__main__":
    sys.exit(main())
