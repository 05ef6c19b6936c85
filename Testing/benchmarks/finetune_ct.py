"""One CT after another, five SEED slices each: what a network gains on the new device, and loses on the old ones.

    python Testing/benchmarks/finetune_ct.py --data DIR --work DIR [--encoder-weights FILE] [--networks NAME…]
        [--budget 60] [--draws 2] [--quick]

`DIR` holds `liver-ct-a`, `-b` and `-c`, unpacked. Each network learns the liver from set a, without four patients who
are the source's test; it is then tuned on 5 SEED slices of set b, and what comes of that on 5 of set c. The SEEDs are
those of one or two patients, drawn anew with each draw; the other patients of the set are its test. The guard set is
cases that were accepted before: three patients of set a that the network learned from, and for set c the SEED slices of
set b as well. Beside that, tuning without a guard set, as is done where no list of accepted cases is given (the
synthetic heads are no CT), and all weights tuned plainly on the same SEEDs for the same time. A tuned model with the
verdict "worse" is not used, as in the panel. Dice is that of all slices of a patient together, and the 95 % interval is
over patients (bootstrap; the mean of a patient's draws counts once).

All slices are brought to 192×192 pixels, whatever their spacing, which is not known. Values from 0 to 255 are the
network's -1 to 1 in every set: HU in a and b, but in c each slice's own scale, which no window of HU undoes.

`--work` keeps the trained networks and `finetune_ct.jsonl`, a line for each network and draw; a run that is cut short
goes on from there. Tuning is measured by the clock, so nothing else should run meanwhile; `--draws 0` trains alone.
`--quick` checks that everything runs: its figures mean nothing.
"""

import argparse
import copy
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ct_source import NETWORKS, SPEC, TITLES, Patients, load, seeds_for, stacked, trained
from tables import header, line, mean_interval

from medtl.errors import MedTLError
from medtl.evaluation.metrics import dice
from medtl.finetuning.decoder import Tuning
from medtl.finetuning.features import augment_seeds, prepare_case
from medtl.finetuning.finetune import finetune
from medtl.finetuning.run import FinetuneOptions, Run, TimeBudget
from medtl.finetuning.seed import IGNORE, Seed
from medtl.io.write import store_image
from medtl.model.bundle import Model
from medtl.model.card import ModelCard
from medtl.segmentation import segment
from medtl.training.loss import dice_and_cross_entropy
from medtl.volume import Volume

