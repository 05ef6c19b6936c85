"""Whether the uncertainty map points at the errors, voxel by voxel, on labelled cases.

    python Testing/benchmarks/uncertainty.py [--model NAME] --cases CSV [--only held-out|other] [--flip] [--json FILE]

An error is a voxel where the segmentation and the reader differ. Output, for the body and for voxels within `NEAR`
pixels of the lesion or its prediction: the AUROC of the entropy as a sign of error (0.5 is chance), the share of all
errors among the most uncertain 1, 5 and 10 % of voxels, and the share of those voxels that are errors. Then, for the
slices that the panel lists (`medtl.doubt`): of the errors in the five slices that have most, how many the five most
doubtful slices have, both at least 5 mm apart, and how many five slices have by chance. In brackets the bootstrap 95 %
interval over patients. Every label value above 0 counts as lesion. `--only held-out` takes the cases that the model's
card holds out; `--only other` refuses a list that has a case that was trained on.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from card_figures import held_out_cases, other_cases
from scipy import ndimage
from tables import interval, table

from medtl.cases import CaseFiles, read_cases
from medtl.doubt import doubtful_slices
from medtl.errors import MedTLError
from medtl.evaluation.metrics import auc, bootstrap_ci, by_patient, histogram, pooled_ci
from medtl.io.read import read_labelmap, read_volume
from medtl.model.bundle import Model, load_model
from medtl.preprocess import body_depth
from medtl.progress import Progress, TerminalProgress
from medtl.segmentation import InferenceOptions, segment
from medtl.volume import Geometry, array_axis

NEAR = 15
TOP = (0.01, 0.05, 0.10)
REGIONS = ("body", "near the lesion")
RESAMPLES = 2000
SLICES = 5


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 1 when something cannot be read."""
    parser = argparse.ArgumentParser(description="Rank errors by the uncertainty map.")
    parser.add_argument("--model", default="glioma-flair", metavar="NAME|DIR")
    parser.add_argument("--cases", required=True, type=Path, metavar="CSV|DIR")
    parser.add_argument("--only", choices=("held-out", "other"))
    parser.add_argument("--flip", action="store_true")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(argv)
    progress = TerminalProgress()
    try:
        model, cases = load_model(args.model), read_cases(args.cases)
        if args.only:
            held_out = args.only == "held-out"
            cases = held_out_cases(model.card, cases) if held_out else other_cases(model.card, cases, ())
        figures = measure(model, cases, InferenceOptions(flip=args.flip), progress)
    except MedTLError as error:
        progress.close()
        print(f"uncertainty: {error}", file=sys.stderr)
        return error.exit_code
    progress.close()
    print("\n".join(lines_of(figures)))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


def measure(model: Model, cases: Sequence[CaseFiles], options: InferenceOptions, progress: Progress) -> dict[str, Any]:
    """The figures of both regions."""
    tables, shares = [], []
    for number, case in enumerate(cases):
        progress("infer", number / len(cases))
        of_case, of_slices = tables_of(model, case, options)
        tables.append(of_case)
        shares.append(of_slices)
    patients = [case.patient for case in cases]
    found: dict[str, Any] = {"model": model.card.name, "sha256": model.sha256, "n": len(set(patients))}
    for name, values in zip(("doubtful_slices", "slices_by_chance"), zip(*shares)):
        means = by_patient(values, patients)
        found[name] = {"mean": float(np.mean(means)), "ci95": bootstrap_ci(means)}
    return found | {name: figures_of([t[i] for t in tables], patients) for i, name in enumerate(REGIONS)}


def tables_of(
    model: Model, case: CaseFiles, options: InferenceOptions
) -> tuple[list[np.ndarray], tuple[float | None, float | None]]:
    """For each region the histograms of the entropy, of errors and of the rest, int (2, BINS); and what the most
    doubtful slices, and as many by chance, have of the errors of the worst ones, None without an error."""
    volume, truth = read_volume(case.image), read_labelmap(case.label).array > 0
    result = segment(volume, model, InferenceOptions(flip=options.flip, keep_uncertainty=True))
    assert result.uncertainty is not None
    lesion = result.labelmap.array > 0
    error = lesion != truth
    body = body_depth(volume.array.astype(np.float32)) > 0
    marked = lesion | truth
    near = ndimage.distance_transform_edt(~marked) <= NEAR if marked.any() else np.zeros_like(body)
    regions = [histogram(error[where][None], result.uncertainty[where][None]) for where in (body | marked, near)]
    return regions, share_in_slices(model, volume.geometry, result.uncertainty, error, lesion)


