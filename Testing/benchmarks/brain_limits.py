"""What the brain tumour classifier does with images unlike its training pictures, and where it looks.

    python Testing/benchmarks/brain_limits.py --model brain-tumour-4class --cases near-patient.csv --pictures DIR
        [--brats DIR] [--ct CSV] [--photos FILE…] [--limit 400]

Strangeness: energy and Mahalanobis distance on test pictures of the near-patient split and on images that are none:
slices of abdominal CT (--ct), T2 and FLAIR of `brats` (skull-stripped, with a tumour), noise, and photographs. Of each,
how many the model abstains from at its card's limits and how well each score alone tells them from the test pictures
(AUC). T2 and FLAIR are not that strange: the training pictures of healthy heads are of such sequences.

Heat: whether the highest point of the heat map of the true class lies within the outline of the tumour
(`tumour-outlines.csv` of the pictures' folder), beside the share of the head that the outlines cover, which chance
would give; test pictures of the figshare set, 95 % interval over groups.

Volumes: the class of the T1c volumes of `brats` (gliomas, skull-stripped, of other sites), alone and with the reference
segmentation. `--limit` pictures a class at most, drawn by seed.
"""

import argparse
import csv
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from medtl.bundle import Model, load_model
from medtl.classify import ClassifyOptions, classify, heat_maps, looked_at, on_slices
from medtl.errors import MedTLError
from medtl.metrics import bootstrap_ci
from medtl.pictures import Framed, framed
from medtl.progress import silent
from medtl.training.cases import ClassifiedFile, read_cases, read_classified
from medtl.training.class_figures import one_against_rest
from medtl.volume import Geometry, Volume, read_labelmap, read_volume

OUTLINE_SIDE = 512


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 1 when the images cannot be used."""
    parser = argparse.ArgumentParser(description="Measure abstention and heat maps of the brain tumour classifier.")
    parser.add_argument("--model", required=True, metavar="NAME|DIR")
    parser.add_argument("--cases", required=True, type=Path, metavar="CSV")
    parser.add_argument("--pictures", required=True, type=Path, metavar="DIR", help="the folder brain-tumour-4class")
    parser.add_argument("--brats", type=Path, metavar="DIR", help="unpacked, with cases-t1c.csv and others")
    parser.add_argument("--ct", type=Path, metavar="CSV", help="abdominal CT slices")
    parser.add_argument("--photos", nargs="*", default=[], type=Path, metavar="FILE")
    parser.add_argument("--limit", type=int, default=400, metavar="N")
    args = parser.parse_args(argv)
    try:
        model = load_model(args.model, "cpu", "classification")
        ids = tuple(one.id for one in model.card.classes)
        tested = [case for case in read_classified(args.cases, ids) if case.split == "test"]
        random = np.random.default_rng(0)
        tested = [
            mine[int(i)]
            for name in ids
            for mine in [[case for case in tested if case.label == name]]
            for i in random.permutation(len(mine))[: args.limit]
        ]
        print_strangeness(model, tested, args)
        print_heat(model, tested, args.pictures)
        if args.brats:
            print_volumes(model, args.brats)
    except MedTLError as error:
        print(f"brain_limits: {error}", file=sys.stderr)
        return 1
    return 0


def print_strangeness(model: Model, tested: Sequence[ClassifiedFile], args: argparse.Namespace) -> None:
    """How strange each kind of image is, and how often the model abstains."""
    scores = {name: replace(model, card=with_score(model, name)) for name in ("energy", "mahalanobis")}
    kinds = {"test pictures": [(case.image.name, read_volume(case.image)) for case in tested]}
    for name, images in strangers(args):
        kinds.setdefault(name, []).extend(images)
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, images in kinds.items():
        per: dict[str, list[float]] = {key: [] for key in (*scores, "best", "abstained", "notumor")}
        for _, volume in images:
            try:
                results = {key: classify(volume, one) for key, one in scores.items()}
            except MedTLError:  # nothing that could be a head: refused, which is as good as abstaining
                continue
            for key, result in results.items():
                per[key].append(result.score or 0.0)
            said = classify(volume, model)
            per["best"].append(max(said.probabilities))
            per["abstained"].append(bool(said.reasons))
            per["notumor"].append(model.card.classes[said.best].id == "notumor")
        found[name] = {key: np.array(values) for key, values in per.items()}
    usual = found["test pictures"]
    print(f"\nLimits: {model.card.abstention}\n")
    print("| images | n | refused | abstains | called no tumour | AUC energy | AUC Mahalanobis |")
    print("|" + " --- |" * 7)
    for name, values in found.items():
        areas = [auc(usual[key], values[key]) for key in scores] if name != "test pictures" else ["-", "-"]
        count = len(values["best"])
        shares = [f"{values[key].mean():.1%}" if count else "-" for key in ("abstained", "notumor")]
        print(
            f"| {name} | {len(kinds[name])} | {len(kinds[name]) - count} | {' | '.join([*shares, *areas])} |",
            flush=True,
        )


def with_score(model: Model, score: str) -> object:
    """The card with another score."""
    assert model.card.abstention is not None
    return replace(model.card, abstention=replace(model.card.abstention, score=score))


def auc(usual: np.ndarray, strange: np.ndarray) -> str:
    """How well a score tells strange images from usual ones."""
    if not len(strange):
        return "-"
    truth = np.repeat([0, 1], [len(usual), len(strange)])
    values = np.concatenate([usual, strange])
    return f"{one_against_rest(truth, np.stack([-values, values], 1))[1]:.3f}"


def strangers(args: argparse.Namespace) -> Iterator[tuple[str, list[tuple[str, Volume]]]]:
    """Images that are no T1c heads, by kind."""
    if args.ct:
        for case in read_cases(args.ct):
            yield "abdominal CT", [(case.case, read_volume(case.image))]
    for kind in ("flair", "t2") if args.brats else ():
        for case in read_cases(args.brats / f"cases-{kind}.csv"):
            volume, label = read_volume(case.image), read_labelmap(case.label)
            k = int(np.argmax((label.array > 0).sum(axis=(1, 2))))
            yield f"brats {kind.upper()}, largest slice of the tumour", [(case.case, as_picture(volume.array[k]))]
    random = np.random.default_rng(0)
    yield "noise", [(str(n), as_picture(random.integers(0, 255, (224, 224)).astype(np.uint8))) for n in range(100)]
    for photo in args.photos:
        with Image.open(photo) as picture:
            grey = np.asarray(picture.convert("L"))
        rows, columns = (np.linspace(0, n - 224, 5).astype(int) for n in grey.shape)
        tiles = [grey[r : r + 224, c : c + 224] for r in rows for c in columns]
        yield "photographs, 25 parts each", [(f"{photo.name}-{n}", as_picture(tile)) for n, tile in enumerate(tiles)]


def as_picture(array: np.ndarray) -> Volume:
    """A slice as a volume without a spacing."""
    return Volume(array[None], Geometry((array.shape[1], array.shape[0], 1)), real_spacing=False)


def print_heat(model: Model, tested: Sequence[ClassifiedFile], folder: Path) -> None:
    """The pointing game."""
    ids = [one.id for one in model.card.classes]
    outlines = outlines_of(folder)
    hits: dict[str, list[tuple[str, bool, float]]] = {}
    for case in tested:
        mask_of = outlines.get(case.image.name)
        if mask_of is None:
            continue
        volume = read_volume(case.image)
        mask = drawn(mask_of, volume.array.shape[1:])
        frame = framed(volume.array[0], model.card.input.side or 224)
        if frame is None or not mask.any():
            continue
        heat = heat_of(model, volume, ids.index(case.label))
        peak = np.unravel_index(int(heat.argmax()), heat.shape)
        hits.setdefault(case.label, []).append(
            (case.patient, bool(mask[peak]), float(mask.sum() / area_of(frame, mask)))
        )
    print("\n| class | n | groups | highest heat inside the outline | by chance |\n| --- | --- | --- | --- | --- |")
    for name, rows in hits.items():
        groups: dict[str, list[bool]] = {}
        for patient, hit, _ in rows:
            groups.setdefault(patient, []).append(hit)
        means = [float(np.mean(group)) for group in groups.values()]
        low, high = bootstrap_ci(means)
        chance = np.mean([share for _, _, share in rows])
        print(f"| {name} | {len(rows)} | {len(means)} | {np.mean(means):.2f} ({low:.2f}–{high:.2f}) | {chance:.2f} |")


def area_of(frame: Framed, mask: np.ndarray) -> float:
    """Pixels of the head."""
    return max(frame.area * mask.size, 1.0)


def heat_of(model: Model, volume: Volume, number: int) -> np.ndarray:
    """The heat map of a class on a picture's own pixels: what `classify` gives when that class is the answer."""
    frame = framed(volume.array[0], model.card.input.side or 224)
    assert frame is not None
    _, features, _ = looked_at([frame], model, silent)
    maps = heat_maps(features, model, number, silent)
    return on_slices(maps, {0: frame}, volume.array.shape)[0]


