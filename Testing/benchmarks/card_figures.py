"""The figures on a model's card, measured and written.

    python Testing/benchmarks/card_figures.py --model DIR --test CSV [--set NAME=CSV …] [--exclude PATTERN …]
        [--partial] [--speed FILE] [--flip] [--write]

`--test`: the cases that the card holds out, recognised by name and by the SHA-256 of their voxels; all of them must be
in the list. `--set`: further cases, none of which was trained on, under a name that the table shows; `--exclude` leaves
out those whose name fits a pattern. `--partial`: labels that a case lacks were not drawn there. `--speed`: the output
of `speed.py --json`; by default the card keeps the figures that it has. `--write` writes the figures into the card
(`configs/metadata.json`) and the table between the markers of `docs/README.md` and, for a model of this checkout that
has one, of its page in `docs`.
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

HELD_OUT = "held out"

Figures = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 1 when the cases are not those of the card."""
    parser = argparse.ArgumentParser(description="Measure and write the figures of a model's card.")
    parser.add_argument("--model", required=True, type=Path, metavar="DIR")
    parser.add_argument("--test", required=True, type=Path, metavar="CSV")
    parser.add_argument("--set", action="append", default=[], type=named_list, dest="sets", metavar="NAME=CSV")
    parser.add_argument("--exclude", nargs="*", default=[], metavar="PATTERN")
    parser.add_argument("--partial", action="store_true", help="labels that a case lacks were not drawn there")
    parser.add_argument("--speed", type=Path, metavar="FILE")
    parser.add_argument("--flip", action="store_true", help="average with the mirrored input")
    parser.add_argument("--write", action="store_true", help="write the card, its README and the page; else only print")
    args = parser.parse_args(argv)
    progress = TerminalProgress()
    try:
        model = load_model(str(args.model), "cpu")
        speed = json.loads(args.speed.read_text(encoding="utf-8")) if args.speed else None
        stated = json.loads((args.model / METADATA).read_text(encoding="utf-8"))["medtl"]["training"].get("figures", {})
        figures = measure(model, args, progress)
        if speed is not None:
            figures["speed"] = speed_figures(speed, model.card)
        elif "speed" in stated:
            figures["speed"] = stated["speed"]
        progress.close()
        text = markdown(figures, model.card)
        print(text)
        if args.write:
            page = ROOT / "docs" / f"{model.card.name}.md"
            ours = args.model.resolve().is_relative_to(ROOT) and page.exists()
            write_figures(args.model, figures, text, [page] if ours else [])
    except (MedTLError, OSError) as error:
        progress.close()
        print(f"card_figures: {error}", file=sys.stderr)
        return 1
    return 0


def named_list(text: str) -> tuple[str, Path]:
    """The name and the path of NAME=CSV."""
    name, found, path = text.partition("=")
    if not found:
        raise argparse.ArgumentTypeError(f"expected NAME=CSV, found {text}")
    return name, Path(path)


def measure(model: Model, args: argparse.Namespace, progress: Progress) -> Figures:
    """The figures on the held-out patients and on each further set."""
    sets = {HELD_OUT: held_out_cases(model.card, read_cases(args.test))}
    sets |= {name: other_cases(model.card, read_cases(path), args.exclude) for name, path in args.sets}
    binary = len(model.card.labels) == 1
    figures: Figures = {"flip": args.flip, "binary": binary, "sets": {}}
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, cases) in enumerate(sets.items()):
            listed = write_list(Path(folder) / f"{number}.csv", cases)
            options = InferenceOptions(flip=args.flip)
            found = encode(evaluate(model, listed, options, progress, binary, partial=args.partial))
            if found["errors"]:  # figures of the others would be those of another set
                raise InputError(found["errors"][0]["message"])
            figures["sets"][name] = summary(found)
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


def other_cases(card: ModelCard, cases: Sequence[CaseFiles], exclude: Sequence[str]) -> list[CaseFiles]:
    """The cases but those whose name fits a pattern.

    Raises: InputError when one was trained on.
    """
    found = [case for case in cases if not any(fnmatch(case.case, pattern) for pattern in exclude)]
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
        "labels": rounded(found.get("labels", {})),
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


def markdown(figures: Figures, card: ModelCard) -> str:
    """The figures as people read them: one table of quality, one of speed."""
    mirrored = figures["flip"] or (card.windows is not None and card.windows.mirror)
    sets = list(figures["sets"].values())
    heads = [f"{name}: {one['patients']} patient{'s' * (one['patients'] > 1)}" for name, one in figures["sets"].items()]
    rows = [[f"**{FIGURES['dice']}, mean by volume**", *(interval(s["by_volume"]["dice"], bold=True) for s in sets)]]
    rows.append(["Dice, median", *(number(s["by_volume"]["dice"]["median"]) for s in sets)])
    rows.append(["Dice, lowest", *(number(s["dice_of_cases"][0]) for s in sets)])
    for label in card.labels if len(card.labels) > 1 else ():
        cells = [f"{interval(s['labels'][label.id])}, n = {s['labels'][label.id]['n']}" for s in sets]
        rows.append([f"Dice, {label.name}", *cells])
    for name in POOLED[1:]:
        rows.append([f"{FIGURES[name]}, mean by volume", *(interval(s["by_volume"][name]) for s in sets)])
    rows.append([FIGURES["hd95"], *(f"{interval(s['by_volume']['hd95'], 1)} {unit(s['unit'])}" for s in sets)])
    for name in POOLED:
        rows.append([f"{FIGURES[name]}, all voxels pooled", *(interval(s["pooled"][name]) for s in sets)])
    lines = table(["", *heads], rows)
    lines += [
        "",
        "In brackets the 95 % confidence interval over patients (bootstrap). No image of this table was trained "
        "on. Dice is the overlap with the reference's outline, from 0 (none) to 1 (the same). Precision is the share "
        "of what was marked that is right, recall the share of the label that was found. The Hausdorff distance is "
        "how far the outlines lie apart, but for the worst 5 % of their points; it is in pixels, a slice counting as "
        f"one, where the true spacing is lost. Measured {'with' if mirrored else 'without'} mirrored passes.",
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
