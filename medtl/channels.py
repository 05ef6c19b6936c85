"""The volumes of one input, one a channel of the model: how a command names them, whether they are all there, and how
they are read. One volume stands for itself, several are a tuple in the order of the card."""

import os
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from .errors import InputError
from .io import read
from .io.isolated import Reader
from .model.card import ModelCard
from .volume import Volume

ONE_IMAGE = ("frame", "component", "series")  # options that choose an image of a single file


def split_input(given: Path, card: ModelCard) -> tuple[Path, ...]:
    """The files that an input of a command names, in the order of the model's channels: separated by commas, in that
    order or after the names of the channels, as T2=a.nrrd,FLAIR=b.nrrd. For a model of one channel, and where there is
    a file of the whole name, it is one file.

    Raises: InputError where a channel is missing, or some have names and others not.
    """
    names = card.input.channels
    if len(names) == 1 or os.path.lexists(given):
        return (given,)
    parts = [part.strip() for part in str(given).split(",")]
    named = [(name.strip(), file.strip()) for name, _, file in (part.partition("=") for part in parts)]
    if not any(name in names for name, _ in named):
        missing = [name for name, part in zip_longest(names, parts[: len(names)]) if not part]
        if missing or len(parts) > len(names):
            raise wrong_volumes(card, len([part for part in parts if part]), missing)
        return tuple(map(Path, parts))
    files = dict(named)
    if len(files) < len(named) or not files.keys() <= set(names) or not all(files.values()):
        wanted = ",".join(f"{name}=FILE" for name in names)
        raise InputError(f"Expected {wanted} for {card.name}, found {given}. Name each channel once.")
    if missing := [name for name in names if name not in files]:
        raise wrong_volumes(card, len(files), missing)
    return tuple(Path(files[name]) for name in names)


def wrong_volumes(card: ModelCard, found: int, missing: Sequence[str] | None = None) -> InputError:
    """The error for another number of volumes than the model has channels; the last channels are missing where nothing
    else is said."""
    names = card.input.channels
    lacking = ", ".join(names[found:] if missing is None else missing)
    return InputError(
        f"Expected {len(names)} {'volume' if len(names) == 1 else 'volumes'} for {card.name} ({', '.join(names)}), "
        f"found {found}{'; missing: ' if lacking else ''}{lacking}."
    )


def check_volumes(card: ModelCard, found: int) -> None:
    """Raise InputError for another number of volumes than the model has channels."""
    if found != len(card.input.channels):
        raise wrong_volumes(card, found)


def read_volumes(files: Sequence[Path], reader: Reader = read, series: str = "") -> Volume | tuple[Volume, ...]:
    """The volumes of an input; `series` chooses that of a single DICOM folder.

    Raises: InputError as reading does; where several are read, none of them can be chosen within its file.
    """
    if len(files) == 1:
        return reader.read_volume(files[0], series=series) if series else reader.read_volume(files[0])
    volumes = []
    for file in files:
        try:
            volumes.append(reader.read_volume(file))
        except InputError as error:
            if error.option not in ONE_IMAGE:
                raise
            raise InputError(f"{error} As one of several volumes it must be a file or folder of its own.") from error
    return tuple(volumes)


def first_of(volumes: Volume | Sequence[Volume]) -> Volume:
    """The volume of the first channel, on whose grid the result lies."""
    return volumes if isinstance(volumes, Volume) else volumes[0]


def warnings_of(volumes: Volume | Sequence[Volume]) -> tuple[str, ...]:
    """The readers' warnings of all of them."""
    return tuple(
        text for volume in ((volumes,) if isinstance(volumes, Volume) else volumes) for text in volume.warnings
    )
