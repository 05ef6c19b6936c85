"""Checkpoints: their weights come out, of a malicious one nothing runs, a bad one is refused in a sentence."""

import builtins
import os
import sys
import time
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_results import ARGUMENTS, a_checkpoint, some_weights
from torch.torch_version import TorchVersion

from medtl.errors import Cancelled, ModelError
from medtl.model import checkpoint as checkpoints
from medtl.model.checkpoint import Checkpoint, convert_checkpoint
from medtl.model.networks import build


def convert(folder: Path) -> Checkpoint:
    """What the process does, in this one, whose memory must not be limited."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "limit_memory", lambda size: None)
        facts = checkpoints.convert(checkpoints.NNUNET, folder / "checkpoint_final.pth", folder / "out.safetensors")
        return Checkpoint(**facts)


def convert_apart(folder: Path, **more) -> Checkpoint:
    return convert_checkpoint(folder / "checkpoint_final.pth", folder / "out.safetensors", lambda: None, **more)


def save(folder: Path, content: object, **more) -> Path:
    torch.save(content, folder / "checkpoint_final.pth", **more)
    return folder


@pytest.mark.pickles
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    ("stored", "kept"),
    [
        (torch.float32, torch.float32),
        (torch.float16, torch.float16),
        (torch.bfloat16, torch.bfloat16),
        (torch.float64, torch.float32),
    ],
    ids=["fp32", "fp16", "bf16", "fp64"],
)
def test_each_layer_comes_out_once_in_its_precision_under_the_network_s_name(stored, kept, zipped, tmp_path):
    given = {name: value.to(stored) for name, value in some_weights().items()}
    checkpoint = convert_apart(save(tmp_path, a_checkpoint(given), _use_new_zipfile_serialization=zipped))
    assert checkpoint == Checkpoint("nnUNetTrainer", "3d_fullres", "0", (0, 2))
    found, names = load_file(tmp_path / "out.safetensors"), build("plainunet", dict(ARGUMENTS)).state_dict()
    assert found.keys() == names.keys()
    assert all(found[name].dtype == kept and torch.equal(found[name], given[name].to(kept)) for name in names)


@pytest.mark.pickles
@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_prefixes_of_wrapped_networks_are_taken_off(prefix, tmp_path):
    weights = {prefix + key: value for key, value in some_weights().items()}
    convert(save(tmp_path, a_checkpoint(weights)))
    assert load_file(tmp_path / "out.safetensors").keys() == build("plainunet", dict(ARGUMENTS)).state_dict().keys()


def test_a_torch_that_does_not_read_pickles_safely_reads_none(tmp_path, monkeypatch):
    folder = save(tmp_path, a_checkpoint())
    monkeypatch.setattr(torch, "__version__", TorchVersion("2.2.2"))
    with pytest.raises(ModelError, match=r"before 2\.6 does not read safely \(this is 2\.2\.2\).*medtl export-model"):
        convert(folder)
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.pickles
def test_checkpoints_without_mirroring_and_of_numpy_1_are_read(tmp_path):
    content = {**a_checkpoint(), "inference_allowed_mirroring_axes": None}
    content["init_args"]["fold"] = "all"
    file = save(tmp_path, content) / "checkpoint_final.pth"
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert convert(tmp_path) == Checkpoint("nnUNetTrainer", "3d_fullres", "all", ())


class Calls:
    """Pickled as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.pickles
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("place", ["network_weights", "optimizer_state", "logging"])
@pytest.mark.parametrize("kind", ["system", "eval", "rebuild", "object array"])
def test_of_a_malicious_checkpoint_nothing_runs(kind, place, zipped, tmp_path):
    trap = tmp_path / "ran"
    code = f"open({str(trap)!r}, 'w')"
    evil = {
        "system": lambda: Calls(os.system, f"touch {trap}"),
        "eval": lambda: Calls(builtins.eval, code),
        "rebuild": lambda: Calls(
            torch._utils._rebuild_tensor_v2, Calls(builtins.eval, code), 0, (1,), (1,), False, OrderedDict()
        ),
        "object array": lambda: np.array([Calls(os.system, f"touch {trap}")], dtype=object),
    }[kind]()
    save(tmp_path, {**a_checkpoint(), place: {"encoder.x": evil}}, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelError, match=r"found a pickle that asks for \S+, which is not run") as raised:
        convert(tmp_path)
    assert "\n" not in str(raised.value)
    assert not trap.exists()
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.pickles
def test_the_sentence_of_the_process_reaches_the_user(tmp_path):
    save(tmp_path, {**a_checkpoint(), "logging": Calls(os.system, "true")})
    with pytest.raises(ModelError, match=r"^Expected the checkpoint .* in .*/checkpoint_final\.pth, found .* posix"):
        convert_apart(tmp_path)


