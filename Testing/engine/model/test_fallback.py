"""A device that "auto" chose and that lacks an operator is left for the CPU, once and for all."""

import functools
import platform
from pathlib import Path

import numpy as np
import pytest
import small_model
import torch

from medtl.errors import DeviceError
from medtl.finetuning.files import CaseInput, TuningFiles, finetune_files
from medtl.finetuning.run import FinetuneOptions
from medtl.io.write import write_image, write_labelmap
from medtl.model import device, networks
from medtl.model.bundle import load_model
from medtl.model.device import choose_device, is_of_device
from medtl.model.fallback import with_fallback
from medtl.phantom import head
from medtl.segmentation import segment
from medtl.worker_jobs import warm_model

MADE = head(3, (16, 16, 4), (12.0, 12.0, 24.0))
OPERATOR = "The operator 'aten::foo' is not currently implemented for the MPS device."


@pytest.fixture(autouse=True)
def mac(monkeypatch):
    """A computer whose torch says that it has MPS, but that can do nothing there, as torch itself then says."""
    monkeypatch.setattr(device, "_given_up", {})
    # torch looks for what it wrapped.
    for module, answer in ((torch.cuda, False), (torch.backends.mps, True)):
        fake = functools.wraps(module.is_available)(lambda answer=answer: answer)
        monkeypatch.setattr(module, "is_available", fake)
    monkeypatch.setattr(platform, "machine", lambda: "arm64")


@pytest.fixture
def folder(tmp_path) -> Path:
    small_model.save(tmp_path / "small")
    return tmp_path / "small"


@pytest.fixture
def on_mps(folder, monkeypatch):
    """A model that could be loaded on MPS; the first tensor that is moved there fails."""
    with monkeypatch.context() as patch:
        patch.setattr(networks, "place", lambda network, device: network)
        model = load_model(str(folder), "auto")
    assert (model.device, model.auto) == ("mps", True)
    return model


def raising(error: Exception, seen: list[str]):
    """Work that fails on all devices but the CPU."""

    def work(model):
        seen.append(model.device)
        if model.device != "cpu":
            raise error
        return "done"

    return work


def test_a_volume_is_segmented_on_the_cpu_and_a_warning_says_so(folder, on_mps):
    result = segment(MADE.volume, on_mps)
    wanted = segment(MADE.volume, load_model(str(folder), "cpu"))
    np.testing.assert_array_equal(result.labelmap.array, wanted.labelmap.array)
    (warning,) = set(result.warnings) - set(wanted.warnings)
    assert "Computed on the CPU: mps cannot run this model" in warning
    assert "choose the device cpu" in warning


def test_a_model_that_cannot_even_be_loaded_there_is_on_the_cpu_and_a_warning_says_so(folder):
    model = load_model(str(folder), "auto")
    assert model.device == "cpu"
    assert any("Computed on the CPU" in text for text in segment(MADE.volume, model).warnings)


def test_the_device_is_not_tried_again_in_this_process(folder, on_mps):
    seen: list[str] = []
    work = raising(NotImplementedError(OPERATOR), seen)
    for _job in range(2):
        assert with_fallback(on_mps, work)[0] == "done"
    assert seen == ["mps", "cpu", "cpu"]
    assert choose_device("auto") == "cpu"
    assert warm_model(str(folder), "auto").device == "cpu"


def test_a_model_is_tuned_on_the_cpu_and_a_note_says_so(on_mps, tmp_path):
    write_image(tmp_path / "image.nrrd", MADE.volume.array, MADE.volume.geometry)
    write_labelmap(tmp_path / "label.nrrd", MADE.labelmap)
    files = TuningFiles(str(tmp_path / "new"), (CaseInput(tmp_path / "image.nrrd", tmp_path / "label.nrrd"),))
    tuned = finetune_files(on_mps, files, FinetuneOptions(budget=10.0, result=tmp_path / "result.nrrd"))
    assert any("Computed on the CPU" in note for note in tuned.outcome.notes)
    assert load_model(tuned.output, "cpu").card.name == "new"
    assert (tmp_path / "result.nrrd").exists()


def test_a_device_that_the_user_chose_is_not_left(folder, monkeypatch):
    monkeypatch.setattr(networks, "place", lambda network, device: network)
    model = load_model(str(folder), "mps")
    with pytest.raises(RuntimeError, match="mps"):
        segment(MADE.volume, model)
    assert choose_device("auto") == "mps"


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), ValueError(OPERATOR), DeviceError(OPERATOR)])
def test_other_errors_stay_errors(error, on_mps):
    seen: list[str] = []
    with pytest.raises(type(error)):
        with_fallback(on_mps, raising(error, seen))
    assert seen == ["mps"]


@pytest.mark.parametrize(
    ("text", "of_device"),
    [
        (OPERATOR, True),
        ("Conv3D is not supported on MPS", True),
        ("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64.", True),
        ("CUDA error: no kernel image is available for execution on the device", True),
        ("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED", True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("CUDA out of memory. Tried to allocate 2.00 GiB", False),
        ("MPS backend out of memory", False),
        ("mat1 and mat2 shapes cannot be multiplied", False),
    ],
)
def test_an_error_of_the_device_is_known_by_its_text(text, of_device):
    assert is_of_device(RuntimeError(text), "cuda") == of_device
    assert not is_of_device(RuntimeError(text), "cpu")


def test_on_x86_64_mps_is_chosen_only_by_name(monkeypatch):
    assert choose_device("auto") == "mps"
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert choose_device("auto") == "cpu"
    assert choose_device("mps") == "mps"
