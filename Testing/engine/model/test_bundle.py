"""Bundles: saved and loaded; damaged and hostile ones are refused."""

import json
import math
import pickle
import platform
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import ROOT
from safetensors import SafetensorError
from small_classifier import classifier_card
from small_model import a_card, edit, save

from medtl.errors import DeviceError, InputError, ModelError
from medtl.model import bundle, networks
from medtl.model.bundle import load_model
from medtl.model.card import (
    METADATA,
    Abstention,
    Calibration,
    InputSpec,
    Label,
    ModelCard,
    NetworkSpec,
    Normalisation,
    Parent,
    WindowSpec,
)
from medtl.model.device import choose_device
from medtl.model.store import WEIGHTS, sha256_of
from medtl.segmentation import segment
from medtl.volume import Geometry, Volume


@pytest.fixture
def saved(tmp_path) -> Path:
    (tmp_path / "work").mkdir()
    save(tmp_path / "work" / "small")
    return tmp_path / "work" / "small"


def with_weights(folder: Path, write: Callable[[Path], object]) -> None:
    """Replace the weights and make the card agree with them."""
    write(folder / WEIGHTS)
    edit(folder, lambda block: block.update(sha256=sha256_of(folder)))


def test_a_saved_bundle_loads_with_the_same_card_and_weights_to_half_precision(tmp_path):
    card = replace(a_card(), parent=Parent("older", "00"), training={"seed": 3})
    network = bundle_network(card, seed=4)
    weights = {"net." + k: v for k, v in network.state_dict().items()}
    written = bundle.save_bundle(tmp_path / "m", card, weights, "# Card", "Terms", {"authors": "Someone"})
    assert written == replace(card, sha256=sha256_of(tmp_path / "m"))
    model = load_model(str(tmp_path / "m"), "cpu")
    assert model.card == written
    assert model.sha256 == written.sha256
    assert (model.device, model.folder) == ("cpu", tmp_path / "m")
    assert isinstance(model.bf16, bool)
    loaded = model.networks[0]
    assert not loaded.training
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            assert loaded.state_dict()[name].dtype == torch.float32
            torch.testing.assert_close(loaded.state_dict()[name], value, rtol=2**-10, atol=1e-7)
    stored = safetensors.torch.load_file(tmp_path / "m" / WEIGHTS)
    assert {v.dtype for v in stored.values() if v.is_floating_point()} == {torch.float16}
    assert (tmp_path / "m" / "docs" / "README.md").read_text() == "# Card"
    assert (tmp_path / "m" / "LICENSE").read_text() == "Terms"
    assert json.loads((tmp_path / "m" / METADATA).read_text())["authors"] == "Someone"


def bundle_network(card: ModelCard, seed: int) -> torch.nn.Module:
    from medtl.model.networks import build

    torch.manual_seed(seed)
    return build(card.networks[0].name, dict(card.networks[0].arguments))


def test_a_loaded_bundle_segments(saved):
    volume = Volume(np.random.default_rng(0).integers(0, 99, (3, 20, 24)).astype(np.int16), Geometry((24, 20, 3)))
    result = segment(volume, load_model(str(saved), "cpu"))
    assert result.labelmap.array.shape == (3, 20, 24)
    assert result.labelmap.segments[0].id == "small.lesion"


@pytest.mark.parametrize(
    "card",
    [
        a_card(),
        replace(
            a_card(),
            labels=(Label(3, "a", "A"), Label(9, "b", "B")),
            input=InputSpec(neighbours=1),
            networks=(NetworkSpec("basicunet2d", {"channels": 3, "labels": 2, "features": [4] * 6}),),
        ),
    ],
)
def test_metadata_is_valid_by_monai_s_schema(card, tmp_path):
    path = ROOT.parent / "shared" / "schemas" / "meta_schema_20240725.json"
    if not path.is_file():
        pytest.skip("needs MONAI's schema in ../shared/schemas, which is not here")
    import jsonschema

    save(tmp_path / "m", card)
    metadata = json.loads((tmp_path / "m" / METADATA).read_text())
    jsonschema.validate(metadata, json.loads(path.read_text()))
    # The schema says nothing of the format itself.
    image, pred = metadata["network_data_format"]["inputs"]["image"], metadata["network_data_format"]["outputs"]["pred"]
    assert image["num_channels"] == card.networks[0].arguments["channels"]
    assert pred["num_channels"] == 1 + len(card.labels)
    assert metadata["medtl"]["schema"] == 2


