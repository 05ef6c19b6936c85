"""Training of a model of two stages: one network finds the region, another, of two encoders, segments inside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ..cases import CaseFiles, read_cases
from ..errors import InputError
from ..io import read
from ..io.isolated import Reader
from ..model.bundle import save_bundle
from ..model.card import ModelCard, NetworkSpec, region_card
from ..model.network import Network
from ..model.networks import build
from ..progress import Progress, no_progress
from .fit import CHECKPOINT, start
from .recipe import TrainedBundle, TrainingRun, bundle_folder, named_warnings
from .segmenter import finished_card, held_out_patients
from .windows import WindowedCase, WindowFit, fit_windows, prepare_windowed

OWN, AUXILIARY = "own.csv", "auxiliary.csv"


@dataclass(frozen=True)
class TwoStageRecipe:
    """How a model of two stages is made; see `WindowRecipe`. The case list is a folder with `own.csv` and
    `auxiliary.csv`, a set whose one label is like the first of the model's.

    The network of the region learns all labels of both sets as one. An encoder learns the auxiliary set, is then
    fixed, and becomes one of the two of the model's network, which learns both sets: the own one alone may lack a kind
    of image that the auxiliary one has.
    """

    card: ModelCard
    fit: WindowFit
    region_fit: WindowFit
    auxiliary_fit: WindowFit
    encoder_weights: str | None
    test_share: float
    seed: int
    folds: int
    readme: str
    licence: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def train(self, run: TrainingRun, progress: Progress = no_progress, reader: Reader = read) -> TrainedBundle:
        """The bundle in the folder `run.output`/NAME; folders beside it have the checkpoint of each network.

        Raises: InputError for cases that cannot be used, an unknown fold, or an output that is taken.
        """
        bundle = bundle_folder(self.card, run)
        if not run.cases.is_dir():
            raise InputError(f"Expected a folder with {OWN} and {AUXILIARY}, found {run.cases}. Name the folder.")
        listed, others = (read_cases(run.cases / name) for name in (OWN, AUXILIARY))
        held = held_out_patients(self, listed, run.fold)
        chosen = [case for case in listed if case.patient not in held]
        first = region_card(self.card)
        seen = prepared([*chosen, *others], first, reader)
        found = self.trained(first, first.networks[0], self.region_fit, seen, run, "region")
        known = auxiliary_card(self.card)
        helper = self.trained(
            known, known.networks[0], self.auxiliary_fit, prepared(others, known, reader), run, "auxiliary"
        )
        every = prepared(listed, self.card, reader, binary=False)
        own = [case for case in every if case.patient not in held]
        learned = [*own, *prepared(others, self.card, reader)]
        network = with_auxiliary(self.card, helper, self.weights(run))
        trained = fitted(network, self.card, self.fit, learned, run, "own", progress)
        card = finished_card(self, every, held, run.fold)
        networks = ((card.networks[0].prefix, trained), (first.networks[0].prefix, found))
        weights = {prefix + key: value for prefix, one in networks for key, value in one.state_dict().items()}
        save_bundle(bundle, card, weights, self.readme, self.licence, self.facts)
        return TrainedBundle(bundle, tuple(t for case in every for t in named_warnings(case.case, case.warnings)))

    def trained(
        self,
        card: ModelCard,
        spec: NetworkSpec,
        options: WindowFit,
        cases: Sequence[WindowedCase],
        run: TrainingRun,
        name: str,
    ) -> Network:
        """A network trained on the cases."""
        return fitted(untrained(spec, self.weights(run)), card, options, cases, run, name)

    def weights(self, run: TrainingRun) -> str | None:
        """The weights that encoders start from; a run that is resumed takes all weights from its checkpoints, so
        nothing is fetched."""
        return None if run.resume else run.encoder_weights or self.encoder_weights


def fitted(
    network: Network,
    card: ModelCard,
    options: WindowFit,
    cases: Sequence[WindowedCase],
    run: TrainingRun,
    name: str,
    progress: Progress = no_progress,
) -> Network:
    """The network trained on the cases, with its checkpoint in the folder `name` of the run."""
    folder = run.output / name
    folder.mkdir(parents=True, exist_ok=True)
    resumed = folder if run.resume and (folder / CHECKPOINT).exists() else None
    return fit_windows(start(network, options, resumed), cases, card, options, replace(run, output=folder), progress)


def prepared(
    cases: Sequence[CaseFiles], card: ModelCard, reader: Reader = read, binary: bool = True
) -> list[WindowedCase]:
    """The cases on the grid of the card's network."""
    return [prepare_windowed(case, card, binary, reader=reader) for case in cases]


def auxiliary_card(card: ModelCard) -> ModelCard:
    """The card of the network that learns the auxiliary set: one label, one encoder."""
    spec = card.networks[0]
    network = NetworkSpec("unet2d", {**spec.arguments, "labels": 1}, "auxiliary.")
    return replace(card, labels=card.labels[:1], networks=(network,), region=None)


def with_auxiliary(card: ModelCard, helper: Network, encoder_weights: str | None = None) -> Network:
    """The network of the card with the encoder of the helper as its auxiliary one, which is fixed; its own encoder has
    these weights."""
    network = untrained(card.networks[0], encoder_weights)
    network.auxiliary.load_state_dict(helper.unet.encoder.state_dict())  # type: ignore[union-attr]
    return network


def untrained(spec: NetworkSpec, encoder_weights: str | None) -> Network:
    """A network with seeded random weights, its encoder with these."""
    torch.manual_seed(0)
    return build(spec.name, dict(spec.arguments) | ({"encoder_weights": encoder_weights} if encoder_weights else {}))
