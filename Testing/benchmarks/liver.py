"""The liver on CT: a model beside region growing from one seed point.

    python Testing/benchmarks/liver.py --model NAME|DIR --set NAME=CSV … [--held-out CSV]

The lists are those of `Testing/datasets/liver_cases.py`; of `--held-out`, only the model's test patients count. Region
growing is SimpleITK's `ConfidenceConnected` on the image smoothed by a median, from the voxel deepest in the true
liver, closed and with its holes filled: 2.5 standard deviations, 5 rounds. Mean Dice over patients, with the 95 %
interval; a slice is a case, and a patient's cases are averaged first.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from card_figures import held_out_cases, named_list
from tables import mean_interval, table

from medtl.cases import CaseFiles, read_cases
from medtl.errors import MedTLError
from medtl.evaluation.metrics import by_patient, dice
from medtl.io.read import read_labelmap, read_volume
from medtl.model.bundle import Model, load_model
from medtl.segmentation import InferenceOptions, segment
from medtl.volume import to_sitk

MULTIPLIER, ROUNDS, RADIUS, CLOSING = 2.5, 5, 2, 3


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 1 when the cases cannot be used."""
    parser = argparse.ArgumentParser(description="The liver on CT: a model beside region growing.")
    parser.add_argument("--model", required=True, metavar="NAME|DIR")
    parser.add_argument("--set", action="append", default=[], type=named_list, dest="sets", metavar="NAME=CSV")
    parser.add_argument("--held-out", type=Path, metavar="CSV")
    args = parser.parse_args(argv)
    try:
        model = load_model(args.model, "cpu")
        sets = {"held out": held_out_cases(model.card, read_cases(args.held_out))} if args.held_out else {}
        sets |= {name: list(read_cases(path)) for name, path in args.sets}
        rows = [[name, *figures(model, cases)] for name, cases in sets.items()]
    except MedTLError as error:
        print(f"liver: {error}", file=sys.stderr)
        return 1
    print("\n".join(table(("set", "patients", "cases", model.card.name, "region growing"), rows)))
    return 0


def figures(model: Model, cases: Sequence[CaseFiles]) -> list[str]:
    """The number of patients and of cases, and the Dice of both ways."""
    scores: list[tuple[float, float]] = []
    for case in cases:
        volume, truth = read_volume(case.image), read_labelmap(case.label).array > 0
        found = segment(volume, model, InferenceOptions()).labelmap.array > 0
        scores.append((dice(truth, found), dice(truth, grown(to_sitk(volume.array, volume.geometry), truth))))
    patients = [case.patient for case in cases]
    ways = [mean_interval(by_patient([pair[way] for pair in scores], patients)) for way in (0, 1)]
    return [str(len(set(patients))), str(len(cases)), *ways]


def grown(image: sitk.Image, truth: np.ndarray) -> np.ndarray:
    """The region that grows from the voxel deepest in the truth, bool (Z, Y, X); empty where the truth is."""
    if not truth.any():
        return np.zeros_like(truth)
    flat = truth.shape[0] == 1
    depth = [sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(mask, True, False, True)) for mask in planes(truth)]
    z, y, x = np.unravel_index(int(np.argmax(np.stack(depth))), truth.shape)
    radius, closing = [RADIUS, RADIUS, 0 if flat else 1], [CLOSING, CLOSING, 0 if flat else 1]
    smooth = sitk.Median(sitk.Cast(image, sitk.sitkFloat32), radius)
    seed = [(int(x), int(y), int(z))]
    region = sitk.ConfidenceConnected(smooth, seed, ROUNDS, MULTIPLIER, RADIUS, 1)
    closed = sitk.BinaryMorphologicalClosing(region, closing)
    return np.stack([sitk.GetArrayFromImage(sitk.BinaryFillhole(closed[:, :, k])) for k in range(len(truth))]) > 0


def planes(mask: np.ndarray) -> list[sitk.Image]:
    """The slices of a mask, each in a margin of background that the distance is measured to."""
    return [sitk.GetImageFromArray(plane.astype(np.uint8)) for plane in mask]


if __name__ == "__main__":
    sys.exit(main())
