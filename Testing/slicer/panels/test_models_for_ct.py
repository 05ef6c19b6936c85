"""Models of CT in the panel: which volumes they are offered for, and how their result is shown."""

import numpy as np
from panel_user import User

from medtl.volume import Geometry, Segment, Volume
from MedTLLib import samples

LIVER = Segment(1, "liver-ct.liver", "Liver", tags=(("MedTL.label", "liver"), ("MedTL.model", "liver-ct")))
GEOMETRY = Geometry((40, 40, 6), (9.0, 9.0, 5.0))


def body(air: int) -> np.ndarray:
    """A bright square in air of this value."""
    array = np.full(GEOMETRY.shape, air, np.int16)
    array[:, 8:32, 8:32] = 60
    return array


def load(user: User, air: int, name: str) -> object:
    node = samples.volume_node(Volume(body(air), GEOMETRY), name)
    user.ui.inputSelector.setCurrentNode(node)
    return node


def offered(user: User) -> list[str]:
    combo = user.ui.modelCombo
    return [combo.itemData(k) for k in range(combo.count)]


def test_a_ct_is_known_by_its_values_and_gets_a_model_of_ct(user):
    load(user, -1000, "abdomen")
    assert "liver-ct" in offered(user)
    assert "glioma-flair" not in offered(user)
    assert "liver-ct" not in user.ui.fitLabel.text
    load(user, 0, "head")
    assert "liver-ct" not in offered(user)


def test_a_model_of_few_patients_is_listed_as_experimental(user):
    load(user, -1000, "abdomen")
    combo = user.ui.modelCombo
    text = combo.itemText(combo.findData("liver-ct"))
    assert text == "liver-ct (CC BY-NC 4.0, experimental)"


def test_the_window_of_the_model_shows_the_organ(user):
    volume = load(user, -1000, "abdomen")
    user.ui.modelCombo.currentIndex = user.ui.modelCombo.findData("liver-ct")
    user.worker.segments = (LIVER,)
    user.segment((body(-1000) == 60).astype(np.uint8))
    display = volume.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0.0, 255.0)
