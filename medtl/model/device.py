"""The device that a model runs on, its threads and its memory."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import DeviceError, InputError
from ..volume import Volume

MOST_THREADS = max(64, os.cpu_count() or 1)


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

    Raises: DeviceError when this computer does not have it.
    """
    import torch

    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if available[name])
    if not available.get(wanted):
        usable = ", ".join(name for name, usable in available.items() if usable)
        raise DeviceError(f"Expected a device that this computer has ({usable}), found {wanted!r}. Use --device auto.")
    return wanted
