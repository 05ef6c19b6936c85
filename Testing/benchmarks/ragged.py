"""How ragged the outlines of a model are across slices, beside the reference's, with and without smoothing.

    python Testing/benchmarks/ragged.py --model NAME|DIR --cases CSV [--exclude PATTERN…] [--smoothing MM…]

Means over cases of volumes with a real spacing: the Dice; the share of the foreground whose two neighbours across
slices are background ("alone"), and of background between two voxels of foreground ("gaps"); the faces of the surface
across slices and in the plane, divided by the reference's; the number of components. `--smoothing`: values of the
card's `smoothing_mm` to compare (default: none and the card's).
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage
from tables import header, line

from medtl.cases import read_cases
from medtl.errors import InputError, MedTLError
from medtl.evaluation.metrics import dice
from medtl.io.read import read_labelmap, read_volume
from medtl.memory import keep_freed_memory
from medtl.model.bundle import load_model
from medtl.segmentation import segment
from medtl.volume import array_axis

COLUMNS = ("smoothing, mm", "Dice", "alone", "gaps", "faces across slices", "faces in the plane", "components")


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 1 when the cases cannot be used."""
    parser = argparse.ArgumentParser(description="Measure how ragged outlines are across slices.")
    parser.add_argument("--model", required=True, metavar="NAME|DIR")
    parser.add_argument("--cases", required=True, type=Path, metavar="CSV")
    parser.add_argument("--exclude", nargs="*", default=[], metavar="PATTERN")
    parser.add_argument("--smoothing", nargs="*", type=float, metavar="MM")
    args = parser.parse_args(argv)
    keep_freed_memory()
    try:
        run(args)
    except MedTLError as error:
        print(f"ragged: {error}", file=sys.stderr)
        return 1
    return 0


def run(args: argparse.Namespace) -> None:
    """Print the table."""
    model = load_model(args.model, "cpu")
    compared = args.smoothing or [0.0, model.card.input.smoothing_mm]
    cases = [case for case in read_cases(args.cases) if not any(Path(case.case).match(p) for p in args.exclude)]
    rows: dict[float | str, list[list[float]]] = {mm: [] for mm in (*compared, "reference")}
    for case in cases:
        volume = read_volume(case.image)
        if not volume.real_spacing:
            raise InputError(f"Expected volumes with a real spacing, found none in {case.image}. Leave it out.")
        truth = read_labelmap(case.label).array > 0
        axis = array_axis(volume.geometry, model.card.input.plane)
        reference = figures(truth, axis)
        for mm in compared:
            card = replace(model.card, input=replace(model.card.input, smoothing_mm=mm))
            found = segment(volume, replace(model, card=card)).labelmap.array > 0
            alone, gaps, across, within, parts = figures(found, axis)
            rows[mm].append([dice(truth, found), alone, gaps, across / reference[2], within / reference[3], parts])
        rows["reference"].append([1.0, reference[0], reference[1], 1.0, 1.0, reference[4]])
    print(f"{model.card.name} {model.card.version}, {len(cases)} cases\n")
    print("\n".join(header(COLUMNS)))
    for name, figured in rows.items():
        dices, alone, gaps, across, within, parts = np.mean(figured, axis=0)
        row = (f"{dices:.3f}", f"{alone:.2%}", f"{gaps:.2%}", f"{across:.2f}", f"{within:.2f}", f"{parts:.1f}")
        print(line((str(name), *row)))


def figures(mask: np.ndarray, axis: int) -> tuple[float, float, float, float, float]:
    """Alone, gaps, faces across slices and in the plane, and components of a mask whose slices lie along `axis`."""
    mask = np.pad(np.moveaxis(mask, axis, 0), 1)
    either, both = mask[:-2] | mask[2:], mask[:-2] & mask[2:]
    size = max(1, np.count_nonzero(mask))
    faces = [np.count_nonzero(np.diff(mask, axis=other)) for other in range(3)]
    return (
        np.count_nonzero(mask[1:-1] & ~either) / size,
        np.count_nonzero(~mask[1:-1] & both) / size,
        faces[0],
        (faces[1] + faces[2]) / 2,
        ndimage.label(mask, np.ones((3, 3, 3)))[1],
    )


if __name__ == "__main__":
    sys.exit(main())
