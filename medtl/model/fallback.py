"""The CPU in place of a device that "auto" chose, where that lacks an operator."""

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

from .bundle import Model, load_model
from .device import give_up, given_up, is_of_device

Result = TypeVar("Result")


def with_fallback(model: Model, work: Callable[[Model], Result]) -> tuple[Result, tuple[str, ...]]:
    """What `work` gives for the model, and warnings.

    Where "auto" chose the device and an error is one that the CPU would not have, the work is done again on the CPU.
    The device is then not chosen again in this process, and a warning says so with each result. All other errors are
    raised.
    """
    if not model.auto:
        return work(model), ()
    if model.device not in given_up():
        try:
            return work(model), tuple(given_up().values())
        except (RuntimeError, TypeError) as error:  # NotImplementedError is a RuntimeError
            if not is_of_device(error, model.device):
                raise
            give_up(model.device, error)
    return work(_on_cpu(str(model.folder), model.sha256)), tuple(given_up().values())


@lru_cache(maxsize=1)
def _on_cpu(folder: str, sha256: str) -> Model:
    # Read again, because after some errors nothing can be copied from a CUDA device. `sha256` is part of the key alone.
    return load_model(folder, "cpu", None)
