"""`liver-ct`: the liver on CT, slice by slice, by a VNet (after Yoon et al. 2024)."""

from types import MappingProxyType

from ...model.card import Cleanup, Gate, InputSpec, Label, ModelCard, NetworkSpec, Normalisation, WindowSpec
from ..recipe import text_of
from ..windows import WindowFit, WindowRecipe

LIVER = (
    "Segmentation category and type - 3D Slicer General Anatomy list"
    "~SCT^123037004^Anatomical Structure~SCT^10200004^Liver~^^"
    "~Anatomic codes - DICOM master list~^^~^^"
)

# With 8 features the weights would be 4.7 MB, with 7 they are 3.6.
ARGUMENTS = {"channels": 1, "labels": 1, "dropout": 0.1, "features": 7}

# 0 to 255 HU, which is all that the training slices have, become -1 to 1.
WINDOW = Normalisation("fixed", limits=(0.0, 255.0), shift=127.5, scale=127.5)

CARD = ModelCard(
    name="liver-ct",
    version="1.0.0",
    description="Liver on CT of the abdomen, slice by slice; research use, not for diagnosis.",
    task="segmentation",
    labels=(Label(1, "liver", "Liver", (0.87, 0.51, 0.4), LIVER),),
    networks=(NetworkSpec("vnet2d", MappingProxyType(ARGUMENTS), "vnet2d."),),
    input=InputSpec(channels=("CT",), plane="axial"),
    windows=WindowSpec(
        patch=(192, 224),
        spacing=(2.0, 2.0),
        normalisation=(WINDOW,),
        orientation="LPS",
        crop=False,
        order=1,
        bf16=True,
        fill=-1.0,
    ),
    sha256="",
    decision="argmax",
    cleanup=Cleanup(min_share=1.0),
    gate=Gate(modality="CT", extent_mm=(250.0, 600.0)),
)

RECIPE = WindowRecipe(
    card=CARD,
    fit=WindowFit(epochs=40, batch=8, rate=5e-3, average=0.99, windows=400),
    test_share=0.25,
    seed=0,
    folds=5,
    binary=True,
    readme=text_of("liver_ct.md"),
    licence=text_of("liver_ct_licence.txt"),
    facts={
        "authors": "The MedTL authors",
        "copyright": "CC BY-NC 4.0, see LICENSE",
        "data_source": "CURVAS (Erlangen); one example volume of TotalSegmentator",
        "intended_use": "Research on segmentation of the liver. Not for diagnosis.",
        "references": ["Yoon et al. 2024: transfer learning with few slices, VNet on CT"],
    },
)
