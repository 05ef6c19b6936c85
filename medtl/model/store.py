"""The model store: lists, imports, exports and deletes the bundles on this computer. Needs no torch.

A model is a MONAI bundle folder. Nothing in it is evaluated, no pickle is ever loaded. The one pickle that MedTL reads
is the checkpoint of a foreign model, once, when it is imported, in a process of its own: `medtl.model.checkpoint`.

<name>/configs/metadata.json     MONAI's schema, and one block `medtl`, see `medtl.model.card`
<name>/models/model.safetensors  weights, of MedTL's own models fp16; none in a model of plain numbers
<name>/docs/README.md            the card for people
<name>/LICENSE                   terms of the weights
"""

import hashlib
import json
import os
import re
import stat
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from ..errors import InputError, ModelError
from ..io.into_place import already_exists, move_into_place, temporary_folder
from ..io.limits import BAD_ZIP, members_of, open_zip
from ..progress import Progress, no_progress
from ..typed_json import encode
from .card import (
    MAX_METADATA_BYTES,
    METADATA,
    RESERVED,
    Coefficients,
    ModelCard,
    load_card,
)
from .card_text import escape_invisible, is_invisible
from .files import open_file, read_text_file, reason_of
from .rename import rename
from .terms import UNSTATED, Terms, terms_of
from .tuning_records import anonymise_readme, anonymise_training

WEIGHTS = "models/model.safetensors"
FILES = ("LICENSE", METADATA, WEIGHTS)  # and texts in docs
MAX_BUNDLE_BYTES = 4_000_000_000  # five folds of a large network
MAX_BUNDLE_FILES = 200
BLOCK = 1 << 20
Choose = Callable[[Sequence[PurePosixPath]], dict[PurePosixPath, PurePosixPath]]


@dataclass(frozen=True)
class ModelEntry:
    """A bundle of a store; `name` is that of its folder. `card` is None where it cannot be used, for the reason in
    `problem`. `terms` are those of its weights."""

    name: str
    folder: Path
    source: str
    card: ModelCard | None
    problem: str = ""
    terms: Terms = UNSTATED


def shipped_folders() -> tuple[Path, ...]:
    """The folders of the models that ship with MedTL: beside the package, or inside it in an installed wheel."""
    package = Path(__file__).resolve().parents[1]
    return package.parent / "Resources" / "Models", package / "_models"


def user_store() -> Path:
    """The folder of imported and tuned models; the environment variable MEDTL_HOME moves it."""
    if home := os.environ.get("MEDTL_HOME"):
        return Path(home) / "models"
    return user_data() / "MedTL" / "models"


