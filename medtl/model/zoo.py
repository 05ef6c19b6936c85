"""The card of a bundle of MONAI's Model Zoo that segments, from its inference configuration and its metadata.

The network, the transforms and the inferer are components by name. Those that MedTL has are listed here with the
arguments that count and those that change nothing; every other component or argument is refused by its name. So what
is imported gives what `python -m monai.bundle run` gives. Source: the configurations of the Model Zoo, MONAI 1.6.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import ModelError
from .card import (
    METADATA,
    STORED,
    Calibration,
    Cleanup,
    InputSpec,
    Label,
    ModelCard,
    NetworkSpec,
    Normalisation,
    WindowSpec,
    read_metadata,
)
from .monai_config import ONLY, Config, shown
from .nnunet import ImportOptions, a_label, is_number, read_object

CONFIG = "configs/inference.json"
WEIGHTS = r"models/[\w.-]+\.(pt|pth)"  # of MONAI, pickles
DEFAULT_WEIGHTS = "models/model.pt"
NETWORKS = {
    "UNet": "unet3d",
    "SegResNet": "segresnet3d",
    "VNet": "vnet3d",
    "SwinUNETR": "swinunetr3d",
    "DynUNet": "dynunet3d",
}
SMALLEST_STEP = 0.1  # of a patch


@dataclass(frozen=True)
class Component:
    """What a component may be given: `read` counts, with MONAI's default; `fixed` must have its default; the rest is
    `ignored`."""

    read: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()


LOADING = ("reader", "dtype", "meta_keys", "meta_key_postfix", "overwriting", "image_only", "ensure_channel_first")
INVERTING = ("orig_meta_keys", "meta_keys", "meta_key_postfix", "to_tensor", "device")
BEFORE = {
    "LoadImage": Component(ignored=(*LOADING, "simple_keys", "expanduser")),
    "EnsureChannelFirst": Component(fixed={"channel_dim": None}, ignored=("strict_check",)),
    "EnsureType": Component(ignored=("data_type", "dtype", "device", "wrap_sequence", "track_meta")),
    "Orientation": Component({"axcodes": None}, {"as_closest_canonical": False}, ("labels", "lazy")),
    "Spacing": Component(
        {"pixdim": None, "mode": "bilinear"},
        {
            "diagonal": False,
            "padding_mode": "border",
            "align_corners": False,
            "scale_extent": False,
            "recompute_affine": False,
            "min_pixdim": None,
            "max_pixdim": None,
        },
        ("dtype", "lazy", "ensure_same_shape"),
    ),
    "ScaleIntensity": Component({"minv": 0.0, "maxv": 1.0, "channel_wise": False}, {"factor": None}, ("dtype",)),
    "ScaleIntensityRange": Component(
        {"a_min": None, "a_max": None, "b_min": None, "b_max": None, "clip": False}, ignored=("dtype",)
    ),
    "NormalizeIntensity": Component(
        {"nonzero": False, "channel_wise": False, "subtrahend": None, "divisor": None}, ignored=("dtype",)
    ),
    "CropForeground": Component(
        {"source_key": None},
        {"select_fn": None, "channel_indices": None, "margin": 0, "k_divisible": 1},
        ("allow_smaller", "mode", "start_coord_key", "end_coord_key", "lazy"),
    ),
}
AFTER = {
    "Activations": Component({"sigmoid": False, "softmax": False}, {"other": None}, ("dim",)),
    "Invert": Component({"nearest_interp": True, "orig_keys": None}, {"post_func": None}, ("transform", *INVERTING)),
    "AsDiscrete": Component(
        {"argmax": False, "threshold": None}, {"to_onehot": None, "rounding": None}, ("dim", "keepdim", "dtype")
    ),
    "KeepLargestConnectedComponent": Component(
        {"applied_labels": None},
        {"independent": True, "connectivity": None, "num_components": 1, "is_onehot": None},
    ),
    "EnsureType": BEFORE["EnsureType"],
}
INFERERS = {
    "SlidingWindowInferer": Component(
        {
            "roi_size": None,
            "overlap": 0.25,
            "mode": "constant",
            "sigma_scale": 0.125,
            "padding_mode": "constant",
            "cval": 0.0,
        },
        {"with_coord": False},
        (
            *("sw_batch_size", "sw_device", "device", "progress", "cache_roi_weight_map", "cpu_thresh"),
            *("buffer_steps", "buffer_dim"),
        ),
    ),
}
INFERERS["SliceInferer"] = Component(
    {**INFERERS["SlidingWindowInferer"].read, "spatial_dim": 0},
    INFERERS["SlidingWindowInferer"].fixed,
    INFERERS["SlidingWindowInferer"].ignored,
)
ALWAYS = ("_target_", "_desc_", "_disabled_", "keys", "allow_missing_keys")


@dataclass(frozen=True)
class Bundle:
    """The two files of a bundle; `title` is the name of its folder."""

    config: Config
    metadata: Mapping[str, Any]
    title: str


def read_bundle(folder: Path, title: str) -> Bundle:
    """The configuration and the metadata of a bundle folder.

    Raises: ModelError when a file is missing or no JSON object.
    """
    return Bundle(Config(read_object(folder, CONFIG), CONFIG), read_metadata(folder), title)


# --- components ---


def name_of(raw: Any, prefix: str) -> str:
    """The class that a component names, without MONAI's package `prefix`; empty where it is no component of MONAI's.

    Raises: ModelError when it is the bundle's own program.
    """
    target = raw.get("_target_") if isinstance(raw, Mapping) else None
    if not isinstance(target, str):
        return ""
    if target.startswith("scripts."):
        raise ModelError(f"The bundle names {target[:80]!r}, its own program, which is not run. {ONLY}")
    match = re.fullmatch(rf"(?:monai\.{prefix}\.(?:\w+\.)*)?(\w+)", target)
    return match[1] if match else ""


def kind_of(config: Config, raw: Any, what: str, prefix: str, known: Mapping[str, Component]) -> str:
    """The component's name among the known ones; transforms of dictionaries have those of arrays.

    Raises: ModelError when it is none of these.
    """
    name = name_of(raw, prefix)
    kind = next((base for base in known if name in (base, f"{base}d", f"{base}D", f"{base}Dict")), None)
    if kind is None:
        raise ModelError(f"Expected {', '.join(known)} for the {what} in {config.name}, found {shown(raw)}. {ONLY}")
    return kind


def arguments_of(config: Config, raw: Mapping[str, Any], kind: str, component: Component) -> dict[str, Any]:
    """The arguments that count, by name, with MONAI's defaults.

    Raises: ModelError when there is one that MedTL does not know, or a fixed one has another value.
    """
    for key in raw:
        if key not in (*component.read, *component.fixed, *component.ignored, *ALWAYS):
            raise ModelError(
                f"{kind} has the argument {key[:40]!r} in {config.name}, which MedTL does not know. {ONLY}"
            )
    for key, default in component.fixed.items():
        value = config.value(raw.get(key, default), f"{key} of {kind}")
        if value != default and value is not None:
            raise ModelError(
                f"Expected {default} for {key} of {kind} in {config.name}, found {shown(value)}: MedTL has no other."
            )
    return {key: config.value(raw.get(key, default), f"{key} of {kind}") for key, default in component.read.items()}


def transforms(
    config: Config, raw: Any, what: str, known: Mapping[str, Component], key: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The kind and the arguments of each transform of a Compose, in order. All are for one entry of the case, by
    default `key`.

    Raises: ModelError when there is one that MedTL does not have.
    """
    raw = config.follow(raw, what)
    if name_of(raw, "transforms") != "Compose":
        raise ModelError(f"Expected a Compose for the {what} in {config.name}, found {shown(raw)}. {ONLY}")
    steps = config.follow(raw.get("transforms"), what)
    if not isinstance(steps, list):
        raise ModelError(f"Expected a list of transforms for the {what} in {config.name}, found {shown(steps)}. {ONLY}")
    for step in steps:
        step = config.follow(step, what)
        if isinstance(step, Mapping) and config.value(step.get("_disabled_"), "_disabled_"):
            continue
        if name_of(step, "transforms") in ("SaveImage", "SaveImaged", "SaveImageD", "SaveImageDict"):
            continue
        kind = kind_of(config, step, what, "transforms", known)
        keys = config.value(step.get("keys", key), f"keys of {kind}")
        if keys not in (key, [key]):
            raise ModelError(f"Expected {key!r} for the keys of {kind} in {config.name}, found {shown(keys)}. {ONLY}")
        yield kind, arguments_of(config, step, kind, known[kind])


