"""Training of a network that sees windows: cases on the network's grid, windows drawn from them, and the recipe."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from ..cases import CaseFiles, read_cases
from ..errors import InputError
from ..io import read
from ..io.isolated import Reader
from ..model.bundle import save_bundle
from ..model.card import ModelCard, WindowSpec
from ..model.network import Network
from ..model.unets import PlainUNet
from ..preprocess import turn
from ..progress import Progress, no_progress
from ..volume import check_same_grid, voxels_sha256
from ..windows.prepare import prepare_windows
from ..windows.resampling import resample
from .augment import uniform
from .dataset import true_labels
from .fit import Schedule, State, save_checkpoint, start, train_epoch
from .loss import dice_and_cross_entropy
from .recipe import TrainedBundle, TrainingRun, bundle_folder, named_warnings, untrained_network
from .segmenter import finished_card, held_out_patients

NEVER = -1e4  # the logit of a class that cannot be


@dataclass(frozen=True)
class WindowAugmentation:
    """Random changes of windows: largest rotation in degrees, of the logarithm of the zoom, contrast (of the logarithm
    of the gain, and added), and noise, in units of the normalised image; `p_coarse` is the share of windows of lower
    resolution, `overhang` the share of half a window that may lie outside the image along each axis."""

    rotation: float = 15.0
    zoom: float = 0.2
    contrast: float = 0.25
    noise: float = 0.15
    p_coarse: float = 0.2
    overhang: float = 0.0


@dataclass(frozen=True)
class WindowFit(Schedule):
    """How a network that sees windows is trained: `windows` drawn each epoch, `foreground` the share of them around a
    labelled voxel. `deep`: the coarser stages of a U-Net's decoder learn the label too (deep supervision)."""

    epochs: int = 40
    batch: int = 2
    rate: float = 1e-3
    encoder_rate: float = 1e-3
    windows: int = 200
    foreground: float = 0.6
    deep: bool = False
    augmentation: WindowAugmentation = field(default_factory=WindowAugmentation)


@dataclass(frozen=True)
class WindowedCase:
    """One case on the network's grid: `image` float32 (channels, D, H, W), `label` uint8 (D, H, W), the spacing there
    in mm, and the `sha256` of the image's voxels. `unknown`: the numbers of labels that were not drawn in it."""

    case: str
    patient: str
    site: str
    sha256: str
    spacing: tuple[float, float, float]
    image: np.ndarray
    label: np.ndarray
    unknown: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()
    statistics: Mapping[str, float] = field(default_factory=dict)


def prepare_windowed(
    case: CaseFiles, card: ModelCard, binary: bool, partial: bool = False, reader: Reader = read
) -> WindowedCase:
    """One case, read from its files. `partial`: a label that no voxel has was not drawn.

    Raises: InputError when image and label do not lie on one grid, or the labels are not the model's.
    """
    assert card.windows is not None
    volume, truth = reader.read_volume(case.image), reader.read_labelmap(case.label)
    check_same_grid(truth.geometry, volume.geometry, case.label, case.image)
    prepared = prepare_windows([volume], card, card.windows)
    numbers = turn(true_labels(case, truth, card, binary), prepared.axes, prepared.flips)[prepared.box]
    grid = prepared.array.shape[1:]
    label = np.zeros(grid, np.uint8)
    every = range(1, len(card.labels) + 1)
    for number in every:
        label[resample(numbers == number, grid, 1, None, 0) >= 0.5] = number
    spacing = tuple(mm * old / new for mm, old, new in zip(prepared.turned_spacing, numbers.shape, grid, strict=True))
    return WindowedCase(
        case.case,
        case.patient,
        case.site,
        voxels_sha256(volume.array),
        (spacing[0], spacing[1], spacing[2]),
        prepared.array,
        label,
        tuple(number for number in every if partial and not (numbers == number).any()),
        (*volume.warnings, *truth.warnings),
    )


