"""A model: loaded from a bundle folder (see `medtl.model.store`), and written as one."""

import importlib.metadata
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import InputError, ModelError, memory_errors
from ..io.into_place import check_parent, move_into_place, temporary_folder
from ..typed_json import encode
from .card import METADATA, SCHEMAS, ModelCard, check_card, load_card, region_card
from .card_text import escape_invisible
from .device import choose_device, give_up, is_of_device
from .files import open_file, parse_json, reason_of
from .store import MAX_BUNDLE_BYTES, WEIGHTS, check_weights, find_model, sha256_of, sha256_of_numbers

if TYPE_CHECKING:
    import torch

    from .network import Network

MONAI_SCHEMA = "https://project-monai.github.io/schema/meta_schema_20240725.json"
MAX_HEADER_BYTES = 8_000_000
# Names of types in safetensors files, for layers of floating point and of whole numbers.
FLOATS, WHOLE = ("F64", "F32", "F16", "BF16"), ("I64", "I32", "I16", "I8", "U8", "BOOL")


class TensorFacts(NamedTuple):
    """The type and shape of a layer, from the header of a safetensors file."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Model:
    """A loaded model: its card, its folder, and its networks on a device, in evaluation mode.

    `bf16` is True where bfloat16 was measured to be faster and the card allows it. `auto` is True where the device was
    chosen by "auto" and the networks are those of the folder. A model of plain numbers has no network. `region` is the
    first stage of a model of two stages, on the CPU.
    """

    card: ModelCard
    folder: Path
    networks: tuple["Network", ...]
    device: str
    bf16: bool
    auto: bool = False
    region: "Model | None" = None

    @property
    def sha256(self) -> str:
        """SHA-256 of the weights."""
        return self.card.sha256


def check_task(card: ModelCard, task: str) -> None:
    """Raise ModelError when the model is for another task."""
    if card.task != task:
        raise ModelError(f"Expected a model for {task}, found {card.name}, which is for {card.task}. Choose another.")


def load_model(name_or_dir: str, device: str = "auto", task: str | None = "segmentation") -> Model:
    """The model, ready to run. `task` is the task that it must have, None for any.

    Raises: ModelError when the bundle is missing, damaged or for another task, its network is unknown, or its weights
    do not fit or are not finite; DeviceError when the device is not there or its memory does not suffice.
    """
    folder = find_model(name_or_dir)
    card = load_card(folder)
    if task is not None:
        check_task(card, task)
    check_weights(folder, card)
    if not card.networks:
        return Model(card, folder, (), "cpu", False)
    chosen = choose_device(device)
    try:
        loaded = load_networks(folder, card, chosen)
    except (RuntimeError, TypeError) as error:
        if device != "auto" or not is_of_device(error, chosen):
            raise
        give_up(chosen, error)
        return load_model(name_or_dir, device, task)
    region = None if card.region is None else load_networks(folder, region_card(card), "cpu")
    return replace(loaded, auto=device == "auto", region=region)


def load_networks(folder: Path, card: ModelCard, device: str) -> Model:
    """The model with the networks of the card, on a device that is there.

    Raises: ModelError when a network is unknown, or its weights do not fit or are not finite; DeviceError when the
    memory of the device does not suffice.
    """
    from . import networks

    spec = card.networks[0]  # that of all folds
    # The bundle has its own weights: none are fetched from a hub.
    arguments = {key: value for key, value in spec.arguments.items() if key != "encoder_weights"}
    wanted, stored = networks.shapes(spec.name, arguments), weights_header(folder)
    prefixes = [fold.prefix for fold in card.networks]
    for prefix in prefixes:
        check_weights_fit({k.removeprefix(prefix): v for k, v in stored.items() if k.startswith(prefix)}, wanted, card)
    with memory_errors(f"Not enough memory on {device} for {card.name}. Close other programs or use --device cpu."):
        folds = []
        for prefix in prefixes:
            network = networks.build(spec.name, arguments)
            network.load_state_dict(load_weights(folder, prefix))
            check_fit(network.eval(), card)
            folds.append(networks.place(network, device))
    allowed = card.windows is None or card.windows.bf16
    bf16 = allowed and device == "cpu" and networks.bf16_pays(folds[0], input_channels(card))
    return Model(card, folder, tuple(folds), device, bf16)


def weights_header(folder: Path) -> dict[str, TensorFacts]:
    """The layers of a bundle's weights by name. Only the header of the safetensors file is read.

    Raises: ModelError when it is no safetensors file.
    """
    with open_file(folder, WEIGHTS, MAX_BUNDLE_BYTES) as stream:
        size = os.fstat(stream.fileno()).st_size
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
            raise ModelError(f"The weights in {folder} cannot be read: no safetensors file. Import the model again.")
        try:
            header = parse_json(stream.read(length))
            return {
                name: TensorFacts(entry["dtype"], tuple(entry["shape"]))
                for name, entry in header.items()
                if name != "__metadata__"
            }
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelError(
                f"The weights in {folder} cannot be read: {reason_of(error)}. Import the model again."
            ) from error


def is_half(folder: Path) -> bool:
    """True where a bundle's weights of floating point are all fp16.

    Raises: ModelError as `weights_header` does.
    """
    return all(layer.dtype == "F16" for layer in weights_header(folder).values() if layer.dtype in FLOATS)


def check_weights_fit(
    stored: Mapping[str, TensorFacts], wanted: Mapping[str, tuple[bool, tuple[int, ...]]], card: ModelCard
) -> None:
    """Raise ModelError when the weights' names, shapes and types are not those of the card's network. `wanted` has for
    each layer whether it is of floating point, and its shape."""
    missing = [name for name in wanted if name not in stored]
    unknown = [name for name in stored if name not in wanted]
    other = [
        name
        for name, (floating, shape) in wanted.items()
        if name in stored and (stored[name].shape != shape or stored[name].dtype not in (FLOATS if floating else WHOLE))
    ]
    if wrong := [*missing, *unknown, *other]:
        raise ModelError(
            f"The weights of {card.name} do not fit its network {card.networks[0].name}: {len(missing)} layers "
            f"missing, {len(unknown)} unknown, {len(other)} of another shape or type, the first {wrong[0][:80]!r}. "
            "Import the model again."
        )


def load_weights(folder: Path, prefix: str) -> dict[str, "torch.Tensor"]:
    """The weights whose names begin with the prefix, without it, as float32 where they are of floating point.

    Raises: ModelError when they cannot be read, or are not all finite numbers.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / WEIGHTS, framework="pt") as stored:
            tensors = {key: stored.get_tensor(key) for key in stored.keys() if key.startswith(prefix)}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        reason = reason_of(error)
        raise ModelError(f"The weights in {folder} cannot be read: {reason}. Import the model again.") from error
    weights = {
        key.removeprefix(prefix): value.float() if value.is_floating_point() else value
        for key, value in tensors.items()
    }
    if wrong := [key for key, value in weights.items() if not value.isfinite().all()]:
        raise ModelError(
            f"The weights in {folder} are no finite numbers in {len(wrong)} of {len(weights)} layers: the model is "
            "damaged. Get it again."
        )
    return weights


