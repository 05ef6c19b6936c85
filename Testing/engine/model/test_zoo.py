"""Bundles of MONAI's Model Zoo: what MedTL makes of them segments as MONAI does; what it cannot do, it refuses by name,
and it runs nothing of a bundle."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from small_zoo import (
    ARGMAX,
    INVERT,
    RANGE,
    SOFTMAX,
    SPACING,
    UNET,
    WINDOWS,
    a_config,
    a_volume,
    monai_labels,
    some_metadata,
    write_zoo,
)

import medtl.model.import_model
from medtl.model import checkpoint
from medtl.model.bundle import load_model
from medtl.model.import_model import import_model
from medtl.segmentation import segment
from medtl.volume import Volume, geometry_of

SIGMOID, THRESHOLD = {"_target_": "Activationsd", "sigmoid": True}, {"_target_": "AsDiscreted", "threshold": 0.5}
LARGEST = {"_target_": "KeepLargestConnectedComponentd", "applied_labels": [1, 2]}
NEAREST = {**INVERT, "nearest_interp": True}
NORMALISED = {"_target_": "NormalizeIntensityd", "nonzero": True}
SCALED = {"_target_": "ScaleIntensityd", "minv": -1.0, "maxv": 1.0}
NO_TIES = {**SPACING, "pixdim": [1.37, 1.43, 2.11]}  # for labels of the nearest voxel
SEGRESNET = {
    **{"_target_": "monai.networks.nets.SegResNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 3},
    **{"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1], "dropout_prob": 0.2},
}
VNET = {"_target_": "VNet", "in_channels": 1, "out_channels": 3, "act": "elu"}
SWIN = {
    **{"_target_": "SwinUNETR", "img_size": 32, "in_channels": 1, "out_channels": 3, "feature_size": 12},
    "use_checkpoint": False,
}
DYNUNET = {
    **{"_target_": "monai.networks.nets.dynunet.DynUNet", "spatial_dims": "$3", "in_channels": 1, "out_channels": 3},
    **{"kernel_size": [3, 3, 3], "strides": [1, 2, [2, 2, 1]], "upsample_kernel_size": [2, [2, 2, 1]]},
    **{"filters": [4, 8, 8], "norm_name": "instance", "deep_supervision": False, "res_block": True},
}
SLICES = {"_target_": "SliceInferer", "roi_size": [12, 12], "spatial_dim": 2}


@pytest.fixture(autouse=True)
def a_store(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))


@pytest.fixture
def weights_read_here(monkeypatch):
    """No process of its own reads the weights: starting it takes seconds."""
    monkeypatch.setattr(checkpoint, "limit_memory", lambda size: None)
    monkeypatch.setattr(
        medtl.model.import_model,
        "convert_weights",
        lambda source, target, _: checkpoint.convert("monai", source, target),
    )


def agreement(folder: Path, config: dict[str, Any], size: tuple[int, int, int] = (18, 26, 9)) -> float:
    """The share of voxels to which the imported bundle and MONAI give one label; MONAI gives at least two labels."""
    model = replace(load_model(str(import_model(folder)), "cpu"), bf16=False)
    image = a_volume(size)
    found = segment(Volume(sitk.GetArrayFromImage(image), geometry_of(image)), model).labelmap.array
    expected = monai_labels(config, image)
    assert len(np.unique(expected)) > 1
    return float((found == expected).mean())


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(a_config(), id="probabilities are interpolated, as for the spleen"),
        pytest.param(a_config(after=(INVERT, SOFTMAX, ARGMAX)), id="logits are interpolated"),
        pytest.param(
            a_config(
                before=(NO_TIES, NORMALISED, SCALED),
                inferer={**WINDOWS, "mode": "gaussian", "padding_mode": "replicate", "overlap": 0.25},
                after=(SOFTMAX, ARGMAX, NEAREST),
            ),
            id="labels of the nearest voxel, as for the whole body",
        ),
        pytest.param(
            a_config(before=(SCALED, {"_target_": "NormalizeIntensityd"}, SPACING)), id="scaled before resampling"
        ),
        pytest.param(
            a_config(before=(SPACING, RANGE, {"_target_": "CropForegroundd", "source_key": "@image_key"})),
            id="cropped to the foreground",
        ),
        pytest.param(
            a_config(before=(RANGE,), inferer={**WINDOWS, "roi_size": [32, 32, 32], "cval": -1}, orientation="LPI"),
            id="padded, in another orientation",
        ),
        pytest.param(
            a_config({**UNET, "spatial_dims": 2}, before=({"_target_": "ScaleIntensityd"},), inferer=SLICES)
            | {"output_dir": "./out"},
            id="slices, in another orientation",
        ),
        pytest.param(
            a_config(
                {**UNET, "spatial_dims": 2},
                before=({"_target_": "ScaleIntensityd"},),
                inferer=SLICES,
                orientation=None,
            ),
            id="slices as stored, as for the ventricles",
        ),
        pytest.param(a_config(SEGRESNET), id="SegResNet"),
        pytest.param(a_config(VNET, inferer={**WINDOWS, "roi_size": [16, 16, 16]}), id="VNet"),
        pytest.param(a_config(SWIN, inferer={**WINDOWS, "roi_size": [64, 32, 32]}), id="SwinUNETR"),
        pytest.param(a_config(DYNUNET), id="DynUNet"),
    ],
)
def test_an_imported_bundle_segments_as_monai_does(tmp_path, weights_read_here, config):
    folder = write_zoo(tmp_path / "tiny", config)
    assert agreement(folder, config) >= 0.9998


def test_a_threshold_of_one_output_decides(tmp_path, weights_read_here):
    config = a_config({**UNET, "out_channels": 1}, after=(SIGMOID, INVERT, THRESHOLD))
    folder = write_zoo(tmp_path / "tiny", config, some_metadata(("spleen",)))
    assert agreement(folder, config) >= 0.9998
