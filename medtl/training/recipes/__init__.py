"""Recipes by name: what a shipped model is trained with, tracked as code."""

from collections.abc import Callable

from ...errors import InputError
from ..classifier import ClassRecipe
from ..recipe import Recipe
from . import brain_tumour_4class, glioma_flair, renal_malignancy, tumour_t1c

RECIPES: dict[str, Callable[[], Recipe | ClassRecipe]] = {
    "glioma-flair": glioma_flair.recipe,
    "tumour-t1c": tumour_t1c.recipe,
    "brain-tumour-4class": brain_tumour_4class.recipe,
}


def recipe_named(name: str) -> Recipe | ClassRecipe:
    """The recipe of that name.

    Raises: InputError when there is none.
    """
    if name not in RECIPES:
        names = ", ".join((*RECIPES, renal_malignancy.NAME))
        raise InputError(f"Expected a recipe of {names}, found {name!r}.")
    return RECIPES[name]()
