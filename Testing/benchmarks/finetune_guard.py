"""Whether the guard predicts what a tuned model forgets: its change against that of the source's held-out patients.

    python Testing/benchmarks/finetune_guard.py --model glioma-flair --target CSV --source CSV --work DIR
        [--budget 30] [--cases 6] [--exclude PATTERN…] [--quick]

Each target case is tuned on with 5 correct SEED slices, and with bad ones: each outline 4 pixels too wide, 4 too
narrow, or missing. Three states of each tuning are scored, at a quarter, half and all of the way from the old weights
to the tuned ones, without the guard's search for a harmless one. For each state the mean change of Dice on the guard
set (synthetic heads) is compared with that on the source's held-out patients, which no guard sees. Output: rank
correlation; how often the guard warns (mean change under -0.01) where the source loses more than 0.01 and where it does
not, with 95 % intervals; and the source's change for the states that `finetune` chose itself.
`DIR/finetune_guard.jsonl` holds a line for each finished tuning; an interrupted run continues from there.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from finetune_mri import Loaded, listed, load, seeds_for, slices_of, spread
from scipy import ndimage, stats
from tables import header, line, mean_interval

from medtl.errors import MedTLError
from medtl.finetuning.features import Shown
from medtl.finetuning.finetune import finetune
from medtl.finetuning.guard import MARGIN, guard_set, labelled_case, scores
from medtl.finetuning.run import FinetuneOptions, Run, TimeBudget
from medtl.finetuning.seed import Seed
from medtl.model.bundle import Model, load_model
from medtl.progress import no_progress
from medtl.volume import Labelmap

PIXELS = 4
KINDS = ("right", "wide", "narrow", "forgotten")
STATES = (0.25, 0.5, 1.0)


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 1 when the cases cannot be used."""
    parser = argparse.ArgumentParser(description="Set the guard's word against what the source loses.")
    parser.add_argument("--model", required=True, metavar="NAME|DIR")
    parser.add_argument("--target", required=True, type=Path, metavar="CSV")
    parser.add_argument("--source", required=True, type=Path, metavar="CSV")
    parser.add_argument("--work", required=True, type=Path, metavar="DIR")
    parser.add_argument("--budget", type=float, default=30.0, metavar="S")
    parser.add_argument("--cases", type=int, default=6, metavar="N")
    parser.add_argument("--sources", type=int, metavar="N", help="look at N source cases, evenly spread")
    parser.add_argument("--exclude", nargs="*", default=[], metavar="PATTERN", help="cases that are never looked at")
    parser.add_argument("--quick", action="store_true", help="1 case, 10 s, 2 source cases: its figures mean nothing")
    args = parser.parse_args(argv)
    if args.quick:
        args.cases, args.budget, args.sources = 1, 10.0, 2
    try:
        model = load_model(args.model, "cpu")
        held = [c for c in listed(args.source, args.exclude) if c.case in model.card.training["split"]["test"]]
        source = [whole(model, load(case)) for case in spread(held, args.sources)]
        loaded = [load(case) for case in listed(args.target, args.exclude)]
        usable = [one for one in loaded if slices_of(model, one)]
        summarise(run(model, spread(usable, args.cases), source, args), len(source))
    except MedTLError as error:
        print(f"finetune_guard: {error}", file=sys.stderr)
        return 1
    return 0


def whole(model: Model, one: Loaded) -> Shown:
    """All slices of a case that show something, as the decoder gets them: tuning leaves the encoder alone."""
    truth = Labelmap(one[2] * np.uint16(model.card.labels[0].value), one[1].geometry)
    case = labelled_case(model, one[1], truth)
    return case.show(model, [k for k in case.occupied if k in case.truth])


def run(model: Model, cases: list[Loaded], source: list[Shown], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Tune what is not done yet; a row for each case and kind of SEEDs."""
    args.work.mkdir(parents=True, exist_ok=True)
    log = args.work / "finetune_guard.jsonl"
    key = {"model": model.sha256, "budget": args.budget, "sources": len(source)}
    rows = [json.loads(text) for text in log.read_text().splitlines()] if log.exists() else []
    rows = [row for row in rows if key.items() <= row.items()]
    guard = guard_set(model, None, 1e9, no_progress)
    old = scores(model, source)
    for one in cases:
        for kind in KINDS:
            if any((row["case"], row["kind"]) == (one[0].case, kind) for row in rows):
                continue
            seeds = [replace(seed, mask=spoilt(seed, kind)) for seed in seeds_for(model, one)]
            done = finetune(model, [(one[1], seeds)], Run(FinetuneOptions(args.budget), TimeBudget(args.budget)))
            row = {**key, "case": one[0].case, "kind": kind, "verdict": done.verdict, "alpha": done.alpha}
            row |= {"chosen": [done.guard.mean, float((scores(done.model, source) - old).mean())], "states": []}
            for alpha in STATES:
                done.tuned.use(alpha)
                heads = float((scores(done.model, guard.cases) - guard.before).mean())
                row["states"].append([alpha, heads, float((scores(done.model, source) - old).mean())])
            rows.append(row)
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), file=sys.stderr, flush=True)
    return rows


def spoilt(seed: Seed, kind: str) -> np.ndarray:
    """The SEED's mask as this kind has it."""
    inside = seed.mask == 1
    if kind == "wide":
        inside = ndimage.binary_dilation(inside, iterations=PIXELS)
    elif kind == "narrow":
        inside = ndimage.binary_erosion(inside, iterations=PIXELS)
    elif kind == "forgotten":
        inside = np.zeros_like(inside)
    return inside.astype(seed.mask.dtype)


def summarise(rows: Sequence[dict[str, Any]], sources: int) -> None:
    """Print what the guard foretold."""
    states = np.array([state for row in rows for state in row["states"]])
    heads, lost = states[:, 1], states[:, 2]
    rho = stats.spearmanr(heads, lost).statistic
    print(f"\n{len(rows)} tunings, {len(states)} states, {sources} source patients; Spearman's rho {rho:.2f}\n")
    print(*header(["source", "states", "guard warns", "share [95 %, Wilson]"]), sep="\n")
    for name, some in (("loses more than 0.01", lost < -0.01), ("does not", lost >= -0.01)):
        warned = int(np.count_nonzero(heads[some] < -MARGIN))
        print(line([name, str(int(some.sum())), str(warned), share(warned, int(some.sum()))]))
    print("\nWhat `finetune` chose itself\n")
    print(*header(["SEEDs", "n", "way gone", "guard's change", "source's change [95 %]"]), sep="\n")
    for kind in KINDS:
        some = [row for row in rows if row["kind"] == kind]
        if some:
            way = np.mean([row["alpha"] for row in some])
            seen = np.mean([row["chosen"][0] for row in some])
            lost = mean_interval([r["chosen"][1] for r in some])
            print(line([kind, str(len(some)), f"{way:.2f}", f"{seen:+.3f}", lost]))


def share(count: int, total: int) -> str:
    """A share with its interval."""
    if not total:
        return "-"
    low, high = stats.binomtest(count, total).proportion_ci(method="wilson")
    return f"{count / total:.2f} [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    sys.exit(main())
