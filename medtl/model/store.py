"""The model store: bundles on this computer, found, listed, imported, exported and deleted. No torch.

A model is a MONAI bundle folder. Nothing in it is evaluated, no pickle is ever loaded.

<name>/configs/metadata.json     MONAI's schema, and one block `medtl`, see `medtl.model.card`
<name>/models/model.safetensors  weights, fp16; none in a model of plain numbers
<name>/docs/README.md            the card for people
<name>/LICENSE                   terms of the weights
"""

import hashlib
import json
import lzma
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import InputError, ModelError
from ..typed_json import encode
from .card import METADATA, Coefficients, ModelCard, load_card

WEIGHTS = "models/model.safetensors"
MAX_BUNDLE_BYTES = 500_000_000
MAX_BUNDLE_FILES = 200


@dataclass(frozen=True)
class Found:
    """A bundle that was found; `name` is its folder's, by which it is asked for. `card` is None where it cannot be
    used, and `problem` says why."""

    name: str
    folder: Path
    source: str
    card: ModelCard | None
    problem: str = ""


def shipped_folders() -> tuple[Path, ...]:
    """Where the models lie that come with MedTL: beside the package, or inside it when it was installed as a wheel."""
    package = Path(__file__).resolve().parents[1]
    return package.parent / "Resources" / "Models", package / "_models"


def user_store() -> Path:
    """The folder of imported and tuned models; the environment variable MEDTL_HOME moves it."""
    if home := os.environ.get("MEDTL_HOME"):
        return Path(home) / "models"
    import platformdirs

    return Path(platformdirs.user_data_dir("MedTL", appauthor=False)) / "models"


def stores() -> tuple[tuple[str, Path], ...]:
    """Where models lie, shipped ones first. Without platformdirs, in a Slicer before its set-up, none was imported."""
    shipped = tuple(("shipped", folder) for folder in shipped_folders())
    try:
        return *shipped, ("user", user_store())
    except ModuleNotFoundError:
        return shipped


def list_models() -> tuple[Found, ...]:
    """All bundles, shipped ones first; damaged ones with the problem."""
    found = []
    for source, root in stores():
        for folder in sorted(root.iterdir()) if root.is_dir() else ():
            if folder.name.startswith(".") or not folder.is_dir():
                continue
            try:
                card = load_card(folder)
                check_weights(folder, card)
                found.append(Found(folder.name, folder, source, card))
            except ModelError as error:
                found.append(Found(folder.name, folder, source, None, str(error)))
    return tuple(found)


def find_model(name_or_dir: str) -> Path:
    """The folder of a model, by its name or by its path.

    Raises: ModelError when there is none; it names those there are.
    """
    given = Path(name_or_dir)
    # A folder of that name that happens to lie in the working directory is not what a name means.
    roots = [root for _, root in stores()] if given.name == name_or_dir else []
    for folder in (*(root / name_or_dir for root in roots), given):
        try:
            if (folder / METADATA).is_file():
                return folder.resolve()
        except OSError:  # a name that is too long for the file system is no name
            continue
    names = ", ".join(dict.fromkeys(m.name for m in list_models() if m.card)) or "none"
    raise ModelError(f"Expected the name or the folder of a model, found {name_or_dir!r}. Models here: {names}.")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal.

    Raises: ModelError when it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"Expected weights at {path}, found none that can be read. Import the model again.") from error


def sha256_of_numbers(coefficients: Coefficients | None) -> str:
    """SHA-256 of a model of plain numbers: that of their JSON, keys sorted, without blanks and without entries that are
    null: so one that a later MedTL knows changes no older model's."""
    entries = {key: value for key, value in (encode(coefficients) or {}).items() if value is not None}
    text = json.dumps(entries, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def check_weights(folder: Path, card: ModelCard) -> None:
    """Raise ModelError when the weights are not those that the card was written for."""
    found = sha256_of(folder / WEIGHTS) if card.networks else sha256_of_numbers(card.coefficients)
    if found != card.sha256:
        raise ModelError(
            f"The weights of {card.name} in {folder} are damaged: expected SHA-256 {card.sha256[:12]}…, "
            f"found {found[:12]}…. Install or import the model again."
        )


def import_bundle(source: Path) -> Path:
    """The folder of a model imported from a bundle folder or zip into the user's store.

    Raises: ModelError when it is no bundle, is damaged, holds paths that lead out of it, is too large, or a model of
    that name is there already.
    """
    if not source.exists():
        raise ModelError(f"Expected a bundle folder or zip, found nothing at {source}. Check the path.")
    store = user_store()
    try:
        store.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=store, prefix=".part-") as temporary:
            part = Path(temporary) / "bundle"
            part.mkdir()
            (copy_folder if source.is_dir() else unpack)(source, part)
            try:
                card = load_card(part)
                check_weights(part, card)
            except ModelError as error:  # it names the copy, which the user does not know
                raise ModelError(str(error).replace(str(part), str(source))) from error
            target = store / card.name
            if target.exists() or any((root / card.name).exists() for root in shipped_folders()):
                raise ModelError(f"A model named {card.name} is here already. Delete it first, or rename the new one.")
            part.rename(target)
            return target
    except OSError as error:
        raise ModelError(
            f"Could not import {source} into {store}: {error.strerror or error}. Check space and rights."
        ) from error


