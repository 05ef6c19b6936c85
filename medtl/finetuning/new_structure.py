"""A new structure: a model that is trained on SEEDs alone, starting from the encoder of another model.

The other model's labels and last layer are dropped. Its batch statistics do not fit: they are estimated again, on the
SEEDs while training and on the user's own volumes at the end.
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError, memory_errors
from ..model import networks
from ..model.bundle import Model
from ..model.card import Gate, InputSpec, Label, ModelCard, is_range
from ..model.device import limited_threads
from ..planes import PLANES
from ..preprocess import in_order, orient
from ..training.loss import dice_and_cross_entropy
from ..volume import Volume
from .decoder import Trained, finite_step, learning_rate
from .features import SeedCase, augment_seeds, classes_of, dices, prepare_case, spread
from .finetune import Finetuned, fitting_seeds
from .guard import NO_CHANGE, Change
from .held_out import HeldOut, hold_out
from .run import Run
from .seed import IGNORE, Seed
from .slice_tuning import draw_window

COLOURS = ((0.75, 0.41, 0.35), (0.95, 0.84, 0.57), (0.44, 0.72, 0.82), (0.56, 0.93, 0.56), (0.78, 0.56, 0.85))
RATE = 5e-3
BATCH = 3
STEPS = 600  # the most worth taking
WINDOW = 128  # pixels, the side of the part of a slice that a step uses
STATISTICS_SLICES = 32  # of each volume, for the batch statistics
MIN_SEEDS_LEFT = 2  # SEEDs that must remain where some are held out


@dataclass(frozen=True)
class Structure:
    """A new structure: label ids, whose values are 1, 2, …; the plane of the slices and the window in HU, lower limit
    first. A plane or window of None is that of the model to start from.

    Raises: InputError for ids, a plane or a window that cannot be used.
    """

    ids: tuple[str, ...]
    plane: str | None = None
    window: Sequence[float] | None = None

    def __post_init__(self) -> None:
        wrong = [label_id for label_id in self.ids if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", label_id)]
        if wrong or not self.ids or len(set(self.ids)) < len(self.ids):
            problem = repr(wrong[0]) if wrong else ",".join(self.ids) or "none"
            raise InputError(
                "Expected label ids of small letters, digits, '-' and '_', each once, as in muscle or fat,muscle; "
                f"found {problem}. Choose others."
            )
        if self.plane not in (None, *PLANES):
            raise InputError(f"Expected a plane of {', '.join(PLANES)}, found {self.plane!r}. Choose one.")
        if self.window is not None and not is_range((self.window[0], self.window[1])):
            raise InputError(f"Expected a window in HU, its lower limit first, found {self.window}. Swap them.")


class NetworkWeights:
    """The weights of a network all of which was trained; `alpha` has no effect."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def states(self, alpha: float) -> tuple[dict[str, Tensor]]:
        """All weights of the network, whatever `alpha` is."""
        return (dict(self.model.networks[0].state_dict()),)

    def use(self, alpha: float) -> None:
        """Leave the network's weights as they are."""


def structure_card(origin: ModelCard, name: str, structure: Structure) -> ModelCard:
    """The card of a model of the origin's architecture for the new labels.

    Raises: InputError for an origin that sees windows.
    """
    if origin.windows is not None:
        raise InputError(
            f"Expected a model of slices to start a new structure from, found {origin.name}, which sees windows. "
            "Choose another."
        )
    labels = tuple(
        Label(value, label_id, re.sub(r"[-_]", " ", label_id).capitalize(), COLOURS[(value - 1) % len(COLOURS)])
        for value, label_id in enumerate(structure.ids, start=1)
    )
    spec = replace(origin.input, plane=structure.plane or origin.input.plane, spacing=None)
    modality = origin.gate.modality
    if structure.window is not None:
        spec = replace(spec, channels=("CT",), scaling="window", window=(structure.window[0], structure.window[1]))
        modality = "CT"
    network = origin.networks[0]
    arguments = {k: v for k, v in network.arguments.items() if k != "encoder_weights"} | {"labels": len(labels)}
    return ModelCard(
        name=name,
        version="1.0.0",
        description="",
        task=origin.task,
        labels=labels,
        networks=(replace(network, arguments=arguments),),
        input=spec,
        sha256="",
        gate=Gate(modality=modality),
    )


