"""The layout of the views with the slices that the volume was taken in large, beside the 3D view. No Qt.

It is Slicer's own layouts of one slice view and of the 3D view, side by side.
"""

from typing import Any
from xml.etree import ElementTree

import slicer
from slicer.i18n import tr as _

from medtl.diameters import measuring_axis
from medtl.errors import InputError

from .scene import check_volume, geometry_of
from .views import nearest_view, turn_to

LAYOUT = slicer.vtkMRMLLayoutNode
ONE_SLICE_VIEW = {
    "Red": LAYOUT.SlicerLayoutOneUpRedSliceView,
    "Green": LAYOUT.SlicerLayoutOneUpGreenSliceView,
    "Yellow": LAYOUT.SlicerLayoutOneUpYellowSliceView,
}
NUMBERS = {name: 231700 + n for n, name in enumerate(ONE_SLICE_VIEW)}  # ours among Slicer's layouts
SHARES = (650, 350)  # of the width: slices, 3D


class PlaneLayout:
    """Shows it, and restores the layout that the user had."""

    def __init__(self) -> None:
        self._before: int | None = None

    def show(self, volume: Any) -> str:
        """Show the volume in the large view, turned to its own planes; the name of that view.

        Raises: InputError where there are no views, or the volume has no image.
        """
        check_volume(volume)
        node, view = layout_node(), nearest_view(volume, measuring_axis(geometry_of(volume)), tuple(NUMBERS))
        if node is None or view is None:
            raise InputError(_("Slicer has no slice views here."))
        name = str(view.GetLayoutName())
        if not self.is_shown():
            self._before = node.GetViewArrangement()
        if not node.IsLayoutDescription(NUMBERS[name]):
            node.AddLayoutDescription(NUMBERS[name], _beside(node, name))
        node.SetSaveWithScene(False)  # a scene with a layout that another Slicer does not know shows no views there
        node.SetViewArrangement(NUMBERS[name])
        turn_to(volume)
        return name

    def leave(self) -> None:
        """Restore the user's layout; one that the user chose meanwhile stays."""
        before, self._before = self._before, None
        node = layout_node()
        if before is None or node is None:
            return
        node.SetSaveWithScene(True)
        if self.is_shown():
            node.SetViewArrangement(before)

    @staticmethod
    def is_shown() -> bool:
        """Whether the views are laid out so now."""
        node = layout_node()
        return node is not None and node.GetViewArrangement() in NUMBERS.values()


def layout_node() -> Any:
    """The node that lays out the views; None where there are none."""
    return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")


def _beside(node: Any, name: str) -> str:
    """The description of the layout, as Slicer reads it."""
    root = ElementTree.Element("layout", {"type": "horizontal", "split": "true"})
    for number, share in zip((ONE_SLICE_VIEW[name], LAYOUT.SlicerLayoutOneUp3DView), SHARES, strict=True):
        item = ElementTree.SubElement(root, "item", {"splitSize": str(share)})
        item.extend(ElementTree.fromstring(node.GetLayoutDescription(number)).iter("view"))
    return ElementTree.tostring(root, encoding="unicode")
