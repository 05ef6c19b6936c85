"""`glioma-flair`: the abnormality of a lower-grade glioma on FLAIR, head with or without skull."""

from types import MappingProxyType

from ...model.card import Calibration, Cleanup, Gate, InputSpec, Label, ModelCard, NetworkSpec
from ..fit import Fit
from ..recipe import text_of
from ..segmenter import SegmentationRecipe

TUMOUR = (
    "Segmentation category and type - 3D Slicer General Anatomy list"
    "~SCT^49755003^Morphologically Altered Structure~SCT^4147007^Mass~^^"
    "~Anatomic codes - DICOM master list~SCT^12738006^Brain~^^"
)

CARD = ModelCard(
    name="glioma-flair",
    version="2.0.0",
    description="FLAIR abnormality of gliomas, slice by slice with neighbours; research use, not for diagnosis.",
    task="segmentation",
    labels=(Label(1, "lesion", "Glioma (FLAIR abnormality)", (0.95, 0.25, 0.2), TUMOUR),),
    networks=(
        NetworkSpec(
            "unet2d",
            MappingProxyType(
                {"encoder": "tf_efficientnet_lite0", "channels": 3, "labels": 1, "decoder": [128, 64, 32, 16, 8]}
            ),
            "unet2d.",
        ),
    ),
    input=InputSpec(
        channels=("FLAIR",),
        plane="axial",
        spacing=0.9,
        spacing_tolerance=1.35,
        neighbours=1,
        neighbour_mm=2.0,
        # On the 5 volumes of brats2013, 1.5 mm make the surface as rough across slices as within them.
        smoothing_mm=1.5,
    ),
    sha256="",
    calibration=Calibration(),
    cleanup=Cleanup(min_share=0.05, fill_holes=True),
    gate=Gate(
        modality="MR",
        sequence=("*flair* -t1*", "*tirm*", "*dark* *fluid*"),
        not_sequence=("t1*", "t2*", "dwi", "*diff*", "adc", "swi", "gre", "pd", "*mprage*", "ct", "tof", "*perf*"),
        extent_mm=(140.0, 330.0),
        # Wider than the training heads (0.02 to 0.2): skull-stripped FLAIR has 0.2 to 0.5, T2 from 0.64 on.
        statistics=MappingProxyType({"dark": (0.0, 0.6)}),
    ),
)

# `Testing/benchmarks/recipe_choice.py` compares variants of this recipe with one site held out.
RECIPE = SegmentationRecipe(
    card=CARD,
    fit=Fit(epochs=20, per_case=12),
    encoder_weights="imagenet",
    test_share=15 / 90,
    seed=0,
    folds=5,
    binary=True,
    readme=text_of("glioma_flair.md"),
    licence=text_of("glioma_flair_licence.txt"),
    facts={
        "authors": "The MedTL authors",
        "copyright": "CC BY-NC-SA 4.0, see LICENSE",
        "data_source": "TCGA-LGG, The Cancer Imaging Archive, masks of Buda et al. 2019; BraTS",
        "intended_use": "Research on glioma segmentation. Not for diagnosis.",
        "references": [
            "Buda, Saha, Mazurowski. Comput. Biol. Med. 109 (2019)",
            "Menze et al. 2015, Bakas et al. 2017: BraTS",
            "Pourmahboubi et al. 2025: VGG19 U-Net with fixed weights on FLAIR glioma",
        ],
    },
)
