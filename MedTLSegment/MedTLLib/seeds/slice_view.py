"""The slice in the view that shows a model's plane. No Qt."""

from typing import Any

from slicer.i18n import tr as _

from medtl.errors import InputError
from medtl.model.card import ModelCard
from medtl.volume import slice_axis

from ..mrml import views
from ..mrml.scene import geometry_of
from . import marks


def view_of(volume: Any, card: ModelCard) -> Any:
    """The slice view that counts; None where none looks along the normal of the model's plane."""
    return views.view_along(volume, _axis(volume, card))


def slice_of(volume: Any, card: ModelCard) -> int | None:
    """The slice of the volume in the view that counts; None where there is no such view, or it is beyond the volume."""
    node = view_of(volume, card)
    try:
        return marks.slice_at(volume, card, views.middle_of(node)) if node is not None else None
    except InputError:
        return None


def turn(volume: Any, card: ModelCard) -> bool:
    """Turn the views to the volume's planes where the view that counts crosses several slices or shows another volume.

    Returns whether that was necessary.

    Raises: InputError when then, too, none looks along the normal of the model's plane.
    """
    node = view_of(volume, card)
    if node is not None and views.is_one_slice(node, volume, _axis(volume, card)):
        return False
    views.turn_to(volume)
    node, k = view_of(volume, card), slice_of(volume, card)
    if node is None:
        text = _("Expected a view of {plane} slices, found none. Choose a layout that has one.")
        raise InputError(text.format(plane=card.input.plane))
    if k is not None:  # the view may lie between two slices
        views.go_to(node, marks.slice_position_ras(volume, card, k))
    return True


def go(volume: Any, card: ModelCard, k: int) -> None:
    """Show slice k in the view that counts, turned to the volume where necessary.

    Raises: InputError when there is no such slice or no view of that plane.
    """
    place = marks.slice_position_ras(volume, card, k)
    turn(volume, card)
    views.go_to(view_of(volume, card), place)


def _axis(volume: Any, card: ModelCard) -> int:
    return slice_axis(card.input.plane, geometry_of(volume).direction)
