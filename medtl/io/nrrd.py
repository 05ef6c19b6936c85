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
GRID_KINDS = ("domain", "space", "???", "none", "")
MILLIMETRES = ("mm", "millimeter", "millimetre", "millimeters", "millimetres", "")


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
    geometry, spatial, stated = _grid(fields, sizes, kinds, path)
    units = re.findall(r'"([^"]*)"', fields.get("spaceunits", ""))
    other = sorted({unit for unit in units if unit.lower() not in MILLIMETRES})
    warnings = [f"The header gives lengths in {', '.join(other)}; they are taken as mm."] if other else []
    warnings += [NO_THICKNESS] if stated and len(spatial) < 3 else []
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
        warnings=tuple(warnings),
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
) -> tuple[Geometry, tuple[int, ...], bool]:
    """The grid in LPS mm, its axes and whether the header states a spacing for each of them."""
    signs, width = _space(fields, path)
    vectors = _directions(fields.get("spacedirections"), len(sizes), width, path)
    grid_axes = [n for n, kind in enumerate(kinds) if kind in GRID_KINDS]
    stated_axes = [n for n in grid_axes if vectors[n] is not None]
    if not grid_axes:
        raise header_error(path, "at least one axis of space", " ".join(kinds))
    if len(stated_axes) > width:
        raise header_error(path, f"at most {width} space directions", str(len(stated_axes)))
    spatial = tuple((stated_axes or grid_axes)[:3])
    origin = np.zeros(3)
    if stated_axes:
        columns = [np.asarray(vectors[n]) * signs for n in spatial]
    else:
        spacings = _optional(fields.get("spacings"), len(sizes), "spacings", path)
        columns = [(spacings[n] or 1.0) * np.eye(3)[at] for at, n in enumerate(spatial)]
        stated_axes = [n for n in spatial if spacings[n] is not None]
        origin = _origin_of_axes(fields, spacings, spatial, path)
    if fields.get("spaceorigin", "none") != "none":
        origin = np.asarray(_vector(fields["spaceorigin"], width, path)) * signs
    geometry = grid_of([sizes[n] for n in spatial], columns, origin)
    stated = all(n in stated_axes for n in spatial if sizes[n] > 1) and bool(stated_axes)
    return geometry, spatial, stated and geometry != Geometry(geometry.size)


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


def _origin_of_axes(
    fields: Mapping[str, str], spacings: list[float | None], spatial: tuple[int, ...], path: Path
) -> np.ndarray:
    """The first voxel's centre where the header has axis mins instead of a space."""
    mins = _optional(fields.get("axismins"), len(spacings), "axis mins", path)
    centerings = fields.get("centerings", "").lower().split() or ["cell"] * len(spacings)
    origin = np.zeros(3)
    if len(centerings) != len(spacings) or any(mins[n] is None or spacings[n] is None for n in spatial):
        return origin
    for at, n in enumerate(spatial):
        origin[at] = (mins[n] or 0.0) + (0.0 if centerings[n] == "node" else (spacings[n] or 0.0) / 2)
    return origin
