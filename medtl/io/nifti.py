"""Headers of NIfTI-1 and NIfTI-2 files, single (.nii, .nii.gz) or pairs (.hdr with .img).

Source: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h and nifti2.h. Where both are given, sform and qform
must agree; the sform counts where they do not, as for nibabel, FSL and SPM, and a warning states the distance.
"""

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..volume import Geometry
from .files import first_bytes, image_of_pair, is_packed
from .header import (
    LARGEST_NUMBER,
    MOST_AXES,
    NO_THICKNESS,
    DataPart,
    Header,
    check_sizes,
    data_paths,
    grid_of,
    header_error,
)

DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
COLOURS = {128: 3, 2304: 4}  # RGB and RGBA of bytes
COMPLEX = (32, 1792, 2048)
VECTORS = (1003, 1004, 1005, 1006, 1007, 1008, 1009, 1011, 2003, 2004)  # intents whose fifth axis is of one voxel
UNITS = {1: (1000.0, "m"), 3: (0.001, "µm")}  # xyzt_units other than mm
QUATERNION_ROUNDING = 3 * float(np.finfo(np.float32).eps)  # of the sum of its squares

# struct codes and offsets of the fields in NIfTI-1 and in NIfTI-2
FIELDS = {
    "dim": (("8h", 40), ("8q", 16)),
    "intent": (("h", 68), ("i", 504)),
    "datatype": (("h", 70), ("h", 12)),
    "bitpix": (("h", 72), ("h", 14)),
    "pixdim": (("8f", 76), ("8d", 104)),
    "vox_offset": (("f", 108), ("q", 168)),
    "scale": (("2f", 112), ("2d", 176)),
    "units": (("b", 123), ("i", 500)),
    "codes": (("2h", 252), ("2i", 344)),
    "quaternion": (("3f", 256), ("3d", 352)),
    "offset": (("3f", 268), ("3d", 376)),
    "sform": (("12f", 280), ("12d", 400)),
}


@dataclass(frozen=True)
class _Raw:
    """The bytes of a header."""

    data: bytes
    order: str
    second: bool

    def field(self, name: str) -> tuple[Any, ...]:
        code, offset = FIELDS[name][self.second]
        return struct.unpack_from(self.order + code, self.data, offset)


def read_nifti_header(path: Path) -> Header:
    """The checked header of a NIfTI file.

    Raises: InputError when it states what cannot be or what is not supported.
    """
    data = first_bytes(path)
    little = int.from_bytes(data[:4], "little") in (348, 540)
    second = data[4:7] in (b"n+2", b"ni2")
    if len(data) < (540 if second else 348):
        raise header_error(path, "a whole NIfTI header", f"{len(data)} bytes", "Copy or export it again.")
    raw = _Raw(data, "<" if little else ">", second)
    sizes = _sizes(raw, path)
    kind, bits = raw.field("datatype")[0], raw.field("bitpix")[0]
    if kind in COMPLEX:
        raise InputError(f"Expected real values, found complex ones in {path}. Export the magnitude.")
    colours = COLOURS.get(kind, 0)
    code = "u1" if colours else DTYPES.get(kind)
    if code is None or bits != 8 * int(code[1]) * max(colours, 1):
        raise header_error(path, "a data type of whole or real numbers with its size", f"type {kind} of {bits} bits")
    geometry, warnings = _grid(raw, sizes, path)
    codes = raw.field("codes")
    vector = sizes[4] > 1 and raw.field("intent")[0] in VECTORS
    if colours and vector:
        raise header_error(path, "one kind of components", "vectors of colours")
    slope, intercept = (float(v) for v in raw.field("scale"))
    scaled = not colours and math.isfinite(slope) and slope != 0
    if scaled and not math.isfinite(intercept):
        raise header_error(path, f"a finite scl_inter beside the scl_slope {slope:g}", f"{intercept:g}", "Correct it.")
    return Header(
        "NIfTI",
        path,
        (colours, *sizes) if colours else sizes,
        (1, 2, 3) if colours else (0, 1, 2),
        np.dtype(raw.order + code),
        *_data(raw, path),
        geometry,
        0 if colours else 4 if vector else None,
        (slope, intercept) if scaled else (1.0, 0.0),
        states_spacing=geometry.spacing != (1.0, 1.0, 1.0) or any(codes),
        warnings=warnings,
    )


def _sizes(raw: _Raw, path: Path) -> tuple[int, ...]:
    """The sizes of five axes."""
    dimension, *sizes = (int(n) for n in raw.field("dim"))
    if not 1 <= dimension <= 7:
        raise header_error(path, f"1 to {MOST_AXES} dimensions", str(dimension))
    sizes = [*sizes[:dimension], *(1,) * (7 - dimension)]
    if sizes[5:] != [1, 1]:
        raise header_error(path, f"1 to {MOST_AXES} dimensions", str(dimension))
    check_sizes(sizes[:5], path)
    return tuple(sizes[:5])


def _data(raw: _Raw, path: Path) -> tuple[str, tuple[DataPart, ...]]:
    """How the data are packed and where they lie."""
    start = float(raw.field("vox_offset")[0])
    pair = raw.data[4:7] == b"ni2" if raw.second else raw.data[344:347] == b"ni1"
    least = 0 if pair else 540 if raw.second else 348
    if not (least <= start < 2**40 and start.is_integer()):
        raise header_error(path, f"data from byte {least} on", f"{start:g}")
    file: Path | None = path
    if pair:
        image = image_of_pair(path)
        file = data_paths((image.name,), path)[0] if image is not None else None
    if file is None:
        raise InputError(
            f"Expected the voxels of the NIfTI pair {path} beside it, found no file of that name that ends in .img. "
            "Copy it there."
        )
    return "gzip" if is_packed(file) else "raw", (DataPart(file, skip=int(start)),)


