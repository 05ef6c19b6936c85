"""Reading the voxels that a header promises: exactly these, within the limits of memory."""

import math
import re
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import InputError
from .header import DataPart, Header
from .limits import check_memory, check_regular
from .packed import BLOCK, inflate, unpack_bzip2

LARGEST_RATIO = 1032  # unpacked bytes of a byte of deflate data, at most
LONGEST_NUMBER = 64  # characters of a number in ASCII data


def read_voxels(header: Header, frame: int | None) -> np.ndarray:
    """The voxels of one frame, or of all frames where `frame` is None, as an array (layers, Z, Y, X).

    Layers are the components of a voxel, and the frames where all are read. The array has the dtype of the file in
    native byte order, or a float dtype where the header scales values.

    Raises: InputError where the data are shorter or longer than the header states, damaged or too large for memory.
    """
    sizes, frames = header.sizes, header.frame_axes
    inner = len(sizes) - len(frames)
    slowest = frames == tuple(range(inner, len(sizes)))
    if frame is not None and slowest:
        count = math.prod(sizes[:inner])
        values, sizes = _values(header, frame * count, (frame + 1) * count), sizes[:inner]
    else:
        values = _values(header, 0, header.values)
    return _in_layers(_scale(values, header.scale).reshape(sizes[::-1]), header, None if slowest else frame)


def _in_layers(array: np.ndarray, header: Header, frame: int | None) -> np.ndarray:
    """The array of all axes, slowest first, as (layers, Z, Y, X)."""
    last = array.ndim - 1
    frames = [last - n for n in reversed(header.frame_axes) if n < array.ndim]
    component = [] if header.component is None else [last - header.component]
    spatial = [last - n for n in reversed(header.spatial)]
    array = array.transpose(*frames, *component, *spatial)
    shape = (1,) * (3 - len(spatial)) + array.shape[array.ndim - len(spatial) :]
    if frame is not None:
        array = array.reshape(-1, header.components, *shape)[frame]
    return array.reshape(-1, *shape)


def _scale(values: np.ndarray, scale: tuple[float, float]) -> np.ndarray:
    if scale == (1.0, 0.0):
        return values
    dtype = np.float64 if values.dtype.itemsize == 8 else np.float32
    with np.errstate(all="ignore"):  # what is not finite afterwards is noticed by the reader
        slope, intercept = np.array(scale, dtype=dtype)
        return np.asarray(values.astype(dtype) * slope + intercept)


def _values(header: Header, start: int, stop: int) -> np.ndarray:
    """The values from `start` to `stop` of the file, in native byte order."""
    item = header.dtype.itemsize
    check_memory((stop - start) * item, header.path)
    per_part = header.values // len(header.parts)
    for part in header.parts:
        _check_size(part, header, per_part * item)
    buffer = np.empty((stop - start) * item, dtype=np.uint8)
    for number, part in enumerate(header.parts):
        first = number * per_part
        begin, end = (min(max(bound, first), first + per_part) for bound in (start, stop))
        target = buffer[(begin - start) * item : (end - start) * item] if end > begin else buffer[:0]
        try:
            _read_part(part, header, per_part * item, (begin - first) * item, target)
        except OSError as error:
            raise InputError(
                f"Expected a readable file, found {error.strerror} for {part.path}. Check its rights."
            ) from error
    values = buffer.view(header.dtype)
    return values if header.dtype.isnative else values.astype(header.dtype.newbyteorder("="))


def _check_size(part: DataPart, header: Header, promised: int) -> None:
    """Raise InputError where the file is too small for the bytes that the header promises, before any allocation."""
    try:
        check_regular(part.path)
        size = part.path.stat().st_size
    except OSError as error:
        raise InputError(
            f"Expected the data file of {header.path}, found {(error.strerror or 'nothing').lower()} at {part.path}. "
            "Copy it there."
        ) from error
    most = {"raw": 1, "gzip": LARGEST_RATIO, "hex": 1, "ascii": header.dtype.itemsize, "bzip2": 1 << 20}
    if (size - part.offset) * most[header.encoding] < promised:
        raise _too_short(part.path, promised, None if header.encoding == "gzip" else max(0, size - part.offset))
    if part.packed is not None and size < part.offset + part.packed:
        raise _too_short(part.path, part.packed, max(0, size - part.offset))


