"""The input of a network's decoder: the encoder's features of SEED slices and of augmented copies."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..decision import check_finite, decide_logits
from ..evaluation.metrics import label_dice
from ..model.bundle import Model
from ..model.card import InputSpec, ModelCard
from ..preprocess import Prepared, Turned, batch, from_tissue_units, neighbour_steps, prepare, to_tissue_units, turn
from ..training.augment import Augmentation, change_contrast, change_lesion, change_resolution, uniform, warp
from ..volume import Volume
from .seed import IGNORE, Seed, check_place

# Weaker changes than in training: these are the user's own slices.
AUGMENTATION = Augmentation(rotation=15.0, zoom=0.15, stretch=0.05, shift=8.0, elastic=4.0, p_faint=0.5)


class Shown(Protocol):
    """Slices of one case with their classes `truth`, int64 (n, h, w); IGNORE is unknown."""

    @property
    def truth(self) -> Tensor: ...

    def logits(self, model: Model) -> Iterator[Tensor]:
        """The logits of the model with its present weights, float32 (n, outputs, h, w), a few slices at a time."""
        ...


class Case(Protocol):
    """A case as its model sees it, with its `number` among the cases of a run.

    SEEDs lie along the `axis` of the turned volume. `truth` maps each SEED (its slice) to the class of each pixel:
    int64, 0 is background, IGNORE is unknown. `occupied` are the slices that show some of the body.
    """

    @property
    def number(self) -> int: ...
    @property
    def prepared(self) -> Turned: ...
    @property
    def axis(self) -> int: ...
    @property
    def truth(self) -> Mapping[int, np.ndarray]: ...
    @property
    def occupied(self) -> list[int]: ...

    def show(self, model: Model, slices: Sequence[int], truth: Tensor | None = None) -> Shown:
        """These slices, with their own truth where none is given."""
        ...


@dataclass(frozen=True)
class SeedCase:
    """A case in the model's plane, for a network of slices; see `Case`. The truth is that of the box, padded as the
    network's input is."""

    number: int
    prepared: Prepared
    steps: tuple[int, ...]
    multiple: int
    truth: dict[int, np.ndarray]
    axis = 0

    @property
    def occupied(self) -> list[int]:
        """The slices that show some of the body."""
        return [int(k) for k in np.flatnonzero(self.prepared.occupied)]

    def images(self, slices: Sequence[int]) -> Tensor:
        """The network's input of these slices, float32 (n, channels, h, w)."""
        return torch.from_numpy(batch(self.prepared, slices, self.steps, self.multiple))

    def show(self, model: Model, slices: Sequence[int], truth: Tensor | None = None) -> "EncodedSlices":
        """The features of these slices, with their own truth where none is given."""
        if truth is None:
            truth = torch.from_numpy(np.stack([self.truth[k] for k in slices]))
        return EncodedSlices(self.number, tuple(slices), encode(model, self.images(slices)), truth.to(model.device))


@dataclass(frozen=True)
class EncodedSlices:
    """Slices of one case (its number), of one size, as the decoder gets them: features float16, finest first, and
    classes int64 (n, h, w)."""

    case: int
    slices: tuple[int, ...]
    features: list[Tensor]
    truth: Tensor

    def __len__(self) -> int:
        return len(self.slices)

    @torch.inference_mode()
    def logits(self, model: Model) -> Iterator[Tensor]:
        """The logits of eight slices at a time; see `Shown`."""
        for begin in range(0, len(self), 8):
            yield decode(model, [f[begin : begin + 8] for f in self.features])


def prepare_case(volume: Volume, seeds: Sequence[Seed], spec: InputSpec, multiple: int, number: int = 0) -> SeedCase:
    """The volume in the model's plane with its SEEDs.

    Raises: InputError when a SEED is not a slice of the volume.
    """
    for seed in seeds:
        check_place(seed, volume)
    prepared = prepare(volume, spec, multiple)
    steps = tuple(neighbour_steps(spec, prepared.slice_mm))
    truth = {turned_index(seed.index, prepared): on_box(seed.mask, prepared, multiple) for seed in seeds}
    return SeedCase(number, prepared, steps, multiple, truth)


def spread(slices: Sequence[int], count: int) -> list[int]:
    """At most `count` of the slices, evenly spaced over them."""
    places = np.linspace(0, len(slices) - 1, min(count, len(slices))).round().astype(int)
    return [int(slices[place]) for place in np.unique(places)]


def turned_index(index: int, prepared: Turned, axis: int = 0) -> int:
    """The slice along an axis of the turned volume of a slice of the volume's array."""
    return prepared.turned_shape[axis] - 1 - index if axis in prepared.flips else index


