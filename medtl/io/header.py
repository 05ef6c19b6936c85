"""Headers of NRRD, MetaImage and NIfTI files: their common form, and the text that two of them are written in.

Headers are checked before any library reads the file: ITK's readers use text of a header as a format string, and crash
or hang on impossible dimensions and numbers.
"""

import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import InputError
from ..volume import Geometry
from .limits import LARGEST_HEADER, MOST_LINES

MOST_AXES = 5
LARGEST_NUMBER = 1e18  # larger numbers in a header are damage, and their squares may be infinite
LARGEST_WIDTH = 9  # digits of a number in the name of a data file
ALLOW_OUTSIDE = "MEDTL_DATA_OUTSIDE"  # set to 1, as --data-outside does: detached data may lie outside the folder


NO_THICKNESS = "The header gives no slice thickness; 1 mm is assumed."
MILLIMETRES = ("mm", "millimeter", "millimetre", "millimeters", "millimetres", "?", "")


@dataclass(frozen=True)
class DataPart:
    """A file, or a part of it, that holds voxels.

    The data begin `offset` bytes and then `lines` lines into the file, and the voxels `skip` bytes into the unpacked
    data; `from_end` means that they are the last bytes of the file. `packed` is the size of packed data where the
    header states it.
    """

    path: Path
    offset: int = 0
    lines: int = 0
    skip: int = 0
    from_end: bool = False
    packed: int | None = None


@dataclass(frozen=True)
class Header:
    """The voxels and their grid, as a header describes them.

    `sizes` has the fastest axis first. `spatial` are the axes of the grid (one to three, in x, y, z order),
    `component` the axis of values of one voxel; all other axes count frames. `encoding` is raw, gzip, bzip2, ascii or
    hex. `scale` is slope and intercept. `entries` are the key/value pairs that the format leaves to programs.
    """

    format: str
    path: Path
    sizes: tuple[int, ...]
    spatial: tuple[int, ...]
    dtype: np.dtype
    encoding: str
    parts: tuple[DataPart, ...]
    geometry: Geometry
    component: int | None = None
    scale: tuple[float, float] = (1.0, 0.0)
    states_spacing: bool = True
    entries: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def frame_axes(self) -> tuple[int, ...]:
        """The axes that count frames."""
        return tuple(n for n in range(len(self.sizes)) if n not in self.spatial and n != self.component)

    @property
    def frames(self) -> int:
        """How many volumes the file holds."""
        return math.prod(self.sizes[n] for n in self.frame_axes)

    @property
    def components(self) -> int:
        """Values of a voxel."""
        return 1 if self.component is None else self.sizes[self.component]

    @property
    def values(self) -> int:
        """Values in all the file."""
        return math.prod(self.sizes)


@dataclass(frozen=True)
class TextHeader:
    """A header of lines. Names of `fields` are in lower case without spaces, as `datafile`; `pairs` are `key:=value`.

    `files` are the names that follow `LIST`, `end` is where attached data begin.
    """

    fields: Mapping[str, str]
    pairs: Mapping[str, str]
    files: tuple[str, ...]
    end: int


def header_error(path: Path, expected: str, found: str, advice: str = "Export it again.") -> InputError:
    """The error for a header that is not valid."""
    return InputError(f"Expected {expected}, found {found} in the header of {path}. {advice}")


def read_text_header(path: Path) -> TextHeader:
    """The header of a NRRD or MetaImage file.

    Raises: InputError where it is longer than any header is, or a line of it cannot be read.
    """
    with path.open("rb") as file:
        nrrd = file.read(4) == b"NRRD"
        file.seek(0)
        lines = _lines(file, path)
        return _nrrd_text(file, lines, path) if nrrd else _meta_image_text(file, lines, path)


def _lines(file: BinaryIO, path: Path) -> Iterator[str]:
    """Lines of the header without their ends, within the limits."""
    for _ in range(MOST_LINES):
        line = file.readline(LARGEST_HEADER)
        if file.tell() > LARGEST_HEADER:
            break
        if not line:
            return
        yield line.decode("utf-8", "surrogateescape").rstrip("\r\n")
    raise header_error(path, f"at most {MOST_LINES} lines and {LARGEST_HEADER >> 20} MB", "more")


