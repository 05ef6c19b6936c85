"""Bundles as MONAI's Model Zoo has them, with a network small enough for tests, and what MONAI makes of a volume."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor

CONFIG, METADATA = "configs/inference.json", "configs/metadata.json"
UNET = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "channels": [4, 8],
    "strides": [2],
    "num_res_units": 1,
    "norm": "batch",
}
RANGE = {"_target_": "ScaleIntensityRanged", "a_min": -57, "a_max": 164, "b_min": 0, "b_max": 1, "clip": True}
SPACING = {"_target_": "Spacingd", "pixdim": [1.5, 1.5, 2.0], "mode": "bilinear"}
WINDOWS = {"_target_": "SlidingWindowInferer", "roi_size": [12, 8, 10], "sw_batch_size": 4, "overlap": 0.5}
SOFTMAX, ARGMAX = {"_target_": "Activationsd", "softmax": True}, {"_target_": "AsDiscreted", "argmax": True}
INVERT = {
    "_target_": "Invertd",
    "transform": "@preprocessing",
    "orig_keys": "@image_key",
    "nearest_interp": False,
    "to_tensor": True,
}
SPATIAL = ("LoadImaged", "EnsureChannelFirstd", "Orientationd")


def a_config(
    network: dict[str, Any] = UNET,
    before: Sequence[dict[str, Any]] = (SPACING, RANGE),
    inferer: dict[str, Any] = WINDOWS,
    after: Sequence[dict[str, Any]] = (SOFTMAX, INVERT, ARGMAX),
    orientation: str | None = "RAS",
) -> dict[str, Any]:
    """The content of inference.json, in the form of the bundle of the spleen."""
    turn = [{"_target_": "Orientationd", "axcodes": orientation}] if orientation else []
    first = [{"_target_": "LoadImaged"}, {"_target_": "EnsureChannelFirstd"}, *turn]
    steps = [*first, *before, {"_target_": "EnsureTyped", "device": "@device"}]
    save = {"_target_": "SaveImaged", "keys": "pred", "output_dtype": "$numpy.float32", "resample": False}
    return {
        "imports": ["$import glob", "$import os"],
        "bundle_root": ".",
        "image_key": "image",
        "datalist": "$list(sorted(glob.glob('/data/*.nii.gz')))",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": network,
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": [{**step, "keys": "@image_key"} for step in steps]},
        "dataset": {"_target_": "Dataset", "data": "@datalist", "transform": "@preprocessing"},
        "inferer": inferer,
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [*({**step, "keys": "pred"} for step in after), save],
        },
        "handlers": [{"_target_": "StatsHandler", "iteration_log": False}],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
            "amp": True,
        },
        "checkpointloader": {
            "_target_": "CheckpointLoader",
            "load_path": "$@bundle_root + '/models/model.pt'",
            "load_dict": {"model": "@network"},
        },
        "run": ["$@evaluator.run()"],
    }


def some_metadata(outputs: Sequence[str] = ("background", "spleen", "left kidney")) -> dict[str, Any]:
    """The content of metadata.json."""
    image = {"modality": "CT", "num_channels": 1, "channel_def": {"0": "image"}}
    return {
        "version": "0.5.9",
        "name": "Tiny segmentation",
        "description": "A tiny network",
        "authors": "nobody",
        "network_data_format": {
            "inputs": {"image": image},
            "outputs": {"pred": {"channel_def": {str(n): name for n, name in enumerate(outputs)}}},
        },
    }


def a_network(config: dict[str, Any], seed: int = 1, gain: float = 2.0) -> torch.nn.Module:
    """MONAI's network of the configuration: weights large enough for several labels."""
    torch.manual_seed(seed)
    given = {key: value for key, value in config["network_def"].items() if key != "img_size"}  # of older versions
    network: torch.nn.Module = ConfigParser({"network_def": given}).get_parsed_content("network_def")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(gain)
    return network.eval()


def write_zoo(
    folder: Path, config: dict[str, Any], metadata: dict[str, Any] | None = None, key: str | None = None
) -> Path:
    """The bundle, written into `folder`; its weights lie under `key` of the file."""
    for name in ("configs", "models"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(config))
    (folder / METADATA).write_text(json.dumps(some_metadata() if metadata is None else metadata))
    state = a_network(config).state_dict()
    torch.save(state if key is None else {key: state}, folder / "models" / "model.pt")
    return folder


def a_volume(size: tuple[int, int, int] = (18, 26, 9), seed: int = 0) -> sitk.Image:
    """A smooth CT with other spacings along each axis, permuted and flipped axes."""
    rng = np.random.default_rng(seed)
    noise = sitk.GetImageFromArray(rng.normal(size=size[::-1]).astype(np.float32))
    image = sitk.Cast(150 * sitk.SmoothingRecursiveGaussian(noise, 1.5) * 8 + 40, sitk.sitkInt16)
    image.SetSpacing((1.1, 0.8, 3.1))
    image.SetOrigin((-31.0, 17.0, 5.0))
    image.SetDirection((0, 0, -1, 1, 0, 0, 0, -1, 0))
    return image


def monai_labels(config: dict[str, Any], image: sitk.Image) -> np.ndarray:
    """What MONAI makes of the image by the configuration, (Z, Y, X) on its own grid.

    Loading and turning need packages that are not here: SimpleITK does both.
    """
    steps = config["preprocessing"]["transforms"]
    codes = next((step["axcodes"] for step in steps if step["_target_"] == "Orientationd"), None)
    turned = sitk.DICOMOrient(image, codes) if codes else image
    affine = np.eye(4)
    affine[:3, :3] = np.array(turned.GetDirection()).reshape(3, 3) * turned.GetSpacing()
    affine[:3, 3] = turned.GetOrigin()
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    array = sitk.GetArrayFromImage(turned).astype(np.float32).T[None]
    kept = [step for step in steps if step["_target_"] not in SPATIAL]
    after = config["postprocessing"]["transforms"]
    kept_after = [step for step in after if step["_target_"] != "SaveImaged"]
    parser = ConfigParser(
        {
            **config,
            "imports": [],
            "device": "cpu",
            "preprocessing": {**config["preprocessing"], "transforms": kept},
            "postprocessing": {**config["postprocessing"], "transforms": kept_after},
        }
    )
    parser.parse()
    prepare, infer, finish = (parser.get_parsed_content(key) for key in ("preprocessing", "inferer", "postprocessing"))
    case = prepare({"image": MetaTensor(np.ascontiguousarray(array), affine=affine)})
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "inverse has been called but no invertible transforms")
        logits = infer(case["image"][None], a_network(config))[0]
        case["pred"] = MetaTensor(logits).copy_meta_from(case["image"])
        labels = np.asarray(finish(case)["pred"])[0].T
    result = sitk.GetImageFromArray(np.ascontiguousarray(labels).astype(np.float32))
    result.CopyInformation(turned)
    if not codes:
        return sitk.GetArrayFromImage(result)
    identity = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(image.GetDirection())
    return sitk.GetArrayFromImage(sitk.DICOMOrient(result, identity))
