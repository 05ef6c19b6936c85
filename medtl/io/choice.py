"""Which frame, component or layer of an input is meant."""

from pathlib import Path

from ..errors import InputError


def choose(path: Path, option: str, given: int | None, count: int) -> int:
    """The index to take of `count` frames or components.

    Raises: InputError where there are several and none is given, or there is no such one.
    """
    if given is None and count > 1:
        raise InputError(
            f"Expected one {option} (3D, one value a voxel), found {count} {option}s in {path}, 0 to {count - 1}. "
            "Choose one of them, or save it as a file of its own.",
            option=option,
        )
    index = given or 0
    if not 0 <= index < count:
        raise InputError(
            f"Expected a {option} from 0 to {count - 1}, found {index}: {path} has {count} {option}(s).", option=option
        )
    return index
