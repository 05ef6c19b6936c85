"""Where the results of a list go, chosen once: beside each image, in one folder, or as derivatives of a BIDS data set.

BIDS: https://bids-specification.readthedocs.io, "Common principles" and "Imaging derivatives: segmentations". The
`.seg.nrrd` is what MedTL reads again, with names, tags and SEED marks; the `_dseg.nii.gz` and `.tsv` beside it are what
BIDS tools read.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..io.files import stem_of
from .case import BESIDE, FOLDER

SUFFIX = ".seg.nrrd"
DERIVATIVES = Path("derivatives", "medtl")  # below a BIDS data set
DATATYPES = ("anat", "dwi", "func", "perf", "pet", "fmap")
NAME = re.compile(r"(?P<entities>sub-[A-Za-z0-9]+(?:_[a-z]+-[A-Za-z0-9+]+)*)_(?P<suffix>[A-Za-z0-9]+)")


@dataclass(frozen=True)
class BidsName:
    """The name of a BIDS image: `entities` as sub-01_ses-2_run-1, and its suffix, as FLAIR."""

    entities: str
    suffix: str

    @property
    def folder(self) -> Path:
        """The folder of its subject and session, as sub-01/ses-2."""
        parts = [part for part in self.entities.split("_") if part.startswith(("sub-", "ses-"))]
        return Path(*parts[:2])


def bids_name(image: Path) -> BidsName | None:
    """What the name of a BIDS image says; None where it is none."""
    found = NAME.fullmatch(stem_of(image))
    return None if found is None else BidsName(found["entities"], found["suffix"])


def result_of(name: str, image: Path, places: str, root: Path) -> Path:
    """The file for the segmentation of the case of this name and first image; `root` is the folder of the list. Beside
    a DICOM folder is the folder that it lies in, except where the list itself is in it.

    Raises: InputError where BIDS is chosen and the image has no BIDS name.
    """
    if places == BESIDE and os.path.normpath(image) != os.path.normpath(root):
        return image.parent / f"{name}{SUFFIX}"
    if places in (BESIDE, FOLDER):
        return root / f"{name}{SUFFIX}"
    called = bids_name(image)
    if called is None:
        raise InputError(
            f"Expected images named as BIDS has it (sub-01_FLAIR.nii.gz), found {image}. Choose another place for the "
            "results."
        )
    datatype = image.parent.name if image.parent.name in DATATYPES else DATATYPES[0]
    return root / called.folder / datatype / f"{called.entities}_desc-{called.suffix}_dseg{SUFFIX}"


def is_bids(result: Path) -> bool:
    """True for the result of a case that BIDS tools read, too."""
    return result.name.endswith(f"_dseg{SUFFIX}")
