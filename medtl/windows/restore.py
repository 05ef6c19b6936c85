"""From planes of logits on the network's grid to the classes on the volume's own grid.

Logits are interpolated linearly, and only where the surrounding voxels of the network's grid disagree: elsewhere every
mix of them is decided alike. Source: Isensee et al. 2021 for the interpolation; project for leaving it out.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..decision import decide_logits
from ..model.card import ModelCard
from .resampling import Taps

MIXED = -1  # in place of a class: the surrounding voxels disagree


@dataclass(frozen=True)
class Plane:
    """A plane of the network's grid: `logits` (outputs, H, W), and on the rows and columns of the volume's grid the
    class, int16 (h, w), where the four surrounding voxels have one, else MIXED."""

    logits: Tensor
    classes: np.ndarray


@dataclass(frozen=True)
class Pair:
    """A plane of the volume's grid, which lies between two of the network's grid; `weight` is that of the second."""

    low: Plane
    high: Plane
    weight: float

    @property
    def logits(self) -> Tensor:
        """The logits between both planes, (outputs, H, W)."""
        return torch.lerp(self.low.logits, self.high.logits, self.weight) if self.weight else self.low.logits


def pairs(planes: Iterable[Tensor], card: ModelCard, taps: tuple[Taps, Taps, Taps]) -> Iterator[Pair]:
    """For each plane of the volume's grid the two of the network's grid around it, from the logits (outputs, H, W) of
    all planes of that. No more than three planes are held."""
    logits, held, made = iter(planes), dict[int, Plane](), 0
    for low, high, weight in zip(taps[0].low, taps[0].high, taps[0].weight, strict=True):
        while made <= high:
            plane = next(logits)
            held[made] = Plane(plane, agreed_classes(plane, card, taps[1], taps[2]))
            made += 1
        held = {k: plane for k, plane in held.items() if k >= low}
        yield Pair(held[int(low)], held[int(high)], float(weight))


def agreed_classes(logits: Tensor, card: ModelCard, rows: Taps, columns: Taps) -> np.ndarray:
    """`Plane.classes` of these logits."""
    classes = decide_logits(card, logits[None])[0].to(torch.int16).numpy()
    if card.decision == "threshold" and len(card.labels) > 1:
        # Several labels together can exceed the threshold on both sides and not between.
        classes = np.where(classes == 0, classes, np.int16(MIXED))
    above, below = classes[rows.low], classes[rows.high]
    lines = np.where(above == below, above, np.int16(MIXED))
    left, right = lines[:, columns.low], lines[:, columns.high]
    return np.where(left == right, left, np.int16(MIXED))


def classes_of(pair: Pair, card: ModelCard, rows: Taps, columns: Taps) -> np.ndarray:
    """The class of each voxel of a plane of the volume's grid, int16 (h, w)."""
    classes = (
        pair.low.classes
        if not pair.weight
        else np.where(pair.low.classes == pair.high.classes, pair.low.classes, np.int16(MIXED))
    )
    ys, xs = np.nonzero(classes == MIXED)
    if not len(ys):
        return classes
    sides = [(pair.low.logits, 1 - pair.weight), (pair.high.logits, pair.weight)]
    width = pair.low.logits.shape[2]
    mixed = torch.zeros((len(pair.low.logits), len(ys)))
    for logits, share in sides if pair.weight else sides[:1]:
        flat = logits.flatten(1)
        for y, down in ((rows.low[ys], 1 - rows.weight[ys]), (rows.high[ys], rows.weight[ys])):
            for x, across in ((columns.low[xs], 1 - columns.weight[xs]), (columns.high[xs], columns.weight[xs])):
                weight = torch.from_numpy((share * down * across).astype(np.float32))
                mixed += flat.index_select(1, torch.from_numpy(y * width + x)) * weight
    classes = classes.copy()
    classes[ys, xs] = decide_logits(card, mixed[None])[0].to(torch.int16).numpy()
    return classes


def logits_of(pair: Pair, rows: Taps, columns: Taps) -> Tensor:
    """The logits of each voxel of a plane of the volume's grid, (outputs, h, w)."""
    logits = pair.logits
    down, across = (torch.from_numpy(one.matrix(n)) for one, n in zip((rows, columns), logits.shape[1:], strict=True))
    return down @ logits @ across.T
