"""What the commands that run a model say about its terms."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from .console import print_messages, print_warnings

if TYPE_CHECKING:
    from ..model.card import ModelCard


def add_accept_licence(parser: argparse.ArgumentParser) -> None:
    """Add --accept-licence."""
    text = "accept the terms of the model's weights (its LICENSE); stored on this computer for this version of it"
    parser.add_argument("--accept-licence", action="store_true", help=text)


def tell_terms(card: "ModelCard", folder: Path, args: argparse.Namespace) -> None:
    """Print one line about terms that are not accepted, or accept them where the user says so. `folder` is that of the
    bundle. The command goes on in any case: a script does not stop for it."""
    from ..model.acceptance import accept, is_accepted, reminder
    from ..model.terms import terms_of

    terms = terms_of(folder)
    if args.accept_licence and not is_accepted(card, terms):
        try:
            path = accept(card, terms)
        except InputError as error:
            print_warnings((str(error),))
        else:
            print_messages(f"medtl: accepted: {card.name} {card.version}: {terms.summary}. Stored: {path}")
    elif line := reminder(card, terms, folder):
        print_messages(f"medtl: {line} --accept-licence accepts the terms.")
