"""The rows that the panel shows of a volume table, with rejected lesions, and which lesion a button is for. No Qt."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..mrml.pieces import origin_of, pieces_of
from .rejected import Rejected
from .volume_table import ALL, LONGEST, SMALL, lesion_of, number_of, segment_of

REJECTED = "rejected"


@dataclass(frozen=True)
class Shown:
    """A row as it is shown: that of a volume table with this number (from 0) and what it has in the column Lesion, or a
    rejected lesion."""

    segment_id: str
    lesion: str
    row: int
    rejected: Rejected | None = None

    @property
    def ticked(self) -> bool | None:
        """Whether the lesion is accepted; None where the row is no lesion."""
        if self.lesion == ALL or self.lesion.startswith(SMALL):
            return None
        return self.rejected is None


def shown_rows(table: Any, segmentation: Any, rejected: Sequence[Rejected]) -> list[Shown]:
    """The rows of the table, in their order; a segment's rejected lesions follow its rows."""
    rows: list[Shown] = []
    count = table.GetNumberOfRows() if table else 0
    ids = [segment_of(table, row, segmentation) for row in range(count)]
    for row, segment_id in enumerate(ids):
        rows.append(Shown(segment_id, lesion_of(table, row), row))
        if segment_id not in ids[row + 1 :]:
            rows += [Shown(segment_id, REJECTED, row, each) for each in rejected if each.segment_id == segment_id]
    return rows


def to_split(rows: Sequence[Shown], segmentation: Any, chosen: Shown | None) -> str:
    """The segment whose lesions can be split, or merged: that of the chosen row, without one the first that fits; empty
    for none."""
    counts: dict[str, int] = {}
    for shown in rows:
        owner = owner_of(segmentation, shown.segment_id)
        counts[owner] = counts.get(owner, 0) + (shown.ticked is True)
    fitting = [owner for owner, count in counts.items() if count > 1 or pieces_of(segmentation, owner)]
    if chosen is not None:
        wanted = owner_of(segmentation, chosen.segment_id)
        return wanted if wanted in fitting else ""
    return fitting[0] if fitting else ""


def is_piece(segmentation: Any, row: Shown) -> bool:
    """Whether the row is a lesion that was split off its segment."""
    return owner_of(segmentation, row.segment_id) != row.segment_id


def owner_of(segmentation: Any, segment_id: str) -> str:
    """The segment that this one was split off, else itself."""
    origin = origin_of(segmentation, segment_id)
    return origin.id if origin is not None else segment_id


def to_draw(rows: Sequence[Shown], table: Any, chosen: Shown | None) -> Shown | None:
    """The row whose diameters can be drawn: the chosen lesion, of the chosen segment the longest one, without a chosen
    row the longest of all; None where none is measured in mm."""
    measured = [each for each in rows if each.rejected is None and number_of(table, each.row, LONGEST) > 0]
    if chosen is not None:
        measured = [each for each in measured if each.segment_id == chosen.segment_id]
        if chosen.ticked is not None:
            measured = [each for each in measured if each.lesion == chosen.lesion and chosen.rejected is None]
    lesions = [each for each in measured if each.lesion != ALL] or measured
    return max(lesions, key=lambda each: number_of(table, each.row, LONGEST), default=None)
