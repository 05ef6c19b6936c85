"""From a network's output to classes: probabilities, the decision, the uncertainty."""

import math

import numpy as np
import torch
from torch import Tensor

from .errors import ModelError
from .model.card import ModelCard


def label_values_of(card: ModelCard) -> np.ndarray:
    """The label value of each class, 0 for background; uint8 where the values fit, else uint16."""
    values = [0, *(label.value for label in card.labels)]
    return np.array(values, np.uint16 if max(values) > 255 else np.uint8)


def probabilities_of(card: ModelCard, logits: Tensor) -> Tensor:
    """Temperature-scaled probabilities of logits (n, outputs, …), float32: of the classes, background first, or of
    regions."""
    scaled = logits.float() / card.calibration.temperature
    return scaled.sigmoid() if card.decision == "regions" else scaled.softmax(1)


def foreground(card: ModelCard, probability: Tensor) -> Tensor:
    """The probabilities of the labels (n, labels, …)."""
    return probability if card.decision == "regions" else probability[:, 1:]


def decide(card: ModelCard, probability: Tensor) -> Tensor:
    """Index of the class, (n, …) int64, 0 for background, by the card's decision."""
    threshold = card.calibration.threshold
    if card.decision == "argmax":
        return likeliest(probability)
    if card.decision == "regions":
        numbers = torch.arange(1, probability.shape[1] + 1, device=probability.device)
        numbers = numbers.view(1, -1, *(1,) * (probability.ndim - 2))
        return ((probability > threshold) * numbers).amax(1)
    best = likeliest(probability[:, 1:]) + 1
    return torch.where(1 - probability[:, 0] > threshold, best, 0)


def likeliest(outputs: Tensor) -> Tensor:
    """The index of the largest output of (n, outputs, …), (n, …) int64; of equal ones, the first."""
    return outputs.max(1).indices  # argmax takes several times as long on a CPU


def decide_logits(card: ModelCard, logits: Tensor) -> Tensor:
    """Index of the class of logits (n, outputs, …), as `decide` gives it for their probabilities."""
    return likeliest(logits) if card.decision == "argmax" else decide(card, probabilities_of(card, logits))


def mixed_of(card: ModelCard, logits: Tensor) -> Tensor:
    """What is interpolated between the voxels of the network, of its logits (n, outputs, …): these or probabilities."""
    return logits if card.windows is None or card.windows.mixed == "logits" else probabilities_of(card, logits)


def probabilities_of_mixed(card: ModelCard, mixed: Tensor) -> Tensor:
    """The probabilities of what `mixed_of` gives."""
    return probabilities_of(card, mixed) if card.windows is None or card.windows.mixed == "logits" else mixed


def decide_mixed(card: ModelCard, mixed: Tensor) -> Tensor:
    """Index of the class of what `mixed_of` gives, as `decide` gives it for its probabilities."""
    mixes_logits = card.windows is None or card.windows.mixed == "logits"
    return decide_logits(card, mixed) if mixes_logits else decide(card, mixed)


def entropy(card: ModelCard, probability: Tensor) -> Tensor:
    """Entropy, (n, …), divided by its maximum: 0 is certain, 1 means equal probabilities. Of regions, the largest."""
    if card.decision == "regions":
        other = 1 - probability
        bits = [part * part.clamp_min(1e-12).log() for part in (probability, other)]
        return (-(bits[0] + bits[1]) / math.log(2)).amax(1)
    logarithm = probability.clamp_min(1e-12).log()
    return -(probability * logarithm).sum(1) / math.log(probability.shape[1])


def check_finite(card: ModelCard, *outputs: Tensor) -> None:
    """Raise ModelError when a network's output has NaN or infinity, which would look like an empty result."""
    for output in outputs:
        if not torch.isfinite(output.sum()) and not torch.isfinite(output).all():
            raise ModelError(
                f"Expected finite numbers from the network of {card.name}, found NaN or infinity: its weights are "
                "damaged, or it does not fit this image. Import the model again or choose another."
            )
