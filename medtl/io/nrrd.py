"""Headers of NRRD files (.nrrd, .nhdr, .seg.nrrd).

Source: https://teem.sourceforge.net/nrrd/format.html; where the format leaves something open, as ITK's NrrdImageIO.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..volume import Geometry
from .header import (
    MOST_AXES,
    NO_THICKNESS,
    DataPart,
    Header,
    TextHeader,
    data_names,
    data_paths,
    dimension_of,
    grid_of,
    header_error,
    numbers,
    read_text_header,
    sizes_of,
    units_warning,
)

TYPES = {
    "i1": "signed char|int8|int8_t|char",
    "u1": "uchar|unsigned char|uint8|uint8_t",
    "i2": "short|short int|signed short|signed short int|int16|int16_t",
    "u2": "ushort|unsigned short|unsigned short int|uint16|uint16_t",
    "i4": "int|signed int|int32|int32_t",
    "u4": "uint|unsigned int|uint32|uint32_t",
    "i8": "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t",
    "u8": "ulonglong|unsigned long long|unsigned long long int|uint64|uint64_t",
    "f4": "float",
    "f8": "double",
}
DTYPES = {name: code for code, names in TYPES.items() for name in names.split("|")}
ENCODINGS = {
    "raw": "raw",
    **dict.fromkeys(("gz", "gzip"), "gzip"),
    **dict.fromkeys(("bz2", "bzip2"), "bzip2"),
    **dict.fromkeys(("txt", "text", "ascii"), "ascii"),
    "hex": "hex",
}
# Signs that turn a space into LPS. Spaces without patient axes (scanner, left- or right-handed) are unchanged.
SPACES = {
    **dict.fromkeys(("rightanteriorsuperior", "ras"), (-1.0, -1.0, 1.0)),
    **dict.fromkeys(("leftanteriorsuperior", "las"), (1.0, -1.0, 1.0)),
    **dict.fromkeys(("leftposteriorsuperior", "lps"), (1.0, 1.0, 1.0)),
    **dict.fromkeys(("scannerxyz", "3drighthanded", "3dlefthanded"), (1.0, 1.0, 1.0)),
}
NO_PATIENT = ("scanner", "3d")  # beginnings of the names of spaces without a patient
GRID_KINDS = ("domain", "space", "???", "none", "")


def read_nrrd_header(path: Path) -> Header:
    """The checked header of a NRRD file.

    Raises: InputError when it states what cannot be or what is not supported.
    """
    text = read_text_header(path)
    fields = text.fields
    for name in ("dimension", "sizes", "type", "encoding"):
        if name not in fields:
            raise header_error(
                path, f"the field {name}", "none", "The file is cut off or damaged. Copy or export it again."
            )
    dimension = dimension_of(fields["dimension"], "dimension", path)
    sizes = sizes_of(fields["sizes"], dimension, path)
    kinds = _kinds(fields.get("kinds"), dimension, path)
    component = next((n for n, kind in enumerate(kinds) if kind not in (*GRID_KINDS, "time")), None)
    encoding = ENCODINGS.get(fields["encoding"].lower())
    if encoding is None:
        raise header_error(path, f"the encoding {', '.join(sorted(set(ENCODINGS.values())))}", fields["encoding"][:60])
    geometry, spatial, stated, warnings = _grid(fields, sizes, kinds, path)
    return Header(
        "NRRD",
        path,
        sizes,
        spatial,
        _dtype(fields, encoding, path),
        encoding,
        _parts(text, sizes, encoding, path),
        geometry,
        component,
        states_spacing=stated,
        entries=text.pairs,
        warnings=warnings,
    )


def _kinds(text: str | None, dimension: int, path: Path) -> tuple[str, ...]:
    kinds = tuple((text or "").lower().split()) or ("",) * dimension
    if len(kinds) != dimension:
        raise header_error(path, f"{dimension} kinds", str(len(kinds)))
    if sum(kind not in (*GRID_KINDS, "time") for kind in kinds) > 1:
        raise header_error(path, "one axis of components at most", " ".join(kinds), "Split the file.")
    if "complex" in kinds:
        raise header_error(path, "real values", "complex ones", "Export the magnitude.")
    return kinds


def _dtype(fields: Mapping[str, str], encoding: str, path: Path) -> np.dtype:
    code = DTYPES.get(fields["type"].lower())
    if code is None:
        raise header_error(path, "a type of numbers, as short or float", fields["type"][:60])
    endian = fields.get("endian", "").lower()
    if code[1] != "1" and encoding != "ascii" and endian not in ("little", "big"):
        raise header_error(path, "the field endian, little or big", repr(endian), "Correct it.")
    return np.dtype((">" if endian == "big" else "<") + code)


def _parts(text: TextHeader, sizes: tuple[int, ...], encoding: str, path: Path) -> tuple[DataPart, ...]:
    fields = text.fields
    lines = int(numbers(fields.get("lineskip", "0"), 1, "line skip", path, whole=True)[0])
    skip = int(numbers(fields.get("byteskip", "0"), 1, "byte skip", path, whole=True)[0])
    if lines < 0 or skip < -1 or (skip == -1 and encoding != "raw") or (skip and encoding in ("ascii", "hex")):
        raise header_error(path, "lines and bytes to skip that fit the encoding", f"{lines} and {skip}")
    names = data_names(text, path)
    if names and math.prod(sizes) % len(names):
        raise header_error(path, "data files that share the voxels evenly", f"{len(names)} for sizes {fields['sizes']}")
    files = [DataPart(file) for file in data_paths(names, path)] or [DataPart(path, text.end)]
    return tuple(DataPart(part.path, part.offset, lines, max(skip, 0), skip == -1) for part in files)


def _grid(
    fields: Mapping[str, str], sizes: tuple[int, ...], kinds: tuple[str, ...], path: Path
) -> tuple[Geometry, tuple[int, ...], bool, tuple[str, ...]]:
    """The grid in LPS mm, its axes, whether the header states a spacing for each of them, and warnings."""
    signs, width = _space(fields, path)
    vectors = _directions(fields.get("spacedirections"), len(sizes), width, path)
    grid_axes = [n for n, kind in enumerate(kinds) if kind in GRID_KINDS]
    directed = [n for n in grid_axes if vectors[n] is not None]
    if not grid_axes:
        raise header_error(path, "at least one axis of space", " ".join(kinds))
    if len(directed) > width:
        raise header_error(path, f"at most {width} space directions", str(len(directed)))
    spatial = tuple((directed or grid_axes)[:3])
    axes = _Axes(fields, sizes, path)
    if directed:
        columns = [np.asarray(vectors[n]) * signs for n in spatial]
        axes.check_lengths({n: float(np.linalg.norm(vectors[n] or 0.0)) for n in spatial})
        stated_axes = directed
    else:
        stated_axes = [n for n in spatial if axes.spacings[n] is not None]
        if stated_axes and width:
            raise header_error(path, "space directions beside a space", "spacings", "Correct it.")
        columns = [axes.spacing(n) * np.eye(3)[at] for at, n in enumerate(spatial)]
    if fields.get("spaceorigin", "none") != "none":
        origin = np.asarray(_vector(fields["spaceorigin"], width, path)) * signs
    else:
        origin = np.zeros(3) if directed else np.array([*map(axes.first_centre, spatial), 0.0, 0.0])[:3]
    geometry = grid_of([sizes[n] for n in spatial], columns, origin)
    stated = all(n in stated_axes for n in spatial if sizes[n] > 1) and bool(stated_axes)
    warnings = [*_units_warnings(fields, spatial)]
    if directed and fields.get("space", "").lower().startswith(NO_PATIENT):
        warnings.append("The header does not state how the patient lies in its space; left is assumed.")
    if stated and len(spatial) < 3:
        warnings.append(NO_THICKNESS)
    if stated_axes and not stated:
        warnings.append("The header gives no spacing for an axis; 1 mm is assumed.")
    if not directed and len({axes.mins[n] is None for n in spatial}) > 1:
        warnings.append("The header does not state where an axis begins; 0 mm is assumed.")
    return geometry, spatial, stated and geometry != Geometry(geometry.size), tuple(warnings)


def _units_warnings(fields: Mapping[str, str], spatial: tuple[int, ...]) -> tuple[str, ...]:
    """A warning of units other than mm, of the space or of its axes."""
    of_space, of_axes = (
        [quoted or plain for quoted, plain in re.findall(r'"([^"]*)"|([^\s"]+)', fields.get(name, ""))]
        for name in ("spaceunits", "units")
    )
    return units_warning([*of_space, *(of_axes[n] for n in spatial if n < len(of_axes))])


def _space(fields: Mapping[str, str], path: Path) -> tuple[np.ndarray, int]:
    """Signs that turn the header's space into LPS, and how many numbers a vector has (0: no space)."""
    if "space" not in fields:
        width = int(numbers(fields.get("spacedimension", "0"), 1, "space dimension", path, whole=True)[0])
        if not 0 <= width <= MOST_AXES:
            raise header_error(path, f"a space of at most {MOST_AXES} dimensions", str(width))
        return np.ones(3), width
    name = re.sub(r"[-_ ]", "", fields["space"].lower())
    timed = name.endswith("time") or name in ("rast", "last", "lpst")
    signs = SPACES.get(name.removesuffix("time")) or SPACES.get(name.removesuffix("t"))
    if signs is None or "spacedimension" in fields:
        raise header_error(path, "one known space", fields["space"][:60])
    return np.array(signs), 4 if timed else 3


