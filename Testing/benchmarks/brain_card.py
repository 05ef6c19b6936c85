"""Figures of `brain-tumour-4class`: test groups, images of another kind, heat maps, volumes.

    python Testing/benchmarks/brain_card.py --model DIR --cases near-patient.csv
        [--brats DIR] [--ct CSV] [--photos FILE…] [--choose] [--write]

- Test pictures of the near-patient split, classified as by `medtl classify`: four classes, and the three tumours alone
  (pictures of tumours, the other probabilities scaled to 1); accuracy without the pictures that the model abstains
  from.
- Images of another kind: how many the model abstains from, and the AUC of its score and of the other one (energy,
  Mahalanobis) against the test pictures. Slices of abdominal CT (--ct), T2 and FLAIR of `brats` (skull-stripped, with a
  tumour), noise, and parts of photographs. T2 and FLAIR are not very different: the training pictures of healthy heads
  are of such sequences.
- Heat maps: how often the highest point of the map of the true class lies inside the outline of the tumour (the list's
  masks), beside the share of the head that the outlines cover, which is chance.
- Volumes: the class of the T1c volumes of `brats` (gliomas, skull-stripped, of other sites), alone and with the
  reference segmentation.

In brackets the bootstrap 95 % interval over groups. `--choose` reads no test picture, only the training pictures that
gave temperature and limits. `--write` writes the figures into the card and its README.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from card_figures import rounded, write_figures
from PIL import Image
from tables import interval, number, table

from medtl.cases import ClassifiedFile, read_cases, read_classified
from medtl.classification.classify import Classification, classify
from medtl.classification.frames import frame_slice
from medtl.classification.network import heat_maps, run_network
from medtl.classification.slices import place_on_slices
from medtl.errors import MedTLError
from medtl.evaluation import metrics
from medtl.evaluation.classification import class_figures
from medtl.evaluation.metrics import bootstrap_ci
from medtl.io.read import read_labelmap, read_volume
from medtl.model.bundle import Model, load_model
from medtl.progress import no_progress
from medtl.training.classifier import CALIBRATION_FOLD
from medtl.typed_json import encode
from medtl.volume import Geometry, Volume

SIDE = 224
TILES = 5
NOISE = 100
CORE = (1, 4)
SCORES = ("energy", "mahalanobis")

Figures = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 1 when the images cannot be used."""
    parser = argparse.ArgumentParser(description="State the figures of brain-tumour-4class.")
    parser.add_argument("--model", required=True, type=Path, metavar="DIR")
    parser.add_argument("--cases", required=True, type=Path, metavar="CSV")
    parser.add_argument("--brats", type=Path, metavar="DIR", help="unpacked, with cases-t1c.csv and others")
    parser.add_argument("--ct", type=Path, metavar="CSV", help="abdominal CT slices")
    parser.add_argument("--photos", nargs="*", default=[], type=Path, metavar="FILE")
    parser.add_argument("--choose", action="store_true", help="read no test picture")
    parser.add_argument("--write", action="store_true", help="write card and README; else only print")
    args = parser.parse_args(argv)
    if args.choose and args.write:
        parser.error("--write is for the figures of the test")
    try:
        model = load_model(str(args.model), "cpu", "classification")
        ids = tuple(one.id for one in model.card.classes)
        side = ("train", CALIBRATION_FOLD) if args.choose else ("test", "")
        cases = [case for case in read_classified(args.cases, ids) if (case.split, case.fold) == side]
        figures = rounded(measure(model, ids, cases, args), 6)
        text = markdown(figures, ids)
        print(text)
        if args.write:
            write_figures(args.model, figures, text)
    except (MedTLError, OSError) as error:
        print(f"brain_card: {error}", file=sys.stderr)
        return 1
    return 0


