"""The public Python API: the functions of `import medtl`. Each does one step, on values or on files.

Paths may be text or `pathlib.Path`. `progress(stage, fraction)` is called often; raise `medtl.Cancelled` from it to
stop the work. Everything that fails on purpose raises a `medtl.MedTLError` with a one-line message.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .io import read, write
from .model import bundle, store
from .progress import Progress, no_progress

if TYPE_CHECKING:
    import numpy as np

    from .classification.classify import Classification, ClassifyOptions
    from .evaluation.classification import ClassEvaluation
    from .evaluation.segmentation import Evaluation
    from .finetuning.files import CaseInput, TuningResult
    from .finetuning.run import FinetuneOptions
    from .finetuning.suggest import Suggestion
    from .model.bundle import Model
    from .model.store import ModelEntry
    from .results import MeasuredSegment, SegmentFigures
    from .segmentation import InferenceOptions, Segmentation
    from .volume import Labelmap, Volume


@dataclass(frozen=True)
class TunedModel:
    """What came of a fine-tuning: the `folder` of the new bundle, the `verdict` (better, same, worse; new for a new
    structure), the `warnings`, and the whole `record`, whose `outcome` has the figures."""

    folder: Path
    verdict: str
    warnings: tuple[str, ...]
    record: "TuningResult"


def read_volume(
    path: str | Path, *, frame: int | None = None, component: int | None = None, series: str | None = None
) -> "Volume":
    """The volume of an image file or a DICOM folder.

    Args:
        path: a NRRD, NIfTI, MetaImage, DICOM, PNG, JPEG, TIFF or WebP file, or a folder of one DICOM study.
        frame: which 3D image of a 4D file, from 0.
        component: which channel of a file with several values a voxel, from 0.
        series: the UID of a DICOM series, or a unique beginning of it.

    Returns:
        A `Volume`: the array is (Z, Y, X) in the dtype of the file (DICOM: rescaled, HU in CT), the geometry is LPS mm
        in (x, y, z). `warnings` says what reading had to change.

    Raises:
        InputError: the file cannot be read, is damaged or ambiguous.
    """
    return read.read_volume(Path(path), frame=frame, component=component, series=series)


def read_labelmap(path: str | Path) -> "Labelmap":
    """The labels of a file, with the segments that a `.seg.nrrd` names.

    Args:
        path: a NRRD, NIfTI, MetaImage or picture file whose values are whole numbers from 0 to 65535.

    Returns:
        A `Labelmap`: uint8 or uint16 (Z, Y, X), 0 is background. `mask(value)` is the whole segment, also where
        another one overlaps it.

    Raises:
        InputError: the file cannot be read or is no labelmap.
    """
    return read.read_labelmap(Path(path))


def write_labelmap(path: str | Path, labelmap: "Labelmap", *, replace: bool = False) -> tuple[str, ...]:
    """Warnings of writing a labelmap; the file is written whole or not at all.

    Args:
        path: ends in `.seg.nrrd` (with names, colours, terminology and tags for 3D Slicer), `.nrrd` or `.nii.gz`.
        labelmap: what to write.
        replace: overwrite an existing file.

    Returns:
        One sentence for each thing that the format cannot hold exactly; empty for NRRD.

    Raises:
        InputError: the suffix is unknown, the file exists, or it cannot be written.
    """
    return write.write_labelmap(Path(path), labelmap, replace)


def models() -> "tuple[ModelEntry, ...]":
    """The models on this computer: shipped ones first, then imported and tuned ones.

    Returns:
        A `ModelEntry` for each: name, folder, card, the `terms` of its weights, and `problem` where it cannot be used.
        Nobody is asked to accept terms here: read them before you use a model.
    """
    return store.list_models()


def load_model(name_or_folder: str | Path, device: str = "auto") -> "Model":
    """A model, ready to run.

    Args:
        name_or_folder: a name of `models()` or the folder of a bundle.
        device: `cpu`, `cuda`, `mps`, or `auto` for the fastest that this computer has.

    Returns:
        A `Model`: its card and its networks on the device.

    Raises:
        ModelError: there is no such model, or it is damaged.
        DeviceError: the device is not there or its memory does not suffice.
    """
    return bundle.load_model(str(name_or_folder), device, None)


def segment(
    volumes: "Volume | Sequence[Volume]",
    model: "Model",
    options: "InferenceOptions | None" = None,
    progress: Progress = no_progress,
) -> "Segmentation":
    """The model's segmentation of a volume, on the volume's own grid.

    Args:
        volumes: an image of the kind that the model's card names; several for a model of several channels, in the order
            of `model.card.input.channels`. The result lies on the grid of the first.
        model: a model for segmentation.
        options: mirrored averaging, clean-up, threads, and whether to keep probabilities and uncertainty.
        progress: see above.

    Returns:
        A `Segmentation`: `labelmap`, `volumes_ml` (mL, one a segment, None without a real spacing), `warnings`.

    Raises:
        InputError: the volumes do not fit the model.
        ModelError: the model is not for segmentation, or its output is not finite.
        DeviceError: memory runs out.
        Cancelled: `progress` raised it.
    """
    from . import segmentation

    bundle.check_task(model.card, "segmentation")
    return segmentation.segment(volumes, model, options or segmentation.InferenceOptions(), progress)


def classify(
    volume: "Volume",
    model: "Model",
    region: "np.ndarray | None" = None,
    options: "ClassifyOptions | None" = None,
    progress: Progress = no_progress,
) -> "Classification":
    """The class of the tumour in a volume, with calibrated probabilities. Research use, not for diagnosis.

    Args:
        volume: an image of the kind that the model's card names.
        model: a model for classification.
        region: the tumour's mask, bool (Z, Y, X), such as `labelmap.mask(1)`. Models of plain numbers need one.
        options: threads, and `keep_heat` for a heat map.
        progress: see above.

    Returns:
        A `Classification`: `probabilities` in the order of `model.card.classes`, `best` (the index of the largest),
        and `reasons` to abstain (empty where the model does not).

    Raises:
        InputError: the volume or the region cannot be used.
        ModelError: the model is not for classification, or its output is not finite.
        DeviceError: memory runs out.
        Cancelled: `progress` raised it.

    Source:
        Attention pooling: Ilse et al. 2018; temperature: Guo et al. 2017; heat map: Draelos and Carin 2020.
    """
    from .classification import classify as classification

    bundle.check_task(model.card, "classification")
    return classification.classify(volume, model, region, options or classification.ClassifyOptions(), progress)


def finetune(
    model: "Model",
    cases: "Sequence[CaseInput]",
    output: str | Path,
    options: "FinetuneOptions | None" = None,
    progress: Progress = no_progress,
) -> TunedModel:
    """A model tuned on SEED slices: slices of which the labelmap is right as a whole.

    Args:
        model: the model to start from; it stays as it is.
        cases: images with their labelmaps, each with the slices to learn from (None: every slice with a label).
        output: the name of the new model in the user's store, or the path of a new folder.
        options: time budget in seconds, strength, and `guard`: a case list that is watched and never learned from.
        progress: see above. A cancelled run keeps its best checkpoint, and the message of `Cancelled` names it.

    Returns:
        A `TunedModel`; `load_model(tuned.folder)` loads it.

    Raises:
        InputError: a file or an option cannot be used, or the output exists.
        ModelError: the model is not for segmentation, or the tuning diverged at once.
        DeviceError: memory runs out.
        Cancelled: `progress` raised it.

    Source:
        SEED slices: after Yoon et al. 2024; the guard is this project's own.
    """
    from .finetuning.files import TuningFiles, finetune_files
    from .finetuning.run import FinetuneOptions

    bundle.check_task(model.card, "segmentation")
    given = tuple(
        replace(case, image=Path(case.image), label=Path(case.label), channels=tuple(map(Path, case.channels)))
        for case in cases
    )
    tuned = finetune_files(model, TuningFiles(str(output), given), options or FinetuneOptions(), progress)
    return TunedModel(Path(tuned.output), tuned.outcome.verdict, tuned.outcome.notes, tuned)


def suggest(
    volumes: "Volume | Sequence[Volume]",
    model: "Model",
    count: int = 5,
    options: "InferenceOptions | None" = None,
    progress: Progress = no_progress,
) -> "Suggestion":
    """The slices to correct next: evenly spaced over what the model finds.

    Args:
        volumes: the image, or several as for `segment`; the slices are those of the first.
        model: a model for segmentation.
        count: how many slices.
        options: as for `segment`.
        progress: see above.

    Returns:
        A `Suggestion`: `slices` with their 0-based `index` along the array axis nearest the normal of the model's
        plane, and `warnings`.

    Raises:
        As `segment` does.
    """
    from .finetuning import suggest as suggestion
    from .segmentation import InferenceOptions

    bundle.check_task(model.card, "segmentation")
    return suggestion.suggest(volumes, model, count, options or InferenceOptions(), progress)


def evaluate(
    model: "Model", cases: str | Path, *, binary: bool = False, progress: Progress = no_progress
) -> "Evaluation | ClassEvaluation":
    """The figures of a model on cases with a reference.

    Args:
        model: a model for segmentation or classification.
        cases: a CSV file with the columns image, label and patient (label: a labelmap, or the name of a class). For a
            model of several channels the images are in image, image_2, … or in columns named after the channels.
        binary: every label above 0 counts as the model's one label (segmentation alone).
        progress: see above.

    Returns:
        An `Evaluation` or a `ClassEvaluation`: figures with bootstrap 95 % intervals over patients; `errors` lists the
        cases that could not be used.

    Raises:
        InputError: the list cannot be read, or `binary` does not fit the model.
        Cancelled: `progress` raised it.
    """
    from .classification.classify import ClassifyOptions
    from .evaluation import classification, segmentation
    from .segmentation import InferenceOptions

    if model.card.task == "classification" and not binary:
        return classification.evaluate_classes(model, Path(cases), ClassifyOptions(), progress)
    bundle.check_task(model.card, "segmentation")
    return segmentation.evaluate(model, Path(cases), InferenceOptions(), progress, binary=binary)


def measure(labelmap: "Labelmap", real_spacing: bool = True) -> "tuple[SegmentFigures, ...]":
    """Volume and lesions of each segment of a labelmap.

    Args:
        labelmap: labels; a value without a segment counts as a segment named by its value.
        real_spacing: False where the image states no spacing: then mL and mm are None.

    Returns:
        A `SegmentFigures` for each segment: `volume_ml` (mL) and `lesions`, the parts connected over 26 neighbours,
        the largest first, each with `volume_ml`, `diameter_mm` (largest distance in 3D, mm) and `centre` (LPS mm).
    """
    from . import measurement

    return measurement.measure(labelmap, real_spacing)


def measure_lesions(
    labelmap: "Labelmap", *, min_ml: float | None = None, plane: str | None = None
) -> "tuple[MeasuredSegment, ...]":
    """The lesions of each segment of a labelmap with diameters and surface, as `medtl measure` prints them.

    Args:
        labelmap: labels; a value without a segment counts as a segment named by its value. Where its `real_spacing` is
            False, mL and mm are None.
        min_ml: smaller parts are counted in `small`, not listed; None for those under 0.01 mL or 3 voxels.
        plane: `axial`, `coronal` or `sagittal` slices to measure diameters in; None for those that the image was taken
            in: along the axis whose spacing differs from the other two, axial where all are alike.

    Returns:
        A `MeasuredSegment` for each, with `lesions`, the largest first: `volume_ml`, the `longest` diameter in a slice
        and the `perpendicular` one on the same `slice` (each with `mm` and `ends`, LPS mm), `surface_mm2`,
        `diameter_mm` (in 3D) and `centre` (LPS mm).

    Source:
        Diameters: Eisenhauer et al. 2009, Wen et al. 2010; surface: Lehmann and Legland 2012.
    """
    from . import measurement

    return measurement.measure_lesions(labelmap, min_ml, plane)