def _vector(text: str, width: int, path: Path) -> tuple[float, ...]:
    """The first three numbers of a vector, as (1,0,0)."""
    inside = re.fullmatch(r"\(([^()]*)\)", text)
    if not inside or not width:
        raise header_error(path, "a space and vectors in it, as (1,0,0)", repr(text[:60]), "Correct it.")
    values = numbers(inside[1].replace(",", " "), width, "a vector", path)
    return (*values[:3], *(0.0,) * (3 - width))


def _directions(text: str | None, dimension: int, width: int, path: Path) -> list[tuple[float, ...] | None]:
    """The vector of each axis, None where it has none."""
    if text is None:
        return [None] * dimension
    parts = re.findall(r"\([^()]*\)|[^\s()]+", text)
    if len(parts) != dimension:
        raise header_error(path, f"{dimension} space directions", str(len(parts)), "Correct it.")
    return [None if part.lower() == "none" else _vector(part, width, path) for part in parts]


def _optional(text: str | None, dimension: int, what: str, path: Path) -> list[float | None]:
    """The numbers of a field, None where it is missing or nan, which means unknown in NRRD."""
    parts = text.split() if text is not None else ["nan"] * dimension
    if len(parts) != dimension:
        raise header_error(path, f"{dimension} {what}", str(len(parts)), "Correct it.")
    return [None if part.lower().strip("+-") == "nan" else numbers(part, 1, what, path)[0] for part in parts]


