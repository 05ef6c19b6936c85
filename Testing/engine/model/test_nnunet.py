"""Plans of nnU-Net become cards, in their newer and older forms; what MedTL does not do is refused with the reason."""

import json
from pathlib import Path

import pytest
from small_results import ARGUMENTS, PACKAGE, a_configuration, a_dataset, some_plans

from medtl.errors import ModelError
from medtl.model.card import ModelCard, Normalisation, WindowSpec, check_card
from medtl.model.checkpoint import Checkpoint
from medtl.model.nnunet import DATASET, PLANS, ImportOptions, card_of, read_plans

CHECKPOINT = Checkpoint("nnUNetTrainer", "3d_fullres", "0", (0, 2))


@pytest.fixture
def files(tmp_path):
    return SmallFiles(tmp_path)


class SmallFiles:
    """The two files, to be changed before the card is made."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.plans, self.dataset = folder, some_plans(), a_dataset()

    @property
    def configuration(self) -> dict:
        return self.plans["configurations"]["3d_fullres"]

    @property
    def network(self) -> dict:
        return self.configuration["architecture"]["arch_kwargs"]

    def card(self, name="3d_fullres", folds=("0",), mirror=(0, 2), **options) -> ModelCard:
        (self.folder / PLANS).write_text(json.dumps(self.plans))
        (self.folder / DATASET).write_text(json.dumps(self.dataset))
        checkpoint = Checkpoint("nnUNetTrainer", name, "0", tuple(mirror))
        card = card_of(read_plans(self.folder, name), checkpoint, folds, ImportOptions(**options))
        check_card(card, "here")
        return card


def test_the_card_says_how_the_network_sees_a_volume(files):
    card = files.card(folds=("0", "1"))
    assert (card.name, card.decision, card.input.channels) == ("Tiny-3d_fullres", "argmax", ("T2",))
    assert card.input.plane == "sagittal"  # the first axis in the order of the network is array axis X
    assert [(label.value, label.id, label.name) for label in card.labels] == [
        (1, "edema", "edema"),
        (2, "core", "core"),
    ]
    assert [(spec.name, spec.arguments, spec.prefix) for spec in card.networks] == [
        ("plainunet", ARGUMENTS, "fold_0."),
        ("plainunet", ARGUMENTS, "fold_1."),
    ]
    assert card.windows == WindowSpec(
        patch=(4, 8, 8),
        spacing=(5.0, 1.0, 1.5),
        normalisation=(Normalisation("zscore", masked=True),),
        axes=(2, 0, 1),
        mirror=(0, 2),
        order=3,
        logits_order=1,
        thick_order=0,
        thick_ratio=3.0,
    )
    assert "not validated by MedTL; research use, not for diagnosis" in card.description


def test_the_user_chooses_name_channels_and_orientation(files):
    card = files.card(name="3d_fullres", channels=("FLAIR",), orientation="RAS")
    assert (card.input.channels, card.windows.orientation) == (("FLAIR",), "RAS")
    files.plans["image_reader_writer"] = "NibabelIOWithReorient"
    assert files.card().windows.orientation == "RAS"  # as that reader turns them
    assert files.card(orientation="stored").windows.orientation == "stored"
    with pytest.raises(ModelError, match="Expected 1 names of channels, found 2"):
        files.card(channels=("FLAIR", "T2"))


def test_plans_of_the_first_versions_say_the_same(files):
    new = files.card()
    del files.configuration["architecture"]
    files.configuration.update(
        UNet_class_name="PlainConvUNet",
        UNet_base_num_features=2,
        unet_max_num_features=4,
        conv_kernel_sizes=ARGUMENTS["kernels"],
        pool_op_kernel_sizes=ARGUMENTS["strides"],
        n_conv_per_stage_encoder=[1, 2],
        n_conv_per_stage_decoder=[1],
        num_pool_per_axis=[0, 1, 1],
    )
    files.dataset["modality"] = files.dataset.pop("channel_names")
    assert files.card() == new


def test_one_number_stands_for_all_stages_and_axes(files):
    files.network.update(kernel_sizes=3, strides=[1, [2, 2, 2]], n_conv_per_stage=2, n_conv_per_stage_decoder=1)
    arguments = files.card().networks[0].arguments
    assert arguments["kernels"] == [[3, 3, 3], [3, 3, 3]]
    assert arguments["strides"] == [[1, 1, 1], [2, 2, 2]]
    assert (arguments["blocks"], arguments["decoder_blocks"]) == ([2, 2], [1])


def test_a_residual_encoder_is_known_in_both_packages(files):
    files.network["n_blocks_per_stage"] = files.network.pop("n_conv_per_stage")
    for package in (PACKAGE, "dynamic_network_architectures.architectures.residual_unet"):
        files.configuration["architecture"]["network_class_name"] = f"{package}.ResidualEncoderUNet"
        assert files.card().networks[0].name == "residualunet"


def test_a_configuration_inherits(files):
    files.plans["configurations"]["big"] = {"inherits_from": "3d_fullres", "patch_size": [8, 8, 8]}
    files.plans["configurations"]["bigger"] = {"inherits_from": "big", "spacing": [1.0, 1.0, 1.0]}
    windows = files.card("bigger").windows
    assert (windows.patch, windows.spacing, windows.order) == ((8, 8, 8), (1.0, 1.0, 1.0), 3)
    files.plans["configurations"]["big"]["inherits_from"] = "bigger"
    with pytest.raises(ModelError, match="inherits from itself"):
        files.card("bigger")
    with pytest.raises(ModelError, match="no '2d', but 3d_fullres, big, bigger"):
        files.card("2d")


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        ("CTNormalization", Normalisation("fixed", limits=(-100.0, 300.0), shift=40.0, scale=20.0)),
        ("Rescale01Normalization", Normalisation("range")),
        ("RescaleTo01Normalization", Normalisation("range")),
        ("RGBTo01Normalization", Normalisation("fixed", scale=255.0)),
        ("NoNormalization", Normalisation("fixed")),
    ],
)
def test_every_normalisation_of_nnunet_is_known(scheme, expected, files):
    files.configuration["normalization_schemes"] = [scheme]
    assert files.card().windows.normalisation == (expected,)
    figures = files.plans.pop("foreground_intensity_properties_per_channel")
    files.plans["foreground_intensity_properties_by_modality"] = figures
    assert files.card().windows.normalisation == (expected,)


def test_axes_resampled_apart_follow_the_plans(files):
    for which in ("data", "probabilities"):
        files.configuration[f"resampling_fn_{which}_kwargs"].update(force_separate_z=False, order_z=1)
    assert (files.card().windows.thick_ratio, files.card().windows.thick_order) == (None, 1)


def test_a_region_is_named_for_what_later_ones_leave_of_it(files):
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4}
    files.dataset.update(labels=labels, regions_class_order=[1, 3, 2])
    card = files.card()
    assert card.decision == "regions"
    assert [(label.value, label.id, label.name) for label in card.labels] == [
        (1, "whole", "whole without core"),
        (3, "core", "core without enhancing"),
        (2, "enhancing", "enhancing"),
    ]
    assert card.networks[0].arguments["outputs"] == 3


def test_channels_of_one_name_are_numbered_and_labels_without_regions_may_be_lists(files):
    files.configuration.update(normalization_schemes=["NoNormalization"] * 2, use_mask_for_norm=[False] * 2)
    files.dataset.update(channel_names={"0": "MRI", "1": "MRI"})
    files.dataset["labels"] = {"background": 0, "b": [2], "a": 1, "ignore": 3}
    card = files.card()
    assert card.input.channels == ("MRI 1", "MRI 2")
    assert [label.id for label in card.labels] == ["a", "b"]


REFUSED = {
    "a second stage": (lambda f: f.configuration.update(previous_stage="3d_lowres"), "second stage of a cascade"),
    "a preprocessor": (lambda f: f.configuration.update(preprocessor_name="Mine"), "DefaultPreprocessor .* 'Mine'"),
    "a resampler": (lambda f: f.configuration.update(resampling_fn_data="fast"), "resampling_fn_data .* 'fast'"),
    "no resampler": (lambda f: f.configuration.pop("resampling_fn_probabilities"), "resampling_fn_prob.* found none"),
    "a label manager": (lambda f: f.plans.update(label_manager="Mine"), "LabelManager .* found 'Mine'"),
    "a network": (
        lambda f: f.configuration["architecture"].update(network_class_name="mine.PlainConvUNet"),
        "found 'mine.PlainConvUNet', a trainer's own",
    ),
    "a part of a network": (lambda f: f.network.update(squeeze_excitation=True), "has squeeze_excitation"),
    "another norm": (lambda f: f.network.update(norm_op="torch.nn.BatchNorm3d"), "InstanceNorm3d for norm_op"),
    "a norm without weights": (lambda f: f.network.update(norm_op_kwargs={}), "norm_op_kwargs"),
    "another activation": (lambda f: f.network.update(nonlin="torch.nn.ReLU"), "LeakyReLU for nonlin"),
    "a slope": (lambda f: f.network.update(nonlin_kwargs={"negative_slope": 0.2}), "nonlin_kwargs"),
    "other dimensions": (lambda f: f.network.update(conv_op="torch.nn.Conv2d"), "Conv3d for conv_op"),
    "many stages": (lambda f: f.network.update(n_stages=10**9), "2 to 12 for n_stages"),
    "wide stages": (lambda f: f.network.update(features_per_stage=10**9), "for features"),
    "too few kernels": (lambda f: f.network.update(kernel_sizes=[[3, 3, 3]]), "2 entries for kernel_sizes"),
    "flat kernels": (lambda f: f.network.update(kernel_sizes=[[3, 3], [3, 3]]), "3 numbers for a kernel"),
    "even kernels": (lambda f: f.network.update(kernel_sizes=2), "kernels of even size"),
    "a stride at first": (lambda f: f.network.update(strides=2), "a stride in its first stage"),
    "a patch between strides": (lambda f: f.configuration.update(patch_size=[4, 8, 7]), "that the strides divide"),
    "a patch of text": (lambda f: f.configuration.update(patch_size="8"), "a list for patch_size"),
    "spacing of text": (lambda f: f.configuration.update(spacing=["1", 1, 1]), "3 numbers for spacing"),
    "a spacing of 0": (lambda f: f.configuration.update(spacing=[0, 1, 1]), "the spacing 0"),
    "no axes": (lambda f: f.plans.pop("transpose_forward"), "3 numbers for transpose_forward"),
    "one axis twice": (lambda f: f.plans.update(transpose_forward=[0, 0, 1]), "axes that are no order"),
    "forced thick slices": (
        lambda f: f.configuration["resampling_fn_data_kwargs"].update(force_separate_z=True),
        "force_separate_z",
    ),
    "two ways along thick slices": (
        lambda f: f.configuration["resampling_fn_data_kwargs"].update(order_z=1),
        "in different ways",
    ),
    "a normalisation": (
        lambda f: f.configuration.update(normalization_schemes=["Mine"]),
        "normalise by 'Mine', which MedTL does not know",
    ),
    "no figures for CT": (
        lambda f: (
            f.configuration.update(normalization_schemes=["CTNormalization"]),
            f.plans.update(foreground_intensity_properties_per_channel={}),
        ),
        "an object for 0",
    ),
    "no configurations": (lambda f: f.plans.pop("configurations"), "an object for configurations"),
    "plans of nnU-Net 1": (lambda f: f.plans.update(configurations=[]), "an object for configurations"),
    "a gap in the labels": (lambda f: f.dataset["labels"].update(core=3), r"label values 1 to 2 .* found '\[1, 3\]'"),
    "labels of nnU-Net 1": (lambda f: f.dataset.update(labels={"0": "background"}), "whole numbers for the label '0'"),
    "regions without order": (lambda f: f.dataset["labels"].update(edema=[1, 2]), "regions_class_order of 2 .* none"),
    "no labels": (lambda f: f.dataset.update(labels={"background": 0}), "0 labels"),
    "many labels": (lambda f: f.dataset.update(labels={str(n): n for n in range(300)}), "at most 255 labels"),
    "no channels": (lambda f: f.dataset.pop("channel_names"), "an object for channel_names"),
    "too many channels": (
        lambda f: f.dataset.update(channel_names={"0": "a", "1": "b"}),
        "1 names of channels, found 2",
    ),
    "channels from 1": (lambda f: f.dataset.update(channel_names={"1": "a"}), "the keys 0, 1"),
}


@pytest.mark.parametrize(("spoil", "message"), REFUSED.values(), ids=REFUSED)
def test_what_medtl_does_not_do_is_refused_with_the_reason(spoil, message, files):
    spoil(files)
    with pytest.raises(ModelError, match=message) as raised:
        files.card()
    assert "\n" not in str(raised.value)


def test_a_mirrored_axis_that_the_window_lacks_is_refused(files):
    with pytest.raises(ModelError, match="a mirrored axis"):
        files.card(mirror=(0, 3))


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"a": NaN}', b'{"a": 1, "a": 2}', b"\xff"])
def test_plans_that_are_no_strict_json_are_refused(content, files):
    files.card()
    (files.folder / PLANS).write_bytes(content)
    with pytest.raises(ModelError, match=r"plans\.json"):
        read_plans(files.folder, "3d_fullres")


def test_slices_lie_along_the_first_axis(files):
    two = a_configuration()
    two.update(patch_size=[8, 8], spacing=[1.0, 1.0])
    two["architecture"]["arch_kwargs"].update(
        conv_op="torch.nn.modules.conv.Conv2d",
        norm_op="torch.nn.modules.instancenorm.InstanceNorm2d",
        kernel_sizes=3,
        strides=[1, 2],
    )
    files.plans["configurations"]["2d"] = two
    files.plans["transpose_forward"] = [1, 0, 2]
    card = files.card("2d", mirror=(0, 1))
    assert (card.windows.patch, card.input.plane) == ((8, 8), "coronal")
    assert card.networks[0].arguments["kernels"] == [[3, 3], [3, 3]]
