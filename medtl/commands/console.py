"""What our commands share: errors in one line, exit statuses, and a standard output that holds results alone.

Exit status: 0 done, 1 an error, 2 usage, 130 cancelled, 141 the reader of standard output went away.
"""

import argparse
import contextlib
import json
import math
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from ..errors import STOPPABLE, Cancelled, MedTLError, explain

READER_GONE = 141
STAGES = ("load", "phantom", "read", "prepare", "infer", "clean", "heat", "write", "preview")


def guarded(command: Callable[[], int], debug: bool = False) -> int:
    """The exit status of the command, also where it fails; an error is one line on standard error."""
    try:
        try:
            status = command()
        except SystemExit as stop:  # argparse has said why
            status = int(stop.code or 0)
        sys.stdout.flush()  # here, where a reader that went away is expected, and not at the end of the process
        return status
    except BrokenPipeError:  # as `| head` does
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    except STOPPABLE as error:
        complain(error, debug)
        return status_of(error)


def complain(error: BaseException, debug: bool = False, about: object = "") -> str:
    """Print the error in one line, with what it is about, and with the traceback before it to debug; the line alone.

    Raises: the error itself, BrokenPipeError, which is nothing to complain about.
    """
    if isinstance(error, BrokenPipeError):
        raise error
    text = explain(error)
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    named = not str(about) or str(about) in text
    sys.stderr.write(f"medtl: {text}\n" if named else f"medtl: {about}: {text}\n")
    return text


def status_of(error: BaseException) -> int:
    """The exit status that an error stands for."""
    if isinstance(error, KeyboardInterrupt):
        return Cancelled.exit_code
    return error.exit_code if isinstance(error, MedTLError) else 1


def filled(text: str) -> str:
    """The text of an option, which is not empty."""
    if not text:
        raise argparse.ArgumentTypeError("expected a path, found nothing")
    return text


def a_path(text: str) -> Path:
    """The path that an option states; Path alone takes nothing for the current folder."""
    return Path(filled(text))


def in_order(seconds: dict[str, float]) -> dict[str, float]:
    """Seconds by stage, in milliseconds' precision and in the order of the work."""
    return {stage: round(seconds[stage], 3) for stage in STAGES if stage in seconds}


@contextlib.contextmanager
def result_stream() -> Iterator[TextIO]:
    """The stream for results. Whatever libraries print to standard output meanwhile goes to standard error."""
    stdout = sys.stdout
    try:
        real = stdout.fileno() == 1
    except (OSError, ValueError, AttributeError):  # replaced by a buffer, as tests do
        real = False
    with contextlib.redirect_stdout(sys.stderr):
        if not real:
            yield stdout
            return
        stdout.flush()
        saved = os.dup(1)
        os.dup2(2, 1)
        try:
            # paths and names that the terminal cannot show must not end in an error
            with os.fdopen(os.dup(saved), "w", encoding=stdout.encoding, errors="backslashreplace") as out:
                yield out
        finally:
            os.dup2(saved, 1)
            os.close(saved)


def say(out: TextIO, *lines: object) -> None:
    """Print the lines at once, so that a reader sees each result as it comes."""
    out.write("".join(f"{line}\n" for line in lines))
    out.flush()


def emit(out: TextIO, record: dict[str, Any]) -> None:
    """Print the record as one line of JSON; NaN and infinity, which JSON lacks, as null."""
    say(out, json.dumps(plain(record), allow_nan=False, default=str))


def plain(value: Any) -> Any:
    """`value` without NaN and infinity."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def volume_line(segment: dict[str, Any]) -> str:
    """The volume of a segment of a record in words: mL, where the spacing is real, and its largest lesion."""
    ml, lesions = segment["volume_ml"], segment.get("lesions", [])
    if ml is None:
        return f"{segment['name']}: volume unknown, no real spacing"
    line = f"{segment['name']}: {ml:.1f} mL"
    if len(lesions) == 1:
        return f"{line}, largest diameter {lesions[0]['diameter_mm']:.0f} mm"
    if lesions:
        first = lesions[0]
        line += f" in {len(lesions)} lesions, the largest {first['volume_ml']:.1f} mL, {first['diameter_mm']:.0f} mm"
    return line
