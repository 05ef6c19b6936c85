"""Recipes by name: what the shipped models were trained with, tracked as code."""

from ...errors import InputError
from ..recipe import Recipe
from . import (
    brain_tumour_4class,
    glioma_flair,
    head_neck_ct,
    kidney_tumour_ct,
    liver_ct,
    renal_malignancy,
    sarcoma_ct,
    sarcoma_mr,
    tumour_t1c,
)

RECIPES: dict[str, Recipe] = {
    recipe.card.name: recipe
    for recipe in (
        glioma_flair.RECIPE,
        tumour_t1c.RECIPE,
        brain_tumour_4class.RECIPE,
        renal_malignancy.RECIPE,
        sarcoma_mr.RECIPE,
        sarcoma_ct.RECIPE,
        liver_ct.RECIPE,
        head_neck_ct.RECIPE,
        kidney_tumour_ct.RECIPE,
    )
}


def recipe_named(name: str) -> Recipe:
    """The recipe of that name.

    Raises: InputError when there is none.
    """
    if name not in RECIPES:
        raise InputError(f"Expected a recipe of {', '.join(RECIPES)}, found {name!r}. Choose one of them.")
    return RECIPES[name]
