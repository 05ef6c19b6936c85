"""`medtl train` for a model that classifies pictures: head first on cached features, then the whole network; its
temperature and its limits of strangeness from pictures that it never learned from.

Source: Disci et al. 2025 (transfer learning of brain tumour class); Guo et al. 2017 (temperature); Liu et al. 2020
(energy); Lee et al. 2018 (Mahalanobis distance).
"""

import importlib.metadata
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from ..bundle import save_bundle
from ..card import Abstention, Calibration, ModelCard, encode
from ..errors import InputError
from ..networks import Classifier2d, build
from ..pictures import framed
from ..progress import Report, silent
from ..seed import voxels_sha256
from ..volume import read_volume
from .augment import Augmentation, augment
from .cases import ClassifiedFile, read_classified
from .fit import CHECKPOINT, Schedule, load_checkpoint, save_checkpoint, start, train_epoch

WATCHED = "0"  # the fold of the training groups that temperature and limits are taken from
REJECTED = 0.025  # of pictures like those of training, by each limit
SMOOTHING = 0.05


@dataclass(frozen=True)
class ClassFit(Schedule):
    """How a classifier is trained: `head` steps of the linear layer alone on cached features, then all of it."""

    epochs: int = 8
    batch: int = 32
    encoder_rate: float = 5e-4
    rate: float = 1e-3
    head: int = 300
    augmentation: Augmentation = field(
        default_factory=lambda: Augmentation(shift=10.0, zoom=0.15, elastic=4.0, contrast=0.3, p_strip=0.0)
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


@dataclass(frozen=True)
class Pictures:
    """Framed pictures, uint8 (n, side, side), 0 for air; their class numbers (n,), groups and the hashes of voxels."""

    images: np.ndarray
    classes: np.ndarray
    files: tuple[ClassifiedFile, ...]
    sha256: tuple[str, ...]

    def of(self, chosen: Sequence[bool] | np.ndarray) -> "Pictures":
        """Those that are chosen (n,)."""
        kept = np.flatnonzero(chosen)
        files, hashes = tuple(self.files[i] for i in kept), tuple(self.sha256[i] for i in kept)
        return Pictures(self.images[kept], self.classes[kept], files, hashes)


def train_classifier(
    recipe: ClassRecipe,
    cases: Path,
    output: Path,
    *,
    resume: bool = False,
    encoder_weights: str | None = None,
    report: Report = silent,
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
    pictures = prepare_pictures(listed, ids, card.input.side or 224, output / "cache", report)
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
        fit_head(network, learned, recipe.fit, report)
    trained = fit_pictures(network, learned, recipe.fit, output, resume=resume, report=report)
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


def prepare_pictures(
    cases: Sequence[ClassifiedFile], ids: Sequence[str], side: int, cache: Path, report: Report = silent
) -> Pictures:
    """All pictures in their frames, from the cache where it holds them as they are now.

    Raises: InputError for one that cannot be read or shows nothing.
    """
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / f"pictures-{side}.npz"
    stats = [(str(c.image), c.image.stat().st_size, c.image.stat().st_mtime_ns) for c in cases]
    key = json.dumps([side, stats])
    classes = np.array([ids.index(case.label) for case in cases])
    if path.exists():
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["key"]) == key:
                return Pictures(stored["images"], classes, tuple(cases), tuple(stored["sha256"].tolist()))
    images, hashes = [], []
    for number, case in enumerate(cases):
        report("prepare", number / len(cases))
        volume = read_volume(case.image)
        if len(volume.array) > 1:
            raise InputError(f"Expected pictures to train on, found a volume: {case.image}. List single slices.")
        frame = framed(volume.array[0], side)
        if frame is None:
            raise InputError(f"Expected a picture that shows a head, found one that shows nothing: {case.image}.")
        images.append(np.rint((frame.image + 1) * 127.5).astype(np.uint8))
        hashes.append(voxels_sha256(volume.array))
    part = path.with_suffix(".part.npz")
    np.savez(part, images=np.stack(images), sha256=np.array(hashes), key=np.array(key))
    part.replace(path)
    return Pictures(np.stack(images), classes, tuple(cases), tuple(hashes))


def as_input(images: np.ndarray) -> Tensor:
    """What the network sees of pictures (n, side, side): float32 (n, 1, side, side), -1 to 1."""
    return torch.from_numpy(images.astype(np.float32) / 127.5 - 1)[:, None].contiguous(
        memory_format=torch.channels_last
    )


@torch.no_grad()
def outputs_of(network: Classifier2d, pictures: Pictures, size: int = 32) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (n, classes), embeddings (n, width) and distances (n,) of pictures, unchanged."""
    network.eval()
    found: list[list[Tensor]] = [[], [], []]
    for begin in range(0, len(pictures.images), size):
        with torch.autocast("cpu", torch.bfloat16):
            features = [f.float() for f in network.encode(as_input(pictures.images[begin : begin + size]))]
        for kept, value in zip(found, (network.decode(features), network.embed(features), network.distance(features))):
            kept.append(value.float())
    logits, embedded, distances = (torch.cat(parts) for parts in found)
    return logits, embedded, distances


def class_weights(classes: np.ndarray, count: int) -> Tensor:
    """The weight of each class in the loss, so that all classes weigh the same."""
    numbers = Counter(classes.tolist())
    return torch.tensor([len(classes) / (count * numbers[k]) for k in range(count)], dtype=torch.float32)


def fit_head(network: Classifier2d, pictures: Pictures, options: ClassFit, report: Report = silent) -> None:
    """Train the linear layer on the features of the pictures, unchanged, the encoder as it is."""
    report("head", 0.0)
    _, embedded, _ = outputs_of(network, pictures)
    truth = torch.from_numpy(pictures.classes)
    weight = class_weights(pictures.classes, network.head.out_features)
    optimizer = torch.optim.Adam(network.head.parameters(), lr=3e-3, weight_decay=1e-4)
    for _ in range(options.head):
        loss = functional.cross_entropy(network.head(embedded), truth, weight, label_smoothing=SMOOTHING)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    report("head", 1.0)


def fit_pictures(
    network: Classifier2d,
    pictures: Pictures,
    options: ClassFit,
    folder: Path,
    *,
    resume: bool = False,
    report: Report = silent,
) -> Classifier2d:
    """The trained network (weights averaged over the last steps), in evaluation mode; checkpointed each epoch."""
    state = start(network, options)
    if resume:
        load_checkpoint(folder, state)
    weight = class_weights(pictures.classes, network.head.out_features)

    def loss_of(logits: Tensor, truth: Tensor) -> Tensor:
        return functional.cross_entropy(logits, truth, weight, label_smoothing=SMOOTHING)

    total = options.epochs * (len(pictures.images) // options.batch)
    while state.epoch < options.epochs:
        torch.manual_seed(options.seed * 1000 + state.epoch)  # of dropout: a resumed run is the same run
        data = changed_batches(pictures, options, state.epoch)
        loss = train_epoch(state, data, total, options, report, loss_of)
        state.epoch += 1
        state.history.append({"epoch": state.epoch, "loss": loss})
        save_checkpoint(folder, state)
    averaged = state.averaged.eval()
    assert isinstance(averaged, Classifier2d)
    return averaged


def changed_batches(pictures: Pictures, options: ClassFit, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Whole batches of changed pictures in another order each epoch, with their classes."""
    random = torch.Generator().manual_seed(options.seed * 1000 + epoch)
    order = torch.randperm(len(pictures.images), generator=random).numpy()
    side = pictures.images.shape[1]
    for begin in range(0, len(order) - options.batch + 1, options.batch):
        chosen = order[begin : begin + options.batch]
        image = torch.from_numpy(pictures.images[chosen].astype(np.float32) / 255)[:, None]
        nothing = torch.zeros(image.shape[0], side, side)
        image, _ = augment(image, nothing, nothing, (side, side), options.augmentation, random)
        yield (image * 2 - 1).clamp(-1, 1), torch.from_numpy(pictures.classes[chosen])


@torch.no_grad()
def note_spread(network: Classifier2d, pictures: Pictures) -> None:
    """Note in the network how the training pictures spread: the mean of each class along the directions of the largest
    variance within classes, each scaled to unit variance."""
    dimensions = network.centres.shape[1]
    if dimensions == 0:
        return
    _, embedded, _ = outputs_of(network, pictures)
    truth = torch.from_numpy(pictures.classes)
    means = torch.stack([embedded[truth == k].mean(0) for k in range(len(network.centres))])
    within = embedded - means[truth]
    values, vectors = torch.linalg.eigh(within.double().T @ within.double() / len(within))
    top = vectors[:, -dimensions:] / values[-dimensions:].clamp(min=1e-6).sqrt()
    network.middle.copy_(embedded.mean(0))
    network.directions.copy_(top.float())
    network.centres.copy_((means - network.middle) @ network.directions)


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
