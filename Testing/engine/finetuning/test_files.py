"""Where a tuning writes its model and its result, before any work is done."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small_model

from medtl.errors import InputError
from medtl.finetuning.files import CaseInput, SeedCases, TuningFiles, check_result, output_folder, read_cases
from medtl.finetuning.run import FinetuneOptions
from medtl.finetuning.seed import write_seeds
from medtl.io import read
from medtl.io.write import write_image, write_labelmap
from medtl.phantom import head


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "models"


@pytest.mark.parametrize("name", ["CON", "aux.1", "a.", ".a", "a b", "x" * 65])
def test_a_name_that_no_model_can_have_is_refused_before_the_work(name, tmp_path):
    for output in (name, str(tmp_path / name)):
        with pytest.raises(InputError, match="Expected a name of up to 64 letters"):
            output_folder(output)


def test_a_name_that_differs_in_capitals_from_a_model_is_taken(store):
    store.mkdir(parents=True)
    small_model.save(store / "small")
    for taken in ("Small", "GLIOMA-flair"):
        with pytest.raises(InputError, match="which is taken"):
            output_folder(taken)


def test_a_link_that_leads_nowhere_is_an_output_that_exists(tmp_path):
    (tmp_path / "new").symlink_to(tmp_path / "nothing")
    with pytest.raises(InputError, match="exists already"):
        output_folder(str(tmp_path / "new"))


def test_the_result_replaces_no_case_of_the_guard_set(tmp_path):
    made = head(3, (16, 16, 4), (12.0, 12.0, 24.0))
    write_image(tmp_path / "a.nrrd", made.volume.array, made.volume.geometry)
    write_labelmap(tmp_path / "b.nrrd", made.labelmap)
    (tmp_path / "guard.csv").write_text("image,label\na.nrrd,b.nrrd\n")
    one = SeedCases([(made.volume, [])])
    for name in ("a.nrrd", "b.nrrd"):
        options = FinetuneOptions(result=tmp_path / name, guard=tmp_path / "guard.csv", force=True)
        with pytest.raises(InputError, match="is an input"):
            check_result(options, TuningFiles("new"), one, small_model.a_card())


@pytest.fixture
def pair(tmp_path):
    """A case of two channels, the second one brighter, with its labels."""
    made = head(3, (16, 16, 4), (12.0, 12.0, 24.0))
    write_image(tmp_path / "t2.nrrd", made.volume.array, made.volume.geometry)
    write_image(tmp_path / "flair.nrrd", made.volume.array + np.float32(5), made.volume.geometry)
    write_labelmap(tmp_path / "label.nrrd", made.labelmap)
    return CaseInput(tmp_path / "t2.nrrd", tmp_path / "label.nrrd", channels=(tmp_path / "flair.nrrd",))


def test_a_case_of_several_channels_is_read_whole_also_from_a_list(pair, tmp_path):
    card = small_model.pair_card()
    ((volumes, seeds),) = read_cases(card, [pair], None, read).cases
    assert (volumes[1].array - volumes[0].array).max() == pytest.approx(5)
    assert {(seed.image, seed.channels) for seed in seeds} == {(pair.image, pair.channels)}
    write_seeds(tmp_path / "seeds.json", seeds)
    ((listed, again),) = read_cases(card, [], tmp_path / "seeds.json", read).cases
    assert [volume.name for volume in listed] == [volume.name for volume in volumes]
    assert [seed.index for seed in again] == [seed.index for seed in seeds]


def test_a_case_that_lacks_a_channel_is_refused_with_its_name(pair):
    with pytest.raises(InputError, match=r"Expected 2 volumes for pair \(T2, FLAIR\), found 1; missing: FLAIR"):
        read_cases(small_model.pair_card(), [replace(pair, channels=())], None, read)
    with pytest.raises(InputError, match=r"Expected 1 volume for small \(FLAIR\), found 2"):
        read_cases(small_model.a_card(), [pair], None, read)


def test_the_result_replaces_no_channel_of_a_case(pair):
    seeds = read_cases(small_model.pair_card(), [pair], None, read)
    options = FinetuneOptions(result=pair.channels[0], force=True)
    for files in (TuningFiles("new", (pair,)), TuningFiles("new")):  # a case, or the SEEDs of a list
        with pytest.raises(InputError, match="is an input"):
            check_result(options, files, seeds, small_model.pair_card())
