"""A model: a MONAI bundle folder, read declaratively. Nothing in it is evaluated, no pickle is ever loaded.

<name>/configs/metadata.json     MONAI's schema, and one block `medtl`, see `medtl.card`
<name>/models/model.safetensors  weights, fp16
<name>/docs/README.md            the card for people
<name>/LICENSE                   terms of the weights
"""

import hashlib
import importlib.metadata
import json
import lzma
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from .card import METADATA, SCHEMA, ModelCard, encode, load_card
from .errors import DeviceError, InputError, ModelError, memory_errors

if TYPE_CHECKING:
    from .networks import Network

WEIGHTS = "models/model.safetensors"
MONAI_SCHEMA = "https://project-monai.github.io/schema/meta_schema_20240725.json"
MAX_BUNDLE_BYTES = 500_000_000
MAX_BUNDLE_FILES = 200


@dataclass(frozen=True)
class Model:
    """A loaded model: its card, its folder, and its networks on a device, in evaluation mode.

    `bf16` is True where a probe of the loaded network found bfloat16 worth it.
    """

    card: ModelCard
    folder: Path
    networks: tuple["Network", ...]
    device: str
    bf16: bool

    @property
    def sha256(self) -> str:
        """SHA-256 of the weights."""
        return self.card.sha256


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
    package = Path(__file__).resolve().parent
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


def check_weights(folder: Path, card: ModelCard) -> None:
    """Raise ModelError when the weights are not those that the card was written for."""
    found = sha256_of(folder / WEIGHTS)
    if found != card.sha256:
        raise ModelError(
            f"The weights of {card.name} in {folder} are damaged: expected SHA-256 {card.sha256[:12]}…, "
            f"found {found[:12]}…. Install or import the model again."
        )


def choose_device(wanted: str) -> str:
    """The device to compute on: the one wanted, or for "auto" the best there is.

    Raises: DeviceError when the wanted one is not there.
    """
    import torch

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there.get(wanted):
        usable = ", ".join(name for name, usable in there.items() if usable)
        raise DeviceError(f"Expected a device that this computer has ({usable}), found {wanted!r}. Use --device auto.")
    return wanted


def load_model(name_or_dir: str, device: str = "auto") -> Model:
    """The model, ready to run.

    Raises: ModelError when the bundle is missing, damaged or needs a network unknown here; DeviceError for the device.
    """
    folder = find_model(name_or_dir)
    card = load_card(folder)
    check_weights(folder, card)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from . import networks

    chosen = choose_device(device)
    try:
        stored = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"The weights in {folder} cannot be read: {error}. Import the model again.") from error
    built = []
    for spec in card.networks:
        # The bundle's own weights follow: nothing is fetched from a hub to be overwritten.
        network = networks.build(spec.name, {k: v for k, v in spec.arguments.items() if k != "encoder_weights"})
        weights = {
            k.removeprefix(spec.prefix): v.float() if v.is_floating_point() else v
            for k, v in stored.items()
            if k.startswith(spec.prefix)
        }
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:160]
            raise ModelError(f"The weights of {card.name} do not fit its network {spec.name}: {reason}.") from error
        check_fit(network.eval(), card)
        with memory_errors(f"Not enough memory on {chosen} for {card.name}. Close other programs or use --device cpu."):
            built.append(networks.place(network, chosen))
    bf16 = chosen == "cpu" and networks.bf16_pays(built[0], input_channels(card))
    return Model(card, folder, tuple(built), chosen, bf16)


def check_fit(network: "Network", card: ModelCard) -> None:
    """Raise ModelError when the network does not take the card's channels or does not give its labels."""
    import torch

    channels, wanted, side = input_channels(card), 1 + len(card.labels), 2 * network.multiple
    try:
        with torch.inference_mode():
            found = network(torch.zeros((1, channels, side, side))).shape[1]
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelError(
            f"The network of {card.name} does not take the card's {channels} channels: {reason}"
        ) from error
    if found != wanted:
        raise ModelError(
            f"{card.name} has {len(card.labels)} labels, which need {wanted} outputs of its network, found {found}. "
            "Import the model again."
        )


