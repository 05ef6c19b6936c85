"""The files of one input, one a channel of the model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small_model

from medtl.channels import check_volumes, first_of, read_volumes, split_input
from medtl.errors import InputError
from medtl.io.write import write_image
from medtl.model.card import InputSpec
from medtl.volume import Geometry

PAIR = small_model.pair_card()


def split(text: str, card=PAIR) -> list[str]:
    return [str(file) for file in split_input(Path(text), card)]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "text", ["a.nrrd,b.nrrd", "a.nrrd, b.nrrd", "T2=a.nrrd,FLAIR=b.nrrd", "FLAIR = b.nrrd,T2=a.nrrd"]
)
def test_files_come_in_the_order_of_the_channels(text):
    assert split(text) == ["a.nrrd", "b.nrrd"]


def test_a_name_that_is_no_channel_belongs_to_the_file():
    assert split("x=1.nrrd,y=2.nrrd") == ["x=1.nrrd", "y=2.nrrd"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.nrrd", r"Expected 2 volumes for pair \(T2, FLAIR\), found 1; missing: FLAIR\.$"),
        ("a.nrrd,", r"found 1; missing: FLAIR\.$"),
        (",b.nrrd", r"found 1; missing: T2\.$"),
        ("FLAIR=b.nrrd", r"found 1; missing: T2\.$"),
        ("a.nrrd,b.nrrd,c.nrrd", r"found 3\.$"),
        ("T2=a.nrrd,b.nrrd", "Expected T2=FILE,FLAIR=FILE for pair, found T2=a.nrrd,b.nrrd. Name each channel once"),
        ("T2=a.nrrd,T2=b.nrrd", "Name each channel once"),
        ("T2=a.nrrd,FLAIR=", "Name each channel once"),
        ("T1=a.nrrd,FLAIR=b.nrrd", "Name each channel once"),
    ],
)
def test_what_is_missing_or_not_clear_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        split(text)


def test_a_comma_is_part_of_a_name_for_one_channel_and_where_the_file_exists(here):
    assert split("a,b.nrrd", small_model.a_card()) == ["a,b.nrrd"]
    (here / "a,b.nrrd").touch()
    assert split("a,b.nrrd") == ["a,b.nrrd"]


def test_the_last_channels_are_missing_where_too_few_are_there():
    with pytest.raises(InputError, match="found 1; missing: FLAIR"):
        check_volumes(PAIR, 1)
    with pytest.raises(InputError, match=r"Expected 1 volume for small \(FLAIR\), found 2\.$"):
        check_volumes(small_model.a_card(), 2)
    check_volumes(replace(PAIR, input=InputSpec(channels=("A", "B", "C"))), 3)


def test_one_file_is_a_volume_and_several_are_a_tuple(here):
    for number, name in enumerate(("a.nrrd", "b.nrrd")):
        write_image(here / name, np.arange(24).reshape(2, 3, 4) + 100 * number, Geometry((4, 3, 2)))
    one = read_volumes([Path("b.nrrd")])
    assert first_of(one) is one
    assert one.array.max() == 123
    both = read_volumes([Path("a.nrrd"), Path("b.nrrd")])
    assert [int(volume.array.max()) for volume in both] == [23, 123]
    assert first_of(both) is both[0]


def test_an_image_to_be_chosen_within_a_file_of_several_is_refused_without_the_option(here):
    write_image(here / "a.nrrd", np.arange(24).reshape(2, 3, 4), Geometry((4, 3, 2)))
    (here / "four.nrrd").write_bytes(
        b"NRRD0004\ntype: uchar\ndimension: 4\nspace: left-posterior-superior\nsizes: 4 3 2 2\nencoding: raw\n"
        b"space directions: (1,0,0) (0,1,0) (0,0,1) none\nspace origin: (0,0,0)\nkinds: domain domain domain list\n\n"
        + bytes(range(48))
    )
    with pytest.raises(InputError, match="must be a file or folder of its own") as caught:
        read_volumes([Path("a.nrrd"), Path("four.nrrd")])
    assert caught.value.option == ""
