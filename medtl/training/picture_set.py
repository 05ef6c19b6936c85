"""Pictures to train a classifier on: from files to arrays in their frames, and to augmented batches."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as functional
from scipy import ndimage
from torch import Tensor

from ..cases import ClassifiedFile
from ..classification.frames import BODY, frame_slice, resample_to_frame
from ..errors import InputError
from ..io import read
from ..io.isolated import Reader
from ..progress import Progress, no_progress
from ..volume import voxels_sha256
from .augment import Augmentation, augment, choose_randomly, uniform
from .recipe import named_warnings

SCALP = 0.075  # of the frame's side: about how thick skull and scalp are
FORMAT = 3  # of the cache; raise it when the preparation of a picture changes
FINEST = 4.0  # no detail is made more than so many times stronger or weaker


@dataclass(frozen=True)
class Pictures:
    """Pictures in their frames, all (n, side, side): `images` uint8, 0 for air; `tumours` bool, empty without a mask;
    `inner` bool, the head without its rim. `classes` are class numbers (n,), `sha256` hashes of the voxels, and
    `warnings` those of reading, each after the case's name."""

    images: np.ndarray
    tumours: np.ndarray
    inner: np.ndarray
    classes: np.ndarray
    files: tuple[ClassifiedFile, ...]
    sha256: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    def of(self, chosen: Sequence[bool] | np.ndarray) -> "Pictures":
        """The pictures for which `chosen` (n,) is True, with all warnings."""
        rows = np.flatnonzero(chosen)
        files, hashes = tuple(self.files[i] for i in rows), tuple(self.sha256[i] for i in rows)
        images, tumours, inner, classes = self.images[rows], self.tumours[rows], self.inner[rows], self.classes[rows]
        return Pictures(images, tumours, inner, classes, files, hashes, self.warnings)


@dataclass(frozen=True)
class PreparedPicture:
    """One picture, as `Pictures` has them."""

    image: np.ndarray
    tumour: np.ndarray
    inner: np.ndarray
    sha256: str
    warnings: tuple[str, ...]


def prepare_pictures(
    cases: Sequence[ClassifiedFile],
    ids: Sequence[str],
    side: int,
    cache: Path,
    progress: Progress = no_progress,
    reader: Reader = read,
) -> Pictures:
    """All pictures in their frames, from the cache where it is up to date.

    Raises: InputError for one that cannot be read or shows nothing, or whose mask is of another size.
    """
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / f"pictures-{side}.npz"
    files = [file for case in cases for file in (case.image, case.mask) if file is not None]
    key = json.dumps([FORMAT, side, [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files]])
    classes = np.array([ids.index(case.label) for case in cases])
    if (cached := load_pictures(path, key, classes, cases)) is not None:
        return cached
    ready = []
    for number, case in enumerate(cases):
        progress("prepare", number / len(cases))
        ready.append(prepare_picture(case, side, reader))
    pictures = Pictures(
        np.stack([picture.image for picture in ready]),
        np.stack([picture.tumour for picture in ready]),
        np.stack([picture.inner for picture in ready]),
        classes,
        tuple(cases),
        tuple(picture.sha256 for picture in ready),
        tuple(
            text
            for case, picture in zip(cases, ready, strict=True)
            for text in named_warnings(case.case, picture.warnings)
        ),
    )
    store_pictures(path, pictures, key)
    return pictures


def load_pictures(path: Path, key: str, classes: np.ndarray, cases: Sequence[ClassifiedFile]) -> Pictures | None:
    """The pictures of a cache file; None where there is none or it has another key."""
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as stored:
        if str(stored["key"]) != key:
            return None
        arrays = (stored["images"], stored["tumours"], stored["inner"])
        hashes, warnings = (tuple(stored[name].tolist()) for name in ("sha256", "warnings"))
        return Pictures(*arrays, classes, tuple(cases), hashes, warnings)


def store_pictures(path: Path, pictures: Pictures, key: str) -> None:
    """Write the pictures to a cache file, whole or not at all."""
    part = path.with_suffix(".part.npz")
    np.savez(
        part,
        images=pictures.images,
        tumours=pictures.tumours,
        inner=pictures.inner,
        sha256=np.array(pictures.sha256),
        warnings=np.array(pictures.warnings, dtype=np.str_),
        key=np.array(key),
    )
    part.replace(path)


