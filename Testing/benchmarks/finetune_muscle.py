"""A new structure, muscle on CT, learned from three SEED slices.

    python Testing/benchmarks/finetune_muscle.py --data DIR --work DIR [--model BUNDLE] [--encoder-weights FILE]
        [--budget 120] [--seeds 3] [--threads N]

DIR holds `ct-volumes/totalseg-A-tissue_{image,label}.nrrd`. The SEEDs are evenly spaced slices, all others are the
test: Dice of skeletal muscle, and its area a slice and mean HU, against the reference. The encoder is pretrained on
ImageNet (--encoder-weights, for EfficientNet-Lite0) or that of a bundle (--model, such as the liver VNet that
`finetune_ct.py --draws 0` leaves in its --work). Compared with: filling between the SEEDs, the body mask with a window
of -29 to 150 HU (the usual semi-automatic tool), and both together. `muscle.json` in --work holds the figures. One
patient, with a reference by TotalSegmentator, not drawn by hand.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage
from tables import header, line

from medtl.errors import MedTLError
from medtl.evaluation.metrics import dice
from medtl.finetuning.between_slices import interpolate_labels
from medtl.finetuning.case_result import case_result
from medtl.finetuning.new_structure import Structure, start_model, structure_card, train_structure
from medtl.finetuning.run import FinetuneOptions, Run, TimeBudget
from medtl.finetuning.seed import Seed, seeds_of
from medtl.finetuning.suggest import evenly_spaced
from medtl.io.read import read_labelmap, read_volume
from medtl.model import networks
from medtl.model.bundle import Model, load_model
from medtl.model.card import InputSpec, Label, ModelCard, NetworkSpec
from medtl.segmentation import InferenceOptions, segment
from medtl.volume import Labelmap, Volume

CASE = "ct-volumes/totalseg-A-tissue"
ENCODER = "tf_efficientnet_lite0"
MUSCLE = 1  # its value in the reference
MUSCLE_HU = (-29.0, 150.0)
WINDOW = (-160.0, 240.0)
NEAR_MM = 6.0


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 1 when the data or a model cannot be used."""
    parser = argparse.ArgumentParser(description="Measure learning skeletal muscle on CT from a few SEED slices.")
    parser.add_argument("--data", required=True, type=Path, metavar="DIR")
    parser.add_argument("--work", required=True, type=Path, metavar="DIR")
    parser.add_argument("--model", metavar="BUNDLE", help="begin with the encoder of this model, too")
    parser.add_argument("--encoder-weights", metavar="FILE", help=f"ImageNet weights of {ENCODER} (.safetensors)")
    parser.add_argument("--budget", type=float, default=120.0, metavar="S")
    parser.add_argument("--seeds", type=int, default=3, metavar="N")
    parser.add_argument("--threads", type=int, metavar="N")
    args = parser.parse_args(argv)
    try:
        volume = read_volume(args.data / f"{CASE}_image.nrrd")
        reference = read_labelmap(args.data / f"{CASE}_label.nrrd")
        truth = Labelmap((reference.array == MUSCLE).astype(np.uint8), reference.geometry)
        origins = {}
        if args.encoder_weights:
            origins["ImageNet encoder"] = pretrained(args.encoder_weights)
        if args.model:
            model = load_model(args.model, "cpu")
            origins[f"{model.card.name} ({model.card.networks[0].name})"] = model
        run(volume, truth, origins, args)
    except MedTLError as error:
        print(f"finetune_muscle: {error}", file=sys.stderr)
        return 1
    return 0


def pretrained(weights: str) -> Model:
    """A model that knows ImageNet alone, in memory."""
    spec = NetworkSpec("unet2d", {"encoder": ENCODER, "channels": 1, "labels": 1})
    network = networks.build(spec.name, {**spec.arguments, "encoder_weights": weights})
    nothing = (Label(1, "nothing", "Nothing"),)
    card = ModelCard("imagenet", "1", "", "segmentation", nothing, (spec,), InputSpec(), "")
    placed = networks.place(network, "cpu").eval()
    return Model(card, Path(), (placed,), "cpu", networks.bf16_pays(placed, 1))


