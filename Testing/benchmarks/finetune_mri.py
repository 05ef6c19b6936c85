"""Fine-tuning on five SEED slices of one case for a minute: the effect on that case, the next ones and the source.

    python Testing/benchmarks/finetune_mri.py --model NAME|DIR --target CSV --source CSV --work DIR
        [--budget 60] [--cases N] [--exclude PATTERN…] [--no-plain] [--quick]

The model has one label, and sees slices or windows. Each target case is tuned on once, with 5 evenly spaced SEED slices
of its own labels. Output: the Dice before and after, with the 95 % interval over cases, of the rest of that case, of
the other target cases (same site and other sites separately) and of the source's held-out patients (those that the card
names; `--source-site` takes other ones). Compared with filling between the slices without a network, and in the same
time with plain fine-tuning of all weights and with that of norms and the first filters alone; for a network with batch
norms also with batch statistics of the unlabelled volume. A model of windows is scored without mirrored ones.
`DIR/finetune_mri.jsonl` holds a line for each finished case; an interrupted run continues from there. `--quick` takes 2
cases for 20 s each; its figures have no meaning.
"""

import argparse
import copy
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tables import header, line, mean_interval

from medtl.cases import CaseFiles, read_cases
from medtl.errors import MedTLError
from medtl.evaluation.metrics import dice
from medtl.finetuning.between_slices import interpolate_labels
from medtl.finetuning.case_result import case_result
from medtl.finetuning.features import augment_seeds, prepare_case
from medtl.finetuning.finetune import finetune
from medtl.finetuning.run import FinetuneOptions, Run, TimeBudget
from medtl.finetuning.seed import IGNORE, Seed, seeds_of
from medtl.finetuning.suggest import evenly_spaced
from medtl.finetuning.window_case import prepare_window_case
from medtl.finetuning.window_tuning import draw_window, seed_loss
from medtl.io.read import read_labelmap, read_volume
from medtl.memory import keep_freed_memory
from medtl.model.bundle import Model, load_model
from medtl.segmentation import InferenceOptions, segment
from medtl.training.loss import dice_and_cross_entropy
from medtl.volume import Labelmap, Volume, array_axis

SEEDS = 5
PLAIN_WAYS = ("plain", "norms")  # fine-tuning of all weights, and of norms and the first filters
OTHER_WAYS = (*PLAIN_WAYS, "statistics")
Loaded = tuple[CaseFiles, Volume, np.ndarray]  # the truth as 0 and 1, (Z, Y, X)


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 1 when the cases cannot be used."""
    parser = argparse.ArgumentParser(description="Measure fine-tuning on SEED slices on MRI of another site.")
    parser.add_argument("--model", required=True, metavar="NAME|DIR")
    parser.add_argument("--target", required=True, type=Path, metavar="CSV")
    parser.add_argument("--source", required=True, type=Path, metavar="CSV")
    parser.add_argument("--work", required=True, type=Path, metavar="DIR")
    parser.add_argument("--budget", type=float, default=60.0, metavar="S")
    parser.add_argument("--strength", type=float, default=1.0, metavar="X", help="how far to go, as in medtl finetune")
    parser.add_argument("--cases", type=int, metavar="N", help="tune on the first N target cases alone")
    parser.add_argument("--others", type=int, metavar="N", help="look at N other target cases, evenly spread")
    parser.add_argument("--sources", type=int, metavar="N", help="look at N source cases, evenly spread")
    parser.add_argument("--target-site", nargs="*", metavar="SITE", help="target cases of these sites alone")
    parser.add_argument("--source-site", nargs="*", metavar="SITE", help="source cases of these sites, held out or not")
    parser.add_argument("--exclude", nargs="*", default=[], metavar="PATTERN", help="cases that are never looked at")
    parser.add_argument("--no-plain", action="store_true", help="without the two plain ways of fine-tuning")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args(argv)
    keep_freed_memory()
    if args.quick:
        args.budget, args.cases, args.others, args.sources = 20.0, 2, 2, 2
    try:
        model = load_model(args.model, "cpu")
        target = [c for c in listed(args.target, args.exclude) if not args.target_site or c.site in args.target_site]
        source = listed(args.source, args.exclude)
        if args.source_site:
            source = [case for case in source if case.site in args.source_site]
        else:
            source = [case for case in source if case.case in model.card.training["split"]["test"]]
        run(model, [load(c) for c in target], [load(c) for c in spread(source, args.sources)], args)
    except MedTLError as error:
        print(f"finetune_mri: {error}", file=sys.stderr)
        return 1
    return 0


def listed(path: Path, exclude: Sequence[str]) -> list[CaseFiles]:
    """The cases of a list without those that are never looked at."""
    return [case for case in read_cases(path) if not any(fnmatch(case.case, pattern) for pattern in exclude)]


def spread(items: Sequence[Any], count: int | None) -> list[Any]:
    """`count` of the items, evenly spread; all without a count."""
    if count is None or count >= len(items):
        return list(items)
    return [items[int(i)] for i in np.linspace(0, len(items) - 1, count).round()]


def load(case: CaseFiles) -> Loaded:
    """The case's volume and truth."""
    return case, read_volume(case.image), (read_labelmap(case.label).array > 0).astype(np.uint16)