def test_saving_never_replaces_anything_and_leaves_nothing_half_written(tmp_path, monkeypatch):
    (tmp_path / "m").mkdir()
    with pytest.raises(InputError, match="exists already"):
        save(tmp_path / "m")
    with pytest.raises(InputError, match="does not exist"):
        save(tmp_path / "none" / "m")
    for error in (OSError(28, "No space left on device"), SafetensorError("No space left on device")):

        def full(weights, path, error=error):
            path.write_bytes(b"half")
            raise error

        monkeypatch.setattr(safetensors.torch, "save_file", full)
        with pytest.raises(InputError, match="No space left on device"):
            save(tmp_path / "other")
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_weights_that_were_changed_are_refused(saved):
    content = bytearray((saved / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (saved / WEIGHTS).write_bytes(content)
    with pytest.raises(ModelError, match=r"weights of small in .* are damaged: expected SHA-256 .*, found"):
        load_model(str(saved), "cpu")


def test_missing_weights_are_said(saved):
    (saved / WEIGHTS).unlink()
    with pytest.raises(ModelError, match=r"Expected models/model\.safetensors in .*, found none"):
        load_model(str(saved), "cpu")


class Bomb:
    """Whoever unpickles it notices."""

    def __reduce__(self):
        return (Path("exploded").write_text, ("",))


@pytest.mark.parametrize(
    "write",
    [
        lambda p: p.write_bytes(pickle.dumps(Bomb())),
        lambda p: torch.save({"w": Bomb()}, p),
        lambda p: p.write_bytes(b""),
        lambda p: p.write_bytes(b"\xff" * 64),
        lambda p: p.write_bytes(p.read_bytes()[:-100]),
    ],
    ids=["pickle", "torch.save", "empty", "noise", "cut off"],
)
def test_what_is_not_safetensors_is_refused_and_never_unpickled(write, saved, tmp_path):
    with_weights(saved, write)
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(str(saved), "cpu")
    assert not (tmp_path / "exploded").exists()


def change_weights(folder: Path, change: Callable[[dict], object]) -> None:
    weights = safetensors.torch.load_file(folder / WEIGHTS)
    change(weights)
    try:
        with_weights(folder, lambda path: safetensors.torch.save_file(weights, path))
    except KeyError as error:
        pytest.skip(f"this version of safetensors writes no {error}")


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.pop("net.unet.final_conv.bias"),
        lambda w: w.update({"net.more": torch.zeros(1)}),
        lambda w: w.update({"net.unet.final_conv.bias": torch.zeros(5)}),
        lambda w: w.update({"net.unet.final_conv.bias": torch.zeros(2, dtype=torch.int8)}),
        lambda w: w.update({"net.unet.final_conv.bias": torch.zeros(2, dtype=torch.complex64)}),
        lambda w: w.clear(),
    ],
    ids=["a layer missing", "a layer more", "another shape", "whole numbers", "complex numbers", "none"],
)
def test_weights_that_do_not_fit_the_network_are_refused(change, saved):
    change_weights(saved, change)
    with pytest.raises(ModelError, match="weights of small do not fit its network basicunet2d") as raised:
        load_model(str(saved), "cpu")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_weight_that_is_no_number_is_an_error_and_no_finding(value, saved):
    change_weights(saved, lambda w: w["net.unet.conv_0.conv_0.conv.weight"].view(-1)[:1].fill_(value))
    with pytest.raises(ModelError, match=r"weights in .* are no finite numbers in 1 of \d+ layers"):
        load_model(str(saved), "cpu")


def test_a_double_that_is_infinite_in_single_precision_is_an_error(saved):
    change_weights(
        saved, lambda w: w.update({"net.unet.final_conv.bias": torch.full((2,), 1e300, dtype=torch.float64)})
    )
    with pytest.raises(ModelError, match="are no finite numbers"):
        load_model(str(saved), "cpu")


def test_finite_weights_whose_network_gives_no_numbers_are_an_error(saved):
    def negative(weights):
        for name, value in weights.items():
            if name.endswith("running_var"):
                value.fill_(-1.0)

    change_weights(saved, negative)
    with pytest.raises(ModelError, match="network of small gives no finite numbers"):
        load_model(str(saved), "cpu")