def number(value: Any, what: str) -> float:
    """The number. Raises: ModelError when it is none."""
    if not is_number(value):
        raise ModelError(f"Expected a number for the {what} in {CONFIG}, found {shown(value)}. Get the bundle again.")
    return float(value)


def numbers(value: Any, what: str, count: int) -> list[float]:
    """That many numbers, from a list of them or from one for all.

    Raises: ModelError when they are none, or more or fewer.
    """
    values = value if isinstance(value, list) else [value] * count
    if len(values) != count:
        raise ModelError(f"Expected {count} numbers for the {what} in {CONFIG}, found {shown(value)}.")
    return [number(one, what) for one in values]


# --- before the network ---


@dataclass(frozen=True)
class Preprocessing:
    """The rules of the card, as entries of `WindowSpec` of a network of volumes; `key` is the name of the image."""

    rules: Mapping[str, Any]
    key: str

    @property
    def moves(self) -> bool:
        """True where the network's voxels are not the volume's."""
        return bool({"orientation", "spacing", "foreground"} & set(self.rules))


def preprocessing_of(config: Config, channels: int) -> Preprocessing:
    """What is done to a volume before the network sees it.

    Raises: ModelError when a transform, or their order, is not known.
    """
    raw = config.follow("@preprocessing", "preprocessing")
    first = config.follow(raw.get("transforms") if isinstance(raw, Mapping) else None, "preprocessing")
    first = config.follow(first[0], "preprocessing") if isinstance(first, list) and first else {}
    keys = config.value(first.get("keys", "image"), "keys") if isinstance(first, Mapping) else "image"
    key = keys[0] if isinstance(keys, list) and len(keys) == 1 else keys
    if not isinstance(key, str):
        raise ModelError(f"Expected one image for the transforms in {config.name}, found {shown(keys)}. {ONLY}")
    rules: dict[str, Any] = {}
    scalings: list[tuple[Normalisation, ...]] = []
    for kind, given in transforms(config, raw, "preprocessing", BEFORE, key):
        if "foreground" in rules and kind not in ("EnsureType", "EnsureChannelFirst"):
            raise ModelError(f"{kind} comes after CropForeground in {config.name}: MedTL crops last. {ONLY}")
        if kind == "Orientation":
            if "spacing" in rules:
                raise ModelError(f"Orientation comes after Spacing in {config.name}: MedTL turns first. {ONLY}")
            rules["orientation"] = str(given["axcodes"])
        elif kind == "Spacing":
            if "spacing" in rules or given["mode"] not in ("bilinear", ["bilinear"]):
                raise ModelError(f"Expected one Spacing with bilinear mode in {config.name}, found {given['mode']!r}.")
            rules["spacing"] = tuple(numbers(given["pixdim"], "pixdim of Spacing", 3))
            rules["normalise_first"] = bool(scalings)
        elif kind == "CropForeground":
            if given["source_key"] != key:
                raise ModelError(f"CropForeground is by {shown(given['source_key'])} and not by the image. {ONLY}")
            rules["foreground"] = True
        elif kind not in ("LoadImage", "EnsureChannelFirst", "EnsureType"):
            if scalings and "spacing" in rules and rules["normalise_first"]:
                raise ModelError(f"{config.name} scales before and after Spacing; MedTL does one of both. {ONLY}")
            scalings += scaling_of(kind, given, channels)
    if any(len(set(each)) > 1 for each in scalings[1:]):
        raise ModelError(f"{config.name} scales channels differently after another scaling. {ONLY}")
    scalings = scalings or [(Normalisation("fixed"),) * channels]
    rules |= {"normalisation": scalings[0], "rescaling": tuple(each[0] for each in scalings[1:])}
    return Preprocessing(rules, key)