def _too_short(path: Path, promised: int, found: int | None) -> InputError:
    there = "fewer" if found is None else str(found)
    return InputError(
        f"Expected {promised} bytes of data in {path}, found {there}: it is cut off. Copy or export it again."
    )


def _too_long(path: Path, promised: int) -> InputError:
    return InputError(
        f"Expected {promised} bytes of data in {path}, found more: header and data do not belong together. "
        "Export it again."
    )


def _read_part(part: DataPart, header: Header, promised: int, begin: int, target: np.ndarray) -> None:
    """Fill the target with the bytes from `begin` on of the `promised` bytes that the part holds."""
    with part.path.open("rb") as file:
        file.seek(part.offset)
        for _ in range(part.lines):
            while (line := file.readline(BLOCK)) and not line.endswith(b"\n"):
                pass
        if header.encoding == "raw":
            _read_raw(file, part, promised, begin, target)
        elif header.encoding in ("ascii", "hex"):
            data = _parse(file, part.path, header, promised)
            target[:] = np.frombuffer(data, np.uint8)[begin : begin + len(target)]
        else:
            _read_packed(file, part, header, promised, begin, target)


def _read_raw(file: BinaryIO, part: DataPart, promised: int, begin: int, target: np.ndarray) -> None:
    start = file.tell() + part.skip
    end = file.seek(0, 2)
    if part.from_end:
        start = end - promised
    if end - start < promised or start < 0:
        raise _too_short(part.path, promised, max(0, end - start))
    if end - start > promised:
        raise _too_long(part.path, promised)
    file.seek(start + begin)
    for at in range(0, len(target), BLOCK):
        block = file.read(min(BLOCK, len(target) - at))
        if len(block) < min(BLOCK, len(target) - at):  # it shrank meanwhile
            raise _too_short(part.path, promised, at)
        target[at : at + len(block)] = np.frombuffer(block, np.uint8)


def _read_packed(file: BinaryIO, part: DataPart, header: Header, promised: int, begin: int, target: np.ndarray) -> None:
    """Fill the target from packed data. All data are unpacked, because the checksum is at the end, but no more than
    promised."""
    unpack = unpack_bzip2 if header.encoding == "bzip2" else inflate
    position = -part.skip - begin
    left = promised + part.skip
    try:
        for block in unpack(file, part.packed):
            left -= len(block)
            if left < 0:
                raise _too_long(part.path, promised)
            low, high = max(position, 0), min(position + len(block), len(target))
            if low < high:
                target[low:high] = np.frombuffer(block, np.uint8)[low - position : high - position]
            position += len(block)
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(
            f"Expected a whole {header.format} file, found one whose packed data are cut off or changed: {part.path}. "
            "Copy or export it again."
        ) from error
    if left > 0:
        raise _too_short(part.path, promised, promised - left if promised > left else 0)


def _parse(file: BinaryIO, path: Path, header: Header, promised: int) -> bytes:
    """The bytes that text data state."""
    count = promised // header.dtype.itemsize
    text = file.read(LONGEST_NUMBER * (promised if header.encoding == "hex" else count) + BLOCK)
    if header.encoding == "hex":
        digits = re.sub(rb"\s+", b"", text)
        if not re.fullmatch(rb"[0-9a-fA-F]*", digits) or len(digits) % 2:
            raise InputError(f"Expected hexadecimal digits as data, found other text in {path}. Export it again.")
        data = bytes.fromhex(digits.decode("ascii"))
    else:
        words = re.split(rb"[\s,]+", text.strip(b" \t\r\n,\0"))
        data = _numbers(words if words != [b""] else [], header.dtype, path)
    if len(data) < promised:
        raise _too_short(path, promised, len(data))
    if len(data) > promised:
        raise _too_long(path, promised)
    return data


def _numbers(words: list[bytes], dtype: np.dtype, path: Path) -> bytes:
    is_whole = dtype.kind in "iu"
    try:
        if max((len(word) for word in words), default=0) > LONGEST_NUMBER or any(b"_" in word for word in words):
            raise ValueError
        if is_whole:
            return np.array([int(word) for word in words], dtype=dtype).tobytes()
        return np.array([float(word) for word in words], dtype=dtype).tobytes()
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"Expected {'whole ' if is_whole else ''}numbers of the type {dtype} as data, found another text in "
            f"{path}. Export it again."
        ) from error