SETS = ("a", "b", "c")
SEEDS = 5
HELD_OUT = 4
ACCEPTED = 3
WAYS = {"guarded": "accepted cases as guard", "alone": "no guard set", "plain": "all weights, plainly"}
STATES = ("before", *(f"{one} {way}" for way in WAYS for one in "bc"))  # the set that was tuned on last, and how
AIM = 0.01


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 1 when the data cannot be used."""
    parser = argparse.ArgumentParser(description="Measure fine-tuning from CT to CT on SEED slices.")
    parser.add_argument("--data", required=True, type=Path, metavar="DIR")
    parser.add_argument("--work", required=True, type=Path, metavar="DIR")
    parser.add_argument("--encoder-weights", metavar="FILE", help="weights of the U-Net's encoder; random without")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--budget", type=float, default=60.0, metavar="S")
    parser.add_argument("--draws", type=int, default=2, metavar="N", help="SEED draws for each network; 0 trains alone")
    parser.add_argument("--epochs", type=int, default=80, metavar="N", help="of training on set a")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args(argv)
    if args.quick:
        args.budget, args.draws, args.epochs = 5.0, 1, 1
    try:
        sets = {name: load(args.data / f"liver-ct-{name}", 64 if args.quick else 192) for name in SETS}
        run(sets, args)
    except MedTLError as error:
        print(f"finetune_ct: {error}", file=sys.stderr)
        return 1
    return 0


def run(sets: Mapping[str, Patients], args: argparse.Namespace) -> None:
    """Train, tune what is not done yet, and print all that is."""
    order = np.random.default_rng(0).permutation(len(sets["a"]))
    source = [sets["a"][i] for i in order[:HELD_OUT]]
    learned = [sets["a"][i] for i in order[HELD_OUT:]]
    args.work.mkdir(parents=True, exist_ok=True)
    log = args.work / "finetune_ct.jsonl"
    rows = [json.loads(text) for text in log.read_text().splitlines()] if log.exists() else []
    models = {name: trained(name, learned, args.work, args.epochs, args.encoder_weights) for name in args.networks}
    key = {"epochs": args.epochs, "budget": args.budget, "quick": args.quick, "tuning": asdict(Tuning())}
    chosen = []
    for draw in range(args.draws):
        for name, model in models.items():
            wanted = {"name": name, "draw": draw, "network": str(model.folder), **key}
            row = next((r for r in rows if wanted.items() <= r.items() and set(STATES) <= r.keys()), None)
            if row is None:
                row = wanted | measure(model, source, learned, sets, draw, args)
                with log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
            chosen.append(row)
    if chosen:
        summarise(chosen, args)


def drawn(patients: Patients, card: ModelCard, draw: int) -> tuple[list[tuple[Volume, tuple[Seed, ...]]], Patients]:
    """The SEEDs, of patients drawn at random from those with three slices or more, and the other patients."""
    left, cases, names = SEEDS, [], set()
    for i in np.random.default_rng((1, draw)).permutation(len(patients)):
        one = patients[i]
        if left and len(one.truth) >= 3:
            seeds = seeds_for(one, card, left)
            cases.append((one.volume, seeds))
            names.add(one.name)
            left -= len(seeds)
    return cases, [p for p in patients if p.name not in names]


def measure(
    model: Model,
    source: Patients,
    learned: Patients,
    sets: Mapping[str, Patients],
    draw: int,
    args: argparse.Namespace,
) -> dict[str, Any]:
    """Dice by patient of each set, before and after each step, and what the guard said."""
    drawings = {name: drawn(sets[name], model.card, draw) for name in ("b", "c")}
    tests = {"a": source} | {name: rest for name, (_, rest) in drawings.items()}
    row: dict[str, Any] = {"before": dices_of(model, tests)}
    tuned = dict.fromkeys(WAYS, model)
    accepted = [(one.volume, one.truth) for one in learned[:ACCEPTED]]
    for name, (cases, _) in drawings.items():
        with tempfile.TemporaryDirectory() as folder:
            guard = written(accepted, Path(folder))
            for way, listed in (("guarded", guard), ("alone", None)):
                tuned[way], row[f"{name} {way} said"] = guarded(tuned[way], cases, listed, args.budget)
        tuned["plain"], steps = plainly_tuned(tuned["plain"], cases, 1.0 if args.quick else args.budget)
        row[f"{name} plain said"] = f"{steps} steps"
        row |= {f"{name} {way}": dices_of(one, tests) for way, one in tuned.items()}
        accepted += [(volume, np.stack([seed.mask for seed in seeds])) for volume, seeds in cases_cut(cases)]
    for state in STATES:
        means = ", ".join(f"{one} {np.mean(list(figures.values())):.3f}" for one, figures in row[state].items())
        print(f"{model.card.name}, draw {draw}, {state}: {means}; {row.get(f'{state} said', '')}", flush=True)
    return row


def guarded(
    model: Model, cases: Sequence[tuple[Volume, tuple[Seed, ...]]], guard: Path | None, budget: float
) -> tuple[Model, str]:
    """The model that is used after tuning, the old one where the verdict is "worse", and what was said."""
    began, busy = time.perf_counter(), time.process_time()
    done = finetune(model, cases, Run(FinetuneOptions(budget, guard=guard), TimeBudget(budget)))
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    said = f"{done.verdict}, alpha {done.alpha:.2f}, {done.steps} steps, {seconds:.0f} s"
    # Fewer cores than there are: others were at work.
    return model if done.verdict == "worse" else done.model, f"{said} of {busy / seconds:.1f} cores"


def cases_cut(cases: Sequence[tuple[Volume, tuple[Seed, ...]]]) -> list[tuple[Volume, tuple[Seed, ...]]]:
    """The cases with their SEED slices alone."""
    found = []
    for volume, seeds in cases:
        array = volume.array[[seed.index for seed in seeds]]
        grid = replace(volume.geometry, size=(*volume.geometry.size[:2], len(array)))
        found.append((replace(volume, array=array, geometry=grid), seeds))
    return found


def written(cases: Sequence[tuple[Volume, np.ndarray]], folder: Path) -> Path:
    """The list of accepted cases, in files."""
    lines = ["image,label"]
    for number, (volume, truth) in enumerate(cases):
        store_image(folder / f"{number}.nrrd", volume.array.astype(np.float32), volume.geometry)
        store_image(folder / f"{number}-label.nrrd", truth.astype(np.uint16), volume.geometry)
        lines.append(f"{number}.nrrd,{number}-label.nrrd")
    (folder / "guard.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder / "guard.csv"


def dices_of(model: Model, tests: Mapping[str, Patients]) -> dict[str, dict[str, float]]:
    """Dice of each patient of each set."""
    return {
        name: {one.name: dice(one.truth, segment(one.volume, model).labelmap.array) for one in patients}
        for name, patients in tests.items()
    }


def plainly_tuned(model: Model, cases: Sequence[tuple[Volume, Sequence[Seed]]], budget: float) -> tuple[Model, int]:
    """All weights tuned on the same SEEDs for the same time, as one would at first (Adam, changed slices, batch
    statistics of the batches), and the number of steps."""
    began = time.perf_counter()
    network = copy.deepcopy(model.networks[0]).train()
    marked = [prepare_case(volume, seeds, SPEC, network.multiple) for volume, seeds in cases]
    images, truth = stacked(marked)
    random = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    steps = 0
    while time.perf_counter() - began < budget:
        image, classes = augment_seeds(images, truth, SPEC, random)
        with torch.autocast("cpu", torch.bfloat16, enabled=model.bf16):
            logits = network(image.clamp(-1, 1).contiguous(memory_format=torch.channels_last))
        optimizer.zero_grad(set_to_none=True)
        dice_and_cross_entropy(logits.float(), classes, IGNORE).backward()
        optimizer.step()
        steps += 1
    return replace(model, networks=(network.eval(),)), steps


def by_patient(rows: Sequence[Mapping[str, Any]], after: str, name: str, before: str = "") -> list[float]:
    """A figure for each patient of a set, the mean over draws: Dice after a step, or its change since another."""
    found: dict[str, list[float]] = {}
    for row in rows:
        for patient, value in row[after][name].items():
            found.setdefault(patient, []).append(value - (row[before][name][patient] if before else 0.0))
    return [float(np.mean(values)) for values in found.values()]


def summarise(rows: Sequence[Mapping[str, Any]], args: argparse.Namespace) -> None:
    """The table, and what it says of our aim and of the paper."""
    counts = {name: len(by_patient(rows, "before", name)) for name in SETS}
    patients = ", ".join(f"{n} patients of {name}" for name, n in counts.items())
    print(f"\nDice [95 % interval over patients], {args.draws} SEED draws, {args.budget:g} s a step; n = {patients}.")
    print("A change is since training for set a, and since the step before for b and c.\n")
    head = ["network", "tuned on", *(text for one in SETS for text in (one, f"change of {one}")), "draws"]
    print(*header(head), sep="\n")
    for name in args.networks:
        mine = [row for row in rows if row["name"] == name]
        for state in STATES:
            step, _, way = state.partition(" ")
            cells = [TITLES[name], f"{step}: {WAYS[way]}" if way else "nothing yet"]
            for one in SETS:
                since = "before" if one == "a" or step == "b" else f"b {way}"
                cells.append(mean_interval(by_patient(mine, state, one)))
                cells.append(mean_interval(by_patient(mine, state, one, since)) if way else "-")
            print(line([*cells, "; ".join(row[f"{state} said"] for row in mine) if way else "-"]))
    print()
    for way, title in WAYS.items():
        lost = {TITLES[name]: forgotten(rows, name, way) for name in args.networks}
        kept = ", ".join(f"{name} {change:+.3f}" for name, change in lost.items())
        word = "kept" if min(lost.values()) >= -AIM else "not kept"
        print(f"{title}: the sources are {word} within {AIM} (the largest mean loss, of a or of b after c: {kept}).")
    if len(args.networks) > 1:
        print(" ".join(claim(rows, args.networks, way) for way in WAYS), end=" ")
        print(f"The sets are small ({patients}) and favour convolutions, which learn from fewer slices.")


def forgotten(rows: Sequence[Mapping[str, Any]], name: str, way: str) -> float:
    """The lowest of the mean changes of what was known before a step: set a after each, set b after that on c."""
    mine = [row for row in rows if row["name"] == name]
    steps = ((f"b {way}", "a", "before"), (f"c {way}", "a", "before"), (f"c {way}", "b", f"b {way}"))
    return min(float(np.mean(by_patient(mine, *step))) for step in steps)


def claim(rows: Sequence[Mapping[str, Any]], names: Sequence[str], way: str) -> str:
    """Whether VNet forgets least and is best (Yoon 2024): by the source's change and by the mean over the three sets,
    both after the last step."""
    kept, best = {}, {}
    for name in names:
        mine = [row for row in rows if row["name"] == name]
        kept[name] = float(np.mean(by_patient(mine, f"c {way}", "a", "before")))
        best[name] = float(np.mean([np.mean(by_patient(mine, f"c {way}", one)) for one in SETS]))
    least, top = max(kept, key=lambda n: kept[n]), max(best, key=lambda n: best[n])
    word = "holds" if least == top == "vnet2d" else "does not hold"
    return (
        f'With "{WAYS[way]}" the claim that VNet forgets least and is best {word} here: least forgets {TITLES[least]} '
        f"({kept[least]:+.3f} on the source), best is {TITLES[top]} (mean of the three sets {best[top]:.3f})."
    )


if __name__ == "__main__":
    sys.exit(main())
