"""The terms of a model's weights, which the user accepts once on this computer. No Qt."""

import logging

from medtl.errors import InputError, MedTLError
from medtl.model.acceptance import accept, is_accepted, reminder
from medtl.model.card import load_card
from medtl.model.store import ModelEntry, find_model
from medtl.model.terms import Terms, terms_of

# What was accepted where nothing can be stored: it holds until Slicer is closed.
_not_stored: set[tuple[str, str, Terms]] = set()


def must_ask(entry: ModelEntry) -> bool:
    """Whether the user has to accept the terms before this model runs."""
    if entry.card is None or is_accepted(entry.card, entry.terms):
        return False
    return (entry.card.family, entry.card.version, entry.terms) not in _not_stored


def keep(entry: ModelEntry) -> str:
    """Store that the user accepts the terms; the sentence for the user where that is not possible, else empty."""
    if entry.card is None:
        return ""
    try:
        accept(entry.card, entry.terms)
    except InputError as error:
        _not_stored.add((entry.card.family, entry.card.version, entry.terms))
        return str(error)
    return ""


def remind(name: str) -> None:
    """Log the terms of a model that a script runs, where they were not accepted: a script is not asked."""
    try:
        folder = find_model(name)
        line = reminder(load_card(folder), terms_of(folder), folder)
    except MedTLError:  # running the model will give the reason
        return
    if line:
        logging.warning(line)
