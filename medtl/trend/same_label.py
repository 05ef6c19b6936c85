"""Which segments of several labelmaps are one label."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..labels import LABEL_TAG, all_segments, family_of
from ..volume import Labelmap, Segment


@dataclass(frozen=True)
class AcrossDates:
    """A label: its segment in each labelmap, None where it is not there. Id and name are those of the first."""

    segments: tuple[Segment | None, ...]

    @property
    def first(self) -> Segment:
        """The first segment."""
        return next(segment for segment in self.segments if segment is not None)


def labels_across(labelmaps: Sequence[Labelmap]) -> tuple[tuple[AcrossDates, ...], tuple[str, ...]]:
    """The labels of all labelmaps in the order in which they appear, and warnings.

    Segments are one label where MedTL's tags say the same model and label, else where their names are the same but for
    case. Ids do not count: Slicer's are Segment_1 and so on. A labelmap without named segments has the name of the
    first other segment with its value; where it lacks a value, it has a segment without voxels.
    """
    named, warnings = _with_names(labelmaps)
    rows: list[list[Segment | None]] = []
    taken: set[tuple[int, int]] = set()
    for key in (_tags, _name):
        for number, segments in enumerate(named):
            for place, segment in enumerate(segments):
                if (number, place) in taken or not key(segment):
                    continue
                row = next((each for each in rows if each[number] is None and _has(each, key, key(segment))), None)
                if row is None:
                    row = [None] * len(named)
                    rows.append(row)
                row[number] = segment
                taken.add((number, place))
    order = {id(segment): place for segments in reversed(named) for place, segment in enumerate(segments)}
    rows.sort(key=lambda row: _first(row, order))
    return tuple(AcrossDates(tuple(row)) for row in rows), warnings


def _tags(segment: Segment) -> str:
    label = dict(segment.tags).get(LABEL_TAG)
    return f"{family_of(segment)} {label}" if label else ""


def _name(segment: Segment) -> str:
    return segment.name.strip().casefold() or segment.id


def _has(row: Sequence[Segment | None], key: Callable[[Segment], str], text: str) -> bool:
    return any(segment is not None and key(segment) == text for segment in row)


def _first(row: Sequence[Segment | None], order: dict[int, int]) -> tuple[int, int]:
    number = next(n for n, segment in enumerate(row) if segment is not None)
    return number, order[id(row[number])]


def _with_names(labelmaps: Sequence[Labelmap]) -> tuple[list[tuple[Segment, ...]], tuple[str, ...]]:
    """The segments of each labelmap, those without names named after others of the same value."""
    found = [all_segments(labelmap) for labelmap in labelmaps]
    nameless = [not labelmap.segments for labelmap in labelmaps]
    known: dict[int, Segment] = {}
    for segments in (
        *(s for s, bare in zip(found, nameless) if not bare),
        *(s for s, bare in zip(found, nameless) if bare),
    ):
        for segment in segments:
            known.setdefault(segment.value, segment)
    complete = [
        tuple(known[value] for value in sorted(known)) if bare else segments for segments, bare in zip(found, nameless)
    ]
    matched = any(nameless) and not all(nameless)
    text = "Labels without names were matched with those of the same value at other dates."
    return [tuple(map(replace, segments)) for segments in complete], (text,) if matched else ()
