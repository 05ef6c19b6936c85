"""The result of a classification as MedTL Classify keeps it in the scene, for both modules. No Qt.

It is a table node that refers to its volume and segmentation and has the engine's record in an attribute.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import slicer
from slicer.i18n import tr as _

RESULT = "MedTL.classification"  # attribute of the table: a `Classification` as JSON
OUTDATED = "MedTL.outdated"  # attribute of the table, once its volume or segmentation was changed
VOLUME_ROLE, SEGMENTATION_ROLE = "MedTL.volume", "MedTL.segmentation"


@dataclass(frozen=True)
class Slice:
    """A slice's index (see `place_of`), its probabilities by class id, and its weight in the mean (the sum is 1)."""

    index: int
    probabilities: Mapping[str, float]
    weight: float


@dataclass(frozen=True)
class Classification:
    """`names` are those of the classes by their id, in the model's order; `segment` is the id of the classified one,
    empty for the whole image; `record` is the engine's (see `medtl.classification`), with names of nodes in place of
    files; `settings` is how the model was run."""

    model: str
    version: str
    sha256: str
    names: Mapping[str, str]
    segment: str
    record: Mapping[str, Any]
    settings: Mapping[str, Any]

    @property
    def abstained(self) -> bool:
        return bool(self.record["abstained"])

    @property
    def probabilities(self) -> dict[str, float]:
        """By the id of the class, in the model's order."""
        return {each: float(value) for each, value in self.record["probabilities"].items()}

    @property
    def best(self) -> str:
        """The id of the most probable class, also where the model abstains."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    @property
    def votes(self) -> dict[str, int]:
        """The number of slices by their most probable class; empty for a model that uses no slices."""
        return {each: int(count) for each, count in (self.record.get("votes") or {}).items()}

    @property
    def slices(self) -> tuple[Slice, ...]:
        """Each slice that was classified."""
        return tuple(
            Slice(int(one["index"]), dict(one["probabilities"]), float(one["weight"]))
            for one in self.record.get("slices") or ()
        )

    @property
    def features(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(self.record.get("features") or ())

    def name(self, class_id: str) -> str:
        """The name of the class."""
        return self.names.get(class_id, class_id)


def report(classification: Classification) -> dict[str, Any]:
    """The contents of a report: the record of `medtl classify --json`, and how the model was run."""
    answer = {
        "model": classification.model,
        "version": classification.version,
        "sha256": classification.sha256,
        "settings": dict(classification.settings),
    }
    return {**answer, "results": [dict(classification.record)], "errors": []}


def read(table: Any) -> Classification | None:
    """The classification in the table; None where it is no table of classes that this MedTL can read."""
    text = table.GetAttribute(RESULT) if table is not None else None
    try:
        content = json.loads(text or "null")
        return Classification(**content) if content else None
    except (ValueError, TypeError):  # written by another version of MedTL
        return None


def percent(probability: float) -> str:
    """A probability in whole percent; never 0 % or 100 %."""
    if probability < 0.005:
        return str(_("<1 %"))
    if probability > 0.995:
        return str(_(">99 %"))
    return str(_("{percent} %").format(percent=round(100 * probability)))


def headline(classification: Classification) -> str:
    """The class with its probability, or "Uncertain: review" where the model abstains."""
    if classification.abstained:
        return str(_("Uncertain: review"))
    name, chance = classification.name(classification.best), percent(classification.probabilities[classification.best])
    return str(_("{name}, {percent}").format(name=name, percent=chance))


def of_segmentation(segmentation: Any) -> Any:
    """The table of the newest classification of one of its segments, or of its whole image; None for none."""
    if segmentation is None:
        return None
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    volume = segmentation.GetNodeReference(role)
    tables = [each for each in slicer.util.getNodesByClass("vtkMRMLTableNode") if read(each) is not None]
    own = [each for each in tables if each.GetNodeReference(SEGMENTATION_ROLE) is segmentation]
    whole = [
        each
        for each in tables
        if each.GetNodeReference(SEGMENTATION_ROLE) is None
        and volume is not None
        and each.GetNodeReference(VOLUME_ROLE) is volume
    ]
    return max(own or whole, key=lambda each: each.GetMTime(), default=None)


def line(table: Any) -> str:
    """The answer in a line, and whether it is out of date; empty without one."""
    classification = read(table)
    if classification is None:
        return ""
    text = _("Class: {answer} ({model} {version}).").format(
        answer=headline(classification), model=classification.model, version=classification.version
    )
    if table.GetAttribute(OUTDATED):
        return " ".join((text, _("Out of date: the image or the segment was changed since.")))
    return str(text)
