"""The volumes of the scene as cases: by the files that they were read from. No Qt."""

from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from medtl.errors import InputError
from medtl.worklist.find import Found, named

from ..mrml.views import LABEL_MAP
from .nodes import file_of


def cases_of_scene() -> tuple[tuple[Found, ...], tuple[str, ...]]:
    """The images of the scene that were read from a file or are in Slicer's DICOM database, and the names of those that
    are not.

    Raises: InputError when there is none.
    """
    found, without = [], []
    for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
        if node.IsA(LABEL_MAP) or node.GetHideFromEditors():
            continue
        path, series = file_of(node), ""
        if path is None:
            path, series = _series_of(node)
        if path is None:
            without.append(node.GetName())
        else:
            found.append(Found((path,), node.GetName(), series))
    if not found:
        names = ", ".join(without) or _("no volume")
        text = _("Expected loaded volumes that were read from files, found {names}. Load or save them first.")
        raise InputError(text.format(names=names))
    return named(found, Path()), tuple(without)


def _series_of(node: Any) -> tuple[Path | None, str]:
    """The folder and the UID of the DICOM series that a volume was loaded from; None and nothing where that is not
    known."""
    database = getattr(slicer, "dicomDatabase", None)
    uids = (node.GetAttribute("DICOM.instanceUIDs") or "").split()
    if database is None or not database.isOpen or not uids:
        return None, ""
    file, series = database.fileForInstance(uids[0]), database.instanceValue(uids[0], "0020,000e")
    return (Path(file).parent, str(series)) if file and Path(file).is_file() and series else (None, "")
