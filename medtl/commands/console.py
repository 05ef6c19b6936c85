"""What the commands share: printing, errors in one line, exit statuses, and a standard output with results only.

Exit status: 0 done, 1 error, 2 wrong usage, 130 cancelled, 141 standard output was closed by its reader, 143 and 129
ended by SIGTERM and SIGHUP.
"""

import argparse
import contextlib
import json
import logging
import math
import os
import signal
import sys
import threading
import traceback
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TextIO

from ..errors import STOPPABLE, Cancelled, InputError, MedTLError, explain
from ..results import FailedInput, SegmentFigures

READER_GONE = 141
# What a message adds for the option that resolves its error, where the command has that option.
HINTS = {
    "force": "Use --force to replace it.",
    "frame": "Use --frame N.",
    "component": "Use --component N.",
    "series": "Use --series UID.",
    "segmentation": "Use --segmentation FILE.",
    "segment": "Use --segment ID.",
    "image": "Use --image FILE.",
    "take_over": "Use --take-over if you know that it has ended.",
    "data_outside": "Use --data-outside if you trust the header.",
}


# --- the run of a command ---


def run_command(command: Callable[[], int], debug: bool = False) -> int:
    """The exit status of the command, also where it fails; an error is one line on standard error."""
    open_closed_streams()
    with quiet_libraries(debug), signals_as_interrupts() as received:
        status = _run(command, debug)
    return 128 + received[0] if received else status


def _run(command: Callable[[], int], debug: bool) -> int:
    try:
        try:
            status = command()
        except SystemExit as stop:  # argparse has printed the reason
            status = int(stop.code or 0)
        sys.stdout.flush()  # here, where a reader that went away is expected, and not at the end of the process
        return status
    except BrokenPipeError:  # as `| head` does
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    except STOPPABLE as error:
        print_error(error, argparse.Namespace(debug=debug))
        return exit_status(error)


def open_closed_streams() -> None:
    """Open the null device in place of closed standard streams: else the first file that is opened gets their number,
    and what a library prints is written into it."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False))


@contextlib.contextmanager
def signals_as_interrupts() -> Iterator[list[int]]:
    """Let SIGTERM and SIGHUP end the work as Ctrl-C does; the list holds the number of the signal that came."""
    received: list[int] = []
    handlers: dict[int, Any] = {}

    def interrupt(number: int, frame: object) -> NoReturn:
        for each in handlers:  # cleaning up is not interrupted
            signal.signal(each, signal.SIG_IGN)
        received.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # `nohup` ignores SIGHUP
                handlers[number] = signal.signal(number, interrupt)
    try:
        yield received
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def quiet_libraries(debug: bool) -> Iterator[None]:
    """Hide the warnings and logs of libraries, except with `debug`: they are meant for developers. What the user must
    know is in the results."""
    silent = logging.NullHandler()
    with warnings.catch_warnings():
        if not debug:
            warnings.showwarning = lambda *arguments, **keywords: None
            logging.getLogger().addHandler(silent)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(silent)


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


# --- printing ---


def printable(text: object) -> str:
    """The text with escapes for control characters, line ends, invisible and undecodable characters: a name cannot
    control the terminal, fake a line or hide a part of itself."""
    hidden = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return "".join(
        char.encode("unicode_escape").decode("ascii") if unicodedata.category(char) in hidden else char
        for char in str(text)
    )


def print_lines(out: TextIO, *lines: object) -> None:
    """Print the lines at once, so that a reader sees each result as it comes."""
    out.write("".join(f"{printable(line)}\n" for line in lines))
    out.flush()


def print_messages(*lines: object) -> None:
    """Print the lines on standard error, if it is still open."""
    with contextlib.suppress(OSError, ValueError):
        print_lines(sys.stderr, *lines)


def print_json(out: TextIO, record: dict[str, Any]) -> None:
    """Print the record as one line of JSON; NaN and infinity, which JSON lacks, as null."""
    print_lines(out, json.dumps(without_nan(record), allow_nan=False, default=str))


def print_warnings(texts: Iterable[str], about: object = "") -> None:
    """Print the warnings of a result on standard error, one a line, after the input that they are about."""
    print_messages(*(f"medtl: warning: {about}: {text}" if str(about) else f"medtl: warning: {text}" for text in texts))


def print_error(error: BaseException, args: argparse.Namespace | None = None, about: object = "") -> str:
    """The error's message with the option that resolves it. It is printed in one line after what it is about, with
    --debug also the traceback.

    Raises: BrokenPipeError, when that is the error: nobody reads messages any more.
    """
    if isinstance(error, BrokenPipeError):
        raise error
    text = explain(error)
    if isinstance(error, InputError) and error.option in HINTS and hasattr(args, error.option):
        text = f"{text} {HINTS[error.option]}"
    if getattr(args, "debug", False):
        print_messages(*"".join(traceback.format_exception(error)).splitlines())
    print_messages(f"medtl: {about}: {text}" if str(about) and str(about) not in text else f"medtl: {text}")
    return text


def report_failure(
    error: BaseException, args: argparse.Namespace, source: object = None, several: bool = False
) -> FailedInput:
    """The record of an error for --json. The error is printed, after the input where there are `several`."""
    about = source if source is not None and several else ""
    return FailedInput(None if source is None else str(source), print_error(error, args, about))


def exit_status(error: BaseException) -> int:
    """The exit status of an error."""
    if isinstance(error, KeyboardInterrupt):
        return Cancelled.exit_code
    return error.exit_code if isinstance(error, MedTLError) else 1


def without_nan(value: Any) -> Any:
    """The JSON value with null in place of NaN and infinity."""
    if isinstance(value, dict):
        return {str(key): without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def volume_text(segment: SegmentFigures) -> str:
    """The volume of a segment in words: mL, where the spacing is real, and its largest part."""
    from ..labels import has_lesions

    ml, lesions = segment.volume_ml, segment.lesions
    if ml is None:
        return f"{segment.name}: volume unknown, no real spacing"
    line = f"{segment.name}: {ml:.1f} mL"
    if len(lesions) == 1:
        return f"{line}, largest diameter {lesions[0].diameter_mm:.0f} mm"
    if lesions:
        first = lesions[0]
        parts = "lesions" if has_lesions(segment.id, segment.name) else "parts"
        line += f" in {len(lesions)} {parts}, the largest {first.volume_ml:.1f} mL, {first.diameter_mm:.0f} mm"
    return line


# --- arguments ---


class Parser(argparse.ArgumentParser):
    """A parser whose messages show the arguments as `printable` does."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))


def non_empty(text: str) -> str:
    """The text of an option, which must not be empty."""
    if not text:
        raise argparse.ArgumentTypeError("expected a path, found nothing")
    return text


def path_argument(text: str) -> Path:
    """The path that an option states. It must not be empty: Path takes an empty text for the current folder."""
    return Path(non_empty(text))
