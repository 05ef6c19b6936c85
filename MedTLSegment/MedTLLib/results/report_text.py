"""The results in words, equal to the table that the panel shows: for the clipboard. No Qt."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from medtl import __version__
from medtl.errors import InputError
from medtl.labels import ALGORITHM_TAG, SHA256_TAG
from medtl.measurement import components
from medtl.report.side import NOTE as SIDE_NOTE
from medtl.report.side import middle_plane, side_of
from medtl.results import Trend
from medtl.trend.table import percent_text
from medtl.volume import Volume

from ..mrml.boxes import start_of
from ..mrml.scene import check_image, geometry_of, values_of
from ..mrml.segments import mask_of
from ..mrml.tags import tag_of
from . import classification, trend
from .by_hand import by_hand
from .lesion_rows import Shown
from .studies import Study
from .trend import event_text, lesion_text
from .volume_table import ALL

NOTE = "Research use, not for diagnosis."


def text_of(study: Study, rows: Sequence[tuple[Shown, Sequence[str]]]) -> str:
    """The text about a segmentation: what was found, with sides, class, change over time and models. `rows` are those
    of the table with the texts of their cells: name, mL, diameters, surface. Names of nodes and files are left out:
    they may name the patient."""
    title = _("Results of {date}").format(date=study.date) if study.date else _("Results")
    lines = [str(title), *_findings(study, rows)]
    table = classification.of_segmentation(study.segmentation)
    if answer := classification.line(table):
        found = classification.read(table)
        sha256 = found.sha256 if found is not None else ""
        lines.append(f"{answer} SHA-256 {sha256}.")
    compared = trend.read(trend.of_segmentation(study.segmentation))
    if compared is not None:
        lines += trend_lines(compared, {str(texts[0]): str(texts[1]) for row, texts in rows if row.lesion == ALL})
    lines += [*model_lines(study.segmentation), *by_hand_lines(study)]
    lines.append(f"MedTL {__version__}. {_(NOTE)}")
    return "\n".join(lines) + "\n"


def _findings(study: Study, rows: Sequence[tuple[Shown, Sequence[str]]]) -> list[str]:
    sides, lines = sides_of(study), []
    for row, (name, ml, diameters, area) in rows:
        side = side_text(sides.get((row.segment_id, row.lesion), "")) if row.rejected is None else ""
        start = name if row.lesion == ALL else f"  {name}"
        figures = [f"{ml} mL" if ml != "–" else "", f"{diameters} mm" if diameters != "–" else ""]
        figures += [f"{area} cm²" if area != "–" else "", side]
        lines.append(f"{start}: {', '.join(filter(None, figures)) or _('not known')}")
    if any(sides.values()):
        lines.append(str(_(SIDE_NOTE)))
    return lines or [str(_("Nothing was found."))]


def side_text(side: str) -> str:
    """A side of `medtl.report.side` in words, as the engine's report has it."""
    return str(
        {"left": _("left of middle"), "right": _("right of middle"), "both": _("both sides of middle")}.get(side, "")
    )


def sides_of(study: Study) -> dict[tuple[str, str], str]:
    """The side of each segment ("all") and lesion ("1", …), by the segment's id: left, right or both, as the engine's
    report has it; nothing where the image shows no body."""
    try:
        check_image(study.volume)
        geometry = geometry_of(study.volume)
    except InputError:
        return {}
    plane = middle_plane(Volume(values_of(study.volume.GetImageData()), geometry))
    sides: dict[tuple[str, str], str] = {}
    for segment_id in study.segmentation.GetSegmentation().GetSegmentIDs() if plane is not None else ():
        mask, box = mask_of(study.segmentation, segment_id, geometry)
        affine = geometry.affine
        places = [part @ affine[:3, :3].T + affine[:3, 3] for part in components(mask, start_of(box))]
        sides |= {(segment_id, str(number)): side_of(each, plane) for number, each in enumerate(places, start=1)}
        sides[segment_id, ALL] = side_of(np.concatenate(places), plane) if places else ""
    return sides


def trend_lines(compared: Trend, shown_ml: dict[str, str]) -> list[str]:
    """The comparison, a line a label, lesion and date; a hint where the segmentation was changed since it was made.
    `shown_ml` are the mL of each label as the table shows them."""
    ends = {row.name: row.values[-1].volume_ml for row in compared.rows if not row.lesion}
    for name, ml in shown_ml.items():
        newest = ends.get(name)
        if newest is None or f"{newest:.2f}" != ml:
            return [str(_("Change over time: out of date, compare the dates again."))]
    lines = [str(_("Change over time (to the first, the previous and the smallest volume before):"))]
    for row in compared.rows:
        lines.append(f"  {lesion_text(row)}" if row.lesion else row.name)
        for value in row.values:
            changes = (value.change_to_first, value.change_to_previous, value.change_to_smallest)
            known = "" if changes == (None,) * 3 else f" ({', '.join(map(percent_text, changes))})"
            ml = str(_("not segmented")) if value.volume_ml is None else f"{value.volume_ml:.2f} mL"
            lines.append(f"    {value.date}: {ml}{known}{''.join(f', {event_text(each)}' for each in value.events)}")
    return lines


def by_hand_lines(study: Study) -> list[str]:
    """Whether the segmentation was drawn or edited by hand; none where it is not known."""
    try:
        names = by_hand(study.segmentation, study.volume) if study.volume is not None else None
    except InputError:
        return []
    if names is None:
        return []
    return [str(_("Drawn or edited by hand: {names}.").format(names=names) if names else _("Not edited by hand."))]


def model_lines(segmentation: Any) -> list[str]:
    """The models that made the segments, each with version and SHA-256."""
    segments = segmentation.GetSegmentation()
    made = [segments.GetSegment(each) for each in segments.GetSegmentIDs()]
    known = dict.fromkeys((tag_of(each, ALGORITHM_TAG), tag_of(each, SHA256_TAG)) for each in made)
    text = _("Segmented by {model}, SHA-256 {sha256}.")
    return [str(text.format(model=model, sha256=sha256 or _("unknown"))) for model, sha256 in known if model]
