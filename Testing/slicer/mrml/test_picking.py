"""A click in a view is a place; Slicer's place mode begins and ends with it."""

import host
import pytest
import slicer

from MedTLLib.mrml.picking import PlacePicker


class Clicks:
    """What the picker called; its later calls are made by `turn`."""

    def __init__(self):
        self.places, self.ended, self.waiting = [], 0, []
        self.picker = PlacePicker(self.places.append, self.end, self.waiting.append)

    def end(self):
        self.ended += 1

    def turn(self):
        waiting, self.waiting[:] = self.waiting[:], []
        for call in waiting:
            call()

    def click(self, *place):
        """What Slicer's place mode does with a click."""
        active = slicer.app.applicationLogic().GetSelectionNode().GetActivePlaceNodeID()
        slicer.mrmlScene.GetNodeByID(active).AddControlPointWorld(*place)
        self.turn()


@pytest.fixture
def clicks():
    host.new_scene()
    host.open_views()
    yield Clicks()
    host.new_scene()


def mode():
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    return interaction.GetCurrentInteractionMode(), interaction


def markups():
    return slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")


def test_each_click_is_a_place_and_leaves_no_point(clicks):
    clicks.picker.start()
    clicks.click(1.0, 2.0, 3.0)
    clicks.click(4.0, 5.0, 6.0)
    assert clicks.places == [(1.0, 2.0, 3.0), (4.0, 5.0, 6.0)]
    (points,) = markups()
    assert points.GetNumberOfControlPoints() == 0
    assert points.GetHideFromEditors()
    now, interaction = mode()
    assert now == interaction.Place
    assert interaction.GetPlaceModePersistence()


def test_stopped_it_takes_no_clicks_and_leaves_nothing(clicks):
    before = slicer.mrmlScene.GetNumberOfNodes()
    clicks.picker.start()
    assert clicks.picker.active
    clicks.picker.stop()
    now, interaction = mode()
    assert now == interaction.ViewTransform
    assert (clicks.picker.active, clicks.ended, markups()) == (False, 0, [])
    assert slicer.mrmlScene.GetNumberOfNodes() == before


def test_the_user_ends_it_in_the_view(clicks):
    clicks.picker.start()
    mode()[1].SetCurrentInteractionMode(mode()[1].ViewTransform)
    assert clicks.picker.active  # the view still works with the point
    clicks.turn()
    assert (clicks.picker.active, clicks.ended, markups()) == (False, 1, [])


def test_a_point_that_follows_the_mouse_is_no_click(clicks):
    clicks.picker.start()
    (points,) = markups()
    points.AddControlPointWorld(1.0, 2.0, 3.0)
    points.SetNthControlPointPositionWorld(0, 1.0, 2.0, 3.0)
    points.ResetNthControlPointPosition(0)
    clicks.turn()
    assert clicks.places == []


def test_a_closed_scene_ends_it(clicks):
    clicks.picker.start()
    slicer.mrmlScene.Clear()
    assert not clicks.picker.active
    clicks.picker.stop()
    clicks.picker.start()
    clicks.click(7.0, 8.0, 9.0)
    assert clicks.places == [(7.0, 8.0, 9.0)]