def turned_mask(mask: np.ndarray, prepared: Turned, axis: int = 0) -> np.ndarray:
    """A SEED's mask with rows and columns as slices along that axis of the turned volume have them."""
    turned = turn(np.expand_dims(mask, prepared.axes[axis]), prepared.axes, prepared.flips)
    return np.asarray(turned.take(0, axis))


def on_box(mask: np.ndarray, prepared: Prepared, multiple: int) -> np.ndarray:
    """A slice's classes, as the volume's array has them, on the padded box of the model's grid; int64."""
    turned = turned_mask(mask, prepared)
    if prepared.resampled:
        picks = [
            ((np.arange(new) + 0.5) * old / new).astype(int)
            for new, old in zip(prepared.array.shape[1:], turned.shape, strict=True)
        ]
        turned = turned[np.ix_(*picks)]
    part = turned[prepared.box].astype(np.int64)
    pad = [(0, -n % multiple) for n in part.shape]
    return np.pad(part, pad, constant_values=IGNORE)


@torch.inference_mode()
def encode(model: Model, images: Tensor) -> list[Tensor]:
    """Features of images (n, channels, h, w), float16, computed a few slices at a time."""
    parts = []
    for batch_images in images.split(8):
        x = batch_images.to(model.device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(model.device, torch.bfloat16, enabled=model.bf16):
            parts.append([f.half() for f in model.networks[0].encode(x)])
    return [torch.cat(level) for level in zip(*parts, strict=True)]


def augmented_copies(
    model: Model, case: SeedCase, slices: Sequence[int], count: int, random: torch.Generator
) -> Iterator[EncodedSlices]:
    """`count` copies of the SEED slices, the first as it is, the others augmented."""
    images = case.images(slices)
    truth = torch.from_numpy(np.stack([case.truth[k] for k in slices]))
    yield case.show(model, slices)
    for _ in range(count - 1):
        image, classes = augment_seeds(images, truth, model.card.input, random)
        features = encode(model, image.clamp(*case.prepared.clip))
        yield EncodedSlices(case.number, tuple(slices), features, classes.to(model.device))


def augment_seeds(image: Tensor, truth: Tensor, spec: InputSpec, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """The slices and their classes with random changes of position and intensity; pixels from outside are IGNORE. Heads
    are mirrored, bodies are not: their organs have a side."""
    labels = int(truth[truth != IGNORE].max()) if (truth != IGNORE).any() else 0
    classes = torch.stack([truth == n for n in range(labels + 1)], 1).float()
    lit = to_tissue_units(image)  # 0 is the background of either scaling
    is_head = spec.scaling == "tissue"
    size = (image.shape[2], image.shape[3])
    moved = warp(torch.cat([lit, classes], 1), size, AUGMENTATION, random, mirror=is_head)
    lit, classes = moved[:, : image.shape[1]], moved[:, image.shape[1] :]
    known = classes.sum(1) > 0.99
    best = classes.argmax(1)
    if is_head:
        lit = change_lesion(lit, best > 0, AUGMENTATION, random)
        lit = change_contrast(lit, AUGMENTATION, random)
    lit = change_resolution(lit, AUGMENTATION, random)
    noise = torch.randn(lit.shape, generator=random) * uniform(lit, random) * AUGMENTATION.noise
    return from_tissue_units(lit + noise), torch.where(known, best, IGNORE)


def decode(model: Model, features: Sequence[Tensor], fold: int = 0) -> Tensor:
    """Logits float32 (n, outputs, …) of features, by one fold."""
    planar = features[0].ndim == 4
    levels = [f.float().contiguous(memory_format=torch.channels_last) if planar else f.float() for f in features]
    with torch.autocast(model.device, torch.bfloat16, enabled=model.bf16):
        return model.networks[fold].decode(levels).float()


@torch.inference_mode()
def predict(model: Model, shown: Shown) -> Tensor:
    """The class of each pixel, int64 (n, h, w).

    Raises: ModelError when a logit is not finite.
    """
    return torch.cat([classes_of(logits, model.card) for logits in shown.logits(model)])


def classes_of(logits: Tensor, card: ModelCard) -> Tensor:
    """The class of each pixel (n, h, w) from logits (n, outputs, h, w), as `segment` decides.

    Raises: ModelError when a logit is not finite.
    """
    check_finite(card, logits)
    return decide_logits(card, logits)


def dices(prediction: Tensor, truth: Tensor, labels: int, pooled: bool = False) -> np.ndarray:
    """Dice, the mean over labels, of each slice (n, h, w), or (`pooled`) of all slices together; pixels whose truth is
    IGNORE do not count, and a label that is in neither has 1."""
    arrays = prediction.cpu().numpy(), truth.cpu().numpy()
    return np.atleast_1d(label_dice(*arrays, labels, IGNORE, by_slice=not pooled))
