"""A case for a network that sees windows: SEEDs stay on the volume's own grid, and logits are interpolated there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError, ModelError
from ..model.bundle import Model
from ..model.card import ModelCard, WindowSpec
from ..volume import Volume, array_axis
from ..windows.prepare import WindowInput, channels_of, prepare_windows
from ..windows.sliding import logit_planes, pad_to
from .features import turned_index, turned_mask
from .seed import Seed, check_place

Place = tuple[int, int, int]


@dataclass(frozen=True)
class WindowCase:
    """A case on the network's grid, padded up to a window: `image` float32 (channels, D, H, W), with `before` voxels
    added at the beginning of each axis; see `features.Case`. Slices are numbered, and their truth is cut out, as the
    box of `prepared` has them; SEEDs outside the box show nothing to the network and are left out."""

    number: int
    prepared: WindowInput
    spec: WindowSpec
    axis: int
    truth: dict[int, np.ndarray]
    image: Tensor
    before: Place

    @property
    def occupied(self) -> list[int]:
        """The slices of the box."""
        return list(range(len(self.prepared.taps[self.axis].low)))

    def show(self, model: Model, slices: Sequence[int], truth: Tensor | None = None) -> "WindowSlices":
        """These slices, with their own truth where none is given."""
        if truth is None:
            truth = torch.from_numpy(np.stack([self.truth[k] for k in slices]))
        return WindowSlices(self, tuple(slices), truth)

    def ends(self, axis: int) -> tuple[np.ndarray, np.ndarray]:
        """For each voxel of the box along an axis the first and the last voxel of the padded grid that it mixes."""
        taps = self.prepared.taps[axis]
        return taps.low + self.before[axis], taps.high + self.before[axis]

    def inside(self, axis: int, start: int) -> np.ndarray:
        """The voxels of the box along an axis that a window from `start` on shows."""
        low, high = self.ends(axis)
        return np.flatnonzero((low >= start) & (high < start + self.spec.window[axis]))

    def slice_logits(self, logits: Tensor, start: Sequence[int], k: int) -> Tensor:
        """The logits (outputs, rows, columns), on the volume's own grid, of the part of slice k that a window's logits
        (outputs, patch) from `start` on show: its rows and columns are `inside` along the other two axes."""
        for axis in sorted(range(3), key=lambda axis: axis != self.axis):  # first what leaves the least to do
            places = np.array([k]) if axis == self.axis else self.inside(axis, start[axis])
            low, high = (ends[places] - start[axis] for ends in self.ends(axis))
            logits = interpolate(logits, axis, low, high, self.prepared.taps[axis].weight[places])
        return logits.squeeze(1 + self.axis)


def interpolate(logits: Tensor, axis: int, low: np.ndarray, high: np.ndarray, weight: np.ndarray) -> Tensor:
    """Logits (outputs, D, H, W) at new places along an axis, each a mix of two voxels."""
    first, second = (logits.index_select(1 + axis, torch.from_numpy(at).to(logits.device)) for at in (low, high))
    shape = [-1 if other == axis else 1 for other in range(3)]
    return torch.lerp(first, second, torch.from_numpy(weight).to(logits).view(1, *shape))


@dataclass(frozen=True)
class WindowSlices:
    """Slices of a case that are computed anew each time; see `features.Shown`."""

    case: WindowCase
    slices: tuple[int, ...]
    truth: Tensor

    def logits(self, model: Model) -> Iterator[Tensor]:
        """The logits of one slice at a time, from windows around it without mirrored ones, which take several times as
        long."""
        case, axis = self.case, self.case.axis
        spec = replace(case.spec, mirror=())
        for first, slices in self.slabs():
            slab = case.image.narrow(1 + axis, first, case.spec.window[axis])
            logits = torch.stack(list(logit_planes(slab.numpy(), model, spec)), 1)
            whole = replace(case, spec=replace(spec, patch=tuple(logits.shape[1:])))
            start = [first if other == axis else 0 for other in range(3)]
            for k in slices:
                yield whole.slice_logits(logits, start, k)[None]

    def slabs(self) -> list[tuple[int, list[int]]]:
        """Slabs as deep as a window, each with its first voxel along the axis and its slices, none of which lies in the
        outer quarters but at the ends of the grid."""
        case, axis, slabs = self.case, self.case.axis, list[tuple[int, list[int]]]()
        depth, (low, high) = case.spec.window[axis], case.ends(axis)
        last = case.image.shape[1 + axis] - depth
        for k in self.slices:
            first = slabs[-1][0] if slabs else -depth
            if low[k] >= first and high[k] < first + depth - (0 if first == last else depth // 4):
                slabs[-1][1].append(k)
            else:
                slabs.append((min(max(int(low[k]) - depth // 4, 0), last), [k]))
        return slabs


def prepare_window_case(
    volumes: Sequence[Volume], seeds: Sequence[Seed], card: ModelCard, spec: WindowSpec, number: int = 0
) -> WindowCase:
    """The volumes, one a channel, on the network's grid, with SEEDs that lie on the first one's.

    Raises: InputError when a SEED is not a slice of the volume, or the volumes do not fit the model; ModelError when
    the network's grid does not fit into memory.
    """
    if spec.foreground:
        raise ModelError(
            f"Expected a model that sees the whole volume, found {card.name}, which sees a part that it chooses by the "
            "values. It cannot be tuned; choose another."
        )
    for seed in seeds:
        check_place(seed, volumes[0])
    aligned, _ = channels_of(volumes, card)
    prepared = prepare_windows(aligned, card, spec)
    axis = prepared.axes.index(array_axis(volumes[0].geometry, card.input.plane))
    box, truth = prepared.box, {}
    for seed in seeds:
        k = turned_index(seed.index, prepared, axis) - box[axis].start
        if 0 <= k < box[axis].stop - box[axis].start:
            rows, columns = (box[other] for other in range(3) if other != axis)
            truth[k] = turned_mask(seed.mask, prepared, axis)[rows, columns].astype(np.int64)
    if seeds and not truth:
        raise InputError("Expected SEED slices that show something, found only empty ones. Mark others.")
    padded, margins = pad_to(prepared.array, spec.window, spec)
    first, second, third = (before for before, _ in margins)
    return WindowCase(number, prepared, spec, axis, truth, torch.from_numpy(padded), (first, second, third))