def scaling_of(kind: str, given: Mapping[str, Any], channels: int) -> list[tuple[Normalisation, ...]]:
    """The scalings of a transform, one after the other, each for all channels.

    Raises: ModelError when its numbers are missing, or channels are scaled together.
    """
    if kind == "ScaleIntensityRange":
        low, high = (number(given[key], f"{key} of {kind}") for key in ("a_min", "a_max"))
        bottom, top = (number(given[key], f"{key} of {kind}") for key in ("b_min", "b_max"))
        if not (low < high and bottom < top):
            raise ModelError(
                f"Expected ranges for {kind} in {CONFIG}, found {low:g} to {high:g}, {bottom:g} to {top:g}."
            )
        scale = (high - low) / (top - bottom)
        limits = (low, high) if given["clip"] is True else None
        return [(Normalisation("fixed", limits=limits, shift=low - bottom * scale, scale=scale),) * channels]
    if channels > 1 and given["channel_wise"] is not True:
        raise ModelError(f"{kind} scales all channels together in {CONFIG}; MedTL scales each by itself. {ONLY}")
    if kind == "ScaleIntensity":
        bottom, top = (number(given[key], f"{key} of {kind}") for key in ("minv", "maxv"))
        if not bottom < top:
            raise ModelError(f"Expected a range for {kind} in {CONFIG}, found {bottom:g} to {top:g}.")
        scalings = [(Normalisation("range"),) * channels]
        if (bottom, top) != (0, 1):
            scale = 1 / (top - bottom)
            scalings.append((Normalisation("fixed", shift=-bottom * scale, scale=scale),) * channels)
        return scalings
    plain = Normalisation("zscore", masked=given["nonzero"] is True, filled=False)
    if given["subtrahend"] is None and given["divisor"] is None:
        return [(plain,) * channels]
    shifts, scales = (numbers(given[key], f"{key} of {kind}", channels) for key in ("subtrahend", "divisor"))
    each = zip(shifts, scales, strict=True)
    return [tuple(replace(plain, scheme="fixed", shift=shift, scale=scale or 1.0) for shift, scale in each)]


