"""Fine-tune on files: images, labelmaps and SEED lists in, a bundle and its record out."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..channels import check_volumes, first_of, read_volumes, warnings_of
from ..errors import Cancelled, InputError, MedTLError
from ..io import read
from ..io.files import identities, stem_of, suffix_of
from ..io.into_place import check_parent
from ..io.isolated import Reader
from ..io.write import check_output, write_labelmap
from ..model.bundle import Model
from ..model.card import ModelCard, check_card, is_name
from ..model.fallback import with_fallback
from ..model.store import is_free, user_store
from ..progress import Progress, no_progress
from ..typed_json import OPTIONAL, SPREAD
from ..volume import Labelmap, Volume, array_axis, check_same_grid, voxels_sha256
from ..worklist.test_set import labelled_cases
from .case_result import CaseResult, case_result
from .finetune import Finetuned, finetune
from .new_structure import Structure, start_model, structure_card, train_structure
from .output import TuningOutput, free_folder
from .run import FinetuneOptions, OnValues, Run, TimeBudget, Weights, ignore_values
from .seed import Seed, by_image, read_seeds, seeds_of
from .tuned_bundle import (
    Origin,
    Outcome,
    Unfinished,
    inherited_from,
    origin_of,
    outcome_of,
    trained_structure_card,
    tuned_card,
    tuning_record,
    write_bundle,
)


@dataclass(frozen=True)
class CaseInput:
    """An image with its labelmap; `slices` are the SEEDs, None for every slice that holds a label. Of a model of
    several channels, `image` is that of the first, on whose grid the labelmap lies, and `channels` are the others."""

    image: Path
    label: Path
    slices: tuple[int, ...] | None = None
    channels: tuple[Path, ...] = ()


@dataclass(frozen=True)
class TuningFiles:
    """The inputs and the output of a tuning: `output` is a name in the user's store or a path, `seeds` a list of SEEDs.
    With `structure` a model of a new structure is trained, starting from the encoder of the given model."""

    output: str
    cases: tuple[CaseInput, ...] = ()
    seeds: Path | None = None
    structure: Structure | None = None


@dataclass(frozen=True)
class SeedCases:
    """Volumes (of several channels a tuple of them) with their SEEDs, and the readers' warnings."""

    cases: list[tuple[Volume | tuple[Volume, ...], list[Seed]]]
    warnings: tuple[str, ...] = ()

    @property
    def single(self) -> list[tuple[Volume, list[Seed]]]:
        """The cases of a new structure, which has one channel. Raises: InputError where there are several."""
        single = [(volume, seeds) for volume, seeds in self.cases if isinstance(volume, Volume)]
        if len(single) < len(self.cases):
            raise InputError(
                "Expected a model of one channel for a new structure, found one of several. Choose another."
            )
        return single


@dataclass(frozen=True)
class TuningResult:
    """What came of a tuning, as `medtl finetune --json` prints it: the bundle, `sha256` of its weights, and the outcome
    with all warnings as its `notes`; the labelmap of the case and the weight of its interpolation, where one was
    written; `advised_budget` in seconds, where there was time for few steps."""

    output: str
    name: str
    sha256: str
    parent: Origin
    outcome: Outcome = field(metadata=SPREAD)
    result: str | None = field(default=None, metadata=OPTIONAL)
    blend_weight: float | None = field(default=None, metadata=OPTIONAL)
    advised_budget: float | None = field(default=None, metadata=OPTIONAL)


