"""`kidney-tumour-ct`: kidney and renal tumour on CT slices, in two stages (after Zhu et al. 2022)."""

from dataclasses import replace
from types import MappingProxyType

from ...model.card import (
    Cleanup,
    Gate,
    InputSpec,
    Label,
    ModelCard,
    NetworkSpec,
    Normalisation,
    RegionSpec,
    WindowSpec,
)
from ..recipe import text_of
from ..two_stage import TwoStageRecipe
from ..windows import WindowAugmentation, WindowFit

KIDNEY = (
    "Segmentation category and type - 3D Slicer General Anatomy list"
    "~SCT^123037004^Anatomical Structure~SCT^64033007^Kidney~^^"
    "~Anatomic codes - DICOM master list~^^~^^"
)
TUMOUR = (
    "Segmentation category and type - 3D Slicer General Anatomy list"
    "~SCT^49755003^Morphologically Altered Structure~SCT^4147007^Mass~^^"
    "~Anatomic codes - DICOM master list~SCT^64033007^Kidney~^^"
)


FIT = WindowFit(
    batch=8,
    rate=1.5e-3,
    encoder_rate=5e-4,
    average=0.99,
    windows=240,
    foreground=0.8,
    augmentation=WindowAugmentation(rotation=25.0, zoom=0.3, contrast=0.35, noise=0.2, p_coarse=0.3),
)
LITE0 = MappingProxyType({"encoder": "tf_efficientnet_lite0", "channels": 1})


def windows(patch: int, mm: float) -> WindowSpec:
    """Square windows of slices; 0 to 255 HU, which is all that the training slices have, become -1 to 1. Not in bf16,
    which changes the Dice of a slice by up to 0.04."""
    return WindowSpec(
        patch=(patch, patch),
        spacing=(mm, mm),
        normalisation=(Normalisation("fixed", limits=(0.0, 255.0), shift=127.5, scale=127.5),),
        orientation="LPS",
        crop=False,
        mirror=(1,),
        order=1,
        fill=-1.0,
    )


CARD = ModelCard(
    name="kidney-tumour-ct",
    version="1.1.0",
    description="Kidney and renal tumour on CT slices, in two stages; research use, not for diagnosis.",
    task="segmentation",
    labels=(
        Label(1, "kidney", "Kidney", (0.73, 0.4, 0.51), KIDNEY),
        Label(2, "tumour", "Renal tumour", (0.9, 0.8, 0.2), TUMOUR),
    ),
    networks=(
        NetworkSpec("dualunet2d", MappingProxyType({**LITE0, "labels": 2, "decoder": [64, 48, 32, 16]}), "dual."),
    ),
    input=InputSpec(channels=("CT",), plane="axial"),
    windows=windows(128, 1.25),
    region=RegionSpec(
        NetworkSpec("unet2d", {**LITE0, "labels": 1, "decoder": [64, 32, 16, 8]}, "region."), windows(96, 4.0)
    ),
    sha256="",
    decision="argmax",
    cleanup=Cleanup(min_share=0.05, anchor="kidney"),
    gate=Gate(modality="CT", extent_mm=(250.0, 600.0)),
)

RECIPE = TwoStageRecipe(
    card=CARD,
    fit=replace(FIT, epochs=12, windows=400),  # six in ten show the own set
    region_fit=replace(FIT, epochs=16, foreground=0.5),
    auxiliary_fit=replace(FIT, epochs=8),
    encoder_weights="imagenet",
    test_share=0.2,
    seed=0,
    folds=5,
    readme=text_of("kidney_tumour_ct.md"),
    licence=text_of("kidney_tumour_ct_licence.txt"),
    facts={
        "authors": "The MedTL authors",
        "copyright": "CC BY-NC-SA 4.0, see LICENSE",
        "data_source": "KiTS23 (Heller et al.); CURVAS (Erlangen); an example volume of TotalSegmentator",
        "intended_use": "Research on renal tumours. Not for diagnosis.",
        "references": [
            "Zhu et al. 2022: two-stage, dual-channel network on small CT samples",
            "Heller et al.: The KiTS21 Challenge, arXiv:2307.01984",
        ],
    },
)