def run(volume: Volume, truth: Labelmap, origins: dict[str, Model], args: argparse.Namespace) -> None:
    """All ways to the muscle, and the table."""
    slices = [one.index for one in evenly_spaced(0, len(truth.array) - 1, args.seeds)]
    drawn = {k: truth.array[k] for k in slices}
    rows: dict[str, dict[str, Any]] = {}
    window, distance = by_window(volume), interpolate_labels(drawn, range(len(truth.array)), 1)[:, 0]
    found = {
        f"body mask and {MUSCLE_HU[0]:g} to {MUSCLE_HU[1]:g} HU": window,
        "filled between the SEEDs": distance > 0,
        f"filled, {NEAR_MM:g} mm wider, within that window": window
        & (distance > -NEAR_MM / volume.geometry.spacing[0]),
    }
    for name, origin in origins.items():
        made, facts = learned(volume, truth, origin, slices, args)
        for kind, mask in made.items():
            found[f"{name}: {kind}"] = mask
            rows[f"{name}: {kind}"] = facts
    rest = [k for k in range(len(truth.array)) if k not in slices]
    for name, mask in found.items():
        rows[name] = rows.get(name, {}) | figures(mask, truth.array > 0, volume, rest)
    args.work.mkdir(parents=True, exist_ok=True)
    (args.work / "muscle.json").write_text(json.dumps({"seeds": slices, "rows": rows}, indent=1), encoding="utf-8")
    print(f"Skeletal muscle from SEED slices {slices}, n = {len(rest)} other slices of ONE patient. The reference was")
    print("drawn by TotalSegmentator, not by hand: a demonstration, no proof.\n")
    head = [
        "",
        "Dice",
        "lowest slice",
        "area: mean error, cm²",
        "area: mean size of the error, cm²",
        "mean HU: error",
        "s",
        "steps",
    ]
    print(*header(head), sep="\n")
    for name in found:
        print(line(cells(name, rows[name])))
    areas, level = areas_of(truth.array > 0, volume)[rest], float(volume.array[rest][truth.array[rest] > 0].mean())
    print(f"\nReference: {areas.mean():.1f} cm² a slice ({areas.min():.1f} to {areas.max():.1f}), mean {level:.1f} HU.")


def learned(
    volume: Volume, truth: Labelmap, origin: Model, slices: Sequence[int], args: argparse.Namespace
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The network's word and the result of this case, as masks, and what the learning tells."""
    clock = TimeBudget(args.budget)
    card = structure_card(origin.card, "muscle", Structure(("muscle",), "axial", WINDOW))
    seeds: Sequence[Seed] = seeds_of(truth, card, Path(CASE), "x", slices)
    options = FinetuneOptions(args.budget, threads=args.threads)
    own = start_model(origin, card, volume, options.seed)
    done = train_structure(own, [(volume, seeds)], Run(options, clock, later_slices=len(truth.array)))
    result = case_result(done, volume, seeds, clock, lambda stage, share: None)
    facts = {"seconds": clock.used, "steps": done.steps, "left_out": done.seeds.after.tolist(), "weight": result.weight}
    alone = segment(volume, done.model, InferenceOptions(threads=args.threads)).labelmap.array > 0
    return {"network": alone, f"result (weight {result.weight:g})": result.labelmap.array > 0}, facts


def by_window(volume: Volume) -> np.ndarray:
    """Muscle as body mask and window of HU have it: the largest body, which leaves the table out, what lies within the
    window there, opened and closed; bone is above the window. Bowel and organs are within it too."""
    body = np.zeros(volume.array.shape, bool)
    for k, plane in enumerate(volume.array):
        parts, count = ndimage.label(ndimage.binary_opening(plane > -300, iterations=1))
        if count:
            largest = 1 + int(np.argmax(ndimage.sum_labels(np.ones_like(parts), parts, range(1, count + 1))))
            body[k] = ndimage.binary_fill_holes(parts == largest)
    low, high = MUSCLE_HU
    mask = body & (volume.array >= low) & (volume.array <= high)
    cross = ndimage.generate_binary_structure(2, 1)[None]
    return np.asarray(ndimage.binary_closing(ndimage.binary_opening(mask, cross), cross))


def areas_of(mask: np.ndarray, volume: Volume) -> np.ndarray:
    """Area of each slice in cm²."""
    x, y, _ = volume.geometry.spacing
    return np.asarray(mask.sum((1, 2)) * x * y / 100)


def figures(mask: np.ndarray, truth: np.ndarray, volume: Volume, rest: Sequence[int]) -> dict[str, Any]:
    """Dice of the other slices, and errors of area and mean HU."""
    dices = [dice(mask[k], truth[k]) for k in rest]
    error = (areas_of(mask, volume) - areas_of(truth, volume))[list(rest)]
    values = volume.array[list(rest)]
    levels = [float(values[part[list(rest)]].mean()) for part in (mask, truth) if part[list(rest)].any()]
    return {
        "dice": dice(mask[list(rest)], truth[list(rest)]),
        "lowest": min(dices),
        "area_error": float(error.mean()),
        "area_absolute_error": float(np.abs(error).mean()),
        "hu_error": levels[0] - levels[1] if len(levels) == 2 else None,
    }


def cells(name: str, row: dict[str, Any]) -> list[str]:
    """The row of a way."""
    hu = "-" if row["hu_error"] is None else f"{row['hu_error']:+.1f}"
    text = [name, f"{row['dice']:.3f}", f"{row['lowest']:.3f}", f"{row['area_error']:+.1f}"]
    text += [f"{row['area_absolute_error']:.1f}", hu]
    return [*text, f"{row['seconds']:.0f}" if "seconds" in row else "-", str(row.get("steps", "-"))]


if __name__ == "__main__":
    sys.exit(main())
