"""Tuning of a decoder on SEED slices: the encoder's features are cached, then only the decoder is tuned.

Batch statistics stay as they are, weights are pulled towards the start, and only SEED pixels count.
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import ModelError
from ..model.bundle import Model
from ..training.loss import dice_and_cross_entropy
from .features import EncodedSlices, decode
from .seed import IGNORE


@dataclass(frozen=True)
class Tuning:
    """How the decoder is tuned. `pull` is the weight of the squared distance to the start, `copies` the copies of each
    SEED, `window` the side in pixels of the part of a slice that a step uses, `steps` the most steps worth taking."""

    rate: float = 1e-3
    pull: float = 1e-2
    copies: int = 10
    batch: int = 8
    window: int = 128
    steps: int = 240
    average: float = 0.95
    seed: int = 0


@dataclass(frozen=True)
class Trained:
    """What a training loop did: its steps, and whether it stopped because loss or gradients were not finite. The
    weights are then those of the last finite step."""

    steps: int
    diverged: bool = False

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences for the user."""
        if not self.diverged:
            return ()
        return (
            f"The loss was not finite after {self.steps} steps; tuning stopped there with the last good weights. Check "
            "the result.",
        )


def decoder_parameters(model: Model, example: EncodedSlices) -> dict[str, torch.nn.Parameter]:
    """The parameters that decoding depends on, by name; for any network."""
    network = model.networks[0]
    network.zero_grad(set_to_none=True)
    decode(model, [f[:1] for f in example.features]).sum().backward()
    parameters = {name: p for name, p in network.named_parameters() if p.grad is not None}
    network.zero_grad(set_to_none=True)
    return parameters


class DecoderWeights:
    """The weights of a decoder between the start of a tuning and its end; see `run.Weights`."""

    def __init__(self, model: Model, example: EncodedSlices) -> None:
        self.model = model
        self.parameters = decoder_parameters(model, example)
        self.start = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.tuned = {name: p.detach().clone() for name, p in self.parameters.items()}

    def state(self, alpha: float) -> dict[str, Tensor]:
        """All weights of the network at `alpha`; the network stays as it is."""
        state = dict(self.model.networks[0].state_dict())
        return state | {name: torch.lerp(self.start[name], self.tuned[name], alpha) for name in self.parameters}

    @torch.no_grad()
    def use(self, alpha: float) -> None:
        """Set the network's weights: 0 is the start, 1 the end of tuning."""
        for name, parameter in self.parameters.items():
            parameter.copy_(torch.lerp(self.start[name], self.tuned[name], alpha))


def tune(
    weights: DecoderWeights,
    copies: Sequence[EncodedSlices],
    options: Tuning,
    seconds: float,
    step_done: Callable[[float, float], None],
) -> Trained:
    """What was trained, from the start weights, in at most `seconds`. `step_done(share, loss)`, with the loss of the
    SEEDs, is called after each step and may raise to stop: `weights.tuned` is then the average so far.

    Raises: ModelError when the first step is not finite.
    """
    began = time.perf_counter()
    network = weights.model.networks[0]
    weights.use(0.0)
    network.eval()  # a few slices give no batch statistics worth using
    parameters = list(weights.parameters.values())
    start = list(weights.start.values())
    mean = [p.detach().clone() for p in start]
    weights.tuned = dict(zip(weights.parameters, mean, strict=True))
    optimizer = torch.optim.Adam(parameters, lr=options.rate)
    random = np.random.default_rng(options.seed)
    step, share = 0, 0.0
    while share < 1.0 and step < options.steps:
        share = max((time.perf_counter() - began) / seconds, step / options.steps)
        optimizer.param_groups[0]["lr"] = learning_rate(options.rate, step, share)
        features, truth = draw_batch(copies, options, network.multiple, random)
        loss = dice_and_cross_entropy(decode(weights.model, features), truth, IGNORE)
        pull = sum(((p - s) ** 2).sum() for p, s in zip(parameters, start, strict=True))
        if not finite_step(optimizer, loss, loss + options.pull * pull, step):
            return Trained(step, diverged=True)
        step += 1
        decay = min(options.average, step / (step + 9))
        with torch.no_grad():
            for average, parameter in zip(mean, parameters, strict=True):
                average.lerp_(parameter, 1 - decay)
        step_done(min(share, 1.0), float(loss.detach()))
    return Trained(step)


