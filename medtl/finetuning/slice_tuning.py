"""SEED slices as a network of slices is tuned on them: the features of augmented copies, cached."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..counted import counted
from ..errors import DeviceError, memory_errors
from ..model.bundle import Model
from ..training.loss import dice_and_cross_entropy
from .decoder import Tuning, decoder_parameters
from .features import EncodedSlices, SeedCase, augmented_copies, decode
from .run import Run
from .seed import IGNORE

MAX_CACHE_BYTES = 1_000_000_000


@dataclass(frozen=True)
class SliceExamples:
    """Encoded copies of the SEEDs; see `decoder.Examples`."""

    model: Model
    copies: Sequence[EncodedSlices]
    options: Tuning
    warnings: tuple[str, ...] = ()
    slice_seconds: float = 0.0

    @property
    def look_seconds(self) -> float:
        """The seconds that the network takes for a slice."""
        return self.slice_seconds

    @property
    def advised_budget(self) -> float | None:
        """None: a step on slices is short."""
        return None

    def parameters(self) -> tuple[dict[str, torch.nn.Parameter], ...]:
        """The decoder's parameters, by name, of the one network."""
        return (decoder_parameters(self.model, [f[:1] for f in self.copies[0].features]),)

    def loss(self, fold: int, random: np.random.Generator) -> Tensor:
        """The loss on a random batch."""
        features, truth = draw_batch(self.copies, self.options, self.model.networks[0].multiple, random)
        return dice_and_cross_entropy(decode(self.model, features), truth, IGNORE)

    def without(self, held_out: Collection[tuple[int, int]]) -> "SliceExamples":
        """The copies without these SEEDs, (number of the case, slice)."""
        rest = [without(copy, {k for number, k in held_out if number == copy.case}) for copy in self.copies]
        return replace(self, copies=[copy for copy in rest if copy is not None])


def slice_examples(model: Model, cases: Sequence[SeedCase], tuning: Tuning, run: Run) -> SliceExamples:
    """Copies of all SEEDs; fewer of them where memory is short, with a warning.

    Raises: DeviceError when it does not suffice for one.
    """
    for count in (tuning.copies, 4, 1):
        began = run.budget.used
        try:
            with memory_errors("Not enough memory for the SEED slices. Close other programs, or use fewer of them."):
                copies = _copies(model, cases, count, tuning.seed, run)
        except DeviceError:
            if count == 1:
                raise
            continue
        warning = (
            f"Memory is short: {counted(count, '1 copy', '{count} copies')} of each SEED instead of {tuning.copies}."
        )
        seconds = 0.8 * (run.budget.used - began) / sum(len(copy) for copy in copies)  # with their augmentation
        return SliceExamples(model, copies, tuning, (warning,) if count < tuning.copies else (), seconds)
    raise AssertionError


def _copies(model: Model, cases: Sequence[SeedCase], count: int, seed: int, run: Run) -> list[EncodedSlices]:
    """`count` copies of each SEED, fewer where they would take more than an eighth of the time or too much memory."""
    random = torch.Generator().manual_seed(seed)
    budget = run.budget
    copies: list[EncodedSlices] = []
    for number, case in enumerate(cases):
        slices, until = sorted(case.truth), budget.used + budget.seconds / 8 / len(cases)
        for done, encoded in enumerate(augmented_copies(model, case, slices, count, random)):
            run.progress("encode", (number + done / count) / len(cases))
            copies.append(encoded)
            if budget.used > until or cache_bytes(copies) > MAX_CACHE_BYTES:
                break
    return copies


def cache_bytes(copies: Sequence[EncodedSlices]) -> int:
    """Bytes of the features."""
    return sum(f.numel() * f.element_size() for encoded in copies for f in encoded.features)


def without(encoded: EncodedSlices, slices: set[int]) -> EncodedSlices | None:
    """The slices of a copy that are not held out; None where none is left."""
    rest = [i for i, k in enumerate(encoded.slices) if k not in slices]
    if len(rest) == len(encoded):
        return encoded
    if not rest:
        return None
    features = [f[rest] for f in encoded.features]
    return EncodedSlices(encoded.case, tuple(encoded.slices[i] for i in rest), features, encoded.truth[rest])


def draw_batch(
    copies: Sequence[EncodedSlices], options: Tuning, multiple: int, random: np.random.Generator
) -> tuple[list[Tensor], Tensor]:
    """Features and classes of a batch: windows of slices of one size, each from a random copy."""
    sizes = np.array([len(c) for c in copies], dtype=float)
    first = copies[int(random.choice(len(copies), p=sizes / sizes.sum()))]
    same_size = [c for c in copies if c.truth.shape[1:] == first.truth.shape[1:]]
    levels: list[list[Tensor]] = [[] for _ in first.features]
    truths = []
    for number in random.integers(len(same_size), size=options.batch):
        copy = same_size[int(number)]
        k = int(random.integers(len(copy)))
        rows, columns = draw_window(copy.truth[k], options.window, multiple, random)
        truths.append(copy.truth[k, rows, columns])
        for level, feature in zip(levels, copy.features, strict=True):
            level.append(feature_window(feature[k], rows, columns, copy.truth.shape[1:]))
    return [torch.stack(level) for level in levels], torch.stack(truths)


def draw_window(truth: Tensor, size: int, multiple: int, random: np.random.Generator) -> tuple[slice, slice]:
    """Rows and columns of a window of a slice, on multiples of the network's: with a
    probability of 2/3 over a labelled pixel, if there is any."""
    labelled = torch.nonzero((truth > 0) & (truth != IGNORE))
    near = len(labelled) > 0 and random.random() < 2 / 3
    centre = labelled[int(random.integers(len(labelled)))].tolist() if near else None
    sides = []
    for axis, length in enumerate(truth.shape):
        side = min(-(-size // multiple) * multiple, length)
        low, high = 0, (length - side) // multiple
        if centre is not None:
            low = min(max(-(-(centre[axis] + 1 - side) // multiple), 0), high)
            high = min(max(centre[axis] // multiple, low), high)
        start = int(random.integers(low, high + 1)) * multiple
        sides.append(slice(start, start + side))
    return sides[0], sides[1]


def feature_window(feature: Tensor, rows: slice, columns: slice, size: Sequence[int]) -> Tensor:
    """The part of a feature (C, h, w) in a window of an image of that size."""
    steps = (size[0] // feature.shape[1], size[1] // feature.shape[2])
    inside = [slice(side.start // step, side.stop // step) for side, step in zip((rows, columns), steps, strict=True)]
    return feature[:, inside[0], inside[1]]
