"""`brain-tumour-4class`: glioma, meningioma, pituitary tumour or none, from a slice of a head."""

from types import MappingProxyType

from ...model.card import Abstention, Gate, InputSpec, ModelCard, NetworkSpec, TumourClass
from ..classifier import ClassFit, ClassRecipe

ENCODERS = {
    "EfficientNet-Lite0": "tf_efficientnet_lite0",
    "EfficientNet-Lite1": "tf_efficientnet_lite1",
    "EfficientNet-Lite2": "tf_efficientnet_lite2",
    "Xception": "legacy_xception",
    "MobileNetV2": "mobilenetv2_100",
    "InceptionV3": "inception_v3",
    "ResNet50": "resnet50",
    "VGG16": "vgg16",
    "DenseNet121": "densenet121",
}

README = """# brain-tumour-4class

Says which of glioma, meningioma, pituitary tumour and no tumour a slice of a head MRI (T1 with contrast) looks most
like, with a calibrated probability, and abstains where the image is unlike its training pictures. **Research use, not
for diagnosis.**

- **Network**: EfficientNet-Lite0 (ImageNet weights, Apache-2.0) and attention, which outlines of tumours taught where
  to look; every slice by itself as a picture of 192 pixels framed by the head, whatever its plane; weights averaged
  over the last steps of training. With a segmentation it looks at the segment alone.
- **Trained on**: pictures of the Nickparvar collection (CC0 as stated on its page), of which the tumours are slices of
  Cheng's figshare set (CC BY 4.0) and most healthy heads come from Br35H (terms unclear). Patient numbers are lost: the
  split is by groups of slices that look as if of one patient ("near-patient"), and some patients may be on both sides.
- **Made by**: `medtl train brain-tumour-4class --cases near-patient.csv --output DIR`, the list by
  `Testing/datasets/brain_cases.py`. Temperature and limits are those of a fifth of the training groups, which the
  network did not learn from.
- **Known limits**: three kinds of tumour only: another one, say a schwannoma or a metastasis, is called one of these or
  "no tumour". Most healthy heads come from another source than the tumours, so "no tumour" may be told by the source;
  it does not mean a healthy head. Test gliomas are few (four groups), of a batch of the source of which little was
  learned from; a network that had seen none of that batch missed two thirds of it. On skull-stripped volumes it
  abstains, as a rule, and is not reliable. No other sequence, no patient's history.

<!-- figures -->
<!-- /figures -->
"""

LICENCE = """Weights of the model brain-tumour-4class
Copyright the MedTL authors

These weights are licensed under the Creative Commons Attribution-NonCommercial 4.0 International License
(CC BY-NC 4.0): https://creativecommons.org/licenses/by-nc/4.0/legalcode

They were trained on
- pictures of "Brain Tumor MRI Dataset" (Nickparvar, https://doi.org/10.34740/kaggle/dsv/2645886), CC0 as stated there,
  which holds slices of Cheng's brain tumor dataset (https://doi.org/10.6084/m9.figshare.1512427), CC BY 4.0, and
  pictures of Br35H, whose terms were not found;
starting from
- EfficientNet-Lite0 weights trained on ImageNet, Apache-2.0.

Research use, not for diagnosis. The code of MedTL is under another licence, see the LICENSE beside it.
"""


def recipe(encoder: str = "tf_efficientnet_lite0") -> ClassRecipe:
    """The recipe, with another encoder of timm for the comparison in `Testing/benchmarks/brain_tumour.py`."""
    card = ModelCard(
        name="brain-tumour-4class",
        version="1.0.0",
        description="Glioma, meningioma, pituitary tumour or none, slice by slice; research use, not for diagnosis.",
        task="classification",
        labels=(),
        networks=(
            NetworkSpec(
                "classifier2d",
                MappingProxyType({"encoder": encoder, "channels": 1, "classes": 4, "strangeness": True}),
                "classifier2d.",
            ),
        ),
        input=InputSpec(channels=("T1c",), scaling="picture", side=192),
        sha256="",
        gate=Gate(
            modality="MR",
            not_sequence=(
                "*flair*",
                "*tirm*",
                "t2*",
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
            sequence=("t1*",),
        ),
        classes=(
            TumourClass("glioma", "Glioma"),
            TumourClass("meningioma", "Meningioma"),
            TumourClass("pituitary", "Pituitary tumour"),
            TumourClass("notumor", "No tumour"),
        ),
        abstention=Abstention("mahalanobis", 0.0, 0.0),
    )
    return ClassRecipe(
        card=card,
        fit=ClassFit(),
        encoder_weights="imagenet",
        readme=README,
        licence=LICENCE,
        facts={
            "authors": "The MedTL authors",
            "copyright": "CC BY-NC 4.0, see LICENSE",
            "data_source": "Nickparvar collection; Cheng's figshare set; Br35H",
            "intended_use": "Research on brain tumour classification. Not for diagnosis.",
            "references": [
                "Disci et al. 2025: brain tumour class by transfer learning",
                "Cheng et al. PLoS ONE 10 (2015)",
            ],
        },
    )