def _grid(raw: _Raw, sizes: tuple[int, ...], path: Path) -> tuple[Geometry, tuple[str, ...]]:
    """The grid in LPS mm, and warnings about it."""
    stated = [abs(float(v)) for v in raw.field("pixdim")[1:4]]
    for axis, (size, length) in enumerate(zip(sizes, stated, strict=False)):
        if size > 1 and not 0 < length <= LARGEST_NUMBER:
            raise InputError(
                f"Expected spacings above 0 mm, found {length:g} on axis {axis + 1} of {path}. Correct the header."
            )
    lengths = [v if 0 < v <= LARGEST_NUMBER else 1.0 for v in stated]
    qform_code, sform_code = raw.field("codes")
    qform = _qform(raw, lengths) if qform_code > 0 else None
    sform = _sform(raw, lengths, path) if sform_code > 0 else None
    if qform_code > 0 and qform is None and sform is None:
        raise header_error(path, "a qform that is a rotation and a finite offset", "another one", "Correct it.")
    matrix = sform if sform is not None else qform
    if matrix is None:  # as ITK: the axes of the patient are not known
        matrix = np.diag([-lengths[0], -lengths[1], lengths[2], 1.0])
    units = int(raw.field("units")[0]) & 7
    scale = UNITS.get(units, (1.0, ""))[0]
    lps = np.diag([-scale, -scale, scale, 1.0]) @ matrix
    geometry = grid_of(sizes[:3], list(lps[:3, :3].T), lps[:3, 3])
    warnings = []
    if sform is None and qform is None:
        warnings.append("The header does not state how the image lies (sform and qform code 0); left is assumed.")
    if sizes[2] == 1 and lengths[2] != stated[2] and sform is None:
        warnings.append(NO_THICKNESS)
    if scale != 1:
        warnings.append(f"The header gives lengths in {UNITS[units][1]}; they are turned into mm.")
    if sform is not None and qform_code > 0:
        moved = math.inf if qform is None else scale * _distance(sform, qform, sizes)
        if qform is None or moved > geometry.rounding + _quaternion_rounding(raw, geometry):
            apart = "by far" if qform is None else f"up to {moved:.2g} mm"
            warnings.append(
                f"The sform and the qform of the header place voxels {apart} apart; the sform is used. Programs that "
                "use the qform show image and result in different places."
            )
    if sform is not None:
        ours = [geometry.spacing[n] / scale for n in range(3)]
        wrong = [abs(a - b) * n * scale > geometry.tolerance for a, b, n in zip(ours, lengths, sizes, strict=False)]
        if any(w and a == b for w, a, b in zip(wrong, lengths, stated, strict=True)):
            warnings.append(
                f"The header gives voxels of {_text(lengths, scale)} mm as pixdim and of {_text(ours, scale)} mm as "
                "sform; the sform is used."
            )
    return geometry, tuple(warnings)


def _text(lengths: list[float], scale: float) -> str:
    return " × ".join(f"{scale * length:.5g}" for length in lengths)


def _distance(one: np.ndarray, other: np.ndarray, sizes: tuple[int, ...]) -> float:
    """The largest distance between a voxel's places by two affine matrices."""
    corners = np.array([[x, y, z, 1] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=np.float64)
    corners[:, :3] *= np.array(sizes[:3]) - 1
    return float(np.linalg.norm((corners @ (one - other).T)[:, :3], axis=1).max())


def _qform(raw: _Raw, lengths: list[float]) -> np.ndarray | None:
    """Index to RAS by the quaternion; None where it is no rotation. Source: nifti1.h, METHOD 2."""
    qfac = float(raw.field("pixdim")[0])
    b, c, d = (float(v) for v in raw.field("quaternion"))
    offset = [float(v) for v in raw.field("offset")]
    square = b * b + c * c + d * d
    if not (square <= 1.01 and all(abs(v) <= LARGEST_NUMBER for v in offset)):
        return None
    a = math.sqrt(max(0.0, 1.0 - square))
    if 1.0 - square < QUATERNION_ROUNDING:
        a, b, c, d = (v / math.sqrt(square) for v in (0.0, b, c, d))
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ]
    matrix[:3, :3] *= np.array(lengths) * [1.0, 1.0, -1.0 if qfac < 0 else 1.0]
    matrix[:3, 3] = offset
    return matrix


def _quaternion_rounding(raw: _Raw, geometry: Geometry) -> float:
    """How far the rounding of a quaternion moves the farthest voxel, mm. Its first number is computed from the other
    three and is near 0 where the axes are turned by 180 degrees, as in most heads."""
    left = 1.0 - sum(float(v) * float(v) for v in raw.field("quaternion"))
    angle = 2 * QUATERNION_ROUNDING / max(2 * math.sqrt(max(left, 0.0)), math.sqrt(QUATERNION_ROUNDING))
    return angle * math.hypot(*(n * s for n, s in zip(geometry.size, geometry.spacing, strict=True)))


def _sform(raw: _Raw, lengths: list[float], path: Path) -> np.ndarray:
    """Index to RAS by the three rows; a third axis of length 0, as of 2D images, gets its place and thickness."""
    rows = np.array(raw.field("sform"), dtype=np.float64).reshape(3, 4)
    if not (np.abs(rows) <= LARGEST_NUMBER).all():
        raise header_error(path, "finite numbers as sform", "others", "Correct it.")
    matrix = np.vstack([rows, [0.0, 0.0, 0.0, 1.0]])
    first, second, third = matrix[:3, :3].T
    if not third.any() and first.any() and second.any():
        normal = np.cross(first, second)
        matrix[:3, 2] = normal / (np.linalg.norm(normal) or 1.0) * lengths[2]
    return matrix
