"""The case list: images with their labels, from a CSV file or a folder laid out as nnU-Net and MSD do."""

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from .errors import InputError
from .io.files import PICTURES, VOLUMES, stem_of, suffix_of
from .io.limits import check_regular

COLUMNS = "image,label and optionally patient,site"
MAX_LIST_BYTES = 32_000_000
SETS = (("imagesTs", "labelsTs"), ("imagesTr", "labelsTr"))


@dataclass(frozen=True)
class CaseFiles:
    """An image and its label. `case` is unique within its list; `patient` is by default the case, `site` empty."""

    case: str
    image: Path
    label: Path
    patient: str
    site: str = ""


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


def read_cases(path: Path) -> tuple[CaseFiles, ...]:
    """The cases of a CSV file (columns image,label and optionally patient,site; paths relative to it) or of a folder.

    A folder holds imagesTs and labelsTs, else imagesTr and labelsTr, with CASE_0000.ext or CASE.ext and CASE.ext.
    A case is named after its image; where several images have one name, after their paths.

    Raises: InputError for a missing column, file or partner, two cases of one image, or an empty list.
    """
    try:
        if path.is_dir():
            cases = _from_folder(path)
        elif path.exists():
            cases = _from_csv(path)
        else:
            raise InputError(f"Expected a CSV file or a folder of cases, found nothing at {path}. Check the path.")
    except OSError as error:  # a name that is too long, a folder without rights
        raise InputError(
            f"Expected paths that can be looked up in {path}, found one that cannot: {error.strerror}. Correct it."
        ) from error
    if not cases:
        raise InputError(f"Expected at least one case, found none in {path}. List images and labels there.")
    return cases


def _from_csv(path: Path) -> tuple[CaseFiles, ...]:
    rows = _rows(path)
    images = [path.parent / row["image"] for row in rows]
    cases = tuple(
        CaseFiles(case, image, path.parent / row["label"], row.get("patient") or case, row.get("site") or "")
        for case, image, row in zip(_names([Path(row["image"]) for row in rows]), images, rows)
    )
    _check_files(path, images, [file for case in cases for file in (case.image, case.label)])
    alike = [case for case, times in Counter(case.case for case in cases).items() if times > 1]
    if alike:
        raise InputError(f"Expected images with names of their own in {path}, found two called {alike[0]}. Rename one.")
    return cases


def _check_files(path: Path, images: list[Path], files: list[Path]) -> None:
    """Raise InputError when a file that the list at `path` names is missing, or an image is listed twice."""
    if missing := [file for file in files if not file.exists()]:
        raise InputError(
            f"Expected every file that {path} lists, found {len(missing)} missing, the first {missing[0]}. "
            "Correct the paths; they are relative to the CSV file."
        )
    if twice := [image for image, times in Counter(image.resolve() for image in images).items() if times > 1]:
        raise InputError(f"Expected each image once in {path}, found {twice[0]} again. Remove the second line.")


def read_classified(path: Path, classes: tuple[str, ...]) -> tuple[ClassifiedFile, ...]:
    """The cases of a CSV file for classification: columns image, label (one of `classes`) and optionally patient,
    split, fold and mask; paths relative to it. A case is named after its image; its patient defaults to that.

    Raises: InputError for a missing column or file, another label, an image listed twice, or an empty list.
    """
    if not path.is_file():
        raise InputError(f"Expected a CSV file of cases, found none at {path}. Check the path.")
    rows = _rows(path)
    if not rows:
        raise InputError(f"Expected at least one case, found none in {path}. List images and their classes there.")
    images = [path.parent / row["image"] for row in rows]
    if wrong := [row["label"] for row in rows if row["label"] not in classes]:
        raise InputError(f"Expected a label of {', '.join(classes)} in {path}, found {wrong[0]!r}. Correct it.")
    masks = [path.parent / row["mask"] if row.get("mask") else None for row in rows]
    _check_files(path, images, [file for file in (*images, *masks) if file is not None])
    names = _names([Path(row["image"]) for row in rows])
    return tuple(
        ClassifiedFile(
            name, image, row["label"], row.get("patient") or name, row.get("split", ""), row.get("fold", ""), mask
        )
        for name, image, mask, row in zip(names, images, masks, rows, strict=True)
    )


def _rows(path: Path) -> list[dict[str, str]]:
    """The lines of the file that are not empty, by column, without blanks around the values."""
    try:
        check_regular(path)
        if path.stat().st_size > MAX_LIST_BYTES:
            raise csv.Error(f"it has more than {MAX_LIST_BYTES // 10**6} MB")
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = [str(name).strip() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            lines = [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise InputError(f"Expected a readable file, found {error.strerror} for {path}. Check its rights.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"Expected a CSV file in UTF-8, found {path}, unreadable ({error}). Save it again.") from error
    absent = [name for name in ("image", "label") if name not in columns]
    if absent:
        raise InputError(
            f"Expected the columns {COLUMNS} in {path}, found {','.join(columns) or 'none'}. "
            f"Add the column {' and '.join(absent)} to the first line."
        )
    rows = []
    for number, line in lines:
        row = {name: (line.get(name) or "").strip() for name in columns}
        if not any(row.values()):
            continue
        if not (row["image"] and row["label"]):
            raise InputError(f"Expected an image and a label in line {number} of {path}, found one empty. Fill it in.")
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


def _from_folder(path: Path) -> tuple[CaseFiles, ...]:
    for names in SETS:
        folders = [path / name for name in names]
        if all(folder.is_dir() for folder in folders):
            break
    else:
        raise InputError(
            f"Expected imagesTs and labelsTs, or imagesTr and labelsTr, in {path}, found neither pair. "
            f"Lay the folder out so, or give a CSV file with the columns {COLUMNS}."
        )
    images, labels = (_files(folder) for folder in folders)
    several = next((name for name in images if name.endswith("_0001") and f"{name[:-1]}0" in images), None)
    if several:
        raise InputError(
            f"Expected one channel a case in {folders[0]}, found several of {several[:-5]}. "
            f"List the right channel's images in a CSV file with the columns {COLUMNS}."
        )
    partners = {name.removesuffix("_0000"): image for name, image in images.items()}
    alone = sorted(partners.keys() ^ labels.keys())
    if alone:
        where = folders[1] if alone[0] in partners else folders[0]
        raise InputError(
            f"Expected an image and a label of every case, found no {alone[0]} in {where} ({len(alone)} without a "
            "partner in all). Add the missing files, or remove those without a partner."
        )
    return tuple(CaseFiles(case, partners[case], labels[case], case) for case in sorted(labels))


def _files(folder: Path) -> dict[str, Path]:
    """The images of a folder by name, without hidden files, which macOS leaves in archives."""
    known = (*VOLUMES, *PICTURES)
    files = [f for f in sorted(folder.iterdir()) if suffix_of(f) in known and not f.name.startswith(".")]
    return {stem_of(file): file for file in files}