def test_weights_are_saved_as_they_are_where_that_is_wanted(tmp_path):
    weights = {"net." + k: v for k, v in bundle_network(a_card(), seed=4).state_dict().items()}
    bundle.save_bundle(tmp_path / "m", a_card(), weights, "", "", {}, half=False)
    (network,) = load_model(str(tmp_path / "m"), "cpu").networks
    assert all(torch.equal(value, weights["net." + name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("value", [math.nan, 1e5])
def test_weights_that_are_no_numbers_in_half_precision_are_not_saved(value, tmp_path):
    weights = {"net." + key: layer for key, layer in bundle_network(a_card(), 1).state_dict().items()}
    weights["net.unet.final_conv.bias"] = torch.full((2,), value)
    with pytest.raises(ModelError, match="weights of small are not all finite numbers: nothing was written"):
        bundle.save_bundle(tmp_path / "m", a_card(), weights, "", "", {})
    assert list(tmp_path.iterdir()) == []


def test_a_card_that_could_not_be_read_again_is_not_saved(tmp_path):
    with pytest.raises(ModelError, match="the temperature nan"):
        save(tmp_path / "m", replace(a_card(), calibration=Calibration(math.nan)))
    assert list(tmp_path.iterdir()) == []


def test_names_of_files_in_what_a_model_learned_from_may_hold_anything(tmp_path):
    training = {"cases": ["a\nb", "c\udc80", "d\x1b[31m"], "e\u202e": 1}
    save(tmp_path / "m", replace(a_card(), training=training))
    found = load_model(str(tmp_path / "m"), "cpu").card.training
    assert found["cases"] == ["a\\nb", "c\\udc80", "d\\x1b[31m"]
    assert "e\\u202e" in found


WINDOWED = {
    "channels": 1,
    "outputs": 2,
    "features": [4, 4, 8],
    "kernels": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
    "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
    "blocks": [1, 1, 1],
    "decoder_blocks": [1, 1],
}


def folds(count: int = 2, patch: tuple[int, ...] = (6, 16, 8), decision: str = "argmax", **change: Any) -> ModelCard:
    """The card of a model that sees windows, with that many folds."""
    specs = tuple(NetworkSpec("plainunet", WINDOWED | change, f"fold_{k}.") for k in range(count))
    windows = WindowSpec(patch, (1.0,) * len(patch), (Normalisation(),))
    return replace(a_card(), networks=specs, windows=windows, decision=decision)


def test_all_folds_are_loaded_each_with_its_own_weights(tmp_path):
    save(tmp_path / "m", folds(11))  # "fold_1." begins no name of "fold_10."
    model = load_model(str(tmp_path / "m"), "cpu")
    stored = safetensors.torch.load_file(tmp_path / "m" / WEIGHTS)
    assert len(model.networks) == 11
    for k, network in enumerate(model.networks):
        assert not network.training
        for key, value in network.state_dict().items():
            assert torch.equal(value, stored[f"fold_{k}.{key}"].float())
    first, second = (network.encoder.stages[0][0].convs[0].conv.weight for network in model.networks[:2])
    assert not torch.equal(first, second)


@pytest.mark.parametrize("allowed", [False, True])
def test_networks_of_windows_compute_in_float32_unless_their_card_allows_less(allowed, tmp_path, monkeypatch):
    monkeypatch.setattr(networks, "bf16_pays", lambda network, channels: True)
    card = folds(1)
    save(tmp_path / "m", replace(card, windows=replace(card.windows, bf16=allowed)))
    assert load_model(str(tmp_path / "m"), "cpu").bf16 is allowed


def test_regions_need_one_output_each(tmp_path):
    save(tmp_path / "m", folds(decision="regions", outputs=1))
    assert len(load_model(str(tmp_path / "m"), "cpu").networks) == 2


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (folds(outputs=3), "small has 1 labels, which need 2 outputs"),
        (folds(outputs=2, decision="regions"), "small has 1 labels, which need 1 outputs"),
        (folds(channels=2), "does not take the card's 1 channels"),
        (folds(patch=(6, 16, 10)), "windows of 6 x 16 x 10, and its network takes multiples of 2 x 4 x 4"),
        (folds(patch=(16, 16)), "windows of 16 x 16, and its network takes multiples of 2 x 4 x 4"),
        (folds(strides=[[1, 2, 2], [1, 1, 1], [2, 2, 2]]), r"need 2 outputs .* of its input, \(2, 8, 4\), found"),
        (replace(folds(1), windows=None), "windows of 8 x 8, and its network takes multiples"),
    ],
)
def test_windows_that_the_network_does_not_take_are_refused(card, message, tmp_path):
    save(tmp_path / "m", replace(card, decision="threshold") if card.windows is None else card)
    with pytest.raises(ModelError, match=message):
        load_model(str(tmp_path / "m"), "cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("fold_1.decoder.seg_layers.0.bias"), "do not fit its network plainunet: 1 layers missing"),
        (lambda w: w["fold_1.decoder.seg_layers.1.bias"].fill_(math.nan), "no finite numbers in 1 of"),
    ],
)
def test_one_damaged_fold_is_an_error(change, message, tmp_path):
    save(tmp_path / "m", folds())
    change_weights(tmp_path / "m", change)
    with pytest.raises(ModelError, match=message):
        load_model(str(tmp_path / "m"), "cpu")


