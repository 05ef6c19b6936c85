"""Places that the user clicks in a slice view, by Slicer's own place mode. No Qt."""

from collections.abc import Callable
from typing import Any

import slicer
from slicer.util import VTKObservationMixin

from .scene import add_hidden
from .states import node_of, reference_to

CLASS = "vtkMRMLMarkupsFiducialNode"


class PlacePicker(VTKObservationMixin):  # type: ignore[misc]
    """Calls `on_place` with each place (RAS mm) that the user clicks while it is started, and `on_end` when he left the
    place mode: by Esc, a right click or another tool. `later(call)` calls in a later turn of the event loop."""

    def __init__(
        self,
        on_place: Callable[[tuple[float, float, float]], None],
        on_end: Callable[[], None],
        later: Callable[[Callable[[], None]], None],
    ) -> None:
        VTKObservationMixin.__init__(self)
        self._on_place, self._on_end, self._later = on_place, on_end, later
        self._points: Any = None  # a weak reference to the markups that a click adds a point to

    @property
    def active(self) -> bool:
        """Whether clicks are places now."""
        return node_of(self._points) is not None

    def start(self) -> None:
        """Begin to take clicks in the views for places."""
        self.stop()
        scene, application = slicer.mrmlScene, slicer.app.applicationLogic()
        points = slicer.vtkMRMLMarkupsFiducialNode()
        points.SetName("MedTL place")
        points.SetHideFromEditors(True)
        points.SetSaveWithScene(False)
        add_hidden(scene, points)
        points.CreateDefaultDisplayNodes()  # without one Slicer places nothing
        points.GetDisplayNode().SetSaveWithScene(False)
        self._points = reference_to(points)
        self.addObserver(points, points.PointPositionDefinedEvent, self._on_point)
        selection, interaction = application.GetSelectionNode(), application.GetInteractionNode()
        selection.SetReferenceActivePlaceNodeClassName(CLASS)
        selection.SetActivePlaceNodeID(points.GetID())
        interaction.SetPlaceModePersistence(1)
        interaction.SetCurrentInteractionMode(interaction.Place)
        self.addObserver(interaction, interaction.InteractionModeChangedEvent, self._on_mode)

    def stop(self) -> None:
        """Clicks mean again what they meant."""
        self.removeObservers()
        points, self._points = node_of(self._points), None
        if points is None:
            return
        interaction = slicer.app.applicationLogic().GetInteractionNode()
        interaction.SetPlaceModePersistence(0)
        interaction.SetCurrentInteractionMode(interaction.ViewTransform)
        slicer.mrmlScene.RemoveNode(points.GetDisplayNode())
        slicer.mrmlScene.RemoveNode(points)

    def _on_point(self, points: Any, event: Any) -> None:
        self._later(self._take)  # the point is removed when the view has done with it

    def _take(self) -> None:
        points = node_of(self._points)
        if points is None:
            return
        for n in reversed(range(points.GetNumberOfControlPoints())):  # one of them follows the mouse
            if points.GetNthControlPointPositionStatus(n) == points.PositionDefined:
                r, a, s = points.GetNthControlPointPositionWorld(n)
                points.RemoveNthControlPoint(n)
                self._on_place((r, a, s))
                return

    def _on_mode(self, interaction: Any, event: Any) -> None:
        self._later(self._look)  # as in `_on_point`

    def _look(self) -> None:
        interaction = slicer.app.applicationLogic().GetInteractionNode()
        if self.active and interaction.GetCurrentInteractionMode() != interaction.Place:
            self.stop()
            self._on_end()
