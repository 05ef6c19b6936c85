"""The errors that the engine raises on purpose.

MedTLError
├── InputError    a file, a volume or an option that cannot be used
├── ModelError    a bundle that is missing, damaged or does not fit
├── DeviceError   no such device, or out of memory
└── Cancelled     the user stopped the work

A message says what was expected, what was found and what to do, in one line.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

MAX_MESSAGE = 2_000  # characters


class MedTLError(Exception):
    """Base of all errors whose message is meant for the user. Of a message that is too long, because it quotes a text
    of a file, the middle is left out."""

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        if len(message) > MAX_MESSAGE:
            half = MAX_MESSAGE // 2
            message = f"{message[:half]} … {message[-half:]}"
        super().__init__(message)


class InputError(MedTLError):
    """A file, volume or option cannot be used.

    `option` names the setting that resolves it, as the command's arguments call it: "frame", "data_outside". The
    message does not name it: the command line adds the option where its command has it. `advice` has numbers of the
    message for a program to offer: a value by the name of the option, {"budget": 1041.0}.
    """

    def __init__(self, message: str = "", *, option: str = "", advice: Mapping[str, float] = {}) -> None:
        super().__init__(message)
        self.option = option
        self.advice = dict(advice)


class ModelError(MedTLError):
    """A model bundle is missing, damaged or does not fit the job."""


class DeviceError(MedTLError):
    """The compute device is absent or out of memory."""


class Cancelled(MedTLError):
    """The user stopped the work."""

    exit_code = 130


@contextmanager
def memory_errors(message: str) -> Iterator[None]:
    """Turn running out of memory, on the processor or on a GPU, into a DeviceError with this message."""
    try:
        yield
    except MemoryError as error:
        raise DeviceError(message) from error
    except RuntimeError as error:  # what torch and ITK raise
        if re.search(r"out of memory|allocate memory|not enough memory", str(error)):
            raise DeviceError(message) from error
        raise


# What ends one input of a batch, but not the batch: libraries raise errors of every class, and pydicom derives some
# from Exception alone.
FAILURES = (Exception,)
# KeyboardInterrupt ends all work.
STOPPABLE = (*FAILURES, KeyboardInterrupt)


def explain(error: BaseException) -> str:
    """The error in one line, with what to do where that is known."""
    text = " ".join(str(error).split())
    if isinstance(error, KeyboardInterrupt | Cancelled):
        return text or "Cancelled."
    if isinstance(error, MedTLError):
        return text
    if isinstance(error, MemoryError):
        return "Not enough memory. Close other programs or use a smaller volume."
    if isinstance(error, RecursionError):
        return "Expected a file of ordinary depth, found entries nested too deeply. Check where the file comes from."
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"Could not use {error.filename}: {error.strerror}. Check the path, its rights and the space there."
    return f"{type(error).__name__}: {text} (--debug shows where)"
