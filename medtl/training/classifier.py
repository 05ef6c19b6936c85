"""`medtl train` for a model that classifies pictures: head first on cached features, then the whole network; its
temperature and its limits of strangeness from pictures that it never learned from.

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
from torch import Tensor

from ..cases import read_classified
from ..errors import InputError
from ..model.bundle import save_bundle
from ..model.card import Abstention, Calibration, ModelCard
from ..model.networks import Classifier2d, build
from ..progress import Progress, no_progress
from ..typed_json import encode
from .augment import Augmentation
from .fit import CHECKPOINT, Schedule, load_checkpoint, save_checkpoint, start, train_epoch
from .picture_set import Pictures, as_input, changed_batches, prepare_pictures

WATCHED = "0"  # the fold of the training groups that temperature and limits are taken from
REJECTED = 0.025  # of pictures like those of training, by each limit
SMOOTHING = 0.05  # of the labels
NOISE = 0.02  # of a feature's variance
LEAST_SPREAD = 1e-3  # of a feature; one that never varies would say infinity of any picture


@dataclass(frozen=True)
class ClassFit(Schedule):
    """How a classifier is trained: `head` steps of all but the encoder, on cached features, then all of it.

    `attention` is the weight of looking where the tumour was drawn, `p_sharpness` the share of pictures that are made
    as sharp as another one.
    """

    epochs: int = 8
    batch: int = 32
    encoder_rate: float = 5e-4
    rate: float = 1e-3
    head: int = 300
    attention: float = 0.5
    p_sharpness: float = 0.5
    # A tumour's brightness and core tell its kind: they stay.
    augmentation: Augmentation = field(
        default_factory=lambda: Augmentation(
            zoom=0.2, shift=10.0, elastic=4.0, p_strip=0.2, p_faint=0.0, p_necrosis=0.0, contrast=0.15, gamma=0.4
        )
    )


@dataclass(frozen=True)
class ClassRecipe:
    """How a classifier is made: its card (weights not yet made), how it is fitted, and its texts."""

    card: ModelCard
    fit: ClassFit
    encoder_weights: str | None
    readme: str
    licence: str
    facts: Mapping[str, Any] = field(default_factory=dict)


def train_classifier(
    recipe: ClassRecipe,
    cases: Path,
    output: Path,
    *,
    resume: bool = False,
    encoder_weights: str | None = None,
    progress: Progress = no_progress,
) -> Path:
    """The bundle folder `output`/NAME. Only cases of the split "train", or of none, are looked at; of these, fold 0
    gives temperature and limits, and the network learns from the rest.

    Raises: InputError for cases that cannot be used, or an output that holds the bundle or a run not to be resumed.
    """
    card = recipe.card
    bundle = output / card.name
    if bundle.exists():
        raise InputError(f"{bundle} exists already. Choose another output folder.")
    if (output / CHECKPOINT).exists() and not resume:
        raise InputError(f"{output} holds a run already. Go on with it (--resume) or choose another output folder.")
    if not output.parent.is_dir():
        raise InputError(f"The folder {output.parent} does not exist. Create it or choose another output.")
    ids = tuple(one.id for one in card.classes)
    listed = [case for case in read_classified(cases, ids) if case.split in ("", "train")]
    pictures = prepare_pictures(listed, ids, card.input.side or 224, output / "cache", progress)
    watched = np.array([case.fold == WATCHED for case in pictures.files])
    learned, held = pictures.of(~watched), pictures.of(watched)
    missing = set(range(len(ids))) - set(learned.classes.tolist()) | set(range(len(ids))) - set(held.classes.tolist())
    if missing:
        raise InputError(
            f"Expected pictures of each class in fold {WATCHED} and outside of it, found none of "
            f"{ids[min(missing)]}. Give a column 'fold' with numbers from 0."
        )
    spec = card.networks[0]
    torch.manual_seed(recipe.fit.seed)
    weights = None if resume else encoder_weights or recipe.encoder_weights
    network = build(spec.name, dict(spec.arguments) | ({"encoder_weights": weights} if weights else {}))
    assert isinstance(network, Classifier2d)
    if not resume:
        fit_head(network, learned, recipe.fit, progress)
    trained = fit_pictures(network, learned, recipe.fit, output, resume=resume, progress=progress)
    note_spread(trained, learned)
    finished = with_limits(card, trained, held)
    training = {
        "split": {
            "by": "groups of the case list",
            "train": {case.case: sha for case, sha in zip(learned.files, learned.sha256, strict=True)},
            "limits": {case.case: sha for case, sha in zip(held.files, held.sha256, strict=True)},
        },
        "fit": encode(recipe.fit),
        "versions": {package: importlib.metadata.version(package) for package in ("torch", "timm", "numpy")},
    }
    state = {spec.prefix + key: value for key, value in trained.state_dict().items()}
    save_bundle(bundle, replace(finished, training=training), state, recipe.readme, recipe.licence, recipe.facts)
    return bundle


@torch.no_grad()
def encoded(network: Classifier2d, pictures: Pictures, size: int = 32) -> Tensor:
    """The encoder's features of pictures, unchanged, float16 (n, channels, h, w)."""
    network.eval()
    found = []
    for begin in range(0, len(pictures.images), size):
        with torch.autocast("cpu", torch.bfloat16):
            (features,) = network.encode(as_input(pictures.images[begin : begin + size]))
        found.append(features.half())
    return torch.cat(found)


