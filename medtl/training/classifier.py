"""A recipe for a model that classifies pictures: its head is trained first, on cached features, then the whole
network; temperature and limits for abstaining come from pictures that are not trained on.

Source: Disci et al. 2025 (transfer learning of brain tumour class); Guo et al. 2017 (temperature); Liu et al. 2020
(energy); Kamoi and Kobayashi 2020 (Mahalanobis distance from all of training); Ilse et al. 2018 (attention).
"""

import importlib.metadata
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from scipy.optimize import minimize_scalar
from torch import Tensor

from ..cases import read_classified
from ..classification.network import energy
from ..errors import InputError
from ..io import read
from ..io.isolated import Reader
from ..model.bundle import save_bundle
from ..model.card import Abstention, Calibration, ModelCard
from ..model.timm_networks import Classifier2d
from ..progress import Progress, no_progress
from ..typed_json import encode
from .augment import Augmentation
from .fit import Schedule, State, save_checkpoint, start, train_epoch
from .picture_set import Pictures, as_input, augmented_batches, prepare_pictures
from .recipe import TrainedBundle, TrainingRun, bundle_folder, untrained_network

CALIBRATION_FOLD = "0"  # of the training groups: gives temperature and limits, is not trained on
REJECTED = 0.025  # share of pictures like those of training that each limit rejects
SMOOTHING = 0.05  # of the labels
NOISE = 0.02  # of a feature's variance
LEAST_SPREAD = 1e-3  # of a feature: the distance of one that never varies would be infinite


@dataclass(frozen=True)
class ClassFit(Schedule):
    """How a classifier is trained: `head` steps of all but the encoder, on cached features, then all of it.

    `attention` is the weight of the attention's loss against tumour masks, `p_sharpness` the share of pictures that
    are made as sharp as another one.
    """

    epochs: int = 8
    batch: int = 32
    encoder_rate: float = 5e-4
    rate: float = 1e-3
    head: int = 300
    attention: float = 0.5
    p_sharpness: float = 0.5
    # The brightness and core of a tumour depend on its class: they stay.
    augmentation: Augmentation = field(
        default_factory=lambda: Augmentation(
            zoom=0.2, shift=10.0, elastic=4.0, p_strip=0.2, p_faint=0.0, p_necrosis=0.0, contrast=0.15, gamma=0.4
        )
    )


@dataclass(frozen=True)
class ClassificationRecipe:
    """How a model that classifies is made: its card (before training), how it is fitted, and its texts."""

    card: ModelCard
    fit: ClassFit
    encoder_weights: str | None
    readme: str
    licence: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def train(self, run: TrainingRun, progress: Progress = no_progress, reader: Reader = read) -> TrainedBundle:
        """The bundle in the folder `run.output`/NAME. Only cases of the split "train", or of none, are read. Fold 0 of
        them gives temperature and limits; the network is trained on the rest.

        Raises: InputError for cases or options that cannot be used, or an output that is taken.
        """
        card = self.card
        if run.fold is not None:
            raise InputError(f"{card.name} takes its folds from the case list's column 'fold': leave --fold out.")
        bundle = bundle_folder(card, run)
        training_set, calibration_set = self._read(run, progress, reader)
        torch.manual_seed(self.fit.seed)
        network = untrained_network(card, run, self.encoder_weights)
        assert isinstance(network, Classifier2d)
        if not run.resume:
            fit_head(network, training_set, self.fit, progress)
        state = start(network, self.fit, run.output if run.resume else None)
        trained = fit_pictures(state, training_set, self.fit, run.output, progress)
        store_spread(trained, training_set)
        finished = with_limits(card, trained, calibration_set)
        training = {
            "split": {
                "by": "groups of the case list",
                "train": hashes_of(training_set),
                "limits": hashes_of(calibration_set),
            },
            "fit": encode(self.fit),
            "versions": {package: importlib.metadata.version(package) for package in ("torch", "timm", "numpy")},
        }
        weights = {card.networks[0].prefix + key: value for key, value in trained.state_dict().items()}
        save_bundle(bundle, replace(finished, training=training), weights, self.readme, self.licence, self.facts)
        return TrainedBundle(bundle, training_set.warnings)

    def _read(self, run: TrainingRun, progress: Progress, reader: Reader) -> tuple[Pictures, Pictures]:
        """The pictures to train on, and those for temperature and limits."""
        ids = tuple(tumour_class.id for tumour_class in self.card.classes)
        listed = [case for case in read_classified(run.cases, ids) if case.split in ("", "train")]
        pictures = prepare_pictures(listed, ids, self.card.input.side or 224, run.output / "cache", progress, reader)
        held_out = np.array([case.fold == CALIBRATION_FOLD for case in pictures.files])
        parts = pictures.of(~held_out), pictures.of(held_out)
        missing = [number for number in range(len(ids)) if any(number not in part.classes for part in parts)]
        if missing:
            raise InputError(
                f"Expected pictures of each class in fold {CALIBRATION_FOLD} and outside of it, found none of "
                f"{ids[missing[0]]}. Give a column 'fold' with numbers from 0."
            )
        return parts