class _Axes:
    """Spacings and places of axes that lie in no space, None where the header does not state them."""

    def __init__(self, fields: Mapping[str, str], sizes: tuple[int, ...], path: Path) -> None:
        dimension = len(sizes)
        self.path = path
        self.mins, maxs, self.spacings = (
            _optional(fields.get(name), dimension, what, path)
            for name, what in (("axismins", "axis mins"), ("axismaxs", "axis maxs"), ("spacings", "spacings"))
        )
        self.centerings = fields.get("centerings", "").lower().split() or ["cell"] * dimension
        if len(self.centerings) != dimension:
            raise header_error(path, f"{dimension} centerings", str(len(self.centerings)), "Correct it.")
        lengths = {}
        for n, (low, high) in enumerate(zip(self.mins, maxs, strict=True)):
            steps = sizes[n] - 1 if self.centerings[n] == "node" else sizes[n]
            if low is not None and high is not None and steps:
                lengths[n] = (high - low) / steps
        self.check_lengths(lengths)
        self.spacings = [lengths.get(n) if one is None else one for n, one in enumerate(self.spacings)]

    def check_lengths(self, lengths: Mapping[int, float]) -> None:
        """Raise InputError where a spacing is not as long as another field says."""
        for n, length in lengths.items():
            stated = self.spacings[n]
            if stated is not None and abs(abs(stated) - abs(length)) > 1e-3 * abs(length):
                found = f"spacings of {stated:g} and {length:g} on axis {n + 1}"
                raise header_error(self.path, "one spacing of each axis", found, "Correct it.")

    def spacing(self, axis: int) -> float:
        """The signed spacing of an axis, 1 where it is not stated."""
        stated = self.spacings[axis]
        return 1.0 if stated is None else stated

    def first_centre(self, axis: int) -> float:
        """The centre of the first voxel of an axis, 0 where it is not stated."""
        low = self.mins[axis]
        if low is None:
            return 0.0
        return low if self.centerings[axis] == "node" else low + self.spacing(axis) / 2
