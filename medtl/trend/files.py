"""Change over time, from files: read, register where asked, compare."""

from collections.abc import Callable, Sequence

import numpy as np

from ..errors import InputError
from ..io import read
from ..io.isolated import Reader
from ..progress import Progress, no_progress
from ..registration import POOR, Registration, register
from ..results import Trend, TrendStudy
from ..volume import Volume
from .studies import Study, StudyFiles, by_date, read_study, warnings_of, without_voxels
from .trend import NOTE, trend_rows

OnRegistered = Callable[[str, Volume, Volume, Registration], None]


def ignore_registration(date: str, first: Volume, other: Volume, registration: Registration) -> None:
    """Do nothing with a registration."""


def trend_files(
    files: Sequence[StudyFiles],
    match: bool = False,
    progress: Progress = no_progress,
    reader: Reader = read,
    on_registered: OnRegistered = ignore_registration,
) -> Trend:
    """The trend of one patient's studies, by date. With `match` the image of each date is registered to that of the
    first, and lesions are matched.

    `on_registered` gets the date, both images and the registration, also of a poor one: to draw a checkerboard of it.

    Raises: InputError as reading does; where dates are missing or double; with `match`, where an image is missing or
    two images do not lie on each other.
    """
    studies, registrations = read_all(files, match, progress, reader, on_registered)
    return trend_of(studies, registrations if match else None, progress)


def read_all(
    files: Sequence[StudyFiles],
    match: bool,
    progress: Progress,
    reader: Reader,
    on_registered: OnRegistered = ignore_registration,
) -> tuple[list[Study], list[Registration]]:
    """The studies by date without their images, and with `match` the registration of each image to the first one. No
    more than two images are in memory at once.

    Raises: see `trend_files`.
    """
    if match and (bare := next((one for one in files if one.image is None), None)):
        raise InputError(
            f"Expected an image with each segmentation to register, found none with {bare.segmentation}. "
            "Write DATE=SEGMENTATION,IMAGE, or leave the registration out."
        )
    files = by_date(files, reader)
    studies: list[Study] = []
    registrations: list[Registration] = []
    first: Volume | None = None
    for number, one in enumerate(files):
        if number == 0 or not match:  # else the registration says how far it is
            progress("read", number / len(files))
        study = read_study(one, reader)
        studies.append(without_voxels(study))
        if not match or study.volume is None:
            continue
        if first is None:
            first = study.volume
            registrations.append(Registration(np.eye(4), 1.0))
        else:
            share = part_of(progress, number - 1, len(files) - 1)
            registrations.append(registered(studies[0].date, study.date, first, study.volume, share, on_registered))
    return studies, registrations


def part_of(progress: Progress, number: int, count: int) -> Progress:
    """What reports one of several equal parts of a stage, numbered from 0."""
    return lambda stage, fraction: progress(stage, (number + fraction) / count)


def registered(
    first_date: str, date: str, first: Volume, other: Volume, progress: Progress, on_registered: OnRegistered
) -> Registration:
    """The registration of an image to that of the first date.

    Raises: InputError where it is poor.
    """
    registration = register(first, other, progress)
    on_registered(date, first, other, registration)
    if registration.poor:
        raise InputError(
            f"Expected images of one patient and region that lie on each other after a rigid movement, found "
            f"{first_date} and {date} with a similarity of {registration.similarity:.2f}, below {POOR:g}: another "
            "patient, another part of the body, or one that is bent. Check the images, or leave the registration out; "
            "then lesions are not matched."
        )
    return registration


def trend_of(studies: Sequence[Study], registrations: Sequence[Registration] | None, progress: Progress) -> Trend:
    """The trend of studies that were read."""
    progress("measure", 0.0)
    to_first = None if registrations is None else [np.linalg.inv(one.matrix) for one in registrations]
    dates = [study.date for study in studies]
    rows, warnings = trend_rows(dates, [study.labelmap for study in studies], to_first)
    progress("measure", 1.0)
    texts = [text for study in studies for text in warnings_of(study)]
    return Trend(
        tuple(
            TrendStudy(date, None if registrations is None or not number else registrations[number].similarity)
            for number, date in enumerate(dates)
        ),
        to_first is not None,
        rows,
        tuple(dict.fromkeys((*texts, *warnings))),
        NOTE,
    )
