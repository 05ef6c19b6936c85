"""`tumour-t1c`: a brain tumour (glioma, meningioma, pituitary) on T1 with contrast, in volumes and single pictures."""

from types import MappingProxyType

from ...model.card import Calibration, Cleanup, Gate, InputSpec, Label, ModelCard, NetworkSpec
from ..augment import Augmentation
from ..fit import Fit
from ..recipe import text_of
from ..segmenter import SegmentationRecipe
from .glioma_flair import TUMOUR

CARD = ModelCard(
    name="tumour-t1c",
    version="1.0.0",
    description="Brain tumours on T1 with contrast, slice by slice; research use, not for diagnosis.",
    task="segmentation",
    labels=(Label(1, "tumour", "Brain tumour (T1 with contrast)", (0.95, 0.75, 0.2), TUMOUR),),
    networks=(
        NetworkSpec(
            "unet2d", MappingProxyType({"encoder": "tf_efficientnet_lite0", "channels": 1, "labels": 1}), "unet2d."
        ),
    ),
    input=InputSpec(channels=("T1c",), plane="axial", spacing=1.07, spacing_tolerance=1.3),
    sha256="",
    calibration=Calibration(threshold=0.7),
    cleanup=Cleanup(min_pixels=80, min_share=0.05, fill_holes=True),
    gate=Gate(
        modality="MR",
        # Contrast has many names: T1c, T1 CE, t1+C, T1 post Gd, T1 KM.
        sequence=(
            "*t1c",
            "*t1ce",
            "*t1* c",
            "*t1* ce",
            "*t1* *gd*",
            "*t1* *gad*",
            "*t1* km*",
            "*t1* *post*",
            "*t1* *contrast*",
            "*t1* +",
            "*gd* *t1*",
            "*gad* *t1*",
            "*post* *t1*",
            "*contrast* *t1*",
        ),
        not_sequence=(
            "t1*",
            "t2*",
            "*flair*",
            "*tirm*",
            "*dark* *fluid*",
            "dwi",
            "*diff*",
            "adc",
            "swi",
            "gre",
            "pd",
            "ct",
            "tof",
            "*perf*",
        ),
        extent_mm=(140.0, 330.0),
        # Those of the pictures with a tumour; the others are of other sequences, too.
        statistics=MappingProxyType({"dark": (0.0, 0.9), "bright": (1.0, 2.6)}),
    ),
)

# `Testing/datasets/t1c_cases.py` makes the case lists and puts the test groups aside; the tenth of the training groups
# that is held out here is what `Testing/benchmarks/tumour_t1c.py --choose` reads.
RECIPE = SegmentationRecipe(
    card=CARD,
    fit=Fit(
        epochs=8,
        window=(192, 192),
        # Half the heads have tumours that lie outside the brain, or are not cut axially: there is less to strip.
        augmentation=Augmentation(p_strip=0.3),
        negatives=0.5,
        p_between=0.0,  # the slices of a case are single ones
    ),
    encoder_weights="imagenet",
    test_share=0.1,
    seed=0,
    folds=5,
    binary=True,
    readme=text_of("tumour_t1c.md"),
    licence=text_of("tumour_t1c_licence.txt"),
    facts={
        "authors": "The MedTL authors",
        "copyright": "Research use, see LICENSE",
        "data_source": "Cheng 2017, figshare 1512427; Nickparvar, Brain Tumor MRI Dataset; one volume of BraTS",
        "intended_use": "Research on segmentation of brain tumours. Not for diagnosis.",
        "references": [
            "Cheng et al. PLoS ONE 10 (2015): brain tumour classification, the set's first description",
            "Disci et al. 2025: transfer learning for brain tumour classes",
        ],
    },
)