def finetune_files(
    model: Model,
    files: TuningFiles,
    options: FinetuneOptions,
    progress: Progress = no_progress,
    on_values: OnValues = ignore_values,
    budget: TimeBudget | None = None,
    reader: Reader = read,
) -> TuningResult:
    """What came of a tuning; the bundle is written whatever the verdict.

    While it runs, the best model so far is a bundle beside the output, `NAME.best-N`; when it is cancelled, that
    becomes the output. Where something appears at the output meanwhile, the model goes to `NAME-2`, with a warning.

    Raises: MedTLError as reading, tuning and writing do; Cancelled, whose message names the best model so far.
    """
    budget = budget or TimeBudget(options.budget)
    with TuningOutput(output_folder(files.output)) as output:
        progress("read", 0.0)
        name, structure = output.folder.name, files.structure
        card = model.card if structure is None else structure_card(model.card, name, structure)
        seeds = read_cases(card, files.cases, files.seeds, reader)
        check_result(options, files, seeds, card)
        progress("read", 1.0)
        write = bundle_writer(model, structure, seeds, options)

        def save_checkpoint(weights: Weights, alpha: float) -> None:
            output.save(lambda folder: write(folder, name, weights, Unfinished(alpha)))

        later = later_slices(first_of(seeds.cases[0][0]), card) if options.result is not None else 0
        run = Run(options, budget, progress, on_values, save_checkpoint, later_slices=later, reader=reader)
        with checkpoint_as_output(output):

            def tune(model: Model) -> tuple[Finetuned, CaseResult | None]:
                tuned = tune_or_train(model, card, structure, seeds, run)
                if options.result is None:
                    return tuned, None
                return tuned, case_result(tuned, first_of(seeds.cases[0][0]), seeds.cases[0][1], budget, progress)

            (tuned, result), device_warnings = with_fallback(model, tune)
            progress("write", 0.0)
            outcome = outcome_of(tuned, budget.used)
            # From here on the model counts as written: a cancel comes before, not after.
            progress("write", 1.0)
            place, card = write_model(output.folder, tuned.weights, outcome, write)
            output.drop()
    warnings = [*seeds.warnings, *device_warnings, *tuned.guard_warnings, *tuned.warnings]
    if place != output.folder:
        warnings.append(f"{output.folder} appeared while the model was tuned, so the model is in {place}.")
    written = None
    if result is not None and options.result is not None:
        warnings += result.warnings
        written, result_warnings = write_result(options.result, result.labelmap, options.force)
        warnings += result_warnings
    outcome = replace(outcome, seconds=round(budget.used, 2), notes=tuple(warnings))
    return TuningResult(
        str(place),
        place.name,
        card.sha256,
        origin_of(model),
        outcome,
        result=str(written) if written else None,
        blend_weight=result.weight if result and written else None,
        advised_budget=tuned.advised_budget,
    )


@contextmanager
def checkpoint_as_output(output: TuningOutput) -> Iterator[None]:
    """Make the best checkpoint the output when the work inside is cancelled; remove it when the work fails.

    Raises: Cancelled, whose message names the best model so far, in place of a KeyboardInterrupt.
    """
    try:
        yield
    except (Cancelled, KeyboardInterrupt) as error:
        kept = output.settle()
        raise Cancelled(f"Cancelled; the best model so far is in {kept}." if kept else "Cancelled.") from error
    except SystemExit:  # a signal ends the process
        output.settle()
        raise
    except MedTLError:
        output.drop()
        raise


def tune_or_train(model: Model, card: ModelCard, structure: Structure | None, seeds: SeedCases, run: Run) -> Finetuned:
    """The tuned model, or for a new structure (with this card) the model that was trained for it."""
    if structure is None:
        return finetune(model, seeds.cases, run)
    own = start_model(model, card, seeds.single[0][0], run.options.seed)
    # A card that cannot be written is an error before the work, not after it.
    record = tuning_record(model, seeds.cases, run.options, Unfinished(1.0))
    check_card(trained_structure_card(own.card, card.name, record), card.name)
    return train_structure(own, seeds.single, run)


def later_slices(volume: Volume, card: ModelCard) -> int:
    """The number of slices of the volume in the model's plane."""
    return volume.geometry.shape[array_axis(volume.geometry, card.input.plane)]


WriteBundle = Callable[[Path, str, Weights, Outcome | Unfinished], ModelCard]


def bundle_writer(model: Model, structure: Structure | None, seeds: SeedCases, options: FinetuneOptions) -> WriteBundle:
    """A function that writes a bundle made from the model: `write(folder, name, weights, outcome)`.

    Raises: ModelError when the texts or the weights of the model cannot be read.
    """
    origin = inherited_from(model)
    card_of = tuned_card if structure is None else trained_structure_card

    def write(folder: Path, name: str, weights: Weights, outcome: Outcome | Unfinished) -> ModelCard:
        record = tuning_record(model, seeds.cases, options, outcome)
        card = card_of(weights.model.card, name, record)
        return write_bundle(folder, card, weights.states(outcome.alpha), origin)

    return write


def write_model(folder: Path, weights: Weights, outcome: Outcome, write: WriteBundle) -> tuple[Path, ModelCard]:
    """The folder and the card of the final bundle, which is written beside the output when that exists."""
    while True:
        place = free_folder(folder)
        try:
            return place, write(place, place.name, weights, outcome)
        except InputError:
            if not os.path.lexists(place):  # else it appeared just now
                raise


