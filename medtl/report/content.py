"""What a report says: the findings of one study, its pictures, the trend, the class and the doubt."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..counted import counted
from ..diameters import measuring_axis
from ..doubt import DoubtfulSlice, calibration_text, doubtful_slices
from ..errors import ModelError
from ..labels import ALGORITHM_TAG, SHA256_TAG, TYPE_TAG, all_segments, has_lesions, is_by_hand
from ..measurement import components, measure_lesions
from ..model.card import ModelCard, load_card
from ..model.store import find_model
from ..results import MeasuredLesion, Trend
from ..trend.plot import Plot, plot_of
from ..trend.studies import Study
from ..volume import Labelmap, Volume
from .classification import Classified
from .pictures import data_uri, doubt_picture, lesion_pictures
from .side import middle_plane, side_of

MOST_LISTED = 8  # lesions in the table, the largest of each label
MOST_PICTURED = 3  # lesions with pictures: more do not fit a page
MOST_DOUBTFUL = 5  # slices
OLD_TREND = "The trend is of another state of the segmentation and is left out: compare the dates again."


@dataclass(frozen=True)
class Finding:
    """A row of the table: a label as a whole (`lesion` 0), or one of its lesions. `side` is left, right, both or
    empty; `colour` is the label's, as #rrggbb."""

    label: str
    lesion: int
    side: str
    volume_ml: float | None
    longest_mm: float | None
    perpendicular_mm: float | None
    colour: str
    more: str = ""


@dataclass(frozen=True)
class Pictured:
    """The three pictures of a lesion, as data of a page; `text` says which it is."""

    text: str
    pictures: tuple[str, ...]


@dataclass(frozen=True)
class MadeBy:
    """A model that made segments: name and version, and the SHA-256 of its weights, empty where it is not known."""

    model: str
    sha256: str


@dataclass(frozen=True)
class Doubt:
    """The most doubtful slices, the picture of the first, and what the uncertainty is worth."""

    slices: tuple[DoubtfulSlice, ...]
    picture: str
    calibration: str


@dataclass(frozen=True)
class Report:
    """All that a report shows. `by_hand` names the segments that were drawn or edited by hand; empty for none, None
    where it is not known."""

    date: str
    modality: str
    findings: tuple[Finding, ...]
    pictured: tuple[Pictured, ...]
    made_by: tuple[MadeBy, ...]
    by_hand: str | None
    trend: Trend | None
    plot: Plot | None
    classified: Classified | None
    doubt: Doubt | None
    warnings: tuple[str, ...]


def report_of(
    study: Study,
    trend: Trend | None = None,
    classified: Classified | None = None,
    uncertainty: np.ndarray | None = None,
    warnings: Sequence[str] = (),
    by_hand: str | None = None,
) -> Report:
    """The report of a study whose labelmap has a real spacing. Without its image it has no pictures, sides or doubt.

    `uncertainty` (Z, Y, X), 0 to 1, is that of the segmentation, on its grid. `by_hand`, as in `Report`, is what the
    caller knows; else the tags of the segments tell.

    Raises: InputError where the uncertainty has another shape.
    """
    labelmap, volume = study.labelmap, study.volume
    findings, lesions = _findings(labelmap, volume)
    pictured: list[Pictured] = []
    if volume is not None:
        for name, one in sorted(lesions, key=lambda pair: -pair[1].voxels)[:MOST_PICTURED]:
            pictures = tuple(data_uri(tile) for tile in lesion_pictures(volume, labelmap, one.centre))
            pictured.append(Pictured(name, pictures))
    several = trend if trend is not None and len(trend.studies) > 1 else None
    if several is not None and not is_of(several, findings):
        several, warnings = None, (*warnings, OLD_TREND)
    return Report(
        study.date,
        volume.modality if volume is not None else "",
        tuple(findings),
        tuple(pictured),
        models_of(labelmap),
        by_hand_of(labelmap) if by_hand is None else by_hand,
        several,
        plot_of(several) if several is not None else None,
        classified,
        _doubt(labelmap, volume, uncertainty) if volume is not None and uncertainty is not None else None,
        tuple(dict.fromkeys(warnings)),
    )


