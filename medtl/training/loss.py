"""The loss of every network that segments."""

import torch
import torch.nn.functional as functional
from torch import Tensor

UNKNOWN = -100  # torch's default for targets to ignore


def dice_and_cross_entropy(logits: Tensor, truth: Tensor, ignore: int = UNKNOWN) -> Tensor:
    """Soft Dice over the whole batch, the mean over foreground classes, plus cross entropy; logits float32
    (n, 1 + labels, …), truth int64 (n, …). Pixels whose truth is `ignore` do not count, nor does, of several labels,
    the Dice of one that the batch does not show.

    Source: nnU-Net (Isensee 2021).
    """
    known = truth != ignore
    truths = functional.one_hot(torch.where(known, truth, 0), logits.shape[1]).movedim(-1, 1)[:, 1:].float()
    dice = soft_dice(logits.softmax(1)[:, 1:] * known[:, None], truths)
    if len(dice) > 1:
        # The Dice of an absent label pulls its probability down far more than cross entropy raises that of a small,
        # rare label: the network would never find it.
        shown = truths.flatten(2).any(2).any(0)
        dice = dice[shown] if shown.any() else dice
    if not known.any():  # the mean over no pixel would be NaN
        return 1 - dice.mean() + 0 * logits.sum()
    targets = torch.where(known, truth, UNKNOWN)
    return 1 - dice.mean() + functional.cross_entropy(logits, targets, ignore_index=UNKNOWN)


def region_dice_and_cross_entropy(logits: Tensor, truth: Tensor, ignore: int = UNKNOWN) -> Tensor:
    """As `dice_and_cross_entropy` for regions that may overlap: logits float32 (n, regions, …), each a sigmoid's.
    Region n has the pixels of class n and of all later ones: those are written over it, and lie inside it as far as a
    card tells."""
    known = (truth != ignore)[:, None]
    truths = torch.stack([truth >= number for number in range(1, logits.shape[1] + 1)], 1).float() * known
    dice = soft_dice(logits.sigmoid() * known, truths)
    errors = functional.binary_cross_entropy_with_logits(logits, truths, reduction="none") * known
    return 1 - dice.mean() + errors.sum() / (known.sum() * logits.shape[1]).clamp_min(1)


def soft_dice(probability: Tensor, truths: Tensor) -> Tensor:
    """The soft Dice of each class over the whole batch, from (n, classes, …) both."""
    pixels = (0, *range(2, truths.ndim))
    both = (probability * truths).sum(pixels)
    dice: Tensor = (2 * both + 1) / (probability.sum(pixels) + truths.sum(pixels) + 1)
    return dice