def fit_windows(
    state: State,
    cases: Sequence[WindowedCase],
    card: ModelCard,
    options: WindowFit,
    run: TrainingRun,
    progress: Progress = no_progress,
) -> Network:
    """The trained network (weights averaged over the last steps), in evaluation mode; a checkpoint each epoch.

    Raises: InputError when there is nothing to train on.
    """
    if not any(case.label.any() for case in cases):
        raise InputError("Expected cases with a label to train on, found none. Check the label files.")
    assert card.windows is not None
    steps = -(-options.windows // options.batch)
    loss = deep_loss if options.deep else window_loss
    while state.epoch < options.epochs:
        data = window_batches(cases, len(card.labels) + 1, card.windows, options, state.epoch)
        mean = train_epoch(state, data, options.epochs * steps, options, progress, loss)
        state.epoch += 1
        state.history.append({"epoch": state.epoch, "loss": mean})
        save_checkpoint(run.output, state)
    return state.averaged.eval()


@dataclass(frozen=True)
class Truth:
    """What windows show: `label` int64 (n, patch), and `unknown` (n, classes), True for classes not drawn there."""

    label: Tensor
    unknown: Tensor


def window_loss(network: Network, image: Tensor, truth: Truth) -> Tensor:
    """Dice and cross entropy of the logits of windows (n, channels, patch)."""
    logits = network(image)
    with torch.autocast("cpu", enabled=False):
        return dice_and_cross_entropy(known_logits(logits.float(), truth.unknown), truth.label)


def deep_loss(network: PlainUNet, image: Tensor, truth: Truth) -> Tensor:
    """As `window_loss`, the mean over the stages of the decoder, each half as important as the next finer one, against
    the label at its size. Source: Isensee 2021 (nnU-Net)."""
    stages = network.deep_logits(image)[::-1]
    weights = [0.5**stage for stage in range(len(stages))]
    total = torch.zeros(())
    with torch.autocast("cpu", enabled=False):
        for weight, logits in zip(weights, stages, strict=True):
            label = functional.interpolate(truth.label[:, None].float(), logits.shape[2:], mode="nearest")[:, 0].long()
            total = total + weight * dice_and_cross_entropy(known_logits(logits.float(), truth.unknown), label)
    return total / sum(weights)


def known_logits(logits: Tensor, unknown: Tensor) -> Tensor:
    """The logits (n, classes, …) with unknown classes as part of the background, where they are not drawn.

    Source: Fang and Yan 2020 (target adaptive loss).
    """
    if not unknown.any():
        return logits
    hidden = unknown.view(*unknown.shape, *(1,) * (logits.ndim - 2))
    as_background = hidden.index_fill(1, torch.tensor([0]), True)
    background = logits.masked_fill(~as_background, -torch.inf).logsumexp(1, keepdim=True)
    return torch.cat((background, logits[:, 1:].masked_fill(hidden[:, 1:], NEVER)), 1)


def window_batches(
    cases: Sequence[WindowedCase], classes: int, spec: WindowSpec, options: WindowFit, epoch: int
) -> Iterator[tuple[Tensor, Truth]]:
    """Batches of augmented windows: images (n, channels, patch) and what they show."""
    random = torch.Generator().manual_seed(options.seed * 1000 + epoch)
    choose = np.random.default_rng((options.seed, epoch))
    shares = shares_of(cases)
    for begin in range(0, options.windows, options.batch):
        drawn = []
        for _ in range(min(options.batch, options.windows - begin)):
            case = cases[int(choose.choice(len(cases), p=shares))]
            unknown = torch.tensor([number in case.unknown for number in range(classes)])
            drawn.append((*draw_window(case, spec, options, choose), unknown))
        image, label, unknown = (torch.stack(part) for part in zip(*drawn, strict=True))
        yield change_intensities(image, options.augmentation, random), Truth(label, unknown)


def shares_of(cases: Sequence[WindowedCase]) -> np.ndarray:
    """How often each case is drawn, (n,), sum 1. A patient's share is the square root of its number of slices: a whole
    scan, or many slices, count more than a single slice, but do not drown it."""
    slices: dict[str, int] = {}
    for case in cases:
        slices[case.patient] = slices.get(case.patient, 0) + len(case.label)
    shares = np.array([len(case.label) / math.sqrt(slices[case.patient]) for case in cases])
    return np.asarray(shares / shares.sum())


def draw_window(
    case: WindowedCase, spec: WindowSpec, options: WindowFit, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """A turned and zoomed window of a case, with the card's filling and no label outside it: image (channels, patch)
    and label (patch) int64."""
    patch = (1, *spec.patch) if len(spec.patch) == 2 else spec.patch
    shape = np.array(case.label.shape)
    half = np.array(patch) / 2
    present = np.flatnonzero(np.bincount(case.label.ravel())[1:]) + 1
    if len(present) and random.random() < options.foreground:
        labelled = np.argwhere(case.label == random.choice(present))  # small labels as often as large ones
        middle = labelled[int(random.integers(len(labelled)))] + random.uniform(-0.35, 0.35, 3) * patch
    else:
        middle = random.uniform(0, 1, 3) * shape
    inside = half * (1 - options.augmentation.overhang)
    middle = np.clip(middle, np.minimum(inside, shape / 2), np.maximum(shape - inside, shape / 2)) - 0.5
    offsets = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in patch), indexing="ij"), -1)
    flips = [-1.0 if axis in mirrored_axes(spec) and random.random() < 0.5 else 1.0 for axis in range(3)]
    if len(spec.patch) == 2:
        middle[0] = np.round(middle[0])
    matrix = random_turn(options.augmentation, case.spacing, len(spec.patch) == 2, random) * flips
    places = middle + offsets @ matrix.T
    grid = torch.from_numpy((2 * places / np.maximum(shape - 1, 1) - 1)[..., ::-1].copy()).float()[None]
    filled = torch.from_numpy(case.image)[None] - spec.fill  # grid_sample has 0 outside
    image = functional.grid_sample(filled, grid, align_corners=True)[0] + spec.fill
    label = torch.from_numpy(case.label)[None, None].float()
    moved = functional.grid_sample(label, grid, mode="nearest", align_corners=True)[0, 0].long()
    return (image[:, 0], moved[0]) if len(spec.patch) == 2 else (image, moved)


