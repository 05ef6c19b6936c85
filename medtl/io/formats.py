"""The readers of headers, by the kind of file."""

from collections.abc import Callable, Mapping
from pathlib import Path

from .files import naming, not_readable
from .header import Header
from .meta_image import read_meta_image_header
from .nifti import read_nifti_header
from .nrrd import read_nrrd_header

HEADER_READERS: Mapping[str, Callable[[Path], Header]] = {
    "NRRD": read_nrrd_header,
    "MetaImage": read_meta_image_header,
    "NIfTI": read_nifti_header,
}


def read_header(path: Path, kind: str) -> Header:
    """The checked header of a file of this kind (`files.kind_of`).

    Raises: InputError when it states what cannot be or what is not supported, or the file cannot be read.
    """
    try:
        with naming(path):
            return HEADER_READERS[kind](path)
    except OSError as error:
        raise not_readable(path, error) from error
