"""Change over time: the volume of each label and each lesion at several dates, and what became of the lesions."""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from ..labels import all_segments, has_lesions
from ..measurement import components, measure_lesions
from ..results import MeasuredLesion, MeasuredSegment, TrendRow, TrendValue
from ..volume import Labelmap, Segment
from .matching import Group, Part, groups, links
from .same_label import AcrossDates, labels_across

NOTE = "Research use, not for diagnosis."


def trend_rows(
    dates: Sequence[str], labelmaps: Sequence[Labelmap], to_first: Sequence[np.ndarray] | None
) -> tuple[tuple[TrendRow, ...], tuple[str, ...]]:
    """The rows of a `Trend`, and warnings. The labelmaps have a real spacing.

    `to_first` has for each date what brings a point (LPS mm) into the frame of the first date, float64 (4, 4). With
    None lesions are not matched and have no rows, unless there is one date.
    """
    across, warnings = labels_across(labelmaps)
    measured = [
        {segment.value: figures for segment, figures in zip(all_segments(each), measure_lesions(each), strict=True)}
        for each in labelmaps
    ]
    if to_first is None and len(labelmaps) == 1:
        to_first = [np.eye(4)]
    rows: list[TrendRow] = []
    for label in across:
        figures = [
            None if segment is None else by_value.get(segment.value, nothing(segment))
            for segment, by_value in zip(label.segments, measured, strict=True)
        ]
        volumes = [None if each is None else each.volume_ml for each in figures]
        parts = [() if each is None else each.lesions for each in figures]
        rows.append(_row(label, 0, dates, volumes, parts))
        if to_first is not None and has_lesions(label.first.id, label.first.name):
            rows += _lesion_rows(label, dates, labelmaps, figures, to_first)
    return tuple(rows), warnings


def nothing(segment: Segment) -> MeasuredSegment:
    """The figures of a segment without a voxel."""
    return MeasuredSegment(segment.id, segment.name, 0.0, (), 0, 0.0)


def changes(volumes: Sequence[float | None]) -> list[tuple[float | None, float | None, float | None]]:
    """For each volume its change, per cent, to the first, the previous and the smallest before it, of those that are
    known; None without one, and where it is 0."""

    def change(ml: float | None, reference: float | None) -> float | None:
        return 100 * (ml - reference) / reference if ml is not None and reference else None

    found = []
    for number, ml in enumerate(volumes):
        earlier = [each for each in volumes[:number] if each is not None]
        first, previous, smallest = (earlier[0], earlier[-1], min(earlier)) if earlier else (None, None, None)
        found.append((change(ml, first), change(ml, previous), change(ml, smallest)))
    return found


def _lesion_rows(
    label: AcrossDates,
    dates: Sequence[str],
    labelmaps: Sequence[Labelmap],
    figures: Sequence[MeasuredSegment | None],
    to_first: Sequence[np.ndarray],
) -> list[TrendRow]:
    """A row for each lesion, those of the newest date first, as they are numbered there. Dates that lack the label are
    left out of the matching."""
    there = [number for number, each in enumerate(figures) if each is not None]
    parts = []
    for number in there:
        segment, each, labelmap = label.segments[number], figures[number], labelmaps[number]
        assert segment is not None
        assert each is not None
        listed = components(labelmap.mask(segment.value))[: len(each.lesions)]
        parts.append([Part(indices, labelmap.geometry, to_first[number]) for indices in listed])
    joints = [links(before, after) for before, after in itertools.pairwise(parts)]
    rows = []
    found = sorted(groups([len(each) for each in parts], joints), key=lambda group: group.members[-1] or (math.inf,))
    for number, group in enumerate(found, start=1):
        lesions, events = _by_date(group, there, figures)
        volumes = [None if each is None else sum((one.volume_ml or 0.0 for one in each), 0.0) for each in lesions]
        rows.append(_row(label, number, dates, volumes, [each or () for each in lesions], events))
    return rows


def _by_date(
    group: Group, there: Sequence[int], figures: Sequence[MeasuredSegment | None]
) -> tuple[list[tuple[MeasuredLesion, ...] | None], list[tuple[str, ...]]]:
    """The lesions of a group and what happened to them, at all dates; None where the label is not there."""
    lesions: list[tuple[MeasuredLesion, ...] | None] = [None] * len(figures)
    events: list[tuple[str, ...]] = [()] * len(figures)
    for place, chosen, happened in zip(there, group.members, group.events, strict=True):
        each = figures[place]
        assert each is not None
        lesions[place], events[place] = tuple(each.lesions[n] for n in chosen), happened
    return lesions, events


def _row(
    label: AcrossDates,
    lesion: int,
    dates: Sequence[str],
    volumes: Sequence[float | None],
    parts: Sequence[Sequence[MeasuredLesion]],
    events: Sequence[tuple[str, ...]] | None = None,
) -> TrendRow:
    values = []
    for number, (date, ml, change) in enumerate(zip(dates, volumes, changes(volumes), strict=True)):
        longest, perpendicular = _diameters(parts[number])
        numbers = tuple(part.number for part in parts[number])
        sizes = tuple(part.volume_ml or 0.0 for part in parts[number])
        happened = events[number] if events else ()
        values.append(TrendValue(date, ml, longest, perpendicular, numbers, sizes, *change, happened))
    return TrendRow(label.first.id, label.first.name, lesion, tuple(values))


def _diameters(parts: Sequence[MeasuredLesion]) -> tuple[float | None, float | None]:
    """The longest diameter among the parts and the one across it, mm; None where there is no part."""
    lines = [(part.longest.mm, part.perpendicular.mm) for part in parts if part.longest and part.perpendicular]
    return max(lines) if lines else (None, None)
