"""The card of a model that nnU-Net 2 trained, from its plans.json and dataset.json. Nothing is evaluated; what nnU-Net
would look up by name and run is one of the few names here, or refused.

Source: Isensee et al. 2021 (nnU-Net); the entries are those of nnunetv2 2.0 to 2.8.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..errors import ModelError
from .card import (
    MAX_LABELS,
    MAX_METADATA_BYTES,
    STORED,
    InputSpec,
    Label,
    ModelCard,
    NetworkSpec,
    Normalisation,
    WindowSpec,
)
from .checkpoint import Checkpoint
from .files import open_file, parse_json, reason_of
from .label_looks import colour_of, snomed_of

PLANS, DATASET = "plans.json", "dataset.json"
NETWORKS = {"PlainConvUNet": "plainunet", "ResidualEncoderUNet": "residualunet"}
RESAMPLER = "resample_data_or_seg_to_shape"
REORIENTING_READER = "NibabelIOWithReorient"
MAX_STAGES, MAX_FEATURES, MAX_BLOCKS, MAX_KERNEL, MAX_STRIDE, MAX_PATCH = 12, 4096, 32, 15, 8, 4096
UPDATE = "Only models of nnU-Net 2's own networks and preprocessing can be imported."
PLANE_OF_AXIS = ("axial", "coronal", "sagittal")  # whose slices lie along array axis Z, Y, X
Value = TypeVar("Value")


@dataclass(frozen=True)
class ImportOptions:
    """What to import of nnU-Net's results, and as what; a bundle takes the `name` alone, one of MONAI `channels`, too.

    `configuration` is needed where there are several. `folds`: their numbers, or "all" (None: every numbered one, else
    "all"). `name`, `channels`: in place of those of the dataset. `orientation`: how volumes are turned first, such as
    "RAS" (None: as nnU-Net's reader does).
    """

    configuration: str | None = None
    folds: tuple[str, ...] | None = None
    name: str | None = None
    channels: tuple[str, ...] | None = None
    orientation: str | None = None


@dataclass(frozen=True)
class Plans:
    """`plans` and `dataset` are the two files; `configuration` is the plans' one that was trained, with what it
    inherits; `name` is its name."""

    plans: Mapping[str, Any]
    dataset: Mapping[str, Any]
    name: str
    configuration: Mapping[str, Any]


# --- reading ---


def read_plans(folder: Path, name: str) -> Plans:
    """The plans of a results folder for the configuration of that name.

    Raises: ModelError when a file is missing, no JSON, or the configuration is not in it, or is a second stage.
    """
    plans, dataset = (read_object(folder, file) for file in (PLANS, DATASET))
    configuration = resolve(entry(plans, "configurations", dict), name)
    if configuration.get("previous_stage"):
        raise ModelError(
            f"{name} is the second stage of a cascade: its network needs the result of "
            f"{str(configuration['previous_stage'])[:40]}. Import a 3d_fullres or 3d_lowres model."
        )
    for key, known in (("preprocessor_name", "DefaultPreprocessor"), ("resampling_fn_data", RESAMPLER)):
        check_known(key, configuration.get(key), known)
    check_known("resampling_fn_probabilities", configuration.get("resampling_fn_probabilities"), RESAMPLER)
    check_known("label_manager", plans.get("label_manager", "LabelManager"), "LabelManager")
    return Plans(plans, dataset, name, configuration)


def read_object(folder: Path, name: str) -> dict[str, Any]:
    """The JSON object in a file of the folder.

    Raises: ModelError when it is missing or no JSON object.
    """
    with open_file(folder, name, MAX_METADATA_BYTES) as stream:
        content = stream.read(MAX_METADATA_BYTES)
    try:
        value = parse_json(content)
    except ValueError as error:
        raise ModelError(f"{name} is not valid JSON ({reason_of(error)}). Copy the folder again.") from error
    if not isinstance(value, dict):
        raise ModelError(f"Expected an object in {name}, found {short(value)}. Copy the folder again.")
    return value


def resolve(configurations: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The configuration, with the entries of those that it inherits from.

    Raises: ModelError when there is none of that name, or one inherits from itself.
    """
    chain: list[str] = []
    merged: dict[str, Any] = {}
    current: object = name
    while current is not None:
        found = configurations.get(current) if isinstance(current, str) else None
        if not isinstance(found, dict) or current in chain:
            names = ", ".join(configurations)[:200]
            what = "one that inherits from itself" if current in chain else f"no {short(current)}, but {names}"
            raise ModelError(f"Expected the configuration {name} in plans.json, found {what}. Copy the folder again.")
        chain.append(str(current))
        merged = {**found, **merged}
        current = found.get("inherits_from")
    return merged


def entry(block: Mapping[str, Any], key: str, kind: type[Value], file: str = PLANS) -> Value:
    """The entry of a block, of this type.

    Raises: ModelError when it is missing or of another type.
    """
    value = block.get(key)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        wanted = {dict: "an object", list: "a list", str: "a text", int: "a whole number"}.get(kind, kind.__name__)
        raise ModelError(f"Expected {wanted} for {key} in {file}, found {short(value)}. {UPDATE}")
    return value


def check_known(what: str, found: Any, *known: Any) -> None:
    """Raise ModelError when an entry has none of the values that MedTL knows."""
    if found not in known:
        expected = " or ".join(str(one) for one in known)
        raise ModelError(f"Expected {expected} for {what} in plans.json, found {short(found)}. {UPDATE}")


def short(value: Any) -> str:
    """The value for a message."""
    return "none" if value is None else f"{str(value)[:60]!r}"


# --- the network ---


def network_of(plans: Plans, channels: int, outputs: int) -> tuple[str, dict[str, Any]]:
    """The name and the arguments of the network, as `medtl.model.networks` builds it.

    Raises: ModelError when it is none of nnU-Net's two, or has parts that MedTL does not build.
    """
    kind, given = architecture_of(plans.configuration)
    dimensions = len(entry(plans.configuration, "patch_size", list))
    residual = kind == "ResidualEncoderUNet"
    blocks_key = "n_blocks_per_stage" if residual else "n_conv_per_stage"
    known = {"n_stages", "features_per_stage", "kernel_sizes", "strides", blocks_key, "n_conv_per_stage_decoder"}
    known |= {"conv_op", "conv_bias", "norm_op", "norm_op_kwargs", "nonlin", "nonlin_kwargs", "deep_supervision"}
    known |= {"dropout_op", "dropout_op_kwargs"}  # which do nothing outside of training
    if unknown := [key for key, value in given.items() if key not in known and value not in (None, False)]:
        raise ModelError(f"The network has {unknown[0][:40]} in plans.json, which MedTL does not build. {UPDATE}")
    for key, wanted in (("conv_op", f"Conv{dimensions}d"), ("norm_op", f"InstanceNorm{dimensions}d")):
        check_known(key, str(given.get(key)).rpartition(".")[2], wanted)
    norm = given.get("norm_op_kwargs")
    check_known("norm_op_kwargs", norm, {"eps": 1e-5, "affine": True}, {"affine": True})
    check_known("nonlin", str(given.get("nonlin")).rpartition(".")[2], "LeakyReLU")
    slope = {**(given.get("nonlin_kwargs") or {}), "inplace": True}
    check_known("nonlin_kwargs", slope, {"inplace": True}, {"inplace": True, "negative_slope": 0.01})
    stages = whole(entry(given, "n_stages", int), "n_stages", 2, MAX_STAGES)

    def axes(what: str, high: int) -> Callable[[Any], list[int]]:
        def convert(value: Any) -> list[int]:
            numbers = value if isinstance(value, list) else [value] * dimensions
            return wholes(numbers, what, 1, high, dimensions)

        return convert

    def number(what: str, high: int) -> Callable[[Any], int]:
        return lambda value: whole(value, what, 1, high)

    arguments: dict[str, Any] = {
        "channels": channels,
        "outputs": outputs,
        "features": per_stage(given, "features_per_stage", stages, number("features", MAX_FEATURES)),
        "kernels": per_stage(given, "kernel_sizes", stages, axes("a kernel", MAX_KERNEL)),
        "strides": per_stage(given, "strides", stages, axes("a stride", MAX_STRIDE)),
        "blocks": per_stage(given, blocks_key, stages, number("blocks", MAX_BLOCKS)),
        "decoder_blocks": per_stage(given, "n_conv_per_stage_decoder", stages - 1, number("blocks", MAX_BLOCKS)),
        "bias": given.get("conv_bias", False) is True,
    }
    if any(size % 2 == 0 for kernel in arguments["kernels"] for size in kernel) or set(arguments["strides"][0]) != {1}:
        raise ModelError(f"The network has kernels of even size or a stride in its first stage. {UPDATE}")
    return NETWORKS[kind], arguments


def architecture_of(configuration: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The class of the network and its arguments, also from plans of nnU-Net 2.0 to 2.3, which have no `architecture`.

    Raises: ModelError when it is none of nnU-Net's two.
    """
    if "architecture" in configuration:
        architecture = entry(configuration, "architecture", dict)
        name = entry(architecture, "network_class_name", str)
        package, _, kind = name.rpartition(".")
        if kind not in NETWORKS or not package.startswith("dynamic_network_architectures."):
            raise ModelError(
                f"Expected a network of {' or '.join(NETWORKS)}, found {short(name)}, a trainer's own. {UPDATE}"
            )
        return kind, entry(architecture, "arch_kwargs", dict)
    kind = str(configuration.get("UNet_class_name"))
    check_known("UNet_class_name", kind, *NETWORKS)
    blocks = entry(configuration, "n_conv_per_stage_encoder", list)
    base, most = (entry(configuration, key, int) for key in ("UNet_base_num_features", "unet_max_num_features"))
    dimensions = len(entry(configuration, "patch_size", list))
    return kind, {
        "n_stages": len(blocks),
        "features_per_stage": [min(base * 2**stage, most) for stage in range(min(len(blocks), MAX_STAGES))],
        "conv_op": f"Conv{dimensions}d",
        "norm_op": f"InstanceNorm{dimensions}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": "LeakyReLU",
        "kernel_sizes": configuration.get("conv_kernel_sizes"),
        "strides": configuration.get("pool_op_kernel_sizes"),
        "n_blocks_per_stage" if kind == "ResidualEncoderUNet" else "n_conv_per_stage": blocks,
        "n_conv_per_stage_decoder": configuration.get("n_conv_per_stage_decoder"),
        "conv_bias": True,
    }


def per_stage(given: Mapping[str, Any], key: str, count: int, convert: Callable[[Any], Value]) -> list[Value]:
    """An entry for each of `count` stages, from a list of them or from one for all.

    Raises: ModelError when there are more or fewer, or what `convert` raises.
    """
    value = given.get(key)
    values = value if isinstance(value, list) else [value] * count
    if len(values) != count:
        raise ModelError(f"Expected {count} entries for {key} in plans.json, found {len(values)}. {UPDATE}")
    return [convert(one) for one in values]


def whole(value: Any, what: str, low: int, high: int) -> int:
    """The whole number. Raises: ModelError when it is none, or out of its range."""
    if type(value) is not int or not low <= value <= high:
        raise ModelError(f"Expected {low} to {high} for {what} in plans.json, found {short(value)}. {UPDATE}")
    return value


def wholes(value: Any, what: str, low: int, high: int, count: int) -> list[int]:
    """The list of `count` whole numbers. Raises: ModelError when it is none, or one is out of its range."""
    if not isinstance(value, list) or len(value) != count:
        raise ModelError(f"Expected {count} numbers for {what} in plans.json, found {short(value)}. {UPDATE}")
    return [whole(one, what, low, high) for one in value]


def is_number(value: Any) -> bool:
    """True for a whole or a decimal number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


# --- the windows ---


def windows_of(plans: Plans, mirror: Sequence[int], orientation: str | None) -> WindowSpec:
    """How the network sees a volume. Without `orientation` the volume is taken as nnU-Net's reader gives it.

    Raises: ModelError when the plans ask for what MedTL does not do.
    """
    configuration = plans.configuration
    patch = entry(configuration, "patch_size", list)
    if len(patch) not in (2, 3):
        raise ModelError(f"Expected 2 or 3 numbers for patch_size in plans.json, found {len(patch)}. {UPDATE}")
    spacing = entry(configuration, "spacing", list)
    if len(spacing) != len(patch) or not all(map(is_number, spacing)):
        raise ModelError(f"Expected {len(patch)} numbers for spacing in plans.json, found {short(spacing)}. {UPDATE}")
    axes = wholes(plans.plans.get("transpose_forward"), "transpose_forward", 0, 2, 3)
    data, logits = (resampling(configuration, which) for which in ("data", "probabilities"))
    if data[1:] != logits[1:]:
        raise ModelError(f"The plans resample images and results along thick slices in different ways. {UPDATE}")
    reader = plans.plans.get("image_reader_writer")
    return WindowSpec(
        patch=tuple(wholes(patch, "patch_size", 1, MAX_PATCH, len(patch))),
        spacing=tuple(float(one) for one in spacing),
        normalisation=tuple(normalisations(plans)),
        orientation=orientation or ("RAS" if reader == REORIENTING_READER else STORED),
        axes=(axes[0], axes[1], axes[2]),
        mirror=tuple(mirror),
        order=data[0],
        logits_order=logits[0],
        thick_order=data[1],
        thick_ratio=data[2],
    )


def resampling(configuration: Mapping[str, Any], which: str) -> tuple[int, int, float | None]:
    """The order of the splines, that along an axis of thick slices, and from which ratio on there is such an axis.

    Raises: ModelError when nnU-Net is to take an axis for thick that is not.
    """
    key = f"resampling_fn_{which}_kwargs"
    given = entry(configuration, key, dict)
    order, thick = (whole(given.get(name, default), name, 0, 5) for name, default in (("order", 3), ("order_z", 0)))
    separate = given.get("force_separate_z")
    if separate is not None and separate is not False:  # with True the ratio of one of two grids would count, from 1 on
        raise ModelError(
            f"Expected none or false for force_separate_z in plans.json, found {short(separate)}. {UPDATE}"
        )
    ratio = given.get("separate_z_anisotropy_threshold", 3)
    if not is_number(ratio):
        raise ModelError(f"Expected a number for separate_z_anisotropy_threshold, found {short(ratio)}. {UPDATE}")
    return order, thick, float(ratio) if separate is None else None


def normalisations(plans: Plans) -> Iterable[Normalisation]:
    """The normalisation of each channel.

    Raises: ModelError when one is unknown or lacks its numbers.
    """
    schemes = entry(plans.configuration, "normalization_schemes", list)
    masked = entry(plans.configuration, "use_mask_for_norm", list)
    if len(schemes) != len(masked):
        raise ModelError(f"Expected {len(schemes)} entries for use_mask_for_norm, found {len(masked)}. {UPDATE}")
    for number, (scheme, inside) in enumerate(zip(schemes, masked, strict=True)):
        if scheme == "ZScoreNormalization":
            yield Normalisation("zscore", masked=inside is True)
        elif scheme == "CTNormalization":
            facts = entry(intensities(plans.plans), str(number), dict)
            low, high, mean, deviation = (
                float(entry(facts, key, (int, float)))  # type: ignore[arg-type]
                for key in ("percentile_00_5", "percentile_99_5", "mean", "std")
            )
            yield Normalisation("fixed", limits=(low, high), shift=mean, scale=max(deviation, 1e-8))
        elif scheme in ("Rescale01Normalization", "RescaleTo01Normalization"):
            yield Normalisation("range")
        elif scheme == "RGBTo01Normalization":
            yield Normalisation("fixed", scale=255.0)
        elif scheme == "NoNormalization":
            yield Normalisation("fixed")
        else:
            raise ModelError(f"The plans normalise by {short(scheme)}, which MedTL does not know. {UPDATE}")


def intensities(plans: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of the values in the foreground, by channel; older plans have another name for them.

    Raises: ModelError when there are none.
    """
    new, old = (f"foreground_intensity_properties_{what}" for what in ("per_channel", "by_modality"))
    return entry(plans, old if old in plans and new not in plans else new, dict)


# --- labels and channels ---


def labels_of(dataset: Mapping[str, Any]) -> tuple[tuple[Label, ...], str]:
    """The labels in the order of the network's outputs, without background, and the card's decision.

    Raises: ModelError when labels are no numbers, do not follow each other, or regions have no order.
    """
    given = {name: value for name, value in entry(dataset, "labels", dict, DATASET).items() if name != "ignore"}
    sets = {name: value if isinstance(value, list) else [value] for name, value in given.items()}
    for name, values in sets.items():
        if not values or any(type(value) is not int or value < 0 for value in values):
            raise ModelError(
                f"Expected whole numbers for the label {name[:40]!r} in {DATASET}, found {short(given[name])}. "
                "The labels of nnU-Net 2 have the form name: value."
            )
    regions = any(len(values) > 1 for values in sets.values())
    sets = {name: values for name, values in sets.items() if set(values) != {0}}
    if len(sets) > MAX_LABELS:
        raise ModelError(f"Expected at most {MAX_LABELS} labels in {DATASET}, found {len(sets)}.")
    if regions:
        return regions_of(sets, dataset.get("regions_class_order")), "regions"
    by_value = sorted(sets, key=lambda name: sets[name][0])
    found = [sets[name][0] for name in by_value]
    if found != list(range(1, len(found) + 1)):
        raise ModelError(
            f"Expected the label values 1 to {len(found)} in {DATASET}, found {short(found)}: which output of the "
            "network is which label is then unknown."
        )
    return tuple(a_label(number, name, name, number + 1) for number, name in enumerate(by_value)), "argmax"


def regions_of(sets: Mapping[str, Sequence[int]], order: Any) -> tuple[Label, ...]:
    """The labels of regions. A region keeps what later ones leave of it, and its name says so.

    Raises: ModelError when the order in which they are written is missing.
    """
    if not isinstance(order, list) or len(order) != len(sets) or any(type(value) is not int for value in order):
        raise ModelError(
            f"Expected a regions_class_order of {len(sets)} values in {DATASET}, found {short(order)}: which region is "
            "written over which is then unknown."
        )
    parts = [(name, set(values)) for name, values in sets.items()]
    labels = []
    for number, (name, values) in enumerate(parts):
        later = [(other, part) for other, part in parts[number + 1 :] if part & values]
        largest = [other for other, part in later if not any(part < bigger for _, bigger in later)]
        full = f"{name} without {' and '.join(largest)}" if largest else name
        labels.append(a_label(number, name, full, order[number]))
    return tuple(labels)


def a_label(number: int, identity: str, name: str, value: int) -> Label:
    """The label that comes in this place, from 0; its colour and codes are those of its id."""
    return Label(value, identity.replace("|", "/"), name.replace("_", " "), colour_of(number), snomed_of(identity))


def channels_of(plans: Plans, given: Sequence[str] | None) -> tuple[str, ...]:
    """The names of the network's channels: those given, else the dataset's, with a number where two are the same.

    Raises: ModelError when they are not as many as the plans have.
    """
    names = given
    if names is None:
        key, old = "channel_names", "modality"
        if old in plans.dataset and key not in plans.dataset:
            key = old
        block = entry(plans.dataset, key, dict, DATASET)
        if set(block) != {str(number) for number in range(len(block))}:
            raise ModelError(f"Expected the keys 0, 1, … for {key} in {DATASET}, found {short(list(block))}.")
        names = [str(block[str(number)]) for number in range(len(block))]
        names = [f"{one} {n + 1}" if names.count(one) > 1 else one for n, one in enumerate(names)]
    wanted = len(entry(plans.configuration, "normalization_schemes", list))
    if len(names) != wanted or not all(name.strip() for name in names):
        raise ModelError(f"Expected {wanted} names of channels, found {len(names)}: {', '.join(names)[:80]}.")
    return tuple(names)


# --- the card ---


def card_of(plans: Plans, checkpoint: Checkpoint, folds: Sequence[str], options: ImportOptions) -> ModelCard:
    """The card of the model with one network for each fold, without the SHA-256 of its weights.

    Raises: ModelError when the model cannot be imported, with the reason.
    """
    labels, decision = labels_of(plans.dataset)
    channels = channels_of(plans, options.channels)
    network, arguments = network_of(plans, len(channels), len(labels) + (decision == "argmax"))
    windows = windows_of(plans, checkpoint.mirror, options.orientation)
    totals = [math.prod(steps) for steps in zip(*arguments["strides"], strict=True)]
    if any(size % total for size, total in zip(windows.patch, totals, strict=True)):
        raise ModelError(
            f"Expected a patch_size in plans.json that the strides divide, found {windows.patch}. {UPDATE}"
        )
    dataset = str(plans.plans.get("dataset_name", "nnU-Net"))
    return ModelCard(
        name=options.name or default_name(dataset, plans.name),
        version="1.0.0",
        description=f"{dataset[:80]}, {plans.name[:80]}: trained by nnU-Net 2; imported, not validated by MedTL; "
        "research use, not for diagnosis",
        task="segmentation",
        labels=labels,
        networks=tuple(NetworkSpec(network, arguments, f"fold_{fold}.") for fold in folds),
        # nnU-Net's first axis is the one of the thickest slices.
        input=InputSpec(channels=channels, plane=PLANE_OF_AXIS[windows.axes[0]]),
        sha256="",
        windows=windows,
        decision=decision,
    )


def default_name(dataset: str, configuration: str) -> str:
    """A possible name of a model, from that of the dataset without its number, and of the configuration."""
    text = f"{re.sub(r'^Dataset[0-9]+_', '', dataset)[:40]}-{configuration[:20]}"
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-_") or "nnunet"
