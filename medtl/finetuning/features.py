"""SEED slices as a network's decoder gets them: what the encoder makes of the slices and of changed copies of them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from ..model.bundle import Model
from ..model.card import Calibration, InputSpec
from ..preprocess import Prepared, batch, neighbour_steps, prepare, turn
from ..segmentation import decide as by_threshold
from ..training.augment import Augmentation, change_contrast, change_lesion, change_resolution, smooth_noise, uniform
from ..volume import Volume
from .seed import IGNORE, Seed

# Of the user's own slices, moved less than in training.
CHANGES = Augmentation(rotation=15.0, zoom=0.15, stretch=0.05, shift=8.0, elastic=4.0, p_faint=0.5)


@dataclass(frozen=True)
class Marked:
    """A case in the model's plane, and of its SEEDs (slice of that plane) the class of each pixel of the box, padded as
    the network's input is: int64, 0 is background, IGNORE counts for nothing."""

    case: str
    prepared: Prepared
    steps: tuple[int, ...]
    multiple: int
    truth: dict[int, np.ndarray]

    def images(self, slices: Sequence[int]) -> Tensor:
        """What the network sees of these slices, float32 (n, channels, h, w)."""
        return torch.from_numpy(batch(self.prepared, slices, self.steps, self.multiple))


@dataclass(frozen=True)
class Cached:
    """Slices of one size as the decoder gets them: features float16, finest first, and classes int64 (n, h, w)."""

    case: str
    slices: tuple[int, ...]
    features: list[Tensor]
    truth: Tensor

    def __len__(self) -> int:
        return len(self.slices)


def mark(volume: Volume, seeds: Sequence[Seed], spec: InputSpec, multiple: int) -> Marked:
    """The volume in the model's plane with its SEEDs."""
    prepared = prepare(volume, spec, multiple)
    count = prepared.turned_shape[0]
    steps = tuple(neighbour_steps(spec, prepared.slice_mm))
    truth = {}
    for seed in seeds:
        k = count - 1 - seed.index if 0 in prepared.flips else seed.index
        truth[k] = on_box(seed.mask, prepared, multiple)
    return Marked(volume.name, prepared, steps, multiple, truth)


