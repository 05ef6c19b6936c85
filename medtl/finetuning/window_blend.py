"""The result of a case whose network sees windows: planes of logits, blended on the volume's own grid."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..decision import decide, label_values_of
from ..model.bundle import Model
from ..progress import Progress
from ..windows.resampling import Taps
from ..windows.restore import outputs_of, pairs
from ..windows.sliding import logit_planes
from .blend import Blend
from .window_case import WindowCase


def fill_windows(
    turned: np.ndarray, case: WindowCase, model: Model, blend: Blend, count: int, progress: Progress
) -> int:
    """Write the label values of the case into the turned volume; see `blend.fill_slices`. There is time for windows
    over `count` slices. Mirrored ones are averaged too where there is twice the time for them, and slices far from the
    SEEDs are left out where there is not enough.

    Raises: ModelError when the network's numbers are not finite; Cancelled.
    """
    values, axis, slices, spec = label_values_of(model.card), case.axis, case.occupied, case.spec
    if count < 2 * 2 ** len(spec.mirror) * len(slices):
        spec = replace(spec, mirror=())
    asked = span(case, count)
    inside = turned[case.prepared.box]
    own = replace(case, spec=spec)
    for place, probability in blended_planes(own, model, blend, asked, progress):
        inside[place] = values[decide(model.card, probability)[0].numpy()]
    others = [k for k in slices if k not in asked]
    for k in others:
        np.moveaxis(inside, axis, 0)[k] = values[decide(model.card, blend.filled([k]))[0].numpy()]
    return len(others)


def span(case: WindowCase, count: int) -> range:
    """At most `count` slices around the SEEDs; none where these are thinner than a window."""
    total = len(case.occupied)
    if count >= total:
        return range(total)
    if count < len(case.inside(case.axis, case.image.shape[1 + case.axis] - case.spec.window[case.axis])):
        return range(0)
    first = min(max((min(case.truth) + max(case.truth) + 1 - count) // 2, 0), total - count)
    return range(first, first + count)


@torch.inference_mode()
def blended_planes(
    case: WindowCase, model: Model, blend: Blend, asked: range, progress: Progress
) -> Iterator[tuple[tuple[slice | int, ...], Tensor]]:
    """For each plane of the box along its first axis, cut to the slices `asked` for: its place in the box and the
    blended probabilities (1, outputs, rows, columns)."""
    if not asked:
        return
    axis, prepared = case.axis, case.prepared
    taps, cut = list(prepared.taps), [slice(0, len(one.low)) for one in prepared.taps]
    own = taps[axis]
    first, last = int(own.low[asked.start]), int(own.high[asked.stop - 1])
    cut[axis] = slice(asked.start, asked.stop)
    taps[axis] = Taps(own.low[cut[axis]] - first, own.high[cut[axis]] - first, own.weight[cut[axis]])
    array = prepared.array.take(range(first, last + 1), 1 + axis)
    planes = logit_planes(array, model, case.spec, lambda stage, share: progress("result", share))
    for k, pair in enumerate(pairs(planes, model.card, (taps[0], taps[1], taps[2])), start=cut[0].start):
        logits = outputs_of(pair, taps[1], taps[2])
        if axis == 0:
            yield (k, cut[1], cut[2]), blend.probability(logits[None], [k])
        else:  # the plane is a row of each slice
            lines = logits.movedim(axis, 0)[:, :, None]
            probability = blend.probability(lines, list(asked), slice(k, k + 1))
            yield (k, cut[1], cut[2]), probability[:, :, 0].movedim(0, axis)[None]
