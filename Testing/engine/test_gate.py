"""The input gate warns with the reason where a volume is unlike the training images, and is silent where it is not."""

from dataclasses import replace

import numpy as np
import pytest
from small_model import PLAIN, a_card

from medtl.gate import evidence, gate_warnings, guessed_modality, mismatches
from medtl.model.card import Gate, InputSpec, WindowSpec, load_card
from medtl.model.store import find_model
from medtl.phantom import head
from medtl.preprocess import prepare
from medtl.volume import Geometry, Volume
from medtl.windows.prepare import prepare_windows

GATE = Gate(
    modality="MR",
    sequence=("*flair*",),
    not_sequence=("t1*", "*dwi*"),
    extent_mm=(140.0, 330.0),
    statistics={"dark": (0.1, 0.95), "bright": (1.05, 2.5)},
)
CARD = replace(a_card(), name="gated", gate=GATE)
FLAIR = head(0, size=(96, 96, 5), spacing=(2.3, 2.3, 18.0)).volume


def warnings(volume: Volume, card=CARD) -> tuple[str, ...]:
    return gate_warnings(card, volume, prepare(volume, card.input))


def test_a_volume_like_the_training_images_gives_no_warning():
    assert (FLAIR.modality, FLAIR.description) == ("MR", "Synthetic FLAIR head")
    assert warnings(FLAIR) == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"modality": "CT"}, "gated was trained on MR, this volume is CT"),
        ({"description": "T1_mprage"}, "gated expects FLAIR, the series is called 'T1_mprage'"),
        ({"description": "ep2d_DWI"}, "gated expects FLAIR, the series is called 'ep2d_DWI'"),
        ({"geometry": replace(FLAIR.geometry, spacing=(1.0, 1.0, 5.0))}, "96 mm, expected 140 to 330 mm"),
        ({"geometry": replace(FLAIR.geometry, spacing=(5.0, 5.0, 5.0))}, "field of view is 480 mm"),
        ({"geometry": replace(FLAIR.geometry, spacing=(0.9, 2.3, 5.0))}, "coarse here: 2.3×0.9 mm"),
        ({"array": np.where(FLAIR.array > 20, 500, FLAIR.array)}, "is 1.00 of the median, expected 1.05 to 2.50"),
    ],
)  # fmt: skip
def test_each_way_to_be_unlike_is_one_warning_with_its_reason(change, reason):
    if reason.endswith("is 1.00 of the median, expected 1.05 to 2.50"):
        card = replace(CARD, gate=replace(GATE, statistics={"bright": (1.05, 2.5)}))
    else:
        card = CARD
    (found,) = warnings(replace(FLAIR, **change), card)
    assert reason in found
    assert found.startswith("Unlike the training images: ")
    assert found.endswith("Check the result.")
    assert "\n" not in found


def test_what_a_file_does_not_say_is_not_held_against_it():
    for description in ("", "Localizer", "t1_flair_axial"):  # the last names the wanted sequence too
        assert warnings(replace(FLAIR, modality="", description=description)) == ()
    tiny = replace(FLAIR.geometry, spacing=(0.5, 0.5, 1.0))
    assert warnings(replace(FLAIR, geometry=tiny, real_spacing=False)) == ()


def test_a_card_without_a_gate_warns_of_nothing_it_was_not_told():
    assert warnings(replace(FLAIR, modality="CT", description="anything"), replace(CARD, gate=Gate())) == ()


def test_slices_across_a_coarse_axis_are_named():
    volume = Volume(FLAIR.array, replace(FLAIR.geometry, spacing=(1.0, 1.0, 6.0)), modality="MR")
    card = replace(CARD, input=InputSpec(plane="coronal"), gate=Gate())
    (found,) = warnings(volume, card)
    assert "coronal plane are coarse here: 6.0×1.0 mm" in found


def test_a_volume_that_shows_nothing_is_named():
    dark = Volume(np.zeros((3, 40, 40), np.int16), Geometry((40, 40, 3)))
    (found,) = warnings(dark, replace(CARD, gate=Gate()))
    assert "no body was found in the image" in found


