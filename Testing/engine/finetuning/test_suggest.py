"""Which slices to correct next."""

from medtl.finetuning.suggest import evenly_spaced


def test_more_slices_than_there_are_is_each_of_them_once():
    assert [one.index for one in evenly_spaced(3, 6, 10**12)] == [3, 4, 5, 6]
