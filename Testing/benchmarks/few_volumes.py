"""A 3D U-Net trained on few volumes: how much it overfits, and what helps (after Ryu et al. 2022).

    python Testing/benchmarks/few_volumes.py --cases CSV --work DIR [--recipe sarcoma-mr] [--variants NAME…]
        [--folds 5] [--only N…] [--epochs 30] [--grid 4] [--start CSV] [--shifted]

`--cases` is that of the recipe; folds are by patient, stratified by site. Each variant of the recipe is trained once a
fold, on a grid of `--grid` mm in plane, and scored on the patients of the fold and on as many of those that it learned
from. `plain` is the network of the paper's kind, without changes of the images; `augmented` changes them,
and shifts windows beyond the image; `small` has
half of its features; `deep` is small, with deep supervision; `started` is `deep` after training on the CT volumes of
`--start`, all of their labels as one; `all` is all of them. "averaged" scores the same network averaged over mirrored
windows; "stopped" takes the epoch whose Dice on an eighth of the training patients, who are then not trained on, is
best. Dice is over a volume; in brackets is the 95 % interval over patients. `--shifted` also scores crops without the
first or last 40 and 80 mm of an axis (at most half of it), and false positives in the largest part of each volume
without a tumour, in mL a litre.

`DIR/few_volumes.jsonl` keeps a line for each training; an interrupted run continues from there.
"""

import argparse
import copy
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from scoring import dice_of
from tables import header, line, mean_interval

from medtl.cases import CaseFiles, read_cases
from medtl.errors import InputError, MedTLError
from medtl.evaluation.metrics import dice
from medtl.io.read import read_labelmap, read_volume
from medtl.memory import keep_freed_memory
from medtl.model.bundle import Model
from medtl.model.card import ModelCard
from medtl.model.network import Network
from medtl.model.networks import bf16_pays, build, place
from medtl.progress import no_progress
from medtl.segmentation import InferenceOptions, segment
from medtl.training.fit import start, train_epoch
from medtl.training.recipes import recipe_named, sarcoma_ct
from medtl.training.split import folds
from medtl.training.windows import (
    WindowAugmentation,
    WindowedCase,
    WindowFit,
    WindowRecipe,
    deep_loss,
    prepare_windowed,
    window_batches,
    window_loss,
)
from medtl.volume import Geometry, Volume

STILL = WindowAugmentation(rotation=0.0, zoom=0.0, contrast=0.0, noise=0.0, p_coarse=0.0)
STRONG = WindowAugmentation(rotation=25.0, zoom=0.3, contrast=0.4, noise=0.2, p_coarse=0.3, overhang=0.5)
WIDE, SMALL = [16, 32, 64, 128], [8, 16, 32, 64]
VARIANTS = {
    "plain": (WIDE, STILL, False),
    "augmented": (WIDE, STRONG, False),
    "small": (SMALL, STILL, False),
    "deep": (SMALL, STILL, True),
    "started": (SMALL, STILL, True),
    "all": (SMALL, STRONG, True),
}
STARTED = ("started", "all")
COLUMNS = ("variant", "n", "training", "test", "training less test", "averaged", "stopped", "min")
WATCHED = 8  # one training patient in so many is watched for the best epoch
EVERY = 5  # epochs between two looks
SHIFTS = (40.0, 80.0)  # mm that are cut off


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 1 when the cases cannot be used."""
    parser = argparse.ArgumentParser(description="Train a 3D U-Net on few volumes, in several ways.")
    parser.add_argument("--cases", required=True, type=Path, metavar="CSV")
    parser.add_argument("--work", required=True, type=Path, metavar="DIR")
    parser.add_argument("--recipe", default="sarcoma-mr", metavar="NAME")
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--folds", type=int, default=5, metavar="N")
    parser.add_argument("--only", type=int, nargs="*", metavar="FOLD")
    parser.add_argument("--epochs", type=int, default=30, metavar="N")
    parser.add_argument("--grid", type=float, default=4.0, metavar="MM")
    parser.add_argument("--start", type=Path, metavar="CSV")
    parser.add_argument("--shifted", action="store_true")
    args = parser.parse_args(argv)
    keep_freed_memory()
    try:
        run(args)
    except MedTLError as error:
        print(f"few_volumes: {error}", file=sys.stderr)
        return 1
    return 0


def run(args: argparse.Namespace) -> None:
    """Train what is not done yet, and print the table of all that is."""
    recipe = recipe_named(args.recipe)
    if not isinstance(recipe, WindowRecipe):
        raise InputError(f"Expected a recipe of a network that sees windows, found {args.recipe}. Choose another.")
    if args.start is None and set(args.variants) & set(STARTED):
        raise InputError("Expected --start CSV for the variants started and all, found none. Name a list of CT.")
    listed = read_cases(args.cases)
    args.work.mkdir(parents=True, exist_ok=True)
    kept = args.work / "few_volumes.jsonl"
    done = [json.loads(row) for row in kept.read_text().splitlines()] if kept.exists() else []
    known = {(entry["variant"], entry["fold"]) for entry in done}
    prepared: dict[str, WindowedCase] = {}
    groups = folds([(case.patient, case.site) for case in listed], args.folds, recipe.seed)
    for fold in args.only or range(args.folds):
        for variant in args.variants:
            if (variant, fold) in known:
                continue
            card = card_of(recipe.card, variant, args.grid)
            for case in listed:
                if case.case not in prepared:  # all variants have one grid
                    prepared[case.case] = prepare_windowed(case, card, recipe.binary, recipe.partial)
            entry = one_fold(variant, card, recipe, listed, prepared, groups[fold], args) | {"fold": fold}
            done.append(entry)
            with kept.open("a") as file:
                file.write(json.dumps(entry) + "\n")
            print(json.dumps({k: v for k, v in entry.items() if not isinstance(v, dict)}), flush=True)
    report(done, args.shifted)


def card_of(card: ModelCard, variant: str, grid: float) -> ModelCard:
    """The recipe's card with the network of the variant, on a grid of so many mm in plane."""
    assert card.windows is not None
    arguments = MappingProxyType({**card.networks[0].arguments, "features": VARIANTS[variant][0]})
    patch = (32, 48, 48)
    windows = replace(card.windows, spacing=(card.windows.spacing[0], grid, grid), patch=patch)
    return replace(card, networks=(replace(card.networks[0], arguments=arguments),), windows=windows)


