"""The recipes: one registry, their texts as files, and what each refuses."""

from importlib.resources import files

import pytest

from medtl.errors import InputError
from medtl.model.store import shipped_folders
from medtl.training.recipe import TrainingRun
from medtl.training.recipes import RECIPES, recipe_named
from medtl.training.train import train

MODELS = next(folder for folder in shipped_folders() if folder.is_dir())
SHIPPED = sorted(folder.name for folder in MODELS.iterdir() if folder.is_dir())


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_model_has_a_recipe_of_its_name_and_its_licence(name):
    assert recipe_named(name).licence == (MODELS / name / "LICENSE").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", RECIPES)
def test_the_texts_of_a_recipe_are_files_beside_it(name):
    folder = files("medtl.training") / "recipes"
    stem = name.replace("-", "_")
    licence = (folder / f"{stem}_licence.txt").read_text(encoding="utf-8")
    assert recipe_named(name).licence == licence
    readme = (folder / f"{stem}.md").read_text(encoding="utf-8")
    assert readme.startswith(f"# {name}\n")
    assert "not for diagnosis" in " ".join(readme.split())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("renal-malignancy", {"fold": 0}, "leave --fold, --resume and --encoder-weights out"),
        ("renal-malignancy", {"resume": True}, "leave --fold, --resume and --encoder-weights out"),
        ("renal-malignancy", {"encoder_weights": "x"}, "leave --fold, --resume and --encoder-weights out"),
        ("brain-tumour-4class", {"fold": 0}, "leave --fold out"),
        ("absent", {}, "Expected a recipe of glioma-flair, tumour-t1c, brain-tumour-4class, renal-malignancy"),
    ],
)
def test_options_that_a_recipe_does_not_have_are_refused(name, options, message, tmp_path):
    with pytest.raises(InputError, match=message):
        train(name, TrainingRun(tmp_path / "cases.csv", tmp_path / "out", **options))
    assert list(tmp_path.iterdir()) == []
