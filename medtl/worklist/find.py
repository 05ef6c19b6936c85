"""The images below a folder: NRRD, NIfTI, MetaImage and DICOM series, without segmentations."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from ..cases import ListedImages
from ..errors import InputError
from ..io.dicom import series_among
from ..io.dicom_file import visible_files
from ..io.files import VOLUMES, stem_of, suffix_of
from ..progress import Progress, no_progress

LABELS = ("label", "labels", "seg", "segmentation", "mask", "dseg", "probseg", "gt")  # the last word of a file's name
LABEL_FOLDERS = ("derivatives", "labelstr", "labelsts", "labels", "masks", "segmentations")
FORBIDDEN = '/\\:*?"<>|'  # in file names, on one system or another
NUMBERED = re.compile(r"(.+)_(\d{4})")  # a channel of a case, as nnU-Net names files


@dataclass(frozen=True)
class Found:
    """The images of a case, one a channel; `series` is the UID of a DICOM series in a folder of several, and `name`
    what the case is to be called."""

    images: tuple[Path, ...]
    name: str
    series: str = ""


def find_cases(folder: Path, progress: Progress = no_progress) -> tuple[Found, ...]:
    """The cases below a folder, in the order in which people count, each with a name of its own.

    Left out are hidden files, files whose name ends in a word such as label or mask, `.seg.nrrd`, and folders of labels
    or derivatives. Files named CASE_0000, CASE_0001, … are the channels of a case. Each DICOM series is a case. Nothing
    of what DICOM says about the patient becomes a name.

    Raises: InputError when the folder cannot be read or holds no image.
    """
    if not folder.is_dir():
        raise InputError(f"Expected a folder of images, found none at {folder}. Check the path.")
    found: list[Found] = []
    files = [file for file in visible_files(folder) if not _is_among_labels(file, folder)]
    folders = [list(inside) for _parent, inside in groupby(sorted(files, key=_parent_of), _parent_of)]
    for number, inside in enumerate(folders):
        progress("read", number / len(folders))
        found += _volumes([file for file in inside if suffix_of(file) in VOLUMES])
        found += _series([file for file in inside if suffix_of(file) not in VOLUMES])
    if not found:
        raise InputError(
            f"Expected images (NRRD, NIfTI, MetaImage, DICOM) below {folder}, found none. Choose another folder."
        )
    return named(found, folder)


def listed_cases(images: Sequence[ListedImages]) -> tuple[Found, ...]:
    """The cases of a CSV file (see `medtl.cases.read_images`)."""
    return tuple(Found(each.images, each.case) for each in images)


def named(found: Sequence[Found], folder: Path, used: Iterable[str] = ()) -> tuple[Found, ...]:
    """The cases with names of their own, none of them `used`: after the file or folder of each, with the folders above
    it below `folder` where several have the same, then with a number; in the order in which people count."""
    ordered = sorted(found, key=lambda each: (_as_counted(each.images[0], folder), each.name))
    names = [_name_of(each) for each in ordered]
    times, taken, result = Counter(names), {name.casefold() for name in used}, []
    for name, each in zip(names, ordered, strict=True):
        own = _for_a_file("_".join((*_above(each.images[0], folder), name)) if times[name] > 1 else name)
        number, first = 1, own
        while own.casefold() in taken:  # also where a disk takes no notice of capitals
            number += 1
            own = f"{first}-{number}"
        taken.add(own.casefold())
        result.append(Found(each.images, own, each.series))
    return tuple(result)


def _name_of(found: Found) -> str:
    """What the case is called by its files."""
    if found.series:
        return found.name
    numbered = NUMBERED.fullmatch(stem_of(found.images[0])) if len(found.images) > 1 else None
    return numbered[1] if numbered else stem_of(found.images[0])


def _for_a_file(name: str) -> str:
    """The name without characters that a system forbids in names of files."""
    allowed = "".join(c if c.isprintable() and c not in FORBIDDEN else "_" for c in name)
    return allowed.strip(". ") or "case"


def _above(image: Path, folder: Path) -> tuple[str, ...]:
    """The folders between the image and `folder`."""
    return image.relative_to(folder).parent.parts if image.is_relative_to(folder) else image.parent.parts[1:]


def _as_counted(path: Path, folder: Path) -> list[tuple[int, str]]:
    """A key that sorts case 2 before case 10."""
    text = os.path.relpath(path, folder).casefold()
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d{1,18})", text)]


def _parent_of(file: Path) -> Path:
    return file.parent


def _is_among_labels(file: Path, folder: Path) -> bool:
    """True for a segmentation, by its name or by a folder that it lies in."""
    if any(part.casefold() in LABEL_FOLDERS for part in file.relative_to(folder).parts[:-1]):
        return True
    words = re.split(r"[-_. ]", stem_of(file).casefold())
    return suffix_of(file) == ".seg.nrrd" or (suffix_of(file) in VOLUMES and words[-1] in LABELS)


def _volumes(files: Sequence[Path]) -> Iterator[Found]:
    """The cases among the files of a folder: several channels where they are numbered from 0 on."""
    channels: dict[str, dict[int, Path]] = {}
    for file in files:
        numbered = NUMBERED.fullmatch(stem_of(file))
        if numbered:
            channels.setdefault(numbered[1], {})[int(numbered[2])] = file
    grouped = {case: images for case, images in channels.items() if [*sorted(images)] == [*range(len(images))]}
    several = {case: images for case, images in grouped.items() if len(images) > 1}
    yield from (Found(tuple(images[n] for n in sorted(images)), case) for case, images in several.items())
    taken = {file for images in several.values() for file in images.values()}
    yield from (Found((file,), stem_of(file)) for file in files if file not in taken)


def _series(files: Sequence[Path]) -> Iterator[Found]:
    """The DICOM series among the files of a folder, called as the folder, where there are several also as they are
    described. Each has its UID: folders below may hold more."""
    series = series_among(files)
    for number, one in enumerate(series, start=1):
        folder = one.files[0].parent
        words = re.sub(r"[^\w-]+", "_", one.description).strip("_") or f"series_{number}"
        yield Found((folder,), stem_of(folder) if len(series) == 1 else f"{stem_of(folder)}_{words}", one.uid)
