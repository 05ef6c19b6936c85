"""Seconds until fine-tuning reaches 95 % of its gain: the default against tuning all weights plainly.

    python Testing/benchmarks/finetune_time.py --model glioma-flair --target CSV [--seconds 60] [--plain-seconds 240]
        [--cases 3] [--exclude PATTERN…] [--quick]

Both start from the same network, with the same 5 SEED slices of a case, one after the other in one run of this script.
The Dice of the rest of the case (without clean-up) is scored with the clock stopped. Encoding and augmenting SEEDs
count for both. A way's gain is its best Dice minus that before; its time is that of the first score that reaches 95 %
of the gain. Output for each case: the ratio of the two times, and the time after which the default is as good as the
plain way at its own 95 %.
"""

import argparse
import copy
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from finetune_mri import Loaded, listed, load, plain_steps, seeds_for, slices_of, spread
from tables import header, line

from medtl.errors import MedTLError
from medtl.finetuning.decoder import DecoderWeights, Tuning, tune
from medtl.finetuning.features import (
    Case,
    EncodedSlices,
    augmented_copies,
    dices,
    encode,
    predict,
    prepare_case,
)
from medtl.finetuning.guard import labelled_case, spread_slices
from medtl.finetuning.run import TimeBudget
from medtl.finetuning.slice_tuning import SliceExamples
from medtl.model.bundle import Model, load_model
from medtl.volume import Labelmap

SHARE = 0.95
LOOKS = 24


@dataclass
class Curve:
    """Dice after so many seconds of work; looking does not count."""

    look: Callable[[], float]
    seconds: list[float] = field(default_factory=list)
    dice: list[float] = field(default_factory=list)
    worked: float = 0.0
    since: float = field(default_factory=time.perf_counter)

    def stop(self) -> None:
        """Stop the clock, look, and let it run again."""
        self.worked += time.perf_counter() - self.since
        self.seconds.append(self.worked)
        self.dice.append(self.look())
        self.since = time.perf_counter()

    def used(self) -> float:
        """Seconds of work so far."""
        return self.worked + time.perf_counter() - self.since

    def reached(self, wanted: float) -> float | None:
        """When the Dice was first as good as that; None where it never was."""
        return next((s for s, d in zip(self.seconds, self.dice, strict=True) if d >= wanted - 1e-9), None)


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 1 when the cases cannot be used."""
    parser = argparse.ArgumentParser(description="Time fine-tuning to 95 % of its gain.")
    parser.add_argument("--model", required=True, metavar="NAME|DIR")
    parser.add_argument("--target", required=True, type=Path, metavar="CSV")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S", help="of work, of the default")
    parser.add_argument("--plain-seconds", type=float, default=240.0, metavar="S", help="of work, of all weights")
    parser.add_argument("--cases", type=int, default=3, metavar="N")
    parser.add_argument("--exclude", nargs="*", default=[], metavar="PATTERN", help="cases that are never looked at")
    parser.add_argument("--quick", action="store_true", help="1 case, 10 s: its figures mean nothing")
    args = parser.parse_args(argv)
    if args.quick:
        args.cases, args.seconds, args.plain_seconds = 1, 10.0, 10.0
    try:
        model = load_model(args.model, "cpu")
        head = ["case", "before", "default: best", "95 % after s", "plain: best", "95 % after s", "ratio"]
        print(*header([*head, "default as good as plain's 95 % after s"]), sep="\n", flush=True)
        for case in spread(listed(args.target, args.exclude), args.cases):
            print(line(row(model, load(case), args.seconds, args.plain_seconds)), flush=True)
    except MedTLError as error:
        print(f"finetune_time: {error}", file=sys.stderr)
        return 1
    return 0


def row(model: Model, one: Loaded, seconds: float, plain_seconds: float) -> list[str]:
    """The cells of a case."""
    ours = default_curve(model, one, seconds)
    plain = plain_curve(model, one, plain_seconds)
    before = ours.dice[0]
    gains = [before + SHARE * (max(curve.dice) - before) for curve in (ours, plain)]
    times = [curve.reached(gain) for curve, gain in zip((ours, plain), gains, strict=True)]
    assert times[0] is not None
    assert times[1] is not None
    same = ours.reached(gains[1])
    cells = [one[0].case, f"{before:.3f}"]
    for curve, found in zip((ours, plain), times, strict=True):
        cells += [f"{max(curve.dice):.3f}", f"{found:.1f}"]
    ratio = f"{times[1] / times[0]:.1f}" if times[0] else "-"
    return [*cells, ratio, "never" if same is None else f"{same:.1f}"]


def rest_of(model: Model, one: Loaded) -> tuple[Case, list[int]]:
    """The case with all its truth, and slices that are no SEEDs."""
    truth = Labelmap(one[2] * np.uint16(model.card.labels[0].value), one[1].geometry)
    case = labelled_case(model, one[1], truth)
    count = case.prepared.turned_shape[0]
    seeds = {count - 1 - k if 0 in case.prepared.flips else k for k in slices_of(model, one)}
    return case, [k for k in spread_slices(case, 60) if k not in seeds]


def default_curve(model: Model, one: Loaded, seconds: float) -> Curve:
    """Tuning as `finetune` does it on all SEEDs, without the guard and the SEEDs left out."""
    own = replace(model, networks=(copy.deepcopy(model.networks[0]),))
    case, rest = rest_of(own, one)
    looked = case.show(own, rest)
    labels = len(model.card.labels)
    tuning = Tuning()
    curve = Curve(lambda: float(dices(predict(own, looked), looked.truth, labels, True)[0]))
    curve.stop()
    random = torch.Generator().manual_seed(0)
    seed_case = prepare_case(one[1], seeds_for(model, one), model.card.input, own.networks[0].multiple)
    caches = list(augmented_copies(own, seed_case, sorted(seed_case.truth), tuning.copies, random))
    examples = SliceExamples(own, caches, tuning)
    tuned = DecoderWeights(own, examples.parameters())
    next_look = curve.used()

    def step_done(share: float, loss: float) -> None:
        nonlocal next_look
        if curve.used() >= next_look:
            (fold,), (average,) = tuned.parameters, tuned.tuned
            now = {name: p.detach().clone() for name, p in fold.items()}
            with torch.no_grad():
                for name, p in fold.items():
                    p.copy_(average[name])
                curve.stop()
                for name, p in fold.items():
                    p.copy_(now[name])
            next_look = curve.used() + seconds / LOOKS

    tune(tuned, examples, tuning, TimeBudget(seconds, curve.used(), curve.used), step_done)
    return curve


def plain_curve(model: Model, one: Loaded, seconds: float) -> Curve:
    """Tuning of all weights, as `finetune_mri.py` does it beside the default."""
    network = copy.deepcopy(model.networks[0])
    own = replace(model, networks=(network,))
    case, rest = rest_of(own, one)
    truth = torch.from_numpy(np.stack([case.truth[k] for k in rest]))
    labels = len(model.card.labels)

    def look() -> float:
        network.eval()
        found = EncodedSlices(case.number, tuple(rest), encode(own, case.images(rest)), truth)
        score = float(dices(predict(own, found), truth, labels, True)[0])
        network.train()
        return score

    curve = Curve(look)
    curve.stop()
    next_look = curve.used()
    for _ in plain_steps(own, one, seeds_for(model, one)):
        if curve.used() >= next_look:
            curve.stop()
            next_look = curve.used() + seconds / LOOKS
        if curve.used() >= seconds:
            break
    return curve


if __name__ == "__main__":
    sys.exit(main())
