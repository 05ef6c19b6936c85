"""A network over a volume, window by window: planes of logits in order, so that no volume of logits is held.

Source: Isensee et al. 2021 (nnU-Net: places and Gaussian weights of windows, mirrored windows); project for the planes.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..decision import check_finite
from ..model.card import WindowSpec
from ..progress import Progress, no_progress

if TYPE_CHECKING:
    from ..model.bundle import Model

PLANE_PIXELS = 8 * 256 * 256  # of one forward pass of a 2D network: a CPU gains nothing beyond, and memory grows
# Values of the first layer of one forward pass of a 3D network: several windows of a thin network take half the time of
# one (torch has a slow convolution for that), a wide network gains nothing from a second one, and it takes memory.
FIRST_LAYER_VALUES = 16_000_000
MOST_WINDOWS = 8


def window_starts(size: int, patch: int, step: float, placement: str = "even") -> list[int]:
    """Where windows begin along an axis of at least the patch's size: evenly spaced, at most `step` patches apart; or
    "fixed", that many whole voxels apart, and the last one where it ends with the axis."""
    if placement == "fixed":
        apart = max(1, int(patch * step))
        return [*range(0, size - patch, apart), size - patch]
    count = math.ceil((size - patch) / (patch * step)) + 1
    return [round((size - patch) / (count - 1) * i) for i in range(count)] if count > 1 else [0]


def weights_of(spec: WindowSpec) -> Tensor:
    """The weights of a window's voxels (patch), float32."""
    if spec.weights == "gaussian":
        return torch.from_numpy(gaussian(spec.patch, spec.sigma))
    mode = "gaussian" if spec.weights == "centred" else "constant"
    from monai.data.utils import compute_importance_map  # here, because MONAI takes seconds to import

    return compute_importance_map(spec.patch, mode, spec.sigma)


