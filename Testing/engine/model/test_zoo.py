"""Bundles of MONAI's Model Zoo: what MedTL makes of them segments as MONAI does; what it cannot do, it refuses by name,
and it runs nothing of a bundle."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from small_zoo import (
    ARGMAX,
    CONFIG,
    INVERT,
    METADATA,
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
from medtl.errors import InputError, ModelError
from medtl.model import checkpoint
from medtl.model.bundle import load_model
from medtl.model.card import Cleanup
from medtl.model.import_model import import_model
from medtl.model.nnunet import ImportOptions
from medtl.segmentation import segment
from medtl.volume import Volume, geometry_of

pytestmark = pytest.mark.pickles

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


def test_the_bundle_says_where_it_comes_from(tmp_path):
    """The one test in which a process of its own reads the weights, here from under a key of the file."""
    config = a_config(after=(ARGMAX, LARGEST, INVERT))
    folder = write_zoo(tmp_path / "tiny_zoo", config, key="model")
    (folder / "LICENSE").write_text("Apache License\n")
    (folder / "models" / "model.ts").write_text("a program")
    made = import_model(folder, ImportOptions(name="my_model", channels=("CT of the abdomen",)))
    card = load_model("my_model", "cpu").card
    assert [(label.value, label.id, label.name) for label in card.labels] == [
        (1, "spleen", "spleen"),
        (2, "left_kidney", "left kidney"),
    ]
    assert card.labels[0].snomed
    assert card.version == "0.5.9"
    assert card.input.channels == ("CT of the abdomen",)
    assert card.cleanup == Cleanup(min_share=1.0)
    about = card.training["imported"]
    assert (about["folder"], about["weights"]) == ("tiny_zoo", "models/model.pt")
    assert set(about["files"]) == {CONFIG, METADATA, "models/model.pt", "LICENSE"}
    assert (made / "LICENSE").read_text() == "Apache License\n"
    assert "each voxel has the label of the nearest voxel" in (made / "docs" / "README.md").read_text()
    assert not (made / "models" / "model.pt").exists()


def test_a_zip_of_a_bundle_is_imported(tmp_path, weights_read_here):
    write_zoo(tmp_path / "in" / "tiny", a_config())
    archive = shutil.make_archive(str(tmp_path / "tiny"), "zip", tmp_path / "in")
    assert load_model(str(import_model(Path(archive))), "cpu").card.name == "tiny"


def test_weights_of_another_network_are_refused(tmp_path, weights_read_here):
    folder = write_zoo(tmp_path / "tiny", a_config())
    changed = a_config({**UNET, "channels": [4, 12]})
    (folder / CONFIG).write_text(json.dumps(changed))
    with pytest.raises(ModelError, match=r"are not those of the network in configs/inference.json: \d+ layers differ"):
        import_model(folder)


def replaced(key: str, value: Any) -> dict[str, Any]:
    """The configuration with another entry."""
    return a_config() | {key: value}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (a_config({"_target_": "DiNTS"}), "Expected a network of UNet, SegResNet, .*found the component 'DiNTS'"),
        (a_config({"_target_": "scripts.networks.UNesT"}), "names 'scripts.networks.UNesT', its own program"),
        (a_config({"_target_": "os.system", "command": "true"}), "found the component 'os.system'"),
        (a_config({"_target_": "monai.networks.nets.os.system"}), "found the component"),
        (a_config({**UNET, "channels": "$[4, 8, *range(9)]"}), "channels of UNet in .* not run"),
        (a_config({**UNET, "channels": [4] * 100_000}), "does not take the arguments|needs more than"),
        (a_config({**UNET, "kernel": 3}), "'kernel' is unknown"),
        (a_config(before=({"_target_": "Lambdad", "func": "$lambda x: x"},)), "found the component 'Lambdad'"),
        (a_config(before=({**SPACING, "mode": "nearest"},)), "one Spacing with bilinear mode"),
        (a_config(before=({**SPACING, "diagonal": True},)), "Expected False for diagonal of Spacing"),
        (a_config(before=({**SPACING, "pixdim": "$__import__('os').system('true')"},)), "which is not run"),
        (a_config(before=({**SPACING, "pixdim": [1, 2]},)), "Expected 3 numbers for the pixdim"),
        (a_config(before=({**SPACING, "speed": 1},)), "Spacing has the argument 'speed'"),
        (a_config(before=(RANGE, SPACING, SCALED)), "scales before and after Spacing"),
        (a_config(before=({"_target_": "CropForegroundd", "source_key": "image"}, SPACING)), "MedTL crops last"),
        (a_config(inferer={"_target_": "SimpleInferer"}), r"whole volumes \(SimpleInferer\)"),
        (a_config(inferer={**WINDOWS, "mode": "constant2"}), "the mode constant or gaussian"),
        (a_config(inferer={**WINDOWS, "overlap": 0.99}), "one overlap from 0 to 0.9"),
        (a_config(inferer={**WINDOWS, "roi_size": [12, 8, -1]}), "sides above 0 for the roi_size"),
        (a_config(inferer={**WINDOWS, "roi_size": [10**9, 8, 8]}), "a patch of 1000000000 x 8 x 8"),
        (a_config(after=(SOFTMAX, ARGMAX)), "Expected Invert in the postprocessing"),
        (a_config(after=(SOFTMAX, INVERT)), "Expected AsDiscrete"),
        (a_config(after=(SIGMOID, INVERT, THRESHOLD)), "so labels overlap"),
        (a_config(after=(SOFTMAX, INVERT, {**ARGMAX, "to_onehot": 3})), "Expected None for to_onehot"),
        (a_config(after=(ARGMAX, INVERT, {**LARGEST, "applied_labels": [1]})), "for all labels"),
        (replaced("inferer", "@other"), "Expected the entry 'other'"),
        (replaced("inferer", "@inferer"), "refers|leads in a circle"),
        (replaced("network", "$@network_def.half()"), "Expected @network_def for the network"),
        (replaced("evaluator", {"_target_": "EnsembleEvaluator"}), "Expected a SupervisedEvaluator"),
        (
            replaced("checkpointloader", {"_target_": "CheckpointLoader", "load_path": "/etc/passwd"}),
            "Expected weights such as models/model.pt",
        ),
    ],
)
def test_what_medtl_cannot_do_is_refused_by_name(tmp_path, monkeypatch, config, message):
    ran: list[str] = []
    monkeypatch.setattr(os, "system", ran.append)
    folder = write_zoo(tmp_path / "tiny", a_config())
    (folder / CONFIG).write_text(json.dumps(config))
    with pytest.raises(ModelError, match=message):
        import_model(folder)
    assert not ran
    assert not list((tmp_path / "home" / "models").iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / CONFIG).rename(folder / "configs/inference.yaml"), "MedTL reads JSON"),
        (lambda folder: (folder / "models/model.pt").rename(folder / "models/model.ts"), "the program models/model.ts"),
        (lambda folder: (folder / "models/model.pt").unlink(), "monai.bundle download"),
        (lambda folder: (folder / METADATA).write_text(json.dumps(some_metadata(("a", "b")))), "names of 3 outputs"),
        (lambda folder: (folder / CONFIG).write_text("{"), "not valid JSON"),
    ],
)
def test_an_incomplete_bundle_is_refused(tmp_path, change, message):
    folder = write_zoo(tmp_path / "tiny", a_config())
    change(folder)
    with pytest.raises(ModelError, match=message):
        import_model(folder)


def test_options_of_nnunet_are_refused(tmp_path):
    folder = write_zoo(tmp_path / "tiny", a_config())
    with pytest.raises(InputError, match="Expected a model of nnU-Net 2 for these options"):
        import_model(folder, ImportOptions(folds=("0",)))
