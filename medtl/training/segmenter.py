"""A recipe for a network that segments."""

import hashlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Protocol

import torch

from ..cases import CaseFiles, read_cases
from ..errors import InputError
from ..io import read
from ..io.isolated import Reader
from ..model.bundle import save_bundle
from ..model.card import Gate, ModelCard
from ..progress import Progress, no_progress
from ..typed_json import encode
from .dataset import prepare_cases
from .fit import Fit, Schedule, fit, start
from .recipe import TrainedBundle, TrainingRun, bundle_folder, named_warnings, untrained_network
from .split import folds, hold_out


@dataclass(frozen=True)
class SegmentationRecipe:
    """How a model that segments is made: its card (before training), how it is fitted, who is held out, and its texts.

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

    def train(self, run: TrainingRun, progress: Progress = no_progress, reader: Reader = read) -> TrainedBundle:
        """The bundle in the folder `run.output`/NAME. `run.output` also has the cache of prepared cases and the
        checkpoint.

        Raises: InputError for cases that cannot be used, an unknown fold, or an output that is taken.
        """
        bundle = bundle_folder(self.card, run)
        listed = read_cases(run.cases)
        held = held_out_patients(self, listed, run.fold)
        prepared = prepare_cases(listed, self.card, run.output / "cache", self.binary, progress, reader)
        chosen = [case for case in prepared if case.patient not in held]
        torch.manual_seed(self.fit.seed)
        network = untrained_network(self.card, run, self.encoder_weights)
        state = start(network, self.fit, run.output if run.resume else None)
        trained = fit(state, chosen, self.card.input, self.fit, run.output, progress)
        card = finished_card(self, prepared, held, run.fold)
        weights = {card.networks[0].prefix + key: value for key, value in trained.state_dict().items()}
        save_bundle(bundle, card, weights, self.readme, self.licence, self.facts)
        warnings = [text for case in prepared for text in named_warnings(case.case, case.warnings)]
        return TrainedBundle(bundle, tuple(warnings))


class HeldOut(Protocol):
    """What decides who is held out, of any recipe."""

    @property
    def test_share(self) -> float: ...
    @property
    def seed(self) -> int: ...
    @property
    def folds(self) -> int: ...


class Trainable(HeldOut, Protocol):
    """What a recipe's card is finished with."""

    @property
    def card(self) -> ModelCard: ...
    @property
    def fit(self) -> Schedule: ...


class TrainingCase(Protocol):
    """What a card states of a case."""

    @property
    def case(self) -> str: ...
    @property
    def patient(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def statistics(self) -> Mapping[str, float]: ...


def held_out_patients(recipe: HeldOut, cases: Sequence[CaseFiles], fold: int | None) -> frozenset[str]:
    """The patients that are never trained on."""
    patients = [(case.patient, case.site) for case in cases]
    if fold is None:
        return hold_out(patients, recipe.test_share, recipe.seed)
    if not 0 <= fold < recipe.folds:
        raise InputError(f"Expected a fold from 0 to {recipe.folds - 1}, found {fold}. Choose another.")
    return folds(patients, recipe.folds, recipe.seed)[fold]


def finished_card(
    recipe: Trainable, cases: Sequence[TrainingCase], held: frozenset[str], fold: int | None
) -> ModelCard:
    """The recipe's card with the split, the hashes of every image and the ranges for the input gate."""
    trained = [case for case in cases if case.patient not in held]
    training: dict[str, Any] = {
        "split": {
            "by": "patient, stratified by site",
            "seed": recipe.seed,
            "fold": fold,
            "patients": len({case.patient for case in trained}),
            "train": {case.case: case.sha256 for case in trained},
            "test": {case.case: case.sha256 for case in cases if case.patient in held},
        },
        "fit": encode(recipe.fit),
        "versions": {package: importlib.metadata.version(package) for package in ("torch", "timm", "monai", "numpy")},
        "list_sha256": hashlib.sha256("\n".join(sorted(case.case for case in trained)).encode()).hexdigest(),
    }
    return replace(recipe.card, training=training, gate=with_ranges(recipe.card.gate, trained))


def with_ranges(gate: Gate, cases: Sequence[TrainingCase]) -> Gate:
    """The gate with the range of each statistic that it leaves open: that of the training cases, a quarter wider on
    each side."""
    ranges: dict[str, tuple[float, float]] = {}
    for name in sorted({name for case in cases for name in case.statistics}):
        values = [case.statistics[name] for case in cases if name in case.statistics]
        margin = 0.25 * (max(values) - min(values))
        ranges[name] = (min(values) - margin, max(values) + margin)
    return replace(gate, statistics=MappingProxyType(ranges | dict(gate.statistics)))
