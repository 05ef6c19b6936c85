"""Terms that the user accepts once, for a version of a model, on this computer."""

from dataclasses import replace

import pytest
from small_model import a_card

from medtl.errors import InputError
from medtl.model.acceptance import accept, is_accepted, receipt_of, reminder
from medtl.model.card import Parent
from medtl.model.terms import Terms

TERMS = Terms("CC BY-NC 4.0", "Not for money.\n")
CARD = a_card()


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_terms_are_accepted_once_and_the_file_shows_what_was_accepted(home):
    assert not is_accepted(CARD, TERMS)
    path = accept(CARD, TERMS)
    assert is_accepted(CARD, TERMS)
    assert accept(CARD, TERMS) == path
    assert [file.name for file in (home / "accepted-terms").iterdir()] == [path.name]
    first, _, text = path.read_text(encoding="utf-8").split("\n", 2)
    assert "small 1.0.0 (CC BY-NC 4.0: NON-COMMERCIAL USE ONLY)" in first
    assert text == TERMS.text


def test_permissive_terms_need_no_acceptance(home):
    assert is_accepted(CARD, Terms("MIT", "text"))
    assert reminder(CARD, Terms("MIT", "text"), home) == ""
    assert not home.exists()


@pytest.mark.parametrize(
    ("card", "terms"),
    [
        (replace(CARD, version="1.0.1"), TERMS),
        (replace(CARD, name="other"), TERMS),
        (CARD, replace(TERMS, text="Not for money, and not on Sundays.\n")),
        (CARD, replace(TERMS, name="CC BY-NC-ND 4.0")),
    ],
    ids=["new version", "another model", "other text", "other name"],
)
def test_a_new_version_or_other_terms_ask_anew(home, card, terms):
    accept(CARD, TERMS)
    assert not is_accepted(card, terms)


def test_a_model_tuned_from_an_accepted_one_asks_no_more(home):
    accept(CARD, TERMS)
    tuned = replace(CARD, name="small-tuned-1", parent=Parent("small", "0" * 64))
    assert is_accepted(tuned, TERMS)


def test_the_reminder_names_the_terms_and_the_file(home):
    line = reminder(CARD, TERMS, home / "small")
    assert (
        line
        == f"small 1.0.0: CC BY-NC 4.0: NON-COMMERCIAL USE ONLY. Read {home / 'small' / 'LICENSE'} before you use it."
    )
    assert "terms not stated. Ask who made the model" in reminder(CARD, Terms(), home / "small")
    accept(CARD, TERMS)
    assert reminder(CARD, TERMS, home / "small") == ""


def test_a_store_that_cannot_be_written_is_a_sentence(home):
    home.write_text("a file where the folder should be")
    with pytest.raises(InputError, match=r"Could not store in .*accepted-terms.*Check space and rights"):
        accept(CARD, TERMS)
    assert not is_accepted(CARD, TERMS)
    assert home.read_text() == "a file where the folder should be"


def test_a_folder_in_place_of_the_file_is_no_acceptance(home):
    receipt_of(CARD, TERMS).mkdir(parents=True)
    assert not is_accepted(CARD, TERMS)
    with pytest.raises(InputError):
        accept(CARD, TERMS)