@pytest.mark.pickles
@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("text", "'encoder.x', which is no layer of weights"),
        (torch.ones(3, dtype=torch.complex64), "no layer of weights"),
        (torch.ones(1).expand(10_000_000_000_000), "no layer of weights"),
        (torch.ones(2, device="meta"), "no layer of weights"),
        (torch.eye(2).to_sparse(), "no layer of weights"),
        (torch.tensor([1.0, torch.nan]), "no finite numbers"),
    ],
    ids=["text", "whole numbers", "huge", "meta", "sparse", "nan"],
)
def test_what_is_no_layer_of_weights_is_refused_by_name(layer, message, tmp_path):
    save(tmp_path, a_checkpoint({"encoder.x": layer}))
    with pytest.raises(ModelError, match=message):
        convert(tmp_path)


@pytest.mark.pickles
@pytest.mark.parametrize(
    ("drop", "message"),
    [
        ("network_weights", "no 'network_weights'"),
        ("trainer_name", "trainer_name and init_args"),
        ("init_args", "trainer_name and init_args"),
    ],
)
def test_a_checkpoint_that_lacks_an_entry_is_refused(drop, message, tmp_path):
    save(tmp_path, {key: value for key, value in a_checkpoint().items() if key != drop})
    with pytest.raises(ModelError, match=message):
        convert(tmp_path)


@pytest.mark.pickles
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("kept", [0, 3, 0.5, 0.98])
def test_a_file_that_is_cut_off_is_refused_in_one_sentence(kept, zipped, tmp_path):
    file = save(tmp_path, a_checkpoint(), _use_new_zipfile_serialization=zipped) / "checkpoint_final.pth"
    content = file.read_bytes()
    file.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(ModelError, match=r"damaged, cut off or of another kind .* Copy it again") as raised:
        convert(tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.pickles
@pytest.mark.parametrize(
    ("code", "message"),
    [("import os; os.abort()", "on which the reader crashed"), ("import time; time.sleep(600)", "took more than 1 s")],
    ids=["crash", "hang"],
)
def test_a_file_on_which_the_process_crashes_or_hangs_is_refused(code, message, tmp_path):
    with pytest.raises(ModelError, match=message):
        convert_apart(tmp_path, command=(sys.executable, "-c", code), seconds=1.0)


@pytest.mark.pickles
def test_cancel_ends_the_process_at_once(tmp_path):
    def cancel() -> None:
        raise Cancelled

    began = time.monotonic()
    with pytest.raises(Cancelled):
        convert_checkpoint(
            tmp_path / "in.pth",
            tmp_path / "out.safetensors",
            cancel,
            (sys.executable, "-c", "import time; time.sleep(600)"),
        )
    assert time.monotonic() - began < 60


@pytest.mark.pickles
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux limits the address space")
def test_a_small_checkpoint_that_asks_for_much_memory_is_refused(tmp_path):
    save(tmp_path, {**a_checkpoint(), "logging": Calls(bytearray, 10_000_000_000)})
    with pytest.raises(ModelError, match="needs more memory than there is for it"):
        convert_apart(tmp_path)
