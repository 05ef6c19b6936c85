"""Which slices to correct next."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small_model

from medtl.errors import InputError
from medtl.finetuning.suggest import evenly_spaced, suggest_file
from medtl.io.write import write_image
from medtl.segmentation import InferenceOptions, segment
from medtl.volume import Geometry, Volume


def test_more_slices_than_there_are_is_each_of_them_once():
    assert [one.index for one in evenly_spaced(3, 6, 10**12)] == [3, 4, 5, 6]


def test_several_channels_give_slices_of_the_first(tmp_path):
    spec = replace(small_model.CUBES, normalisation=(small_model.PLAIN,) * 2)
    model = small_model.windowed(spec)
    values = np.random.default_rng(0).normal(0, 100, (2, 12, 9, 10)).astype(np.float32)
    grid = Geometry((10, 9, 12))
    files = [tmp_path / "a.nrrd", tmp_path / "b.nrrd"]
    for file, array in zip(files, values, strict=True):
        write_image(file, array, grid)
    found = suggest_file(files, model, 20, InferenceOptions())
    labels = segment([Volume(array, grid) for array in values], model).labelmap.array
    assert [one.index for one in found.suggestion.slices] == np.flatnonzero(labels.any(axis=(1, 2))).tolist()
    assert found.input == f"{files[0]},{files[1]}"
    with pytest.raises(InputError, match="missing: MR1"):
        suggest_file(Path("a.nrrd"), model, 5, InferenceOptions())
