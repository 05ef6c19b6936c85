"""`medtl train`: a recipe and cases in, a bundle out."""

import hashlib
import importlib.metadata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from ..cases import CaseFiles, read_cases
from ..errors import InputError
from ..model.bundle import save_bundle
from ..model.card import Gate, ModelCard
from ..model.networks import build
from ..progress import Progress, no_progress
from ..typed_json import encode
from .classifier import ClassRecipe, train_classifier
from .dataset import CachedCase, prepare_cases
from .fit import CHECKPOINT, fit
from .recipe import Recipe
from .recipes import recipe_named, renal_malignancy
from .renal import train_renal
from .split import folds, hold_out


def train(
    name: str,
    cases: Path,
    output: Path,
    *,
    fold: int | None = None,
    resume: bool = False,
    encoder_weights: str | None = None,
    progress: Progress = no_progress,
) -> Path:
    """The bundle folder `output`/NAME, trained by the recipe of that name.

    `output` also keeps the cache of prepared cases and the checkpoint, from which `resume` goes on. `fold` (0-based)
    holds out that fold of all patients instead of the recipe's test patients. `encoder_weights` replaces the recipe's.

    A model that classifies is made by `medtl.training.classifier` or, of plain numbers, `medtl.training.renal`; folds
    stand in their case lists.

    Raises: InputError for cases that cannot be used, an unknown recipe or fold, or an output that holds the bundle,
    or a run that is not to be resumed.
    """
    if name == renal_malignancy.NAME:
        if fold is not None or resume or encoder_weights:
            raise InputError(f"{name} is fitted at once: leave --fold, --resume and --encoder-weights out.")
        return train_renal(cases, output, progress)
    recipe = recipe_named(name)
    if isinstance(recipe, ClassRecipe):
        if fold is not None:
            raise InputError(f"{name} takes its folds from the case list's column 'fold': leave --fold out.")
        return train_classifier(
            recipe, cases, output, resume=resume, encoder_weights=encoder_weights, progress=progress
        )
    bundle = output / recipe.card.name
    if bundle.exists():
        raise InputError(f"{bundle} exists already. Choose another output folder.")
    if (output / CHECKPOINT).exists() and not resume:
        raise InputError(f"{output} holds a run already. Go on with it (--resume) or choose another output folder.")
    if not output.parent.is_dir():
        raise InputError(f"The folder {output.parent} does not exist. Create it or choose another output.")
    listed = read_cases(cases)
    held = held_out_patients(recipe, listed, fold)
    prepared = prepare_cases(listed, recipe.card.input, output / "cache", recipe.binary, progress)
    chosen = [case for case in prepared if case.patient not in held]
    spec = recipe.card.networks[0]
    torch.manual_seed(recipe.fit.seed)
    # A checkpoint holds the encoder, too: nothing to fetch or read again.
    weights = None if resume else encoder_weights or recipe.encoder_weights
    network = build(spec.name, dict(spec.arguments) | ({"encoder_weights": weights} if weights else {}))
    trained = fit(network, chosen, recipe.card.input, recipe.fit, output, resume=resume, progress=progress)
    card = finished_card(recipe, prepared, held, fold)
    state = {spec.prefix + key: value for key, value in trained.state_dict().items()}
    save_bundle(bundle, card, state, recipe.readme, recipe.licence, recipe.facts)
    return bundle


def held_out_patients(recipe: Recipe, cases: Sequence[CaseFiles], fold: int | None) -> frozenset[str]:
    """The patients that are never trained on."""
    patients = [(case.patient, case.site) for case in cases]
    if fold is None:
        return hold_out(patients, recipe.test_share, recipe.seed)
    if not 0 <= fold < recipe.folds:
        raise InputError(f"Expected a fold from 0 to {recipe.folds - 1}, found {fold}.")
    return folds(patients, recipe.folds, recipe.seed)[fold]


def finished_card(recipe: Recipe, cases: Sequence[CachedCase], held: frozenset[str], fold: int | None) -> ModelCard:
    """The recipe's card with the split, the hashes of every image and the ranges for the input gate."""
    trained = [case for case in cases if case.patient not in held]
    training: dict[str, Any] = {
        "split": {
            "by": "patient, stratified by site",
            "seed": recipe.seed,
            "fold": fold,
            "train": {case.case: case.sha256 for case in trained},
            "test": {case.case: case.sha256 for case in cases if case.patient in held},
        },
        "fit": encode(recipe.fit),
        "versions": {package: importlib.metadata.version(package) for package in ("torch", "timm", "monai", "numpy")},
        "list_sha256": hashlib.sha256("\n".join(sorted(case.case for case in trained)).encode()).hexdigest(),
    }
    return replace(recipe.card, training=training, gate=with_ranges(recipe.card.gate, trained))


def with_ranges(gate: Gate, cases: Sequence[CachedCase]) -> Gate:
    """The gate with the range of each statistic that it leaves open: that of the training cases, a quarter wider on
    each side."""
    ranges: dict[str, tuple[float, float]] = {}
    for name in sorted({name for case in cases for name in case.statistics}):
        values = [case.statistics[name] for case in cases if name in case.statistics]
        margin = 0.25 * (max(values) - min(values))
        ranges[name] = (min(values) - margin, max(values) + margin)
    return replace(gate, statistics=MappingProxyType(ranges | dict(gate.statistics)))
