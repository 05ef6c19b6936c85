"""The network of a classifier: its outputs for slices in their frames, and heat maps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from ..decision import check_finite
from ..model.card import ModelCard
from ..progress import Progress
from .frames import Framed

if TYPE_CHECKING:
    from ..model.bundle import Model

BATCH = 16


@dataclass(frozen=True)
class Outputs:
    """The outputs of a network for n slices: `logits` (n, classes), the log-sum-exp of its `attention` over each slice
    (n,), the `features` that its head takes, a batch each, and the out-of-distribution `scores` (n,)."""

    logits: Tensor
    attention: np.ndarray
    features: list[list[Tensor]]
    scores: np.ndarray


def run_network(
    frames: Sequence[Framed], model: "Model", progress: Progress, masks: Sequence[np.ndarray] | None = None
) -> Outputs:
    """The outputs of the model's network for these slices; its attention is confined to the `masks` (side, side).

    Raises: ModelError when one is not finite.
    """
    network: Any = model.networks[0]
    logits, attention, kept, scores = [], [], [], []
    for begin in range(0, len(frames), BATCH):
        progress("infer", begin / len(frames))
        images = torch.from_numpy(np.stack([f.image for f in frames[begin : begin + BATCH]])[:, None]).to(model.device)
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=model.bf16):
            features = [f.float() for f in network.encode(images)]
        if masks is not None:
            mask = torch.from_numpy(np.stack(masks[begin : begin + BATCH])[:, None]).to(model.device)
            rows, columns = features[0].shape[2:]
            features.append(functional.adaptive_avg_pool2d(mask, (rows, columns))[:, 0])
        with torch.no_grad():
            batch_logits, batch_attention = network.attend(features)
            logits.append(batch_logits.cpu())
            attention.append(batch_attention.flatten(1).logsumexp(1).cpu())
            scores.append(novelty_score(network, features, batch_logits, model.card).cpu())
        kept.append(features)
    progress("infer", 1.0)
    outputs = Outputs(torch.cat(logits), torch.cat(attention).numpy(), kept, torch.cat(scores).numpy())
    check_finite(model.card, *map(torch.from_numpy, (outputs.attention, outputs.scores)), outputs.logits)
    return outputs


def novelty_score(network: Any, features: list[Tensor], logits: Tensor, card: ModelCard) -> Tensor:
    """The out-of-distribution score of each input, (n,), higher the less like training: that of the card, by default
    the energy."""
    if card.abstention is not None and card.abstention.score == "mahalanobis":
        distances: Tensor = network.distance(features)
        return distances
    return energy(logits, card.calibration.temperature)


def energy(logits: Tensor, temperature: float) -> Tensor:
    """The energy (n,) of logits (n, classes), Liu et al. 2020; higher the less like training."""
    return -temperature * (logits / temperature).logsumexp(1)


def heat_maps(features: Sequence[list[Tensor]], model: "Model", number: int, progress: Progress) -> np.ndarray:
    """The contribution of each position to a class in each slice, float32 (n, h, w), 0 or more; it takes one backward
    pass of the head.

    Source: Grad-CAM (Selvaraju 2017) in the variant HiResCAM (Draelos and Carin 2020), where each position has its own
    gradient as weight: the mean gradient over positions loses where the attention is.

    Raises: ModelError when one is not finite.
    """
    network, maps = model.networks[0], []
    for done, batch in enumerate(features):
        progress("heat", done / len(features))
        with torch.enable_grad():
            at_cut = batch[0].detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(network.decode([at_cut, *batch[1:]])[:, number].sum(), at_cut)
        maps.append((gradient * batch[0]).sum(1).clamp(min=0).detach().cpu())
    progress("heat", 1.0)
    contributions = torch.cat(maps).float()
    check_finite(model.card, contributions)
    return contributions.numpy()