# --- the network and its windows ---


def network_of(config: Config) -> tuple[str, dict[str, Any]]:
    """The name and the arguments of the network, as `medtl.model.networks` builds it.

    Raises: ModelError when it is another one.
    """
    key = "network_def" if "network_def" in config.entries else "network"
    raw = config.follow(f"@{key}", "network")
    name = name_of(raw, r"networks\.nets")
    if name not in NETWORKS:
        raise ModelError(
            f"Expected a network of {', '.join(NETWORKS)} in {config.name}, found {shown(raw)}, which MedTL does not "
            "build. Choose another bundle."
        )
    given = {key: value for key, value in raw.items() if key not in ("_target_", "_desc_")}
    return NETWORKS[name], {key: config.value(value, f"{key} of {name}") for key, value in given.items()}


def inferer_of(config: Config, dimensions: int) -> dict[str, Any]:
    """How windows lie, as entries of `WindowSpec`.

    Raises: ModelError when the inferer is another one, or does what MedTL does not do.
    """
    raw = config.follow("@inferer", "inferer")
    if name_of(raw, "inferers") == "SimpleInferer":
        raise ModelError(
            f"{config.name} gives the network whole volumes (SimpleInferer); MedTL gives it windows. Choose a bundle "
            "with a SlidingWindowInferer."
        )
    kind = kind_of(config, raw, "inferer", "inferers", INFERERS)
    given = arguments_of(config, raw, kind, INFERERS[kind])
    if (kind == "SliceInferer") != (dimensions == 2):
        raise ModelError(f"Expected a SliceInferer for a network of slices only, found {kind} in {config.name}. {ONLY}")
    patch = [int(side) for side in numbers(given["roi_size"], f"roi_size of {kind}", dimensions)]
    overlaps = set(numbers(given["overlap"], f"overlap of {kind}", dimensions))
    sigmas = set(numbers(given["sigma_scale"], f"sigma_scale of {kind}", dimensions))
    overlap = overlaps.pop()
    if min(patch) < 1 or overlaps or len(sigmas) > 1 or not 0 <= overlap <= 1 - SMALLEST_STEP:
        raise ModelError(
            f"Expected sides above 0 for the roi_size of {kind}, one overlap from 0 to {1 - SMALLEST_STEP:g} and one "
            f"sigma_scale in {config.name}, found {shown(given)}."
        )
    weights = {"constant": "constant", "gaussian": "centred"}.get(str(given["mode"]))
    padding = {"constant": "constant", "replicate": "edge"}.get(str(given["padding_mode"]))
    if weights is None or padding is None:
        found = shown(given["padding_mode"] if padding is None else given["mode"])
        raise ModelError(
            f"Expected the mode constant or gaussian, and the padding_mode constant or replicate, for {kind} in "
            f"{config.name}, found {found}."
        )
    axes = (2, 1, 0)  # MONAI's arrays are (X, Y, Z)
    if dimensions == 2:
        along = given["spatial_dim"]
        if along not in (0, 1, 2) or isinstance(along, bool):
            raise ModelError(f"Expected 0, 1 or 2 for the spatial_dim of {kind}, found {shown(along)}.")
        axes = (axes[along], *(axis for axis in axes if axis != axes[along]))  # type: ignore[assignment]
    return {
        "patch": tuple(patch),
        "step": 1 - overlap,
        "placement": "fixed",
        "weights": weights,
        "sigma": sigmas.pop(),
        "padding": padding,
        "fill": number(given["cval"], f"cval of {kind}"),
        "axes": axes,
    }


