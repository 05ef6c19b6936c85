"""A number with its noun."""

import pytest

from medtl.counted import counted


@pytest.mark.parametrize(("count", "text"), [(0, "0 slices"), (1, "1 slice"), (2, "2 slices"), (1000, "1000 slices")])
def test_one_is_singular_and_all_others_are_plural(count, text):
    assert counted(count, "1 slice", "{count} slices") == text
