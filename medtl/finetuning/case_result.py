"""The tuned case's own result: SEEDs as drawn, between them the tuned network blended with their interpolation."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..preprocess import restore, turn
from ..progress import Progress
from ..segmentation import decide, needs_16_bit, on_own_grid, segment_of
from ..volume import Labelmap, Volume
from .features import Marked, decode, encode
from .finetune import Finetuned
from .held_out import LeftOut
from .interpolate import blended, dice, filled
from .seed import IGNORE, Seed

# Logits a pixel of signed distance. The usual one is right without anything to judge by.
WEIGHTS = (0.5, 1.0, 2.0, 4.0)
USUAL = 1.0
# Dice that a weight twice or half as large must be better by: where a SEED is left out the gap to interpolate over is
# twice as wide as it will be, which speaks against the interpolation, and few are left out.
PATIENCE = 0.02


def blend_weight(left_out: Sequence[LeftOut], cases: Sequence[Marked], labels: int) -> float:
    """The weight of the interpolation that does best on the SEEDs left out; the further from the usual one, the
    more it must be better."""
    if not left_out:
        return USUAL
    means = {}
    for weight in WEIGHTS:
        scores = []
        for one in left_out:
            truth = cases[one.case].truth
            if one.others:
                rest = {k: truth[k] for k in one.others}
                found = blended(one.logits[None], filled(rest, [one.slice], labels), weight)[0]
                scores.append(dice(found, truth[one.slice], labels))
        means[weight] = float(np.mean(scores)) if scores else 0.0
    return max(WEIGHTS, key=lambda weight: means[weight] - PATIENCE * abs(float(np.log2(weight / USUAL))))


def this_case(tuned: Finetuned, volume: Volume, seeds: Sequence[Seed], progress: Progress) -> tuple[Labelmap, float]:
    """The labels of the first case on its volume's own grid, and the weight that its interpolation had."""
    case, card = tuned.cases[0], tuned.model.card
    labels = len(card.labels)
    weight = blend_weight([one for one in tuned.left_out if one.case == 0], tuned.cases, labels)
    tuned.tuned.use(1.0)  # for this case as far as tuning went; the next ones get the guarded weights
    values = np.array([0, *(label.value for label in card.labels)], np.uint16 if needs_16_bit(card) else np.uint8)
    turned = np.zeros(case.prepared.turned_shape, values.dtype)
    slices = np.flatnonzero(case.prepared.occupied)
    for begin in range(0, len(slices), 8):
        progress("result", begin / max(len(slices), 1))
        chosen = [int(k) for k in slices[begin : begin + 8]]
        probability, (rows, columns) = on_own_grid(_probability(tuned, case, chosen, weight), case.prepared)
        turned[chosen, rows, columns] = values[decide(probability, card.calibration.threshold).cpu().numpy()]
    tuned.tuned.use(tuned.alpha)
    for seed in seeds:
        drawn = turn(np.expand_dims(seed.mask, case.prepared.axes[0]), case.prepared.axes, case.prepared.flips)[0]
        k = len(turned) - 1 - seed.index if 0 in case.prepared.flips else seed.index
        turned[k] = np.where(drawn == IGNORE, turned[k], values[np.where(drawn == IGNORE, 0, drawn)])
    progress("result", 1.0)
    # With the user's own slices in it, it is not the network's work alone.
    drawn_by_both = ("DICOM.SegmentAlgorithmType", "SEMIAUTOMATIC")
    made = [segment_of(card, label) for label in card.labels]
    segments = tuple(replace(one, tags=tuple((dict(one.tags) | dict([drawn_by_both])).items())) for one in made)
    return Labelmap(restore(turned, case.prepared), volume.geometry, segments), weight


@torch.inference_mode()
def _probability(tuned: Finetuned, case: Marked, slices: Sequence[int], weight: float) -> Tensor:
    """Blended probabilities (n, 1 + labels, h, w) on the padded box."""
    model = tuned.model
    logits = decode(model, encode(model, case.images(slices))) / model.card.calibration.temperature
    known: Mapping[int, np.ndarray] = case.truth
    distances = torch.from_numpy(filled(known, slices, len(model.card.labels))).to(logits)
    odds = logits[:, 1:] - logits[:, :1] + weight * distances
    return torch.cat([torch.zeros_like(odds[:, :1]), odds], 1).softmax(1)
