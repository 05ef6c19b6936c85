"""A picture of each registration: the squares of two images in turn."""

from pathlib import Path

from PIL import Image

from ..drawing import checkerboard, in_a_row
from ..io.write import write_whole
from ..registration import Registration
from ..volume import Volume
from .files import OnRegistered, ignore_registration


def checkerboards(path: Path | None, replace: bool) -> OnRegistered:
    """What draws each registration into one picture (.png), a row a date, written anew after each: also of one that is
    refused. Without a path it does nothing; without `replace` it raises InputError where the file exists."""
    if path is None:
        return ignore_registration
    rows: list[Image.Image] = []

    def draw(date: str, first: Volume, other: Volume, registration: Registration) -> None:
        rows.append(checkerboard(first, other, registration.matrix, date))
        sheet = in_a_row(rows, down=True)
        write_whole(path, lambda part: sheet.save(part, format="PNG"), replace or len(rows) > 1)

    return draw
