"""The button for the acquisition plane beside the 3D view, used as a user does."""

from collections.abc import Iterator
from pathlib import Path

import host
import pytest
import slicer
from panel_user import User, tip

from medtl.phantom import head
from MedTLLib.mrml.layout import LAYOUT, NUMBERS

USERS = LAYOUT.SlicerLayoutFourUpView


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[User]:
    """The panel is open in a scene with views and a volume of axial slices."""
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))
    slicer.app.userSettings().clear()
    host.new_scene()
    host.open_views()
    host.open_layout(USERS)
    user = User(tmp_path / "worker")
    user.load(head(1, (24, 24, 6), (2.0, 2.0, 10.0)))
    user.widget.updatePanels()
    yield user
    user.close()
    host.new_scene()


def arrangement() -> int:
    return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode").GetViewArrangement()


def test_pressed_it_lays_out_the_views_and_released_it_restores_them(user):
    user.ui.layoutButton.click()
    assert arrangement() == NUMBERS["Red"]
    slicer.app.processEvents()
    user.ui.layoutButton.click()
    assert arrangement() == USERS


@pytest.mark.parametrize("how", ["another module", "unloaded", "closed"])
def test_the_user_s_layout_is_back_when_the_module_is_left(user, how):
    user.ui.layoutButton.click()
    if how == "another module":
        user.widget.parent.exit()
    elif how == "unloaded":
        host.unload_module("MedTLSegment")
    else:
        user.widget.onSceneStartClose(None, None)
    assert arrangement() == USERS
    if how == "unloaded":
        user.open()
    assert not user.ui.layoutButton.checked


def test_a_saved_scene_never_has_the_layout_that_only_medtl_knows(user, tmp_path):
    def saved() -> str:
        slicer.mrmlScene.Commit(str(tmp_path / "scene.mrml"))
        return (tmp_path / "scene.mrml").read_text(encoding="utf-8")

    user.ui.layoutButton.click()
    assert "currentViewArrangement" not in saved()
    user.widget.parent.exit()
    assert f'currentViewArrangement="{USERS}"' in saved()


def test_a_layout_that_the_user_chose_meanwhile_stays_and_the_button_is_released(user):
    user.ui.layoutButton.click()
    slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode").SetViewArrangement(LAYOUT.SlicerLayoutOneUp3DView)
    user.widget.updatePanels()
    assert not user.ui.layoutButton.checked
    assert arrangement() == LAYOUT.SlicerLayoutOneUp3DView


def test_the_next_volume_takes_its_own_plane(user):
    user.ui.layoutButton.click()
    user.load(head(2, (24, 6, 24), (2.0, 10.0, 2.0)))
    user.widget.updatePanels()
    assert arrangement() == NUMBERS["Green"]
    user.ui.layoutButton.click()
    assert arrangement() == USERS


def test_without_a_volume_it_says_why(user):
    user.chosen.inputVolume = None
    user.widget.updatePanels()
    assert not user.ui.layoutButton.enabled
    assert "Choose a volume" in tip(user.ui.layoutButton)
