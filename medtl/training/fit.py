"""Step two of training: from cached cases to weights. Seeded, with a checkpoint each epoch, resumable, no pickles."""

import copy
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ..errors import InputError, ModelError
from ..model.card import InputSpec
from ..model.network import Network
from ..model.networks import place
from ..preprocess import AIR, TISSUE_CLIP, from_tissue_units, neighbour_steps, to_tissue_units
from ..progress import Progress, no_progress
from .augment import Augmentation, augment
from .dataset import CachedCase
from .loss import dice_and_cross_entropy

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a network learns; `average` is the decay of the averaged weights."""

    epochs: int = 32
    batch: int = 12
    encoder_rate: float = 3e-4
    rate: float = 1.5e-3
    weight_decay: float = 1e-2
    average: float = 0.998
    seed: int = 0


@dataclass(frozen=True)
class Fit(Schedule):
    """How a network that segments is trained. `negatives`: slices without lesion for each slice with one, drawn again
    each epoch; `per_case`: at most so many slices with lesion of a case, drawn again each epoch, so that volumes of
    thin slices do not drown the others (None: all).

    `p_between` is the share of samples taken a little off a slice, `p_near` of those whose neighbours are nearer than
    the next slices: interpolated, as thin slices made from thick ones are.
    """

    window: tuple[int, int] = (192, 160)
    negatives: float = 1.0
    per_case: int | None = None
    p_between: float = 0.3
    p_near: float = 0.5
    augmentation: Augmentation = field(default_factory=Augmentation)


@dataclass
class State:
    """Everything that a run needs to continue; saved at the end of each epoch."""

    network: Network
    averaged: Network
    optimizer: torch.optim.Optimizer
    epoch: int = 0
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


def fit(
    state: State,
    cases: Sequence[CachedCase],
    spec: InputSpec,
    options: Fit,
    folder: Path,
    progress: Progress = no_progress,
) -> Network:
    """The trained network (weights averaged over the last steps), in evaluation mode, from the state of `start`.

    `folder` keeps `checkpoint.safetensors` and `history.json`.

    Raises: InputError when there is nothing to train on.
    """
    positive = [[(c, k) for k in np.flatnonzero(case.label.any((1, 2)))] for c, case in enumerate(cases)]
    negative = [
        (c, k)
        for c, case in enumerate(cases)
        for k in np.flatnonzero(~case.label.any((1, 2)) & ((case.image > -0.6).mean((1, 2)) > 0.05))
    ]
    drawn = sum(len(slices[: options.per_case]) for slices in positive)
    if not drawn:
        raise InputError("Expected slices with a label to train on, found none. Check the label files.")
    count = min(round(options.negatives * drawn), len(negative))
    total = options.epochs * -(-(drawn + count) // options.batch)
    while state.epoch < options.epochs:
        began = time.perf_counter()
        random = np.random.default_rng((options.seed, state.epoch))
        chosen = [slices[i] for slices in positive for i in random.permutation(len(slices))[: options.per_case]]
        chosen += [negative[i] for i in random.permutation(len(negative))[:count]]
        order = [chosen[i] for i in random.permutation(len(chosen))]
        loss = train_epoch(state, batches(cases, order, spec, options, state.epoch), total, options, progress)
        state.epoch += 1
        state.history.append({"epoch": state.epoch, "loss": loss, "seconds": time.perf_counter() - began})
        save_checkpoint(folder, state)
    return state.averaged.eval()


def start(network: Network, options: Schedule, resume_from: Path | None = None) -> State:
    """The state of a new run, or of the one whose checkpoint lies in `resume_from`. The encoder learns slower than the
    decoder, fixed weights not at all.

    Raises: InputError when there is no checkpoint to resume from, or it is damaged or that of another network.
    """
    network = place(network, "cpu")
    encoder = [p for n, p in network.named_parameters() if "encoder." in n and p.requires_grad]
    rest = [p for n, p in network.named_parameters() if "encoder." not in n and p.requires_grad]
    groups = [
        {"params": parameters, "lr": rate, "peak": rate}
        for parameters, rate in ((encoder, options.encoder_rate), (rest, options.rate))
        if parameters
    ]
    averaged = copy.deepcopy(network).eval().requires_grad_(False)
    state = State(network, averaged, torch.optim.AdamW(groups, weight_decay=options.weight_decay))
    if resume_from is not None:
        load_checkpoint(resume_from, state)
    return state


def train_epoch(
    state: State,
    data: Iterator[tuple[Tensor, Any]],
    total: int,
    options: Schedule,
    progress: Progress,
    loss_of: Callable[[Any, Tensor, Any], Tensor] | None = None,
) -> float:
    """The mean loss of one pass over the data (images and their truth); `loss_of(network, images, truth)` is by default
    Dice and cross entropy.

    Raises: ModelError when the loss is not finite; the checkpoint of the last epoch stays.
    """
    loss_of = loss_of or segmentation_loss
    state.network.train()
    losses = []
    for image, label in data:
        share = min(state.step / total, 1.0)
        progress("fit", share)
        for group in state.optimizer.param_groups:
            group["lr"] = group["peak"] * one_cycle(share)
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(state.network, laid_out(image), label)
        if not torch.isfinite(loss):
            raise ModelError(
                f"Expected a finite loss, found {float(loss.detach())} in epoch {state.epoch + 1}. Lower the learning "
                "rate, or look for images with values that are not numbers; --resume continues from the last epoch."
            )
        state.optimizer.zero_grad(set_to_none=True)
        with DepthwiseInFloat32():  # type: ignore[no-untyped-call]
            loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(state.network.parameters(), 2.0)
        if torch.isfinite(norm):  # one that is not would make all weights NaN
            state.optimizer.step()
        state.step += 1
        average(state, options.average)
        losses.append(float(loss.detach()))
    return float(np.mean(losses))


def laid_out(image: Tensor) -> Tensor:
    """Images as `place` has the network: those of slices channels last."""
    return image.contiguous(memory_format=torch.channels_last) if image.ndim == 4 else image.contiguous()


class DepthwiseInFloat32(TorchDispatchMode):
    """While it is entered, gradients of depthwise convolutions are computed in float32 where torch is slow in bfloat16
    on a CPU: for all but kernels up to 3 x 3 with stride 1. See `Testing/benchmarks/train_step.py`."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution_backward.default:
            gradient, image, weight, _, stride, _, _, _, _, groups, _ = args
            depthwise = weight.dtype == torch.bfloat16 and weight.shape[1] == 1 and groups > 1
            if depthwise and (max(weight.shape[2:]) > 3 or max(stride) > 1):
                gradients = func(gradient.float(), image.float(), weight.float(), *args[3:])
                return tuple(None if value is None else value.to(torch.bfloat16) for value in gradients)
        return func(*args, **(kwargs or {}))


