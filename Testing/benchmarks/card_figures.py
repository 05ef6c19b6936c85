"""The figures on a model's card, measured and written.

    python Testing/benchmarks/card_figures.py --model Resources/Models/glioma-flair --test CSV --outside CSV
        [--speed FILE] [--flip] [--write]

`--test`: the cases that the card holds out, recognised by name and by the SHA-256 of their voxels; all of them must be
in the list. `--outside`: cases of other sites, without those that may be patients of the training collection.
`--speed`: the output of `speed.py --json`; by default the card keeps the figures that it has. `--write` writes the
figures into the card (`configs/metadata.json`) and the table between the markers of `docs/README.md` and, for a model
of this checkout, of its page in `docs`.
"""

import argparse
import csv
import json
import sys
import tempfile
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from tables import interval, number, table

from medtl.cases import CaseFiles, read_cases
from medtl.errors import InputError, MedTLError
from medtl.evaluation.segmentation import evaluate
from medtl.io.read import read_volume
from medtl.io.write import write_whole
from medtl.model.bundle import Model, load_model
from medtl.model.card import METADATA, ModelCard, load_card
from medtl.progress import Progress, TerminalProgress
from medtl.segmentation import InferenceOptions
from medtl.typed_json import encode
from medtl.volume import voxels_sha256

ROOT = Path(__file__).resolve().parents[2]
MARKERS = ("<!-- figures -->", "<!-- /figures -->")
MAYBE_TRAINED_ON = ("*TCIA10*", "*TCIA13*")
PATIENT_UNKNOWN = "dvn2*"
FIGURES = {
    "dice": "Dice",
    "iou": "IoU (Jaccard)",
    "precision": "Precision",
    "recall": "Recall (sensitivity)",
    "f1": "F1",
    "auc": "AUC",
    "hd95": "Hausdorff distance, 95 %",
}
POOLED = tuple(name for name in FIGURES if name != "hd95")

Figures = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 1 when the cases are not those of the card."""
    parser = argparse.ArgumentParser(description="Measure and write the figures of a model's card.")
    parser.add_argument("--model", required=True, type=Path, metavar="DIR")
    parser.add_argument("--test", required=True, type=Path, metavar="CSV")
    parser.add_argument("--outside", required=True, type=Path, metavar="CSV")
    parser.add_argument("--speed", type=Path, metavar="FILE")
    parser.add_argument("--flip", action="store_true", help="average with the mirrored input")
    parser.add_argument("--write", action="store_true", help="write the card, its README and the page; else only print")
    args = parser.parse_args(argv)
    progress = TerminalProgress()
    try:
        model = load_model(str(args.model), "cpu")
        speed = json.loads(args.speed.read_text(encoding="utf-8")) if args.speed else None
        stated = json.loads((args.model / METADATA).read_text(encoding="utf-8"))["medtl"]["training"].get("figures", {})
        figures = measure(model, args.test, args.outside, InferenceOptions(flip=args.flip), progress)
        if speed is not None:
            figures["speed"] = speed_figures(speed, model.card)
        elif "speed" in stated:
            figures["speed"] = stated["speed"]
        progress.close()
        text = markdown(figures)
        print(text)
        if args.write:
            inside = args.model.resolve().is_relative_to(ROOT)
            write_figures(args.model, figures, text, [ROOT / "docs" / f"{model.card.name}.md"] if inside else [])
    except (MedTLError, OSError) as error:
        progress.close()
        print(f"card_figures: {error}", file=sys.stderr)
        return 1
    return 0


def measure(model: Model, test: Path, outside: Path, options: InferenceOptions, progress: Progress) -> Figures:
    """The figures on the held-out patients and on the outside set, with and without cases of unknown patients."""
    away = outside_cases(model.card, read_cases(outside))
    sets = {
        "test": held_out_cases(model.card, read_cases(test)),
        "outside": away,
        "outside_known_patients": [case for case in away if not fnmatch(case.patient, PATIENT_UNKNOWN)],
    }
    figures: Figures = {"flip": options.flip, "binary": True}
    with tempfile.TemporaryDirectory() as folder:
        for name, cases in sets.items():
            listed = write_list(Path(folder) / f"{name}.csv", cases)
            found = encode(evaluate(model, listed, options, progress, binary=True))
            if found["errors"]:  # figures of the others would be those of another set
                raise InputError(found["errors"][0]["message"])
            figures[name] = summary(found)
    return figures


def held_out_cases(card: ModelCard, cases: Sequence[CaseFiles]) -> list[CaseFiles]:
    """The cases that the card holds out.

    Raises: InputError when one is missing or is not the image that was held out.
    """
    wanted = card.training["split"]["test"]
    found = [case for case in cases if case.case in wanted]
    missing = sorted(wanted.keys() - {case.case for case in found})
    if missing:
        raise InputError(f"Expected the card's {len(wanted)} test cases, found no {', '.join(missing)}. Add them.")
    for case in found:
        if voxels_sha256(read_volume(case.image).array) != wanted[case.case]:
            raise InputError(f"Expected the image of {case.case} that the card names, found another at {case.image}.")
    return found


def outside_cases(card: ModelCard, cases: Sequence[CaseFiles]) -> list[CaseFiles]:
    """The cases without those that may be of the training collection.

    Raises: InputError when one was trained on.
    """
    found = [case for case in cases if not any(fnmatch(case.case, pattern) for pattern in MAYBE_TRAINED_ON)]
    trained = set(card.training["split"]["train"].values())
    for case in found:
        if voxels_sha256(read_volume(case.image).array) in trained:
            raise InputError(f"Expected cases that were not trained on, found {case.image}. Take it off the list.")
    return found


def write_list(path: Path, cases: Sequence[CaseFiles]) -> Path:
    """The CSV file that lists these cases."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("image", "label", "patient", "site"))
        rows.writerows((case.image.resolve(), case.label.resolve(), case.patient, case.site) for case in cases)
    return path


