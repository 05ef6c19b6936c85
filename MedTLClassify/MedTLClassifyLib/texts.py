"""What a classification says, in plain words."""

from slicer.i18n import tr as _

from medtl.classification.report import usual_probability
from MedTLClassifyLib.result import Classification


def percent(probability: float) -> str:
    """A probability in whole percent; what is not certain is never 0 % or 100 %."""
    if probability < 0.005:
        return str(_("<1 %"))
    if probability > 0.995:
        return str(_(">99 %"))
    return str(_("{percent} %").format(percent=round(100 * probability)))


def headline(found: Classification) -> str:
    """The class with its probability, or that the model does not know."""
    if found.abstained:
        return str(_("Uncertain: review"))
    name, chance = found.name(found.best), percent(found.probabilities[found.best])
    return str(_("{name}, {percent}").format(name=name, percent=chance))


def chanceText(found: Classification, class_id: str) -> str:
    """The probability of a class; of a model of plain numbers with the share that all such tumours have."""
    probability, usual = percent(found.probabilities[class_id]), usual_probability(found.record, class_id)
    if usual is None:
        return probability
    return str(_("{percent} (usual: {usual})").format(percent=probability, usual=percent(usual)))


def aboutText(found: Classification) -> str:
    """What was classified, by which model."""
    what = found.record["input"]
    if found.segment:
        what = _("{volume}, segment {segment}").format(volume=what, segment=found.record["segment"])
    return str(_("{what} · {model} {version}").format(what=what, model=found.model, version=found.version))


def votesText(found: Classification) -> str:
    """How many slices say what the answer is, what the others say, and how they became one answer; empty for a model
    that looks at no slices."""
    count, votes = len(found.slices), found.votes
    if not count:
        return ""
    if count == 1:
        return str(found.record["rule"])
    others = [f"{n} {inSentence(found, each)}" for each, n in votes.items() if n and each != found.best]
    text = _("{votes} of {count} slices say {name}").format(
        votes=votes.get(found.best, 0), count=count, name=inSentence(found, found.best)
    )
    return f"{', '.join([str(text), *others])}. {found.record['rule']}"


def intervalText(found: Classification) -> str:
    """How wide the answer of a model of plain numbers is, with its rule; empty for others."""
    interval = found.record.get("interval")
    if not interval:
        return ""
    low, high = interval
    second = list(found.probabilities)[1]
    text = _("{name}: between {low} and {high} (95 % interval).").format(
        name=found.name(second), low=percent(low), high=percent(high)
    )
    return f"{text} {found.record['rule']}"


def featureRows(found: Classification) -> list[tuple[str, str, str]]:
    """Of each feature its name, its value, and whether it speaks for the most probable class, the strongest first."""
    second = found.best == list(found.probabilities)[1]  # what a feature adds counts for the second class
    rows = []
    for one in sorted(found.features, key=lambda one: -abs(one["contribution"])):
        for_it = (one["contribution"] > 0) == second
        word = "–" if not one["contribution"] else _("for it") if for_it else _("against it")
        rows.append((str(one["label"]), f"{one['value']:.3g}", str(word)))
    return rows


def sliceText(found: Classification, index: int) -> str:
    """What the model says of one slice; slices count from 0, as in Slicer's Data Probe."""
    one = next(each for each in found.slices if each.index == index)
    best = max(one.probabilities, key=lambda each: one.probabilities[each])
    text = _("Slice {k}: {name}, {percent}. It counts {weight} of the answer.")
    said, weight = percent(one.probabilities[best]), percent(one.weight)
    return str(text.format(k=index, name=found.name(best), percent=said, weight=weight))


def inSentence(found: Classification, class_id: str) -> str:
    """The name of a class in the middle of a sentence."""
    name = found.name(class_id)
    return name if name[1:2].isupper() else name[:1].lower() + name[1:]