def user_data() -> Path:
    """The folder in which programs keep a user's data. Without a package: Slicer needs it before its set-up."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")


def stores() -> tuple[tuple[str, Path], ...]:
    """Source and folder of each store, shipped models first."""
    return *(("shipped", folder) for folder in shipped_folders()), ("user", user_store())


def list_models() -> tuple[ModelEntry, ...]:
    """All bundles, shipped ones first; damaged ones, and stores that cannot be read, with the problem."""
    return tuple(entry for source, root in stores() for entry in entries(source, root))


def entries(source: str, root: Path) -> Iterator[ModelEntry]:
    """The bundles of one store."""
    try:
        folders = folders_of(root)
    except OSError as error:
        problem = f"The model store {root} cannot be read: {reason_of(error)}. Check your rights."
        yield ModelEntry(root.name, root, source, None, problem)
        return
    for folder in folders:
        try:
            if any(is_invisible(character) for character in folder.name):
                raise ModelError("The name of its folder holds characters that cannot be shown. Rename the folder.")
            card = load_card(folder)
            check_weights(folder, card)
            yield ModelEntry(folder.name, folder, source, card, terms=terms_of(folder))
        except (ModelError, OSError) as error:
            yield ModelEntry(escape_invisible(folder.name), folder, source, None, str(error))


def folders_of(root: Path) -> list[Path]:
    """The folders of a store that may be bundles; none where there is no store.

    Raises: OSError when the store cannot be read.
    """
    try:
        paths = sorted(root.iterdir())
    except FileNotFoundError:
        return []
    return [folder for folder in paths if not folder.name.startswith(".") and folder.is_dir()]


def find_model(name_or_dir: str) -> Path:
    """The folder of a model, by its name or by its path.

    Raises: ModelError when there is none; the message names the models that exist.
    """
    path = Path(name_or_dir)
    # A name means a model of a store, not a folder of that name in the working directory.
    roots = [root for _, root in stores()] if path.name == name_or_dir else []
    for folder in (*(root / name_or_dir for root in roots), path):
        try:
            if (folder / METADATA).is_file():
                return folder.resolve()
        except (OSError, ValueError, RuntimeError):  # too long for the file system, unreadable, or links in a circle
            continue
    names = ", ".join(dict.fromkeys(entry.name for entry in list_models() if entry.card)) or "none"
    raise ModelError(f"Expected the name or the folder of a model, found {name_or_dir!r}. Models here: {names}.")


def sha256_of(folder: Path) -> str:
    """SHA-256 of a bundle's weights, hexadecimal.

    Raises: ModelError when they cannot be read.
    """
    with open_file(folder, WEIGHTS, MAX_BUNDLE_BYTES) as stream:
        try:
            return hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise ModelError(f"The weights in {folder} cannot be read: {reason_of(error)}. Import it again.") from error


def sha256_of_numbers(coefficients: Coefficients | None) -> str:
    """SHA-256 of a model of plain numbers: that of their JSON, keys sorted, without blanks and without entries that are
    null, so that an entry added by a later MedTL does not change the sum of an older model."""
    entries = {key: value for key, value in (encode(coefficients) or {}).items() if value is not None}
    text = json.dumps(entries, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def check_weights(folder: Path, card: ModelCard) -> None:
    """Raise ModelError when the weights are not those that the card was written for."""
    actual = sha256_of(folder) if card.networks else sha256_of_numbers(card.coefficients)
    if actual != card.sha256:
        raise ModelError(
            f"The weights of {card.name} in {folder} are damaged: expected SHA-256 {card.sha256[:12]}…, "
            f"found {actual[:12]}…. Install or import the model again."
        )


def import_bundle(source: Path, progress: Progress = no_progress, name: str | None = None) -> Path:
    """The folder of a model imported from a bundle folder or zip into the user's store, under its own name or another.

    Raises: ModelError when it is no bundle, is damaged, holds paths that lead out of it, is too large, or a model of
    that name is there already; what `progress` raises.
    """

    def fill(part: Path) -> None:
        progress("read", 0.0)
        (copy_folder if source.is_dir() else unpack_bundle)(source, part)
        if name is not None:
            with suppress(ModelError):  # `install` says what is wrong with it
                rename(part, name)
        progress("write", 1.0)

    return install(source, fill)


def install(source: Path, fill: Callable[[Path], None]) -> Path:
    """The folder in the user's store of the bundle that `fill` makes of `source`, in the new folder that it is given.
    That folder lies in a temporary one, which takes other files, too. The bundle appears whole or not at all.

    Raises: ModelError when there is no source, the bundle is damaged, or a model of its name is there already; what
    `fill` raises.
    """
    store = user_store()
    try:
        if not source.exists():
            raise ModelError(f"Expected a bundle folder or zip, found nothing at {source}. Check the path.")
        store.mkdir(parents=True, exist_ok=True)
        with temporary_folder(store, ".part-") as temporary:
            part = temporary / "bundle"
            fill(part)
            try:
                card = load_card(part)
                check_weights(part, card)
            except ModelError as error:  # it names the copy, which the user does not know
                raise ModelError(str(error).replace(str(part), str(source))) from error
            check_free(card.name)
            try:
                move_into_place(part, store / card.name, replace=False)
            except InputError as error:
                raise name_is_taken(card.name) from error
            return store / card.name
    except (OSError, ValueError) as error:
        raise ModelError(
            f"Could not import {source} into {store}: {reason_of(error)}. Check space and rights."
        ) from error


def check_free(name: str) -> None:
    """Raise ModelError when a model of that name exists."""
    if not is_free(name):
        raise name_is_taken(name)


def is_free(name: str) -> bool:
    """True where no store has a folder of that name, in small letters or capitals: several file systems do not
    distinguish them.

    Raises: OSError when a store cannot be read.
    """
    folders = [path.name.casefold() for _, root in stores() if root.is_dir() for path in root.iterdir()]
    return name.casefold() not in folders


def name_is_taken(name: str) -> ModelError:
    """The error that a model of that name exists."""
    advice = "Delete it first, or import the new one under another name: medtl import PATH --name NAME"
    return ModelError(f"A model named {name} is here already. {advice}")


def export_bundle(name_or_dir: str, path: Path, force: bool = False) -> None:
    """Write the model as a zip that `import_bundle` takes, whole or not at all. Links are not followed. Cases that a
    model was tuned on are numbered in it.

    Raises: ModelError when there is no such model or it is damaged; InputError when `path` exists (without `force`),
    is no .zip or cannot be written.
    """
    from ..io.write import write_whole

    folder = find_model(name_or_dir)
    card = load_card(folder)
    check_weights(folder, card)
    names = names_in(folder)
    if path.suffix.lower() != ".zip" or path.is_dir():
        raise InputError(f"Expected a file that ends in .zip for the model, found {path}. Rename it.")
    if os.path.lexists(path) and not force:
        raise already_exists(path, "The output")

    texts = anonymise_texts(folder, card, names)

    def write(part: Path) -> None:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            unchanged = [name for name in names if name not in texts]
            copy_files(folder, unchanged, lambda name: archive.open(f"{card.name}/{name}", "w", force_zip64=True))
            for name, text in texts.items():
                archive.writestr(f"{card.name}/{name}", text)

    write_whole(path, write, force)


def anonymise_texts(folder: Path, card: ModelCard, names: Iterable[str]) -> dict[str, str]:
    """The texts of a bundle that name images which a model was tuned on, by their path in it, with the cases numbered;
    empty for a bundle that names none."""
    training = anonymise_training(card.training)
    if training == encode(card.training):
        return {}
    metadata = json.loads(read_text_file(folder, METADATA, MAX_METADATA_BYTES))
    metadata["medtl"]["training"] = training
    docs = [name for name in names if name.startswith("docs/")]
    texts = {name: anonymise_readme(read_text_file(folder, name), card.training) for name in docs}
    return {METADATA: json.dumps(metadata, indent=2) + "\n", **texts}


def delete_bundle(name: str) -> Path:
    """The folder of a model of the user's store, damaged or not, which is deleted.

    Raises: ModelError when there is no such model, or it comes with MedTL or lies elsewhere, or cannot be deleted.
    """
    store = user_store()
    try:
        own = {folder.name: folder for folder in folders_of(store)}
    except OSError as error:
        raise ModelError(f"The model store {store} cannot be read: {reason_of(error)}. Check your rights.") from error
    if name not in own:
        folder = find_model(name)
        if folder.parent in [root.resolve() for root in shipped_folders()]:
            raise ModelError(f"Expected a model of your own, found {name!r}, which comes with MedTL: it stays.")
        raise ModelError(f"Expected the name of a model in {store}, found {folder}. Delete a folder elsewhere by hand.")
    try:
        with temporary_folder(store, ".part-") as temporary:
            own[name].rename(temporary / "bundle")  # so it is not listed, however far deleting gets
    except OSError as error:
        raise ModelError(
            f"Could not delete {own[name]}: {reason_of(error)}. Close what uses it, and check your rights."
        ) from error
    return own[name]


def is_wanted(path: PurePosixPath) -> bool:
    """True for the files of a bundle that MedTL reads; others (pickles, scripts, images) are not copied."""
    if str(path) in FILES:
        return True
    texts = path.parts[:1] == ("docs",) and path.suffix in (".md", ".txt")
    return texts and len(path.parts) <= 8 and all(map(is_plain, path.parts))


def is_plain(part: str) -> bool:
    """True for the name of a file or folder that every system takes."""
    return re.fullmatch(r"\w([\w ()+,.-]{0,98}\w)?", part) is not None and re.fullmatch(RESERVED, part) is None


def names_in(folder: Path) -> list[str]:
    """The files of a bundle folder that MedTL reads, by their path in it, without links.

    Raises: ModelError when they are too many or too large.
    """
    names = [name for name in FILES if os.path.lexists(folder / name)]
    docs = folder / "docs"
    for directory, folders, files in () if docs.is_symlink() else os.walk(docs):
        folders[:] = [name for name in folders if not (Path(directory) / name).is_symlink()]
        paths = [Path(directory) / file for file in files]
        inside = [path.relative_to(folder).as_posix() for path in paths if stat.S_ISREG(path.lstat().st_mode)]
        names += [name for name in inside if is_wanted(PurePosixPath(name))]
    check_size(len(names), sum((folder / name).lstat().st_size for name in names), folder)
    return names


def copy_folder(source: Path, part: Path) -> None:
    """Copy a bundle folder's files."""
    copy_files(source, names_in(source), lambda name: new_file(part, name))


