"""Packs: what `medtl pack` collected for a computer without network, as the set-up page takes it. No Qt."""

from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import Requirement
from slicer.i18n import tr as _

from medtl.errors import InputError
from medtl.pack import MANIFEST, canonical, check_fits, read_pack


def source_of(chosen: str) -> Path:
    """The pack that was chosen: a .zip, or the folder of the pack.json."""
    path = Path(chosen)
    return path.parent if path.name == MANIFEST else path


def check_pack(path: Path, needed: Sequence[Requirement]) -> None:
    """Raise InputError when the pack is for another computer, is damaged so that this shows, or lacks a package."""
    pack = read_pack(path)
    check_fits(pack, path)
    if lacking := [each.name for each in needed if canonical(each.name) not in pack.packages]:
        text = _("Expected {names} in the pack, found none in {path}. Make one that has it by the command medtl pack.")
        raise InputError(text.format(names=", ".join(lacking), path=path))
