"""Tuning of a decoder on SEED slices: the encoder stays as it is.

Batch statistics stay as they are, weights are pulled towards the start, and only SEED pixels count.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..errors import ModelError
from ..model.bundle import Model
from .features import decode
from .run import TimeBudget


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


class Examples(Protocol):
    """SEED slices with augmented copies, as a model's decoders are tuned on them. `warnings` are for the user;
    `advised_budget` are the seconds that would do, where the time suffices for few steps only. The networks take
    `slice_seconds` for each slice of the first case when they segment all of it, and `look_seconds` for one slice
    alone."""

    @property
    def warnings(self) -> tuple[str, ...]: ...
    @property
    def advised_budget(self) -> float | None: ...
    @property
    def slice_seconds(self) -> float: ...
    @property
    def look_seconds(self) -> float: ...

    def parameters(self) -> tuple[dict[str, torch.nn.Parameter], ...]:
        """The parameters to tune of each fold, by name."""
        ...

    def loss(self, fold: int, random: np.random.Generator) -> Tensor:
        """The loss of a fold on a random batch."""
        ...

    def without(self, held_out: Collection[tuple[int, int]]) -> "Examples":
        """The examples without these SEEDs, (number of the case, slice)."""
        ...


def decoder_parameters(model: Model, features: Sequence[Tensor], fold: int = 0) -> dict[str, torch.nn.Parameter]:
    """The parameters that decoding depends on, by name; for any network. The features, of any image, show which."""
    network = model.networks[fold].requires_grad_(True)
    network.zero_grad(set_to_none=True)
    decode(model, features, fold).sum().backward()
    parameters = {name: p for name, p in network.named_parameters() if p.grad is not None}
    network.zero_grad(set_to_none=True)
    return parameters


class DecoderWeights:
    """The weights of the decoders of all folds between the start of a tuning and its end; see `run.Weights`."""

    def __init__(self, model: Model, parameters: Sequence[Mapping[str, torch.nn.Parameter]]) -> None:
        self.model = model
        self.parameters = parameters
        self.start = [copy_of(fold) for fold in parameters]
        self.tuned = [copy_of(fold) for fold in parameters]

    def states(self, alpha: float) -> tuple[dict[str, Tensor], ...]:
        """All weights of each network at `alpha`; the networks stay as they are."""
        folds = zip(self.model.networks, self.start, self.tuned, strict=True)
        return tuple(
            dict(network.state_dict()) | {name: torch.lerp(start[name], tuned[name], alpha) for name in start}
            for network, start, tuned in folds
        )

    @torch.no_grad()
    def use(self, alpha: float) -> None:
        """Set the networks' weights: 0 is the start, 1 the end of tuning."""
        for fold, start, tuned in zip(self.parameters, self.start, self.tuned, strict=True):
            for name, parameter in fold.items():
                parameter.copy_(torch.lerp(start[name], tuned[name], alpha))


def copy_of(parameters: Mapping[str, torch.nn.Parameter]) -> dict[str, Tensor]:
    """A copy of the values of parameters."""
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}


def tune(
    weights: DecoderWeights,
    examples: Examples,
    options: Tuning,
    budget: TimeBudget,
    step_done: Callable[[float, float], None],
) -> Trained:
    """What was trained, from the start weights, within the budget; folds take turns. `step_done(share, loss)`, with the
    loss of the SEEDs, is called after each step and may raise to stop: `weights.tuned` is then the average so far.

    Raises: ModelError when the first step is not finite.
    """
    weights.use(0.0)
    for network in weights.model.networks:
        network.eval()  # a few slices give no batch statistics worth using
        network.requires_grad_(False)
    for parameter in (parameter for each in weights.parameters for parameter in each.values()):
        parameter.requires_grad_(True)
    weights.tuned = [copy_of(fold) for fold in weights.parameters]
    optimizer = torch.optim.Adam([p for fold in weights.parameters for p in fold.values()], lr=options.rate)
    random = np.random.default_rng(options.seed)
    count = len(weights.parameters)
    step, share, most = 0, 0.0, options.steps * count
    while share < 1.0 and step < most:
        share = max(budget.share, step / most)
        optimizer.param_groups[0]["lr"] = learning_rate(options.rate, step // count, share)
        fold = step % count
        parameters, start, mean = weights.parameters[fold], weights.start[fold], weights.tuned[fold]
        loss = examples.loss(fold, random)
        pull = sum(((p - start[name]) ** 2).sum() for name, p in parameters.items())
        if not finite_step(optimizer, loss, loss + options.pull * pull, step):
            return Trained(step, diverged=True)
        step += 1
        own = (step + count - 1) // count  # steps of this fold
        decay = min(options.average, own / (own + 9))
        with torch.no_grad():
            for name, parameter in parameters.items():
                mean[name].lerp_(parameter, 1 - decay)
        step_done(min(share, 1.0), float(loss.detach()))
        if budget.share * (step + 1) > step:  # another one would be late
            break
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
    """The learning rate: up to the peak over ten steps, or a tenth of the time where there are few, then along a cosine
    down to a fiftieth of it."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(max(share, 0.0), 1.0)))
    return peak * min(1.0, max((step + 1) / 10, 10 * share)) * (0.02 + 0.98 * cosine)
