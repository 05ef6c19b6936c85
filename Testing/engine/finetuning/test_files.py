"""Where a tuning writes its model and its result, before any work is done."""

from pathlib import Path

import pytest
import small_model

from medtl.errors import InputError
from medtl.finetuning.files import SeedCases, TuningFiles, check_result, output_folder
from medtl.finetuning.run import FinetuneOptions
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
