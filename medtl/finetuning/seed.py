"""SEED slices: slices that the user marked as right as a whole. A model is tuned on them alone.

A list of them is two files, `NAME.json` (what and where) and `NAME.npz` (the masks). A mask is uint16: 0 is background,
n the n-th of the SEED's `labels`, IGNORE a pixel of unknown class.
"""

import hashlib
import json
import math
import time
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..errors import InputError
from ..io.limits import check_regular, open_zip
from ..io.write import write_whole
from ..labels import label_numbers
from ..model.card import ModelCard
from ..planes import PLANES
from ..volume import Labelmap, Volume, array_axis

IGNORE = 65535
SCHEMA = 1
# Ceilings of a list, compared with what its files state before anything is read.
MAX_LIST_BYTES = 32_000_000
MAX_SEEDS = 20_000
MAX_MASK_PIXELS = 8192 * 8192
MAX_MASKS_BYTES = 1_000_000_000


@dataclass(frozen=True)
class Seed:
    """One SEED slice. `mask` uint16 (rows, columns) has the classes of the image's array at `index` (0-based) along the
    array axis nearest the normal of `plane`; `labels` are label ids; `sha256` is that of the image's voxels, `image`
    its path; `time` is when it was marked, ISO 8601 in UTC. Of a model of several channels, `image` is that of the
    first, on whose grid the mask lies, and `channels` are the paths of the others.

    Raises: InputError when the mask holds what `labels` does not name, or index, plane or labels cannot be.
    """

    case: str
    image: Path
    sha256: str
    plane: str
    index: int
    labels: tuple[str, ...]
    mask: np.ndarray
    time: str = ""
    channels: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        top = int(self.mask[self.mask != IGNORE].max(initial=0))
        count = len(self.labels)
        if self.mask.ndim != 2 or self.plane not in PLANES or self.index < 0 or top > count:
            raise InputError(
                f"Expected a SEED slice in one of the planes {', '.join(PLANES)} with {count} labels, found "
                f"the plane {self.plane!r}, slice {self.index} and the value {top}. Mark the slice again."
            )
        if len(set(self.labels)) < count or count >= IGNORE:
            raise InputError(f"Expected each label of a SEED slice once, found {count} with repeats. Mark it again.")


def seeds_of(
    labelmap: Labelmap,
    card: ModelCard,
    image: Path,
    sha256: str,
    slices: Sequence[int] | None,
    when: str = "",
    channels: tuple[Path, ...] = (),
) -> tuple[Seed, ...]:
    """The SEEDs of a case: these slices of its labelmap, or (None) every slice that holds a label. Each label's segment
    is taken whole (see `medtl.labels`), also where a segment that is not the model's overlaps it.

    Raises: InputError when there is no such slice, two labels overlap, or the labels are not those of the model.
    """
    classes = label_numbers(labelmap, card)
    others = np.where(classes > 0, 0, labelmap.array)
    axis = array_axis(labelmap.geometry, card.input.plane)
    planes, other_planes = np.moveaxis(classes, axis, 0), np.moveaxis(others, axis, 0)
    filled = planes.any(axis=(1, 2)) | other_planes.any(axis=(1, 2))
    chosen = [int(k) for k in np.flatnonzero(filled)] if slices is None else sorted(set(slices))
    if len(chosen) == 0:
        raise InputError(f"Expected at least one SEED slice, found no label in that of {image.name}. Mark a slice.")
    if not 0 <= chosen[0] <= chosen[-1] < len(planes):
        raise InputError(
            f"Expected slices from 0 to {len(planes) - 1} of {image.name} ({card.input.plane}), "
            f"found {chosen[0]} to {chosen[-1]}. Correct the numbers."
        )
    ids = tuple(label.id for label in card.labels)
    names = {segment.value: f"the segment {segment.name}" for segment in labelmap.segments}
    stamp = when or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    seeds = []
    for k in chosen:
        if unknown := int(other_planes[k].max()):
            raise InputError(
                f"Expected the labels {', '.join(ids)} of {card.name} in slice {k} of {image.name}, found "
                f"{names.get(unknown, f'the value {unknown}')} too. Remove that label, or give it the model's name."
            )
        seeds.append(Seed(image.name, image, sha256, card.input.plane, k, ids, planes[k].copy(), stamp, channels))
    return tuple(seeds)


