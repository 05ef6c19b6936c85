"""`medtl evaluate`: the figures of a model on labelled cases."""

import argparse
import math
from typing import Any, TextIO

from ..errors import InputError
from ..progress import TerminalProgress
from ..typed_json import encode
from .console import print_error, print_json, print_lines, print_warnings
from .terms import tell_terms


def evaluate(args: argparse.Namespace, out: TextIO) -> int:
    """Print a model's figures on labelled cases; a case that fails does not stop the others."""
    if not args.cases.exists():
        raise InputError(f"Expected a CSV file or a folder of cases, found nothing at {args.cases}. Check the path.")
    progress = TerminalProgress()

    def failed(case: str, error: BaseException) -> None:
        progress.close()
        print_error(error, args, case)

    try:
        evaluation = evaluate_cases(args, progress, failed)
    finally:
        progress.close()
    answer = encode(evaluation)
    if args.json:
        print_json(out, answer)
    elif answer["cases"]:
        print_lines(out, *figure_lines(answer))
    for case in answer["cases"]:
        print_warnings(case.get("warnings", ()), case["case"])
    return 1 if answer["errors"] else 0


def evaluate_cases(args: argparse.Namespace, progress: Any, failed: Any) -> Any:
    """The figures of the model; its cases are read in another process, so that none ends the work."""
    from ..io.isolated import IsolatedReader
    from ..model.bundle import load_model

    progress("load", 0.0)
    with IsolatedReader(data_outside=args.data_outside) as reader:
        model = load_model(args.model, args.device, None)
        progress.close()
        tell_terms(model.card, model.folder, args)
        return evaluate_with(model, reader, args, progress, failed)


def evaluate_with(model: Any, reader: Any, args: argparse.Namespace, progress: Any, failed: Any) -> Any:
    """The figures of the model, its cases read by `reader`."""
    if model.card.task == "classification":
        from ..classification.classify import ClassifyOptions
        from ..evaluation.classification import evaluate_classes

        if args.binary or args.partial:
            option = "--binary" if args.binary else "--partial"
            raise InputError(f"Expected a model that segments with {option}, found one that classifies. Leave it out.")
        options = ClassifyOptions(device=args.device, threads=args.threads)
        return evaluate_classes(model, args.cases, options, progress, failed, reader)
    from ..evaluation.segmentation import evaluate as measure
    from ..segmentation import InferenceOptions

    chosen = InferenceOptions(threads=args.threads)
    return measure(
        model, args.cases, chosen, progress, binary=args.binary, failed=failed, reader=reader, partial=args.partial
    )


def figure_lines(answer: dict[str, Any]) -> list[str]:
    """The figures of an evaluation as a table: name, mean, 95 % CI."""
    rows = {name: value for name, value in answer.items() if isinstance(value, dict) and "mean" in value}
    rows |= {f"pooled {name}": value for name, value in answer.get("pooled", {}).items()}
    rows |= {f"dice {label}": value for label, value in answer.get("labels", {}).items()}
    width = max([len(name) for name in rows] + [5])
    failed = f" ({len(answer['errors'])} failed)" if answer["errors"] else ""
    lines = [f"{answer['model']}: n = {answer['n']}{failed}", f"{'':<{width}}  {'mean':>8}  95 % CI"]
    for name, value in rows.items():
        low, high = value.get("ci95") or (None, None)
        lines.append(f"{name:<{width}}  {decimals(value['mean']):>8}  [{decimals(low)}, {decimals(high)}]")
    return lines


def decimals(value: float | None) -> str:
    """Three decimals, or a dash where there is nothing to state."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.3f}"
