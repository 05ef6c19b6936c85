"""`glioma-flair`: the abnormality of a lower-grade glioma on FLAIR, head with or without skull."""

from types import MappingProxyType

from ...model.card import Calibration, Cleanup, Gate, InputSpec, Label, ModelCard, NetworkSpec
from ..fit import Fit
from ..recipe import Recipe

TUMOUR = (
    "Segmentation category and type - 3D Slicer General Anatomy list"
    "~SCT^49755003^Morphologically Altered Structure~SCT^4147007^Mass~^^"
    "~Anatomic codes - DICOM master list~SCT^12738006^Brain~^^"
)

README = """# glioma-flair

Segments the FLAIR abnormality (tumour and oedema together) of a glioma, slice by slice, in axial FLAIR MRI with or
without the skull. **Research use, not for diagnosis.**

- **Network**: U-Net on an EfficientNet-Lite0 encoder (ImageNet weights, Apache-2.0), each slice with its two neighbours
  as channels; weights averaged over the last steps of training.
- **Trained on**: FLAIR of the TCGA-LGG collection (The Cancer Imaging Archive, CC BY 3.0) with the masks of Buda et al.
  2019; one split by patient, stratified by site, frozen in `configs/metadata.json` (`medtl.training`).
- **Made by**: `medtl train glioma-flair --cases lgg-flair/cases-flair.csv --output DIR`.
- **Licence of the weights**: see `LICENSE` (CC BY-NC-SA 4.0: not for commercial use).
- **Known limits**: masks of one collection, one reader's idea of the border; lower-grade gliomas of adults; thick axial
  slices. Other lesions that are bright on FLAIR are marked as well; a lesion as dark as brain is missed.

<!-- figures -->
<!-- /figures -->
"""

LICENCE = """Weights of the model glioma-flair
Copyright the MedTL authors

These weights are licensed under the Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International License
(CC BY-NC-SA 4.0): https://creativecommons.org/licenses/by-nc-sa/4.0/legalcode

They were trained on
- FLAIR images of the TCGA-LGG collection, The Cancer Imaging Archive, CC BY 3.0
  (Pedano et al. 2016, https://doi.org/10.7937/K9/TCIA.2016.L4LTD3TK);
- the masks of Buda, Saha and Mazurowski, "Association of genomic subtypes of lower-grade gliomas with shape features
  automatically extracted by a deep learning algorithm", Computers in Biology and Medicine 109, 2019, whose terms were
  not found and are taken as CC BY-NC-SA 4.0;
starting from
- EfficientNet-Lite0 weights trained on ImageNet, Apache-2.0.

Research use, not for diagnosis. The code of MedTL is under another licence, see the LICENSE beside it.
"""


def recipe() -> Recipe:
    """The recipe; `Testing/benchmarks/recipe_choice.py` compares variants of it on a site left out."""
    card = ModelCard(
        name="glioma-flair",
        version="1.0.0",
        description="FLAIR abnormality of gliomas, slice by slice with neighbours; research use, not for diagnosis.",
        task="segmentation",
        labels=(Label(1, "lesion", "Glioma (FLAIR abnormality)", (0.95, 0.25, 0.2), TUMOUR),),
        networks=(
            NetworkSpec(
                "unet2d", MappingProxyType({"encoder": "tf_efficientnet_lite0", "channels": 3, "labels": 1}), "unet2d."
            ),
        ),
        input=InputSpec(
            channels=("FLAIR",), plane="axial", spacing=0.9, spacing_tolerance=1.35, neighbours=1, neighbour_mm=2.0
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
    return Recipe(
        card=card,
        fit=Fit(),
        encoder_weights="imagenet",
        test_share=15 / 90,
        seed=0,
        folds=5,
        binary=True,
        readme=README,
        licence=LICENCE,
        facts={
            "authors": "The MedTL authors",
            "copyright": "CC BY-NC-SA 4.0, see LICENSE",
            "data_source": "TCGA-LGG, The Cancer Imaging Archive; masks of Buda et al. 2019",
            "intended_use": "Research on glioma segmentation. Not for diagnosis.",
            "references": [
                "Buda, Saha, Mazurowski. Comput. Biol. Med. 109 (2019)",
                "Pourmahboubi et al. 2025: VGG19 U-Net with fixed weights on FLAIR glioma",
            ],
        },
    )
