"""`head-neck-ct`: seven organs at risk of head and neck on CT, in volumes."""

from types import MappingProxyType

from ...model.card import Cleanup, Gate, InputSpec, Label, ModelCard, NetworkSpec, Normalisation, WindowSpec
from ...model.label_looks import colour_of, snomed_of
from ..recipe import text_of
from ..windows import WindowFit, WindowRecipe

ORGANS = ("Brainstem", "Spinal cord", "Right parotid gland", "Left parotid gland", "Oesophagus", "Larynx", "Mandible")

ARGUMENTS = {
    "channels": 1,
    "outputs": 1 + len(ORGANS),
    "features": [12, 24, 48, 96],
    "kernels": [[3, 3, 3]] * 4,
    "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2]],
    "blocks": [2, 2, 2, 2],
    "decoder_blocks": [2, 2, 2],
}

# -150 to 350 HU become -1 to 1.
WINDOW = Normalisation("fixed", limits=(-150.0, 350.0), shift=100.0, scale=250.0)

CARD = ModelCard(
    name="head-neck-ct",
    version="1.0.0",
    description="Seven organs at risk of head and neck on CT, coarse, in 3D; research use, not for diagnosis.",
    task="segmentation",
    labels=tuple(
        Label(value, name.lower().replace(" ", "-"), name, colour_of(value - 1), snomed_of(name))
        for value, name in enumerate(ORGANS, start=1)
    ),
    networks=(NetworkSpec("plainunet", MappingProxyType(ARGUMENTS), "unet3d."),),
    input=InputSpec(channels=("CT",), plane="axial"),
    windows=WindowSpec(
        patch=(64, 48, 48),
        spacing=(2.5, 4.0, 4.0),
        normalisation=(WINDOW,),
        orientation="LPS",
        crop=False,
        order=1,
        thick_ratio=None,
        bf16=True,
        fill=-1.0,
    ),
    sha256="",
    decision="argmax",
    cleanup=Cleanup(min_share=0.2),
    gate=Gate(modality="CT", extent_mm=(220.0, 650.0)),
)

RECIPE = WindowRecipe(
    card=CARD,
    fit=WindowFit(epochs=40, windows=200, foreground=0.8, deep=True),
    test_share=0.25,
    seed=0,
    folds=5,
    binary=False,
    readme=text_of("head_neck_ct.md"),
    licence=text_of("head_neck_ct_licence.txt"),
    facts={
        "authors": "The MedTL authors",
        "copyright": "Research use, see LICENSE",
        "data_source": "OpenKBP (Babier 2021): CT of The Cancer Imaging Archive",
        "intended_use": "Research on organs of head and neck. Not for diagnosis, not for treatment plans.",
        "references": [
            "Babier et al. 2021: OpenKBP",
            "Yoon et al. 2024: transfer learning with few slices, VNet on CT",
        ],
    },
    partial=True,
)
