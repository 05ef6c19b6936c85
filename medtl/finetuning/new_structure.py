"""A new structure: a model that is learned from SEEDs alone. Its encoder begins as that of another model.

The other model's labels, last layer and batch statistics are a stranger's: the first two go, the statistics are made
anew, by the SEEDs while learning and by the user's own volumes at the end.
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
from ..preprocess import in_order, orient
from ..progress import Progress, no_progress
from ..volume import PLANES, Volume
from .decoder import Tuned, cosine, loss_of, window
from .features import Marked, changed, decide, dices, mark
from .finetune import Finetuned, FinetuneOptions, Keep, forget
from .guard import Change
from .held_out import ALPHAS, Clock, LeftOut, Note, told, unheard
from .seed import Seed, for_model

COLOURS = ((0.75, 0.41, 0.35), (0.95, 0.84, 0.57), (0.44, 0.72, 0.82), (0.56, 0.93, 0.56), (0.78, 0.56, 0.85))
RATE = 5e-3
BATCH = 3
STEPS = 600  # the most that are worth anything
WINDOW = 128  # pixels, the side of what a step sees of a slice
STATISTICS = 32  # slices of each volume that the statistics are made of
FEWEST_LEFT = 2  # SEEDs that must remain where one is left out


@dataclass(frozen=True)
class Structure:
    """What is to be learned: label ids, whose values are 1, 2, …; the plane of the slices and the window in HU, lower
    limit first, in which they are seen, None for those of the model that it begins with.

    Raises: InputError for ids, a plane or a window that cannot be used.
    """

    ids: tuple[str, ...]
    plane: str | None = None
    window: Sequence[float] | None = None

    def __post_init__(self) -> None:
        wrong = [one for one in self.ids if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", one)]
        if wrong or not self.ids or len(set(self.ids)) < len(self.ids):
            found = repr(wrong[0]) if wrong else ",".join(self.ids) or "none"
            raise InputError(
                "Expected label ids of small letters, digits, '-' and '_', each once, as in muscle or fat,muscle; "
                f"found {found}. Choose others."
            )
        if self.plane not in (None, *PLANES):
            raise InputError(f"Expected a plane of {', '.join(PLANES)}, found {self.plane!r}. Choose one.")
        if self.window is not None and not is_range((self.window[0], self.window[1])):
            raise InputError(f"Expected a window in HU, its lower limit first, found {self.window}. Swap them.")


class Learned(Tuned):
    """A network that was learned whole: there is nothing between where it began and where it is."""

    def __init__(self, model: Model) -> None:
        self.model, self.parameters, self.start, self.tuned = model, {}, {}, {}


def fresh_card(origin: ModelCard, name: str, structure: Structure) -> ModelCard:
    """The card of a model of the origin's architecture for the new labels."""
    labels = tuple(
        Label(value, one, re.sub(r"[-_]", " ", one).capitalize(), COLOURS[(value - 1) % len(COLOURS)])
        for value, one in enumerate(structure.ids, start=1)
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


def begun(origin: Model, card: ModelCard, volume: Volume, seed: int) -> Model:
    """A model to learn with, for slices as fine as those of the volume: the origin's weights wherever they fit."""
    torch.manual_seed(seed)
    spec = card.networks[0]
    network = networks.build(spec.name, dict(spec.arguments))
    own = network.state_dict()
    fitting = {k: v for k, v in origin.networks[0].state_dict().items() if v.shape == own[k].shape}
    network.load_state_dict(own | fitting)
    made = replace(card, input=replace(card.input, spacing=in_plane(volume, card.input)))
    return Model(made, origin.folder, (networks.place(network, origin.device),), origin.device, origin.bf16)


def in_plane(volume: Volume, spec: InputSpec) -> float | None:
    """Millimetres a pixel of the volume's slices, None where they are not known."""
    if not volume.real_spacing:
        return None
    spacing = in_order(volume.geometry.spacing[::-1], orient(volume.geometry, spec.plane)[0])
    return round(float(np.sqrt(spacing[1] * spacing[2])), 4)


def learn(
    model: Model,
    cases: Sequence[tuple[Volume, Sequence[Seed]]],
    options: FinetuneOptions,
    progress: Progress = no_progress,
    *,
    clock: Clock | None = None,
    reserve: float = 1.5,
    later: int = 0,
    keep: Keep = forget,
    note: Note = unheard,
) -> Finetuned:
    """The model of `begun`, its weights learned; its verdict is "new", for there is nothing to be compared with. The
    arguments are those of `finetune`; where enough SEEDs are there, a third of the time goes without one in four, and
    `seeds` tells the Dice on those.

    Raises: InputError for a label that no SEED shows, or a budget that is too short; DeviceError when memory runs out;
    Cancelled.
    """
    clock = clock or Clock(options.budget)
    network = model.networks[0]
    advice = "Not enough memory to learn. Close other programs, or use fewer SEED slices."
    with limited_threads(options.threads), memory_errors(advice):
        progress("prepare", 0.0)
        marked = []
        for volume, seeds in cases:
            fitting = [for_model(seed, model.card) for seed in seeds]
            marked.append(mark(volume, fitting, model.card.input, network.multiple))
        _check_labels(marked, model.card)
        start = {name: value.clone() for name, value in network.state_dict().items()}
        began = clock.used
        count = estimate(model, marked)
        each = (clock.used - began) / count
        reserve += 1.2 * each * (count + later)
        if clock.used + 2 * reserve >= options.budget:
            raise InputError(
                f"Expected a budget that leaves time to learn, found {options.budget:g} s, of which preparing takes "
                f"{clock.used + reserve:.0f} s. Allow {3 * (clock.used + reserve):.0f} s."
            )
        left_out = _left_out(model, marked, start, options, clock, reserve, progress, note)
        learned = Learned(model)
        quarter = 0

        def watch(share: float, loss: float) -> None:
            nonlocal quarter
            if share * 4 >= quarter + 1 and share < 1.0:
                quarter = int(share * 4)
                keep(learned, 1.0)
            step_done(share, loss)

        step_done = told(progress, note, "tune", 0.0, 1.0)
        steps = fit(model, marked, start, options.seed, clock.until(1.0, reserve), watch)
    after = np.array([one.after[-1] for one in left_out])
    seen = Change(np.zeros(len(after)), after)
    nothing = Change(np.zeros(0), np.zeros(0))
    notes = () if left_out else ("Too few SEED slices to leave one out: look at the result before you trust it.",)
    return Finetuned(model, learned, tuple(marked), 1.0, "new", seen, nothing, "none", left_out, steps, notes)


def _check_labels(cases: Sequence[Marked], card: ModelCard) -> None:
    """Raise InputError for a label that no SEED shows."""
    shown = {int(v) for case in cases for truth in case.truth.values() for v in np.unique(truth)}
    for number, label in enumerate(card.labels, start=1):
        if number not in shown:
            raise InputError(
                f"Expected {label.id} (value {label.value}) in at least one SEED slice, found it in none. Mark a slice "
                "that shows it, or leave the label out."
            )


def fit(
    model: Model,
    cases: Sequence[Marked],
    start: dict[str, Tensor],
    seed: int,
    seconds: float,
    step_done: Callable[[float, float], None],
    without: Sequence[tuple[int, int]] = (),
) -> int:
    """Learn from the SEEDs but those `without` (number of the case, slice), from the start weights, for so many
    seconds; the number of steps. The network is then in evaluation mode with statistics of the volumes."""
    began = time.perf_counter()
    network = model.networks[0]
    network.load_state_dict(start)
    network.train()
    shown = []
    for number, case in enumerate(cases):
        if slices := [k for k in sorted(case.truth) if (number, k) not in without]:
            truth = torch.from_numpy(np.stack([case.truth[k] for k in slices]))
            shown.append((case, case.images(slices), truth))
    sizes = np.array([len(truth) for _, _, truth in shown], dtype=float)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE)
    random, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    step, share = 0, 0.0
    while share < 1.0:
        share = min(max((time.perf_counter() - began) / seconds, (step + 1) / STEPS), 1.0)
        optimizer.param_groups[0]["lr"] = RATE * min(1.0, (step + 1) / 10) * (0.02 + 0.98 * cosine(share))
        case, images, truth = shown[int(random.choice(len(shown), p=sizes / sizes.sum()))]
        chosen = random.integers(len(truth), size=BATCH)
        image, classes = changed(images[chosen], truth[chosen], model.card.input, generator)
        image, classes = windows(image.clamp(*case.prepared.clip), classes, network.multiple, random)
        loss = loss_of(logits_of(model, image), classes.to(model.device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        step += 1
        step_done(share, float(loss.detach()))
    estimate(model, cases)
    return step


def logits_of(model: Model, images: Tensor) -> Tensor:
    """Logits float32 (n, 1 + labels, h, w) of images, by the network in the mode that it is in."""
    placed = images.to(model.device).contiguous(memory_format=torch.channels_last)
    with torch.autocast(model.device, torch.bfloat16, enabled=model.bf16):
        logits: Tensor = model.networks[0](placed)
    return logits.float()


def windows(images: Tensor, truth: Tensor, multiple: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A window of each image (n, channels, h, w) and of its classes (n, h, w)."""
    places = [window(one, WINDOW, multiple, random) for one in truth]
    parts = [image[:, rows, columns] for image, (rows, columns) in zip(images, places, strict=True)]
    return torch.stack(parts), torch.stack([one[place] for one, place in zip(truth, places, strict=True)])


@torch.no_grad()
def estimate(model: Model, cases: Sequence[Marked]) -> int:
    """Make the batch statistics anew from slices of the volumes, marked or not, and leave the network in evaluation
    mode; the number of slices."""
    network = model.networks[0].eval()
    norms = [m for m in network.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    count = 0
    for case in cases:
        there = np.flatnonzero(case.prepared.occupied)
        chosen = there[np.unique(np.linspace(0, len(there) - 1, min(STATISTICS, len(there))).round().astype(int))]
        for k in range(0, len(chosen), 8):
            logits_of(model, case.images([int(one) for one in chosen[k : k + 8]]))
        count += len(chosen)
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum
    network.eval()
    return max(count, 1)


def _left_out(
    model: Model,
    cases: Sequence[Marked],
    start: dict[str, Tensor],
    options: FinetuneOptions,
    clock: Clock,
    reserve: float,
    progress: Progress,
    note: Note,
) -> tuple[LeftOut, ...]:
    """How a quarter of the SEEDs come out where a third of the time goes without them; none where they are too few."""
    every = [(number, k) for number, case in enumerate(cases) for k in sorted(case.truth)]
    chosen = every[1::4]
    if len(every) - len(chosen) < FEWEST_LEFT:
        return ()
    fit(model, cases, start, options.seed, clock.until(1 / 3, reserve), told(progress, note, "check", 0.0, 1.0), chosen)
    found = []
    for number, k in chosen:
        case = cases[number]
        with torch.inference_mode():
            logits = logits_of(model, case.images([k]))
            truth = torch.from_numpy(case.truth[k][None]).to(model.device)
            score = float(dices(decide(logits, model.card.calibration), truth, len(model.card.labels), False)[0])
        others = tuple(one for one in sorted(case.truth) if (number, one) not in chosen)
        found.append(LeftOut(number, k, 0.0, (score,) * len(ALPHAS), logits[0].cpu().numpy(), others))
    return tuple(found)