def hashes_of(pictures: Pictures) -> dict[str, str]:
    """Case name to SHA-256 of its voxels."""
    return {case.case: sha256 for case, sha256 in zip(pictures.files, pictures.sha256, strict=True)}


@torch.no_grad()
def encode_pictures(network: Classifier2d, pictures: Pictures, size: int = 32) -> Tensor:
    """The encoder's features of pictures without augmentation, float16 (n, channels, h, w)."""
    network.eval()
    parts = []
    for begin in range(0, len(pictures.images), size):
        with torch.autocast("cpu", torch.bfloat16):
            (features,) = network.encode(as_input(pictures.images[begin : begin + size]))
        parts.append(features.half())
    return torch.cat(parts)


@torch.no_grad()
def outputs_of(network: Classifier2d, pictures: Pictures, size: int = 32) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (n, classes), `summary` (n, width) and distances (n,) of pictures, as in classification."""
    network.eval()
    collected: list[list[Tensor]] = [[], [], []]
    for begin in range(0, len(pictures.images), size):
        with torch.autocast("cpu", torch.bfloat16):
            features = [f.float() for f in network.encode(as_input(pictures.images[begin : begin + size]))]
        values = (network.decode(features), network.summary(features), network.distance(features))
        for parts, value in zip(collected, values, strict=True):
            parts.append(value.float())
    logits, summaries, distances = (torch.cat(parts) for parts in collected)
    return logits, summaries, distances


def class_weights(classes: np.ndarray, count: int) -> Tensor:
    """The weight of each class in the loss, so that all classes weigh the same."""
    numbers = Counter(classes.tolist())
    return torch.tensor([len(classes) / (count * numbers[k]) for k in range(count)], dtype=torch.float32)


def fit_head(network: Classifier2d, pictures: Pictures, options: ClassFit, progress: Progress = no_progress) -> None:
    """Train all but the encoder on the encoder's features of the pictures, without augmentation."""
    progress("head", 0.0)
    features = encode_pictures(network, pictures)
    truth = torch.from_numpy(pictures.classes)
    tumours = torch.from_numpy(pictures.tumours)
    loss_of = classification_loss(pictures.classes, network.head.out_features, options)
    rest = [p for name, p in network.named_parameters() if not name.startswith("encoder.")]
    optimizer = torch.optim.Adam(rest, lr=2e-3, weight_decay=1e-4)
    network.train()
    random = torch.Generator().manual_seed(options.seed)
    for step in range(options.head):
        progress("head", step / options.head)
        drawn = torch.randint(len(features), (4 * options.batch,), generator=random)
        loss = loss_of(*network.attend([features[drawn].float()]), truth[drawn], tumours[drawn])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    progress("head", 1.0)


