"""The commands `medtl finetune` and `medtl suggest`."""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ..progress import TerminalProgress
from ..typed_json import encode
from .console import print_json, print_lines, print_warnings
from .terms import tell_terms

if TYPE_CHECKING:
    from ..finetuning.files import TuningResult


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
            from ..channels import split_input
            from ..finetuning.files import CaseInput, TuningFiles, finetune_files
            from ..finetuning.new_structure import Structure
            from ..model.bundle import load_model

            structure = None if args.new_structure is None else Structure(args.new_structure, args.plane, args.window)
            progress("load", 0.0)
            model = load_model(args.model, args.device)
            progress.close()
            tell_terms(model.card, model.folder, args)
            images = [split_input(case.image, model.card) for case in args.cases]
            cases = tuple(
                CaseInput(first, case.label, case.slices, tuple(further))
                for case, (first, *further) in zip(args.cases, images, strict=True)
            )
            files = TuningFiles(args.output, cases, args.seeds, structure)
            tuned = finetune_files(model, files, options, progress, budget=budget, reader=reader)
    finally:
        progress.close()
    print_warnings(tuned.outcome.notes)
    if args.json:
        print_json(out, encode(tuned))
    else:
        print_lines(out, *verdict_lines(tuned))
    return 0


def verdict_lines(tuned: "TuningResult") -> list[str]:
    """What came of a tuning, in words."""
    outcome = tuned.outcome
    before, after, change = outcome.before, outcome.after, outcome.change
    if outcome.verdict == "new":
        count = change.seeds.n
        scored = f", Dice {after.seeds:.3f} on held-out SEED slices (n = {count})" if count else ""
        return [f"{tuned.output}: new{scored}, {outcome.seconds:.0f} s"]
    words = {"same": "neither better nor worse"}.get(outcome.verdict, outcome.verdict)
    lines = [f"{tuned.output}: {words} than {tuned.parent.name}, {outcome.seconds:.0f} s"]
    for name, old, new, figures in (
        ("held-out SEED slices", before.seeds, after.seeds, change.seeds),
        (change.guard.kind, before.guard, after.guard, change.guard),
    ):
        if figures.n:
            error = "" if figures.error is None else f" ± {figures.error:.3f}"
            dice = f"Dice {old:.3f} before, {new:.3f} after, change {figures.mean:+.3f}{error}"
            lines.append(f"{name} (n = {figures.n}): {dice}")
    return lines


def suggest(args: argparse.Namespace, out: TextIO) -> int:
    """Print the slices to correct next."""
    from ..io.isolated import IsolatedReader

    progress = TerminalProgress()
    try:
        # Before torch is imported: the reader gets ready meanwhile.
        with IsolatedReader(data_outside=args.data_outside) as reader:
            from ..channels import split_input
            from ..finetuning.suggest import suggest_file
            from ..model.bundle import load_model
            from ..segmentation import InferenceOptions

            progress("load", 0.0)
            model = load_model(args.model, args.device)
            progress.close()
            tell_terms(model.card, model.folder, args)
            options = InferenceOptions(threads=args.threads)
            images = split_input(args.image, model.card)
            suggested = suggest_file(images, model, args.count, options, progress, reader)
    finally:
        progress.close()
    print_warnings(suggested.suggestion.warnings)
    if args.json:
        print_json(out, encode(suggested))
    else:
        print_lines(out, *(one.index for one in suggested.suggestion.slices))
    return 0