# --- after the network ---


@dataclass(frozen=True)
class Postprocessing:
    """How outputs become labels: the card's decision and threshold, what is interpolated and by which degree, and
    whether only the largest part of each label is kept."""

    decision: str = ""
    threshold: float = 0.5
    mixed: str = "logits"
    logits_order: int = 1
    largest: bool = False
    rounded: bool = False


def postprocessing_of(config: Config, before: Preprocessing, labels: Sequence[Label]) -> Postprocessing:
    """What is done to the network's output.

    Raises: ModelError when a transform, or their order, is not known.
    """
    found: dict[str, Any] = {}
    activation, inverted = "", False
    for kind, given in transforms(config, "@postprocessing", "postprocessing", AFTER, "pred"):
        if kind == "Activations":
            named = [name for name in ("sigmoid", "softmax") if given[name] is True]
            if len(named) != 1 or activation or "decision" in found:
                raise ModelError(f"Expected sigmoid or softmax once, before the decision, in {config.name}. {ONLY}")
            activation = named[0]
        elif kind == "AsDiscrete":
            if "decision" in found:
                raise ModelError(f"Expected one AsDiscrete in the postprocessing of {config.name}, found two. {ONLY}")
            found |= decision_of(config, given, activation, len(labels))
        elif kind == "Invert":
            if inverted or given["orig_keys"] not in (None, before.key, [before.key]):
                raise ModelError(f"Expected one Invert, of {before.key!r}, in {config.name}, found {shown(given)}.")
            inverted = True
            found["mixed"] = "probabilities" if activation and "decision" not in found else "logits"
            found["logits_order"] = 0 if given["nearest_interp"] is not False or "decision" in found else 1
            found["rounded"] = given["nearest_interp"] is False and "decision" in found
        elif kind == "KeepLargestConnectedComponent":
            applied, values = given["applied_labels"], {label.value for label in labels}
            kept = {applied} if type(applied) is int else set(applied) if isinstance(applied, list) else values
            if "decision" not in found or kept != values:
                raise ModelError(
                    f"Expected KeepLargestConnectedComponent after AsDiscrete and for all labels in {config.name}, "
                    f"found {shown(applied)}. {ONLY}"
                )
            found["largest"] = True
    if "decision" not in found:
        raise ModelError(
            f"Expected AsDiscrete with argmax or a threshold in the postprocessing of {config.name}. {ONLY}"
        )
    if before.moves and not inverted:
        raise ModelError(f"Expected Invert in the postprocessing of {config.name}: volumes are resampled. {ONLY}")
    answer = Postprocessing(**found)
    if answer.decision == "regions" and "foreground" in before.rules and answer.mixed == "logits":
        raise ModelError(f"{config.name} inverts a crop before the sigmoid: all outside of it would be a label. {ONLY}")
    return answer


