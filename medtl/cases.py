"""The case list: images with their labels, from a CSV file or a folder laid out as nnU-Net and MSD do."""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import InputError
from .io.files import PICTURES, VOLUMES, stem_of, suffix_of
from .io.limits import check_regular

ONE_CHANNEL = ("image",)
MAX_LIST_BYTES = 32_000_000
SETS = (("imagesTs", "labelsTs"), ("imagesTr", "labelsTr"))


@dataclass(frozen=True)
class CaseFiles:
    """An image and its label; `channels` are the images of a model's further channels. `case` is unique within its
    list; `patient` is by default the case, `site` empty. `series` is that of an image in a DICOM folder of several."""

    case: str
    image: Path
    label: Path
    patient: str
    site: str = ""
    channels: tuple[Path, ...] = ()
    series: str = ""

    @property
    def images(self) -> tuple[Path, ...]:
        """The images, one a channel."""
        return self.image, *self.channels


@dataclass(frozen=True)
class ListedImages:
    """The images of a case, one a channel. `case` is unique within its list."""

    case: str
    images: tuple[Path, ...]


@dataclass(frozen=True)
class ClassifiedFile:
    """An image and the id of its class. `case` is its name; `patient` is by default the case. A case may be trained on
    only if `split` is "train" or empty; `fold` is its fold among these. `mask` is a labelmap of the tumour."""

    case: str
    image: Path
    label: str
    patient: str
    split: str = ""
    fold: str = ""
    mask: Path | None = None


def read_cases(path: Path, channels: Sequence[str] = ONE_CHANNEL) -> tuple[CaseFiles, ...]:
    """The cases of a CSV file (columns image,label and optionally case,patient,site,series; paths relative to it) or of
    a folder. `channels` are those of the model: of several, the columns are image,image_2,… or have the channels'
    names.

    A folder holds imagesTs and labelsTs, else imagesTr and labelsTr, with CASE_0000.ext, CASE_0001.ext, … a channel, or
    CASE.ext, and CASE.ext. A case without a name is named after its first image; where several have one name, after
    their paths.

    Raises: InputError for a missing column, file or partner, two cases of one image, or an empty list.
    """
    try:
        if path.is_dir():
            cases = _from_folder(path, len(channels))
        elif path.exists():
            cases = _from_csv(path, channels)
        else:
            raise InputError(f"Expected a CSV file or a folder of cases, found nothing at {path}. Check the path.")
    except OSError as error:  # a name that is too long, a folder without rights
        raise InputError(
            f"Expected paths that can be looked up in {path}, found one that cannot: {error.strerror}. Correct it."
        ) from error
    if not cases:
        raise InputError(f"Expected at least one case, found none in {path}. List images and labels there.")
    return cases


def read_images(path: Path, channels: Sequence[str] = ONE_CHANNEL) -> tuple[ListedImages, ...]:
    """The images of a CSV file, its columns and names as those of `read_cases`, without labels.

    Raises: InputError for a missing column or file, two cases of one image or name, or an empty list.
    """
    if not path.is_file():
        raise InputError(f"Expected a CSV file of images, found none at {path}. Check the path.")
    images, rows = _image_rows(path, channels)
    if not rows:
        raise InputError(f"Expected at least one case, found none in {path}. List images there.")
    _check_files(path, images)
    return tuple(map(ListedImages, _case_names(path, rows, images), images))


def _from_csv(path: Path, channels: Sequence[str]) -> tuple[CaseFiles, ...]:
    images, rows = _image_rows(path, channels, "label")
    labels = [path.parent / row["label"] for row in rows]
    series = [row.get("series", "") for row in rows]
    _check_files(path, images, labels, series)
    named = zip(_case_names(path, rows, images), images, labels, series, rows)
    return tuple(
        CaseFiles(case, first, label, row.get("patient") or case, row.get("site") or "", tuple(further), uid)
        for case, (first, *further), label, uid, row in named
    )