def copy_files(folder: Path, names: list[str], create: Callable[[str], IO[bytes]]) -> None:
    """Copy files of a bundle folder into those that `create` opens for their names."""
    for name in names:
        with open_file(folder, name, MAX_BUNDLE_BYTES) as stream, create(name) as out:
            copy(stream, out, name, MAX_BUNDLE_BYTES)


def new_file(part: Path, name: str) -> IO[bytes]:
    """A new file, open for writing; its folders are made."""
    target = part / name
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.open("xb")


def unpack_bundle(source: Path, part: Path) -> None:
    """Unpack a zip that holds a bundle, at its top or in one folder."""

    def choose(paths: Sequence[PurePosixPath]) -> dict[PurePosixPath, PurePosixPath]:
        tops = [path.parents[1] for path in paths if path.match(METADATA) and len(path.parts) <= 3]
        if not tops:
            foreign = any(path.name == "plans.json" for path in paths)
            found = "a model of nnU-Net. Import it by the command `medtl import`" if foreign else "none"
            raise ModelError(f"Expected {METADATA} at the top of {source} or in one folder of it, found {found}.")
        top = min(tops, key=lambda path: len(path.parts))
        inside = {path: path.relative_to(top) for path in paths if path.is_relative_to(top)}
        return {path: name for path, name in inside.items() if is_wanted(name)}

    unpack(source, part, choose)