def start_model(origin: Model, card: ModelCard, volume: Volume, seed: int) -> Model:
    """A model to train, for slices as fine as those of the volume, with the origin's weights wherever they fit."""
    torch.manual_seed(seed)
    spec = card.networks[0]
    network = networks.build(spec.name, dict(spec.arguments))
    own = network.state_dict()
    fitting = {k: v for k, v in origin.networks[0].state_dict().items() if v.shape == own[k].shape}
    network.load_state_dict(own | fitting)
    card = replace(card, input=replace(card.input, spacing=in_plane(volume, card.input)))
    return Model(card, origin.folder, (networks.place(network, origin.device),), origin.device, origin.bf16)


def in_plane(volume: Volume, spec: InputSpec) -> float | None:
    """Millimetres a pixel of the volume's slices, None where they are not known."""
    if not volume.real_spacing:
        return None
    spacing = in_order(volume.geometry.spacing[::-1], orient(volume.geometry, spec.plane)[0])
    return round(float(np.sqrt(spacing[1] * spacing[2])), 4)


def train_structure(model: Model, cases: Sequence[tuple[Volume, Sequence[Seed]]], run: Run) -> Finetuned:
    """The model of `start_model` after training; its verdict is "new", because there is nothing to compare it with.
    With enough SEEDs, a third of the time is for training without every fourth, and `seeds` has the Dice on those.

    Raises: InputError for a label that no SEED shows, or a budget that is too short; ModelError when the network's
    numbers are not finite from the start; DeviceError when memory runs out; Cancelled.
    """
    advice = "Not enough memory to train. Close other programs, or use fewer SEED slices."
    budget = run.budget
    with limited_threads(run.options.threads), memory_errors(advice):
        run.progress("prepare", 0.0)
        prepared = tuple(
            prepare_case(volume, group, model.card.input, model.networks[0].multiple, number)
            for number, (volume, group) in enumerate(fitting_seeds(model.card, cases))
        )
        _check_labels(prepared, model.card)
        training = Training(model, prepared, run.options.seed)
        began = budget.used
        count = estimate_statistics(model, prepared)
        each = (budget.used - began) / count
        reserve = run.reserve + 1.2 * each * (count + run.later_slices)
        if budget.used + 2 * reserve >= run.options.budget:
            raise too_short(run, reserve)
        run = replace(run, reserve=reserve)
        held_out = _score_held_out(training, run)
        weights = NetworkWeights(model)
        trained = training.fit(budget.until(1.0, reserve), run.steps_with_checkpoints(weights, 1.0))
    seeds = Change(None, np.array([seed.dice[1.0] for seed in held_out]))
    few = () if held_out else ("Too few SEED slices to hold one out: check the result before you use it.",)
    warnings = (*trained.warnings, *few)
    return Finetuned(
        model,
        weights,
        prepared,
        1.0,
        "new",
        seeds,
        NO_CHANGE,
        "none",
        held_out,
        trained.steps,
        warnings,
        slice_seconds=each,
    )


def too_short(run: Run, reserve: float) -> InputError:
    """The error for a time budget that preparation alone uses up."""
    needed = run.budget.used + reserve
    return InputError(
        f"Expected a budget that leaves time to train, found {run.options.budget:g} s, of which preparing takes "
        f"{needed:.0f} s. Allow {3 * needed:.0f} s."
    )


def _check_labels(cases: Sequence[SeedCase], card: ModelCard) -> None:
    """Raise InputError for a label that no SEED shows."""
    shown = {int(v) for case in cases for truth in case.truth.values() for v in np.unique(truth)}
    for number, label in enumerate(card.labels, start=1):
        if number not in shown:
            raise InputError(
                f"Expected {label.id} (value {label.value}) in at least one SEED slice, found it in none. Mark a slice "
                "that shows it, or leave the label out."
            )


