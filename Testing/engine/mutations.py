"""Broken copies of small files, for tests and benchmarks of the readers: only a MedTLError may come out of them."""

import gzip
import json
import re
import struct
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import SimpleITK as sitk
from dicom_series import Slice, write_slice
from PIL import Image

from medtl.cases import read_cases
from medtl.errors import MedTLError
from medtl.finetuning.seed import Seed, read_seeds, write_seeds
from medtl.io.read import read_labelmap, read_volume
from medtl.io.write import write_image, write_labelmap
from medtl.model.card import METADATA, load_card
from medtl.model.store import shipped_folders
from medtl.volume import Geometry, Labelmap, Segment, to_sitk

GRID = Geometry((5, 4, 3), (0.7, 0.8, 2.0), (1.0, 2.0, 3.0), (0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, -1.0))
NOISE = np.random.default_rng(0).integers(0, 200, (3, 4, 5)).astype(np.int16)
ODD_NUMBERS = (
    *(b"0", b"-1", b"1e308", b"-1e308", b"1e-308", b"nan", b"inf", b"99999999999999999999", b"2147483648"),
    *(b"65536", b"%n", b"%s", b"%300d", b"", b"1_0", b"\xff\xfe", b"0x10", b"(1,2", b"none", b"12", b"../x"),
)
ODD_BYTES = tuple(
    struct.pack(code, value)
    for code, value in (
        *(("<h", n) for n in (0, -1, 32767, 5)),
        *(("<i", n) for n in (-1, 2**31 - 1)),
        *((code, v) for code in ("<f", "<d") for v in (float("nan"), float("inf"), 1e30, -1.0, 0.0)),
        ("<q", 2**62),
    )
)


@dataclass(frozen=True)
class Target:
    """A valid input and what reads it; one of its files is broken at a time."""

    name: str
    files: tuple[tuple[str, bytes], ...]
    read: Callable[[Path], object]

    @property
    def path(self) -> str:
        """The file, or the folder, that is read."""
        return self.files[0][0]


def targets(folder: Path) -> Iterator[Target]:
    """Small valid inputs of every kind that is read from files, made in the folder."""
    image = to_sitk(NOISE, GRID)
    for name in ("raw.nrrd", "a.mha", "a.nii", "a.nhdr", "a.mhd"):
        sitk.WriteImage(image, str(folder / name))
    for name in ("packed.nrrd", "packed.mha", "packed.nii.gz"):
        sitk.WriteImage(image, str(folder / name), True)
    sitk.WriteImage(sitk.JoinSeries([image, image + 1]), str(folder / "4d.nii"))
    write_image(folder / "vector.nrrd", np.stack([NOISE, NOISE + 1]), GRID)
    text = (folder / "raw.nrrd").read_bytes().replace(b"encoding: raw", b"encoding: ascii").partition(b"\n\n")[0]
    (folder / "text.nrrd").write_bytes(text + b"\n\n" + " ".join(str(v) for v in NOISE.ravel()).encode())
    stored = gzip.compress((folder / "a.nii").read_bytes(), 0)  # changed bytes change the header, not the code
    (folder / "stored.nii.gz").write_bytes(stored)
    for name in ("raw.nrrd", "packed.nrrd", "text.nrrd", "vector.nrrd", "a.mha", "packed.mha", "a.nii", "4d.nii"):
        yield _target(folder, name, _frame_and_component)
    for name in ("packed.nii.gz", "stored.nii.gz"):
        yield _target(folder, name, read_volume)
    yield _target(folder, "a.nhdr", read_volume, "a.raw")
    yield _target(folder, "a.mhd", read_volume, "a.raw")
    segments = (Segment(1, "m.a", "A", (0.9, 0.2, 0.1), "x~y^z"), Segment(2, "m.b", "B"))
    write_labelmap(folder / "a.seg.nrrd", Labelmap((NOISE % 3).astype(np.uint8), GRID, segments))
    yield _target(folder, "a.seg.nrrd", read_labelmap)
    pixels = np.random.default_rng(1).integers(0, 255, (8, 9)).astype(np.uint8)
    for suffix in ("png", "jpg", "tif", "bmp", "webp"):
        Image.fromarray(pixels).save(folder / f"a.{suffix}")
        yield _target(folder, f"a.{suffix}", _frame_and_component)
    write_slice(folder / "a.dcm", Slice(extra={"RescaleSlope": 2, "RescaleIntercept": -1, "SliceThickness": 2}))
    yield _target(folder, "a.dcm", read_volume)
    seed = Seed("c", Path("a.nrrd"), "0" * 64, "axial", 1, ("a",), np.array([[0, 1], [65535, 0]], np.uint16))
    write_seeds(folder / "seeds.json", [seed])
    yield _target(folder, "seeds.json", read_seeds, "seeds.npz")
    (folder / "cases.csv").write_text("image,label,patient\nraw.nrrd,a.seg.nrrd,p\n", encoding="utf-8")
    yield _target(folder, "cases.csv", read_cases, "raw.nrrd", "a.seg.nrrd")
    card = (shipped_folders()[0] / "glioma-flair" / METADATA).read_bytes()
    yield Target("card", ((METADATA, json.dumps(json.loads(card)).encode()),), lambda path: load_card(path.parents[1]))