def measure(model: Model, ids: Sequence[str], cases: Sequence[ClassifiedFile], args: argparse.Namespace) -> Figures:
    """All figures."""
    volumes = [read_volume(case.image) for case in cases]
    found = [classify(volume, model) for volume in volumes]
    truth = np.array([ids.index(case.label) for case in cases])
    probabilities = np.array([one.probabilities for one in found])
    groups = [case.patient for case in cases]
    kept = np.array([not one.reasons for one in found])
    tumour = np.array([case.label != "notumor" for case in cases])
    columns = [k for k, name in enumerate(ids) if name != "notumor"]
    names = [ids[k] for k in columns]
    scaled = probabilities[:, columns] / probabilities[:, columns].sum(1, keepdims=True)
    right = probabilities.argmax(1) == truth
    return {
        "test": encode(class_figures(truth, probabilities, groups, ids)),
        "tumours": encode(
            class_figures(
                np.array([names.index(case.label) for case in cases if case.label != "notumor"]),
                scaled[tumour],
                [group for group, one in zip(groups, tumour, strict=True) if one],
                names,
            )
        ),
        "abstained": float(1 - kept.mean()),
        "accuracy_kept": float(right[kept].mean()),
        "strange": strange_figures(model, found, volumes, args),
        "pointing": pointing_figures(model, ids, cases, volumes),
        "volumes": volume_figures(model, ids, args.brats) if args.brats else [],
    }


def strange_figures(
    model: Model, usual: Sequence[Classification], volumes: Sequence[Volume], args: argparse.Namespace
) -> list[Figures]:
    """A row for each kind of strange image."""
    assert model.card.abstention is not None
    other = next(score for score in SCORES if score != model.card.abstention.score)
    with_other = replace(model, card=replace(model.card, abstention=replace(model.card.abstention, score=other)))
    usual_scores = {
        model.card.abstention.score: [one.score for one in usual],
        other: [classify(volume, with_other).score for volume in volumes],
    }
    kinds: dict[str, list[Volume]] = {}
    for kind, volume in strangers(args):
        kinds.setdefault(kind, []).append(volume)
    rows = []
    for kind, images in kinds.items():
        found: list[tuple[Classification, Classification]] = []
        for volume in images:
            try:
                found.append((classify(volume, model), classify(volume, with_other)))
            except MedTLError:  # nothing that could be a head: refused, which is as good as abstaining
                continue
        scores = {
            model.card.abstention.score: [one.score for one, _ in found],
            other: [one.score for _, one in found],
        }
        called = [model.card.classes[one.best].id for one, _ in found]
        rows.append(
            {
                "images": kind,
                "n": len(images),
                "refused": len(images) - len(found),
                "abstained": sum(bool(one.reasons) for one, _ in found),
                "called": {name: called.count(name) for name in sorted(set(called))},
                "auc": {score: auc(usual_scores[score], scores[score]) for score in SCORES},
            }
        )
    return rows


def auc(usual: Sequence[float | None], strange: Sequence[float | None]) -> float | None:
    """How well a score tells strange images from usual ones."""
    if not strange:
        return None
    values = np.array([*usual, *strange], dtype=float)
    return float(metrics.auc(metrics.value_table(np.arange(len(values)) >= len(usual), values)))


def strangers(args: argparse.Namespace) -> Iterator[tuple[str, Volume]]:
    """Images that are no T1c heads, by kind."""
    for case in read_cases(args.ct) if args.ct else ():
        yield "abdominal CT", read_volume(case.image)
    for kind in ("flair", "t2") if args.brats else ():
        for case in read_cases(args.brats / f"cases-{kind}.csv"):
            volume, label = read_volume(case.image), read_labelmap(case.label)
            k = int(np.argmax((label.array > 0).sum(axis=(1, 2))))
            yield f"{kind.upper()} of BraTS, largest slice of the tumour", as_picture(volume.array[k])
    random = np.random.default_rng(0)
    for _ in range(NOISE):
        yield "noise", as_picture(random.integers(0, 255, (SIDE, SIDE)).astype(np.uint8))
    for photo in args.photos:
        with Image.open(photo) as picture:
            grey = np.asarray(picture.convert("L"))
        rows, columns = (np.linspace(0, n - SIDE, TILES).astype(int) for n in grey.shape)
        for r in rows:
            for c in columns:
                yield "parts of photographs", as_picture(grey[r : r + SIDE, c : c + SIDE])


def as_picture(array: np.ndarray) -> Volume:
    """A slice as a volume without a spacing."""
    return Volume(array[None], Geometry((array.shape[1], array.shape[0], 1)), real_spacing=False)


