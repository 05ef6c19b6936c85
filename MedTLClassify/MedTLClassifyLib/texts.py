"""A classification in words for the panel."""

from slicer.i18n import tr as _

from medtl.classification.report import usual_probability
from MedTLClassifyLib.result import Classification
from MedTLLib.results.classification import headline, percent

__all__ = ["headline", "percent"]


def chanceText(classification: Classification, classId: str) -> str:
    """The probability of a class; for a model of plain numbers with the class's share in training."""
    probability, usual = (
        percent(classification.probabilities[classId]),
        usual_probability(classification.record.get("prevalence"), classification.probabilities, classId),
    )
    if usual is None:
        return probability
    return str(_("{percent} (usual: {usual})").format(percent=probability, usual=percent(usual)))


def aboutText(classification: Classification) -> str:
    """The image and segment that were classified, and the model."""
    what = classification.record["input"]
    if classification.segment:
        what = _("{volume}, segment {segment}").format(volume=what, segment=classification.record["segment"])
    return str(
        _("{what} · {model} {version}").format(what=what, model=classification.model, version=classification.version)
    )


def votesText(classification: Classification) -> str:
    """The votes of the slices for the classes, and how their probabilities became one; empty for a model that uses no
    slices."""
    count, votes = len(classification.slices), classification.votes
    if not count:
        return ""
    if count == 1:
        return str(classification.record["rule"])
    others = [
        f"{n} {inSentence(classification, each)}" for each, n in votes.items() if n and each != classification.best
    ]
    text = _("{votes} of {count} slices say {name}").format(
        votes=votes.get(classification.best, 0), count=count, name=inSentence(classification, classification.best)
    )
    return f"{', '.join([str(text), *others])}. {classification.record['rule']}"


def intervalText(classification: Classification) -> str:
    """The interval of a probability of a model of plain numbers, with its rule; empty for others."""
    interval = classification.record.get("interval")
    if not interval:
        return ""
    low, high = interval
    second = list(classification.probabilities)[1]
    text = _("{name}: between {low} and {high} (95 % interval).").format(
        name=classification.name(second), low=percent(low), high=percent(high)
    )
    return f"{text} {classification.record['rule']}"


def featureRows(classification: Classification) -> list[tuple[str, str, str]]:
    """Each feature's name, value, and whether it is for the most probable class, the largest contribution first."""
    second = classification.best == list(classification.probabilities)[1]  # contributions are to the second class
    rows = []
    for one in sorted(classification.features, key=lambda one: -abs(one["contribution"])):
        speaksFor = (one["contribution"] > 0) == second
        word = "–" if not one["contribution"] else _("for") if speaksFor else _("against")
        rows.append((str(one["label"]), f"{one['value']:.3g}", str(word)))
    return rows


def sliceText(classification: Classification, index: int) -> str:
    """The class of one slice, its probability and its weight; slices count from 0, as in Slicer's Data Probe."""
    one = next(each for each in classification.slices if each.index == index)
    best = max(one.probabilities, key=lambda each: one.probabilities[each])
    text = _("Slice {k}: {name}, {percent}. Its weight in the answer is {weight}.")
    probability, weight = percent(one.probabilities[best]), percent(one.weight)
    return str(text.format(k=index, name=classification.name(best), percent=probability, weight=weight))


def inSentence(classification: Classification, classId: str) -> str:
    """The name of a class in the middle of a sentence."""
    name = classification.name(classId)
    return name if name[1:2].isupper() else name[:1].lower() + name[1:]