def one_cycle(share: float) -> float:
    """The learning rate's factor: up over the first tenth, then a cosine down to a hundredth."""
    if share < 0.1:
        return 0.05 + 0.95 * share / 0.1
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (share - 0.1) / 0.9))


@torch.no_grad()
def average(state: State, decay: float) -> None:
    """Move the averaged weights towards the present ones, slower with each step until the decay is `decay`."""
    decay = min(decay, (1 + state.step) / (10 + state.step))
    for mean, now in zip(state.averaged.state_dict().values(), state.network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(now, 1 - decay)
        else:
            mean.copy_(now)


def segmentation_loss(network: Network, image: Tensor, label: Tensor) -> Tensor:
    """The loss of the network's logits for images (B, C, h, w) against the label (B, h, w)."""
    logits = network(image)
    with torch.autocast("cpu", enabled=False):
        return dice_and_cross_entropy(logits.float(), label)


def batches(
    cases: Sequence[CachedCase], order: Sequence[tuple[int, int]], spec: InputSpec, options: Fit, epoch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Augmented batches: image (B, C, h, w) in the network's units, label (B, h, w) long."""
    random = torch.Generator().manual_seed(options.seed * 1000 + epoch)
    choose = np.random.default_rng((options.seed, epoch, 1))
    for begin in range(0, len(order), options.batch):
        parts = []
        for c, k in order[begin : begin + options.batch]:
            off = choose.uniform(-0.35, 0.35) if choose.random() < options.p_between else 0.0
            near = choose.random() if choose.random() < options.p_near else 1.0
            positions = k + off + near * np.array(neighbour_steps(spec, cases[c].slice_mm))
            parts.append(canvas(cases[c], k, positions))
        image, label, brain = (torch.from_numpy(np.stack(p)) for p in zip(*parts, strict=True))
        image, label = augment(image, label, brain, options.window, options.augmentation, random)
        yield from_tissue_units(image).clamp(*TISSUE_CLIP), label


def canvas(case: CachedCase, k: int, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The images at these (fractional) slice positions as channels, in tissue units, in the middle of a square canvas;
    the label and brain of slice `k`."""
    size = 256
    parts = []
    for part in (to_tissue_units(between_slices(case.image, positions)), case.label[k], case.brain[k]):
        height, width = part.shape[-2:]
        top, left = max((height - size) // 2, 0), max((width - size) // 2, 0)
        part = part[..., top : top + size, left : left + size]
        rows, columns = size - part.shape[-2], size - part.shape[-1]
        pad = [(0, 0)] * (part.ndim - 2) + [(rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2)]
        parts.append(np.pad(part, pad))
    return parts[0], parts[1], parts[2]


def between_slices(image: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Images (n, rows, columns) at fractional slice positions, linear between slices, the last one beyond the ends."""
    positions = np.clip(positions, 0, len(image) - 1)
    below = np.floor(positions).astype(int)
    above = np.minimum(below + 1, len(image) - 1)
    share = (positions - below).astype(np.float32)[:, None, None]
    return np.asarray(image[below] * (1 - share) + image[above] * share)


@torch.inference_mode()
def predict(network: Network, case: CachedCase, spec: InputSpec, batch: int = 8, flip: bool = False) -> np.ndarray:
    """Foreground probability (slices, rows, columns), float32, of a cached case."""
    network.eval()
    steps = np.array(neighbour_steps(spec, case.slice_mm))
    rows, columns = case.image.shape[1:]
    pad = (0, -columns % network.multiple, 0, -rows % network.multiple)
    parts = []
    for begin in range(0, len(case.image), batch):
        wanted = np.arange(begin, min(begin + batch, len(case.image)))
        indices = np.clip(wanted[:, None] + steps, 0, len(case.image) - 1)
        image = functional.pad(torch.from_numpy(case.image[indices].astype(np.float32)), pad, value=AIR)
        image = image.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            probability = network(image).float().softmax(1)
            if flip:
                probability = (probability + network(image.flip(3)).float().softmax(1).flip(3)) / 2
        parts.append(1 - probability[:, 0, :rows, :columns].numpy())
    return np.concatenate(parts)


def save_checkpoint(folder: Path, state: State) -> None:
    """Write the checkpoint whole, then replace the old one."""
    tensors = {f"network.{k}": v for k, v in state.network.state_dict().items()}
    tensors |= {f"averaged.{k}": v for k, v in state.averaged.state_dict().items()}
    for index, values in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in values.items()}
    facts = {"epoch": state.epoch, "step": state.step, "history": state.history}
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{CHECKPOINT}.part"
    # Channels-last tensors are not contiguous, and safetensors keeps memory as it lies.
    save_file({k: v.contiguous() for k, v in tensors.items()}, part, {"facts": json.dumps(facts)})
    part.replace(folder / CHECKPOINT)
    (folder / "history.json").write_text(json.dumps(state.history, indent=1), encoding="utf-8")


def load_checkpoint(folder: Path, state: State) -> None:
    """Set the state to that of the checkpoint in `folder`.

    Raises: InputError when there is none, or it is damaged or that of another network.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        raise InputError(f"Expected {path} to resume from, found none. Run once without --resume.")
    try:
        with safe_open(path, "pt") as stored:
            facts = json.loads(stored.metadata()["facts"])
            tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 (no dict, not iterable)
        for name, network in (("network.", state.network), ("averaged.", state.averaged)):
            network.load_state_dict({k.removeprefix(name): v for k, v in tensors.items() if k.startswith(name)})
    except (OSError, SafetensorError, RuntimeError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"Could not resume from {path}: {reason}. Start again in another folder.") from error
    optimizer = state.optimizer.state_dict()
    for key, value in tensors.items():
        kind, _, rest = key.partition(".")
        if kind == "optimizer":
            index, _, entry = rest.partition(".")
            optimizer["state"].setdefault(int(index), {})[entry] = value
    state.optimizer.load_state_dict(optimizer)
    state.epoch, state.step, state.history[:] = facts["epoch"], facts["step"], facts["history"]