def _frame_and_component(path: Path) -> object:
    """The volume; of several, the first."""
    return read_volume(path, frame=0, component=0)


def _target(folder: Path, name: str, read: Callable[[Path], object], *others: str) -> Target:
    return Target(name, tuple((each, (folder / each).read_bytes()) for each in (name, *others)), read)


def mutated(data: bytes, random: Random) -> bytes:
    """A broken copy of the bytes: one to four changes, most of them in the first kilobyte, where headers are."""
    for _ in range(random.randint(1, 4)):
        end = max(1, min(len(data), 1024) if random.random() < 0.8 else len(data))
        at = random.randrange(end)
        length = random.choice((1, 2, 4, 8, 40))
        kind = random.randrange(7)
        if kind == 0:
            data = data[:at] + bytes(random.randrange(256) for _ in range(length)) + data[at + length :]
        elif kind == 1:
            data = data[:at] + data[at + length :]
        elif kind == 2:
            data = data[:at] + data[at : at + length] * random.choice((2, 3, 200)) + data[at + length :]
        elif kind == 3:
            data = data[:at] if random.random() < 0.3 else data + data[at:]
        elif kind == 4:
            odd = random.choice(ODD_BYTES)
            data = data[:at] + odd + data[at + len(odd) :]
        elif kind == 5:
            data = _with_odd_number(data, random)
        else:
            lines = data.split(b"\n")
            one, other = random.randrange(len(lines)), random.randrange(len(lines))
            lines[one], lines[other] = lines[other], lines[one] if random.random() < 0.5 else lines[other]
            data = b"\n".join(lines)
    return data


def _with_odd_number(data: bytes, random: Random) -> bytes:
    """The bytes with one number of their text replaced by one that cannot be."""
    words = list(re.finditer(rb"-?\d[\d.e+-]*", data[:2048]))
    if not words:
        return data
    word = random.choice(words)
    return data[: word.start()] + random.choice(ODD_NUMBERS) + data[word.end() :]


def attempt(target: Target, seed: int) -> str:
    """What a broken copy of the target gives: "read", or the message of the MedTLError. The seed repeats it.

    Raises: whatever else the reader raises.
    """
    random = Random(f"{target.name} {seed}")
    broken = random.randrange(len(target.files))
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, data) in enumerate(target.files):
            file = Path(folder) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(mutated(data, random) if number == broken else data)
        try:
            target.read(Path(folder) / target.path)
        except MedTLError as error:
            return str(error)
    return "read"
