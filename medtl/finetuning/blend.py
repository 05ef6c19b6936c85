"""A network's logits blended with the interpolation of SEEDs, slice by slice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..decision import check_finite, decide, label_values_of
from ..model.bundle import Model
from ..model.card import ModelCard
from ..progress import Progress
from ..segmentation import on_own_grid
from .between_slices import interpolate
from .features import SeedCase

SURE = 50.0  # odds where the network has no word


@dataclass(frozen=True)
class Blend:
    """The interpolation of a case's SEEDs, whose signed `distances` count `weight` logits a pixel. Where they
    `fade`, the network alone counts further on beyond the outermost SEEDs."""

    card: ModelCard
    distances: Mapping[int, np.ndarray]
    weight: float
    fade: bool = True

    def probability(self, logits: Tensor, slices: Sequence[int], rows: slice = slice(None)) -> Tensor:
        """Blended probabilities (n, outputs, rows, columns) of (some rows of) slices, from the logits there.

        Raises: ModelError when a logit is not finite.
        """
        check_finite(self.card, logits)
        logits = logits / self.card.calibration.temperature
        distances = self.weight * torch.from_numpy(interpolate(self.distances, slices, rows, self.fade)).to(logits)
        if self.card.decision == "regions":
            return (logits + distances).sigmoid()
        return with_background(logits[:, 1:] - logits[:, :1] + distances)

    def filled(self, slices: Sequence[int]) -> Tensor:
        """The same without a network: nearly 1 where the interpolation is above 0."""
        distances = torch.from_numpy(interpolate(self.distances, slices))
        odds = torch.where(distances > 0, SURE + distances, -SURE)
        return odds.sigmoid() if self.card.decision == "regions" else with_background(odds)


def with_background(odds: Tensor) -> Tensor:
    """Probabilities (n, 1 + labels, …) from the labels' odds against the background, as logits (n, labels, …)."""
    return torch.cat([torch.zeros_like(odds[:, :1]), odds], 1).softmax(1)


def nearest(slices: Sequence[int], seeds: Sequence[int], count: int) -> list[int]:
    """At most `count` of the slices, in order: those nearest to SEEDs."""
    by_distance = sorted(slices, key=lambda k: min(abs(k - seed) for seed in seeds))
    return sorted(by_distance[:count])


def fill_slices(turned: np.ndarray, case: SeedCase, model: Model, blend: Blend, count: int, progress: Progress) -> int:
    """Write the label values of the case into the turned volume; the network has a word in at most `count` slices. The
    number of those in which it has none.

    Raises: ModelError when the network's numbers are not finite; Cancelled.
    """
    values = label_values_of(model.card)
    chosen = nearest(case.occupied, list(case.truth), count)
    others = sorted(set(case.occupied) - set(chosen))
    parts = [(part[begin : begin + 8], part is chosen) for part in (chosen, others) for begin in range(0, len(part), 8)]
    for number, (slices, asked) in enumerate(parts):
        progress("result", number / len(parts))
        if asked:
            logits = torch.cat(list(case.show(model, slices, torch.zeros(0)).logits(model)))
            probability = blend.probability(logits, slices)
        else:
            probability = blend.filled(slices)
        probability, (rows, columns) = on_own_grid(probability, case.prepared)
        turned[slices, rows, columns] = values[decide(model.card, probability).cpu().numpy()]
    return len(others)