def _image_rows(
    path: Path, channels: Sequence[str], *needed: str
) -> tuple[list[tuple[Path, ...]], list[dict[str, str]]]:
    """The images of each line, one a channel, and the lines. The columns of the images are image,image_2,…, else they
    have the names of the channels.

    Raises: InputError for a missing column, or one of a further channel.
    """
    columns, lines = csv_lines(path)
    numbered = ["image", *(f"image_{number}" for number in range(2, len(channels) + 1))]
    by_name = len(channels) > 1 and "image" not in columns
    chosen = list(channels) if by_name else numbered
    if not by_name and (further := f"image_{len(channels) + 1}") in columns:
        raise InputError(
            f"Expected {len(channels)} images a case in {path}, found the column {further} too. Choose the model that "
            "the list is for, or take the column out."
        )
    rows = _rows(path, columns, lines, (*chosen, *needed))
    return [tuple(path.parent / row[name] for name in chosen) for row in rows], rows


def _case_names(path: Path, rows: list[dict[str, str]], images: list[tuple[Path, ...]]) -> list[str]:
    """A name for each case: that in the column case, else one after its first image.

    Raises: InputError where two have the same.
    """
    listed = [each[0].relative_to(path.parent) if each[0].is_relative_to(path.parent) else each[0] for each in images]
    names = [row.get("case") or name for row, name in zip(rows, _names(listed))]
    if alike := [name for name, times in Counter(names).items() if times > 1]:
        raise InputError(f"Expected images with names of their own in {path}, found two called {alike[0]}. Rename one.")
    return names


def _check_files(
    path: Path, cases: Sequence[tuple[Path, ...]], others: Sequence[Path] = (), series: Sequence[str] = ()
) -> None:
    """Raise InputError when a file that the list at `path` names is missing, or an image of the cases is listed twice;
    not a DICOM folder with another series."""
    images = [image for case in cases for image in case]
    if missing := [file for file in (*images, *others) if not file.exists()]:
        raise InputError(
            f"Expected every file that {path} lists, found {len(missing)} missing, the first {missing[0]}. "
            "Correct the paths; they are relative to the CSV file."
        )
    uids = series or [""] * len(cases)
    listed = Counter((image.resolve(), uid) for case, uid in zip(cases, uids) for image in case)
    if twice := [image for (image, _uid), times in listed.items() if times > 1]:
        raise InputError(f"Expected each image once in {path}, found {twice[0]} again. Remove the second line.")


def read_classified(path: Path, classes: tuple[str, ...]) -> tuple[ClassifiedFile, ...]:
    """The cases of a CSV file for classification: columns image, label (one of `classes`) and optionally patient,
    split, fold and mask; paths relative to it. A case is named after its image; its patient defaults to that.

    Raises: InputError for a missing column or file, another label, an image listed twice, or an empty list.
    """
    if not path.is_file():
        raise InputError(f"Expected a CSV file of cases, found none at {path}. Check the path.")
    rows = _rows(path, *csv_lines(path), ("image", "label"))
    if not rows:
        raise InputError(f"Expected at least one case, found none in {path}. List images and their classes there.")
    images = [path.parent / row["image"] for row in rows]
    if wrong := [row["label"] for row in rows if row["label"] not in classes]:
        raise InputError(f"Expected a label of {', '.join(classes)} in {path}, found {wrong[0]!r}. Correct it.")
    masks = [path.parent / row["mask"] if row.get("mask") else None for row in rows]
    _check_files(path, [(image,) for image in images], [mask for mask in masks if mask is not None])
    names = _names([Path(row["image"]) for row in rows])
    return tuple(
        ClassifiedFile(
            name, image, row["label"], row.get("patient") or name, row.get("split", ""), row.get("fold", ""), mask
        )
        for name, image, mask, row in zip(names, images, masks, rows, strict=True)
    )