def pointing_figures(
    model: Model, ids: Sequence[str], cases: Sequence[ClassifiedFile], volumes: Sequence[Volume]
) -> Figures:
    """The pointing game, by class: means over groups of what was hit and of what chance would hit."""
    rows: dict[str, list[tuple[str, bool, float]]] = {}
    for case, volume in zip(cases, volumes, strict=True):
        if case.mask is None:
            continue
        mask = read_labelmap(case.mask).array[0] > 0
        frame = frame_slice(volume.array[0], model.card.input.side or SIDE)
        assert frame is not None
        maps = heat_maps(run_network([frame], model, no_progress).features, model, ids.index(case.label), no_progress)
        heat = place_on_slices(maps, {0: frame}, volume.array.shape)[0]
        peak = np.unravel_index(int(heat.argmax()), heat.shape)
        share = float(mask.sum() / (frame.area * mask.size))
        rows.setdefault(case.label, []).append((case.patient, bool(mask[peak]), share))
    figures = {}
    for name, hits in rows.items():
        groups: dict[str, list[tuple[bool, float]]] = {}
        for group, hit, share in hits:
            groups.setdefault(group, []).append((hit, share))
        means = np.array([np.mean(of_group, axis=0) for of_group in groups.values()])
        figures[name] = {
            "n": len(hits),
            "groups": len(groups),
            "mean": float(means[:, 0].mean()),
            "ci95": list(bootstrap_ci(means[:, 0].tolist())),
            "chance": float(means[:, 1].mean()),
        }
    return figures


def volume_figures(model: Model, ids: Sequence[str], folder: Path) -> list[Figures]:
    """The T1c volumes, alone and with their reference."""
    rows = []
    for case in read_cases(folder / "cases-t1c.csv"):
        volume, label = read_volume(case.image), read_labelmap(case.label)
        for segment, region in (("none", None), ("reference", np.isin(label.array, CORE))):
            found = classify(volume, model, region)
            rows.append(
                {
                    "volume": case.case,
                    "segment": segment,
                    "class": ids[found.best],
                    "probabilities": dict(zip(ids, found.probabilities, strict=True)),
                    "reasons": list(found.reasons),
                }
            )
    return rows


def markdown(figures: Figures, ids: Sequence[str]) -> str:
    """The figures as people read them."""
    test, tumours = figures["test"], figures["tumours"]
    names = ["accuracy", "f1_weighted", "auc", "ece", *(f"recall_{name}" for name in ids)]
    rows = [
        [
            name.replace("_", " ").replace("f1", "F1").replace("auc", "AUC").replace("ece", "calibration error"),
            interval(test[name], bold=name == "accuracy"),
            interval(tumours[name], bold=name == "accuracy") if name in tumours else "",
        ]
        for name in names
    ]
    lines = table(
        [
            f"n = {test['n']} pictures of {test['patients']} near-patient groups",
            "four classes",
            f"three tumours (n = {tumours['n']} of {tumours['patients']})",
        ],
        rows,
    )
    confusion = [[name, *map(str, row)] for name, row in zip(ids, test["confusion"], strict=True)]
    pointing = [
        [name, str(f["n"]), str(f["groups"]), interval(f, 2), number(f["chance"], 2)]
        for name, f in figures["pointing"].items()
    ]
    strange = [
        [
            row["images"],
            str(row["n"]),
            str(row["abstained"] + row["refused"]),
            ", ".join(f"{count} {name}" for name, count in row["called"].items()),
            *("–" if row["auc"][score] is None else number(row["auc"][score], 2) for score in SCORES),
        ]
        for row in figures["strange"]
    ]
    volumes = [
        [
            row["volume"],
            row["segment"],
            row["class"],
            ", ".join(f"{name} {p:.2f}" for name, p in row["probabilities"].items()),
            " ".join(row["reasons"]) or "no",
        ]
        for row in figures["volumes"]
    ]
    lines += [
        "",
        f"It abstains from {figures['abstained']:.1%} of these; of the others {figures['accuracy_kept']:.1%} are "
        "right. In brackets the 95 % interval over groups (bootstrap; that of the calibration error lies high, for "
        "resampling adds to it); patient numbers are lost, so a group is not quite a patient.",
        "",
        *table(["true, below; called, beside", *ids], confusion),
        "",
        *table(["highest heat", "n", "groups", "inside the outline", "by chance"], pointing),
        "",
        *table(
            ["images of another kind", "n", "refused or abstained", "called", "AUC energy", "AUC Mahalanobis"], strange
        ),
    ]
    if volumes:
        lines += [
            "",
            *table(["T1c volumes of BraTS (gliomas)", "segment", "class", "probabilities", "abstains"], volumes),
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
