"""`sarcoma-ct`: a soft-tissue tumour of limbs or trunk on CT, in volumes."""

from types import MappingProxyType

from ...model.card import Cleanup, Gate, InputSpec, Label, ModelCard, NetworkSpec, Normalisation, WindowSpec
from ..recipe import text_of
from ..windows import WindowRecipe
from .sarcoma_mr import ARGUMENTS, FIT, SARCOMA

# Tumour, muscle and fat: -150 to 250 HU become 0 to 4, so that air is 0 as beside the body on MR.
WINDOW = Normalisation("fixed", limits=(-150.0, 250.0), shift=-150.0, scale=100.0)

CARD = ModelCard(
    name="sarcoma-ct",
    version="1.0.0",
    description="Soft-tissue tumours of limbs and trunk on CT, in 3D; research use, not for diagnosis.",
    task="segmentation",
    labels=(Label(1, "tumour", "Soft-tissue tumour", (0.85, 0.45, 0.2), SARCOMA),),
    networks=(NetworkSpec("plainunet", MappingProxyType(ARGUMENTS), "unet3d."),),
    input=InputSpec(channels=("CT",), plane="axial"),
    windows=WindowSpec(
        patch=(32, 48, 48),
        spacing=(3.27, 4.0, 4.0),
        normalisation=(WINDOW,),
        crop=False,
        orientation="LPS",
        mirror=(0, 1, 2),
        order=1,
        thick_ratio=None,
        bf16=True,
    ),
    sha256="",
    decision="argmax",
    cleanup=Cleanup(min_share=0.05),
    gate=Gate(modality="CT", extent_mm=(110.0, 350.0)),
)

RECIPE = WindowRecipe(
    card=CARD,
    fit=FIT,
    test_share=0.25,
    seed=0,
    folds=5,
    binary=True,
    readme=text_of("sarcoma_ct.md"),
    licence=text_of("sarcoma_ct_licence.txt"),
    facts={
        "authors": "The MedTL authors",
        "copyright": "CC BY 3.0, see LICENSE",
        "data_source": "Soft-tissue-Sarcoma, The Cancer Imaging Archive (Vallières 2015), as prepared by the IBSI",
        "intended_use": "Research on segmentation of soft-tissue tumours. Not for diagnosis.",
    },
)
