"""Import of models into the user's store: bundles, and the results folders of nnU-Net 2 and the bundles of MONAI's
Model Zoo, which become bundles of MedTL."""

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ..errors import InputError, ModelError
from ..io.limits import free_memory
from ..progress import Progress, no_progress
from . import zoo
from .bundle import save_bundle
from .card import METADATA, STORED, ModelCard, check_card, is_name
from .checkpoint import Checkpoint, convert_checkpoint, convert_weights
from .files import open_file, read_text_file
from .nnunet import DATASET, PLANS, UPDATE, ImportOptions, card_of, read_plans
from .store import MAX_BUNDLE_BYTES, WEIGHTS, check_free, import_bundle, install, paths_in, unpack, user_store

if TYPE_CHECKING:
    from torch import Tensor

LICENCE = "LICENSE"
FILES = (
    *(PLANS, DATASET, LICENCE, "plans.pkl", "fold_*/checkpoint_*.pth", "fold_*/*.model"),
    *(METADATA, "configs/inference*", "models/*"),
)
CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")  # the second where the first is missing
MAX_DEPTH = 4  # of plans.json in a zip
AS_IT_IS = ImportOptions()
UNKNOWN_LICENCE = "unknown: ask who made the model\n"


def import_model(path: Path, options: ImportOptions = AS_IT_IS, progress: Progress = no_progress) -> Path:
    """The folder in the user's store of a model imported from a bundle (folder or zip), also one of MONAI's Model Zoo,
    or from what nnU-Net 2 trained: a results folder, the dataset's folder above it, or a zip of either.

    Raises: ModelError when it is none of these, is damaged, asks for what MedTL does not do, or a model of its name is
    there already; InputError for options that do not fit it; what `progress` raises.
    """
    files = files_of(path)
    if any(file.name == "plans.pkl" or file.suffix == ".model" for file in files):
        raise ModelError(f"{path} holds a model of nnU-Net 1. {UPDATE} Train it again with nnU-Net 2.")
    tops, zoo_top = tops_in(files), zoo_top_in(files)
    taken = replace(AS_IT_IS, name=options.name, channels=None if zoo_top is None else options.channels)
    if not tops and options != taken:
        raise InputError(
            f"Expected a model of nnU-Net 2 for these options (for channels also one of MONAI, for a name any), found "
            f"none at {path}. Leave them out."
        )
    if options.name is not None and not is_name(options.name):
        raise InputError(f"Expected a name of up to 64 letters, digits, '.', '_' and '-', found {options.name[:80]!r}.")
    if not tops:
        if zoo_top is None:
            return import_bundle(path, progress, options.name)
        return import_zoo(path, zoo_top, files, options, progress)
    top = choose_folder(tops, options.configuration, path)
    inside = [file.relative_to(top) for file in files if file.is_relative_to(top)]
    folds = choose_folds(folds_in(inside), options.folds, path)
    names = [PLANS, DATASET, *folds.values(), *([LICENCE] if PurePosixPath(LICENCE) in inside else [])]
    title = top.name or (path.resolve().name if path.is_dir() else path.stem)

    def fill(part: Path) -> None:
        folder = path / top
        if not path.is_dir():
            folder = part.parent / "results"
            unpack(path, folder, lambda _: {top / name: PurePosixPath(name) for name in names})
        try:
            convert_results(folder, part, title, names, folds, options, progress)
        except InputError as error:  # it names the copy, which the user does not know
            raise ModelError(str(error).replace(str(part), str(user_store()))) from error

    return install(path, fill)


# --- what lies in the folder ---


def files_of(path: Path) -> tuple[PurePosixPath, ...]:
    """The files of a zip, or those of a folder, and of two levels of folders in it, that models of nnU-Net consist of.

    Raises: ModelError when it is a damaged zip.
    """
    if path.is_dir():
        found = [file for pattern in FILES for prefix in ("", "*/", "*/*/") for file in path.glob(prefix + pattern)]
        return tuple(sorted(PurePosixPath(file.relative_to(path).as_posix()) for file in found))
    return paths_in(path) if path.is_file() else ()


def choices_in(path: Path) -> dict[str, tuple[str, ...]]:
    """What can be chosen of nnU-Net's results at a path, a folder or a zip: the folds by the configuration; empty where
    it is something else.

    Raises: ModelError when it is a damaged zip.
    """
    files = files_of(path)
    choices: dict[str, tuple[str, ...]] = {}
    for top in tops_in(files):
        name = (top.name or path.resolve().name.removesuffix(".zip")).rpartition("__")[2]
        choices[name] = tuple(folds_in(file.relative_to(top) for file in files if file.is_relative_to(top)))
    return choices


