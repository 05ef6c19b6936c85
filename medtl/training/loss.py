"""The loss of every network that segments."""

import torch
import torch.nn.functional as functional
from torch import Tensor

UNKNOWN = -100  # torch's default for targets to ignore


def dice_and_cross_entropy(logits: Tensor, truth: Tensor, ignore: int = UNKNOWN) -> Tensor:
    """Soft Dice over the whole batch, the mean over foreground classes, plus cross entropy; logits float32
    (n, 1 + labels, …), truth int64 (n, …). Pixels whose truth is `ignore` do not count.

    Source: nnU-Net (Isensee 2021).
    """
    known = truth != ignore
    probability = logits.softmax(1)[:, 1:] * known[:, None]
    truths = functional.one_hot(torch.where(known, truth, 0), logits.shape[1]).movedim(-1, 1)[:, 1:].float()
    pixels = (0, *range(2, logits.ndim))
    both = (probability * truths).sum(pixels)
    dice = (2 * both + 1) / (probability.sum(pixels) + truths.sum(pixels) + 1)
    if not known.any():  # the mean over no pixel would be NaN
        return 1 - dice.mean() + 0 * logits.sum()
    targets = torch.where(known, truth, UNKNOWN)
    return 1 - dice.mean() + functional.cross_entropy(logits, targets, ignore_index=UNKNOWN)
