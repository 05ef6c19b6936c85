"""The commands that list, import, export and delete models."""

import argparse
from typing import TextIO

from ..progress import TerminalProgress
from ..results import ImportedModel
from ..typed_json import encode
from .console import print_json, print_lines, print_messages


def models(args: argparse.Namespace, out: TextIO) -> int:
    """List the models, damaged ones with what is wrong."""
    from ..model.acceptance import is_accepted
    from ..model.store import list_models

    entries = list_models()
    if args.json:
        records = [
            {
                "name": item.name,
                "version": item.card.version if item.card else None,
                "task": item.card.task if item.card else None,
                "source": item.source,
                "folder": str(item.folder),
                "licence": item.terms.name or None,
                "permissive": item.terms.permissive,
                "accepted": item.card is not None and is_accepted(item.card, item.terms),
                "problem": item.problem or None,
            }
            for item in entries
        ]
        print_json(out, {"models": records})
        return 0
    for item in entries:
        about = f"{item.card.version}  {item.card.task}" if item.card else "-"
        terms = item.terms.summary if item.card else ""
        remark = item.problem or ("best model of an unfinished tuning" if item.card and item.card.unfinished else "")
        print_lines(out, "  ".join(part for part in (item.name, about, item.source, terms, remark) if part))
    if not entries:
        print_messages("medtl: no models yet: `medtl import PATH` adds a bundle")
    return 0


def import_(args: argparse.Namespace, out: TextIO) -> int:
    """Bring a model into the user's store and print its folder there."""
    from ..model.import_model import import_model
    from ..model.nnunet import ImportOptions

    orientation = "RAS" if args.orientation == "ras" else args.orientation
    options = ImportOptions(args.configuration, args.folds, args.name, args.channels, orientation)
    progress = TerminalProgress()
    try:
        folder = import_model(args.path, options, progress)
    finally:
        progress.close()
    if args.json:
        print_json(out, encode(ImportedModel(folder.name, str(folder))))
    else:
        print_lines(out, folder)
    return 0


def export_model(args: argparse.Namespace, out: TextIO) -> int:
    """Write a model as a zip and print its path."""
    from ..model.store import export_bundle

    export_bundle(args.model, args.output, args.force)
    print_lines(out, args.output)
    return 0


def delete_model(args: argparse.Namespace, out: TextIO) -> int:
    """Delete a model of the user's store and print the folder that it had."""
    from ..model.store import delete_bundle

    print_lines(out, delete_bundle(args.model))
    return 0