def outlines_of(folder: Path) -> dict[str, tuple[np.ndarray, bool]]:
    """The outline (x y, 512×512) of each picture of the figshare set, and whether the picture is its mirror image."""
    with (folder / "tumour-outlines.csv").open(newline="", encoding="utf-8") as stream:
        borders = {
            row["source_index"]: np.array([p.split() for p in row["border_xy_512"].split(";")], float)
            for row in csv.DictReader(stream)
        }
    with (folder / "index.csv").open(newline="", encoding="utf-8") as stream:
        return {
            row["name"]: (borders[row["source_index"]], row["source_mirrored"] == "hflip")
            for row in csv.DictReader(stream)
            if row["source"] == "figshare" and row["source_index"] in borders
        }


def drawn(outline: tuple[np.ndarray, bool], shape: tuple[int, ...]) -> np.ndarray:
    """The outline as a mask of the picture's shape."""
    points, mirrored = outline
    x, y = points[:, 0], points[:, 1]
    x = OUTLINE_SIDE - 1 - x if mirrored else x
    canvas = Image.new("1", (shape[1], shape[0]))
    scale = (shape[1] / OUTLINE_SIDE, shape[0] / OUTLINE_SIDE)
    ImageDraw.Draw(canvas).polygon(list(zip(x * scale[0], y * scale[1], strict=True)), fill=1)
    return np.asarray(canvas, bool)


def print_volumes(model: Model, folder: Path) -> None:
    """The T1c volumes, alone and with their reference."""
    print("\n| volume | segment | class | probabilities | abstains |\n| --- | --- | --- | --- | --- |")
    for case in read_cases(folder / "cases-t1c.csv"):
        volume, label = read_volume(case.image), read_labelmap(case.label)
        for title, region in (("none", None), ("reference", np.isin(label.array, (1, 4)))):
            found = classify(volume, model, region, ClassifyOptions())
            said = {one.id: round(p, 2) for one, p in zip(model.card.classes, found.probabilities, strict=True)}
            name = model.card.classes[found.best].id
            print(
                f"| {case.case} | {title} | {name} | {json.dumps(said)} | {' '.join(found.reasons) or '-'} |",
                flush=True,
            )


if __name__ == "__main__":
    sys.exit(main())
