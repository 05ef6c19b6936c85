"""The errors that leave the engine on purpose.

MedTLError
├── InputError    a file, a volume or an option that cannot be used
├── ModelError    a bundle that is missing, damaged or does not fit
├── DeviceError   no such device, or out of memory
└── Cancelled     the user stopped the work

A message says what was expected, what was found and what to do, in one line.
"""


class MedTLError(Exception):
    """Base of all errors whose message is meant for the user."""

    exit_code = 1


class InputError(MedTLError):
    """A file, volume or option cannot be used."""


class ModelError(MedTLError):
    """A model bundle is missing, damaged or does not fit the job."""


class DeviceError(MedTLError):
    """The compute device is absent or out of memory."""


class Cancelled(MedTLError):
    """The user stopped the work."""

    exit_code = 130
