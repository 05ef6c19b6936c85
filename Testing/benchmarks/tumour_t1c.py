"""The figures of `tumour-t1c`, on the case lists that `t1c_cases.py` wrote.

    python Testing/benchmarks/tumour_t1c.py --model DIR --cases DIR [--write]
    python Testing/benchmarks/tumour_t1c.py --model DIR --cases DIR --choose

Stated are, of the near-patient test groups, Dice of each class (mean over slices) and the share of tumour-free slices
with any finding, and of the outside volumes Dice of the tumour's core and the share of slices without it that have a
finding. In brackets the bootstrap 95 % interval over groups; three outside volumes have none. `--write` puts the
figures into the card and the table between the markers of its README.

`--choose` never reads a test list: on the training groups that the card holds out it states Dice and findings at each
probability threshold and smallest size of a finding, and the setting with the best mean Dice of the classes less the
share of tumour-free slices with a finding. The recipe's `Calibration` and `Cleanup` are taken from it.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from card_figures import held_out_cases, rounded, write_figures
from tables import interval, number, table

from medtl.cases import CaseFiles, read_cases
from medtl.errors import InputError, MedTLError
from medtl.evaluation.metrics import count, pooled_ci
from medtl.io.read import read_labelmap, read_volume
from medtl.model.bundle import Model, load_model
from medtl.model.card import ModelCard
from medtl.postprocess import fill_holes, keep_components
from medtl.progress import Progress, TerminalProgress
from medtl.segmentation import InferenceOptions, segment
from medtl.volume import Volume, voxels_sha256

CLASSES = ("glioma", "meningioma", "pituitary")
TUMOUR_FREE = "notumor"
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SMALLEST = (0, 10, 20, 40, 80)  # pixels

Figures = dict[str, Any]


@dataclass(frozen=True)
class Found:
    """What came of a case: Dice (1 where both are empty) and of its slices without tumour the number and the number of
    those with a finding."""

    case: CaseFiles
    dice: float
    free: int
    findings: int


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 1 when something cannot be used."""
    parser = argparse.ArgumentParser(description="State the figures of tumour-t1c.")
    parser.add_argument("--model", required=True, type=Path, metavar="DIR")
    parser.add_argument("--cases", required=True, type=Path, metavar="DIR", help="what t1c_cases.py wrote")
    parser.add_argument("--choose", action="store_true", help="threshold and clean-up, on held-out training groups")
    parser.add_argument("--write", action="store_true", help="write card and README; else only print")
    args = parser.parse_args(argv)
    progress = TerminalProgress()
    try:
        model = load_model(str(args.model), "cpu")
        if args.choose:
            text = choice(model, held_out_cases(model.card, read_cases(args.cases / "train.csv")), progress)
        else:
            figures = rounded(measure(model, args.cases, progress))
            text = markdown(figures)
            if args.write:
                write_figures(args.model, figures, text)
        progress.close()
        print(text)
    except (MedTLError, OSError) as error:
        progress.close()
        print(f"tumour_t1c: {error}", file=sys.stderr)
        return 1
    return 0


def measure(model: Model, folder: Path, progress: Progress) -> Figures:
    """The figures on the test groups and on the outside volumes."""
    test, outside = (
        [
            outcome(case, truth, segment(volume, model).labelmap.array > 0)
            for case, volume, truth in read_untrained(model.card, read_cases(folder / f"{name}.csv"), progress)
        ]
        for name in ("test", "outside")
    )
    tumours = [found for found in test if found.case.site in CLASSES]
    figures: Figures = {name: dice_figures([found for found in tumours if found.case.site == name]) for name in CLASSES}
    figures["all"] = dice_figures(tumours)
    figures["tumour_free"] = finding_figures([found for found in test if found.case.site == TUMOUR_FREE])
    figures["outside"] = {
        "n": len(outside),
        "mean": float(np.mean([found.dice for found in outside])),
        "dice_of_cases": {found.case.case: found.dice for found in outside},
        "free": sum(found.free for found in outside),
        "findings": sum(found.findings for found in outside),
    }
    return figures


def read_untrained(
    card: ModelCard, cases: Sequence[CaseFiles], progress: Progress
) -> Iterator[tuple[CaseFiles, Volume, np.ndarray]]:
    """Each case with its volume and true mask (Z, Y, X).

    Raises: InputError for an image that was trained on.
    """
    trained = set(card.training["split"]["train"].values())
    for index, case in enumerate(cases):
        progress("infer", index / len(cases))
        volume = read_volume(case.image)
        if voxels_sha256(volume.array) in trained:
            raise InputError(f"Expected cases that were not trained on, found {case.image}. Take it off the list.")
        yield case, volume, read_labelmap(case.label).array > 0
    progress("infer", 1.0)