def tops_in(files: Sequence[PurePosixPath]) -> list[PurePosixPath]:
    """The results folders among the files: those with plans.json and dataset.json."""
    plans = [file.parent for file in files if file.name == PLANS and len(file.parts) <= MAX_DEPTH]
    return [top for top in plans if top / DATASET in files]


def zoo_top_in(files: Sequence[PurePosixPath]) -> PurePosixPath | None:
    """The folder of a bundle of MONAI among the files, None where there is none, or it is one of MedTL."""
    tops = [file.parents[1] for file in files if file.match(METADATA) and len(file.parts) <= 3]
    foreign = {
        file.parents[1]
        for file in files
        if file.match("configs/inference*") or (file.match("models/*") and file.suffix in (".pt", ".pth", ".ts"))
    }
    return next((top for top in tops if top in foreign and top / WEIGHTS not in files), None)


def choose_folder(tops: Sequence[PurePosixPath], configuration: str | None, path: Path) -> PurePosixPath:
    """The results folder, which is the only one or the only one of that configuration.

    Raises: ModelError when it is not.
    """
    names = {top: top.name or path.name for top in tops}
    if configuration is None and (here := PurePosixPath()) in tops:
        return here
    fitting = [top for top in tops if configuration in (None, names[top].rpartition("__")[2])]
    if len(fitting) == 1:
        return fitting[0]
    wanted = f"one results folder of {configuration}" if configuration else "one results folder"
    raise ModelError(
        f"Expected {wanted} in {path}, found {len(fitting)}; there are {', '.join(names.values())[:400]}. Choose by "
        "--configuration, or give the folder itself."
    )


def folds_in(names: Iterable[PurePosixPath]) -> dict[str, str]:
    """The checkpoint of each fold of a results folder, by the number of the fold or "all"."""
    there = {str(name) for name in names}
    folds = sorted({match[1] for name in there if (match := re.match(r"fold_(\d{1,2}|all)/", name))}, key=order_of)
    options = {
        fold: [f"fold_{fold}/{file}" for file in CHECKPOINTS if f"fold_{fold}/{file}" in there] for fold in folds
    }
    return {fold: files[0] for fold, files in options.items() if files}


def order_of(fold: str) -> tuple[int, str]:
    """The place of a fold among others: by its number, "all" last."""
    return (int(fold), "") if fold.isdecimal() else (100, fold)


def choose_folds(there: Mapping[str, str], asked: Sequence[str] | None, path: Path) -> dict[str, str]:
    """The folds that were asked for; by default every numbered one, or "all", which is nnU-Net's network of all cases.
    Where that is asked for and not there, it is every numbered one.

    Raises: ModelError when one is missing.
    """
    numbered = [fold for fold in there if fold.isdecimal()]
    wanted = list(dict.fromkeys(asked)) if asked is not None else numbered or list(there)
    if wanted == ["all"] and "all" not in there:
        wanted = numbered
    missing = [fold for fold in wanted if fold not in there]
    if not wanted or missing:
        looked = f"fold {missing[0][:20]}" if missing else "a fold"
        raise ModelError(
            f"Expected {looked} with {' or '.join(CHECKPOINTS)} in {path}, found {', '.join(there) or 'none'}. Copy "
            "the folder again, or wait for the end of its training."
        )
    return {fold: there[fold] for fold in wanted}


# --- the bundle ---