@pytest.mark.parametrize("array", [np.zeros((3, 4, 5)), np.ones((1, 1, 1)), np.full((2, 9, 9), -5.0)])
def test_odd_volumes_are_a_warning_at_most(array):
    size = array.shape[::-1]
    for found in warnings(Volume(array, Geometry(size))):
        assert found.startswith("Unlike the training images")


def header(volume: Volume) -> dict:
    grid = volume.geometry
    return {
        "modality": volume.modality,
        "description": volume.description,
        "size": grid.size,
        "spacing": grid.spacing if volume.real_spacing else None,
        "direction": grid.direction,
    }


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"modality": "CT"}, "gated was trained on MR, this volume is CT"),
        ({"description": "T1_mprage"}, "gated expects FLAIR, the series is called 'T1_mprage'"),
        (
            {"geometry": replace(FLAIR.geometry, spacing=(1.0, 1.0, 5.0))},
            "the field of view is 96 mm, expected 140 to 330 mm",
        ),
        ({"geometry": replace(FLAIR.geometry, spacing=(0.5, 0.5, 1.0)), "real_spacing": False}, None),
    ],
)
def test_the_header_alone_tells_what_does_not_fit_and_the_warning_says_the_same(change, reason):
    volume = replace(FLAIR, **change)
    found = mismatches(CARD, **header(volume))
    assert found == (() if reason is None else (reason,))
    assert [r for r in warnings(volume) if reason and reason in r] == [
        f"Unlike the training images: {r}. Check the result." for r in found
    ]


@pytest.mark.parametrize(("plane", "fits"), [("axial", False), ("coronal", True), ("sagittal", True)])
def test_the_field_of_view_is_that_of_the_models_plane(plane, fits):
    """100×100 mm axial slices of a stack 200 mm high, stored so that the first index axis runs to superior."""
    card = replace(CARD, input=InputSpec(plane=plane))
    stored = {"size": (200, 100, 100), "spacing": (1.0, 1.0, 1.0), "direction": (0, 1, 0, 0, 0, 1, 1, 0, 0)}
    assert (mismatches(card, modality="", description="", **stored) == ()) == fits


def test_without_a_direction_a_field_of_view_that_fits_in_one_plane_fits():
    stored = {"modality": "MR", "description": "", "spacing": (1.0, 1.0, 1.0)}
    assert mismatches(CARD, size=(100, 100, 200), **stored) == ()
    (reason,) = mismatches(CARD, size=(100, 100, 120), **stored)
    assert reason.startswith("the field of view is ")


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((1, 20, 20), "it is a single slice (2 mm), and the model looks at 32 mm at once"),
        ((3, 20, 20), "it has 3 slices only (6 mm), and the model looks at 32 mm at once"),
        ((4, 20, 20), None),  # a quarter
        ((20, 20, 3), "it has 3 slices only (6 mm), and the model looks at 32 mm at once"),
    ],
)
def test_a_volume_that_is_thin_for_a_model_of_volumes_is_named(shape, reason):
    volume = Volume(np.random.default_rng(0).normal(0, 9, shape), Geometry(shape[::-1], (2.0, 2.0, 2.0)))
    for patch in ((16, 16, 16), (16, 16)):
        spec = WindowSpec(patch=patch, spacing=(2.0,) * len(patch), normalisation=(PLAIN,), orientation="LPS")
        card = replace(a_card(), windows=spec)
        found = gate_warnings(card, volume, prepare_windows([volume], card, spec))
        named = reason is not None and len(patch) == 3
        assert found == ((f"Unlike the training images: {reason}. Check the result.",) if named else ())


@pytest.mark.parametrize(
    ("modality", "description", "spacing", "offered"),
    [
        ("CT", "Abdomen portal venous", 0.8, True),
        ("CT", "kidney cut out", 0.2, True),
        ("", "case_00012", 0.8, True),
        ("", "case_00012", 0.5, False),
        ("MR", "t2_tse_cor", 0.8, False),
        ("CT", "Head without contrast", 0.8, False),
        ("", "MRHead", 0.8, False),
        ("", "BraTS-GLI-00012-t1c", 0.8, False),
    ],
)
def test_the_model_of_renal_tumours_is_not_offered_for_a_brain(modality, description, spacing, offered):
    card = load_card(find_model("renal-malignancy"))
    header = {"size": (512, 512, 90), "spacing": (spacing, spacing, 3.0)}
    assert (mismatches(card, modality=modality, description=description, **header) == ()) == offered


