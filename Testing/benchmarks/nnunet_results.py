"""nnU-Net results folders for `nnunet.py`, made by nnU-Net itself: run with the Python that has `nnunetv2`.

    PYTHON Testing/benchmarks/nnunet_results.py default FOLDER
    PYTHON Testing/benchmarks/nnunet_results.py copy SOURCE FOLDER

`default` writes a network of the size that nnU-Net plans for 3D by default, with random weights. `copy` names
nnU-Net's own trainer in the checkpoints, because it does not run a model whose trainer's class is missing.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet

TRAINER = "nnUNetTrainer"
FEATURES = [32, 64, 128, 256, 320, 320]
PATCH = [128, 128, 128]
SPACING = [1.5, 1.5, 1.5]  # one window for a head of BraTS
LABELS = {"background": 0, "oedema": 1, "core": 2, "enhancing": 3}


def main(arguments: list[str]) -> None:
    """Write what the first argument names."""
    kind, *paths = arguments
    {"default": write_default, "copy": copy_results}[kind](*map(Path, paths))


def copy_results(source: Path, folder: Path) -> None:
    """Copy a results folder whose checkpoints then name nnU-Net's own trainer."""
    for file in [*source.glob("*.json"), *source.glob("fold_*/checkpoint_final.pth")]:
        target = folder / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".json":
            shutil.copy(file, target)
        else:
            checkpoint = torch.load(file, map_location="cpu", weights_only=False)  # as nnU-Net itself does
            torch.save({**checkpoint, "trainer_name": TRAINER, "optimizer_state": None}, target)


def write_default(folder: Path) -> None:
    """Write a results folder of the default network, seeded."""
    count = len(FEATURES)
    arguments: dict[str, Any] = {
        "n_stages": count,
        "features_per_stage": FEATURES,
        "kernel_sizes": [[3, 3, 3]] * count,
        "strides": [[1, 1, 1], *[[2, 2, 2]] * (count - 1)],
        "n_conv_per_stage": [2] * count,
        "n_conv_per_stage_decoder": [2] * (count - 1),
        "conv_bias": True,
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin_kwargs": {"inplace": True},
    }
    resample = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    kind = "torch.nn.modules"
    names = {"conv_op": f"{kind}.conv.Conv3d", "norm_op": f"{kind}.instancenorm.InstanceNorm3d"}
    names |= {"nonlin": "torch.nn.LeakyReLU"}
    configuration = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": PATCH,
        "spacing": SPACING,
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [True],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": resample,
        "resampling_fn_seg_kwargs": {**resample, "is_seg": True, "order": 1},
        "resampling_fn_probabilities_kwargs": {**resample, "order": 1},
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {**arguments, **names},
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
        "batch_dice": False,
    }
    plans = {
        "dataset_name": "Dataset705_Default",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"3d_fullres": configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": {}},  # asked for and not used
    }
    dataset = {"channel_names": {"0": "T2"}, "labels": LABELS, "numTraining": 0, "file_ending": ".nii.gz"}
    torch.manual_seed(0)
    kinds = {"conv_op": torch.nn.Conv3d, "norm_op": torch.nn.InstanceNorm3d, "nonlin": torch.nn.LeakyReLU}
    network = PlainConvUNet(1, num_classes=len(LABELS), deep_supervision=False, **{**arguments, **kinds})
    network.apply(network.initialize)
    checkpoint = {
        "network_weights": network.state_dict(),
        "init_args": {"plans": plans, "configuration": "3d_fullres", "fold": "all", "dataset_json": dataset},
        "trainer_name": TRAINER,
        "inference_allowed_mirroring_axes": (0, 1, 2),
        "current_epoch": 0,
    }
    (folder / "fold_all").mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans), encoding="utf-8")
    (folder / "dataset.json").write_text(json.dumps(dataset), encoding="utf-8")
    torch.save(checkpoint, folder / "fold_all" / "checkpoint_final.pth")


if __name__ == "__main__":
    main(sys.argv[1:])
