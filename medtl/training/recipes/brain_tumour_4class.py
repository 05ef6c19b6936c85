"""`brain-tumour-4class`: glioma, meningioma, pituitary tumour or none, from a slice of a head."""

from types import MappingProxyType

from ...model.card import Abstention, Gate, InputSpec, ModelCard, NetworkSpec, TumourClass
from ..classifier import ClassFit, ClassificationRecipe
from ..recipe import text_of

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


def recipe_with(encoder: str = "tf_efficientnet_lite0") -> ClassificationRecipe:
    """The recipe with this encoder of timm; `Testing/benchmarks/brain_tumour.py` compares several."""
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
    return ClassificationRecipe(
        card=card,
        fit=ClassFit(),
        encoder_weights="imagenet",
        readme=text_of("brain_tumour_4class.md"),
        licence=text_of("brain_tumour_4class_licence.txt"),
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


RECIPE = recipe_with()
