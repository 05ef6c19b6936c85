"""How far two readers agree: their segmentations of the same cases, and their ratings.

Each reader's results are those of a case list, or the labelmaps of a folder; cases are matched by name. Neither reader
is the truth: a difference is that of the second minus the first.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import FAILURES, Cancelled, InputError, explain
from ..io import read
from ..io.dicom_file import visible_files
from ..io.files import OUTPUTS, stem_of, suffix_of
from ..io.isolated import Reader
from ..labels import all_segments, named_segment
from ..progress import Progress, no_progress
from ..volume import Labelmap, check_same_grid
from ..worklist.case import RATINGS
from ..worklist.case_list import list_in, read_list
from .metrics import CaseError, Figure, bootstrap_ci, score

LIMITS = 1.96  # standard deviations of the differences
Failed = Callable[[str, BaseException], None]


@dataclass(frozen=True)
class Reading:
    """A reader's segmentation of a case, and the rating; None where there is none."""

    result: Path
    rating: int | None = None


@dataclass(frozen=True)
class LabelAgreement:
    """One label of one case: HD95 in mm, None where a reader has nothing; volumes in mL."""

    label: str
    dice: float
    hd95: float | None
    first_ml: float
    second_ml: float

    @property
    def difference_ml(self) -> float:
        """The second volume minus the first."""
        return self.second_ml - self.first_ml


@dataclass(frozen=True)
class CaseAgreement:
    """One case: its labels, the ratings, and warnings of reading."""

    case: str
    labels: tuple[LabelAgreement, ...]
    first_rating: int | None
    second_rating: int | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Differences:
    """The volume differences of a label in mL: mean, standard deviation, and the limits between which 95 % lie; None
    with less than two cases.

    Source: Bland and Altman, Lancet 1986, 327: 307-310.
    """

    mean: float
    sd: float | None
    limits: tuple[float, float] | None


@dataclass(frozen=True)
class LabelSummary:
    """A label over the `n` cases in which a reader has it."""

    n: int
    dice: Figure
    hd95: Figure
    volume_difference_ml: Differences


@dataclass(frozen=True)
class RatingAgreement:
    """Cohen's kappa of the ratings of `n` cases, and with squared weights, for which 4 and 5 differ less than 1 and 5;
    None where there is nothing to state.

    Source: Cohen, Educational and Psychological Measurement 1960, 20: 37-46; Psychological Bulletin 1968, 70: 213-220.
    """

    n: int
    kappa: float | None
    weighted_kappa: float | None


