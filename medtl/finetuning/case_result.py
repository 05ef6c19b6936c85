"""The tuned case's own result: SEEDs as drawn, between them the tuned network blended with their interpolation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..counted import counted
from ..decision import label_values_of
from ..labels import SEMIAUTOMATIC, TYPE_TAG
from ..preprocess import restore
from ..progress import Progress
from ..segmentation import segment_of
from ..volume import Labelmap, Volume
from .between_slices import blend_classes, interpolate, seed_distances
from .blend import Blend, fill_slices
from .features import SeedCase, dices, turned_index, turned_mask
from .finetune import Finetuned
from .guard import MIN_SEEDS_TO_HOLD_OUT
from .run import TimeBudget
from .seed import IGNORE, Seed, for_model
from .window_blend import fill_windows
from .window_case import WindowCase

# Weights of the interpolation, in logits a pixel of signed distance.
WEIGHTS = (0.5, 1.0, 2.0, 4.0, 8.0)
DEFAULT_WEIGHT = 1.0
# By this much Dice a weight twice or half as large must be better: few SEEDs are held out.
MIN_GAIN = 0.005
# The gap around a held-out SEED is twice as wide as it will be, and the error of an interpolation at least twice.
ERROR_SHARE = 0.5
SLACK = 0.1  # of the budget, beyond which a result is cut down rather than late


def chosen_blend(tuned: Finetuned) -> Blend:
    """How the first case is blended: the weight of the interpolation with the best Dice on the held-out SEEDs, where a
    weight further from the default must be better by more. Few SEEDs may all lie in one part of the label, so the
    network has a word beyond them."""
    card, case = tuned.model.card, tuned.cases[0]
    labels, regions = len(card.labels), card.decision == "regions"
    distances = seed_distances(case.truth, labels, regions)
    scores = {weight: list[float]() for weight in WEIGHTS}
    for seed in tuned.held_out:
        if seed.case or not seed.others:
            continue
        truth = torch.from_numpy(case.truth[seed.slice][None])
        filled = interpolate({k: distances[k] for k in seed.others}, [seed.slice])
        nearer = distances[seed.slice] + ERROR_SHARE * (filled - distances[seed.slice])
        for weight, found in scores.items():
            classes = blend_classes(seed.logits[None], nearer, weight, regions)
            found.append(float(dices(torch.from_numpy(classes), truth, labels)[0]))
    means = {weight: float(np.mean(found)) for weight, found in scores.items() if found}
    best = max(
        means,
        key=lambda weight: means[weight] - MIN_GAIN * abs(math.log2(weight / DEFAULT_WEIGHT)),
        default=DEFAULT_WEIGHT,
    )
    return Blend(card, distances, best, fade=len(case.truth) < MIN_SEEDS_TO_HOLD_OUT)


@dataclass(frozen=True)
class CaseResult:
    """The labels of a case on its volume's own grid, the weight that its interpolation had, and warnings."""

    labelmap: Labelmap
    weight: float
    warnings: tuple[str, ...] = ()


def case_result(
    tuned: Finetuned, volume: Volume, seeds: Sequence[Seed], budget: TimeBudget, progress: Progress
) -> CaseResult:
    """The result of the first case; where time is short, only the slices nearest to SEEDs have the network's word.

    Raises: ModelError when the network's numbers are not finite; Cancelled.
    """
    case, model, card = tuned.cases[0], tuned.model, tuned.model.card
    tuned.weights.use(1.0)  # this case gets the tuned weights; the next ones get the guarded weights
    values = label_values_of(card)
    turned = np.zeros(case.prepared.turned_shape, values.dtype)
    blend = chosen_blend(tuned)
    seconds = budget.until(1.0) + SLACK * budget.seconds
    slices = int(min(seconds / max(tuned.slice_seconds, 1e-9), 1e9))
    if isinstance(case, SeedCase):
        filled = fill_slices(turned, case, model, blend, slices, progress)
    else:
        assert isinstance(case, WindowCase)
        filled = fill_windows(turned, case, model, blend, slices, progress)
    tuned.weights.use(tuned.alpha)
    for seed in seeds:
        drawn = turned_mask(for_model(seed, card).mask, case.prepared, case.axis)
        plane = np.moveaxis(turned, case.axis, 0)[turned_index(seed.index, case.prepared, case.axis)]
        plane[...] = np.where(drawn == IGNORE, plane, values[np.where(drawn == IGNORE, 0, drawn)])
    progress("result", 1.0)
    # It contains the user's own slices, so it is not all automatic.
    tag = {TYPE_TAG: SEMIAUTOMATIC}
    predicted = [segment_of(card, label) for label in card.labels]
    segments = tuple(replace(segment, tags=tuple((dict(segment.tags) | tag).items())) for segment in predicted)
    short = counted(filled, "1 slice is", "{count} slices are")
    warnings = (
        (f"Time was short: of the result, {short} filled between the SEEDs, without the network.",) if filled else ()
    )
    labels = restore(turned, case.prepared)
    labelmap = Labelmap(labels, volume.geometry, segments, real_spacing=volume.real_spacing)
    return CaseResult(labelmap, blend.weight, warnings)
