"""What a model's terms allow, as they are stated in its bundle."""

import json
from pathlib import Path

import pytest
from small_model import a_card, save

from medtl.errors import ModelError
from medtl.model.card import METADATA
from medtl.model.store import shipped_folders
from medtl.model.terms import Terms, terms_of

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def bundle(tmp_path):
    save(tmp_path / "small", a_card())
    return tmp_path / "small"


def state(bundle: Path, stated: object) -> None:
    path = bundle / METADATA
    path.write_text(json.dumps(json.loads(path.read_text()) | {"copyright": stated}))


@pytest.mark.parametrize(
    "name", ["Apache-2.0", "apache 2.0", "MIT", "CC BY 4.0", "CC-BY-3.0", "CC0 1.0", "BSD-3-Clause"]
)
def test_terms_that_allow_every_use_are_permissive(name):
    assert Terms(name, "text").permissive
    assert Terms(name, "text").summary == name


@pytest.mark.parametrize(
    ("name", "summary"),
    [
        ("CC BY-NC-SA 4.0", "CC BY-NC-SA 4.0: NON-COMMERCIAL USE ONLY"),
        ("cc-by-nc-4.0", "cc-by-nc-4.0: NON-COMMERCIAL USE ONLY"),
        ("Research use", "RESEARCH USE ONLY"),
        ("CC BY-SA 4.0", "CC BY-SA 4.0: read the terms"),
        ("MIT or worse", "MIT or worse: read the terms"),
        ("Licence of the clinic", "Licence of the clinic: read the terms"),
        ("", "terms not stated"),
    ],
)
def test_other_terms_are_not_permissive_and_say_what_they_exclude(name, summary):
    assert not Terms(name, "text").permissive
    assert Terms(name, "text").summary == summary


def test_the_name_is_what_metadata_json_states_and_the_text_that_of_the_file(bundle):
    state(bundle, "CC BY 4.0, see LICENSE")
    assert terms_of(bundle) == Terms("CC BY 4.0", "Test licence\n")


@pytest.mark.parametrize(
    "stated",
    [
        *("See LICENSE", "Copyright (c) MONAI Consortium", "", 7, None, ["CC BY 4.0"]),
        *(f"{'x' * 81}, see LICENSE", "MIT\u202e, see LICENSE", "MIT\n, see LICENSE"),
    ],
)
def test_what_states_no_licence_counts_as_not_stated(bundle, stated):
    state(bundle, stated)
    assert terms_of(bundle) == Terms("", "Test licence\n")


def test_a_bundle_without_a_licence_file_has_no_text(bundle):
    (bundle / "LICENSE").unlink()
    assert terms_of(bundle) == Terms()


def test_a_licence_that_is_a_link_is_refused(bundle):
    (bundle / "LICENSE").unlink()
    (bundle / "LICENSE").symlink_to(ROOT / "LICENSE")
    with pytest.raises(ModelError, match="found a link"):
        terms_of(bundle)


@pytest.mark.parametrize(
    "folder", [path for path in shipped_folders()[0].iterdir() if path.is_dir()], ids=lambda path: path.name
)
def test_a_shipped_model_states_its_terms_and_has_their_text(folder):
    terms = terms_of(folder)
    assert terms.name
    assert "read the terms" not in terms.summary
    stated = " ".join(terms.text.split())
    assert (terms.name if terms.name != "Research use" else "research use only") in stated
