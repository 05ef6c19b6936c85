"""Tuning of a decoder on SEED slices: what the encoder makes of them is cached, then only decoding is learned.

Batch statistics stay as they are, weights are pulled towards where they began, and nothing but SEED pixels counts.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from ..model.bundle import Model
from .features import Cached, decode
from .seed import IGNORE


@dataclass(frozen=True)
class Tuning:
    """How the decoder is tuned. `pull` is the weight of the squared distance to the start, `copies` the changed copies
    of each SEED, `window` the side of what a step sees of a slice, `steps` the most steps that are worth anything."""

    rate: float = 1e-3
    pull: float = 1e-2
    copies: int = 10
    batch: int = 8
    window: int = 128
    steps: int = 240
    average: float = 0.95
    seed: int = 0


def learned_parameters(model: Model, example: Cached) -> dict[str, torch.nn.Parameter]:
    """The weights that decoding depends on, by name: what is tuned, whatever the network is."""
    network = model.networks[0]
    network.zero_grad(set_to_none=True)
    decode(model, [f[:1] for f in example.features]).sum().backward()
    found = {name: p for name, p in network.named_parameters() if p.grad is not None}
    network.zero_grad(set_to_none=True)
    return found


def loss_of(logits: Tensor, truth: Tensor) -> Tensor:
    """Soft Dice over the batch plus cross entropy, of the pixels that are not IGNORE."""
    known = truth != IGNORE
    probability = logits.softmax(1)[:, 1:] * known[:, None]
    wanted = torch.where(known, truth, 0)
    truths = functional.one_hot(wanted, logits.shape[1]).movedim(-1, 1)[:, 1:].float()
    both = (probability * truths).sum((0, 2, 3))
    dice = (2 * both + 1) / (probability.sum((0, 2, 3)) + truths.sum((0, 2, 3)) + 1)
    return 1 - dice.mean() + functional.cross_entropy(logits, torch.where(known, truth, -100), ignore_index=-100)


class Tuned:
    """The weights of a decoder between two states: where it began and where tuning has brought it."""

    def __init__(self, model: Model, example: Cached) -> None:
        self.model = model
        self.parameters = learned_parameters(model, example)
        self.start = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.tuned = {name: p.detach().clone() for name, p in self.parameters.items()}

    def state(self, alpha: float) -> dict[str, Tensor]:
        """All weights of the network between the two states, without a change to it."""
        state = dict(self.model.networks[0].state_dict())
        return state | {name: torch.lerp(self.start[name], self.tuned[name], alpha) for name in self.parameters}

    @torch.no_grad()
    def use(self, alpha: float) -> None:
        """Set the network's weights: 0 is where it began, 1 what was tuned."""
        for name, parameter in self.parameters.items():
            parameter.copy_(torch.lerp(self.start[name], self.tuned[name], alpha))


def tune(
    tuned: Tuned,
    caches: Sequence[Cached],
    options: Tuning,
    seconds: float,
    step_done: Callable[[float, float], None],
) -> int:
    """Tune from the start weights for at most so many seconds; the number of steps. `step_done(share, loss)`, the loss
    of the SEEDs, is called after each step and may raise to stop: `tuned.tuned` then holds the average so far."""
    began = time.perf_counter()
    network = tuned.model.networks[0]
    tuned.use(0.0)
    network.eval()  # batch statistics are weights too: five slices have none worth using
    parameters = list(tuned.parameters.values())
    start = list(tuned.start.values())
    mean = [p.detach().clone() for p in start]
    tuned.tuned = dict(zip(tuned.parameters, mean, strict=True))
    optimizer = torch.optim.Adam(parameters, lr=options.rate)
    random = np.random.default_rng(options.seed)
    sizes = np.array([len(c) for c in caches], dtype=float)
    step = 0
    share = 0.0
    while share < 1.0 and step < options.steps:
        share = max((time.perf_counter() - began) / seconds, step / options.steps)
        optimizer.param_groups[0]["lr"] = options.rate * min(1.0, (step + 1) / 10) * (0.02 + 0.98 * cosine(share))
        features, truth = drawn(caches, sizes, options, network.multiple, random)
        loss = loss_of(decode(tuned.model, features), truth)
        pull = sum(((p - s) ** 2).sum() for p, s in zip(parameters, start, strict=True))
        optimizer.zero_grad(set_to_none=True)
        (loss + options.pull * pull).backward()
        optimizer.step()
        step += 1
        decay = min(options.average, step / (step + 9))
        with torch.no_grad():
            for average, parameter in zip(mean, parameters, strict=True):
                average.lerp_(parameter, 1 - decay)
        step_done(min(share, 1.0), float(loss.detach()))
    return step


def cosine(share: float) -> float:
    """1 at the beginning, 0 at the end."""
    return 0.5 * (1 + math.cos(math.pi * min(max(share, 0.0), 1.0)))


def drawn(
    caches: Sequence[Cached], sizes: np.ndarray, options: Tuning, multiple: int, random: np.random.Generator
) -> tuple[list[Tensor], Tensor]:
    """A batch: windows of slices of one size, each from a copy drawn at random."""
    first = caches[int(random.choice(len(caches), p=sizes / sizes.sum()))]
    alike = [c for c in caches if c.truth.shape[1:] == first.truth.shape[1:]]
    levels: list[list[Tensor]] = [[] for _ in first.features]
    truths = []
    for number in random.integers(len(alike), size=options.batch):
        some = alike[int(number)]
        k = int(random.integers(len(some)))
        rows, columns = window(some.truth[k], options.window, multiple, random)
        truths.append(some.truth[k, rows, columns])
        for level, feature in zip(levels, some.features, strict=True):
            level.append(part_of(feature[k], rows, columns, some.truth.shape[1:]))
    return [torch.stack(level) for level in levels], torch.stack(truths)


def window(truth: Tensor, size: int, multiple: int, random: np.random.Generator) -> tuple[slice, slice]:
    """Where to look at a slice, on multiples of the network's: two times in three where a label is, if any is."""
    labelled = torch.nonzero((truth > 0) & (truth != IGNORE))
    near = len(labelled) > 0 and random.random() < 2 / 3
    centre = labelled[int(random.integers(len(labelled)))].tolist() if near else None
    sides = []
    for axis, length in enumerate(truth.shape):
        whole = min(-(-size // multiple) * multiple, length)
        low, high = 0, (length - whole) // multiple
        if centre is not None:
            low = min(max(-(-(centre[axis] + 1 - whole) // multiple), 0), high)
            high = min(max(centre[axis] // multiple, low), high)
        start = int(random.integers(low, high + 1)) * multiple
        sides.append(slice(start, start + whole))
    return sides[0], sides[1]


def part_of(feature: Tensor, rows: slice, columns: slice, size: Sequence[int]) -> Tensor:
    """The part of a feature (C, h, w) that lies in the window of an image of that size."""
    steps = (size[0] // feature.shape[1], size[1] // feature.shape[2])
    inside = [slice(side.start // step, side.stop // step) for side, step in zip((rows, columns), steps, strict=True)]
    return feature[:, inside[0], inside[1]]
