"""How many SEED slices, and which: evenly spaced, at random, or where the network is least sure.

    python Testing/benchmarks/finetune_seeds.py --model glioma-flair --target CSV --work DIR
        [--budget 20] [--cases 6] [--counts 1 3 5 10] [--exclude PATTERN…] [--quick]

Each case is tuned on anew for each number and each way. Output: the Dice of the whole case with its SEEDs as drawn (the
user's result), of the tuned model alone on the slices that are no SEEDs, and for each way its difference from even
spacing on the same case, with the 95 % interval over cases. `random` is the mean of two draws. `unsure` takes the
slices of the highest mean entropy, each at least half a step of even spacing from the others.
`DIR/finetune_seeds.jsonl` holds a line for each finished run; an interrupted run continues from there.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from finetune_mri import Loaded, dice_of, listed, load
from tables import header, line, mean_interval

from medtl.errors import MedTLError
from medtl.finetuning.case_result import case_result
from medtl.finetuning.finetune import finetune
from medtl.finetuning.run import FinetuneOptions, Run, TimeBudget
from medtl.finetuning.seed import seeds_of
from medtl.finetuning.suggest import evenly_spaced
from medtl.model.bundle import Model, load_model
from medtl.segmentation import InferenceOptions, segment
from medtl.volume import Labelmap, array_axis

DRAWS = 2
WAYS = ("even", "random", "unsure")


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 1 when the cases cannot be used."""
    parser = argparse.ArgumentParser(description="Measure fine-tuning against the number and the choice of SEEDs.")
    parser.add_argument("--model", required=True, metavar="NAME|DIR")
    parser.add_argument("--target", required=True, type=Path, metavar="CSV")
    parser.add_argument("--work", required=True, type=Path, metavar="DIR")
    parser.add_argument("--budget", type=float, default=20.0, metavar="S")
    parser.add_argument("--cases", type=int, default=6, metavar="N")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 3, 5, 10], metavar="N")
    parser.add_argument("--exclude", nargs="*", default=[], metavar="PATTERN", help="cases that are never looked at")
    parser.add_argument("--quick", action="store_true", help="1 case, 2 numbers: its figures mean nothing")
    args = parser.parse_args(argv)
    if args.quick:
        args.cases, args.counts, args.budget = 1, [1, 3], 10.0
    try:
        model = load_model(args.model, "cpu")
        every = listed(args.target, args.exclude)
        chosen = [every[int(i)] for i in np.linspace(0, len(every) - 1, min(args.cases, len(every))).round()]
        run(model, [load(case) for case in chosen], args)
    except MedTLError as error:
        print(f"finetune_seeds: {error}", file=sys.stderr)
        return 1
    return 0


def run(model: Model, cases: list[Loaded], args: argparse.Namespace) -> None:
    """Tune what is not done yet, and print the tables."""
    args.work.mkdir(parents=True, exist_ok=True)
    log = args.work / "finetune_seeds.jsonl"
    rows = [json.loads(text) for text in log.read_text().splitlines()] if log.exists() else []
    rows = [r for r in rows if (r["model"], r["budget"]) == (model.sha256, args.budget)]
    for one in cases:
        span, unsure = seen_by(model, one)
        for count in args.counts:
            for way in WAYS:
                for draw in range(DRAWS if way == "random" else 1):
                    key = {"case": one[0].case, "count": count, "way": way, "draw": draw}
                    if any(key.items() <= r.items() for r in rows):
                        continue
                    slices = chosen_slices(way, span, unsure, count, draw)
                    row = {"model": model.sha256, "budget": args.budget, **key, "slices": slices}
                    rows.append(row | measure(model, one, slices, args.budget))
                    with log.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(rows[-1]) + "\n")
                    print(rows[-1], file=sys.stderr, flush=True)
    for figure, title in (("whole", "Whole case, SEEDs as drawn"), ("rest", "Tuned model alone, on the other slices")):
        print(f"\n{title}: mean Dice over n = {len(cases)} cases [95 %], budget {args.budget:g} s\n")
        print(*header(["SEEDs", *WAYS, "random - even", "unsure - even"]), sep="\n")
        for count in args.counts:
            values = {way: [mean_of(rows, one[0].case, count, way, figure) for one in cases] for way in WAYS}
            paired = [mean_interval(np.subtract(values[way], values["even"]).tolist()) for way in WAYS[1:]]
            print(line([str(count), *(mean_interval(values[way]) for way in WAYS), *paired]))


def mean_of(rows: Sequence[dict[str, Any]], case: str, count: int, way: str, figure: str) -> float:
    """The mean over draws."""
    key = {"case": case, "count": count, "way": way}
    return float(np.mean([r[figure] for r in rows if key.items() <= r.items()]))


def seen_by(model: Model, one: Loaded) -> tuple[tuple[int, int], np.ndarray]:
    """The first and last slice of what the model finds (of all slices where that is nothing), and the mean entropy of
    each slice's head."""
    axis = array_axis(one[1].geometry, model.card.input.plane)
    found = segment(one[1], model, InferenceOptions(keep_uncertainty=True))
    assert found.uncertainty is not None
    there = np.flatnonzero(np.moveaxis(found.labelmap.array, axis, 0).any(axis=(1, 2)))
    planes = np.moveaxis(found.uncertainty, axis, 0)
    span = (int(there[0]), int(there[-1])) if len(there) else (0, len(planes) - 1)
    return span, planes.mean(axis=(1, 2))


def chosen_slices(way: str, span: tuple[int, int], unsure: np.ndarray, count: int, draw: int) -> list[int]:
    """The SEED slices, in order."""
    first, last = span
    if way == "even":
        return [s.index for s in evenly_spaced(first, last, count)]
    count = min(count, last - first + 1)
    if way == "random":
        return sorted(np.random.default_rng(draw).choice(np.arange(first, last + 1), count, replace=False).tolist())
    found: list[int] = []
    apart = (last - first + 1) / count / 2
    for k in sorted(range(first, last + 1), key=lambda k: -unsure[k]):
        if len(found) < count and all(abs(k - other) >= apart for other in found):
            found.append(k)
    return sorted(found)


def measure(model: Model, one: Loaded, slices: Sequence[int], budget: float) -> dict[str, Any]:
    """The figures of one run."""
    truth = Labelmap(one[2] * np.uint16(model.card.labels[0].value), one[1].geometry)
    seeds = seeds_of(truth, model.card, one[0].image, one[0].case, slices)
    clock = TimeBudget(budget)
    later = one[1].array.shape[array_axis(one[1].geometry, model.card.input.plane)]
    done = finetune(model, [(one[1], seeds)], Run(FinetuneOptions(budget), clock, later_slices=later))
    result = case_result(done, one[1], seeds, clock, lambda stage, share: None)
    return {
        "seconds": clock.used,
        "steps": done.steps,
        "alpha": done.alpha,
        "weight": result.weight,
        "whole": dice_of(model, one, (), result.labelmap.array),
        "rest": dice_of(done.model, one, slices),
    }


if __name__ == "__main__":
    sys.exit(main())