def run(model: Model, target: list[Loaded], source: list[Loaded], args: argparse.Namespace) -> None:
    """Tune on each target case that is not done yet, print a row for it, and at last the summary."""
    args.work.mkdir(parents=True, exist_ok=True)
    log = args.work / "finetune_mri.jsonl"
    key = {
        "model": model.sha256,
        "budget": args.budget,
        "strength": args.strength,
        "others": args.others,
        "sources": args.sources,
    }
    rows = [r for r in map(json.loads, log.read_text().splitlines()) if r["key"] == key] if log.exists() else []
    usable = [one for one in target if len(slices_of(model, one)) == SEEDS]
    chosen = usable[: args.cases]
    print(f"{model.card.name}: {len(chosen)} target cases, {len(source)} of the source, budget {args.budget:g} s")
    old = {one[0].case: dice_of(model, one) for one in [*target, *source]}
    print(f"before: target {np.mean([old[o[0].case] for o in target]):.3f}, ", end="")
    print(f"source {np.mean([old[o[0].case] for o in source]):.3f}", flush=True)
    head = ["case", "rest: before", "tuned", "result", "filled", *OTHER_WAYS, "others", *PLAIN_WAYS, "source"]
    print(*header([*head, *PLAIN_WAYS, "verdict", "alpha", "steps", "s"]), sep="\n", flush=True)
    for one in chosen:
        row = next((r for r in rows if r["case"] == one[0].case), None)
        if row is None:
            others = spread([other for other in target if other[0].patient != one[0].patient], args.others)
            row = {"key": key, **measure(model, one, others, source, old, args)}
            rows.append(row)
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        print(line(cells(row)), flush=True)
    summarise([r for r in rows if r["case"] in {one[0].case for one in chosen}])


def slices_of(model: Model, one: Loaded) -> list[int]:
    """The SEED slices: evenly spaced over the lesion, along the array's axis."""
    planes = np.moveaxis(one[2], array_axis(one[1].geometry, model.card.input.plane), 0)
    there = np.flatnonzero(planes.any(axis=(1, 2)))
    if len(there) < 2 * SEEDS - 1:  # nothing would be left to look at
        return []
    return [s.index for s in evenly_spaced(int(there[0]), int(there[-1]), SEEDS)]


def seeds_for(model: Model, one: Loaded) -> tuple[Seed, ...]:
    """The SEEDs of a case."""
    truth = Labelmap(one[2] * np.uint16(model.card.labels[0].value), one[1].geometry)
    return seeds_of(truth, model.card, one[0].image, one[0].case, slices_of(model, one))


def dice_of(model: Model, one: Loaded, without: Sequence[int] = (), labels: np.ndarray | None = None) -> float:
    """Dice of the whole case, or of it without some slices, by the model or of `labels`."""
    found = segment(one[1], model, InferenceOptions(mirror=False)).labelmap.array if labels is None else labels
    axis = array_axis(one[1].geometry, model.card.input.plane)
    return dice(*(np.delete(part, list(without), axis) for part in (one[2], found)))


