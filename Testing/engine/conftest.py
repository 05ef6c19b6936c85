from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import settings
from packaging.version import Version

import medtl.model.store  # noqa: F401  (it takes `terms_of` before a test replaces it)
from medtl.model.checkpoint import SAFE_TORCH
from medtl.model.terms import Terms

settings.register_profile("medtl", deadline=None)  # a busy machine is no failure
settings.load_profile("medtl")

ROOT = Path(__file__).resolve().parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what reads pickles where PyTorch is too old to read them safely: there the engine refuses them."""
    if Version(version("torch")) < Version(SAFE_TORCH):
        for item in items:
            if item.get_closest_marker("pickles"):
                item.add_marker(pytest.mark.skip(reason=f"PyTorch before {SAFE_TORCH} reads no pickle safely"))


@pytest.fixture(autouse=True)
def accepted_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands say nothing about the terms of models, which are fakes in most tests; `test_terms.py` turns this
    off."""
    monkeypatch.setattr("medtl.model.terms.terms_of", lambda folder: Terms("MIT"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout; it never enters the repository."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the real data in ../shared/data, which is not here")
    return folder