def csv_lines(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The columns of a CSV file, and its lines by column, each with its number.

    Raises: InputError when it cannot be read.
    """
    try:
        check_regular(path)
        if path.stat().st_size > MAX_LIST_BYTES:
            raise csv.Error(f"it has more than {MAX_LIST_BYTES // 10**6} MB")
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = [str(name).strip() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            return columns, [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise InputError(f"Expected a readable file, found {error.strerror} for {path}. Check its rights.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"Expected a CSV file in UTF-8, found {path}, unreadable ({error}). Save it again.") from error


def _rows(
    path: Path, columns: Sequence[str], lines: Sequence[tuple[int, dict[str, str]]], needed: Sequence[str]
) -> list[dict[str, str]]:
    """The lines that are not empty, by column, without blanks around the values.

    Raises: InputError where a column that is needed is missing or empty.
    """
    if absent := [name for name in needed if name not in columns]:
        raise InputError(
            f"Expected the columns {','.join(needed)} in {path}, found {','.join(columns) or 'none'}. "
            f"Add the column {' and '.join(absent)} to the first line."
        )
    rows = []
    for number, line in lines:
        row = {name: (line.get(name) or "").strip() for name in columns}
        if not any(row.values()):
            continue
        if empty := [name for name in needed if not row[name]]:
            raise InputError(
                f"Expected {', '.join(needed)} in line {number} of {path}, found {' and '.join(empty)} empty. "
                "Fill it in."
            )
        rows.append(row)
    return rows


def _names(images: list[Path]) -> list[str]:
    """A name for each image: that of its file without the suffix, with its folders where several have the same."""
    stems = [stem_of(image) for image in images]
    times = Counter(stems)
    return [
        stem
        if times[stem] == 1
        else "_".join((*(p for p in image.parent.parts if p not in ("..", image.anchor)), stem))
        for image, stem in zip(images, stems)
    ]


def _from_folder(path: Path, count: int) -> tuple[CaseFiles, ...]:
    for names in SETS:
        folders = [path / name for name in names]
        if all(folder.is_dir() for folder in folders):
            break
    else:
        raise InputError(
            f"Expected imagesTs and labelsTs, or imagesTr and labelsTr, in {path}, found neither pair. "
            "Lay the folder out so, or give a CSV file with the columns image,label."
        )
    images, labels = (_files(folder) for folder in folders)
    partners = _by_case(folders[0], images, count)
    alone = sorted(partners.keys() ^ labels.keys())
    if alone:
        where = folders[1] if alone[0] in partners else folders[0]
        raise InputError(
            f"Expected an image and a label of every case, found no {alone[0]} in {where} ({len(alone)} without a "
            "partner in all). Add the missing files, or remove those without a partner."
        )
    return tuple(
        CaseFiles(case, partners[case][0], labels[case], case, channels=partners[case][1:]) for case in sorted(labels)
    )


def _by_case(folder: Path, images: dict[str, Path], count: int) -> dict[str, tuple[Path, ...]]:
    """The images of each case, one a channel: CASE_0000, CASE_0001 and so on; of one channel also CASE.

    Raises: InputError where a case has more channels or fewer.
    """
    if more := [name for name in images if name.endswith(f"_{count:04}") and f"{name[:-4]}0000" in images]:
        raise InputError(
            f"Expected {count} {'channel' if count == 1 else 'channels'} a case in {folder}, found more of "
            f"{more[0][:-5]}. Choose the model that they are for, or list the right images in a CSV file."
        )
    if count == 1:
        return {name.removesuffix("_0000"): (image,) for name, image in images.items()}
    cases = dict.fromkeys(re.sub(r"_\d{4}$", "", name) for name in images)
    wanted = {case: [f"{case}_{number:04}" for number in range(count)] for case in cases}
    if missing := [name for names in wanted.values() for name in names if name not in images]:
        raise InputError(
            f"Expected {count} channels of every case in {folder}, found no {missing[0]} ({len(missing)} missing in "
            "all). Add the missing files, or choose the model that they are for."
        )
    return {case: tuple(images[name] for name in names) for case, names in wanted.items()}


def _files(folder: Path) -> dict[str, Path]:
    """The images of a folder by name, without hidden files, which macOS leaves in archives."""
    known = (*VOLUMES, *PICTURES)
    files = [f for f in sorted(folder.iterdir()) if suffix_of(f) in known and not f.name.startswith(".")]
    return {stem_of(file): file for file in files}