def save_bundle(
    folder: Path, card: ModelCard, weights: Mapping[str, Any], readme: str, licence: str, facts: Mapping[str, Any]
) -> ModelCard:
    """Write a bundle whole or not at all, weights as fp16; its card with the weights' SHA-256. `facts` are MONAI's
    entries of metadata.json (authors, copyright, data_source, …).

    Raises: InputError when the folder exists already or cannot be written.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    if folder.exists():
        raise InputError(f"{folder} exists already. Choose another output folder.")
    if not folder.parent.is_dir():
        raise InputError(f"The folder {folder.parent} does not exist. Create it or choose another output.")
    half = {
        k: v.detach().cpu().to(torch.float16 if v.is_floating_point() else v.dtype).contiguous()
        for k, v in weights.items()
    }
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".medtl-") as temporary:
            part = Path(temporary) / folder.name
            for name in ("configs", "models", "docs"):
                (part / name).mkdir(parents=True)
            save_file(half, part / WEIGHTS)
            (part / WEIGHTS).chmod(0o644)  # safetensors makes it private
            card = replace(card, sha256=sha256_of(part / WEIGHTS))
            write_texts(part, card, readme, licence, facts)
            part.rename(folder)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"Could not write the model to {folder}: {getattr(error, 'strerror', None) or error}. "
            "Choose a folder with space that you may write to."
        ) from error
    return card


def write_texts(folder: Path, card: ModelCard, readme: str, licence: str, facts: Mapping[str, Any]) -> None:
    """Write metadata.json, the card for people and the licence into the bundle folder."""
    metadata = monai_metadata(card) | dict(facts)
    block = {k: v for k, v in encode(card).items() if k not in ("version", "description")}
    metadata["medtl"] = {"schema": SCHEMA, **block}
    (folder / METADATA).write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")
    (folder / "docs" / "README.md").write_text(readme, encoding="utf-8")
    (folder / "LICENSE").write_text(licence, encoding="utf-8")


def input_channels(card: ModelCard) -> int:
    """Channels of the network's input: those of the card, each with its neighbouring slices."""
    return len(card.input.channels) * (2 * card.input.neighbours + 1)


def monai_metadata(card: ModelCard) -> dict[str, Any]:
    """The entries that MONAI's schema asks for."""
    tensor = {
        "type": "image",
        "num_channels": input_channels(card),
        "spatial_shape": ["32 * n", "32 * n"],
        "dtype": "float32",
    }
    classes = {"0": "background"} | {str(label.value): label.name for label in card.labels}
    output = tensor | {"type": "image", "format": "segmentation", "num_channels": len(classes), "value_range": [0, 1]}
    return {
        "schema": MONAI_SCHEMA,
        "version": card.version,
        "changelog": {card.version: "first version"},
        "monai_version": importlib.metadata.version("monai"),
        "pytorch_version": importlib.metadata.version("torch"),
        "numpy_version": importlib.metadata.version("numpy"),
        "required_packages_version": {
            name: importlib.metadata.version(name) for name in ("timm", "segmentation-models-pytorch", "safetensors")
        },
        "task": card.task,
        "description": card.description,
        "authors": "The MedTL authors",
        "copyright": "See LICENSE",
        "network_data_format": {
            "inputs": {"image": tensor | {"format": "magnitude", "value_range": [-1, 2.2], "is_patch_data": False}},
            "outputs": {"pred": output | {"is_patch_data": False, "channel_def": classes}},
        },
    }


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


def wanted_file(path: PurePosixPath) -> bool:
    """True for the files of a bundle that MedTL reads; the rest (pickles, scripts, images) is left behind."""
    return str(path) in (METADATA, WEIGHTS, "LICENSE") or (
        path.parts[:1] == ("docs",) and path.suffix in (".md", ".txt")
    )


def copy_folder(source: Path, part: Path) -> None:
    """Copy a bundle folder's files."""
    files = [f for f in source.rglob("*") if f.is_file() and not f.is_symlink()]
    wanted = [f for f in files if wanted_file(PurePosixPath(f.relative_to(source).as_posix()))]
    check_size(len(wanted), sum(f.stat().st_size for f in wanted), source)
    for file in wanted:
        target = part / file.relative_to(source)
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
