"""The errors that leave the engine on purpose.

MedTLError
├── InputError    a file, a volume or an option that cannot be used
├── ModelError    a bundle that is missing, damaged or does not fit
├── DeviceError   no such device, or out of memory
└── Cancelled     the user stopped the work

A message says what was expected, what was found and what to do, in one line.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager


class MedTLError(Exception):
    """Base of all errors whose message is meant for the user."""

    exit_code = 1


class InputError(MedTLError):
    """A file, volume or option cannot be used.

    `option` names the setting that resolves it, without dashes, as "frame". The message does not name it: the command
    line adds the option where its command has it.
    """

    def __init__(self, message: str = "", *, option: str = "") -> None:
        super().__init__(message)
        self.option = option


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


# What a file, a library or a mistake of ours may raise: one line each. KeyboardInterrupt and Cancelled stop all work.
FAILURES = (
    *(MedTLError, OSError, MemoryError, RuntimeError, ValueError, ImportError, TypeError, LookupError),
    *(ArithmeticError, AttributeError, AssertionError, EOFError, struct.error, zlib.error),
)


STOPPABLE = (*FAILURES, KeyboardInterrupt)


def explain(error: BaseException) -> str:
    """The error in one line."""
    text = " ".join(str(error).split())
    if isinstance(error, KeyboardInterrupt | Cancelled):
        return text or "Cancelled."
    return text if isinstance(error, MedTLError) else f"{type(error).__name__}: {text} (--debug shows where)"