def classification_loss(
    classes: np.ndarray, count: int, options: ClassFit
) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """A loss of logits (B, count) and attention (B, h, w) against classes (B,) and tumour masks (B, side, side);
    pictures without a mask count for their class alone. All classes weigh the same."""
    weight = class_weights(classes, count)

    def loss_of(logits: Tensor, attention: Tensor, truth: Tensor, tumour: Tensor) -> Tensor:
        loss = functional.cross_entropy(logits.float(), truth, weight, label_smoothing=SMOOTHING)
        drawn = tumour.flatten(1).any(1)
        if drawn.any():
            rows, columns = attention.shape[1:]
            target = functional.adaptive_avg_pool2d(tumour[drawn][:, None].float(), (rows, columns)).flatten(1)
            predicted = attention[drawn].flatten(1).float().log_softmax(1)
            loss = loss - options.attention * (target / target.sum(1, keepdim=True) * predicted).sum(1).mean()
        return loss

    return loss_of


def fit_pictures(
    state: State, pictures: Pictures, options: ClassFit, folder: Path, progress: Progress = no_progress
) -> Classifier2d:
    """The trained network (weights averaged over the last steps), in evaluation mode, from the state of `start`;
    checkpointed each epoch in `folder`."""
    network = state.network
    assert isinstance(network, Classifier2d)
    class_loss = classification_loss(pictures.classes, network.head.out_features, options)

    def loss_of(trained: Classifier2d, image: Tensor, truth: tuple[Tensor, Tensor]) -> Tensor:
        logits, attention = trained.attend(trained.encode(image))
        with torch.autocast("cpu", enabled=False):
            return class_loss(logits, attention, *truth)

    total = options.epochs * (len(pictures.images) // options.batch)
    while state.epoch < options.epochs:
        seed = options.seed * 1000 + state.epoch
        torch.manual_seed(seed)  # of dropout: a resumed run is the same run
        data = augmented_batches(pictures, options.batch, options.augmentation, options.p_sharpness, seed)
        loss = train_epoch(state, data, total, options, progress, loss_of)
        state.epoch += 1
        state.history.append({"epoch": state.epoch, "loss": loss})
        save_checkpoint(folder, state)
    averaged = state.averaged.eval()
    assert isinstance(averaged, Classifier2d)
    return averaged


@torch.no_grad()
def store_spread(network: Classifier2d, pictures: Pictures) -> None:
    """Store in the network how the features of the training pictures spread: their mean, and the directions in which
    they vary, each scaled to unit variance, in half precision."""
    if not len(network.usual):
        return
    _, summaries, _ = outputs_of(network, pictures)
    values = summaries.double()
    mean, spread = values.mean(0), values.std(0).clamp_min(LEAST_SPREAD)
    scaled = (values - mean) / spread
    # Directions in which features hardly vary would count most: noise is added to the variance.
    variance, vectors = torch.linalg.eigh(scaled.T @ scaled / len(scaled))
    network.usual.copy_(mean.half())
    network.directions.copy_((vectors / spread[:, None] / (variance + NOISE).sqrt()).half())


def with_limits(card: ModelCard, network: Classifier2d, held_out: Pictures) -> ModelCard:
    """The card with the temperature that fits pictures not trained on, and the limits that few of them exceed."""
    logits, _, distances = outputs_of(network, held_out)
    temperature = fitted_temperature(logits, torch.from_numpy(held_out.classes))
    best = (logits / temperature).softmax(1).amax(1)
    rule = card.abstention or Abstention("energy", 0.0, 0.0)
    scores = distances if rule.score == "mahalanobis" else energy(logits, temperature)
    limits = Abstention(
        rule.score,
        round(float(torch.quantile(scores, 1 - REJECTED)), 4),
        round(float(torch.quantile(best, REJECTED)), 4),
    )
    return replace(card, calibration=Calibration(temperature=round(temperature, 4)), abstention=limits)


def fitted_temperature(logits: Tensor, truth: Tensor) -> float:
    """The temperature of the least negative log-likelihood (Guo 2017), between 0.1 and 10; searched on its logarithm,
    of which the loss is a function with one minimum."""

    def loss(logarithm: float) -> float:
        return float(functional.cross_entropy(logits / float(np.exp(logarithm)), truth))

    minimum = minimize_scalar(loss, bounds=(np.log(0.1), np.log(10.0)), method="bounded", options={"xatol": 1e-7})
    return float(np.exp(minimum.x))