GIANTS = {
    "features": ("basicunet2d", {"channels": 1, "labels": 1, "features": [2048] * 6}),
    "hidden": ("unetr2d", {"channels": 1, "labels": 1, "hidden": 8192, "size": 64}),
    "encoder": ("unet2d", {"encoder": "convnext_xxlarge", "channels": 1, "labels": 1}),
    "mixed": ("classifier2d", {"encoder": "vit_giant_patch14_dinov2", "channels": 1, "classes": 2}),
    "stages": ("plainunet", WINDOWED | {"features": [4096] * 3}),
    "blocks": ("residualunet", WINDOWED | {"features": [512] * 3, "blocks": [32] * 3}),
    "volumes": ("swinunetr3d", {"in_channels": 1, "out_channels": 2, "feature_size": 480}),
}


@pytest.mark.parametrize(("network", "arguments"), GIANTS.values(), ids=GIANTS)
def test_a_giant_network_is_refused_before_it_takes_memory(network, arguments, saved):
    edit(saved, lambda block: block.update(networks=[{"name": network, "arguments": arguments, "prefix": "net."}]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match=f"weights of small do not fit its network {network}"):
        load_model(str(saved), "cpu")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB; each would take 3 GB or more


def header(content: bytes, length: int | None = None) -> bytes:
    return (len(content) if length is None else length).to_bytes(8, "little") + content


HEADERS = {
    "longer than the file": header(b"{}", 10**6),
    "without end": header(b"{}", 2**64 - 1),
    "too long": header(b'{"a": "' + b" " * 9_000_000 + b'"}'),
    "nested": header(b'{"a":' + b"[" * 100_000),
    "a list": header(b"[]"),
    "a layer that is a number": header(b'{"net.a": 7}'),
    "a layer without a type": header(b'{"net.a": {"shape": [1], "data_offsets": [0, 4]}}') + b"\0" * 4,
    "a layer twice": header(b'{"net.a": {}, "net.a": {}}'),
}


@pytest.mark.parametrize("content", HEADERS.values(), ids=HEADERS)
def test_a_head_of_the_weights_that_is_none_is_refused(content, saved):
    with_weights(saved, lambda path: path.write_bytes(content))
    with pytest.raises(ModelError, match="cannot be read") as raised:
        load_model(str(saved), "cpu")
    assert "\n" not in str(raised.value)


def test_weights_of_another_prefix_are_passed_over(saved):
    change_weights(saved, lambda w: w.update({"second.unet.bias": torch.zeros(3)}))
    assert load_model(str(saved), "cpu").card.name == "small"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"networks": [{"name": "nnunet", "prefix": "net."}]}, "Expected a network of unet2d, dualunet2d"),
        ({"networks": [{"name": "basicunet2d", "arguments": {"depth": 3}}]}, "does not take the arguments"),
        ({"input": {"neighbours": 1}}, "does not take the card's 3 channels"),
        ({"labels": [{"value": v, "id": str(v), "name": "A"} for v in (1, 2)]}, "has 2 labels.*needs? 3 outputs"),
    ],
    ids=["unknown network", "unknown argument", "other channels", "other labels"],
)
def test_a_card_that_does_not_fit_its_network_is_refused(change, message, saved):
    edit(saved, lambda block: block.update(change))
    with pytest.raises(ModelError, match=message):
        load_model(str(saved), "cpu")


def test_loading_never_asks_a_hub_for_weights(tmp_path, monkeypatch):
    import timm.models._builder as builder

    def asked(*_, **__):
        raise AssertionError("the hub was asked")

    arguments = {"encoder": "mobilenetv2_050", "channels": 1, "labels": 1}
    save(tmp_path / "m", replace(a_card(), networks=(NetworkSpec("unet2d", arguments),)))
    edit(tmp_path / "m", lambda block: block["networks"][0]["arguments"].update(encoder_weights="imagenet"))
    monkeypatch.setattr(builder, "load_state_dict_from_hf", asked)
    assert load_model(str(tmp_path / "m"), "cpu").card.name == "small"


@pytest.mark.parametrize("wanted", ["banana", "cuda", "mps", ""])
def test_a_device_that_is_not_there_is_refused(wanted, saved, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(DeviceError, match=r"this computer has \(cpu\), found") as raised:
        load_model(str(saved), wanted)
    assert repr(wanted) in str(raised.value)


@pytest.mark.parametrize(("cuda", "mps", "chosen"), [(1, 1, "cuda"), (1, 0, "cuda"), (0, 1, "mps"), (0, 0, "cpu")])
def test_the_best_device_is_chosen_by_itself(cuda, mps, chosen, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(cuda))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: bool(mps))
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert choose_device("auto") == chosen
    assert choose_device("cpu") == "cpu"


def test_a_classifier_whose_network_lacks_what_its_score_needs_is_refused(tmp_path):
    rule = Abstention("mahalanobis", 1.0, 0.5)
    save(tmp_path / "m", classifier_card(abstention=rule))
    with pytest.raises(ModelError, match="abstains by the distance from its training images"):
        load_model(str(tmp_path / "m"), "cpu", "classification")