def summary(found: Figures) -> Figures:
    """What the card keeps of an evaluation: no case by name, but the sorted Dice of all."""
    return {
        "n": found["n"],
        "patients": found["patients"],
        "unit": found["unit"],
        "by_volume": {name: rounded(found[name]) for name in FIGURES},
        "pooled": {name: rounded(found["pooled"][name]) for name in POOLED},
        "dice_of_cases": sorted(round(case["dice"], 3) for case in found["cases"]),
    }


def rounded(value: Any, digits: int = 4) -> Any:
    """Figures with so many decimals."""
    if isinstance(value, dict):
        return {name: rounded(item, digits) for name, item in value.items()}
    if isinstance(value, list):
        return [rounded(item, digits) for item in value]
    return round(value, digits) if isinstance(value, float) else value


def speed_figures(speed: Figures, card: ModelCard) -> Figures:
    """Seconds and memory in both dtypes, from what `speed.py` wrote.

    Raises: InputError when that was another model.
    """
    if speed["sha256"] != card.sha256:
        raise InputError("Expected speed figures of this model's weights, found those of others. Run speed.py again.")
    return {
        "processor": speed["processor"],
        "volumes": {
            name: {
                dtype: {
                    "seconds": round(runs[dtype]["total"], 2),
                    "peak_mb": round(speed["memory_mb"][name][dtype]["peak"]),
                }
                for dtype in ("fp32", "bf16")
            }
            for name, runs in speed["volumes"].items()
        },
    }


def markdown(figures: Figures) -> str:
    """The figures as people read them: one table of quality, one of speed."""
    sets = [figures["test"], figures["outside"], figures["outside_known_patients"]]
    heads = [
        f"{sets[0]['patients']} patients held out",
        f"{sets[1]['patients']} patients of another collection",
        f"the {sets[2]['patients']} of these whose origin is known",
    ]
    rows = [[f"**{FIGURES['dice']}, mean by volume**", *(interval(s["by_volume"]["dice"], bold=True) for s in sets)]]
    rows.append(["Dice, median", *(number(s["by_volume"]["dice"]["median"]) for s in sets)])
    rows.append(["Dice, lowest", *(number(s["dice_of_cases"][0]) for s in sets)])
    for name in POOLED[1:]:
        rows.append([f"{FIGURES[name]}, mean by volume", *(interval(s["by_volume"][name]) for s in sets)])
    rows.append([FIGURES["hd95"], *(f"{interval(s['by_volume']['hd95'], 1)} {unit(s['unit'])}" for s in sets)])
    for name in POOLED:
        rows.append([f"{FIGURES[name]}, all voxels pooled", *(interval(s["pooled"][name]) for s in sets)])
    lines = table(["", *heads], rows)
    mirrored = "with" if figures["flip"] else "without"
    lines += [
        "",
        "In brackets the 95 % confidence interval over patients (bootstrap). No image of this table was trained "
        "on. Dice is the overlap with the reader's outline, from 0 (none) to 1 (the same); two human readers "
        "agree at about 0.84. Precision is the share of what was marked that is right, recall the share of the "
        "lesion that was found. The Hausdorff distance is how far the outlines lie apart, but for the worst 5 % "
        "of their points; in the held-out set it is in pixels, a slice counting as one, because the true spacing "
        "is lost. The other collection (BraTS): skull-stripped, 1 mm, other scanners and other readers; who some "
        f"of its patients are is unknown. Measured {mirrored} mirrored passes.",
    ]
    if "speed" in figures:
        rows = [
            [f"{name} voxels", *(f"{runs[d]['seconds']:.1f} s, {runs[d]['peak_mb']} MB" for d in ("fp32", "bf16"))]
            for name, runs in figures["speed"]["volumes"].items()
        ]
        lines += ["", *table(["File to file, model loaded; peak memory", "fp32", "bf16"], rows)]
        lines += ["", f"On {figures['speed']['processor']}. bf16 is chosen by itself where the processor gains by it."]
    return "\n".join(lines)


def unit(name: str) -> str:
    """A unit in words."""
    return {"px": "pixels"}.get(name, name)


def write_figures(bundle: Path, figures: Figures, text: str, readmes: Sequence[Path] = ()) -> None:
    """Put the figures into the card of a bundle, and the text of them into its README and the others.

    Raises: InputError when a README has no place for them; nothing is written then.
    """
    texts = {path: filled(path, text) for path in (bundle / "docs" / "README.md", *readmes)}
    metadata = json.loads((bundle / METADATA).read_text(encoding="utf-8"))
    metadata["medtl"]["training"]["figures"] = figures
    texts[bundle / METADATA] = json.dumps(metadata, indent=2) + "\n"
    for path, content in texts.items():

        def write(part: Path, content: str = content) -> None:
            part.write_text(content, encoding="utf-8")

        write_whole(path, write)
    load_card(bundle)


def filled(path: Path, text: str) -> str:
    """The content of a file with the text between its markers.

    Raises: InputError when it has no markers.
    """
    content = path.read_text(encoding="utf-8")
    before, begin, rest = content.partition(MARKERS[0])
    _, end, after = rest.partition(MARKERS[1])
    if not (begin and end):
        raise InputError(f"Expected the lines {MARKERS[0]} and {MARKERS[1]} in {path}, found none. Put them in.")
    return f"{before}{begin}\n{text}\n{end}{after}"


if __name__ == "__main__":
    sys.exit(main())