def finite_step(optimizer: torch.optim.Optimizer, loss: Tensor, total: Tensor, step: int) -> bool:
    """True after one step down the gradient of `total`; False, without a change of weights, when the loss or a gradient
    is not finite.

    Raises: ModelError when that happens at the first step, before anything was trained.
    """
    optimizer.zero_grad(set_to_none=True)
    total.backward()
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    if all_finite([loss.detach(), *gradients]):
        optimizer.step()
        return True
    if step == 0:
        raise ModelError(
            "Expected a finite loss on the SEED slices, found NaN or infinity at the first step. Check the image's "
            "values, or import the model again."
        )
    return False


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """True when no value of any tensor is NaN or infinite."""
    return bool(torch.stack([torch.isfinite(tensor).all() for tensor in tensors]).all())


def learning_rate(peak: float, step: int, share: float) -> float:
    """The learning rate: up to the peak over ten steps, then along a cosine down to a fiftieth of it."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(max(share, 0.0), 1.0)))
    return peak * min(1.0, (step + 1) / 10) * (0.02 + 0.98 * cosine)


def draw_batch(
    copies: Sequence[EncodedSlices], options: Tuning, multiple: int, random: np.random.Generator
) -> tuple[list[Tensor], Tensor]:
    """Features and classes of a batch: windows of slices of one size, each from a random copy."""
    sizes = np.array([len(c) for c in copies], dtype=float)
    first = copies[int(random.choice(len(copies), p=sizes / sizes.sum()))]
    same_size = [c for c in copies if c.truth.shape[1:] == first.truth.shape[1:]]
    levels: list[list[Tensor]] = [[] for _ in first.features]
    truths = []
    for number in random.integers(len(same_size), size=options.batch):
        copy = same_size[int(number)]
        k = int(random.integers(len(copy)))
        rows, columns = draw_window(copy.truth[k], options.window, multiple, random)
        truths.append(copy.truth[k, rows, columns])
        for level, feature in zip(levels, copy.features, strict=True):
            level.append(feature_window(feature[k], rows, columns, copy.truth.shape[1:]))
    return [torch.stack(level) for level in levels], torch.stack(truths)


def draw_window(truth: Tensor, size: int, multiple: int, random: np.random.Generator) -> tuple[slice, slice]:
    """Rows and columns of a window of a slice, on multiples of the network's: with a
    probability of 2/3 over a labelled pixel, if there is any."""
    labelled = torch.nonzero((truth > 0) & (truth != IGNORE))
    near = len(labelled) > 0 and random.random() < 2 / 3
    centre = labelled[int(random.integers(len(labelled)))].tolist() if near else None
    sides = []
    for axis, length in enumerate(truth.shape):
        side = min(-(-size // multiple) * multiple, length)
        low, high = 0, (length - side) // multiple
        if centre is not None:
            low = min(max(-(-(centre[axis] + 1 - side) // multiple), 0), high)
            high = min(max(centre[axis] // multiple, low), high)
        start = int(random.integers(low, high + 1)) * multiple
        sides.append(slice(start, start + side))
    return sides[0], sides[1]


def feature_window(feature: Tensor, rows: slice, columns: slice, size: Sequence[int]) -> Tensor:
    """The part of a feature (C, h, w) in a window of an image of that size."""
    steps = (size[0] // feature.shape[1], size[1] // feature.shape[2])
    inside = [slice(side.start // step, side.stop // step) for side, step in zip((rows, columns), steps, strict=True)]
    return feature[:, inside[0], inside[1]]
