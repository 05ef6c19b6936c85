"""Whether a rigid registration finds its place, and whether its similarity tells right ones from wrong ones.

    python Testing/benchmarks/registration.py --cases CSV [CSV …] [--pairs N] [--thick MM] [--json FILE]

Each list has the columns image and patient, one kind of image a list. The images of one patient must lie on each other
as they are, as those of BraTS do. In every pair the second image is first moved by a known turn of up to 17° about each
axis and a shift of up to 30 mm. With `--thick` it is also resampled to slices of that thickness.

Output: for pairs of one patient (an image with itself moved, and two kinds of image) the largest error in mm at eight
points in the middle of the image; and for them, for pairs of two patients, and for pairs of one patient that lie 10 mm
beside each other, the similarity: lowest, median, highest, and how many `medtl.registration.POOR` calls poor.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from tables import table

from medtl.cases import read_cases
from medtl.errors import MedTLError
from medtl.io.read import read_volume
from medtl.progress import TerminalProgress
from medtl.registration import POOR, Registration, reduced, register, similarity_of
from medtl.volume import Geometry, Volume, to_sitk

SAME, KINDS, OTHER, BESIDE = "moved copy", "another kind of image", "another patient", "10 mm beside"
LARGEST_TURN, LARGEST_SHIFT, BESIDE_MM = 0.3, 30.0, 10.0  # radians, mm


@dataclass(frozen=True)
class Found:
    """The outcome for a pair; the error in mm only where the right place is known."""

    group: str
    first: str
    second: str
    similarity: float
    error: float | None = None


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 1 when something cannot be read."""
    parser = argparse.ArgumentParser(description="Test registration and its similarity.")
    parser.add_argument("--cases", required=True, nargs="+", type=Path, metavar="CSV")
    parser.add_argument("--pairs", type=int, default=0, metavar="N", help="of each group at most (default: all)")
    parser.add_argument("--thick", type=float, metavar="MM")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(argv)
    progress = TerminalProgress()
    try:
        images = [(number, case) for number, cases in enumerate(args.cases) for case in read_cases(cases)]
        chosen = list(pairs_of([(number, case.patient, case.image) for number, case in images], args.pairs))
        found: list[Found] = []
        for number, (group, first, second) in enumerate(chosen):
            progress("register", number / len(chosen))
            found += outcomes(group, first, second, args.thick, number)
    except MedTLError as error:
        progress.close()
        print(f"registration: {error}", file=sys.stderr)
        return error.exit_code
    progress.close()
    print("\n".join(lines_of(found)))
    if args.json:
        args.json.write_text(json.dumps([vars(one) for one in found], indent=1) + "\n", encoding="utf-8")
    return 0


def pairs_of(images: Sequence[tuple[int, str, Path]], most: int) -> Iterator[tuple[str, Path, Path]]:
    """Pairs of images in turn: an image with itself, with another kind of the patient's, with each kind of the next
    patient's."""
    patients = list(dict.fromkeys(patient for _, patient, _ in images))
    by_patient = {each: [image for _, patient, image in images if patient == each] for each in patients}
    groups: dict[str, list[tuple[Path, Path]]] = {
        SAME: [(image, image) for _, _, image in images],
        KINDS: [pair for each in patients for pair in itertools.combinations(by_patient[each], 2)],
        OTHER: [
            pair
            for each, following in zip(patients, [*patients[1:], patients[0]])
            if each != following
            for pair in itertools.product(by_patient[each], by_patient[following])
        ],
    }
    for group, pairs in groups.items():
        step = max(1, len(pairs) // most) if most else 1
        for first, second in pairs[::step][: most or None]:
            yield group, first, second


def outcomes(group: str, first: Path, second: Path, thick: float | None, seed: int) -> list[Found]:
    """The pair registered, and where it is of one patient also 10 mm beside the right place."""
    fixed, moving = read_volume(first), read_volume(second)
    known = group != OTHER
    if thick:
        moving = in_thick_slices(moving, thick)
    moved, truth = move(moving, np.random.default_rng(seed))
    result = register(fixed, moved)
    names = first.name, second.name
    found = [Found(group, *names, result.similarity, error_of(result, truth, fixed) if known else None)]
    if known:
        beside = sitk.AffineTransform(truth[:3, :3].ravel().tolist(), (truth[:3, 3] + [0, BESIDE_MM, 0]).tolist())
        found.append(Found(BESIDE, *names, similarity_of(reduced(fixed), reduced(moved), beside)))
    return found


def move(volume: Volume, rng: np.random.Generator) -> tuple[Volume, np.ndarray]:
    """The volume with its grid turned about its middle and shifted, and the movement (4, 4), LPS mm to LPS mm."""
    geometry = volume.geometry
    middle = (geometry.affine @ [*((np.array(geometry.size) - 1) / 2), 1.0])[:3]
    shift = rng.uniform(-LARGEST_SHIFT, LARGEST_SHIFT, 3)
    turn = sitk.Euler3DTransform(middle.tolist(), *rng.uniform(-LARGEST_TURN, LARGEST_TURN, 3), shift.tolist())
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(turn.GetMatrix(), (3, 3))
    matrix[:3, 3] = turn.TransformPoint((0.0, 0.0, 0.0))
    affine = matrix @ geometry.affine
    x, y, z = (float(mm) for mm in affine[:3, 3])
    direction = tuple(float(v) for v in (matrix[:3, :3] @ geometry.axes).ravel())
    return replace(volume, geometry=Geometry(geometry.size, geometry.spacing, (x, y, z), direction)), matrix


def in_thick_slices(volume: Volume, mm: float) -> Volume:
    """The volume in slices of this thickness along its z index, averaged over it."""
    geometry = volume.geometry
    width, height, depth = geometry.size
    size = (width, height, max(4, round(depth * geometry.spacing[2] / mm)))
    spacing = (*geometry.spacing[:2], mm)
    image = sitk.RecursiveGaussian(to_sitk(volume.array.astype(np.float32), geometry), 0.4 * mm, direction=2)
    image = sitk.Resample(image, size, sitk.Transform(), sitk.sitkLinear, geometry.origin, spacing, geometry.direction)
    return replace(volume, array=sitk.GetArrayFromImage(image), geometry=replace(geometry, size=size, spacing=spacing))


def error_of(result: Registration, truth: np.ndarray, fixed: Volume) -> float:
    """The largest distance, mm, between where eight points in the middle of the image are and where they were found."""
    shares = np.array(list(itertools.product((0.25, 0.75), repeat=3)))
    points = np.column_stack([shares * (np.array(fixed.geometry.size) - 1), np.ones(8)]) @ fixed.geometry.affine.T
    return float(np.linalg.norm(points @ (result.matrix - truth).T, axis=1).max())


def lines_of(found: Sequence[Found]) -> list[str]:
    """The outcomes as a Markdown table."""
    rows = []
    for group in (SAME, KINDS, BESIDE, OTHER):
        some = [one for one in found if one.group == group]
        if not some:
            continue
        values = [one.similarity for one in some]
        errors = [one.error for one in some if one.error is not None]
        poor = sum(value < POOR for value in values)
        rows.append(
            [
                group,
                str(len(some)),
                f"{np.median(errors):.2f} / {max(errors):.2f}" if errors else "–",
                f"{min(values):.2f} / {np.median(values):.2f} / {max(values):.2f}",
                f"{poor} of {len(some)}",
            ]
        )
    head = ["The second image", "pairs", "error mm (median / largest)", "similarity (lowest / median / highest)"]
    return table([*head, f"poor (below {POOR})"], rows)


if __name__ == "__main__":
    sys.exit(main())