def decision_of(config: Config, given: Mapping[str, Any], activation: str, labels: int) -> dict[str, Any]:
    """The card's decision and threshold of an AsDiscrete.

    Raises: ModelError when it is neither an argmax nor a threshold of one output.
    """
    threshold = given["threshold"]
    if given["argmax"] is True and threshold is None and activation != "sigmoid":
        return {"decision": "argmax"}
    if given["argmax"] is False and is_number(threshold) and activation == "sigmoid":
        if labels != 1:
            raise ModelError(
                f"{config.name} decides each output by itself, so labels overlap: which is written over which is then "
                f"unknown. {ONLY}"
            )
        return {"decision": "regions", "threshold": float(threshold)}
    raise ModelError(
        f"Expected AsDiscrete with argmax after softmax, or with a threshold after sigmoid, in {config.name}, found "
        f"{shown(given)} after {activation or 'neither'}. {ONLY}"
    )


def check_evaluator(config: Config) -> None:
    """Raise ModelError when the entries that are read here are not those that MONAI runs."""
    raw = config.follow(config.entries.get("evaluator"), "evaluator")
    if name_of(raw, "engines") != "SupervisedEvaluator":
        raise ModelError(
            f"Expected a SupervisedEvaluator, which runs one network once, in {config.name}, found {shown(raw)}. {ONLY}"
        )
    for key in ("prepare_batch", "iteration_update"):
        if raw.get(key) is not None:
            raise ModelError(f"The evaluator in {config.name} has its own {key}: {shown(raw[key])}. {ONLY}")
    network = config.entries.get("network")
    own = network is None or isinstance(network, Mapping)
    ran = {key: raw.get(key) for key in ("network", "inferer", "postprocessing")}
    for key, text in ran.items():
        if not isinstance(text, str) or not re.fullmatch(rf"\$?@{key}", text):
            raise ModelError(
                f"Expected @{key} for the {key} of the evaluator in {config.name}, found {shown(text)}. {ONLY}"
            )
    if not own and not re.fullmatch(r"\$?\s*@network_def(\.to\(@device\))?\s*", str(network)):
        raise ModelError(f"Expected @network_def for the network in {config.name}, found {shown(network)}. {ONLY}")


# --- the card ---


def labels_of(metadata: Mapping[str, Any], outputs: int) -> tuple[Label, ...]:
    """The labels in the order of the network's outputs, without background.

    Raises: ModelError when the metadata name more or fewer.
    """
    found: Any = metadata
    for key in ("network_data_format", "outputs", "pred", "channel_def"):
        found = found.get(key) if isinstance(found, Mapping) else None
    names = {key: str(value) for key, value in found.items()} if isinstance(found, Mapping) else {}
    if outputs == 1:  # of a sigmoid: with or without its background
        names = {str(n): name for n, name in enumerate(v for v in names.values() if v.casefold() != "background")}
    if set(names) != {str(n) for n in range(outputs)}:
        raise ModelError(
            f"Expected the names of {outputs} outputs in network_data_format.outputs.pred.channel_def of {METADATA}, "
            f"found {shown(list(names.values()))}. Correct the metadata."
        )
    first = 0 if outputs == 1 else 1
    return tuple(
        a_label(n - first, re.sub(r"\s+", "_", names[str(n)]), names[str(n)], n - first + 1)
        for n in range(first, outputs)
    )


def channels_of(metadata: Mapping[str, Any], count: int, given: Sequence[str] | None) -> tuple[str, ...]:
    """The names of the network's channels: those given, else the metadata's; that of the modality where it is one.

    Raises: ModelError when there are more or fewer.
    """
    found: Any = metadata
    for key in ("network_data_format", "inputs", "image"):
        found = found.get(key) if isinstance(found, Mapping) else None
    image: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    named = image.get("channel_def")
    names = [str(value) for value in named.values()] if isinstance(named, Mapping) else []
    if count == 1 and isinstance(image.get("modality"), str):
        names = [image["modality"]]
    names = list(given) if given is not None else names or ["image"]
    if len(names) != count or not all(name.strip() for name in names):
        raise ModelError(f"Expected {count} names of channels, found {len(names)}: {', '.join(names)[:80]}.")
    return tuple(names)