def convert_results(
    folder: Path,
    part: Path,
    title: str,
    names: Sequence[str],
    folds: Mapping[str, str],
    options: ImportOptions,
    progress: Progress,
) -> None:
    """Write the bundle of a results folder to `part`.

    `title` is the name of the folder, `names` its files that count, `folds` the checkpoint of each fold.

    Raises: ModelError as `import_model` does; InputError when the bundle cannot be written.
    """
    from . import networks

    def convert(fold: str) -> tuple[Checkpoint, Path]:
        share = list(folds).index(fold) / len(folds)
        progress("read", share)
        open_file(folder, folds[fold], MAX_BUNDLE_BYTES).close()  # no link, no device
        target = part.parent / f"fold_{fold}.safetensors"
        return convert_checkpoint(folder / folds[fold], target, lambda: progress("read", share)), target

    first, *others = folds
    checkpoint, file = convert(first)
    plans = read_plans(folder, checkpoint.configuration)  # the folder's own name does not count for nnU-Net either
    card = card_of(plans, checkpoint, list(folds), options)
    check_free(card.name)
    wanted = networks.shapes(card.networks[0].name, card.networks[0].arguments)
    check_memory(card, wanted)
    weights = fold_weights(file, wanted, first, folds[first])
    for fold in others:
        other, file = convert(fold)
        if replace(other, fold=checkpoint.fold) != checkpoint:
            raise ModelError(f"Expected folds that were trained alike, found other settings in {folds[fold]}. {UPDATE}")
        weights |= fold_weights(file, wanted, fold, folds[fold])
    progress("write", 0.0)
    about = {
        "from": "nnU-Net 2 results folder",
        "folder": title,
        "trainer": checkpoint.trainer,
        "plans": str(plans.plans.get("plans_name")),
        "configuration": plans.name,
        "folds": list(folds),
        "dataset": str(plans.plans.get("dataset_name")),
        "num_training": plans.dataset.get("numTraining"),
        "files": {name: sha256_of_file(folder, name) for name in names},
    }
    licence = read_text_file(folder, LICENCE) if LICENCE in names else UNKNOWN_LICENCE
    card = replace(card, training={"imported": about})
    facts = {"authors": "unknown", "data_source": about["dataset"]}
    save_bundle(part, card, weights, readme_of(card, about), licence, facts, half=False)
    progress("write", 1.0)


def fold_weights(
    file: Path, wanted: Mapping[str, tuple[bool, tuple[int, ...]]], fold: str, name: str
) -> dict[str, "Tensor"]:
    """The weights of a fold, with its prefix; they stay on the disk until they are used. `name` is its checkpoint.

    Raises: ModelError when they are not those of the network.
    """
    from safetensors.torch import load_file

    weights: dict[str, Tensor] = load_file(file)
    if wrong := differing(weights, wanted):
        raise ModelError(
            f"The weights in {name} are not those of the network in {PLANS}: {len(wrong)} layers differ, the first "
            f"{wrong[0][:80]!r}. Its trainer may have built another one. {UPDATE}"
        )
    return {f"fold_{fold}.{key}": value for key, value in weights.items()}


def differing(weights: Mapping[str, "Tensor"], wanted: Mapping[str, tuple[bool, tuple[int, ...]]]) -> list[str]:
    """The names of the layers that are missing, unknown, or of another shape or type than wanted."""
    found = {key: (value.is_floating_point(), tuple(value.shape)) for key, value in weights.items()}
    return [key for key in {**wanted, **found} if found.get(key) != wanted.get(key)]


def check_memory(card: ModelCard, wanted: Mapping[str, tuple[bool, tuple[int, ...]]]) -> None:
    """Raise ModelError when the networks, whose layers are `wanted`, and a window need more memory than is free."""
    assert card.windows is not None
    shapes = [shape for _, shape in wanted.values()]
    width = next(shape[0] for shape in shapes if len(shape) > 2)  # of the first convolution
    weights, window = sum(map(math.prod, shapes)), 1.5 * width * math.prod(card.windows.patch)
    needed = 4 * weights * len(card.networks) + 4 * 4 * window  # float32; a stage holds some four such arrays
    free = free_memory()
    if free is not None and needed > free:
        raise ModelError(
            f"{card.name} needs about {needed / 1e9:.3g} GB of memory for {len(card.networks)} networks and windows of "
            f"{' x '.join(map(str, card.windows.patch))}, found {free / 1e9:.3g} GB. Close other programs, or import "
            "fewer folds."
        )


# --- a bundle of MONAI ---


def import_zoo(
    path: Path, top: PurePosixPath, files: Sequence[PurePosixPath], options: ImportOptions, progress: Progress
) -> Path:
    """The folder in the user's store of a bundle of MONAI's Model Zoo, which lies at `top` of the folder or zip.

    Raises: ModelError as `import_model` does.
    """
    inside = {str(file.relative_to(top)) for file in files if file.is_relative_to(top)}
    configs = [name for name in inside if name.startswith("configs/inference")]
    if zoo.CONFIG not in inside:
        found = ", ".join(sorted(configs)) or "none"
        raise ModelError(
            f"Expected {zoo.CONFIG} in {path}, found {found}. MedTL reads JSON: write the same entries as JSON there."
        )
    weights = sorted(name for name in inside if re.fullmatch(zoo.WEIGHTS, name))
    if not weights:
        programs = ", ".join(sorted(name for name in inside if name.endswith(".ts")))
        found = f"the program {programs}, which is not run" if programs else "none"
        raise ModelError(
            f"Expected the weights {zoo.DEFAULT_WEIGHTS} in {path}, found {found}. Get the whole bundle: "
            "`python -m monai.bundle download` fetches the large files, too."
        )
    names = [METADATA, zoo.CONFIG, *weights, *([LICENCE] if LICENCE in inside else [])]
    title = top.name or (path.resolve().name if path.is_dir() else path.stem)

    def fill(part: Path) -> None:
        folder = path / top
        if not path.is_dir():
            folder = part.parent / "zoo"
            unpack(path, folder, lambda _: {top / name: PurePosixPath(name) for name in names})
        try:
            convert_zoo(folder, part, title, names, options, progress)
        except InputError as error:  # it names the copy, which the user does not know
            raise ModelError(str(error).replace(str(part), str(user_store()))) from error

    return install(path, fill)