def check_place(seed: Seed, volume: Volume) -> None:
    """Raise InputError when the SEED is not a slice of the volume."""
    shape = list(volume.geometry.shape)
    count = shape.pop(array_axis(volume.geometry, seed.plane))
    if seed.index >= count:
        raise InputError(
            f"Expected SEED slices from 0 to {count - 1} of {seed.case} ({seed.plane}), found {seed.index}. "
            "Mark the slices again."
        )
    if seed.mask.shape != tuple(shape):
        rows, columns = seed.mask.shape
        raise InputError(
            f"Expected SEED masks of {shape[0]} x {shape[1]} pixels, as the {seed.plane} slices of {seed.case}, found "
            f"{rows} x {columns} in slice {seed.index}. Mark the slices again."
        )


def by_image(seeds: Iterable[Seed]) -> dict[str, list[Seed]]:
    """The SEEDs by the SHA-256 of their image, in order of slices; of two of one slice the later counts."""
    groups: dict[str, dict[tuple[str, int], Seed]] = {}
    for seed in seeds:
        groups.setdefault(seed.sha256, {})[seed.plane, seed.index] = seed
    return {sha256: [group[place] for place in sorted(group)] for sha256, group in groups.items()}


def write_seeds(path: Path, seeds: Sequence[Seed]) -> None:
    """Write `path` (.json) and the masks beside it (.npz). A write that is cut short leaves the old list readable.

    Raises: InputError when they cannot be written.
    """
    masks = {hashlib.sha256(s.mask.tobytes()).hexdigest(): s.mask for s in seeds}
    old: dict[str, np.ndarray] = {}
    if path.exists():
        old = {hashlib.sha256(s.mask.tobytes()).hexdigest(): s.mask for s in read_seeds(path)}
    records = [
        {
            "case": s.case,
            "image": _relative(s.image, path.parent),
            "sha256": s.sha256,
            "plane": s.plane,
            "index": s.index,
            "labels": list(s.labels),
            "time": s.time,
            "mask": hashlib.sha256(s.mask.tobytes()).hexdigest(),
            **({"channels": [_relative(image, path.parent) for image in s.channels]} if s.channels else {}),
        }
        for s in seeds
    ]
    text = json.dumps({"schema": SCHEMA, "seeds": records}, indent=1)
    # The masks first, those of the old list among them: whichever list is read then finds its own.
    write_whole(path.with_suffix(".npz"), lambda part: _save_masks(part, old | masks))
    write_whole(path, lambda part: part.write_text(text + "\n", encoding="utf-8"))


def _save_masks(part: Path, masks: dict[str, np.ndarray]) -> None:
    with part.open("wb") as stream:
        np.savez_compressed(stream, **masks)  # type: ignore[arg-type]  # names are not options


def _relative(image: Path, folder: Path) -> str:
    """The image's path as the list has it: relative where it lies in or below the list's folder."""
    absolute = image.absolute()
    if absolute.is_relative_to(folder.absolute()):
        return absolute.relative_to(folder.absolute()).as_posix()
    return str(absolute)


