"""The choice of a frame, component or layer of an input."""

from pathlib import Path

from ..errors import InputError


def choose(path: Path, option: str, chosen: int | None, count: int) -> int:
    """The index of the frame or component to read, of `count`.

    Raises: InputError where there are several and `chosen` is None, or it is out of range.
    """
    if chosen is None and count > 1:
        raise InputError(
            f"Expected one {option} (3D, one value a voxel), found {count} {option}s in {path}, 0 to {count - 1}. "
            "Choose one of them, or save it as a file of its own.",
            option=option,
        )
    index = chosen or 0
    if not 0 <= index < count:
        raise InputError(
            f"Expected a {option} from 0 to {count - 1}, found {index}: {path} has {count} {option}(s).", option=option
        )
    return index
