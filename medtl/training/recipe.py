"""What a recipe is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..model.card import ModelCard
from .fit import Fit


@dataclass(frozen=True)
class Recipe:
    """How a model is made: its card (weights not yet made), how it is fitted, who is held out, and its texts.

    `encoder_weights` is a name on timm's hub or a `.safetensors` file. `test_share` of each site's patients is held out
    by `seed`; `binary` makes every label above 0 the one label. `facts` are MONAI's entries of metadata.json.
    """

    card: ModelCard
    fit: Fit
    encoder_weights: str | None
    test_share: float
    seed: int
    folds: int
    binary: bool
    readme: str
    licence: str
    facts: Mapping[str, Any] = field(default_factory=dict)