def read_seeds(path: Path) -> tuple[Seed, ...]:
    """The SEEDs of a list (.json), their images as paths.

    Raises: InputError when it is missing, damaged, larger than the ceilings of this module or of a newer MedTL.
    """
    try:
        check_regular(path)
        if path.stat().st_size > MAX_LIST_BYTES:
            raise ValueError(f"{path.stat().st_size // 10**6} MB, more than {MAX_LIST_BYTES // 10**6}")
        listed = json.loads(path.read_text(encoding="utf-8"))
        if type(listed["schema"]) is not int or listed["schema"] != SCHEMA:
            raise InputError(f"{path} is of schema {listed['schema']}, this MedTL reads {SCHEMA}. Update MedTL.")
        records = listed["seeds"]
        if len(records) > MAX_SEEDS:
            raise ValueError(f"{len(records)} SEEDs, more than {MAX_SEEDS}")
        masks = _read_masks(path.with_suffix(".npz"), [str(record["mask"]) for record in records])
        return tuple(_seed(record, masks[str(record["mask"])], path.parent) for record in records)
    except _DAMAGE as error:
        reason = getattr(error, "strerror", None) or f"{type(error).__name__} {error}"
        raise InputError(
            f"Expected a list of SEEDs (.json with its .npz beside it), found {path}, not readable: {reason}. "
            "Mark the slices again."
        ) from error


# What a file that is not a list of SEEDs may raise.
_DAMAGE = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, EOFError, MemoryError),
    *(RecursionError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error),
)


def _read_masks(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The masks of these names, one for each SEED. The size that a mask's header states is compared with the size that
    the archive states, and both with the ceilings, before its pixels are read.

    Raises: ValueError and others of _DAMAGE.
    """
    masks = {}
    with open_zip(path) as archive:
        members = {name: archive.getinfo(f"{name}.npy") for name in set(names)}
        if sum(members[name].file_size for name in names) > MAX_MASKS_BYTES:
            raise ValueError(f"masks of more than {MAX_MASKS_BYTES // 10**6} MB")
        for name, member in members.items():
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError("masks compressed in another way than NumPy does")
            with archive.open(member) as stream:
                masks[name] = _read_mask(stream, member.file_size)
    return masks


def _read_mask(stream: IO[bytes], size: int) -> np.ndarray:
    """A mask in NumPy's format, of this size in bytes."""
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("a mask in another format than NumPy's 1.0")
    shape, by_columns, dtype = np.lib.format.read_array_header_1_0(stream)
    pixels = math.prod(shape)
    if len(shape) != 2 or dtype != np.uint16 or not 0 < pixels <= MAX_MASK_PIXELS:
        raise ValueError(f"a mask of the shape {shape} and the type {dtype}, expected two dimensions of uint16")
    if stream.tell() + pixels * dtype.itemsize != size:
        raise ValueError(f"a mask of {size} bytes for the shape {shape}")
    values = np.frombuffer(stream.read(pixels * dtype.itemsize), dtype)
    return values.reshape(shape, order="F" if by_columns else "C").astype(np.uint16)


def _seed(record: dict[str, Any], mask: np.ndarray, folder: Path) -> Seed:
    index, names, further = record["index"], record["labels"], record.get("channels", [])
    lists = isinstance(names, list) and isinstance(further, list)
    if type(index) is not int or not lists or any("\0" in str(path) for path in (record["image"], *further)):
        raise ValueError(f"the slice {str(index)[:40]!r}, the labels {str(names)[:40]!r} or a path that cannot be")
    channels = tuple(folder / str(path) for path in further)
    case, sha256, plane, when = (str(record[name]) for name in ("case", "sha256", "plane", "time"))
    labels = tuple(map(str, names))
    return Seed(case, folder / str(record["image"]), sha256, plane, index, labels, mask, when, channels)


def for_model(seed: Seed, card: ModelCard) -> Seed:
    """The SEED with its mask's values in the order of the model's labels.

    Raises: InputError when it is of another plane or names a label that the model lacks, or lacks one of the model's.
    """
    ids = tuple(label.id for label in card.labels)
    if seed.plane != card.input.plane or set(seed.labels) != set(ids):
        raise InputError(
            f"Expected SEEDs in {card.input.plane} slices with the labels {', '.join(ids)} of {card.name}, found "
            f"{seed.plane} ones with {', '.join(seed.labels) or 'none'} of {seed.case}. Choose the model they are for."
        )
    table = np.arange(IGNORE + 1, dtype=np.uint16)
    for number, name in enumerate(seed.labels, start=1):
        table[number] = ids.index(name) + 1
    return replace(seed, labels=ids, mask=table[seed.mask])