def gaussian(patch: Sequence[int], sigma: float) -> np.ndarray:
    """The weights of a window's voxels, float32, highest behind the middle and above 0 everywhere."""
    weights: np.ndarray = np.ones(())
    for side in patch:
        peak = np.zeros(side)
        peak[side // 2] = 1.0
        weights = np.multiply.outer(weights, ndimage.gaussian_filter1d(peak, side * sigma, mode="constant"))
    scaled: np.ndarray = (weights / weights.max()).astype(np.float32)
    scaled[scaled == 0] = scaled[scaled > 0].min()
    return scaled


def logit_planes(
    array: np.ndarray, model: "Model", spec: WindowSpec, progress: Progress = no_progress
) -> Iterator[Tensor]:
    """The logits of each plane of the array (channels, D, H, W) along D, in order: float32 (outputs, H, W) on the CPU.

    Each is the weighted mean over windows, folds and mirrored windows. A volume smaller than a patch is padded around
    it.

    Raises: ModelError when a logit is not finite.
    """
    patch = spec.window
    padded, margins = pad_to(array, patch, spec)
    starts = [
        window_starts(n, side, spec.step, spec.placement) for n, side in zip(padded.shape[1:], patch, strict=True)
    ]
    if len(spec.patch) == 2:
        starts[0] = list(range(padded.shape[1]))
    forward = WindowForward(model, spec)
    sums = PlaneSums(weights_of(spec).view(patch), padded.shape[1:], model.device)
    inner = [slice(before, n - after) for (before, after), n in zip(margins, padded.shape[1:], strict=True)]
    planes = range(padded.shape[1])[inner[0]]
    image, places = torch.from_numpy(padded), list(itertools.product(*starts))
    for begin in range(0, len(places), forward.windows):
        progress("infer", begin / len(places))
        chosen = places[begin : begin + forward.windows]
        parts = [tuple(slice(at, at + n) for at, n in zip(place, patch, strict=True)) for place in chosen]
        windows = torch.stack([image[:, z, y, x] for z, y, x in parts])
        for place, logits in zip(chosen, forward(windows), strict=True):
            for k, plane in sums.finish(place[0]):
                if k in planes:
                    yield plane[:, inner[1], inner[2]].cpu()
            sums.add(place, logits)
    for k, plane in sums.finish(padded.shape[1]):
        if k in planes:
            yield plane[:, inner[1], inner[2]].cpu()
    progress("infer", 1.0)


def pad_to(array: np.ndarray, patch: Sequence[int], spec: WindowSpec) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """The array (channels, D, H, W) padded up to the patch's size, and the voxels added at both ends of each axis."""
    missing = [max(side - n, 0) for n, side in zip(array.shape[1:], patch, strict=True)]
    margins = [(n // 2, n - n // 2) for n in missing]
    if not any(missing):
        return array, margins
    if spec.padding == "edge":
        return np.pad(array, [(0, 0), *margins], "edge"), margins
    return np.pad(array, [(0, 0), *margins], constant_values=spec.fill), margins


class PlaneSums:
    """Weighted sums of windows over as many planes as a window is deep; a plane is finished when all later windows
    begin behind it."""

    def __init__(self, weights: Tensor, shape: Sequence[int], device: str) -> None:
        self._weights = weights.to(device)
        self._depth = len(weights)
        self._first = 0  # the plane of index 0
        self._total = torch.zeros(0)
        self._sums = torch.zeros((self._depth, *shape[1:]), device=device)

    def add(self, place: Sequence[int], logits: Tensor) -> None:
        """Add a window (outputs, patch) whose first voxel is at `place`; its plane is that of the last `finish`."""
        if not len(self._total):
            self._total = torch.zeros((len(logits), *self._sums.shape), device=logits.device)
        rows, columns = (slice(at, at + n) for at, n in zip(place[1:], self._weights.shape[1:], strict=True))
        self._total[:, :, rows, columns] += logits * self._weights
        self._sums[:, rows, columns] += self._weights

    def finish(self, start: int) -> Iterator[tuple[int, Tensor]]:
        """The planes before `start` that are not finished yet, with their numbers; later windows begin there."""
        done = start - self._first
        for k in range(min(done, self._depth)):
            yield self._first + k, self._total[:, k] / self._sums[k]
        if done:
            kept = max(self._depth - done, 0)
            for sums in (self._total.movedim(1, 0), self._sums):
                if len(self._total):
                    sums[:kept] = sums[self._depth - kept :].clone()
                    sums[kept:] = 0
            self._first = start


class WindowForward:
    """The logits (n, outputs, patch) of windows (n, channels, patch), float32: means over folds and mirrored windows.

    `windows` is the number of windows to give at once. The logits of a window of one value a channel, such as air, are
    kept for the next one with the same values.
    """

    def __init__(self, model: "Model", spec: WindowSpec) -> None:
        self._model = model
        self._planar = len(spec.patch) == 2
        axes = range(2, 2 + len(spec.patch))
        mirrored = [axes[axis] for axis in spec.mirror]
        self._flips = [flip for n in range(len(mirrored) + 1) for flip in itertools.combinations(mirrored, n)]
        voxels = math.prod(spec.patch)
        width = int(next(model.networks[0].parameters()).shape[0])
        several = PLANE_PIXELS // voxels if self._planar else min(FIRST_LAYER_VALUES // (voxels * width), MOST_WINDOWS)
        self._batch = max(1, several)
        self.windows = max(1, self._batch // len(self._flips))
        self._constant: dict[tuple[float, ...], Tensor] = {}

    @torch.inference_mode()
    def __call__(self, windows: Tensor) -> list[Tensor]:
        values = windows.flatten(2)
        constant = (values == values[:, :, :1]).all(2).all(1).tolist()
        keys = [tuple(value[:, 0].tolist()) if same else None for value, same in zip(values, constant, strict=True)]
        wanted = [i for i, key in enumerate(keys) if key is None or key not in (*self._constant, *keys[:i])]
        outputs = dict(zip(wanted, self._means(windows[wanted]) if wanted else (), strict=True))
        known = self._constant | {key: outputs[i] for i in wanted if (key := keys[i]) is not None}
        self._constant = dict(list(known.items())[-1:])
        return [outputs[i] if key is None else known[key] for i, key in enumerate(keys)]

    def _means(self, windows: Tensor) -> list[Tensor]:
        """The mean logits of each window."""
        x = (windows[:, :, 0] if self._planar else windows).to(self._model.device)
        jobs = [(i, flip) for i in range(len(x)) for flip in self._flips]
        totals: list[Tensor | None] = [None] * len(x)
        for begin in range(0, len(jobs), self._batch):
            chosen = jobs[begin : begin + self._batch]
            images = torch.stack([x[i : i + 1].flip(flip)[0] for i, flip in chosen])
            for output, (i, flip) in zip(self._logits(images), chosen, strict=True):
                back = output[None].flip(flip)[0]
                before = totals[i]
                totals[i] = back if before is None else before.add_(back)
        means = [total.div_(len(self._flips)) for total in totals if total is not None]
        return [mean[:, None] if self._planar else mean for mean in means]

    def _logits(self, images: Tensor) -> Tensor:
        """The logits (n, outputs, …) of images (n, channels, …): the mean over folds."""
        model, count = self._model, len(images)
        if self._planar:
            images = images.contiguous(memory_format=torch.channels_last)
        if not self._planar and count == 1 < self._batch:  # see FIRST_LAYER_VALUES
            images = torch.cat([images, images[:1]])
        with torch.autocast(model.device, torch.bfloat16, enabled=model.bf16):
            outputs = [network(images).float() for network in model.networks]
            logits = outputs[0] if len(outputs) == 1 else torch.stack(outputs).mean(0)
        check_finite(model.card, logits)
        return logits[:count]
