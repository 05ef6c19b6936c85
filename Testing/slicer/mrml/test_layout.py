"""The layout with the acquisition plane large beside the 3D view, on Slicer's own layout node."""

from collections.abc import Iterator
from xml.etree import ElementTree

import host
import numpy as np
import pytest
import slicer

from medtl.errors import InputError
from medtl.phantom import head
from medtl.volume import Geometry, Volume
from MedTLLib import samples
from MedTLLib.mrml.layout import LAYOUT, PlaneLayout

USERS = LAYOUT.SlicerLayoutFourUpView
AXIAL = Geometry((24, 24, 6), (2.0, 2.0, 10.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
# The third index axis goes from left to right, or from front to back.
SAGITTAL = Geometry((24, 24, 6), (2.0, 2.0, 10.0), (0.0, 0.0, 0.0), (0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
CORONAL = Geometry((24, 24, 6), (2.0, 2.0, 10.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, -1.0, 0.0))


@pytest.fixture
def node() -> Iterator[object]:
    """Slicer's layout node, in a scene with slice views."""
    host.new_scene()
    host.open_views()
    yield host.open_layout(USERS)
    host.new_scene()


def shown(node: object) -> list[str]:
    """The views of the layout as Slicer parses it, from left to right."""
    root = ElementTree.fromstring(node.GetCurrentLayoutDescription())
    return [view.get("singletontag") for view in root.iter("view")]


@pytest.mark.parametrize(
    ("geometry", "view"),
    [(AXIAL, "Red"), (SAGITTAL, "Yellow"), (CORONAL, "Green")],
    ids=["axial", "sagittal", "coronal"],
)
def test_the_large_view_is_that_of_the_acquisition_plane(node, geometry, view):

    volume = samples.volume_node(Volume(np.zeros(geometry.shape, np.float32), geometry))
    assert PlaneLayout().show(volume) == view
    assert shown(node) == [view, "1"]
    shares = [int(item.get("splitSize")) for item in ElementTree.fromstring(node.GetCurrentLayoutDescription())]
    assert shares[0] > shares[1]


def test_the_user_s_layout_comes_back_but_not_over_one_chosen_meanwhile(node):
    volume = samples.volume_node(head(1, (16, 16, 4), (2.0, 2.0, 10.0)).volume)
    layout = PlaneLayout()
    layout.show(volume)
    layout.show(volume)
    layout.leave()
    assert node.GetViewArrangement() == USERS
    layout.show(volume)
    node.SetViewArrangement(LAYOUT.SlicerLayoutOneUp3DView)
    layout.leave()
    assert node.GetViewArrangement() == LAYOUT.SlicerLayoutOneUp3DView
    layout.leave()
    assert node.GetViewArrangement() == LAYOUT.SlicerLayoutOneUp3DView


def test_without_views_it_is_refused():
    host.new_scene()
    volume = samples.volume_node(head(1, (16, 16, 4), (2.0, 2.0, 10.0)).volume)
    assert slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode") is None
    with pytest.raises(InputError, match="no slice views"):
        PlaneLayout().show(volume)