def mirrored_axes(spec: WindowSpec) -> tuple[int, ...]:
    """The axes of the volume along which windows may be mirrored."""
    return tuple(axis + 3 - len(spec.patch) for axis in spec.mirror)


def random_turn(
    limits: WindowAugmentation, spacing: Sequence[float], in_plane: bool, random: np.random.Generator
) -> np.ndarray:
    """A random rotation and zoom, as a matrix between voxels of this spacing (mm), (3, 3)."""
    matrix = np.eye(3)
    for axis in (0,) if in_plane else (0, 1, 2):
        # Thick slices are turned little out of their plane.
        a, b = (other for other in range(3) if other != axis)
        least = min(spacing[a], spacing[b]) / max(spacing[a], spacing[b])
        angle = math.radians(random.uniform(-1, 1) * limits.rotation * least)
        turned = np.eye(3)
        turned[a, a] = turned[b, b] = math.cos(angle)
        turned[a, b], turned[b, a] = -math.sin(angle), math.sin(angle)
        matrix = turned @ matrix
    zoom = np.full(3, math.exp(random.uniform(-1, 1) * limits.zoom))
    if in_plane:
        zoom[0] = 1.0
    mm = np.array(spacing)
    return np.asarray((matrix * zoom) * mm / mm[:, None])


def change_intensities(image: Tensor, limits: WindowAugmentation, random: torch.Generator) -> Tensor:
    """Windows (n, channels, …) with random contrast, resolution and noise."""
    gain = torch.exp((2 * uniform(image, random) - 1) * limits.contrast)
    image = image * gain + (2 * uniform(image, random) - 1) * limits.contrast
    coarse = torch.rand(len(image), generator=random) < limits.p_coarse
    if coarse.any():
        size = image.shape[2:]
        small = functional.interpolate(image[coarse], size=[max(1, n // 2) for n in size], mode="area")
        mode = "trilinear" if len(size) == 3 else "bilinear"
        image = image.clone()
        image[coarse] = functional.interpolate(small, size=size, mode=mode, align_corners=False)
    noise = torch.randn(image.shape, generator=random) * uniform(image, random) * limits.noise
    return image + noise


@dataclass(frozen=True)
class WindowRecipe:
    """How a model that sees windows is made: its card (before training), how it is fitted, who is held out, and its
    texts; see `SegmentationRecipe`. `partial`: labels that a case does not have were not drawn in it; their voxels may
    be among its background."""

    card: ModelCard
    fit: WindowFit
    test_share: float
    seed: int
    folds: int
    binary: bool
    readme: str
    licence: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    partial: bool = False

    def train(self, run: TrainingRun, progress: Progress = no_progress, reader: Reader = read) -> TrainedBundle:
        """The bundle in the folder `run.output`/NAME; `run.output` also has the checkpoint.

        Raises: InputError for cases that cannot be used, an unknown fold, or an output that is taken.
        """
        assert self.card.windows is not None
        bundle = bundle_folder(self.card, run)
        listed = read_cases(run.cases)
        held = held_out_patients(self, listed, run.fold)
        prepared = []
        for number, case in enumerate(listed):
            progress("prepare", number / len(listed))
            prepared.append(prepare_windowed(case, self.card, self.binary, self.partial, reader))
        chosen = [case for case in prepared if case.patient not in held]
        torch.manual_seed(self.fit.seed)
        state = start(untrained_network(self.card, run, None), self.fit, run.output if run.resume else None)
        trained = fit_windows(state, chosen, self.card, self.fit, run, progress)
        card = finished_card(self, prepared, held, run.fold)
        weights = {card.networks[0].prefix + key: value for key, value in trained.state_dict().items()}
        save_bundle(bundle, card, weights, self.readme, self.licence, self.facts)
        warnings = [text for case in prepared for text in named_warnings(case.case, case.warnings)]
        return TrainedBundle(bundle, tuple(warnings))
