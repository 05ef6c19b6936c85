"""Studies handed over to the engine: segmentations with their images, for Compare dates and the report."""

from collections.abc import Sequence
from pathlib import Path

from medtl.io.write import write_labelmap

from ..mrml.scene import write_volume
from ..mrml.tags import card_of
from ..results.export import merge
from ..results.studies import Study


def hand_over(chosen: Sequence[Study], folder: Path, images: bool) -> tuple[list[dict[str, str]], tuple[str, ...]]:
    """The input of a job on these studies, whose files are written into the folder, and warnings; file names do not say
    whose they are. Images are handed over only where the engine needs them.

    Raises: InputError when a segmentation or a volume cannot be handed over, or the disk is full.
    """
    given: list[dict[str, str]] = []
    warnings: list[str] = []
    for number, study in enumerate(chosen):
        merged = merge(study.segmentation, study.volume, card_of(study.segmentation))
        write_labelmap(folder / f"{number}.seg.nrrd", merged.labelmap)
        one = {"segmentation": f"{folder.name}/{number}.seg.nrrd", "date": study.date}
        if images:
            write_volume(study.volume, folder / f"{number}.nrrd")
            one["image"] = f"{folder.name}/{number}.nrrd"
        given.append(one)
        warnings += merged.warnings
    return given, tuple(warnings)
