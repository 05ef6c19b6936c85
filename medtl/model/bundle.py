"""A model: loaded from a bundle folder (see `medtl.model.store`), and written as one."""

import importlib.metadata
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, ModelError, memory_errors
from ..typed_json import encode
from .card import METADATA, SCHEMA, ModelCard, load_card
from .device import choose_device
from .store import WEIGHTS, check_weights, find_model, sha256_of, sha256_of_numbers

if TYPE_CHECKING:
    from .networks import Network

MONAI_SCHEMA = "https://project-monai.github.io/schema/meta_schema_20240725.json"


@dataclass(frozen=True)
class Model:
    """A loaded model: its card, its folder, and its networks on a device, in evaluation mode.

    `bf16` is True where a probe of the loaded network found bfloat16 worth it. A model of plain numbers has none.
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


def load_model(name_or_dir: str, device: str = "auto", task: str | None = "segmentation") -> Model:
    """The model, ready to run; `task` is what it must be for, None any.

    Raises: ModelError when the bundle is missing, damaged, for another task or needs a network unknown here;
    DeviceError for the device.
    """
    folder = find_model(name_or_dir)
    card = load_card(folder)
    if task is not None and card.task != task:
        raise ModelError(f"Expected a model for {task}, found {card.name}, which is for {card.task}. Choose another.")
    check_weights(folder, card)
    if not card.networks:
        return Model(card, folder, (), "cpu", False)
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
    """Raise ModelError when the network does not take the card's channels or does not give its labels or classes."""
    import torch

    # Of a classification the pictures have one size; a U-Net takes any.
    channels, wanted, side = input_channels(card), outputs(card), card.input.side or 2 * network.multiple
    try:
        with torch.inference_mode():
            shape = network(torch.zeros((1, channels, side, side))).shape
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelError(
            f"The network of {card.name} does not take the card's {channels} channels: {reason}"
        ) from error
    expected = (1, wanted) if card.task == "classification" else (1, wanted, side, side)
    if tuple(shape) != expected:
        raise ModelError(
            f"{card.name} has {len(card.labels or card.classes)} {'labels' if card.labels else 'classes'}, which need "
            f"{wanted} outputs of its network, found {tuple(shape)[1:]}. "
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
            if card.networks:
                save_file(half, part / WEIGHTS)
                (part / WEIGHTS).chmod(0o644)  # safetensors makes it private
                card = replace(card, sha256=sha256_of(part / WEIGHTS))
            else:
                (part / "models").rmdir()
                card = replace(card, sha256=sha256_of_numbers(card.coefficients))
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


def outputs(card: ModelCard) -> int:
    """Channels of the network's output: background and labels, or classes."""
    return len(card.classes) if card.task == "classification" else 1 + len(card.labels)


def monai_metadata(card: ModelCard) -> dict[str, Any]:
    """The entries that MONAI's schema asks for."""
    tensor: dict[str, Any] = {
        "type": "image",
        "num_channels": input_channels(card),
        "spatial_shape": [card.input.side] * 2 if card.input.side else ["32 * n", "32 * n"],
        "dtype": "float32",
    }
    image = tensor | {"format": "magnitude", "value_range": [-1, 1 if card.input.side else 2.2]}
    if not card.networks:  # it measures a labelmap
        whole = {"spatial_shape": ["*", "*", "*"], "dtype": "uint16", "value_range": [0, 65535]}
        image = tensor | {"format": "segmentation"} | whole
    packages = ("timm", "segmentation-models-pytorch", "safetensors") if card.networks else ("SimpleITK",)
    if card.task == "classification":
        named = {str(number): one.name for number, one in enumerate(card.classes)}
        output: dict[str, Any] = {"type": "probabilities", "format": "classes", "spatial_shape": [], "dtype": "float32"}
    else:
        named = {"0": "background"} | {str(label.value): label.name for label in card.labels}
        output = tensor | {"type": "image", "format": "segmentation"}
    output |= {"num_channels": len(named), "value_range": [0, 1], "is_patch_data": False, "channel_def": named}
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
            "inputs": {"image": image | {"is_patch_data": False}},
            "outputs": {"pred": output},
        },
    }