def on_box(mask: np.ndarray, prepared: Prepared, multiple: int) -> np.ndarray:
    """A slice's classes, as the volume's array has them, on the padded box of the model's grid; int64."""
    turned = turn(np.expand_dims(mask, prepared.axes[0]), prepared.axes, prepared.flips)[0]
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
    """Features of images (n, channels, h, w) as float16, a few slices at a time."""
    parts = []
    for some in images.split(8):
        x = some.to(model.device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(model.device, torch.bfloat16, enabled=model.bf16):
            parts.append([f.half() for f in model.networks[0].encode(x)])
    return [torch.cat(level) for level in zip(*parts, strict=True)]


def cached(model: Model, case: Marked, slices: Sequence[int], truth: np.ndarray | None = None) -> Cached:
    """The features of slices as they are, with their SEED masks or the classes `truth`."""
    if truth is None:
        truth = np.stack([case.truth[k] for k in slices])
    return Cached(
        case.case, tuple(slices), encode(model, case.images(slices)), torch.from_numpy(truth).to(model.device)
    )


def copies(
    model: Model, case: Marked, slices: Sequence[int], spec: InputSpec, count: int, random: torch.Generator
) -> Iterator[Cached]:
    """`count` copies of the SEED slices, the first as it is, the others changed: one `Cached` a copy."""
    images = case.images(slices)
    truth = torch.from_numpy(np.stack([case.truth[k] for k in slices]))
    yield cached(model, case, slices)
    for _ in range(count - 1):
        image, classes = changed(images, truth, spec, random)
        yield Cached(
            case.case, tuple(slices), encode(model, image.clamp(*case.prepared.clip)), classes.to(model.device)
        )


def changed(image: Tensor, truth: Tensor, spec: InputSpec, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """The slices moved, bent and with other intensities; what comes in from outside is IGNORE."""
    labels = int(truth[truth != IGNORE].max()) if (truth != IGNORE).any() else 0
    classes = torch.stack([truth == n for n in range(labels + 1)], 1).float()
    lit = (image + 1) / 0.8  # 0 is the background of either scaling; tissue is about 1
    moved = moved_copy(torch.cat([lit, classes], 1), spec.scaling == "tissue", random)
    lit, classes = moved[:, : image.shape[1]], moved[:, image.shape[1] :]
    known = classes.sum(1) > 0.99
    best = classes.argmax(1)
    if spec.scaling == "tissue":
        lit = change_lesion(lit, best > 0, CHANGES, random)
        lit = change_contrast(lit, CHANGES, random)
    lit = change_resolution(lit, CHANGES, random)
    noise = torch.randn(lit.shape, generator=random) * uniform(lit, random) * CHANGES.noise
    return (lit + noise) * 0.8 - 1, torch.where(known, best, IGNORE)


def moved_copy(stack: Tensor, mirror: bool, random: torch.Generator) -> Tensor:
    """The stack (n, channels, h, w) turned, scaled, shifted and bent, each slice in its own way; outside is 0. Heads
    are mirrored (`mirror`), bodies are not: their organs have a side."""
    count, _, height, width = stack.shape
    angle = uniform(stack, random, -1, 1) * math.radians(CHANGES.rotation)
    zoom = torch.exp(uniform(stack, random, -1, 1) * CHANGES.zoom)
    stretch = torch.exp(uniform(stack, random, -1, 1) * CHANGES.stretch)
    side = torch.where(uniform(stack, random) < 0.5, -1.0, 1.0) if mirror else torch.ones_like(angle)
    y, x = torch.meshgrid(torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2, indexing="ij")
    bend = smooth_noise(count, 2, 5, (height, width), random) * CHANGES.elastic * uniform(stack, random)
    shift = (torch.rand((2, count, 1, 1, 1), generator=random) * 2 - 1) * CHANGES.shift
    right, down = x * side * zoom * stretch, y * zoom / stretch
    x_in = right * torch.cos(angle) - down * torch.sin(angle) + bend[:, :1] + shift[0]
    y_in = right * torch.sin(angle) + down * torch.cos(angle) + bend[:, 1:] + shift[1]
    grid = torch.stack([x_in * 2 / width, y_in * 2 / height], -1)[:, 0]
    return functional.grid_sample(stack, grid, mode="bilinear", align_corners=False)


def decode(model: Model, features: Sequence[Tensor]) -> Tensor:
    """Logits float32 (n, 1 + labels, h, w) of cached features."""
    whole = [f.float().contiguous(memory_format=torch.channels_last) for f in features]
    with torch.autocast(model.device, torch.bfloat16, enabled=model.bf16):
        return model.networks[0].decode(whole).float()


@torch.inference_mode()
def decided(model: Model, some: Cached) -> Tensor:
    """The class of each pixel, int64 (n, h, w), by the model's own threshold."""
    parts = []
    for begin in range(0, len(some), 8):
        logits = decode(model, [f[begin : begin + 8] for f in some.features])
        parts.append(decide(logits, model.card.calibration))
    return torch.cat(parts)


def decide(logits: Tensor, calibration: Calibration) -> Tensor:
    """The class of each pixel (n, h, w) from logits (n, 1 + labels, h, w), as `segment` decides."""
    return by_threshold((logits / calibration.temperature).softmax(1), calibration.threshold)


def dices(prediction: Tensor, truth: Tensor, labels: int, pooled: bool) -> np.ndarray:
    """Dice, the mean over labels, of each slice, or (`pooled`) of all slices together; 1 where both are empty."""
    known = truth != IGNORE
    sums = (0, 1, 2) if pooled else (1, 2)
    scores = []
    for label in range(1, labels + 1):
        found, true = (prediction == label) & known, (truth == label)
        total = (found.sum(sums) + true.sum(sums)).cpu().double()
        both = (found & true).sum(sums).cpu().double()
        scores.append(torch.where(total > 0, 2 * both / total.clamp_min(1), 1.0))
    return np.atleast_1d(torch.stack(scores).mean(0).numpy())
