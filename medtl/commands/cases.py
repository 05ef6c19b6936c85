"""`medtl cases`: make a case list, or show one."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from ..counted import counted
from ..errors import InputError
from ..progress import TerminalProgress
from ..typed_json import encode
from ..worklist.case import BESIDE, BIDS, ListedCase
from ..worklist.case_list import CaseList, list_in, make_list, open_list, read_list
from ..worklist.disk import is_changed, state_since
from ..worklist.find import Found, find_cases, listed_cases, named
from ..worklist.order import chosen, pace_of
from ..worklist.places import DERIVATIVES
from ..worklist.table import read_table, write_table
from .console import print_json, print_lines, print_messages


@dataclass(frozen=True)
class ShownCase:
    """A case as `medtl cases --json` prints it; `changed` says which of its files are not what they were."""

    case: str
    images: tuple[str, ...]
    series: str
    result: str
    state: str
    rating: int | None
    note: str
    user: str
    time: str
    seconds: float
    model: str
    seeds: int
    changed: tuple[str, ...]


@dataclass(frozen=True)
class ShownList:
    """The object that `medtl cases --json` prints; `minutes` are those left, `in_use` says who has the list open."""

    list: str
    results: str
    current: str
    in_use: str | None
    done: int
    n: int
    minutes: float | None
    cases: tuple[ShownCase, ...]


def cases(args: argparse.Namespace, out: TextIO) -> int:
    """Make the list of a folder or a CSV file, or show the one that is there."""
    folder = list_folder(args)
    file = list_in(args.path) or list_in(folder)
    if file is None:
        file = make_list(folder, found_cases(args), args.results or BESIDE, args.path if args.path.is_dir() else None)
        print_messages(f"made: {file}")
    elif args.results is not None or (args.output is not None and file.parent.resolve() != folder.resolve()):
        raise InputError(f"The results of the case list {file} have their place already. Leave the choice out.")
    if args.update or args.import_file is not None:
        change(file, args)
    listed = read_list(file)
    if args.csv is not None:
        write_table(listed, args.csv, args.force)
    shown = show(listed, chosen(listed.cases.values(), args.filter or "", args.state or ""))
    if args.json:
        print_json(out, encode(shown))
    else:
        print_lines(out, *lines_of(shown))
    return 0


def list_folder(args: argparse.Namespace) -> Path:
    """The folder that the list lies in, or is to lie in."""
    path: Path = args.path
    if not path.exists():
        raise InputError(f"Expected a folder, a CSV file or a case list, found nothing at {path}. Check the path.")
    if args.output is not None:
        return Path(args.output)
    folder = path if path.is_dir() else path.parent
    return folder / DERIVATIVES if args.results == BIDS else folder


def found_cases(args: argparse.Namespace) -> tuple[Found, ...]:
    """The cases of the folder, or those that a CSV file lists."""
    if not args.path.is_dir():
        from ..cases import read_images

        return listed_cases(read_images(args.path, args.channels or ("image",)))
    progress = TerminalProgress()
    try:
        return find_cases(args.path, progress)
    finally:
        progress.close()


def change(file: Path, args: argparse.Namespace) -> None:
    """Add the images that came since, and take over what a CSV file states."""
    listed = open_list(file, args.take_over)
    try:
        if args.update:
            if listed.source is None:
                raise InputError(f"Expected a list of a folder of images to update, found one of files: {file}.")
            new = new_cases(listed, find_cases(listed.source))
            listed.add(new)
            print_messages(f"added: {len(new)}")
        if args.import_file is not None:
            listed.change_all(read_table(listed, args.import_file))
    finally:
        listed.close()


def new_cases(listed: CaseList, found: tuple[Found, ...]) -> tuple[Found, ...]:
    """The cases that are not in the list yet, with names that it does not have yet."""
    known = {(case.images[0], case.series) for case in listed.cases.values()}
    new = [each for each in found if (each.images[0], each.series) not in known]
    return named(new, listed.source or listed.folder, listed.cases)


def show(listed: CaseList, cases: list[ListedCase]) -> ShownList:
    """What is printed about these cases of the list."""
    pace = pace_of(listed.cases.values())
    rows = tuple(
        ShownCase(
            case.name,
            tuple(map(str, case.images)),
            case.series,
            str(listed.result(case)),
            *(case.state, case.rating, case.note, case.user, case.time, round(case.seconds, 1), case.model, case.seeds),
            changed_files(listed, case),
        )
        for case in cases
    )
    in_use = listed.holder.text if listed.holder is not None and listed.holder.may_live else None
    return ShownList(str(listed.path), listed.places, listed.current, in_use, pace.done, pace.total, pace.minutes, rows)


def changed_files(listed: CaseList, case: ListedCase) -> tuple[str, ...]:
    """Which of the files of a case were changed or deleted since: "image", "result"."""
    pairs = (("image", case.images, case.image_file), ("result", (listed.result(case),), case.result_file))
    return tuple(what for what, paths, known in pairs if known and is_changed(state_since(paths, known), known))


def lines_of(shown: ShownList) -> list[str]:
    """The list in words: a line for all, and one for each case."""
    lines = [f"{shown.list}: {shown.done} of {shown.n} done"]
    if shown.minutes is not None and shown.done < shown.n:
        lines[0] += f", about {counted(max(1, round(shown.minutes)), '1 minute', '{count} minutes')} left"
    lines += [f"in use: {shown.in_use}"] if shown.in_use else []
    width = max((len(case.case) for case in shown.cases), default=0)
    for case in shown.cases:
        rating = "-" if case.rating is None else str(case.rating)
        parts = [f"{case.case:<{width}}", f"{case.state:<9}", rating]
        parts += [f"{' and '.join(case.changed)} changed since"] if case.changed else []
        parts += [case.note] if case.note else []
        lines.append("  ".join(parts))
    return lines
