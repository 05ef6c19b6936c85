"""Labelled cases: those of a CSV file or a folder, or the reviewed ones of a list."""

from collections.abc import Sequence
from pathlib import Path

from ..cases import ONE_CHANNEL, CaseFiles, read_cases
from ..errors import InputError
from .case import REVIEWED, ListedCase
from .case_list import list_in, read_list
from .places import bids_name


def labelled_cases(path: Path, channels: Sequence[str] = ONE_CHANNEL) -> tuple[CaseFiles, ...]:
    """The cases of a case list (its file, or the folder that it lies in): those that the user reviewed, with their
    results as labels, and without SEED slices, so that nothing was trained on them. Of everything else, the cases of
    `medtl.cases.read_cases`.

    Raises: InputError as `read_cases` and `read_list` do; where the list has no such case, a file of it is missing, or
    it has another number of channels.
    """
    file = list_in(path)
    if file is None:
        return read_cases(path, channels)
    cases = read_list(file)
    reviewed = [case for case in cases.cases.values() if case.state == REVIEWED and not case.seeds]
    if not reviewed:
        raise InputError(
            f"Expected at least one reviewed case without SEED slices in {file}, found none. Review cases first."
        )
    for case in reviewed:
        if len(case.images) != len(channels):
            raise InputError(
                f"Expected {len(channels)} images of each case ({', '.join(channels)}) in {file}, found "
                f"{len(case.images)} of {case.name}. Choose the model that the list is for."
            )
        if missing := [each for each in (*case.images, cases.result(case)) if not each.exists()]:
            raise InputError(
                f"Expected every file of the reviewed cases of {file}, found {missing[0]} missing. Restore it, or take "
                "its case back."
            )
    return tuple(
        CaseFiles(
            case.name,
            case.images[0],
            cases.result(case),
            _patient(case),
            channels=case.images[1:],
            series=case.series,
        )
        for case in reviewed
    )


def _patient(case: ListedCase) -> str:
    """The subject of a BIDS image; else each case is its own."""
    called = bids_name(case.images[0])
    return case.name if called is None else called.entities.partition("_")[0]