@pytest.mark.parametrize(
    ("modality", "description", "count"),
    [
        ("", "", 0),
        ("MR", "", 1),
        ("CT", "", 0),
        ("MR", "AX FLAIR", 2),
        ("", "t2_flair_tra", 1),
        ("MR", "T2 TSE", 1),
        ("CT", "T1", 0),
    ],
)
def test_what_is_known_of_a_volume_speaks_for_a_model(modality, description, count):
    assert evidence(CARD, modality=modality, description=description) == count


@pytest.mark.parametrize(("lowest", "modality"), [(-1024.0, "CT"), (-500.0, "CT"), (-499.0, ""), (0.0, "")])
def test_values_of_air_tell_a_ct(lowest, modality):
    assert guessed_modality(lowest) == modality


def test_a_volume_with_values_of_air_and_no_modality_is_taken_for_a_ct():
    array = FLAIR.array.astype(np.int16)
    array[0, 0, 0] = -1000
    unknown = replace(FLAIR, array=array, modality="", description="")
    assert any("trained on MR, this volume is CT" in text for text in warnings(unknown))
    assert warnings(replace(unknown, modality="MR")) == ()


@pytest.mark.parametrize(
    ("modality", "lowest", "fits"),
    [("", 0.0, False), ("", -300.0, False), ("", -1000.0, True), ("CT", 0.0, False), ("CT", -300.0, True)],
)
def test_a_model_of_ct_is_not_offered_for_an_image_without_values_in_hu(modality, lowest, fits):
    """A CT that is cut to soft tissue has no air, but fat has values below 0."""
    card = replace(a_card(), gate=Gate(modality="CT"))
    header = {"description": "", "size": (9, 9, 9), "spacing": (1.0, 1.0, 1.0)}
    reasons = mismatches(card, modality=modality, lowest=lowest, **header)
    assert (reasons == ()) is fits
    assert mismatches(card, modality=modality, **header) == ()
    assert mismatches(replace(card, networks=()), modality=modality, lowest=lowest, **header) == ()  # shapes alone


@pytest.mark.parametrize("modality", ["", "CT"])
def test_values_of_hu_and_1024_give_a_warning_that_says_what_to_do(modality):
    hu = np.full((3, 40, 40), -1000, np.int16)
    hu[:, 10:30, 10:30] = 40
    card = replace(a_card(), gate=Gate(modality="CT"))
    right = Volume(hu, Geometry((40, 40, 3)), modality=modality)
    assert warnings(right, card) == ()
    (found,) = warnings(replace(right, array=hu + 1024), card)
    assert "the lowest value here is 24" in found
    assert "subtract 1024" in found


def test_an_mr_for_a_model_of_ct_gives_a_warning_whether_its_file_says_mr_or_nothing():
    card = replace(CARD, gate=Gate(modality="CT"))
    for modality, reason in (("MR", "this volume is MR"), ("", "was trained on CT in HU")):
        (found,) = warnings(replace(FLAIR, modality=modality), card)
        assert reason in found


def test_the_name_of_a_file_that_says_nothing_else_tells_the_sequence():
    for name, fits in (("case_7_t1c", False), ("case_7_flair", True), ("case_7", True)):
        assert (warnings(replace(FLAIR, description="", name=name)) == ()) is fits
    assert warnings(replace(FLAIR, name="case_7_t1c")) == ()  # the description counts


def test_a_head_is_not_taken_for_a_limb_where_its_file_is_named_after_the_sequence():
    card = load_card(find_model("sarcoma-mr"))
    brain = {"modality": "", "size": (240, 240, 155), "spacing": (1.0, 1.0, 1.0)}
    assert mismatches(card, description="Brats18 2013 11 1 t1c", **brain)
    thigh = {"modality": "MR", "size": (180, 180, 60), "spacing": (1.0, 1.0, 3.27)}
    assert mismatches(card, description="STS 001 T1", **thigh) == ()
    whole = {**thigh, "size": (512, 512, 60)}
    assert "the field of view is 512 mm, expected 60 to 300 mm" in mismatches(card, description="", **whole)
