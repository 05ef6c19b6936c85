"""Fine-tune on files: images, labelmaps and SEED lists in, a bundle and its record out."""

import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import Cancelled, InputError, MedTLError
from ..io.files import identities
from ..io.read import read_labelmap, read_volume
from ..io.write import check_output, store_labelmap, write_whole
from ..model.bundle import Model
from ..model.card import NAME, ModelCard
from ..model.store import shipped_folders, user_store
from ..progress import Progress, no_progress
from ..volume import Volume, array_axis, voxels_sha256
from .case_result import this_case
from .decoder import Tuned
from .finetune import FinetuneOptions, finetune
from .held_out import Clock, Note, unheard
from .new_structure import Structure, begun, fresh_card, learn
from .seed import Seed, by_image, read_seeds, seeds_of
from .tuned_bundle import facts_of, learned_card, record_of, tuned_card, write_bundle


@dataclass(frozen=True)
class CaseGiven:
    """An image with its labelmap; `slices` are the SEEDs, None for every slice that holds a label."""

    image: Path
    label: Path
    slices: tuple[int, ...] | None = None


def finetune_files(
    model: Model,
    cases: Sequence[CaseGiven],
    listed: Path | None,
    output: str,
    options: FinetuneOptions,
    progress: Progress = no_progress,
    note: Note = unheard,
    clock: Clock | None = None,
    new: Structure | None = None,
) -> dict[str, Any]:
    """The record of a tuning, as `medtl finetune --json` prints it; the bundle is written whatever the verdict. With
    `new` a model of that structure is learned, which begins with the encoder of the given one.

    While it runs, the best model so far is a bundle beside the output, `NAME.best-N`; when it is cancelled, that
    becomes the output.

    Raises: MedTLError as reading, tuning and writing do; Cancelled, and its message says what was kept.
    """
    clock = clock or Clock(options.budget)
    folder = output_folder(output)
    progress("read", 0.0)
    card = model.card if new is None else fresh_card(model.card, folder.name, new)
    given = read_cases(card, cases, listed)
    if options.result is not None:
        if len(given) != 1:
            raise InputError(f"Expected one case for a result, found {len(given)}. Leave --result out.")
        check_output(options.result, identities([*(f for c in cases for f in (c.image, c.label))]), options.force)
    progress("read", 1.0)
    volume = given[0][0]
    later = 0 if options.result is None else volume.array.shape[array_axis(volume.geometry, card.input.plane)]
    own, tune = (model, finetune) if new is None else (begun(model, card, volume, options.seed), learn)

    def write(target: Path, tuned: Tuned, alpha: float, facts: dict[str, Any]) -> ModelCard:
        record = record_of(model, given, options, facts)
        made = tuned_card(model.card, folder.name, record) if new is None else learned_card(own.card, record)
        return write_bundle(target, made, tuned.state(alpha), model)

    best = Best(folder, write)
    try:
        done = tune(own, given, options, progress, clock=clock, later=later, keep=best.keep, note=note)
        record: dict[str, Any] = {}
        if options.result is not None:
            labelmap, weight = this_case(done, *given[0], progress)
            record = {"result": str(options.result), "blend_weight": weight}
            result = options.result
            write_whole(result, lambda part: store_labelmap(part, labelmap))
        progress("write", 0.0)
        seconds = clock.used
        # From here on the model counts as written: who watches may still stop before, not after.
        progress("write", 1.0)
        card = write(folder, done.tuned, done.alpha, facts_of(done, seconds))
        best.drop()
    except (Cancelled, KeyboardInterrupt) as error:
        kept = best.settle()
        raise Cancelled(f"Cancelled; the best model so far is in {kept}." if kept else "Cancelled.") from error
    except MedTLError:
        best.drop()
        raise
    return {
        "output": str(folder),
        "name": card.name,
        "sha256": card.sha256,
        "parent": {"name": model.card.name, "sha256": model.sha256},
        **facts_of(done, seconds),
        **record,
        "seconds": round(clock.used, 2),
    }


def output_folder(output: str) -> Path:
    """Where the new model goes: a name lies in the user's store, anything else is a path.

    Raises: InputError when something is there, or a model of that name.
    """
    given = Path(output)
    if not re.fullmatch(NAME, given.name):
        raise InputError(
            f"Expected a name of up to 64 letters, digits, '.', '_' and '-', the first of them a letter or a digit, "
            f"found {given.name!r}. Choose another."
        )
    if given.name != output:
        if given.exists():
            raise InputError(f"{given} exists already. Choose another output.")
        if not given.parent.is_dir():
            raise InputError(f"The folder {given.parent} does not exist. Create it or choose another output.")
        return given
    store = user_store()
    if any((root / output).exists() for root in (*shipped_folders(), store)):
        raise InputError(f"Expected a new name for the tuned model, found {output!r}, which is taken. Choose another.")
    try:
        store.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"Could not make the folder {store}: {error.strerror}. Give a folder as the output."
        ) from error
    return store / output


def read_cases(card: ModelCard, cases: Sequence[CaseGiven], listed: Path | None) -> list[tuple[Volume, list[Seed]]]:
    """Each image with its SEEDs: of the cases given and of the list.

    Raises: InputError when nothing is marked, a labelmap lies on another grid or an image is not the one marked.
    """
    seeds: list[Seed] = []
    volumes: dict[str, Volume] = {}
    for case in cases:
        volume, labelmap = read_volume(case.image), read_labelmap(case.label)
        if not volume.geometry.close_to(labelmap.geometry):
            raise InputError(
                f"Expected {case.label} on the grid of {case.image}, found {labelmap.geometry.size} voxels beside "
                f"{volume.geometry.size} or another position. Resample the labels onto the image."
            )
        sha256 = voxels_sha256(volume.array)
        volumes[sha256] = volume
        seeds += seeds_of(labelmap, card, case.image, sha256, case.slices)
    for seed in read_seeds(listed) if listed is not None else ():
        if seed.sha256 not in volumes:
            volume = read_volume(seed.image)
            if voxels_sha256(volume.array) != seed.sha256:
                raise InputError(
                    f"Expected at {seed.image} the image whose slices were marked, found another. Mark them again."
                )
            volumes[seed.sha256] = volume
        seeds.append(seed)
    if not seeds:
        raise InputError("Expected at least one SEED slice, found none. Mark a slice that is right as a whole.")
    return [(volumes[sha256], group) for sha256, group in by_image(seeds).items()]


class Best:
    """The best model so far, a bundle beside the output; a newer one is whole before the older goes."""

    def __init__(self, folder: Path, write: Callable[[Path, Tuned, float, dict[str, Any]], Any]) -> None:
        self._folder, self._write = folder, write
        self._count = 0
        self._kept: Path | None = None

    def keep(self, tuned: Tuned, alpha: float) -> None:
        """Write this state."""
        self._count += 1
        newer = self._folder.with_name(f"{self._folder.name}.best-{self._count}")
        if newer.exists():  # of a run that was killed
            shutil.rmtree(newer, ignore_errors=True)
        self._write(newer, tuned, alpha, {"alpha": alpha, "unfinished": True})
        self.drop()
        self._kept = newer

    def drop(self) -> None:
        """Remove what was kept."""
        if self._kept is not None:
            shutil.rmtree(self._kept, ignore_errors=True)
            self._kept = None

    def settle(self) -> Path | None:
        """Make what was kept the output; None where nothing was."""
        if self._kept is None:
            return None
        with suppress(OSError):
            self._kept.rename(self._folder)
            return self._folder
        return self._kept
