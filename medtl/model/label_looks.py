"""Colours and terminology of labels that come with nothing but a name."""

import colorsys
import re

GOLDEN_ANGLE = 0.381966  # of a turn: hues that follow in these steps stay far apart, however many there are
ANATOMY, ALTERED = "SCT^123037004^Anatomical Structure", "SCT^49755003^Morphologically Altered Structure"
SIDES = {"left": "SCT^7771000^Left", "right": "SCT^24028007^Right"}
# Names without their side, as words in alphabetical order; codes of SNOMED CT as DICOM and 3D Slicer use them.
STRUCTURES = {
    "adrenal gland": "SCT^23451007^Adrenal gland",
    "aorta": "SCT^15825003^Aorta",
    "bladder urinary": "SCT^89837001^Urinary bladder",
    "bowel small": "SCT^30315005^Small Intestine",
    "brain": "SCT^12738006^Brain",
    "brain stem": "SCT^15926001^Brainstem",
    "brainstem": "SCT^15926001^Brainstem",
    "cava inferior vena": "SCT^64131007^Inferior vena cava",
    "colon": "SCT^71854001^Colon",
    "cord spinal": "SCT^2748008^Spinal cord",
    "duodenum": "SCT^38848004^Duodenum",
    "esophagus": "SCT^32849002^Esophagus",
    "femur": "SCT^71341001^Femur",
    "gallbladder": "SCT^28231008^Gallbladder",
    "gland parotid": "SCT^45289007^Parotid gland",
    "heart": "SCT^80891009^Heart",
    "kidney": "SCT^64033007^Kidney",
    "larynx": "SCT^4596009^Larynx",
    "liver": "SCT^10200004^Liver",
    "lobe lower lung": "SCT^90572001^Lower lobe of lung",
    "lobe lung upper": "SCT^45653009^Upper lobe of lung",
    "lung": "SCT^39607008^Lung",
    "mandible": "SCT^91609006^Mandible",
    "oesophagus": "SCT^32849002^Esophagus",
    "pancreas": "SCT^15776009^Pancreas",
    "prostate": "SCT^41216001^Prostate",
    "sacrum": "SCT^54735007^Sacrum",
    "spleen": "SCT^78961009^Spleen",
    "stomach": "SCT^69695003^Stomach",
    "trachea": "SCT^44567001^Trachea",
}
ALTERATIONS = {
    "cyst": "SCT^367643001^Cyst",
    "edema": "SCT^79654002^Edema",
    "lesion": "SCT^4147007^Mass",
    "oedema": "SCT^79654002^Edema",
    "tumor": "SCT^4147007^Mass",
    "tumour": "SCT^4147007^Mass",
}
PLURALS = {"kidneys": "kidney", "lungs": "lung", "glands": "gland"}


def colour_of(number: int) -> tuple[float, float, float]:
    """The colour of the label that comes in this place, from 0: RGB in 0..1, unlike those of its neighbours."""
    value = (0.95, 0.75, 0.6)[number // 8 % 3]
    red, green, blue = colorsys.hsv_to_rgb(number * GOLDEN_ANGLE % 1.0, 0.75, value)
    return round(red, 3), round(green, 3), round(blue, 3)


def snomed_of(name: str) -> str:
    """Category, type and side of a structure of that name, as a label of a card has them; empty where the name is not
    known for sure."""
    words = [PLURALS.get(word, word) for word in re.findall(r"[a-z]+", name.casefold())]
    sides = [SIDES[word] for word in words if word in SIDES]
    plain = " ".join(sorted(word for word in words if word not in SIDES))
    category, kind = (ALTERED, ALTERATIONS[plain]) if plain in ALTERATIONS else (ANATOMY, STRUCTURES.get(plain))
    if kind is None or len(sides) > 1 or re.search(r"\d", name):
        return ""
    side = sides[0] if sides else "^^"
    context = "Segmentation category and type - 3D Slicer General Anatomy list"
    return f"{context}~{category}~{kind}~{side}~Anatomic codes - DICOM master list~^^~^^"