def convert_zoo(
    folder: Path, part: Path, title: str, names: Sequence[str], options: ImportOptions, progress: Progress
) -> None:
    """Write the bundle of a bundle of MONAI to `part`; the other arguments are as in `convert_results`.

    Raises: ModelError as `import_model` does; InputError when the bundle cannot be written.
    """
    from safetensors.torch import load_file

    from . import networks

    bundle = zoo.read_bundle(folder, title)
    card, after = zoo.card_of(bundle, options)
    name = zoo.weights_of(bundle.config)
    check_card(card, folder)
    check_free(card.name)
    wanted = networks.shapes(card.networks[0].name, card.networks[0].arguments)
    check_memory(card, wanted)
    progress("read", 0.0)
    open_file(folder, name, MAX_BUNDLE_BYTES).close()  # no link, no device
    target = part.parent / "weights.safetensors"
    convert_weights(folder / name, target, lambda: progress("read", 0.0))
    prefix = networks.network_class(card.networks[0].name).prefix
    weights = {f"{prefix}{key}": value for key, value in load_file(target).items()}
    if wrong := differing(weights, wanted):
        raise ModelError(
            f"The weights in {name} are not those of the network in {zoo.CONFIG}: {len(wrong)} layers differ, the "
            f"first {wrong[0][:80]!r}. Get the bundle again."
        )
    progress("write", 0.0)
    used = [each for each in names if each == name or not re.fullmatch(zoo.WEIGHTS, each)]
    about = {
        "from": "MONAI bundle",
        "folder": title,
        "version": card.version,
        "weights": name,
        "files": {each: sha256_of_file(folder, each) for each in used},
    }
    licence = read_text_file(folder, LICENCE) if LICENCE in names else UNKNOWN_LICENCE
    card = replace(card, training={"imported": about})
    facts = {key: str(bundle.metadata.get(key, "unknown"))[:400] for key in ("authors", "copyright", "data_source")}
    save_bundle(part, card, weights, zoo.readme_of(card, after, about), licence, facts, half=False)
    progress("write", 1.0)


def sha256_of_file(folder: Path, name: str) -> str:
    """SHA-256 of a file, hexadecimal. Raises: ModelError as `open_file` does."""
    with open_file(folder, name, MAX_BUNDLE_BYTES) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def readme_of(card: ModelCard, about: Mapping[str, Any]) -> str:
    """The card for people."""
    assert card.windows is not None
    if card.windows.orientation == STORED:
        lies = (
            "Volumes are taken **as the file stores them**: plans of nnU-Net do not say how the volumes lay that it "
            "was trained on. A volume stored in another direction than those is segmented worse, and nothing warns. "
            "Use volumes that come from the same source or conversion, or import the model again with "
            "`--orientation ras` if it was trained on such volumes."
        )
    else:
        lies = (
            f"Volumes are turned to {card.windows.orientation} first: the x, y and z indices grow in these directions."
        )
    labels = "\n".join(f"| {label.value} | {label.id} | {label.name} |" for label in card.labels)
    return f"""# {card.name}

A model trained by nnU-Net 2, imported. **Not validated by MedTL; research use, not for diagnosis.**

- **From**: the results folder `{about["folder"]}` of the dataset `{about["dataset"]}`; trainer `{about["trainer"]}`,
  configuration `{about["configuration"]}`, folds {", ".join(about["folds"])}, {about["num_training"]} training cases.
  The SHA-256 of its files are in `configs/metadata.json` (`medtl.training.imported`).
- **Channels**: {", ".join(card.input.channels)}, in this order.
- **Orientation**: {lies}
- **Licence of the weights**: see `LICENSE`.

| value | label | name |
| --- | --- | --- |
{labels}
"""