def unpack(source: Path, part: Path, choose: Choose) -> None:
    """Unpack the files of a zip that `choose` names, of the paths of all files, each with its path in the folder."""
    if not source.is_file():
        raise ModelError(f"Expected a bundle folder or a zip, {source} is neither. Choose another.")
    check_size(1, source.stat().st_size, source)
    with bad_zips(source), open_zip(source) as archive:
        members = {PurePosixPath(member.filename): member for member in members_of(archive, source)}
        chosen = choose(tuple(members))
        check_size(len(chosen), sum(members[path].file_size for path in chosen), source)
        left = MAX_BUNDLE_BYTES
        for path, name in chosen.items():
            with archive.open(members[path]) as stream, new_file(part, str(name)) as out:
                left -= copy(stream, out, str(path), min(left, members[path].file_size))


def paths_in(source: Path) -> tuple[PurePosixPath, ...]:
    """The paths of the files of a zip.

    Raises: ModelError when it is none, or not to be trusted.
    """
    with bad_zips(source), open_zip(source) as archive:
        return tuple(PurePosixPath(member.filename) for member in members_of(archive, source))


@contextmanager
def bad_zips(source: Path) -> Iterator[None]:
    """Turn what zipfile raises for a damaged or hostile file into a ModelError."""
    try:
        yield
    except BAD_ZIP as error:
        raise ModelError(
            f"Expected a bundle folder or a zip, {source} is neither ({reason_of(error)}). Download it again."
        ) from error


def copy(stream: IO[bytes], out: IO[bytes], name: str, limit: int) -> int:
    """The number of bytes copied, at most `limit`.

    Raises: ModelError when there are more.
    """
    count = 0
    while block := stream.read(min(BLOCK, limit - count + 1)):
        count += len(block)
        if count > limit:
            raise ModelError(f"{name[:80]!r} is larger than it says. Do not trust this file.")
        out.write(block)
    return count


def check_size(count: int, size: int, source: Path) -> None:
    """Raise ModelError when a bundle has too many files or bytes."""
    if count > MAX_BUNDLE_FILES or size > MAX_BUNDLE_BYTES:
        raise ModelError(
            f"Expected a bundle of at most {MAX_BUNDLE_FILES} files and {MAX_BUNDLE_BYTES // 10**6} MB, "
            f"{source} has {count} files and {size // 10**6} MB or more."
        )