def weights_of(config: Config) -> str:
    """The file of weights that the configuration loads.

    Raises: ModelError when it is none in the folder models.
    """
    handlers = config.entries.get("handlers")
    candidates = [*config.entries.values(), *(handlers if isinstance(handlers, list) else [])]
    loaders = [raw for raw in candidates if isinstance(raw, Mapping) and raw.get("_target_") == "CheckpointLoader"]
    if not loaders:
        return DEFAULT_WEIGHTS
    path = config.value(loaders[0].get("load_path"), "load_path of CheckpointLoader")
    name = "/".join(str(path).split("/")[-2:])
    if not re.fullmatch(WEIGHTS, name):
        raise ModelError(
            f"Expected weights such as {DEFAULT_WEIGHTS} for the CheckpointLoader in {config.name}, found "
            f"{shown(path)}. MedTL takes weights, no programs such as a .ts file."
        )
    return name


def card_of(bundle: Bundle, options: ImportOptions) -> tuple[ModelCard, Postprocessing]:
    """The card of the bundle, without the SHA-256 of its weights.

    Raises: ModelError when the bundle cannot be imported, with the reason.
    """
    config, metadata = bundle.config, bundle.metadata
    check_evaluator(config)
    network, arguments = network_of(config)
    dimensions, count, outputs = (
        arguments.get(key, default) for key, default in (("spatial_dims", 3), ("in_channels", 1), ("out_channels", 2))
    )
    if dimensions not in (2, 3) or type(count) is not int or type(outputs) is not int:
        raise ModelError(f"Expected whole numbers for the channels and 2 or 3 for spatial_dims of the {network}.")
    before = preprocessing_of(config, count)
    names = channels_of(metadata, count, options.channels)
    labels = labels_of(metadata, outputs)
    rules, windows = dict(before.rules), inferer_of(config, dimensions)
    if dimensions == 2 and "spacing" in rules:
        raise ModelError(f"{config.name} resamples volumes for a network of slices; MedTL keeps their spacing. {ONLY}")
    if "spacing" in rules and min(rules["spacing"]) <= 0:
        raise ModelError(f"Expected numbers above 0 for the pixdim of Spacing in {config.name}.")
    rules["orientation"] = rules.get("orientation", STORED)
    after = postprocessing_of(config, before, labels)
    name = re.sub(r"[^A-Za-z0-9_]+", "-", bundle.title).strip("-_")[:60] or "zoo"
    card = ModelCard(
        name=options.name or name,
        version=str(metadata.get("version", "1.0.0"))[:40],
        description=f"{str(metadata.get('description', bundle.title))[:300]}: a bundle of MONAI; imported, not "
        "validated by MedTL; research use, not for diagnosis",
        task="segmentation",
        labels=labels,
        networks=(NetworkSpec(network, arguments),),
        input=InputSpec(channels=names),
        sha256="",
        calibration=Calibration(threshold=after.threshold),
        cleanup=Cleanup(min_share=1.0 if after.largest else 0.0),
        windows=WindowSpec(
            **{"spacing": (), **rules, **windows},
            crop=False,
            order=1,
            logits_order=after.logits_order,
            thick_ratio=None,
            resampling="points",
            mixed=after.mixed,
        ),
        decision=after.decision,
    )
    return card, after


def readme_of(card: ModelCard, after: Postprocessing, about: Mapping[str, Any]) -> str:
    """The card for people."""
    labels = "\n".join(f"| {label.value} | {label.id} | {label.name} |" for label in card.labels)
    rounded = (
        "\n- **Borders**: MONAI interpolates the numbers of labels, which gives numbers of other labels or of none at "
        "borders. Here each voxel has the label of the nearest voxel that the network saw."
        if after.rounded
        else ""
    )
    largest = (
        "\n- **Largest parts**: MONAI keeps the largest part of each label among the voxels that the network saw, MedTL"
        " among those of the volume. Parts that only touch at corners can differ."
        if after.largest and after.logits_order == 0
        else ""
    )
    return f"""# {card.name}

A bundle of MONAI, imported. **Not validated by MedTL; research use, not for diagnosis.**

{card.description}

- **From**: the bundle `{about["folder"]}`, version {about["version"]}, weights `{about["weights"]}`. The SHA-256 of its
  files are in `configs/metadata.json` (`medtl.training.imported`).
- **Channels**: {", ".join(card.input.channels)}, in this order.{rounded}{largest}
- **Licence of the weights**: see `LICENSE`.

| value | label | name |
| --- | --- | --- |
{labels}
"""
