"""Fill between slices: the SEEDs of a case interpolated by signed distance, and blended with a network's logits."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage

# Beyond the outermost SEEDs a label shrinks by at least this many pixels a slice.
SHRINK_PIXELS = 1.0


def signed_distance(mask: np.ndarray) -> np.ndarray:
    """Distance to the mask's border in pixels, above 0 inside, float32; far outside where the mask is empty."""
    if not mask.any():
        return np.full(mask.shape, -float(max(mask.shape)) / 4, np.float32)
    inside = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    outside = ndimage.distance_transform_edt(~mask)
    return np.asarray(np.where(mask, inside - 0.5, 0.5 - outside), dtype=np.float32)


def seed_distances(seeds: Mapping[int, np.ndarray], labels: int, regions: bool = False) -> dict[int, np.ndarray]:
    """Signed distances to each label of each SEED (slice to classes), float32 (labels, rows, columns). With `regions`
    a label is that class and all later ones, which lie inside it."""
    numbers = range(1, labels + 1)
    return {
        k: np.stack([signed_distance(classes >= n if regions else classes == n) for n in numbers])
        for k, classes in seeds.items()
    }


def interpolate(
    distances: Mapping[int, np.ndarray], slices: Sequence[int], rows: slice = slice(None), fade: bool = True
) -> np.ndarray:
    """Signed distances to the labels on (some rows of) these slices, float32 (n, labels, rows, columns), linear between
    the nearest SEEDs and shrinking beyond the last ones; where they `fade`, 0 from one mean gap of SEEDs on.

    Source: Raya and Udupa, Shape-based interpolation of multidimensional objects, IEEE TMI 1990.
    """
    known = sorted(distances)
    cut = {k: distances[k][:, rows] for k in known}
    gap = float(np.mean(np.diff(known))) if len(known) > 1 else 8.0
    planes = []
    for k in slices:
        below = max((s for s in known if s <= k), default=None)
        above = min((s for s in known if s >= k), default=None)
        if below is not None and above is not None:
            share = 0.0 if above == below else (k - below) / (above - below)
            planes.append((1 - share) * cut[below] + share * cut[above])
            continue
        last = known[0] if below is None else known[-1]
        # Evenly spaced SEEDs end about one step before the label does, so it shrinks to nothing in one step.
        depth = distances[last].max((1, 2), keepdims=True).clip(0.0)
        shrunk = cut[last] - np.maximum(depth / gap, SHRINK_PIXELS) * abs(k - last)
        # All SEEDs may lie in one part of the label.
        planes.append(shrunk * max(0.0, 1.0 - abs(k - last) / gap) if fade else shrunk)
    return (
        np.stack(planes).astype(np.float32, copy=False) if planes else np.zeros((0, *cut[known[0]].shape), np.float32)
    )


def interpolate_labels(
    seeds: Mapping[int, np.ndarray], slices: Sequence[int], labels: int, regions: bool = False
) -> np.ndarray:
    """Signed distances of all labels on these slices, float32 (n, labels, rows, columns), from the SEEDs' classes."""
    return interpolate(seed_distances(seeds, labels, regions), slices)


def blend_classes(logits: np.ndarray, distances: np.ndarray, weight: float, regions: bool = False) -> np.ndarray:
    """The class of each pixel, int64 (n, rows, columns): logits (n, outputs, …), background first but for `regions`,
    with the signed distances (n, labels, …) in pixels, times `weight`, added to those of the labels."""
    if regions:
        numbers = np.arange(1, logits.shape[1] + 1)[:, None, None]
        found: np.ndarray = ((logits + weight * distances > 0) * numbers).max(1)
        return found
    odds = logits[:, 1:] - logits[:, :1] + weight * distances
    best = odds.argmax(1)
    return np.where(np.take_along_axis(odds, best[:, None], 1)[:, 0] > 0, best + 1, 0)
