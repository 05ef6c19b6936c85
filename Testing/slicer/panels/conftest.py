"""A user in front of the open panel. A file of tests may name another class of users, or build on `user`."""

from collections.abc import Iterator
from pathlib import Path

import host
import pytest
import slicer
from panel_user import User


@pytest.fixture
def user_class() -> type[User]:
    """What the user does."""
    return User


@pytest.fixture
def user(user_class: type[User], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[User]:
    """The panel is open in an empty scene with slice views, nothing is missing, nothing was imported."""
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))
    slicer.app.userSettings().clear()
    host.new_scene()
    host.open_views()
    user = user_class(tmp_path / "worker")
    yield user
    user.close()
    host.new_scene()
