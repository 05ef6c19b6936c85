"""The device that a model runs on, its threads and its memory."""

import logging
import os
import platform
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ..errors import DeviceError, InputError
from ..volume import Volume

MOST_THREADS = max(64, os.cpu_count() or 1)
# What torch writes where a device, its libraries or its driver cannot do what the CPU can.
OF_DEVICE = re.compile(r"\b(mps|metal|cuda|nvrtc|hip|miopen)\b|cudnn|cublas|cusparse|cufft", re.IGNORECASE)

log = logging.getLogger(__name__)
_given_up: dict[str, str] = {}  # the devices that "auto" does not choose in this process any more, and why


def check_threads(count: int | None) -> None:
    """Raise InputError for a number of CPU threads that is below 1 or too large."""
    if count is not None and not 1 <= count <= MOST_THREADS:
        cores = os.cpu_count() or 1
        raise InputError(
            f"Expected 1 to {MOST_THREADS} threads, found {str(count)[:20]}. This computer has {cores} CPU cores: "
            "choose as many or fewer."
        )


@contextmanager
def limited_threads(count: int | None) -> Iterator[None]:
    """Limit torch to `count` CPU threads, if it is not None, until the context ends.

    Raises: InputError for an impossible number.
    """
    check_threads(count)
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def memory_advice(volume: Volume) -> str:
    """The message for when memory runs out on this volume."""
    size = "×".join(str(n) for n in volume.geometry.size)
    return (
        f"Not enough memory for a volume of {size} voxels. Close other programs, use --device cpu or a smaller volume."
    )


def choose_device(wanted: str) -> str:
    """The device to compute on: `wanted`, or for "auto" the fastest one of this computer.

    "auto" never means MPS on x86_64, for which PyTorch ends with 2.2, whose MPS lacks operators.

    Raises: DeviceError when this computer does not have it.
    """
    import torch

    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        left_out = {*_given_up, *(["mps"] if platform.machine() == "x86_64" else [])}
        return next(name for name in ("cuda", "mps", "cpu") if available[name] and name not in left_out)
    if not available.get(wanted):
        usable = ", ".join(name for name, usable in available.items() if usable)
        raise DeviceError(f"Expected a device that this computer has ({usable}), found {wanted!r}. Use --device auto.")
    return wanted


def is_of_device(error: Exception, device: str) -> bool:
    """Whether an error on this device, not the CPU, is one that the CPU would not have; one of memory is not."""
    text = str(error)
    return device != "cpu" and "out of memory" not in text and OF_DEVICE.search(text) is not None


def give_up(device: str, error: Exception) -> None:
    """Let "auto" not choose the device again in this process, because of this error."""
    log.warning("%s is not used any more", device, exc_info=error)
    reason = " ".join(str(error).split())[:200]
    _given_up[device] = (
        f"Computed on the CPU: {device} cannot run this model ({reason}). It is not used again until the program ends. "
        "To leave it out from the start, choose the device cpu."
    )


def given_up() -> Mapping[str, str]:
    """The devices that "auto" does not choose any more, each with the warning for the user."""
    return _given_up
