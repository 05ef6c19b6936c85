"""Which sequence a series is, by words of its name: what the cards that come with MedTL say of names as scanners write
them."""

import time

import pytest
from conftest import ROOT

from medtl.gate import mismatches
from medtl.model.card import load_card
from medtl.model.series_name import is_channel, is_phrase, matches, phrases_of_pattern, sequence_of


@pytest.mark.parametrize(
    ("phrase", "name", "found"),
    [
        ("dwi", "AX DWI b1000", True),
        ("dwi", "ep2d_dwi_tra", True),
        ("dwi", "dwib1000", False),
        ("t1*", "sag T1w", True),
        ("t1*", "3dt1", False),
        ("*t1c", "BraTS_t1c", True),
        ("*t1c", "t1c2", False),
        ("*flair*", "eFLAIRlong", True),
        ("t1* ce", "T1 SE tra CE", True),
        ("t1* ce", "CE T1", False),
        ("t1* ce", "T1ce", False),
        ("*t1* +", "T1+C", True),
        ("*dark* *fluid*", "t2_tirm_darkfluid", True),
        ("*dark* *fluid*", "t2_tirm_dark-fluid", True),
        ("*dark* *fluid*", "fluid dark", False),
        ("*flair* -t1*", "t2_flair", True),
        ("*flair* -t1*", "FLAIR T1", False),
        ("dwi", "", False),
        ("dwi", "x" * 300 + " dwi", False),
    ],
)
def test_a_phrase_is_found_by_its_words_in_order(phrase, name, found):
    assert is_phrase(phrase)
    assert matches((phrase,), name) is found
    assert matches(("none", phrase), name) is found


@pytest.mark.parametrize("text", ["", " ", "*", "**", "-", "a  b", "a*b", "t1.*", "(a)", "T1", "-t1*", "a" * 100, "é"])
def test_what_is_no_phrase_is_told_apart(text):
    assert not is_phrase(text)


def test_no_phrase_and_no_name_takes_long():
    words = " ".join(["*a*"] * 20)
    start = time.monotonic()
    assert not matches((f"{words} b",) * 100, "a " * 10_000)
    assert time.monotonic() - start < 1


@pytest.mark.parametrize("pattern", [r"\bt[12]|\bdwi\b|diff|dark.?fluid", r"flair|tirm", ""])
def test_what_is_made_of_an_older_pattern_is_phrases(pattern):
    assert all(map(is_phrase, phrases_of_pattern(pattern)))


# What each shipped model takes for its own sequence: FLAIR, T1 with contrast, any T1.
NAMES = [
    ("t2_tirm_tra_dark-fluid", "glioma-flair"),
    ("t2_tirm_tra_dark_fluid", "glioma-flair"),
    ("AX FLAIR", "glioma-flair"),
    ("eT2W_FLAIR SENSE", "glioma-flair"),
    ("T1 FLAIR", "brain-tumour-4class"),
    ("t1_mprage_sag_p2_iso", "brain-tumour-4class"),
    ("sag T1 SPACE", "brain-tumour-4class"),
    ("t1_mprage_tra KM", "tumour-t1c brain-tumour-4class"),
    ("AX T1 CE", "tumour-t1c brain-tumour-4class"),
    ("T1 SE TRA +C", "tumour-t1c brain-tumour-4class"),
    ("T1 post Gd", "tumour-t1c brain-tumour-4class"),
    ("Post Gd SAG T1", "tumour-t1c brain-tumour-4class"),
    ("3D_T1c", "tumour-t1c brain-tumour-4class"),
    ("t2_tse_tra_320", ""),
    ("ep2d_diff_3scan_trace", ""),
    ("ADC", ""),
    ("SWI_Images", ""),
    ("TOF_3D_multi-slab", ""),
    ("localizer", "glioma-flair tumour-t1c brain-tumour-4class"),
    ("Head", "glioma-flair tumour-t1c brain-tumour-4class"),
]


@pytest.mark.parametrize(("name", "models"), NAMES)
def test_a_shipped_model_takes_the_names_of_its_sequence(name, models):
    fitting = []
    for model in ("glioma-flair", "tumour-t1c", "brain-tumour-4class"):
        card = load_card(ROOT / "Resources" / "Models" / model)
        if not mismatches(card, modality="MR", description=name, size=(224, 224, 20), spacing=(1.0, 1.0, 5.0)):
            fitting.append(model)
    assert fitting == models.split()


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        *(("STS_001_t1", True), ("AX T1 TSE", True), ("AX T1 non contrast", True), ("thigh T1 posterior", True)),
        *(("patient_T1_post", False), ("COR T1 C+", False), ("t1_km", False), ("T1 Gd", False), ("3D_T1c", False)),
        *(("t1_head", False), ("t1_mprage_sag", False), ("T2", False), ("T1 FLAIR", False)),
    ],
)
def test_the_model_of_limbs_takes_t1_without_contrast_and_no_head(name, fits):
    card = load_card(ROOT / "Resources" / "Models" / "sarcoma-mr")
    found = mismatches(card, modality="MR", description=name, size=(115, 90, 35), spacing=(2.0, 2.0, 3.27))
    assert not found if fits else found


@pytest.mark.parametrize(
    ("name", "sequence"),
    [
        ("BraTS19_2013_2_1_t1ce", "T1c"),
        ("p7_T1_post_contrast", "T1c"),
        ("T1-Gd", "T1c"),
        ("AX T1 non contrast", "T1"),
        ("t1w", "T1"),
        ("AX T1 FLAIR", "T1"),
        ("t2_tirm_tra_dark-fluid", "FLAIR"),
        ("T2-FLAIR", "FLAIR"),
        ("T2w", "T2"),
        ("ep2d_diff_ADC", "ADC"),
        ("dwi b1000", "DWI"),
        ("CT thorax", "CT"),
        ("noNorm", ""),
        ("", ""),
    ],
)
def test_the_name_of_a_series_or_a_channel_tells_its_sequence(name, sequence):
    assert sequence_of(name) == sequence


@pytest.mark.parametrize(
    ("channel", "name", "found"),
    [
        ("T1Gd", "BraTS_t1ce", True),
        ("T1", "BraTS_t1ce", False),
        ("T1", "BraTS_t1", True),
        ("T2", "BraTS_flair", False),
        ("fat fraction", "thigh_fraction_fat", True),
        ("fat fraction", "thigh_fat", False),
        ("+", "T1", False),
        ("-", "T1", False),
    ],
)
def test_a_series_is_of_a_channel_by_its_sequence_or_by_all_words(channel, name, found):
    assert is_channel(channel, name) is found
