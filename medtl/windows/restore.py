"""From planes of logits on the network's grid to the classes on the volume's own grid.

Logits, or probabilities where the card says so, are interpolated linearly, and only where the surrounding voxels of the
network's grid disagree: elsewhere every mix of them is decided alike. Source: Isensee et al. 2021 for the
interpolation; project for leaving it out.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from ..decision import decide_mixed, mixed_of
from ..model.card import ModelCard
from .resampling import Taps

MIXED = -1  # in place of a class: the surrounding voxels disagree


@dataclass(frozen=True)
class Plane:
    """A plane of the network's grid: `outputs` (outputs, H, W), logits or probabilities, and on the rows and columns of
    the volume's grid the class, int16 (h, w), where the four surrounding voxels have one, else MIXED."""

    outputs: Tensor
    classes: np.ndarray


@dataclass(frozen=True)
class Pair:
    """A plane of the volume's grid, which lies between two of the network's grid; `weight` is that of the second."""

    low: Plane
    high: Plane
    weight: float

    @property
    def outputs(self) -> Tensor:
        """The outputs between both planes, (outputs, H, W)."""
        return torch.lerp(self.low.outputs, self.high.outputs, self.weight) if self.weight else self.low.outputs


def whole_planes(
    logits: Iterable[Tensor], card: ModelCard, inner: Sequence[slice], grid: Sequence[int]
) -> Iterator[Tensor]:
    """The outputs (outputs, H, W) of all planes of the network's grid, 0 outside of its part `inner`, from the logits
    of the planes of that."""
    planes, rows, columns = inner
    margins = (columns.start, grid[2] - columns.stop, rows.start, grid[1] - rows.stop)
    outside = torch.zeros(0)
    for number, plane in enumerate(logits):
        outputs = functional.pad(mixed_of(card, plane[None])[0], margins)
        if not number:
            outside = torch.zeros_like(outputs)
            yield from itertools.repeat(outside, planes.start)
        yield outputs
    yield from itertools.repeat(outside, grid[0] - planes.stop)


def pairs(planes: Iterable[Tensor], card: ModelCard, taps: tuple[Taps, Taps, Taps]) -> Iterator[Pair]:
    """For each plane of the volume's grid the two of the network's grid around it, from the outputs (outputs, H, W) of
    all planes of that. No more than three planes are held."""
    outputs, held, made = iter(planes), dict[int, Plane](), 0
    for low, high, weight in zip(taps[0].low, taps[0].high, taps[0].weight, strict=True):
        while made <= high:
            plane = next(outputs)
            held[made] = Plane(plane, agreed_classes(plane, card, taps[1], taps[2]))
            made += 1
        held = {k: plane for k, plane in held.items() if k >= low}
        yield Pair(held[int(low)], held[int(high)], float(weight))


def agreed_classes(outputs: Tensor, card: ModelCard, rows: Taps, columns: Taps) -> np.ndarray:
    """`Plane.classes` of these outputs."""
    classes = decide_mixed(card, outputs[None])[0].to(torch.int16).numpy()
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
    sides = [(pair.low.outputs, 1 - pair.weight), (pair.high.outputs, pair.weight)]
    width = pair.low.outputs.shape[2]
    mixed = torch.zeros((len(pair.low.outputs), len(ys)))
    for outputs, share in sides if pair.weight else sides[:1]:
        flat = outputs.flatten(1)
        for y, down in ((rows.low[ys], 1 - rows.weight[ys]), (rows.high[ys], rows.weight[ys])):
            for x, across in ((columns.low[xs], 1 - columns.weight[xs]), (columns.high[xs], columns.weight[xs])):
                weight = torch.from_numpy((share * down * across).astype(np.float32))
                mixed += flat.index_select(1, torch.from_numpy(y * width + x)) * weight
    classes = classes.copy()
    classes[ys, xs] = decide_mixed(card, mixed[None])[0].to(torch.int16).numpy()
    return classes


def outputs_of(pair: Pair, rows: Taps, columns: Taps) -> Tensor:
    """The outputs of each voxel of a plane of the volume's grid, (outputs, h, w)."""
    outputs = pair.outputs
    down, across = (torch.from_numpy(one.matrix(n)) for one, n in zip((rows, columns), outputs.shape[1:], strict=True))
    return down @ outputs @ across.T