def is_of(trend: Trend, findings: Sequence[Finding]) -> bool:
    """True where the newest volumes of the trend are those of the findings: the segmentation was not changed since."""
    ends = {row.name: row.values[-1].volume_ml for row in trend.rows if not row.lesion}
    found = {one.label: one.volume_ml for one in findings if not one.lesion}
    return all(
        name in ends
        and ends[name] is not None
        and math.isclose(ends[name] or 0.0, ml or 0.0, rel_tol=1e-3, abs_tol=1e-3)
        for name, ml in found.items()
    )


def _findings(labelmap: Labelmap, volume: Volume | None) -> tuple[list[Finding], list[tuple[str, MeasuredLesion]]]:
    """The rows of the table, and each lesion (of an organ its largest part) with its name."""
    plane = middle_plane(volume) if volume is not None else None
    findings: list[Finding] = []
    named: list[tuple[str, MeasuredLesion]] = []
    for segment, figures in zip(all_segments(labelmap), measure_lesions(labelmap), strict=True):
        parts = components(labelmap.mask(segment.value))[: len(figures.lesions)]
        places = [_places(indices, labelmap) for indices in parts]
        sides = [side_of(each, plane) for each in places]
        whole = side_of(np.concatenate(places), plane) if places else ""
        colour = "#" + "".join(f"{round(255 * min(max(part, 0.0), 1.0)):02x}" for part in segment.colour)
        organ = not has_lesions(segment.id, segment.name)
        listed = figures.lesions[: 0 if organ else MOST_LISTED]
        rest = 0 if organ else len(figures.lesions) - len(listed) + figures.small
        more = f"and {counted(rest, '1 smaller part', '{count} smaller parts')}" if rest else ""
        lines = [(one.longest.mm, one.perpendicular.mm) for one in figures.lesions if one.longest and one.perpendicular]
        longest, across = max(lines) if lines else (None, None)
        findings.append(Finding(segment.name, 0, whole, figures.volume_ml, longest, across, colour, more))
        for one, side in zip(listed, sides, strict=False):
            mm = (one.longest.mm if one.longest else None, one.perpendicular.mm if one.perpendicular else None)
            findings.append(Finding(segment.name, one.number, side, one.volume_ml, *mm, colour))
        for one in figures.lesions[:1] if organ else listed:
            named.append((segment.name if organ else f"{segment.name}, lesion {one.number}", one))
    return findings, named


def _places(indices: np.ndarray, labelmap: Labelmap) -> np.ndarray:
    affine = labelmap.geometry.affine
    places: np.ndarray = indices @ affine[:3, :3].T + affine[:3, 3]
    return places


def models_of(labelmap: Labelmap) -> tuple[MadeBy, ...]:
    """The models that made the segments, by the tags that MedTL writes. Files of older versions of MedTL have no
    SHA-256; then it is that of the installed model of this name and version."""
    found = []
    for segment in labelmap.segments:
        tags = dict(segment.tags)
        if by := tags.get(ALGORITHM_TAG):
            card = card_of(by)
            found.append(MadeBy(by, tags.get(SHA256_TAG) or (card.sha256 if card is not None else "")))
    return tuple(dict.fromkeys(found))


def by_hand_of(labelmap: Labelmap) -> str | None:
    """The names of the segments whose tags say that they were drawn or edited by hand; None where none says so."""
    names = [one.name for one in labelmap.segments if is_by_hand(dict(one.tags).get(TYPE_TAG, ""))]
    return ", ".join(names) or None


def card_of(model_and_version: str) -> ModelCard | None:
    """The card of the installed model of this name and version; None where there is none."""
    name, _, version = model_and_version.rpartition(" ")
    try:
        card = load_card(find_model(name)) if name else None
    except ModelError:
        return None
    return card if card is not None and card.version == version else None


def _doubt(labelmap: Labelmap, volume: Volume, uncertainty: np.ndarray) -> Doubt | None:
    axis = 2 - measuring_axis(labelmap.geometry)
    segments = all_segments(labelmap)
    wanted = [segment for segment in segments if has_lesions(segment.id, segment.name)] or segments
    lesion = labelmap.mask(*(segment.value for segment in wanted)) if wanted else labelmap.array > 0
    slices = doubtful_slices(uncertainty, lesion, labelmap.geometry, axis, MOST_DOUBTFUL)
    if not slices:
        return None
    picture = data_uri(doubt_picture(volume, uncertainty, labelmap, axis, slices[0].index))
    models = [card_of(one.model) for one in models_of(labelmap)]
    return Doubt(slices, picture, calibration_text(models[0] if len(models) == 1 else None))