def measure(
    model: Model,
    one: Loaded,
    others: Sequence[Loaded],
    source: Sequence[Loaded],
    old: dict[str, float],
    args: argparse.Namespace,
) -> dict[str, Any]:
    """All figures of a case."""
    seeds, slices = seeds_for(model, one), slices_of(model, one)
    clock = TimeBudget(args.budget)
    later = one[1].array.shape[array_axis(one[1].geometry, model.card.input.plane)]
    done = finetune(
        model, [(one[1], seeds)], Run(FinetuneOptions(args.budget, args.strength), clock, later_slices=later)
    )
    result = case_result(done, one[1], seeds, clock, lambda stage, share: None)
    seconds = clock.used
    row: dict[str, Any] = {
        "case": one[0].case,
        "site": one[0].site,
        "seconds": seconds,
        "verdict": done.verdict,
        "alpha": done.alpha,
        "steps": done.steps,
        "weight": result.weight,
        "seeds_change": done.seeds.mean,
        "guard_change": done.guard.mean,
        "before": dice_of(model, one, slices),
        "tuned": dice_of(done.model, one, slices),
        "result": dice_of(model, one, slices, result.labelmap.array),
        "filled": dice_of(model, one, slices, fill(model, one, seeds)),
    }
    if any(is_batch_norm(module) for module in model.networks[0].modules()):
        row["statistics"] = dice_of(estimated(model, one), one, slices)
    row |= elsewhere(done.model, others, source, old, one[0].site, "")
    for way in () if args.no_plain else PLAIN_WAYS:
        other = plainly_tuned(model, one, seeds, args.budget, way)
        row[way] = dice_of(other, one, slices)
        row |= elsewhere(other, others, source, old, one[0].site, f"{way}_")
    return row


def elsewhere(
    model: Model, others: Sequence[Loaded], source: Sequence[Loaded], old: dict[str, float], site: str, prefix: str
) -> dict[str, list[float]]:
    """Changes of Dice on other target cases, same site and other sites apart, and on the source."""
    groups = {
        "same_site": [o for o in others if o[0].site == site],
        "other_sites": [o for o in others if o[0].site != site],
        "source": source,
    }
    return {prefix + name: [dice_of(model, o) - old[o[0].case] for o in group] for name, group in groups.items()}


def fill(model: Model, one: Loaded, seeds: Sequence[Seed]) -> np.ndarray:
    """The SEEDs interpolated, on the volume's own grid."""
    axis = array_axis(one[1].geometry, model.card.input.plane)
    known = {seed.index: seed.mask for seed in seeds}
    found = interpolate_labels(known, range(one[2].shape[axis]), 1)[:, 0] > 0
    return np.moveaxis(found, 0, axis)


def is_batch_norm(module: torch.nn.Module) -> bool:
    """True for a norm with the statistics of training."""
    return isinstance(module, torch.nn.modules.batchnorm._BatchNorm)


def estimated(model: Model, one: Loaded) -> Model:
    """The model of slices with batch statistics of this volume: no labels at all."""
    network = copy.deepcopy(model.networks[0])
    for norm in filter(is_batch_norm, network.modules()):
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    case = prepare_case(one[1], (), model.card.input, network.multiple)
    slices = np.flatnonzero(case.prepared.occupied)
    with torch.inference_mode():
        for k in range(0, len(slices), 8):
            network(case.images(slices[k : k + 8]).contiguous(memory_format=torch.channels_last))
    return replace(model, networks=(network.eval(),))


def plainly_tuned(model: Model, one: Loaded, seeds: Sequence[Seed], budget: float, way: str = "plain") -> Model:
    """All weights, or with the way "norms" those of norms and the first filters, tuned on the same SEEDs for the same
    time."""
    began = time.perf_counter()
    own = replace(model, networks=tuple(copy.deepcopy(network) for network in model.networks[:1]))
    for _ in plain_steps(own, one, seeds, way):
        if time.perf_counter() - began >= budget:
            break
    return replace(own, networks=(own.networks[0].eval(),))


def plain_steps(model: Model, one: Loaded, seeds: Sequence[Seed], way: str = "plain") -> Iterator[None]:
    """Tune the model's network as one would at first, a step a time: Adam, augmented slices or windows, whole loss,
    batch statistics of the batches."""
    network = model.networks[0].train()
    parameters = list(network.parameters()) if way == "plain" else norms_and_first_filters(network)
    optimizer = torch.optim.Adam(parameters, lr=1e-4 if way == "plain" else 1e-3)
    losses = slice_losses(model, one, seeds) if model.card.windows is None else window_losses(model, one, seeds)
    for loss in losses:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        yield