def prepare_picture(case: ClassifiedFile, side: int, reader: Reader) -> PreparedPicture:
    """One picture, read and put into its frame."""
    volume = reader.read_volume(case.image)
    if len(volume.array) > 1:
        raise InputError(f"Expected pictures to train on, found a volume: {case.image}. List single slices.")
    frame = frame_slice(volume.array[0], side)
    if frame is None:
        raise InputError(f"Expected a picture that shows a head, found an empty one: {case.image}. Remove it.")
    tumour, warnings = np.zeros((side, side), bool), volume.warnings
    if case.mask is not None:
        labelmap = reader.read_labelmap(case.mask)
        mask, warnings = labelmap.array, (*warnings, *labelmap.warnings)
        if mask.shape != volume.array.shape:
            raise InputError(
                f"Expected the mask {case.mask} in the size of {case.image}, {volume.array.shape[1:]} rows and "
                f"columns, found {mask.shape[1:]}. Draw it on the picture itself."
            )
        tumour = resample_to_frame(mask[0] > 0, frame) > 0.5
    # A lower threshold than for the frame, to include bone and air cells; a margin, so that closing meets no edge.
    lit = np.pad(frame.image > 2 * BODY / 3 - 1, side // 8)
    head = ndimage.binary_fill_holes(ndimage.binary_closing(lit, iterations=side // 32))
    depth = ndimage.distance_transform_edt(np.pad(head, 1))[1:-1, 1:-1]
    inner = depth[side // 8 : -(side // 8), side // 8 : -(side // 8)] > SCALP * side
    image = np.rint((frame.image + 1) * 127.5).astype(np.uint8)
    return PreparedPicture(image, tumour, inner, voxels_sha256(volume.array), warnings)


def as_input(images: np.ndarray) -> Tensor:
    """The network's input for pictures (n, side, side): float32 (n, 1, side, side), -1 to 1."""
    return torch.from_numpy(images.astype(np.float32) / 127.5 - 1)[:, None].contiguous(
        memory_format=torch.channels_last
    )


def augmented_batches(
    pictures: Pictures, batch: int, changes: Augmentation, p_sharpness: float, seed: int
) -> Iterator[tuple[Tensor, tuple[Tensor, Tensor]]]:
    """Whole batches of augmented pictures, in another order for each seed: images (B, 1, side, side); their classes
    (B,) and tumour masks (B, side, side)."""
    random = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(pictures.images), generator=random).numpy()
    side = pictures.images.shape[1]
    for begin in range(0, len(order) - batch + 1, batch):
        drawn = order[begin : begin + batch]
        image = torch.from_numpy(pictures.images[drawn].astype(np.float32) / 255)[:, None]
        image = sharp_as_another(image, p_sharpness, random)
        tumour, inner = (
            torch.from_numpy(part[drawn].astype(np.float32)) for part in (pictures.tumours, pictures.inner)
        )
        image, tumour = augment(image, tumour, inner, (side, side), changes, random)
        yield (image * 2 - 1).clamp(-1, 1), (torch.from_numpy(pictures.classes[drawn]), tumour)


def sharp_as_another(image: Tensor, probability: float, random: torch.Generator) -> Tensor:
    """The pictures (B, 1, side, side), some as sharp or as noisy as another one of the batch, or partly so: their
    spectrum, averaged over directions, is moved towards that of the other.

    Sharpness would reveal the class where pictures of a class come from one scanner. Source: Xu et al. 2021 (amplitudes
    of another picture), here averaged over directions, so that nothing of the other's shape is copied.
    """
    side = image.shape[-1]
    steps = torch.fft.fftfreq(side, 1 / side)
    ring = torch.hypot(steps[:, None], steps[None]).round().long().flatten()
    spectrum = torch.fft.fft2(image[:, 0])
    strength = torch.zeros(len(image), int(ring.max()) + 1)
    strength.index_add_(1, ring, spectrum.abs().flatten(1))
    strength = (strength / torch.bincount(ring)).clamp_min(1e-6).log()
    # A spectrum is rough from ring to ring; differences between scanners are smooth.
    strength = functional.avg_pool1d(functional.pad(strength[:, None], (4, 4), mode="replicate"), 9, 1)[:, 0]
    other = strength[torch.randperm(len(image), generator=random)]
    share = (uniform(image, random) * choose_randomly(image, probability, random)).flatten(1)
    gain = (share * (other - strength)).clamp(-np.log(FINEST), np.log(FINEST)).exp()
    gain[:, 0] = 1  # as bright on average as before
    changed = torch.fft.ifft2(spectrum * gain[:, ring].unflatten(1, (side, side))).real
    return torch.where(image > 0, changed[:, None].clamp(0, 1), 0)
