"""Recipes by name: what a shipped model is trained with, tracked as code."""

from collections.abc import Callable

from ...errors import InputError
from ..recipe import Recipe
from . import glioma_flair

RECIPES: dict[str, Callable[[], Recipe]] = {"glioma-flair": glioma_flair.recipe}


def recipe_named(name: str) -> Recipe:
    """The recipe of that name.

    Raises: InputError when there is none.
    """
    if name not in RECIPES:
        raise InputError(f"Expected a recipe of {', '.join(RECIPES)}, found {name!r}.")
    return RECIPES[name]()