class Training:
    """A network with the SEED cases that it is trained on; each `fit` begins with the weights it has now."""

    def __init__(self, model: Model, cases: Sequence[SeedCase], seed: int) -> None:
        self.model, self.cases, self.seed = model, cases, seed
        self.start = {name: value.clone() for name, value in model.networks[0].state_dict().items()}

    def fit(
        self,
        seconds: float,
        step_done: Callable[[float, float], None],
        held_out: Sequence[tuple[int, int]] = (),
    ) -> Trained:
        """Train on all SEEDs but those held out (number of the case, slice), for so many seconds. The network is then
        in evaluation mode with statistics of the volumes.

        Raises: ModelError when already the first step is not finite.
        """
        began = time.perf_counter()
        network = self.model.networks[0]
        network.load_state_dict(self.start)
        network.train()
        shown = self._slices(held_out)
        sizes = np.array([len(truth) for _, _, truth in shown], dtype=float)
        optimizer = torch.optim.AdamW(network.parameters(), lr=RATE)
        random, generator = np.random.default_rng(self.seed), torch.Generator().manual_seed(self.seed)
        step, share, diverged = 0, 0.0, False
        while share < 1.0 and not diverged:
            share = min(max((time.perf_counter() - began) / seconds, (step + 1) / STEPS), 1.0)
            optimizer.param_groups[0]["lr"] = learning_rate(RATE, step, share)
            case, images, truth = shown[int(random.choice(len(shown), p=sizes / sizes.sum()))]
            chosen = random.integers(len(truth), size=BATCH)
            image, classes = augment_seeds(images[chosen], truth[chosen], self.model.card.input, generator)
            image, classes = draw_windows(image.clamp(*case.prepared.clip), classes, network.multiple, random)
            loss = dice_and_cross_entropy(logits_of(self.model, image), classes.to(self.model.device), IGNORE)
            diverged = not finite_step(optimizer, loss, loss, step)
            if not diverged:
                step += 1
                step_done(share, float(loss.detach()))
        estimate_statistics(self.model, self.cases)
        return Trained(step, diverged)

    def _slices(self, held_out: Sequence[tuple[int, int]]) -> list[tuple[SeedCase, Tensor, Tensor]]:
        """Each case with the images and the classes of its SEEDs that are not held out."""
        shown = []
        for number, case in enumerate(self.cases):
            if slices := [k for k in sorted(case.truth) if (number, k) not in held_out]:
                truth = torch.from_numpy(np.stack([case.truth[k] for k in slices]))
                shown.append((case, case.images(slices), truth))
        return shown


def logits_of(model: Model, images: Tensor) -> Tensor:
    """Logits float32 (n, 1 + labels, h, w) of images, by the network in its present mode."""
    placed = images.to(model.device).contiguous(memory_format=torch.channels_last)
    with torch.autocast(model.device, torch.bfloat16, enabled=model.bf16):
        logits: Tensor = model.networks[0](placed)
    return logits.float()


def draw_windows(images: Tensor, truth: Tensor, multiple: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A window of each image (n, channels, h, w) and of its classes (n, h, w)."""
    places = [draw_window(classes, WINDOW, multiple, random) for classes in truth]
    parts = [image[:, rows, columns] for image, (rows, columns) in zip(images, places, strict=True)]
    return torch.stack(parts), torch.stack([classes[place] for classes, place in zip(truth, places, strict=True)])


@torch.no_grad()
def estimate_statistics(model: Model, cases: Sequence[SeedCase]) -> int:
    """The number of slices of the volumes, SEEDs or not, on which the batch statistics are estimated again; the network
    is in evaluation mode afterwards."""
    network = model.networks[0].eval()
    norms = [m for m in network.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    count = 0
    for case in cases:
        chosen = spread(np.flatnonzero(case.prepared.occupied).tolist(), STATISTICS_SLICES)
        for begin in range(0, len(chosen), 8):
            logits_of(model, case.images(chosen[begin : begin + 8]))
        count += len(chosen)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()
    return max(count, 1)


def _score_held_out(training: Training, run: Run) -> tuple[HeldOut, ...]:
    """A quarter of the SEEDs with their Dice after a third of the time was spent on training without them; none where
    they are too few."""
    model, cases = training.model, training.cases
    chosen = hold_out(cases, 1)
    if sum(len(case.truth) for case in cases) - len(chosen) < MIN_SEEDS_LEFT:
        return ()
    training.fit(run.budget.until(1 / 3, run.reserve), run.steps("check"), chosen)
    scored = []
    for number, k in chosen:
        case = cases[number]
        with torch.inference_mode():
            logits = logits_of(model, case.images([k]))
            truth = torch.from_numpy(case.truth[k][None]).to(model.device)
            score = float(dices(classes_of(logits, model.card), truth, len(model.card.labels))[0])
        others = tuple(other for other in sorted(case.truth) if (number, other) not in chosen)
        scored.append(HeldOut(number, k, {1.0: score}, logits[0].cpu().numpy(), others))
    return tuple(scored)
