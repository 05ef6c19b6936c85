"""What Fine-tune takes from a case list: the SEED slices of all its cases, and the reviewed cases as the guard set.
No Qt.

A case with SEED slices is learned from, so it is never in the guard set.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from medtl.errors import InputError
from medtl.finetuning.seed import Seed
from medtl.io.read import read_labelmap, read_volume
from medtl.io.write import write_image, write_whole
from medtl.labels import SEEDS_TAG, label_segments
from medtl.model.card import ModelCard
from medtl.volume import array_axis, check_same_grid, voxels_sha256
from medtl.worklist.case import REVIEWED, ListedCase
from medtl.worklist.case_list import CaseList

from ..seeds import storage
from ..seeds.slices import Slices

GUARD = "guard.csv"


@dataclass(frozen=True)
class ListedSeeds:
    """How many SEED slices Fine-tune learns from in cases of a list that are not open, and how many reviewed cases are
    its guard set."""

    seeds: int = 0
    guard: int = 0


def seed_cases(cases: CaseList, card: ModelCard, opened: str = "") -> list[ListedCase]:
    """The cases with SEED slices for models of this family, without the one that is open."""
    listed = cases.cases.values()
    return [each for each in listed if each.seeds and each.model == card.family and each.name != opened]


def guard_cases(cases: CaseList, card: ModelCard, opened: str = "") -> list[ListedCase]:
    """The reviewed cases of this family without SEED slices; not the one that is open."""
    return [
        each
        for each in cases.cases.values()
        if each.state == REVIEWED
        and not each.seeds
        and each.model == card.family
        and each.name != opened
        and len(each.files) == len(card.input.channels)
    ]


def count(cases: CaseList | None, card: ModelCard | None, opened: str = "") -> ListedSeeds:
    """What Fine-tune would take from the list."""
    if cases is None or card is None:
        return ListedSeeds()
    seeds = sum(each.seeds for each in seed_cases(cases, card, opened))
    return ListedSeeds(seeds, len(guard_cases(cases, card, opened)))


def collect(cases: CaseList, card: ModelCard, folder: Path, opened: str = "") -> tuple[list[Seed], tuple[str, ...]]:
    """The SEEDs of the list's cases, and sentences about cases that cannot be used. A DICOM series is written into the
    folder as a file; other images stay where they are.

    A bundle lists its cases, so their names, which may be a patient's, are replaced by numbers.
    """
    seeds: list[Seed] = []
    warnings: list[str] = []
    for number, case in enumerate(seed_cases(cases, card, opened), start=1):
        try:
            seeds += _seeds_of(case, cases.result(case), card, f"listed-{number}", folder)
        except InputError as error:
            warnings.append(_("{case} is not used: {reason}").format(case=case.name, reason=error))
    return seeds, tuple(warnings)


def _seeds_of(case: ListedCase, result: Path, card: ModelCard, name: str, folder: Path) -> list[Seed]:
    """The SEEDs of a case that were not edited since they were marked."""
    volume, labelmap = read_volume(case.images[0], series=case.series or None), read_labelmap(result)
    check_same_grid(labelmap.geometry, volume.geometry, result, case.images[0])
    found = label_segments(labelmap.segments, card)
    if missing := [label.name for label in card.labels if label.id not in found]:
        raise InputError(_("it has no segment for {names}").format(names=", ".join(missing)))
    records, warning = storage.parse((dict(each.tags).get(SEEDS_TAG, "") for each in found.values()), case.name)
    if warning:
        raise InputError(warning)
    masks = {label_id: labelmap.mask(segment.value) for label_id, segment in found.items()}
    axis, ids = array_axis(volume.geometry, card.input.plane), tuple(label.id for label in card.labels)
    labels: dict[str, Any] = {label_id: (mask, (0, 0, 0)) for label_id, mask in masks.items()}
    slices = Slices(volume.geometry, axis, np.moveaxis(volume.array, axis, 0), labels)
    image = case.images[0]
    if case.series:
        image = folder / f"{name}.nrrd"
        write_image(image, volume.array, volume.geometry)
    sha256, seeds = voxels_sha256(volume.array), []
    for k, record in storage.placed(records, volume.geometry, card)[0].items():
        if slices.fingerprint(k) == record.sha256 and not slices.overlaps(k):
            mask = np.zeros(slices.image.shape[1:], np.uint16)
            for number, label_id in enumerate(ids, start=1):
                mask[slices.mask(label_id, k)] = number
            plane, channels = card.input.plane, case.images[1:]
            seeds.append(Seed(name, image, sha256, plane, k, ids, mask, record.time, channels))
    return seeds


def write_guard(cases: CaseList, card: ModelCard, folder: Path, opened: str = "") -> Path | None:
    """The list of the guard set, written into the folder: the cases whose files are all there; None where none is.

    Raises: InputError when it cannot be written.
    """
    listed = guard_cases(cases, card, opened)
    guard = [each for each in listed if all(path.exists() for path in (*each.images, cases.result(each)))]
    if not guard:
        return None
    path = folder / GUARD
    images = ["image", *(f"image_{number}" for number in range(2, len(card.input.channels) + 1))]

    def write(part: Path) -> None:
        with part.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("case", *images, "series", "label"))
            for number, case in enumerate(guard, start=1):
                files = (image.absolute() for image in case.images)
                rows.writerow((f"guard-{number}", *files, case.series, cases.result(case).absolute()))

    write_whole(path, write)
    return path
