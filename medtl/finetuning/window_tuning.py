"""SEED slices as a network that sees windows is tuned on them: windows of the plan's size around SEEDs.

Smaller windows change the statistics of instance norms and what the network sees around it, and harm.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..counted import counted
from ..errors import DeviceError, InputError
from ..io.limits import free_memory
from ..model.bundle import Model
from ..model.networks import bf16_pays
from ..training.loss import dice_and_cross_entropy, region_dice_and_cross_entropy
from ..windows.sliding import WindowForward, window_starts
from .decoder import Tuning, decoder_parameters
from .features import decode
from .run import Run, TimeBudget
from .seed import IGNORE
from .window_case import Place, WindowCase

MAX_CACHE_BYTES = 1_000_000_000
WINDOWS_A_SEED = 10
BATCH_PIXELS = 8 * 128 * 128  # of the windows of a step of a 2D network
BATCH_WINDOWS = 2  # of a step of a 3D network
ENOUGH_STEPS = 20  # fewer change little


@dataclass(frozen=True)
class SeedWindow:
    """A window around SEEDs: where it begins on the case's grid, the axes along which it is mirrored, and its SEEDs."""

    case: WindowCase
    start: Place
    flips: tuple[int, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class EncodedWindow:
    """A window around SEEDs with its features float16 by fold, finest first."""

    place: SeedWindow
    features: list[list[Tensor]]


@dataclass(frozen=True)
class WindowExamples:
    """Windows around SEEDs; see `decoder.Examples`. They are `cached`, or where these are none, drawn anew and encoded
    at each step."""

    model: Model
    cases: Sequence[WindowCase]
    held_out: frozenset[tuple[int, int]]
    batch: int
    cached: Sequence[EncodedWindow]
    tuned: tuple[dict[str, torch.nn.Parameter], ...]
    slice_seconds: float
    look_seconds: float
    warnings: tuple[str, ...] = ()
    advised_budget: float | None = None

    def parameters(self) -> tuple[dict[str, torch.nn.Parameter], ...]:
        """The parameters to tune of each fold, by name."""
        return self.tuned

    def without(self, held_out: Collection[tuple[int, int]]) -> "WindowExamples":
        """The examples without these SEEDs, (number of the case, slice)."""
        return replace(self, held_out=frozenset(held_out))

    def loss(self, fold: int, random: np.random.Generator) -> Tensor:
        """The loss of a fold on the SEEDs of a few windows."""
        windows = self._draw(random)
        count = len(windows[0].features[fold])
        features = [torch.stack([w.features[fold][level] for w in windows]) for level in range(count)]
        places = [window.place for window in windows]
        return seed_loss(decode(self.model, features, fold), places, self.held_out, self.model.card.decision)

    def _draw(self, random: np.random.Generator) -> list[EncodedWindow]:
        """The windows of a step."""
        usable = [window for window in self.cached if shown_seeds(window.place, self.held_out)]
        if usable:
            return [usable[int(n)] for n in random.integers(len(usable), size=self.batch)]
        return [encoded_window(self.model, self.cases, self.held_out, random) for _ in range(self.batch)]


def seed_loss(
    output: Tensor, windows: Sequence[SeedWindow], held_out: Collection[tuple[int, int]], decision: str
) -> Tensor:
    """The loss of the logits (n, outputs, patch) of windows on their SEEDs that are not held out."""
    parts, truths = [], []
    for logits, window in zip(output, windows, strict=True):
        for k in shown_seeds(window, held_out):
            part, truth = slice_of(window, logits, k)
            parts.append(part.flatten(1))
            truths.append(truth.flatten())
    logits, truth = torch.cat(parts, 1)[None, :, None], torch.cat(truths)[None, None].to(output.device)
    loss = region_dice_and_cross_entropy if decision == "regions" else dice_and_cross_entropy
    return loss(logits, truth, IGNORE)


def shown_seeds(window: SeedWindow, held_out: Collection[tuple[int, int]]) -> list[int]:
    """The SEEDs of a window that are not held out."""
    return [k for k in window.seeds if (window.case.number, k) not in held_out]


def slice_of(window: SeedWindow, logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The logits (outputs, rows, columns) of the part of SEED k that the window shows, and its classes, on the volume's
    own grid."""
    case, start = window.case, window.start
    planar = logits.ndim == 3
    logits = (logits[:, None] if planar else logits).flip([1 + axis for axis in window.flips])
    rows, columns = (case.inside(axis, start[axis]) for axis in range(3) if axis != case.axis)
    return case.slice_logits(logits, start, k), torch.from_numpy(case.truth[k][np.ix_(rows, columns)])


def window_examples(model: Model, cases: Sequence[WindowCase], tuning: Tuning, run: Run) -> WindowExamples:
    """Windows around all SEEDs: as many as fit into memory and an eighth of the time; where these are fewer than the
    SEEDs, none is cached.

    Raises: InputError when the time does not suffice for one step, DeviceError when memory does not.
    """
    spec, random, budget = cases[0].spec, np.random.default_rng(tuning.seed), run.budget
    planar = len(spec.patch) == 2
    most = max(1, min(tuning.batch, BATCH_PIXELS // math.prod(spec.patch))) if planar else BATCH_WINDOWS
    forward = time_forward(model, cases[0], budget)
    model = in_bfloat16(model)
    effort = effort_of(model, budget)
    batch, warnings, advised = affordable_windows(model, effort, most, run)
    wanted = WINDOWS_A_SEED * sum(len(case.truth) for case in cases)
    until, cached = budget.used + budget.seconds / 8, list[EncodedWindow]()
    while not cached or (len(cached) < wanted and budget.used < until):
        run.progress("encode", len(cached) / wanted)
        cached.append(encoded_window(model, cases, frozenset(), random))
        if len(cached) * window_bytes(cached[0]) > MAX_CACHE_BYTES:
            break
    if len(cached) < min(wanted / WINDOWS_A_SEED, 8):
        cached = []
    counts = windows_along(cases[0])
    look = forward * math.prod(n for axis, n in enumerate(counts) if axis != cases[0].axis)
    whole = 1.5 * forward * math.prod(counts) / len(cases[0].occupied)  # with what comes after the network
    return WindowExamples(model, cases, frozenset(), batch, cached, effort.tuned, whole, look, warnings, advised)


def in_bfloat16(model: Model) -> Model:
    """The model with bfloat16 where that is faster, also where its card forbids it: a step of tuning is not a result,
    and most networks were trained in half precision."""
    pays = model.device == "cpu" and bf16_pays(model.networks[0], len(model.card.input.channels))
    return replace(model, bf16=pays)


@dataclass(frozen=True)
class Effort:
    """What is tuned of each fold, and what a step on one window takes: seconds, and bytes of memory."""

    tuned: tuple[dict[str, torch.nn.Parameter], ...]
    seconds: float
    bytes: float


def effort_of(model: Model, budget: TimeBudget) -> Effort:
    """The effort to tune the decoders, measured on a smaller window and scaled."""
    spec = model.card.windows
    assert spec is not None
    multiples = model.networks[0].multiples
    steps = [side // multiple for side, multiple in zip(spec.patch, multiples, strict=True)]
    longest = steps.index(max(steps))  # whole, because a norm needs more than one value
    few = [n if axis == longest else (n + 1) // 2 for axis, n in enumerate(steps)]
    size = [n * multiple for n, multiple in zip(few, multiples, strict=True)]
    image = torch.zeros((len(model.card.input.channels), *(() if len(size) == 3 else (1,)), *size))
    scale = float(np.prod(steps) / np.prod(few))
    folds = [[feature[None] for feature in features] for features in encode(model, image)]
    began = budget.used
    encode(model, image)  # once more, because the first time takes longer
    encoding = (budget.used - began) / len(folds)
    tuned = tuple(decoder_parameters(model, features, fold) for fold, features in enumerate(folds))
    seconds, kept = measure_step(model, folds[0], tuned[0], budget)
    return Effort(tuned, scale * (encoding + seconds), scale * kept)


def measure_step(
    model: Model, features: Sequence[Tensor], tuned: Mapping[str, torch.nn.Parameter], budget: TimeBudget
) -> tuple[float, int]:
    """The seconds of a step of the first fold from these features, and the bytes that it keeps for the gradient."""
    network = model.networks[0].requires_grad_(False)
    for parameter in tuned.values():
        parameter.requires_grad_(True)
    kept = 0

    def keep(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += 0 if isinstance(tensor, torch.nn.Parameter) else tensor.numel() * tensor.element_size()
        return tensor

    began = budget.used
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        total = decode(model, features).sum()
    total.backward()
    network.zero_grad(set_to_none=True)
    return budget.used - began, kept


def affordable_windows(model: Model, effort: Effort, most: int, run: Run) -> tuple[int, tuple[str, ...], float | None]:
    """The windows of a step: as many as ENOUGH_STEPS of each fold fit into the time that is left, within free memory;
    one where that is too much for the time, with a warning and the budget that would do.

    Raises: InputError when the time does not suffice for one step, DeviceError when memory does not.
    """
    name, used = model.card.name, run.budget.used + run.reserve
    free = free_memory() if model.device == "cpu" else None
    if free is not None and effort.bytes > free:
        raise DeviceError(
            f"Expected {effort.bytes / 1e9:.1f} GB of free memory to tune {name}, found {free / 1e9:.1f} GB. Close "
            "other programs, or tune a smaller network."
        )
    enough = math.ceil(used + ENOUGH_STEPS * effort.seconds * len(model.networks))
    if used + effort.seconds > run.budget.seconds:
        raise InputError(
            f"Expected enough time to tune {name}, found {run.budget.seconds:g} s: one step takes "
            f"{effort.seconds:.0f} s on this computer. Allow {enough} s, or at least "
            f"{math.ceil(used + effort.seconds)} s.",
            advice={"budget": enough},
        )
    steps = (run.budget.seconds - used) / max(effort.seconds, 1e-9) / len(model.networks)
    count = min(most, int(steps / ENOUGH_STEPS), most if free is None else int(free / max(effort.bytes, 1)))
    few = counted(round(steps), "1 step", "{count} steps")
    slow = f"This computer is slow for {name}: there was time for about {few}. Allow more."
    return (count, (), None) if count else (1, (slow,), enough)


def time_forward(model: Model, case: WindowCase, budget: TimeBudget) -> float:
    """The seconds that all folds take for a window among others, without mirrored ones."""
    forward = WindowForward(model, replace(case.spec, mirror=()))
    z, y, x = case.spec.window
    windows = torch.stack([case.image[:, :z, :y, :x]] * forward.windows)
    windows[:, :, 0, 0, 0] += 1.0  # windows of one value are not computed
    began = budget.used
    forward(windows)
    return (budget.used - began) / forward.windows


def windows_along(case: WindowCase) -> list[int]:
    """The number of windows along each axis of the grid, without mirrored ones."""
    grid = zip(case.image.shape[1:], case.spec.window, strict=True)
    return [len(window_starts(n, side, 1.0 if side == 1 else case.spec.step)) for n, side in grid]


def window_bytes(window: EncodedWindow) -> int:
    """Bytes of the features."""
    return sum(f.numel() * f.element_size() for fold in window.features for f in fold)


def encoded_window(
    model: Model, cases: Sequence[WindowCase], held_out: Collection[tuple[int, int]], random: np.random.Generator
) -> EncodedWindow:
    """A window of `draw_window` with its features."""
    window, image = draw_window(cases, held_out, random)
    return EncodedWindow(window, encode(model, image))


def draw_window(
    cases: Sequence[WindowCase], held_out: Collection[tuple[int, int]], random: np.random.Generator
) -> tuple[SeedWindow, Tensor]:
    """A window around a random SEED that is not held out, and its image (channels, D, H, W), changed at random."""
    seeds = [(case, k) for case in cases for k in case.truth if (case.number, k) not in held_out]
    case, k = seeds[int(random.integers(len(seeds)))]
    start = draw_start(case, k, random)
    side = case.spec.window
    shown = set(case.inside(case.axis, start[case.axis]).tolist())
    offset = 3 - len(case.spec.patch)
    flips = tuple(axis + offset for axis in case.spec.mirror if random.random() < 0.5)
    z, y, x = (slice(at, at + n) for at, n in zip(start, side, strict=True))
    image = change_intensity(case.image[:, z, y, x].flip([1 + axis for axis in flips]), random)
    return SeedWindow(case, start, flips, tuple(s for s in sorted(case.truth) if s in shown)), image


def draw_start(case: WindowCase, k: int, random: np.random.Generator) -> Place:
    """Where a window that shows SEED k begins: with a probability of 2/3 it shows a labelled pixel, if there is any."""
    labelled = np.argwhere((case.truth[k] > 0) & (case.truth[k] != IGNORE))
    pixel = labelled[int(random.integers(len(labelled)))] if len(labelled) and random.random() < 2 / 3 else None
    others = [axis for axis in range(3) if axis != case.axis]
    starts = []
    for axis, side in enumerate(case.spec.window):
        last = case.image.shape[1 + axis] - side
        low, high = case.ends(axis)
        if axis == case.axis:
            margin = side // 8  # the network sees little on one side of the outermost planes
            first, until = high[k] + margin - side + 1, low[k] - margin
        elif pixel is not None:
            at = pixel[others.index(axis)]
            first, until = high[at] - side + 1, low[at]
        else:
            first, until = 0, last
        first = min(max(int(first), 0), last)
        starts.append(int(random.integers(first, min(max(int(until), first), last) + 1)))
    return starts[0], starts[1], starts[2]


@torch.no_grad()
def encode(model: Model, image: Tensor) -> list[list[Tensor]]:
    """The features float16 of a window (channels, D, H, W) by fold, finest first."""
    assert model.card.windows is not None
    x = (image[:, 0] if len(model.card.windows.patch) == 2 else image)[None].to(model.device)
    if x.ndim == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    with torch.autocast(model.device, torch.bfloat16, enabled=model.bf16):
        return [[feature[0].half() for feature in network.encode(x)] for network in model.networks]


def change_intensity(image: Tensor, random: np.random.Generator) -> Tensor:
    """The window (channels, D, H, W) with another brightness, contrast and resolution and with noise; half of them stay
    as they are."""
    if random.random() < 0.5:
        return image
    spread = float(image.std())
    mean = image.mean((1, 2, 3), keepdim=True)
    changed = (image - mean) * random.uniform(0.75, 1.25) + mean + spread * random.uniform(-0.2, 0.2)
    if random.random() < 0.25:
        pool = torch.nn.functional.avg_pool3d
        kernel = tuple(3 if side > 2 else 1 for side in image.shape[1:])
        changed = pool(changed, kernel, 1, tuple(side // 2 for side in kernel), count_include_pad=False)
    generator = torch.Generator().manual_seed(int(random.integers(2**31)))
    return changed + torch.randn(image.shape, generator=generator) * spread * random.uniform(0, 0.1)