def outcome(case: CaseFiles, truth: np.ndarray, predicted: np.ndarray) -> Found:
    """What a prediction is worth."""
    free = ~truth.any((1, 2))
    return Found(
        case, count(truth, predicted).overlaps["dice"], int(free.sum()), int((predicted.any((1, 2)) & free).sum())
    )


def dice_figures(found: Sequence[Found]) -> Figures:
    """Dice over slices."""
    return of_groups([one.dice for one in found], found) | {"median": float(np.median([one.dice for one in found]))}


def finding_figures(found: Sequence[Found]) -> Figures:
    """The share of tumour-free slices with a finding."""
    return of_groups([float(one.findings > 0) for one in found], found)


def of_groups(values: Sequence[float], found: Sequence[Found]) -> Figures:
    """The mean of one value a slice and its interval: groups are drawn with replacement, each with all its slices.

    Raises: InputError where there is no slice.
    """
    if not found:
        raise InputError("Expected slices of each class and tumour-free ones to test on, found none of one. List them.")
    groups = sorted({one.case.patient for one in found})
    sums = np.zeros((len(groups), 2))
    for value, one in zip(values, found, strict=True):
        sums[groups.index(one.case.patient)] += (value, 1)
    low, high = pooled_ci(lambda total: total[..., 0] / total[..., 1], sums)
    return {"n": len(found), "groups": len(groups), "mean": float(np.mean(values)), "ci95": [low, high]}


def markdown(figures: Figures) -> str:
    """The figures as people read them."""
    rows = [
        [name, str(f["n"]), str(f["groups"]), interval(f, bold=name == "all"), number(f["median"])]
        for name, f in ((name, figures[name]) for name in (*CLASSES, "all"))
    ]
    lines = table(["Held-out slices", "slices", "groups", "Dice, mean", "Dice, median"], rows)
    free, away = figures["tumour_free"], figures["outside"]
    rows = [[f"{case}, Dice of the core", number(dice)] for case, dice in away["dice_of_cases"].items()]
    rows.append([f"**mean (n = {away['n']}: no interval)**", f"**{number(away['mean'])}**"])
    rows.append(["slices without core", f"{away['free']}, of these {away['findings']} with a finding"])
    return "\n".join(
        [
            *lines,
            "",
            f"Tumour-free slices of the test side: {free['n']} of {free['groups']} groups; a finding in "
            f"{interval(free)} of them.",
            "",
            *table(["Volumes of BraTS (gliomas, skull-stripped)", ""], rows),
            "",
            "In brackets the 95 % confidence interval over near-patient groups (bootstrap; a mean over slices). No "
            "image of these tables was trained on, but patient numbers are lost: groups are of slices that look as if "
            "of one patient, and some patients may be on both sides. The tumour-free slices come from another source "
            "than the tumours. Core is what enhances and what it encloses (labels 1 and 4).",
        ]
    )


def choice(model: Model, cases: Sequence[CaseFiles], progress: Progress) -> str:
    """The table of settings on these cases, and the best of them."""
    settings = [(threshold, pixels) for threshold in THRESHOLDS for pixels in SMALLEST]
    found: list[list[Found]] = [[] for _ in settings]
    options = InferenceOptions(cleanup=False, keep_probabilities=True)
    for case, volume, truth in read_untrained(model.card, [case for case in cases if case.site != "brats"], progress):
        probabilities = segment(volume, model, options).probabilities
        assert probabilities is not None
        for (threshold, pixels), listed in zip(settings, found, strict=True):
            mask = keep_components(probabilities[0] > threshold, pixels, model.card.cleanup.min_share)
            listed.append(outcome(case, truth, fill_holes(mask)))
    rows = [(*setting, *scores(listed)) for setting, listed in zip(settings, found, strict=True)]
    threshold, pixels, *_ = best(rows)
    head = ["threshold", "smallest, pixels", *(f"Dice, {name}" for name in CLASSES), "tumour-free with a finding"]
    return "\n".join(
        [
            *table(head, [[f"{row[0]:.1f}", f"{row[1]}", *(number(value) for value in row[2:])] for row in rows]),
            "",
            f"On {len(found[0])} slices of {len({one.case.patient for one in found[0]})} training groups held out. "
            f"Chosen: Calibration(threshold={threshold}), Cleanup(min_pixels={pixels}).",
        ]
    )


def scores(found: Sequence[Found]) -> tuple[float, ...]:
    """Mean Dice of each class and the share of tumour-free slices with a finding."""
    by_class = [[one.dice for one in found if one.case.site == name] for name in CLASSES]
    free = [one.findings > 0 for one in found if one.case.site == TUMOUR_FREE]
    return (*(float(np.mean(values)) for values in by_class), float(np.mean(free)))


def best(rows: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """The row with the best mean Dice of the classes less the share of tumour-free slices with a finding."""
    return max(rows, key=lambda row: np.mean(row[2:-1]) - row[-1])


if __name__ == "__main__":
    sys.exit(main())
