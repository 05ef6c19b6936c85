"""`tumour-t1c`: a brain tumour (glioma, meningioma, pituitary) on T1 with contrast, in volumes and single pictures."""

from types import MappingProxyType

from ...model.card import Calibration, Cleanup, Gate, InputSpec, Label, ModelCard, NetworkSpec
from ..augment import Augmentation
from ..fit import Fit
from ..recipe import Recipe
from .glioma_flair import TUMOUR

README = """# tumour-t1c

Segments the visible mass of a brain tumour (glioma, meningioma or pituitary tumour: what enhances and what it
encloses, without oedema) slice by slice in T1-weighted MRI with contrast medium. **Research use, not for diagnosis.**

- **Network**: U-Net on an EfficientNet-Lite0 encoder (ImageNet weights, Apache-2.0), one slice at a time; weights
  averaged over the last steps of training.
- **Trained on**: the slices and outlines of Cheng's figshare set (CC BY 4.0), as pictures of the Nickparvar collection
  (CC0 as stated on its page); its tumour-free pictures, which come from other sources and in other sequences; and the
  tumour-free slices of one skull-stripped volume of BraTS.
- **Split**: patient numbers are lost, so by groups of slices that look as if of one patient ("near-patient"); some
  patients may still be on both sides. The test groups were never read in training. A tenth of the others was held out
  to choose threshold and clean-up; it and the images trained on stand in `configs/metadata.json` (`medtl.training`).
- **Planes**: training saw axial, coronal and sagittal slices; volumes are read in axial slices.
- **Spacing**: the pictures' spacing is not stated; 1.07 mm (about 240 mm over 224 pixels) is taken by head size.
  Volumes are brought to it where theirs is far from it, pictures without a spacing are used as they are.
- **Made by**: `Testing/datasets/t1c_cases.py`, then `medtl train tumour-t1c --cases train.csv --output DIR`.
- **Licence of the weights**: see `LICENSE` (research use).
- **Known limits**: slices chosen by readers because they show the tumour, so a volume has many more slices without
  tumour than training had; other bright or ring-shaped lesions (metastases, abscesses, bleeding) and vessels may be
  marked; tumours that do not stand out on T1 with contrast are missed.

<!-- figures -->
<!-- /figures -->
"""

LICENCE = """Weights of the model tumour-t1c
Copyright the MedTL authors

These weights are for research use only. They were trained on
- T1-weighted slices with contrast medium and outlines of Jun Cheng, "brain tumor dataset", figshare 1512427, 2017,
  https://doi.org/10.6084/m9.figshare.1512427 (CC BY 4.0), as pictures of M. Nickparvar, "Brain Tumor MRI Dataset"
  (CC0 as stated on its page), whose tumour-free pictures come from Br35H (terms not found);
- the tumour-free slices of one T1-weighted volume with contrast medium of BraTS (Menze et al. 2015; Bakas et al. 2017,
  2018), whose terms are research use;
starting from
- EfficientNet-Lite0 weights trained on ImageNet, Apache-2.0.

Research use, not for diagnosis. The code of MedTL is under another licence, see the LICENSE beside it.
"""


def recipe() -> Recipe:
    """The recipe. `Testing/datasets/t1c_cases.py` makes its case lists and puts the test groups aside; the tenth of
    the training groups that is held out here is what `Testing/benchmarks/tumour_t1c.py --choose` reads."""
    card = ModelCard(
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
            # Contrast is said in many ways: T1c, T1 CE, t1+C, T1 post Gd, T1 KM.
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
    return Recipe(
        card=card,
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
        readme=README,
        licence=LICENCE,
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
