"""`medtl train`: train a model by a recipe."""

from ..io import read
from ..io.isolated import Reader
from ..progress import Progress, no_progress
from .recipe import TrainedBundle, TrainingRun
from .recipes import recipe_named


def train(name: str, run: TrainingRun, progress: Progress = no_progress, reader: Reader = read) -> TrainedBundle:
    """The bundle in the folder `run.output`/NAME, trained by the recipe of that name.

    Raises: InputError for an unknown recipe, cases or options that cannot be used, or an output that is taken.
    """
    return recipe_named(name).train(run, progress, reader)
