"""SEEDs as the model sees them: slices, or windows."""

from collections.abc import Sequence

from ..model.bundle import Model
from ..volume import Volume
from .decoder import Examples, Tuning
from .features import Case, SeedCase, prepare_case
from .run import Run
from .seed import Seed
from .slice_tuning import slice_examples
from .window_case import WindowCase, prepare_window_case
from .window_tuning import window_examples


def case_of(model: Model, volumes: Volume | Sequence[Volume], seeds: Sequence[Seed], number: int = 0) -> Case:
    """The case with these SEEDs; of several volumes, one a channel, they lie on the first.

    Raises: InputError when a SEED is not a slice of the volume, or the volumes do not fit the model.
    """
    given = (volumes,) if isinstance(volumes, Volume) else tuple(volumes)
    if model.card.windows is not None:
        return prepare_window_case(given, seeds, model.card, model.card.windows, number)
    return prepare_case(given[0], seeds, model.card.input, model.networks[0].multiple, number)


def examples_of(model: Model, cases: Sequence[Case], tuning: Tuning, run: Run) -> Examples:
    """The SEEDs of the cases, which are those of `case_of`, with augmented copies.

    Raises: InputError when the time does not suffice for one step; DeviceError when memory does not.
    """
    windows = [case for case in cases if isinstance(case, WindowCase)]
    if windows:
        return window_examples(model, windows, tuning, run)
    return slice_examples(model, [case for case in cases if isinstance(case, SeedCase)], tuning, run)