def share_in_slices(
    model: Model, geometry: Geometry, uncertainty: np.ndarray, error: np.ndarray, lesion: np.ndarray
) -> tuple[float | None, float | None]:
    """The errors in the most doubtful slices, and those expected in as many slices with or beside the lesion, both
    divided by the errors in as many slices that have most."""
    axis = array_axis(geometry, model.card.input.plane)
    worst = doubtful_slices(error.astype(np.float32), lesion, geometry, axis, SLICES)
    doubtful = doubtful_slices(uncertainty, lesion, geometry, axis, SLICES)
    counts = np.moveaxis(error, axis, 0).sum(axis=(1, 2))
    most = sum(int(counts[one.index]) for one in worst)
    if not most:
        return None, None
    near = ndimage.binary_dilation(np.moveaxis(lesion, axis, 0).any(axis=(1, 2)))
    found = sum(int(counts[one.index]) for one in doubtful[: len(worst)])
    return found / most, float(counts[near].mean()) * len(worst) / most


def figures_of(tables: Sequence[np.ndarray], patients: Sequence[str]) -> dict[str, Any]:
    """AUROC by patient and pooled, and what the most uncertain voxels hold."""
    areas = [None if np.isnan(area) else float(area) for area in (auc(table) for table in tables)]
    means = by_patient(areas, patients)
    names = list(dict.fromkeys(patients))
    pooled = np.stack([sum(t for t, p in zip(tables, patients) if p == name) for name in names])
    figures: dict[str, Any] = {
        "auroc_by_patient": {"mean": float(np.mean(means)), "ci95": bootstrap_ci(means)},
        "auroc_pooled": {"mean": float(auc(pooled.sum(0))), "ci95": pooled_ci(auc, pooled, n=RESAMPLES)},
    }
    for share in TOP:
        for name, index in (("errors_in_top", 0), ("top_that_is_error", 1)):

            def figure(tables: np.ndarray, share: float = share, index: int = index) -> np.ndarray:
                return top(tables, share)[index]

            value = {"mean": float(figure(pooled.sum(0))), "ci95": pooled_ci(figure, pooled, n=RESAMPLES)}
            figures[f"{name}_{100 * share:.0f}_percent"] = value
    return figures


def top(tables: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Of the most uncertain `share` of all voxels: the part of all errors that they hold, and the part of them that is
    an error. `tables` (…, 2, BINS): rest and errors by rising entropy; a bin that is cut counts in proportion."""
    falling = tables[..., ::-1].astype(np.float64)
    voxels = falling.sum(-2)
    wanted = share * voxels.sum(-1, keepdims=True)
    before = np.cumsum(voxels, -1) - voxels
    part = np.clip((wanted - before) / np.maximum(voxels, 1), 0, 1)
    errors = (falling[..., 1, :] * part).sum(-1)
    return errors / np.maximum(falling[..., 1, :].sum(-1), 1), errors / np.maximum(wanted[..., 0], 1)


def lines_of(figures: dict[str, Any]) -> list[str]:
    """The figures as a Markdown table."""
    names = list(figures[REGIONS[0]])
    head = [f"{figures['model']}, {figures['n']} patients", *REGIONS]
    rows = [[name.replace("_", " "), *(interval(figures[region][name]) for region in REGIONS)] for name in names]
    doubtful, chance = (interval(figures[name]) for name in ("doubtful_slices", "slices_by_chance"))
    text = f"of the errors in the {SLICES} worst slices, the most doubtful ones have {doubtful}, by chance {chance}"
    return [*table(head, rows), "", text]


if __name__ == "__main__":
    sys.exit(main())
