"""Recipes: objects with a card that train a model."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Protocol

from ..errors import InputError
from ..io.into_place import check_parent
from ..io.isolated import Reader
from ..model.card import ModelCard
from ..model.network import Network
from ..model.networks import build
from ..progress import Progress
from .fit import CHECKPOINT


@dataclass(frozen=True)
class TrainingRun:
    """The options of one training: the case list and the folder for the bundle, the cache and the checkpoint.

    `fold` (0-based) holds out that fold of all patients instead of the recipe's test patients; `resume` continues from
    the checkpoint in `output`; `encoder_weights`, a name on timm's hub or a `.safetensors` file, replaces the recipe's.
    """

    cases: Path
    output: Path
    fold: int | None = None
    resume: bool = False
    encoder_weights: str | None = None


@dataclass(frozen=True)
class TrainedBundle:
    """The bundle of a trained model: its `folder`, and `warnings`, those of reading each case after its name."""

    folder: Path
    warnings: tuple[str, ...] = ()


def named_warnings(case: str, warnings: Iterable[str]) -> tuple[str, ...]:
    """The warnings of reading a case, each after the case's name."""
    return tuple(f"{case}: {text}" for text in warnings)


class Recipe(Protocol):
    """How a model is made. `card` describes it before it has weights."""

    @property
    def card(self) -> ModelCard: ...

    def train(self, run: TrainingRun, progress: Progress, reader: Reader) -> TrainedBundle:
        """The bundle in the folder `run.output`/NAME.

        Raises: InputError for cases or options that cannot be used, or an output that is taken.
        """
        ...


def text_of(name: str) -> str:
    """The content of a text file beside the recipes, such as `glioma_flair.md`."""
    return (files(__package__) / "recipes" / name).read_text(encoding="utf-8")


def bundle_folder(card: ModelCard, run: TrainingRun) -> Path:
    """The folder of the bundle, which does not exist yet.

    Raises: InputError when it exists, the output holds a run that is not to be resumed, or there is no folder for it.
    """
    bundle = run.output / card.name
    if bundle.exists():
        raise InputError(f"{bundle} exists already. Choose another output folder.")
    if (run.output / CHECKPOINT).exists() and not run.resume:
        raise InputError(f"{run.output} holds a run already. Continue it (--resume) or choose another output folder.")
    check_parent(run.output)
    return bundle


def untrained_network(card: ModelCard, run: TrainingRun, encoder_weights: str | None) -> Network:
    """The network of the card, its encoder with the run's weights or else these; a run that is resumed takes all
    weights from its checkpoint, so nothing is fetched."""
    spec = card.networks[0]
    weights = None if run.resume else run.encoder_weights or encoder_weights
    return build(spec.name, dict(spec.arguments) | ({"encoder_weights": weights} if weights else {}))
