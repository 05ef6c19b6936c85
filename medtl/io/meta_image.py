"""Headers of MetaImage files (.mha, .mhd).

Source: https://itk.org/Wiki/ITK/MetaIO/Documentation; where it leaves something open, as ITK's MetaImageIO.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..volume import Geometry
from .header import (
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

DTYPES = {
    **{"met_char": "i1", "met_uchar": "u1", "met_short": "i2", "met_ushort": "u2", "met_int": "i4", "met_uint": "u4"},
    **{"met_long": "i4", "met_ulong": "u4", "met_long_long": "i8", "met_ulong_long": "u8"},
    **{"met_float": "f4", "met_double": "f8"},
}


def read_meta_image_header(path: Path) -> Header:
    """The checked header of a MetaImage file.

    Raises: InputError when it states what cannot be or what is not supported.
    """
    text = read_text_header(path)
    fields = text.fields
    for name in ("NDims", "DimSize", "ElementType", "ElementDataFile"):
        if name.lower().replace("elementdatafile", "datafile") not in fields:
            raise header_error(
                path, f"the field {name}", "none", "The file is cut off or damaged. Copy or export it again."
            )
    if fields.get("objecttype", "Image").lower() != "image":
        raise header_error(path, "ObjectType = Image", fields["objecttype"][:60], "Choose an image.")
    dimension = dimension_of(fields["ndims"], "NDims", path)
    sizes = sizes_of(fields["dimsize"], dimension, path)
    channels = int(numbers(fields.get("elementnumberofchannels", "1"), 1, "channels", path, whole=True)[0])
    if channels < 1:
        raise header_error(path, "at least one channel", str(channels))
    for name, usual in (("slope", 1.0), ("offset", 0.0)):
        scale = fields.get(f"elementtointensityfunction{name}", str(usual))
        if numbers(scale, 1, f"ElementToIntensityFunction{name.title()}", path)[0] != usual:
            raise header_error(path, "values without a scale", f"one of {scale}, which few programs apply", "Apply it.")
    dtype = DTYPES.get(fields["elementtype"].lower())
    if dtype is None:
        raise header_error(path, "an element type as MET_SHORT", fields["elementtype"][:60])
    first = 0 if channels == 1 else 1
    geometry = _grid(fields, sizes, dimension, path)
    return Header(
        "MetaImage",
        path,
        sizes if channels == 1 else (channels, *sizes),
        tuple(range(first, first + min(dimension, 3))),
        np.dtype((">" if _true(fields, "msb") else "<") + dtype),
        _encoding(fields),
        _parts(text, sizes, path),
        geometry,
        component=None if channels == 1 else 0,
        states_spacing=geometry != Geometry(geometry.size),
        entries=text.pairs,
        warnings=(
            *units_warning([fields.get("distanceunits", "")[:60]]),
            *([NO_THICKNESS] if dimension < 3 and geometry != Geometry(geometry.size) else []),
        ),
    )


def _true(fields: Mapping[str, str], name: str, usual: str = "False") -> bool:
    return fields.get(name, usual)[:1].lower() in ("t", "1", "y")


def _encoding(fields: Mapping[str, str]) -> str:
    if _true(fields, "compresseddata"):
        return "gzip"
    return "raw" if _true(fields, "binarydata", "True") else "ascii"


def _parts(text: TextHeader, sizes: tuple[int, ...], path: Path) -> tuple[DataPart, ...]:
    fields = text.fields
    skip = int(numbers(fields.get("headersize", "0"), 1, "HeaderSize", path, whole=True)[0])
    packed = int(numbers(fields.get("compresseddatasize", "0"), 1, "CompressedDataSize", path, whole=True)[0])
    names = data_names(text, path)
    if skip < -1 or packed < 0 or (skip and (_encoding(fields) != "raw" or (skip > 0 and not names))):
        raise header_error(path, "HeaderSize and CompressedDataSize that fit the data", f"{skip} and {packed}")
    if len(names) > 1 and math.prod(sizes) % len(names):
        raise header_error(
            path, "data files that share the voxels evenly", f"{len(names)} for sizes {fields['dimsize']}"
        )
    packed_size = packed if packed and len(names) <= 1 else None
    if not names:
        return (DataPart(path, text.end, from_end=skip == -1, packed=packed_size),)
    return tuple(
        DataPart(file, max(skip, 0), from_end=skip == -1, packed=packed_size) for file in data_paths(names, path)
    )


def _grid(fields: Mapping[str, str], sizes: tuple[int, ...], dimension: int, path: Path) -> Geometry:
    """The grid in LPS mm: each `dimension` numbers of the matrix are the direction of one axis."""
    used = min(dimension, 3)
    spacing = fields.get("elementspacing", fields.get("elementsize", " ".join(["1"] * dimension)))
    lengths = np.array(numbers(spacing, dimension, "ElementSpacing", path))[:used]
    origin = np.zeros(3)
    origin[:used] = numbers(fields.get("offset", " ".join(["0"] * dimension)), dimension, "Offset", path)[:used]
    identity = " ".join(str(int(n)) for n in np.eye(dimension).ravel())
    matrix = numbers(fields.get("matrix", identity), dimension**2, "TransformMatrix", path)
    directions = np.zeros((used, 3))
    directions[:, :used] = np.reshape(matrix, (dimension, dimension))[:used, :used]
    if not (np.abs(directions) <= 1.0 + 1e-3).all():
        raise header_error(path, "a TransformMatrix of unit vectors", fields["matrix"][:60], "Correct it.")
    return grid_of(sizes[:used], list(directions * lengths[:, None]), origin)