@dataclass(frozen=True)
class Agreement:
    """The agreement of two readers in `n` cases. `only_first` and `only_second` are cases that one of them lacks."""

    first: str
    second: str
    n: int
    labels: Mapping[str, LabelSummary]
    ratings: RatingAgreement
    cases: tuple[CaseAgreement, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    errors: tuple[CaseError, ...]


def agreement(
    first: Path,
    second: Path,
    reader: Reader = read,
    progress: Progress = no_progress,
    failed: Failed | None = None,
) -> Agreement:
    """The agreement of the results in two folders (or of two case lists). A case that cannot be compared is listed in
    `errors`, and `failed` is called with it.

    Raises: InputError where a folder has no results, or no case is in both; Cancelled.
    """
    readings = [readings_of(path) for path in (first, second)]
    both = [name for name in readings[0] if name in readings[1]]
    if not both:
        names = " and ".join(next(iter(each)) for each in readings)
        raise InputError(
            f"Expected results of the same cases in {first} and {second}, found no name in both ({names}, for "
            "instance). Choose the results of two readers of the same images."
        )
    cases, errors = [], []
    for number, name in enumerate(both):
        progress("read", number / len(both))
        pair = readings[0][name], readings[1][name]
        try:
            cases.append(_case(name, *pair, reader))
        except Cancelled:
            raise
        except FAILURES as error:
            errors.append(CaseError(name, explain(error)))
            if failed is not None:
                failed(name, error)
    progress("read", 1.0)
    labels = dict.fromkeys(label.label for case in cases for label in case.labels)
    alone = [tuple(name for name in readings[i] if name not in readings[1 - i]) for i in (0, 1)]
    return Agreement(
        str(first),
        str(second),
        len(cases),
        {label: _summary([one for case in cases for one in case.labels if one.label == label]) for label in labels},
        ratings_agreement([(readings[0][name].rating, readings[1][name].rating) for name in both]),
        tuple(cases),
        alone[0],
        alone[1],
        tuple(errors),
    )


def readings_of(path: Path) -> dict[str, Reading]:
    """The results of a case list that are there, by the name of the case; of a folder without a list its `.seg.nrrd`
    files, else all its labelmaps.

    Raises: InputError when there is none.
    """
    file = list_in(path)
    if file is not None:
        cases = read_list(file)
        pairs = [(case, cases.result(case)) for case in cases.cases.values()]
        found = {case.name: Reading(result, case.rating) for case, result in pairs if result.is_file()}
    else:
        files = [each for each in visible_files(path) if suffix_of(each) in OUTPUTS] if path.is_dir() else []
        segmentations = [each for each in files if suffix_of(each) == OUTPUTS[0]]
        found = {stem_of(each): Reading(each) for each in segmentations or files}
    if not found:
        raise InputError(f"Expected a folder with results ({', '.join(OUTPUTS)}), found none at {path}. Check it.")
    return found


def ratings_agreement(pairs: Sequence[tuple[int | None, int | None]]) -> RatingAgreement:
    """The agreement of the ratings of the cases that both readers rated."""
    table = np.zeros((len(RATINGS), len(RATINGS)))
    for one, other in pairs:
        if one is not None and other is not None:
            table[RATINGS.index(one), RATINGS.index(other)] += 1
    number = np.arange(len(RATINGS))
    squared = (number[:, None] - number) ** 2.0
    return RatingAgreement(int(table.sum()), _kappa(table, 1.0 - np.eye(len(RATINGS))), _kappa(table, squared))


def _kappa(table: np.ndarray, weights: np.ndarray) -> float | None:
    """Kappa of a table of counts whose disagreements have these weights; None where chance alone leaves none."""
    n = table.sum()
    if not n:
        return None
    by_chance = float((weights * np.outer(table.sum(1), table.sum(0)) / n).sum())
    return 1.0 - float((weights * table).sum()) / by_chance if by_chance else None


def _case(name: str, first: Reading, second: Reading, reader: Reader) -> CaseAgreement:
    one, other = (reader.read_labelmap(reading.result) for reading in (first, second))
    check_same_grid(other.geometry, one.geometry, second.result, first.result)
    spacing = one.geometry.spacing
    labels = []
    for label, mine, its in _pairs(one, other):
        scores = score(mine, its, spacing)
        volumes = (float(np.count_nonzero(mask)) * one.geometry.voxel_ml for mask in (mine, its))
        labels.append(LabelAgreement(label, scores.dice, scores.hd95, *volumes))
    return CaseAgreement(name, tuple(labels), first.rating, second.rating, (*one.warnings, *other.warnings))


def _pairs(one: Labelmap, other: Labelmap) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """The name of each segment and where both readers have it, bool (Z, Y, X): matched by id, else by name, where a
    reader has no names by label value; empty for the reader who lacks it."""
    nothing, pairs, matched = np.zeros(one.array.shape, bool), [], set()
    unnamed = not (one.segments and other.segments)
    for segment in all_segments(one):
        ways = (segment.id, segment.name, *([str(segment.value)] if unnamed else []))
        partner = next(filter(None, (named_segment(other, way) for way in ways)), None)
        if partner is not None:
            matched.add(partner.id)
        its = nothing if partner is None else other.mask(partner.value)
        pairs.append((segment.name, one.mask(segment.value), its))
    left = [segment for segment in all_segments(other) if segment.id not in matched]
    return [*pairs, *((segment.name, nothing, other.mask(segment.value)) for segment in left)]


def _summary(labels: Sequence[LabelAgreement]) -> LabelSummary:
    differences = np.array([label.difference_ml for label in labels])
    return LabelSummary(
        len(labels),
        _figure([label.dice for label in labels]),
        _figure([label.hd95 for label in labels if label.hd95 is not None]),
        differences_of(differences),
    )


def differences_of(differences: np.ndarray) -> Differences:
    """Mean, standard deviation and limits of agreement of at least one difference."""
    mean = float(differences.mean())
    if len(differences) < 2:
        return Differences(mean, None, None)
    sd = float(differences.std(ddof=1))
    return Differences(mean, sd, (mean - LIMITS * sd, mean + LIMITS * sd))


def _figure(values: Sequence[float]) -> Figure:
    return Figure(float(np.mean(values)), bootstrap_ci(values)) if values else Figure(None, None)
