"""Results folders as nnU-Net 2 writes them, with a network small enough for tests."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medtl.model.networks import build
from medtl.model.nnunet import DATASET, PLANS

FOLDER = "Dataset009_Tiny/nnUNetTrainer__nnUNetPlans__3d_fullres"
PACKAGE = "dynamic_network_architectures.architectures.unet"
KERNELS, STRIDES = [[1, 3, 3], [3, 3, 3]], [[1, 1, 1], [1, 2, 2]]
ARGUMENTS = {
    "channels": 1,
    "outputs": 3,
    "features": [2, 4],
    "kernels": KERNELS,
    "strides": STRIDES,
    "blocks": [1, 2],
    "decoder_blocks": [1],
    "bias": True,
}


def a_dataset() -> dict[str, Any]:
    """The content of dataset.json."""
    return {
        "channel_names": {"0": "T2"},
        "labels": {"background": 0, "edema": 1, "core": 2},
        "numTraining": 7,
        "file_ending": ".nii.gz",
    }


def a_configuration() -> dict[str, Any]:
    """A configuration of plans.json: a plain U-Net that sees windows of 4 x 8 x 8 voxels."""
    kwargs = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    return {
        "preprocessor_name": "DefaultPreprocessor",
        "patch_size": [4, 8, 8],
        "spacing": [5.0, 1.0, 1.5],
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [True],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": dict(kwargs),
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {**kwargs, "order": 1},
        "architecture": {
            "network_class_name": f"{PACKAGE}.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": 2,
                "features_per_stage": [2, 4],
                "conv_op": "torch.nn.modules.conv.Conv3d",
                "kernel_sizes": KERNELS,
                "strides": STRIDES,
                "n_conv_per_stage": [1, 2],
                "n_conv_per_stage_decoder": [1],
                "conv_bias": True,
                "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
                "norm_op_kwargs": {"eps": 1e-05, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
        },
    }


def some_plans() -> dict[str, Any]:
    """The content of plans.json."""
    figures = {"mean": 40.0, "std": 20.0, "percentile_00_5": -100.0, "percentile_99_5": 300.0}
    return {
        "dataset_name": "Dataset009_Tiny",
        "plans_name": "nnUNetPlans",
        "transpose_forward": [2, 0, 1],
        "image_reader_writer": "SimpleITKIO",
        "label_manager": "LabelManager",
        "configurations": {"3d_fullres": a_configuration()},
        "foreground_intensity_properties_per_channel": {"0": figures},
    }


def some_weights(seed: int = 1, name: str = "plainunet", **arguments: Any) -> dict[str, torch.Tensor]:
    """Weights as checkpoints hold them: layers of the encoder again under other names."""
    torch.manual_seed(seed)
    weights = build(name, {**ARGUMENTS, **arguments}).state_dict()
    again = {f"decoder.encoder.{key[8:]}": value for key, value in weights.items() if key.startswith("encoder.")}
    modules = {key.replace(".conv.", ".all_modules.0."): value for key, value in weights.items() if ".conv." in key}
    return {**weights, **again, **modules}


def a_checkpoint(weights: dict[str, Any] | None = None, configuration: str = "3d_fullres") -> dict[str, Any]:
    """The entries of a checkpoint."""
    return {
        "network_weights": some_weights() if weights is None else weights,
        "optimizer_state": {"state": {0: {"momentum_buffer": torch.ones(3)}}},
        "logging": {"mean_fg_dice": [np.float64(0.5)], "epoch_start": [np.float32(1)], "lr": [np.int64(2)]},
        "init_args": {"configuration": configuration, "fold": 0, "device": torch.device("cpu"), "plans": some_plans()},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 2),
    }


def write_results(parent: Path, folds: tuple[str, ...] = ("0", "1"), folder: str = FOLDER) -> Path:
    """The results folder, written below `parent`, with other weights for each fold."""
    results = parent / folder
    for seed, fold in enumerate(folds):
        (results / f"fold_{fold}").mkdir(parents=True)
        torch.save(a_checkpoint(some_weights(seed)), results / f"fold_{fold}" / "checkpoint_final.pth")
    (results / PLANS).write_text(json.dumps(some_plans()))
    (results / DATASET).write_text(json.dumps(a_dataset()))
    return results


def change(file: Path, how: Callable[[dict[str, Any]], object]) -> None:
    """Change the content of a JSON file."""
    content = json.loads(file.read_text())
    how(content)
    file.write_text(json.dumps(content))