@torch.no_grad()
def outputs_of(network: Classifier2d, pictures: Pictures, size: int = 32) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (n, classes), `summary` (n, width) and distances (n,) of pictures, unchanged, as classifying has them."""
    network.eval()
    found: list[list[Tensor]] = [[], [], []]
    for begin in range(0, len(pictures.images), size):
        with torch.autocast("cpu", torch.bfloat16):
            features = [f.float() for f in network.encode(as_input(pictures.images[begin : begin + size]))]
        values = (network.decode(features), network.summary(features), network.distance(features))
        for kept, value in zip(found, values, strict=True):
            kept.append(value.float())
    logits, summaries, distances = (torch.cat(parts) for parts in found)
    return logits, summaries, distances


def class_weights(classes: np.ndarray, count: int) -> Tensor:
    """The weight of each class in the loss, so that all classes weigh the same."""
    numbers = Counter(classes.tolist())
    return torch.tensor([len(classes) / (count * numbers[k]) for k in range(count)], dtype=torch.float32)


def fit_head(network: Classifier2d, pictures: Pictures, options: ClassFit, progress: Progress = no_progress) -> None:
    """Train all but the encoder on the encoder's features of the pictures, unchanged."""
    progress("head", 0.0)
    features = encoded(network, pictures)
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
    """How far logits (B, count) and the attention (B, h, w) are from the classes (B,) and from where a tumour was drawn
    (B, side, side), pictures without a drawing aside. All classes weigh the same."""
    weight = class_weights(classes, count)

    def loss_of(logits: Tensor, attention: Tensor, truth: Tensor, tumour: Tensor) -> Tensor:
        loss = functional.cross_entropy(logits.float(), truth, weight, label_smoothing=SMOOTHING)
        drawn = tumour.flatten(1).any(1)
        if drawn.any():
            rows, columns = attention.shape[1:]
            there = functional.adaptive_avg_pool2d(tumour[drawn][:, None].float(), (rows, columns)).flatten(1)
            said = attention[drawn].flatten(1).float().log_softmax(1)
            loss = loss - options.attention * (there / there.sum(1, keepdim=True) * said).sum(1).mean()
        return loss

    return loss_of


def fit_pictures(
    network: Classifier2d,
    pictures: Pictures,
    options: ClassFit,
    folder: Path,
    *,
    resume: bool = False,
    progress: Progress = no_progress,
) -> Classifier2d:
    """The trained network (weights averaged over the last steps), in evaluation mode; checkpointed each epoch."""
    state = start(network, options)
    if resume:
        load_checkpoint(folder, state)
    measured = classification_loss(pictures.classes, network.head.out_features, options)

    def loss_of(seen: Classifier2d, image: Tensor, truth: tuple[Tensor, Tensor]) -> Tensor:
        logits, attention = seen.attend(seen.encode(image))
        with torch.autocast("cpu", enabled=False):
            return measured(logits, attention, *truth)

    total = options.epochs * (len(pictures.images) // options.batch)
    while state.epoch < options.epochs:
        seed = options.seed * 1000 + state.epoch
        torch.manual_seed(seed)  # of dropout: a resumed run is the same run
        data = changed_batches(pictures, options.batch, options.augmentation, options.p_sharpness, seed)
        loss = train_epoch(state, data, total, options, progress, loss_of)
        state.epoch += 1
        state.history.append({"epoch": state.epoch, "loss": loss})
        save_checkpoint(folder, state)
    averaged = state.averaged.eval()
    assert isinstance(averaged, Classifier2d)
    return averaged


@torch.no_grad()
def note_spread(network: Classifier2d, pictures: Pictures) -> None:
    """Note in the network how the training pictures spread: the mean of their features, and the directions in which
    these vary, each scaled to unit variance; as they will be stored, in half precision."""
    if not len(network.usual):
        return
    _, summaries, _ = outputs_of(network, pictures)
    values = summaries.double()
    mean, spread = values.mean(0), values.std(0).clamp_min(LEAST_SPREAD)
    scaled = (values - mean) / spread
    # Directions in which features hardly vary would count most: their variance is taken for that of noise.
    variance, vectors = torch.linalg.eigh(scaled.T @ scaled / len(scaled))
    network.usual.copy_(mean.half())
    network.directions.copy_((vectors / spread[:, None] / (variance + NOISE).sqrt()).half())


def with_limits(card: ModelCard, network: Classifier2d, held: Pictures) -> ModelCard:
    """The card with the temperature that fits pictures never learned from, and the limits that few of them exceed."""
    logits, _, distances = outputs_of(network, held)
    temperature = fitted_temperature(logits, torch.from_numpy(held.classes))
    best = (logits / temperature).softmax(1).amax(1)
    rule = card.abstention or Abstention("energy", 0.0, 0.0)
    scores = distances if rule.score == "mahalanobis" else -temperature * (logits / temperature).logsumexp(1)
    limits = Abstention(
        rule.score,
        round(float(torch.quantile(scores, 1 - REJECTED)), 4),
        round(float(torch.quantile(best, REJECTED)), 4),
    )
    return replace(card, calibration=Calibration(temperature=round(temperature, 4)), abstention=limits)


def fitted_temperature(logits: Tensor, truth: Tensor) -> float:
    """The temperature of the least negative log-likelihood (Guo 2017), between 0.1 and 10: golden-section search on its
    logarithm, of which the loss is a function with one minimum."""
    low, high = np.log(0.1), np.log(10.0)

    def loss(value: float) -> float:
        return float(functional.cross_entropy(logits / float(np.exp(value)), truth))

    ratio = (np.sqrt(5) - 1) / 2
    for _ in range(40):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    return float(np.exp((low + high) / 2))
