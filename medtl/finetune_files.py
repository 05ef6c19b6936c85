"""Fine-tune on files: images, labelmaps and SEED lists in, a bundle and its record out."""

import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import __version__
from .bundle import Model, save_bundle
from .card import METADATA, ModelCard, Parent
from .errors import Cancelled, InputError, MedTLError, ModelError
from .finetune import Finetuned, FinetuneOptions, finetune
from .guard import Change
from .leave_out import Clock, Note, unheard
from .progress import Report, silent
from .seed import Seed, array_axis, by_image, read_seeds, seeds_of, voxels_sha256
from .store import shipped_folders, user_store
from .this_case import this_case
from .tuning import Tuned
from .volume import Volume, check_output, identities, read_labelmap, read_volume, store_labelmap, write_whole

FACTS = ("authors", "copyright", "data_source", "intended_use", "references")


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
    report: Report = silent,
    note: Note = unheard,
    clock: Clock | None = None,
) -> dict[str, Any]:
    """The record of a tuning, as `medtl finetune --json` prints it; the bundle is written whatever the verdict.

    While it runs, the best model so far is a bundle beside the output, `NAME.best-N`; when it is cancelled, that
    becomes the output.

    Raises: MedTLError as reading, tuning and writing do; Cancelled, and its message says what was kept.
    """
    clock = clock or Clock(options.budget)
    folder = output_folder(output)
    report("read", 0.0)
    given = read_cases(model.card, cases, listed)
    if options.result is not None:
        if len(given) != 1:
            raise InputError(f"Expected one case for a result, found {len(given)}. Leave --result out.")
        check_output(options.result, identities([*(f for c in cases for f in (c.image, c.label))]), options.force)
    report("read", 1.0)
    best = Best(folder, model, given, options)
    later = (
        0
        if options.result is None
        else given[0][0].array.shape[array_axis(given[0][0].geometry, model.card.input.plane)]
    )
    try:
        done = finetune(model, given, options, report, clock=clock, later=later, keep=best.keep, note=note)
        record: dict[str, Any] = {}
        if options.result is not None:
            labelmap, weight = this_case(done, *given[0], report)
            record = {"result": str(options.result), "blend_weight": weight}
            result = options.result
            write_whole(result, lambda part: store_labelmap(part, labelmap))
        report("write", 0.0)
        seconds = clock.used
        card = card_of(model, folder.name, given, options, facts_of(done, seconds))
        # From here on the model counts as written: who watches may still stop before, not after.
        report("write", 1.0)
        card = write_bundle(folder, card, done.tuned.state(done.alpha), model)
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
    if given.name != output:
        if given.exists():
            raise InputError(f"{given} exists already. Choose another output.")
        if not given.parent.is_dir():
            raise InputError(f"The folder {given.parent} does not exist. Create it or choose another output.")
        return given
    store = user_store()
    if not output.strip(". ") or any((root / output).exists() for root in (*shipped_folders(), store)):
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

    def __init__(
        self, folder: Path, model: Model, given: Sequence[tuple[Volume, list[Seed]]], options: FinetuneOptions
    ) -> None:
        self._folder, self._model, self._given, self._options = folder, model, given, options
        self._count = 0
        self._kept: Path | None = None

    def keep(self, tuned: Tuned, alpha: float) -> None:
        """Write this state."""
        self._count += 1
        newer = self._folder.with_name(f"{self._folder.name}.best-{self._count}")
        if newer.exists():  # of a run that was killed
            shutil.rmtree(newer, ignore_errors=True)
        facts = {"alpha": alpha, "unfinished": True}
        card = card_of(self._model, self._folder.name, self._given, self._options, facts)
        write_bundle(newer, card, tuned.state(alpha), self._model)
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


def card_of(
    model: Model,
    name: str,
    given: Sequence[tuple[Volume, list[Seed]]],
    options: FinetuneOptions,
    facts: dict[str, Any],
) -> ModelCard:
    """The card of the tuned model: its parent's inputs and labels, and how it was tuned."""
    parent = model.card
    seeds = [
        {"case": seed.case, "image_sha256": seed.sha256, "slice": seed.index, "labels": list(seed.labels)}
        for _, group in given
        for seed in group
    ]
    record = {
        "parent": {"name": parent.name, "sha256": parent.sha256},
        "medtl": __version__,
        "budget": options.budget,
        "strength": options.strength,
        "seed": options.seed,
        "seeds": seeds,
        **facts,
    }
    training = {key: value for key, value in parent.training.items() if key != "figures"}  # those are its parent's
    training["tuned"] = [*parent.training.get("tuned", ()), record]
    return replace(
        parent,
        name=name,
        description=f"{parent.name} tuned on {len(seeds)} SEED slices; research use, not for diagnosis.",
        sha256="",
        training=training,
        parent=Parent(parent.name, parent.sha256, parent.family),
    )


def facts_of(done: Finetuned, seconds: float) -> dict[str, Any]:
    """What came of a tuning."""
    return {
        "verdict": done.verdict,
        "before": {"seeds": mean(done.seeds.before), "guard": mean(done.guard.before)},
        "after": {"seeds": mean(done.seeds.after), "guard": mean(done.guard.after)},
        "change": {
            "seeds": change(done.seeds),
            "guard": {"kind": done.guard_kind, **change(done.guard)},
        },
        "alpha": done.alpha,
        "steps": done.steps,
        "seconds": round(seconds, 2),
        "notes": list(done.notes),
    }


def mean(values: Any) -> float | None:
    """The mean, four decimals; None of nothing."""
    return round(float(values.mean()), 4) if len(values) else None


def change(values: Change) -> dict[str, Any]:
    """Mean change, its standard error and the number it is of."""
    count = len(values.before)
    error = values.error
    return {
        "mean": round(values.mean, 4) if count else None,
        "error": None if error is None else round(error, 4),
        "n": count,
    }


def write_bundle(folder: Path, card: ModelCard, state: dict[str, Any], parent: Model) -> ModelCard:
    """Write the tuned model's bundle: its licence is its parent's.

    Raises: InputError when it cannot be written; ModelError when the parent's texts cannot be read.
    """
    try:
        licence = (parent.folder / "LICENSE").read_text(encoding="utf-8")
        facts = json.loads((parent.folder / METADATA).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"Expected LICENSE and {METADATA} in {parent.folder}, found none readable.") from error
    prefix = card.networks[0].prefix
    weights = {prefix + key: value for key, value in state.items()}
    kept = {key: facts[key] for key in FACTS if key in facts}
    return save_bundle(folder, card, weights, readme_of(card), licence, kept)


def readme_of(card: ModelCard) -> str:
    """The card for people."""
    assert card.parent is not None
    record = card.training["tuned"][-1]
    lines = [f"- {seed['case']}, slice {seed['slice']}" for seed in record["seeds"]]
    verdict = record.get("verdict")
    judged = f"Verdict of the guard: {verdict}." if verdict else "Stopped before the guard judged it."
    return (
        f"# {card.name}\n\n{card.parent.name} ({card.parent.sha256[:12]}…), tuned by MedTL {record['medtl']} on these "
        f"SEED slices:\n\n" + "\n".join(lines) + f"\n\n{judged} Figures are in `configs/metadata.json`. The licence "
        "is that of the parent, see LICENSE. **Research use, not for diagnosis.**\n"
    )