def _nrrd_text(file: BinaryIO, lines: Iterator[str], path: Path) -> TextHeader:
    """Source: the NRRD format, https://teem.sourceforge.net/nrrd/format.html."""
    next(lines)
    fields: dict[str, str] = {}
    pairs: dict[str, str] = {}
    listed: list[str] = []
    for line in lines:
        if fields.get("datafile", "").startswith("LIST"):
            listed += [line] if line.strip() else []
            continue
        if not line:
            break
        if line.startswith("#"):
            continue
        name, colon, value = line.partition(": ")
        known = NRRD_FIELDS.get(name.lower().replace(" ", ""))
        key, pair, text = line.partition(":=")
        if colon and known:
            if known in fields:
                raise header_error(path, "each field once", f"{name} twice")
            fields[known] = value.strip()
        elif pair:
            pairs[_readable(key)] = _readable(text).replace("\\n", "\n").replace("\\\\", "\\")
        else:
            raise header_error(path, "fields of the NRRD format", repr(line[:60]))
    return TextHeader(fields, pairs, tuple(listed), file.tell())


def _meta_image_text(file: BinaryIO, lines: Iterator[str], path: Path) -> TextHeader:
    """Source: the MetaImage format, https://itk.org/Wiki/ITK/MetaIO/Documentation."""
    fields: dict[str, str] = {}
    pairs: dict[str, str] = {}
    for line in lines:
        if not line.strip():
            continue
        name, sign, value = line.partition("=") if "=" in line else line.partition(":")
        key = META_IMAGE_FIELDS.get(name.strip().lower())
        if not sign:
            raise header_error(path, "lines of the form Key = Value", repr(line[:60]))
        if key is None:
            pairs[_readable(name.strip())] = _readable(value.strip())
            continue
        if fields.get(key, value.strip()) != value.strip():
            raise header_error(path, "each field once", f"{name.strip()} twice, with different values")
        fields[key] = value.strip()
        if key == "datafile":
            break
    listed: list[str] = []
    if fields.get("datafile", "").startswith("LIST"):
        listed = [line.strip() for line in lines if line.strip()]
    return TextHeader(fields, pairs, tuple(listed), file.tell())


