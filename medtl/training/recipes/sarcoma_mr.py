"""`sarcoma-mr`: a soft-tissue tumour of limbs or trunk on T1 MR, in volumes (after Ryu et al. 2022)."""

from types import MappingProxyType

from ...model.card import Cleanup, Gate, InputSpec, Label, ModelCard, NetworkSpec, Normalisation, WindowSpec
from ..recipe import text_of
from ..windows import WindowAugmentation, WindowFit, WindowRecipe

SARCOMA = (
    "Segmentation category and type - 3D Slicer General Anatomy list"
    "~SCT^49755003^Morphologically Altered Structure~SCT^4147007^Mass~^^"
    "~Anatomic codes - DICOM master list~SCT^87784001^Soft tissue~^^"
)

FIT = WindowFit(
    epochs=36,
    windows=200,
    rate=1.5e-3,
    encoder_rate=1.5e-3,
    deep=True,
    augmentation=WindowAugmentation(rotation=25.0, zoom=0.3, contrast=0.4, noise=0.2, p_coarse=0.3, overhang=0.15),
)
# Slices are 3.27 mm thick, so the first level keeps their number.
ARGUMENTS = {
    "channels": 1,
    "outputs": 2,
    "features": [12, 24, 48, 96],
    "kernels": [[1, 3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3]],
    "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2]],
    "blocks": [2, 2, 2, 2],
    "decoder_blocks": [2, 2, 2],
}

CARD = ModelCard(
    name="sarcoma-mr",
    version="1.0.0",
    description="Soft-tissue tumours of limbs and trunk on T1 MR, in 3D; research use, not for diagnosis.",
    task="segmentation",
    labels=(Label(1, "tumour", "Soft-tissue tumour", (0.85, 0.45, 0.2), SARCOMA),),
    networks=(NetworkSpec("plainunet", MappingProxyType(ARGUMENTS), "unet3d."),),
    input=InputSpec(channels=("T1",), plane="axial"),
    windows=WindowSpec(
        patch=(32, 48, 48),
        spacing=(3.27, 4.0, 4.0),
        normalisation=(Normalisation("zscore", masked=True),),
        orientation="LPS",
        mirror=(0, 1, 2),
        order=1,
        thick_ratio=None,
        bf16=True,
    ),
    sha256="",
    decision="argmax",
    cleanup=Cleanup(min_share=0.05),
    gate=Gate(
        modality="MR",
        # Other sequences, T1 with contrast, and heads.
        not_sequence=(
            *("t2*", "*flair*", "*stir*", "*tirm*", "dwi", "*diff*", "adc", "swi", "pd", "ct", "tof", "*perf*"),
            *("*t1c", "*t1ce", "*t1* c", "*t1* ce", "*t1* +", "*t1* km*", "*gd*", "*gad*", "*post* -posterior"),
            *("*contrast* -non* -pre* -without* -native*", "*head*", "*brain*", "*mprage*"),
        ),
        extent_mm=(60.0, 300.0),
    ),
)

RECIPE = WindowRecipe(
    card=CARD,
    fit=FIT,
    test_share=0.25,
    seed=0,
    folds=5,
    binary=True,
    readme=text_of("sarcoma_mr.md"),
    licence=text_of("sarcoma_mr_licence.txt"),
    facts={
        "authors": "The MedTL authors",
        "copyright": "CC BY 3.0, see LICENSE",
        "data_source": "Soft-tissue-Sarcoma, The Cancer Imaging Archive (Vallières 2015), as prepared by the IBSI",
        "intended_use": "Research on segmentation of soft-tissue tumours. Not for diagnosis.",
    },
)
