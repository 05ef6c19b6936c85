"""The tags that MedTL puts on segments."""

from typing import Any

import vtk

MODEL_TAG = "MedTL.model"


def tag_of(segment: Any, name: str) -> str:
    """The segment's tag, empty where it has none."""
    value = vtk.reference("")
    return str(value) if segment.GetTag(name, value) else ""


PROTECTED_TAG = "MedTL.locked"
