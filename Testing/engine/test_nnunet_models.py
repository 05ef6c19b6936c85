"""Models that nnU-Net trained give nnU-Net's answers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medtl.evaluation.metrics import dice
from medtl.io.read import read_labelmap, read_volume
from medtl.model.bundle import load_model
from medtl.model.import_model import import_model
from medtl.segmentation import segment

pytestmark = pytest.mark.pickles

NNUNET = Path(__file__).resolve().parents[3] / "shared" / "nnunet"
IMAGES = {
    "t2-3d": ("Brats18_CBICA_ABM_1_0000",),
    "t2-2d-two-folds": ("slab_0000",),
    "regions-resenc": ("Brats18_CBICA_ABM_1_0000", "Brats18_CBICA_ABM_1_0001"),
    "anisotropic": ("thick_0000",),
}


@pytest.mark.skipif(not NNUNET.is_dir(), reason="needs the models in ../shared/nnunet")
@pytest.mark.parametrize("name", IMAGES)
def test_a_model_of_nnunet_gives_nnunet_s_labels(name, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path))
    model = load_model(str(import_model(NNUNET / name)), "cpu")
    if name == "anisotropic":  # its answer was made without mirroring
        model = replace(model, card=replace(model.card, windows=replace(model.card.windows, mirror=())))
    volumes = [read_volume(NNUNET / "images" / f"{image}.nii.gz") for image in IMAGES[name]]
    found = segment(volumes, model).labelmap.array
    expected = read_labelmap(NNUNET / "expected" / f"{name}.nii.gz").array
    assert np.mean(found != expected) <= 5e-6  # where two labels are all but equal: nnU-Net adds in half precision
    for value in np.unique(expected[expected > 0]):
        assert dice(found == value, expected == value) >= 0.9995