def _readable(text: str) -> str:
    """The text with a replacement character for each byte that is not UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


NRRD_FIELDS = {
    name: {"centers": "centerings"}.get(name, name)
    for name in (
        *("dimension", "type", "blocksize", "encoding", "endian", "content", "min", "max", "oldmin", "oldmax"),
        *("datafile", "lineskip", "byteskip", "number", "sampleunits", "sizes", "spacings", "thicknesses", "axismins"),
        *("axismaxs", "centers", "centerings", "labels", "units", "kinds", "space", "spacedimension", "spaceunits"),
        *("spaceorigin", "spacedirections", "measurementframe"),
    )
}
META_IMAGE_FIELDS = {
    **{
        name: name
        for name in (
            *("objecttype", "ndims", "binarydata", "compresseddata", "compresseddatasize", "dimsize", "headersize"),
            *("elementtype", "elementnumberofchannels", "elementspacing", "elementsize", "distanceunits"),
            *("elementtointensityfunctionslope", "elementtointensityfunctionoffset"),
        )
    },
    **dict.fromkeys(("binarydatabyteordermsb", "elementbyteordermsb"), "msb"),
    **dict.fromkeys(("offset", "position", "origin"), "offset"),
    **dict.fromkeys(("transformmatrix", "rotation", "orientation"), "matrix"),
    "elementdatafile": "datafile",
}


def data_names(text: TextHeader, path: Path) -> tuple[str, ...]:
    """The names of the data files that a header states; none where the data follow the header.

    Raises: InputError where a name is a pattern that is not one number, as slice%03d.raw 1 20 1.
    """
    name = text.fields.get("datafile", "LOCAL")
    if name.startswith("LIST"):
        names = text.files
    elif name.upper() == "LOCAL":
        return ()
    elif "%" in name:
        names = _numbered_names(name, path)
    else:
        names = (name,)
    if len(names) > MOST_LINES:
        raise header_error(path, f"at most {MOST_LINES} data files", f"{len(names)}")
    if any("%" in file or "\0" in file for file in names) or not all(names):
        raise header_error(path, "names of data files without % signs", repr(name[:60]))
    return names


def _numbered_names(pattern: str, path: Path) -> tuple[str, ...]:
    """The names that a pattern with one number states: FILE%03d.raw FIRST LAST STEP."""
    match = re.fullmatch(r"([^%]*)%(0?)(\d?)d([^%\s]*)\s+(-?\d{1,9})\s+(-?\d{1,9})\s+(-?\d{1,9})(?:\s+\d)?", pattern)
    if not match:
        raise header_error(path, "a data file, or a pattern as slice%03d.raw 1 20 1", repr(pattern[:60]))
    before, zero, width, after, *limits = match.groups()
    first, last, step = (int(n) for n in limits)
    count = range(first, last + (1 if step >= 0 else -1), step or 1)
    if len(count) > MOST_LINES:
        raise header_error(path, f"at most {MOST_LINES} data files", f"{len(count)}")
    return tuple(f"{before}{n:{zero}{min(int(width or 0), LARGEST_WIDTH)}d}{after}" for n in count)


def data_paths(names: Sequence[str], path: Path) -> tuple[Path, ...]:
    """The data files of a header, which lie in its folder or below.

    Raises: InputError where one lies elsewhere, unless the environment variable MEDTL_DATA_OUTSIDE is 1.
    """
    folder = path.parent.resolve()
    files = tuple(path.parent / name for name in names)
    if os.environ.get(ALLOW_OUTSIDE) != "1":
        for file in files:
            if not file.resolve().is_relative_to(folder):
                raise InputError(
                    f"Expected data files in the folder of {path}, found {file}. Move it there.", option="data_outside"
                )
    return files


def numbers(text: str, count: int, what: str, path: Path, *, whole: bool = False) -> tuple[float, ...]:
    """The `count` numbers that a field states, none above LARGEST_NUMBER.

    Raises: InputError where there are others.
    """
    parts = text.split()
    form = r"[-+]?\d{1,18}" if whole else r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"
    if len(parts) != count or not all(len(part) < 400 and re.fullmatch(form, part) for part in parts):
        raise header_error(
            path, f"{count} {'whole ' if whole else ''}number(s) as {what}", repr(text[:60]), "Correct it."
        )
    values = tuple(float(part) for part in parts)
    if not all(abs(value) <= LARGEST_NUMBER for value in values):
        raise header_error(path, f"numbers up to {LARGEST_NUMBER:g} as {what}", repr(text[:60]), "Correct it.")
    return values


def dimension_of(text: str, what: str, path: Path) -> int:
    """The number of axes that a field states.

    Raises: InputError where it is not from 1 to MOST_AXES.
    """
    dimension = int(numbers(text, 1, what, path, whole=True)[0])
    if not 1 <= dimension <= MOST_AXES:
        raise header_error(path, f"1 to {MOST_AXES} dimensions", str(dimension))
    return dimension


def units_warning(units: Iterable[str]) -> tuple[str, ...]:
    """A warning where a text header gives lengths in other units, which Slicer and ITK do not apply either."""
    other = sorted({unit for unit in units if unit.lower() not in MILLIMETRES})
    return (f"The header gives lengths in {', '.join(other)}; they are taken as mm.",) if other else ()


def sizes_of(text: str, dimension: int, path: Path) -> tuple[int, ...]:
    """The sizes of the axes, each at least 1.

    Raises: InputError where they cannot be.
    """
    sizes = tuple(int(n) for n in numbers(text, dimension, "sizes", path, whole=True))
    check_sizes(sizes, path)
    return sizes


def check_sizes(sizes: Sequence[int], path: Path) -> None:
    """Raise InputError where there is no axis, too many axes, or an axis without voxels."""
    if not 1 <= len(sizes) <= MOST_AXES:
        raise header_error(path, f"1 to {MOST_AXES} dimensions", f"{len(sizes)}")
    if min(sizes) < 1:
        raise header_error(path, "sizes of at least 1 voxel", " ".join(str(n) for n in sizes))


def grid_of(sizes: Sequence[int], vectors: Sequence[np.ndarray], origin: np.ndarray) -> Geometry:
    """The grid of one to three axes, each a vector from voxel to voxel in LPS mm; missing axes are 1 mm thick.

    Raises: InputError when spacing or axes cannot be.
    """
    vectors = [*vectors]
    spacing = [float(np.linalg.norm(vector)) for vector in vectors]
    units = [vector / (length or 1.0) for vector, length in zip(vectors, spacing, strict=True)]
    if len(units) == 1:
        side = np.roll(units[0], 1)
        side = side - (side @ units[0]) * units[0]
        units.append(side / (np.linalg.norm(side) or 1.0))
    if len(units) == 2:
        units.append(np.cross(units[0], units[1]))
    spacing += [1.0] * (3 - len(spacing))
    x, y, z = (*(int(n) for n in sizes), 1, 1)[:3]
    return Geometry(
        (x, y, z),
        (spacing[0], spacing[1], spacing[2]),
        (float(origin[0]), float(origin[1]), float(origin[2])),
        tuple(float(v) for v in np.stack(units, axis=1).ravel()),
    )