def one_fold(
    variant: str,
    card: ModelCard,
    recipe: WindowRecipe,
    listed: Sequence[CaseFiles],
    prepared: dict[str, WindowedCase],
    held: frozenset[str],
    args: argparse.Namespace,
) -> dict[str, Any]:
    """The figures of one training."""
    began = time.perf_counter()
    _, augmentation, deep = VARIANTS[variant]
    fit = replace(recipe.fit, epochs=args.epochs, augmentation=augmentation, deep=deep, seed=0)
    learned = [case for case in listed if case.patient not in held]
    watched = learned[::WATCHED] if variant == "all" else []
    training = [prepared[case.case] for case in learned if case not in watched]
    torch.manual_seed(0)
    network = build(card.networks[0].name, dict(card.networks[0].arguments))
    if variant in STARTED:
        network.load_state_dict(start_weights(card, args))
    best, score = None, -1.0
    for epoch, averaged in epochs(network, training, card, fit):
        if watched and (epoch % EVERY == 0 or epoch == fit.epochs):
            found = float(np.mean(list(scores(model_of(card, averaged), watched, mirror=False).values())))
            if found > score:
                best, score = copy.deepcopy(averaged), found
    minutes = (time.perf_counter() - began) / 60
    model = model_of(card, averaged)
    tested = [case for case in listed if case.patient in held]
    entry: dict[str, Any] = {
        "variant": variant,
        "minutes": minutes,
        "test": scores(model, tested, mirror=False),
        "averaged": scores(model, tested, mirror=True),
        "training": scores(model, [case for case in learned if case not in watched][: len(tested)], mirror=False),
    }
    if best is not None:
        entry["stopped"] = scores(model_of(card, best), tested, mirror=True)
    if args.shifted:
        entry["shifted"] = {case.case: shifted_figures(model, case) for case in tested}
    return entry


def start_weights(card: ModelCard, args: argparse.Namespace) -> dict[str, torch.Tensor]:
    """The weights of the network after training on the CT volumes of --start; trained once."""
    kept = args.work / "start.safetensors"
    if not kept.exists():
        assert card.windows is not None
        windows = replace(card.windows, normalisation=(sarcoma_ct.WINDOW,), crop=False)
        other = replace(sarcoma_ct.CARD, networks=card.networks, windows=windows)
        fit = replace(sarcoma_ct.RECIPE.fit, epochs=args.epochs, deep=True, seed=0)
        cases = [prepare_windowed(case, other, binary=True) for case in read_cases(args.start)]
        torch.manual_seed(0)
        network = build(card.networks[0].name, dict(card.networks[0].arguments))
        for _, averaged in epochs(network, cases, other, fit):
            last = averaged
        save_file(last.state_dict(), kept)
    return load_file(kept)


