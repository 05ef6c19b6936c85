"""What a tuned model takes over from its parent: the parent's own texts, and no other file's."""

from pathlib import Path

import pytest
from small_model import save

from medtl.errors import ModelError
from medtl.finetuning.tuned_bundle import texts_of
from medtl.model.bundle import load_model
from medtl.model.card import METADATA


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path / "small")
    (tmp_path / "secret").write_text('{"authors": "secret"}')
    return tmp_path / "small"


def test_the_licence_and_the_authors_are_the_parents(folder):
    texts = texts_of(load_model(str(folder), "cpu"))
    assert texts.licence == "Test licence\n"
    assert texts.facts == {"authors": "A test", "copyright": "See LICENSE"}


@pytest.mark.parametrize("name", ["LICENSE", METADATA])
def test_a_link_in_the_parent_copies_no_file(name, folder):
    model = load_model(str(folder), "cpu")
    (folder / name).unlink()
    (folder / name).symlink_to(folder.parent / "secret")
    with pytest.raises(ModelError, match="found a link"):
        texts_of(model)


def test_a_licence_that_is_missing_or_of_megabytes_is_said(folder):
    model = load_model(str(folder), "cpu")
    (folder / "LICENSE").write_text("x" * 2_000_000)
    with pytest.raises(ModelError, match="at most 1 MB"):
        texts_of(model)
    (folder / "LICENSE").unlink()
    with pytest.raises(ModelError, match=r"Expected LICENSE in .*, found none"):
        texts_of(model)