def export_bundle(name_or_dir: str, path: Path, force: bool = False) -> None:
    """Write the model as a zip that `import_bundle` takes, whole or not at all.

    Raises: ModelError when there is no such model or it is damaged; InputError when `path` exists (without `force`),
    is no .zip or cannot be written.
    """
    from ..io.write import write_whole

    folder = find_model(name_or_dir)
    card = load_card(folder)
    check_weights(folder, card)
    if path.suffix.lower() != ".zip" or path.is_dir():
        raise InputError(f"Expected a file that ends in .zip for the model, found {path}. Rename it.")
    if path.exists() and not force:
        raise InputError(f"The output {path} exists already. Use --force to replace it, or choose another name.")

    def write(part: Path) -> None:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            for file, inside in wanted_files(folder):
                archive.write(file, f"{card.name}/{inside}")

    write_whole(path, write)


def delete_bundle(name: str) -> Path:
    """Delete a model of the user's store, damaged or not; where it was.

    Raises: ModelError when there is no such model, or it comes with MedTL or lies elsewhere, or cannot be deleted.
    """
    store = user_store()
    own = {f.name: f for f in (store.iterdir() if store.is_dir() else ()) if f.is_dir() and f.name[0] != "."}
    if name not in own:
        found = find_model(name)
        if found.parent in [folder.resolve() for folder in shipped_folders()]:
            raise ModelError(f"Expected a model of your own, found {name!r}, which comes with MedTL: it stays.")
        raise ModelError(f"Expected the name of a model in {store}, found {found}. Delete a folder elsewhere by hand.")
    try:
        with tempfile.TemporaryDirectory(dir=store, prefix=".part-", ignore_cleanup_errors=True) as temporary:
            own[name].rename(Path(temporary) / "bundle")  # it is listed no more, however far deleting gets
    except OSError as error:
        raise ModelError(
            f"Could not delete {own[name]}: {error.strerror or error}. Close what uses it, and check your rights."
        ) from error
    return own[name]


def wanted_file(path: PurePosixPath) -> bool:
    """True for the files of a bundle that MedTL reads; the rest (pickles, scripts, images) is left behind."""
    return str(path) in (METADATA, WEIGHTS, "LICENSE") or (
        path.parts[:1] == ("docs",) and path.suffix in (".md", ".txt")
    )


def wanted_files(folder: Path) -> list[tuple[Path, str]]:
    """The files of a bundle folder that MedTL reads, and where they lie in it; links are not followed."""
    files = [f for f in sorted(folder.rglob("*")) if f.is_file() and not f.is_symlink()]
    inside = [(f, f.relative_to(folder).as_posix()) for f in files]
    return [(f, name) for f, name in inside if wanted_file(PurePosixPath(name))]


def copy_folder(source: Path, part: Path) -> None:
    """Copy a bundle folder's files."""
    wanted = wanted_files(source)
    check_size(len(wanted), sum(f.stat().st_size for f, _ in wanted), source)
    for file, name in wanted:
        target = part / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)


def unpack(source: Path, part: Path) -> None:
    """Unpack a zip that holds a bundle, at its top or in one folder."""
    try:
        with zipfile.ZipFile(source) as archive:
            members = [m for m in archive.infolist() if not m.is_dir()]
            for member in members:
                path = PurePosixPath(member.filename.replace("\\", "/"))
                link = stat.S_ISLNK(member.external_attr >> 16)
                if path.is_absolute() or ".." in path.parts or ":" in member.filename or link:
                    raise ModelError(
                        f"{source} holds {member.filename!r}, which leads out of the bundle. Do not trust it."
                    )
            check_size(len(members), sum(m.file_size for m in members), source)
            found = [PurePosixPath(m.filename).parts for m in members]
            tops = [parts[:-2] for parts in found if "/".join(parts[-2:]) == METADATA and len(parts) <= 3]
            if not tops:
                raise ModelError(f"Expected {METADATA} at the top of {source} or in one folder of it, found none.")
            top = min(tops, key=len)
            for member, parts in zip(members, found, strict=True):
                inside = PurePosixPath(*parts[len(top) :])
                if parts[: len(top)] == top and wanted_file(inside):
                    target = part / inside
                    target.parent.mkdir(parents=True, exist_ok=True)
                    extract(archive, member, target)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError, ValueError, EOFError) as error:
        raise ModelError(
            f"Expected a bundle folder or a zip, {source} is neither ({error}). Download it again."
        ) from error


def extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    """Unpack one file, no more of it than its header states."""
    with archive.open(member) as stream, target.open("wb") as out:
        left = member.file_size
        while chunk := stream.read(min(1 << 20, left + 1)):
            left -= len(chunk)
            if left < 0:
                raise ModelError(f"{member.filename!r} is larger than its header says. Do not trust this file.")
            out.write(chunk)


def check_size(count: int, size: int, source: Path) -> None:
    """Raise ModelError when a bundle has too many files or bytes."""
    if count > MAX_BUNDLE_FILES or size > MAX_BUNDLE_BYTES:
        raise ModelError(
            f"Expected a bundle of at most {MAX_BUNDLE_FILES} files and {MAX_BUNDLE_BYTES // 10**6} MB, "
            f"{source} has {count} files and {size // 10**6} MB."
        )
