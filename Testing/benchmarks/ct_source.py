"""Networks that know the liver in one set of CT slices: where `finetune_ct.py` begins."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medtl.cases import read_cases
from medtl.finetuning.features import SeedCase, augment_seeds, prepare_case
from medtl.finetuning.seed import Seed, seeds_of
from medtl.io.read import read_labelmap, read_volume
from medtl.model.bundle import Model, save_bundle
from medtl.model.card import InputSpec, Label, ModelCard, NetworkSpec
from medtl.model.networks import bf16_pays, build, parameter_count, place
from medtl.preprocess import resize
from medtl.progress import no_progress
from medtl.training.fit import CHECKPOINT, Fit, save_checkpoint, start, train_epoch
from medtl.volume import Geometry, Labelmap, Volume

LIVER = Label(1, "liver", "Liver")
SPEC = InputSpec(channels=("CT",), scaling="window", window=(0.0, 255.0))
# A few hundred steps on two dozen slices: half of the features, as MONAI drops them, would be too many.
NETWORKS: dict[str, dict[str, Any]] = {
    "vnet2d": {"dropout": 0.1},
    "unet2d": {"encoder": "tf_efficientnet_lite0"},
    "unetr2d": {"size": 192},
    "swinunetr2d": {},
}
TITLES = {"vnet2d": "VNet", "unet2d": "U-Net", "unetr2d": "UNETR", "swinunetr2d": "Swin-UNETR"}
# VNet's last layer is normalised, so its logits begin near 0 and grow as fast as the rate lets them.
RATES = {"vnet2d": 5e-3, "unet2d": 1.5e-3, "unetr2d": 5e-4, "swinunetr2d": 5e-4}


@dataclass(frozen=True)
class Patient:
    """All slices of a patient, one upon the other, and their livers as 0 and 1, (Z, Y, X)."""

    name: str
    volume: Volume
    truth: np.ndarray


Patients = list[Patient]


def load(folder: Path, side: int) -> Patients:
    """The patients of a set, their slices `side` pixels a side."""
    groups: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for case in sorted(read_cases(folder / "cases-image.csv"), key=lambda c: c.case):
        image, label = read_volume(case.image).array, read_labelmap(case.label).array == LIVER.value
        groups.setdefault(case.patient, []).append((resize(image, side, side), resize(label, side, side) > 0.5))
    found = []
    for name, slices in groups.items():
        image, truth = (np.concatenate(parts) for parts in zip(*slices, strict=True))
        volume = Volume(image, Geometry((side, side, len(image))), f"{folder.name} {name}", real_spacing=False)
        found.append(Patient(name, volume, truth.astype(np.uint16)))
    return found


def trained(name: str, patients: Patients, work: Path, epochs: int, encoder_weights: str | None) -> Model:
    """The network after its training on set a; goes on where an earlier run was. Its bundle is kept beside the run, for
    `finetune_muscle.py --model`."""
    arguments = {"channels": 1, "labels": 1, **NETWORKS[name]}
    weights = {"encoder_weights": encoder_weights} if name == "unet2d" and encoder_weights else {}
    torch.manual_seed(0)
    network = build(name, arguments | weights)
    card = ModelCard(
        f"liver-{name}", "1.0.0", "Liver in CT", "segmentation", (LIVER,), (NetworkSpec(name, arguments),), SPEC, name
    )
    cases = [prepare_case(p.volume, seeds_for(p, card), SPEC, network.multiple) for p in patients]
    images, truth = stacked(cases)
    options = Fit(epochs=epochs, batch=4, rate=RATES[name], average=0.98)
    folder = work / "-".join([name, str(epochs), str(images.shape[-1]), *(["pretrained"] if weights else [])])
    state = start(network, options, folder if (folder / CHECKPOINT).exists() else None)
    total = options.epochs * (len(images) // options.batch)
    while state.epoch < options.epochs:
        began = time.perf_counter()
        loss = train_epoch(state, batches(images, truth, options.batch, state.epoch), total, options, no_progress)
        state.epoch += 1
        state.history.append({"epoch": state.epoch, "loss": loss, "seconds": time.perf_counter() - began})
        save_checkpoint(folder, state)
    seconds = sum(entry["seconds"] for entry in state.history)
    print(
        f"{TITLES[name]}: {parameter_count(network) / 1e6:.1f} million weights, {len(images)} slices of "
        f"{len(patients)} patients, {seconds / 60:.1f} min of training, loss {state.history[-1]['loss']:.3f}",
        flush=True,
    )
    if not (folder / card.name).exists():
        note = "Liver in CT, of a benchmark. Not to be used."
        save_bundle(folder / card.name, card, state.averaged.state_dict(), note, note, {})
    placed = place(state.averaged.requires_grad_(True).eval(), "cpu")
    return Model(card, folder, (placed,), "cpu", bf16_pays(placed, 1))


def batches(images: Tensor, truth: Tensor, size: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Whole batches of changed slices and their classes, in another order each epoch."""
    random = torch.Generator().manual_seed(epoch)
    for some in torch.randperm(len(images), generator=random).split(size):
        if len(some) == size:
            image, classes = augment_seeds(images[some], truth[some], SPEC, random)
            yield image.clamp(-1, 1), classes.where(classes <= 1, 0)  # beyond the border is air


def stacked(cases: Sequence[SeedCase]) -> tuple[Tensor, Tensor]:
    """The SEEDs of all cases as the network sees them, and their classes."""
    images = torch.cat([case.images(sorted(case.truth)) for case in cases])
    return images, torch.from_numpy(np.stack([case.truth[k] for case in cases for k in sorted(case.truth)]))


def seeds_for(patient: Patient, card: ModelCard, count: int | None = None) -> tuple[Seed, ...]:
    """Slices of a patient as SEEDs: all, or the first `count`."""
    labels = Labelmap(patient.truth * np.uint16(LIVER.value), patient.volume.geometry)
    return seeds_of(labels, card, Path(patient.volume.name), patient.volume.name, range(len(patient.truth))[:count])
