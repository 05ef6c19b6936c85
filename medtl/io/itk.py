"""What reading and writing by libraries share: SimpleITK writes files, and its messages are made readable."""

import contextlib
import os
import re
import shutil
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import SimpleITK as sitk

from ..errors import InputError
from .files import suffix_of


def chosen(path: Path, option: str, given: int | None, count: int) -> int:
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


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Send what ITK's C and C++ libraries print to nowhere: the reason travels in the exception."""
    try:
        kept = os.dup(2)
    except OSError:  # a windowed process has no standard error
        yield
        return
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def write_itk(image: sitk.Image, path: Path) -> None:
    """Write the image, packed, under any name: ITK gets one in small letters that every system can encode.

    Raises: RuntimeError or OSError when writing fails.
    """
    plain = f"image{suffix_of(path)}"
    with tempfile.TemporaryDirectory(dir=None if _is_odd(path.parent) else path.parent, prefix=".medtl-") as folder:
        part = Path(folder) / plain
        try:
            with quiet_stderr():
                sitk.WriteImage(image, str(part), True)
        except RuntimeError as error:
            raise RuntimeError(str(error).replace(str(part), str(path))) from error
        shutil.move(part, path)


def _is_odd(path: Path) -> bool:
    """True where the path has bytes that are not UTF-8: SimpleITK ends the process on them."""
    try:
        str(path.absolute()).encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def plain_reason(text: str) -> str:
    """The last line of ITK's message in one line, without addresses, class names and the errno it guesses at."""
    lines = [line for line in text.strip().splitlines() if not line.startswith("Reason:")]
    last = re.sub(
        r"(ITK |sitk::)ERROR:|\[nrrd\]|\w*ImageIO\(0x[0-9a-fA-F]+\):|\(0x[0-9a-fA-F]+\)", " ", (lines or [""])[-1]
    )
    last = re.sub(r"^\s*_?nrrd\w*:", "", last)
    return textwrap.shorten(last, 300, placeholder=" …").rstrip(".:") or "no reason given"


def reason_of(path: Path, kind: str, text: str) -> str:
    """A library's message about a file that it cannot read, in one line."""
    reason = plain_reason(text)
    return f"Expected a whole {kind} file, found one that cannot be read: {path} ({reason}). Copy or export it again."