def norms_and_first_filters(network: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The parameters of norms and of the first convolution."""
    norms = [module for module in network.modules() if "Norm" in type(module).__name__]
    first = next(module for module in network.modules() if isinstance(module, torch.nn.Conv2d | torch.nn.Conv3d))
    return [parameter for module in (first, *norms) for parameter in module.parameters(recurse=False)]


def slice_losses(model: Model, one: Loaded, seeds: Sequence[Seed]) -> Iterator[torch.Tensor]:
    """The losses of batches of augmented SEED slices."""
    network, random = model.networks[0], torch.Generator().manual_seed(0)
    case = prepare_case(one[1], seeds, model.card.input, network.multiple)
    slices = sorted(case.truth)
    images, truth = case.images(slices), torch.from_numpy(np.stack([case.truth[k] for k in slices]))
    while True:
        image, classes = augment_seeds(images, truth, model.card.input, random)
        image = image.clamp(*case.prepared.clip).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=model.bf16):
            logits = network(image)
        yield dice_and_cross_entropy(logits.float(), classes, IGNORE)


def window_losses(model: Model, one: Loaded, seeds: Sequence[Seed]) -> Iterator[torch.Tensor]:
    """The losses of two augmented windows around SEEDs."""
    assert model.card.windows is not None
    network, random = model.networks[0], np.random.default_rng(0)
    case = prepare_window_case((one[1],), seeds, model.card, model.card.windows)
    while True:
        windows, images = zip(*(draw_window((case,), (), random) for _ in range(2)), strict=True)
        yield seed_loss(network(torch.stack(images)).float(), windows, (), model.card.decision)


def cells(row: dict[str, Any]) -> list[str]:
    """The row of a case."""
    names = ("before", "tuned", "result", "filled", *OTHER_WAYS)
    text = [row["case"], *(f"{row[n]:.3f}" if n in row else "-" for n in names)]
    for name in ("others", "source"):
        for prefix in ("", *(f"{way}_" for way in PLAIN_WAYS)):
            values = changes(row, name, prefix)
            text.append(f"{np.mean(values):+.3f}" if values else "-")
    return [*text, row["verdict"], f"{row['alpha']:.2f}", str(row["steps"]), f"{row['seconds']:.0f}"]


def changes(row: dict[str, Any], name: str, prefix: str) -> list[float]:
    """The changes of a group of cases; "others" are those of all sites."""
    names = ("same_site", "other_sites") if name == "others" else (name,)
    return [value for one in names for value in row.get(prefix + one, ())]


def summarise(rows: Sequence[dict[str, Any]]) -> None:
    """Means over the tuned cases with their 95 % intervals, and what the guard foretold."""
    print(f"\nMean over n = {len(rows)} tuned cases [95 % interval, bootstrap over them]\n")
    print(*header(["figure", "ours", "all weights", "norms and first filters"]), sep="\n")
    for name in ("before", "tuned", "result", "filled", "statistics"):
        figures = [mean_interval([r[name] for r in rows if name in r])]
        figures += [mean_interval([r[w] for r in rows if w in r and name == "tuned"]) for w in PLAIN_WAYS]
        print(line([f"rest of the case: {name}", *figures]))
    best = [r["result"] - max(r[n] for n in ("tuned", "filled", *OTHER_WAYS) if n in r) for r in rows]
    print(line(["result minus the best of the others, paired", mean_interval(best), "", ""]))
    filled_gain = [r["result"] - r["filled"] for r in rows]
    print(line(["result minus filled, paired", mean_interval(filled_gain), "", ""]))
    for name in ("same_site", "other_sites", "others", "source"):
        figures = []
        for prefix in ("", *(f"{way}_" for way in PLAIN_WAYS)):
            figures.append(mean_interval([float(np.mean(v)) for r in rows if (v := changes(r, name, prefix))]))
        print(line([f"change: {name.replace('_', ' ')}", *figures]))
    print("\nThe guard against the source, a row a verdict\n")
    print(*header(["verdict", "n", "guard's change", "source's change"]), sep="\n")
    for name in ("better", "same", "worse"):
        some = [r for r in rows if r["verdict"] == name]
        if some:
            lost = mean_interval([float(np.mean(r["source"])) for r in some])
            print(line([name, str(len(some)), mean_interval([r["guard_change"] for r in some]), lost]))


if __name__ == "__main__":
    sys.exit(main())