def epochs(
    network: Network, cases: Sequence[WindowedCase], card: ModelCard, fit: WindowFit
) -> Iterator[tuple[int, Network]]:
    """The number of each epoch, from 1, with the averaged weights after it."""
    assert card.windows is not None
    state, loss = start(network, fit), deep_loss if fit.deep else window_loss
    steps = fit.epochs * -(-fit.windows // fit.batch)
    for epoch in range(fit.epochs):
        data = window_batches(cases, 1 + len(card.labels), card.windows, fit, epoch)
        train_epoch(state, data, steps, fit, no_progress, loss)
        yield epoch + 1, state.averaged


def model_of(card: ModelCard, network: Network) -> Model:
    """The network as a model that segments."""
    placed = place(copy.deepcopy(network).eval(), "cpu")
    assert card.windows is not None
    return Model(card, Path(card.name), (placed,), "cpu", card.windows.bf16 and bf16_pays(placed, 1))


def scores(model: Model, cases: Sequence[CaseFiles], mirror: bool) -> dict[str, float]:
    """The Dice of each case."""
    options = InferenceOptions(mirror=mirror)
    return {case.case: dice_of(model, case, options) for case in cases}


def shifted_figures(model: Model, case: CaseFiles) -> dict[str, float]:
    """The mean Dice of crops without so many mm at either end of each axis, and the false positives, in mL a litre, in
    the largest part without a tumour."""
    volume, truth = read_volume(case.image), read_labelmap(case.label).array > 0
    options, figures = InferenceOptions(mirror=False), {}
    spacing = volume.geometry.spacing[::-1]
    for shift in SHIFTS:
        found = []
        for axis in range(3):
            cut = min(round(shift / spacing[axis]), truth.shape[axis] // 2)
            for part in (slice(cut, None), slice(0, truth.shape[axis] - cut)):
                where = tuple(part if other == axis else slice(None) for other in range(3))
                if truth[where].any():
                    labels = segment(cropped(volume, where), model, options).labelmap.array > 0
                    found.append(dice(truth[where], labels))
        figures[f"{shift:g} mm"] = float(np.mean(found))
    where = largest_without(truth)
    labels = segment(cropped(volume, where), model, options).labelmap.array > 0
    figures["mL a litre"] = 1000 * float(labels.mean())
    return figures


def cropped(volume: Volume, where: tuple[slice, ...]) -> Volume:
    """A part of the volume in its place."""
    part = volume.array[where]
    first = [axis.indices(n)[0] for axis, n in zip(where, volume.array.shape, strict=True)][::-1]
    old = volume.geometry
    origin = np.array(old.origin) + old.axes @ (np.array(first) * old.spacing)
    x, y, z = (float(value) for value in origin)
    return replace(volume, array=part, geometry=Geometry(part.shape[::-1], old.spacing, (x, y, z), old.direction))


def largest_without(truth: np.ndarray) -> tuple[slice, ...]:
    """The largest slab along an axis, from one end of the volume, that shows nothing of the truth."""
    best: tuple[slice, ...] = (slice(0, 1),) * 3
    most = 0.0
    for axis in range(3):
        hit = np.flatnonzero(truth.any(axis=tuple(other for other in range(3) if other != axis)))
        n = truth.shape[axis]
        for part in (slice(0, int(hit[0])), slice(int(hit[-1]) + 1, n)):
            share = (part.stop - part.start) / n
            if share > most:
                most = share
                best = tuple(part if other == axis else slice(0, truth.shape[other]) for other in range(3))
    return best


def report(done: Sequence[dict[str, Any]], shifted: bool) -> None:
    """Print the tables."""
    print("\n" + "\n".join(header(COLUMNS)))
    for variant in VARIANTS:
        entries = [entry for entry in done if entry["variant"] == variant]
        if not entries:
            continue
        values = {
            key: [dice for entry in entries for dice in entry.get(key, {}).values()]
            for key in ("training", "test", "averaged", "stopped")
        }
        gap = np.mean(values["training"]) - np.mean(values["test"])
        cells = [mean_interval(values[key]) for key in ("training", "test")]
        later = [mean_interval(values[key]) for key in ("averaged", "stopped")]
        minutes = np.mean([entry["minutes"] for entry in entries])
        print(line((variant, str(len(values["test"])), *cells, f"{gap:.3f}", *later, f"{minutes:.0f}")))
    if shifted:
        names = [*(f"{shift:g} mm" for shift in SHIFTS), "mL a litre"]
        print("\n" + "\n".join(header(("variant", *names))))
        for variant in VARIANTS:
            found = [e for entry in done if entry["variant"] == variant for e in entry.get("shifted", {}).values()]
            if found:
                print(line((variant, *(mean_interval([figures[name] for figures in found]) for name in names))))


if __name__ == "__main__":
    sys.exit(main())
