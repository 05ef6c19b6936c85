"""The commands `medtl finetune` and `medtl suggest`."""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from ..progress import TerminalProgress
from .console import print_json, print_lines, print_warnings


@dataclass(frozen=True)
class CaseArguments:
    """A --case: an image with its label, and the slices that --slices chose; None for all that have a label."""

    image: Path
    label: Path
    slices: tuple[int, ...] | None = None


class AddCase(argparse.Action):
    """Adds an image with its label; --slices after it chooses slices."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        image, label = values
        namespace.cases = [*namespace.cases, CaseArguments(image, label)]


class SetSlices(argparse.Action):
    """Sets the slices of the --case before it."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        if not namespace.cases:
            parser.error("--slices belongs to the --case before it; give that first")
        numbers = None if values == "auto" else [number.strip() for number in values.split(",")]
        if numbers is not None and not all(number.isdecimal() and len(number) < 10 for number in numbers):
            parser.error(f"expected --slices like 12,20,31 or auto, found {values}")
        chosen = None if numbers is None else tuple(int(number) for number in numbers)
        *earlier, last = namespace.cases
        namespace.cases = [*earlier, replace(last, slices=chosen)]


def finetune(args: argparse.Namespace, out: TextIO) -> int:
    """Tune the model, write the new one and print the verdict."""
    if not args.cases and args.seeds is None:
        args.parser.error("give --case IMAGE LABEL or --seeds FILE")
    if args.new_structure is None and (args.plane or args.window):
        args.parser.error("--plane and --window belong to --new-structure")
    if args.new_structure is not None and (args.guard or args.strength != 1.0):
        args.parser.error("a new structure knows nothing yet: leave --guard and --strength out")
    from ..finetuning.run import FinetuneOptions, TimeBudget
    from ..io.isolated import IsolatedReader

    budget = TimeBudget(args.budget)
    chosen = {name: getattr(args, name) for name in ("budget", "strength", "guard", "result", "device", "threads")}
    options = FinetuneOptions(**chosen, force=args.force)
    progress = TerminalProgress()
    try:
        # Before torch is imported: the reader gets ready meanwhile.
        with IsolatedReader(data_outside=args.data_outside) as reader:
            from ..finetuning.files import CaseInput, TuningFiles, finetune_files
            from ..finetuning.new_structure import Structure
            from ..model.bundle import load_model

            structure = None if args.new_structure is None else Structure(args.new_structure, args.plane, args.window)
            cases = tuple(CaseInput(case.image, case.label, case.slices) for case in args.cases)
            files = TuningFiles(args.output, cases, args.seeds, structure)
            progress("load", 0.0)
            model = load_model(args.model, args.device)
            record = finetune_files(model, files, options, progress, budget=budget, reader=reader)
    finally:
        progress.close()
    print_warnings(record["notes"])
    if args.json:
        print_json(out, record)
    else:
        print_lines(out, *verdict_lines(record))
    return 0


def verdict_lines(record: dict[str, Any]) -> list[str]:
    """What came of a tuning, in words."""
    words = {"same": "neither better nor worse"}.get(record["verdict"], record["verdict"])
    if record["verdict"] == "new":
        dice, count = record["after"]["seeds"], record["change"]["seeds"]["n"]
        scored = f", Dice {dice:.3f} on held-out SEED slices (n = {count})" if count else ""
        return [f"{record['output']}: new{scored}, {record['seconds']:.0f} s"]
    lines = [f"{record['output']}: {words} than {record['parent']['name']}, {record['seconds']:.0f} s"]
    for key, name in (("seeds", "held-out SEED slices"), ("guard", record["change"]["guard"]["kind"])):
        about = record["change"][key]
        if about["n"]:
            error = "" if about["error"] is None else f" ± {about['error']:.3f}"
            before, after = record["before"][key], record["after"][key]
            change = f"{about['mean']:+.3f}{error}"
            lines.append(f"{name} (n = {about['n']}): Dice {before:.3f} before, {after:.3f} after, change {change}")
    return lines


def suggest(args: argparse.Namespace, out: TextIO) -> int:
    """Print the slices to correct next."""
    from ..io.isolated import IsolatedReader

    progress = TerminalProgress()
    try:
        # Before torch is imported: the reader gets ready meanwhile.
        with IsolatedReader(data_outside=args.data_outside) as reader:
            from ..finetuning.suggest import suggest_file
            from ..model.bundle import load_model
            from ..segmentation import InferenceOptions

            progress("load", 0.0)
            model = load_model(args.model, args.device)
            options = InferenceOptions(threads=args.threads)
            record = suggest_file(args.image, model, args.count, options, progress, reader)
    finally:
        progress.close()
    print_warnings(record["warnings"])
    if args.json:
        print_json(out, record)
    else:
        print_lines(out, *(suggested["index"] for suggested in record["slices"]))
    return 0
