"""The tuned case's own result: SEEDs as drawn, between them the tuned network blended with their interpolation."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..decision import check_finite, decide, label_values_of
from ..preprocess import restore
from ..progress import Progress
from ..segmentation import on_own_grid, segment_of
from ..volume import Labelmap, Volume
from .between_slices import blend_classes, interpolate_labels
from .features import SeedCase, decode, dices, encode, turned_index, turned_mask
from .finetune import Finetuned
from .held_out import HeldOut
from .seed import IGNORE, Seed, for_model

# Weights of the interpolation, in logits a pixel of signed distance.
WEIGHTS = (0.5, 1.0, 2.0, 4.0)
DEFAULT_WEIGHT = 1.0
# By this much Dice a weight twice or half as large must be better: few SEEDs are held out, and the gap around one is
# twice as wide as it will be, which is unfavourable to the interpolation.
MIN_GAIN = 0.02


def blend_weight(held_out: Sequence[HeldOut], cases: Sequence[SeedCase], labels: int) -> float:
    """The weight of the interpolation with the best Dice on the held-out SEEDs; a weight further from the default must
    be better by more."""
    if not held_out:
        return DEFAULT_WEIGHT
    means = {}
    for weight in WEIGHTS:
        scores = []
        for seed in held_out:
            truth = cases[seed.case].truth
            if seed.others:
                rest = {k: truth[k] for k in seed.others}
                classes = blend_classes(seed.logits[None], interpolate_labels(rest, [seed.slice], labels), weight)
                scores.append(dices(torch.from_numpy(classes), torch.from_numpy(truth[seed.slice][None]), labels)[0])
        means[weight] = float(np.mean(scores)) if scores else 0.0
    return max(WEIGHTS, key=lambda weight: means[weight] - MIN_GAIN * abs(float(np.log2(weight / DEFAULT_WEIGHT))))


def case_result(tuned: Finetuned, volume: Volume, seeds: Sequence[Seed], progress: Progress) -> tuple[Labelmap, float]:
    """The labels of the first case on its volume's own grid, and the weight that its interpolation had.

    Raises: ModelError when the network's numbers are not finite; Cancelled.
    """
    case, card = tuned.cases[0], tuned.model.card
    labels = len(card.labels)
    weight = blend_weight([seed for seed in tuned.held_out if seed.case == 0], tuned.cases, labels)
    tuned.weights.use(1.0)  # this case gets the tuned weights; the next ones get the guarded weights
    values = label_values_of(card)
    turned = np.zeros(case.prepared.turned_shape, values.dtype)
    slices = np.flatnonzero(case.prepared.occupied)
    for begin in range(0, len(slices), 8):
        progress("result", begin / max(len(slices), 1))
        chosen = [int(k) for k in slices[begin : begin + 8]]
        probability, (rows, columns) = on_own_grid(_probability(tuned, case, chosen, weight), case.prepared)
        turned[chosen, rows, columns] = values[decide(card, probability).cpu().numpy()]
    tuned.weights.use(tuned.alpha)
    for seed in seeds:
        drawn = turned_mask(for_model(seed, card).mask, case.prepared)
        k = turned_index(seed.index, case.prepared)
        turned[k] = np.where(drawn == IGNORE, turned[k], values[np.where(drawn == IGNORE, 0, drawn)])
    progress("result", 1.0)
    # It contains the user's own slices, so it is not all automatic.
    tag = {"DICOM.SegmentAlgorithmType": "SEMIAUTOMATIC"}
    predicted = [segment_of(card, label) for label in card.labels]
    segments = tuple(replace(segment, tags=tuple((dict(segment.tags) | tag).items())) for segment in predicted)
    return Labelmap(restore(turned, case.prepared), volume.geometry, segments), weight


@torch.inference_mode()
def _probability(tuned: Finetuned, case: SeedCase, slices: Sequence[int], weight: float) -> Tensor:
    """Blended probabilities (n, 1 + labels, h, w) on the padded box."""
    model = tuned.model
    logits = decode(model, encode(model, case.images(slices))) / model.card.calibration.temperature
    check_finite(model.card, logits)
    distances = torch.from_numpy(interpolate_labels(case.truth, slices, len(model.card.labels))).to(logits)
    odds = logits[:, 1:] - logits[:, :1] + weight * distances
    return torch.cat([torch.zeros_like(odds[:, :1]), odds], 1).softmax(1)
