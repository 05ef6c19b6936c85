"""A frame, component or layer is chosen, and advice names no option of one command."""

from pathlib import Path

import pytest

from medtl.errors import InputError
from medtl.io.choice import choose


def test_a_choice_is_named_without_the_form_of_the_command_line() -> None:
    with pytest.raises(InputError, match=r"found 3 frames in a\.nrrd, 0 to 2\. Choose one of them") as caught:
        choose(Path("a.nrrd"), "frame", None, 3)
    assert caught.value.option == "frame"
    assert "--" not in str(caught.value)


@pytest.mark.parametrize(("given", "count", "index"), [(None, 1, 0), (0, 1, 0), (2, 3, 2)])
def test_what_is_given_or_alone_is_taken(given: int | None, count: int, index: int) -> None:
    assert choose(Path("a.nrrd"), "component", given, count) == index


@pytest.mark.parametrize("given", [-1, 3])
def test_what_is_not_there_is_refused(given: int) -> None:
    with pytest.raises(InputError, match=f"a component from 0 to 2, found {given}: a.nrrd has 3"):
        choose(Path("a.nrrd"), "component", given, 3)