def check_fit(network: "Network", card: ModelCard) -> None:
    """Raise ModelError when the network does not take the card's channels or windows, or does not give its labels or
    classes, or the score by which the card abstains."""
    import torch

    channels, wanted, size = input_channels(card), outputs(card), size_of_fit(network, card)
    try:
        with torch.inference_mode():
            logits = network(torch.zeros((1, channels, *size)))
    except (RuntimeError, ValueError, IndexError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelError(
            f"The network of {card.name} does not take the card's {channels} channels: {reason}"
        ) from error
    expected = (1, wanted) if card.task == "classification" else (1, wanted, *size)
    if tuple(logits.shape) != expected:
        raise ModelError(
            f"{card.name} has {len(card.labels or card.classes)} {'labels' if card.labels else 'classes'}, which need "
            f"{wanted} outputs of its network at the size of its input, {size}, found {tuple(logits.shape)[1:]}. "
            "Import the model again."
        )
    if card.abstention and card.abstention.score == "mahalanobis" and not len(getattr(network, "usual", ())):
        raise ModelError(
            f"{card.name} abstains by the distance from its training images, which its network does not hold. "
            "Import the model again."
        )
    if not logits.isfinite().all():
        raise ModelError(f"The network of {card.name} gives no finite numbers: the model is damaged. Get it again.")


def size_of_fit(network: "Network", card: ModelCard) -> tuple[int, ...]:
    """The size of an input that shows whether the network fits the card; for windows the smallest, as it runs for each
    fold: one multiple along each axis, and two along one, because a norm needs more than one value.

    Raises: ModelError when the card's images or windows have other axes than the network's, or no multiples of its.
    """
    windows, multiples = card.windows, network.multiples
    whole = windows.patch if windows else (card.input.side or 2 * network.multiple,) * 2
    if len(whole) != len(multiples) or (
        windows and any(side % step for side, step in zip(whole, multiples, strict=True))
    ):
        raise ModelError(
            f"{card.name} has windows of {' x '.join(map(str, whole))}, and its network takes multiples of "
            f"{' x '.join(map(str, multiples))}. Import the model again."
        )
    if windows is None:  # a classifier takes pictures of one size, a U-Net of any
        return whole
    steps = [side // step for side, step in zip(whole, multiples, strict=True)]
    longest = steps.index(max(steps))
    return tuple(step * min(2, steps[k]) if k == longest else step for k, step in enumerate(multiples))


def save_bundle(
    folder: Path,
    card: ModelCard,
    weights: Mapping[str, Any],
    readme: str,
    licence: str,
    facts: Mapping[str, Any],
    half: bool = True,
) -> ModelCard:
    """The card, with the SHA-256 of the weights, of a bundle that is written whole or not at all.

    `facts` are MONAI's entries of metadata.json (authors, copyright, data_source, …). Weights are written as fp16,
    without `half` in the precision that they have: rounding those of an imported model would change its labels.

    Raises: InputError when the folder exists already or cannot be written; ModelError when `load_model` would refuse
    it: its card has a value that cannot be, or its weights as written are not all finite numbers.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    if os.path.lexists(folder):
        raise InputError(f"{folder} exists already. Choose another output folder.")
    check_parent(folder)
    card = replace(card, training=escape_texts(card.training))
    check_card(card, folder)
    written = {
        k: v.detach().cpu().to(torch.float16 if half and v.is_floating_point() else v.dtype).contiguous()
        for k, v in weights.items()
    }
    if not all(value.isfinite().all() for value in written.values()):
        raise ModelError(f"The weights of {card.name} are not all finite numbers: nothing was written to {folder}.")
    try:
        with temporary_folder(folder.parent) as temporary:
            part = temporary / folder.name
            for name in ("configs", "models", "docs"):
                (part / name).mkdir(parents=True)
            if card.networks:
                save_file(written, part / WEIGHTS)
                (part / WEIGHTS).chmod(0o644)  # safetensors makes it private
                card = replace(card, sha256=sha256_of(part))
            else:
                (part / "models").rmdir()
                card = replace(card, sha256=sha256_of_numbers(card.coefficients))
            write_texts(part, card, readme, licence, facts)
            move_into_place(part, folder, replace=False)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"Could not write the model to {folder}: {getattr(error, 'strerror', None) or error}. "
            "Choose a folder with space that you may write to."
        ) from error
    return card


def escape_texts(value: Any) -> Any:
    """The JSON value with escapes for invisible characters in its texts: names of files can contain them."""
    if isinstance(value, str):
        return escape_invisible(value)
    if isinstance(value, Mapping):
        return {escape_texts(key): escape_texts(inner) for key, inner in value.items()}
    return [escape_texts(inner) for inner in value] if isinstance(value, list | tuple) else value


def write_texts(folder: Path, card: ModelCard, readme: str, licence: str, facts: Mapping[str, Any]) -> None:
    """Write metadata.json, the card for people and the licence into the bundle folder."""
    metadata = monai_metadata(card) | dict(facts)
    block = {k: v for k, v in encode(card).items() if k not in ("version", "description")}
    metadata["medtl"] = {"schema": SCHEMAS[-1], **block}
    (folder / METADATA).write_text(json.dumps(metadata, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    (folder / "docs" / "README.md").write_text(readme, encoding="utf-8", errors="replace")
    (folder / "LICENSE").write_text(licence, encoding="utf-8", errors="replace")


def input_channels(card: ModelCard) -> int:
    """Channels of the network's input: those of the card, each with its neighbouring slices."""
    return len(card.input.channels) * (2 * card.input.neighbours + 1)


def outputs(card: ModelCard) -> int:
    """Channels of the network's output: background and labels, or regions, or classes."""
    if card.task == "classification":
        return len(card.classes)
    return len(card.labels) if card.decision == "regions" else 1 + len(card.labels)


def spatial_shape(card: ModelCard) -> list[Any]:
    """The size of the network's input: of a window, or of a slice, which may have any size where it has no side."""
    if card.windows is not None:
        return list(card.windows.patch)
    return [card.input.side] * 2 if card.input.side else ["32 * n", "32 * n"]


def monai_metadata(card: ModelCard) -> dict[str, Any]:
    """The entries that MONAI's schema asks for."""
    tensor: dict[str, Any] = {
        "type": "image",
        "num_channels": input_channels(card),
        "spatial_shape": spatial_shape(card),
        "dtype": "float32",
    }
    image = tensor | {"format": "magnitude", "value_range": [-1, 1 if card.input.side else 2.2]}
    if not card.networks:  # it measures a labelmap
        whole = {"spatial_shape": ["*", "*", "*"], "dtype": "uint16", "value_range": [0, 65535]}
        image = tensor | {"format": "segmentation"} | whole
    packages = ("timm", "segmentation-models-pytorch", "safetensors") if card.networks else ("SimpleITK",)
    if card.task == "classification":
        named = {str(number): tumour_class.name for number, tumour_class in enumerate(card.classes)}
        output: dict[str, Any] = {"type": "probabilities", "format": "classes", "spatial_shape": [], "dtype": "float32"}
    else:
        named = {"0": "background"} | {str(label.value): label.name for label in card.labels}
        output = tensor | {"type": "image", "format": "segmentation"}
    patches = card.windows is not None
    output |= {"num_channels": len(named), "value_range": [0, 1], "is_patch_data": patches, "channel_def": named}
    return {
        "schema": MONAI_SCHEMA,
        "version": card.version,
        "changelog": {card.version: "first version"},
        "monai_version": importlib.metadata.version("monai"),
        "pytorch_version": importlib.metadata.version("torch"),
        "numpy_version": importlib.metadata.version("numpy"),
        "required_packages_version": {name: importlib.metadata.version(name) for name in packages},
        "task": card.task,
        "description": card.description,
        "authors": "The MedTL authors",
        "copyright": "See LICENSE",
        "network_data_format": {
            "inputs": {"image": image | {"is_patch_data": patches}},
            "outputs": {"pred": output},
        },
    }
