"""Whether left stays left: a model's labels of volumes whose axes are turned, against those of the volumes as they are.

    python Testing/benchmarks/left_right.py --model head-neck-ct --cases CSV [--count 3]

SimpleITK stores each volume anew with its axes in each of the six orders, with each axis reversed or none, and once the
patient tilted by 20 degrees about x and about z. Printed are the share of voxels with another label than in the volume
as it is, and how many mm each label called "Right …" or "Left …" lies to the patient's right of all labels together.
"""

import argparse
import itertools
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from tables import header, line

from medtl.cases import read_cases
from medtl.errors import MedTLError
from medtl.io.read import read_volume
from medtl.model.bundle import Model, load_model
from medtl.segmentation import segment

SIDES = ("Right", "Left")
TILT = np.radians(20)


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 1 when the model or the cases cannot be used."""
    parser = argparse.ArgumentParser(description="Check that left stays left in turned volumes.")
    parser.add_argument("--model", default="head-neck-ct", metavar="NAME")
    parser.add_argument("--cases", required=True, type=Path, metavar="CSV")
    parser.add_argument("--count", type=int, default=3, metavar="N", help="the first N cases that the card holds out")
    args = parser.parse_args(argv)
    try:
        run(load_model(args.model), args.cases, args.count)
    except MedTLError as error:
        print(f"left_right: {error}", file=sys.stderr)
        return 1
    return 0


def run(model: Model, cases: Path, count: int) -> None:
    """Print the table."""
    held = model.card.training["split"]["test"]
    sided = {label.value: label.name for label in model.card.labels if label.name.startswith(SIDES)}
    print("\n".join(header(("case", "axes", "other label", *sided.values()))))
    for case in [case for case in read_cases(cases) if case.case in held][:count]:
        image = sitk.ReadImage(str(case.image))
        straight = labelled(image, model)
        print(line((case.case, "as they are", "", *rightward(straight, sided))), flush=True)
        for title, turned in turns(image):
            labels = labelled(turned, model)
            back = sitk.Resample(labels, straight, sitk.Transform(), sitk.sitkNearestNeighbor)
            other = np.mean(sitk.GetArrayFromImage(back) != sitk.GetArrayFromImage(straight))
            print(line((case.case, title, f"{100 * other:.3f} %", *rightward(labels, sided))), flush=True)
        labels = labelled(tilted(image), model)
        labels.SetOrigin(image.GetOrigin())
        labels.SetDirection(image.GetDirection())
        other = np.mean(sitk.GetArrayFromImage(labels) != sitk.GetArrayFromImage(straight))
        print(line((case.case, "tilted", f"{100 * other:.3f} %", *rightward(labels, sided))), flush=True)


def turns(image: sitk.Image) -> Iterator[tuple[str, sitk.Image]]:
    """The same voxels at the same places with other axes, each with what was done."""
    for order in itertools.permutations(range(3)):
        for reverse in (None, 0, 1, 2):
            if order == (0, 1, 2) and reverse is None:
                continue
            turned = sitk.Flip(sitk.PermuteAxes(image, order), [axis == reverse for axis in range(3)])
            backwards = "" if reverse is None else f", {'xyz'[order[reverse]]} backwards"
            yield "".join("xyz"[axis] for axis in order) + backwards, turned


def tilted(image: sitk.Image) -> sitk.Image:
    """The patient turned in space about the origin."""
    cos, sin = np.cos(TILT), np.sin(TILT)
    about_x = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    about_z = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    turn, turned = about_z @ about_x, sitk.Image(image)
    turned.SetOrigin(turn @ np.array(image.GetOrigin()))
    turned.SetDirection((turn @ np.array(image.GetDirection()).reshape(3, 3)).ravel())
    return turned


def labelled(image: sitk.Image, model: Model) -> sitk.Image:
    """The model's labels of the image, from its file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.nrrd"
        sitk.WriteImage(image, str(path))
        labels = sitk.GetImageFromArray(segment(read_volume(path), model).labelmap.array)
    labels.CopyInformation(image)
    return labels


def rightward(labels: sitk.Image, sided: dict[int, str]) -> list[str]:
    """How far each label lies to the right (LPS -x) of all labels together, in mm; a dash where it is not there."""
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.Execute(labels > 0)
    if not shapes.HasLabel(1):
        return ["–"] * len(sided)
    middle = shapes.GetCentroid(1)[0]
    shapes.Execute(labels)
    return [f"{middle - shapes.GetCentroid(value)[0]:+.0f}" if shapes.HasLabel(value) else "–" for value in sided]


if __name__ == "__main__":
    sys.exit(main())