def check_result(options: FinetuneOptions, files: TuningFiles, seeds: SeedCases, card: ModelCard) -> None:
    """Raise InputError when the result cannot be written, or there are several cases."""
    if options.result is None:
        return
    if len(seeds.cases) != 1:
        raise InputError(f"Expected one case for a result, found {len(seeds.cases)}. Leave --result out.")
    inputs = [file for case in files.cases for file in (case.image, *case.channels, case.label)]
    inputs += [file for _, group in seeds.cases for seed in group for file in (seed.image, *seed.channels)]
    if options.guard is not None:
        guard = labelled_cases(options.guard, card.input.channels)
        inputs += [file for case in guard for file in (*case.images, case.label)]
    check_output(options.result, identities(inputs), options.force)


def write_result(path: Path, labelmap: Labelmap, force: bool) -> tuple[Path | None, tuple[str, ...]]:
    """The path of the case's labelmap, which is written, and warnings. A failure is a warning, because the model is
    written already. Where a file appeared meanwhile, the result is written beside it, unless `force`."""
    while True:
        place = path if force else free_file(path)
        moved = () if place == path else (f"{path} appeared while the model was tuned, so the result is in {place}.",)
        try:
            return place, (*moved, *write_labelmap(place, labelmap, force))
        except InputError as error:
            if force or not os.path.lexists(place):  # else it appeared just now
                return None, (f"The model is written, its result for this case is not: {error}",)


def free_file(path: Path) -> Path:
    """The path, or if it exists the first of NAME-2, NAME-3, … with its suffix that does not."""
    place, number = path, 2
    while os.path.lexists(place):
        place = path.with_name(f"{stem_of(path)}-{number}{suffix_of(path)}")
        number += 1
    return place


def output_folder(output: str) -> Path:
    """The folder of the new model: a name means the user's store, anything else is a path.

    Raises: InputError when it or a model of that name exists, or the name is not possible.
    """
    path = Path(output)
    if not is_name(path.name):
        raise InputError(
            "Expected a name of up to 64 letters, digits, '.', '_' and '-', the first of them a letter or a digit, "
            f"and no name of a device of Windows, found {path.name!r}. Choose another."
        )
    if path.name != output:
        if os.path.lexists(path):
            raise InputError(f"{path} exists already. Choose another output.")
        check_parent(path)
        return path
    store = user_store()
    if not is_free(output):
        raise InputError(f"Expected a new name for the tuned model, found {output!r}, which is taken. Choose another.")
    try:
        store.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"Could not make the folder {store}: {error.strerror}. Give a folder as the output."
        ) from error
    return store / output


def read_cases(card: ModelCard, cases: Sequence[CaseInput], listed: Path | None, reader: Reader) -> SeedCases:
    """Each image with its SEEDs, from the cases and from the list.

    Raises: InputError when nothing is marked, a labelmap lies on another grid or an image is not the one marked.
    """
    seeds: list[Seed] = []
    volumes: dict[str, Volume | tuple[Volume, ...]] = {}
    warnings: list[str] = []
    for case in cases:
        shown, sha256, notes = _read_image(card, (case.image, *case.channels), reader)
        labelmap = reader.read_labelmap(case.label)
        check_same_grid(labelmap.geometry, first_of(shown).geometry, case.label, case.image)
        volumes[sha256] = shown
        seeds += seeds_of(labelmap, card, case.image, sha256, case.slices, channels=case.channels)
        warnings += (*notes, *labelmap.warnings)
    for seed in read_seeds(listed) if listed is not None else ():
        if seed.sha256 not in volumes:
            volumes[seed.sha256], sha256, notes = _read_image(card, (seed.image, *seed.channels), reader)
            if sha256 != seed.sha256:
                raise InputError(
                    f"Expected at {seed.image} the image whose slices were marked, found another. Mark them again."
                )
            warnings += notes
        seeds.append(seed)
    if not seeds:
        raise InputError("Expected at least one SEED slice, found none. Mark a slice that is right as a whole.")
    groups = [(volumes[sha256], group) for sha256, group in by_image(seeds).items()]
    return SeedCases(groups, tuple(dict.fromkeys(warnings)))


def _read_image(
    card: ModelCard, files: Sequence[Path], reader: Reader
) -> tuple[Volume | tuple[Volume, ...], str, tuple[str, ...]]:
    """The volumes of an image, the SHA-256 of the first one's voxels, which identifies the image, and the warnings.

    Raises: InputError when they are not one a channel, or as reading does.
    """
    check_volumes(card, len(files))
    volumes = read_volumes(files, reader)
    return volumes, voxels_sha256(first_of(volumes).array), warnings_of(volumes)
