"""When a classifier abstains: the image is unlike its training images, no class stands out, or a shape adds nothing."""

from collections.abc import Sequence

from ..gate import mismatches
from ..model.card import Coefficients, ModelCard
from ..volume import Volume
from .shape import Prediction


def abstention_reasons(
    card: ModelCard, volume: Volume, probabilities: Sequence[float], score: float | None
) -> tuple[str, ...]:
    """The reasons to abstain from these probabilities, in the order of the card's classes; empty where there is none.

    `score` is the novelty of the input: higher the less it is like the training images; None for a model of shapes.
    """
    grid, limits = volume.geometry, card.abstention
    reasons = [
        f"Unlike the training images: {reason}."
        for reason in mismatches(
            card,
            modality=volume.modality,
            description=volume.sequence,
            size=grid.size,
            # For a shape the volume may be a labelmap that is cut to the tumour: its field of view means nothing.
            spacing=grid.spacing if volume.real_spacing and card.networks else None,
            lowest=float(volume.array.min()),
        )
    ]
    if limits is not None and score is not None and score > limits.threshold:
        reasons.append(f"The image is unlike those of training: score {score:.2f}, limit {limits.threshold:.2f}.")
    best = max(range(len(probabilities)), key=lambda number: probabilities[number])
    if limits is not None and probabilities[best] < limits.min_probability:
        name, probability = card.classes[best].name, probabilities[best]
        reasons.append(f"No class reaches {limits.min_probability:.1%}; the best, {name}, has {probability:.1%}.")
    return tuple(reasons)


def weak_evidence(prediction: Prediction, model: Coefficients, name: str) -> tuple[str, ...]:
    """The reason to abstain where the prediction's interval contains the prevalence of the second class (`name`): the
    shape then adds nothing to what is known without it. Empty otherwise, and where the prevalence is not known."""
    if model.prevalence is None or prediction.interval is None:
        return ()
    low, high = prediction.interval
    if not low <= model.prevalence <= high:
        return ()
    return (
        f"The shape adds no evidence: {model.prevalence:.0%} of the training tumours are {name}, and the interval of "
        f"the probability ({low:.0%} to {high:.0%}) contains that.",
    )
