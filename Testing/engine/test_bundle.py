"""Bundles: saved, found, loaded, imported; damaged and hostile ones are refused and leave nothing behind."""

import json
import pickle
import stat
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import ROOT
from safetensors import SafetensorError
from small_model import a_card, save

from medtl import bundle
from medtl.bundle import WEIGHTS, choose_device, find_model, import_bundle, list_models, load_model, sha256_of
from medtl.card import METADATA, InputSpec, Label, ModelCard, NetworkSpec, Parent
from medtl.errors import DeviceError, InputError, ModelError
from medtl.segment import segment
from medtl.volume import Geometry, Volume


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch) -> Path:
    """The user's store, empty; no shipped models."""
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(bundle, "shipped_folders", lambda: (tmp_path / "shipped", tmp_path / "wheel"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home" / "models"


@pytest.fixture
def saved(tmp_path) -> Path:
    (tmp_path / "work").mkdir()
    save(tmp_path / "work" / "small")
    return tmp_path / "work" / "small"


def edit(folder: Path, change: Callable[[dict], object]) -> None:
    """Change metadata.json."""
    metadata = json.loads((folder / METADATA).read_text())
    change(metadata["medtl"])
    (folder / METADATA).write_text(json.dumps(metadata))


def with_weights(folder: Path, write: Callable[[Path], object]) -> None:
    """Replace the weights and make the card agree with them."""
    write(folder / WEIGHTS)
    edit(folder, lambda block: block.update(sha256=sha256_of(folder / WEIGHTS)))


def test_a_saved_bundle_loads_with_the_same_card_and_weights_to_half_precision(tmp_path):
    card = replace(a_card(), parent=Parent("older", "00"), training={"seed": 3})
    network = bundle_network(card, seed=4)
    weights = {"net." + k: v for k, v in network.state_dict().items()}
    written = bundle.save_bundle(tmp_path / "m", card, weights, "# Card", "Terms", {"authors": "Someone"})
    assert written == replace(card, sha256=sha256_of(tmp_path / "m" / WEIGHTS))
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
    from medtl.networks import build

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
    assert metadata["medtl"]["schema"] == 1


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
    with pytest.raises(ModelError, match="Expected weights at"):
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
    with_weights(folder, lambda path: safetensors.torch.save_file(weights, path))


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.pop("net.unet.final_conv.bias"),
        lambda w: w.update({"net.more": torch.zeros(1)}),
        lambda w: w.update({"net.unet.final_conv.bias": torch.zeros(5)}),
        lambda w: w.clear(),
    ],
    ids=["a layer missing", "a layer more", "a layer of another shape", "none"],
)
def test_weights_that_do_not_fit_the_network_are_refused(change, saved):
    change_weights(saved, change)
    with pytest.raises(ModelError, match="weights of small do not fit its network basicunet2d") as raised:
        load_model(str(saved), "cpu")
    assert "\n" not in str(raised.value)


def test_weights_of_another_prefix_are_passed_over(saved):
    change_weights(saved, lambda w: w.update({"second.unet.bias": torch.zeros(3)}))
    assert load_model(str(saved), "cpu").card.name == "small"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"networks": [{"name": "nnunet", "prefix": "net."}]}, "Expected a network of unet2d, basicunet2d"),
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
    assert choose_device("auto") == chosen
    assert choose_device("cpu") == "cpu"


def test_models_are_found_by_path_by_name_and_in_the_user_s_store(saved, store, tmp_path):
    assert find_model(str(saved)) == saved
    assert find_model("work/small") == saved
    with pytest.raises(ModelError, match=r"found 'small'\. Models here: none"):
        find_model("small")
    assert import_bundle(saved) == store / "small"
    assert find_model("small") == store / "small"
    assert load_model("small", "cpu").folder == store / "small"
    (tmp_path / "shipped").mkdir()
    save(tmp_path / "shipped" / "small")
    assert find_model("small") == tmp_path / "shipped" / "small"


@pytest.mark.parametrize("name", ["", ".", "..", "none", "small/none", "/none", "configs/metadata.json", "a\nb"])
def test_what_names_no_model_is_refused_with_the_names_there_are(name, saved):
    import_bundle(saved)
    with pytest.raises(ModelError, match=r"Models here: small\."):
        find_model(name)


def test_the_store_is_in_the_user_s_data_unless_moved(tmp_path, monkeypatch):
    assert bundle.user_store() == tmp_path / "home" / "models"
    monkeypatch.delenv("MEDTL_HOME")
    assert bundle.user_store().parts[-2:] == ("MedTL", "models")


def test_without_platformdirs_the_models_that_ship_are_found(tmp_path, monkeypatch):
    monkeypatch.delenv("MEDTL_HOME", raising=False)
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    monkeypatch.setattr(bundle, "shipped_folders", lambda: (tmp_path,))
    save(tmp_path / "first", replace(a_card(), name="first"))
    assert [m.name for m in list_models()] == ["first"]
    assert find_model("first") == tmp_path / "first"


def test_all_models_are_listed_damaged_ones_with_the_problem(saved, store, tmp_path):
    assert list_models() == ()
    (tmp_path / "shipped").mkdir()
    save(tmp_path / "shipped" / "first", replace(a_card(), name="first"))
    import_bundle(saved)
    save(store / "broken", replace(a_card(), name="broken"))
    (store / "broken" / WEIGHTS).write_bytes(b"")
    for name, content in (("cut", b"{"), ("deep", b"[" * 100_000)):
        (store / name / "configs").mkdir(parents=True)
        (store / name / METADATA).write_bytes(content)
    save(store / "renamed", replace(a_card(), name="before"))
    (store / ".part-x").mkdir()
    (store / "a file").write_text("")
    found = {m.name: m for m in list_models()}
    assert list(found) == ["first", "broken", "cut", "deep", "renamed", "small"]
    assert [found[n].source for n in found] == ["shipped", *["user"] * 5]
    assert found["first"].card.name == "first"
    assert find_model("renamed") == found["renamed"].folder  # a name that is listed can be asked for
    assert found["small"].folder == store / "small"
    assert found["small"].problem == ""
    for name, problem in (("broken", "damaged"), ("cut", "not valid JSON"), ("deep", "not valid JSON")):
        assert found[name].card is None
        assert problem in found[name].problem


def zipped(folder: Path, target: Path, below: str = "", more: dict[str, str] | None = None) -> Path:
    """A zip of the folder's files, in the folder `below` of it, and of `more` files before them."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in (more or {}).items():
            archive.writestr(name, text)
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, below + file.relative_to(folder).as_posix())
    return target


def names_in(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


BUNDLE = sorted([METADATA, WEIGHTS, "LICENSE", "docs/README.md"])


@pytest.mark.parametrize("form", ["folder", "zip", "zip with one folder", "zip with more beside"])
def test_a_bundle_is_imported_and_only_its_own_files(form, saved, store, tmp_path):
    for name in ("models/model.pt", "evil.py", "configs/inference.json", "docs/run.sh", "scripts/setup.py"):
        (saved / name).parent.mkdir(exist_ok=True)
        (saved / name).write_text("code")
    (saved / "docs" / "data.txt").write_text("text")
    source = saved
    if form != "folder":
        below = "" if form == "zip" else "some name/"
        more = {"__MACOSX/x": "", "other/deep/configs/metadata.json": "{}"} if "beside" in form else None
        source = zipped(saved, tmp_path / "m.zip", below, more)
    target = import_bundle(source)
    assert target == store / "small"
    assert names_in(target) == sorted([*BUNDLE, "docs/data.txt"])
    assert [p.name for p in store.iterdir()] == ["small"]
    for name in BUNDLE:
        assert (target / name).read_bytes() == (saved / name).read_bytes()
    assert load_model("small", "cpu").card.name == "small"


def nothing_came(tmp_path: Path, store: Path) -> bool:
    """True when the store is empty and nothing lies where a hostile path might lead."""
    stray = [p for p in tmp_path.rglob("*") if "stray" in p.name]
    return not stray and (not store.exists() or list(store.iterdir()) == [])


@pytest.mark.parametrize(
    "name",
    [
        "../stray",
        "../../stray.md",
        "docs/../../stray.md",
        "/var/stray.md",
        "..\\stray.md",
        "docs\\..\\..\\stray.md",
        "\\stray.md",
        "C:\\stray.md",
        "C:stray.md",
        "//server/share/stray.md",
        "docs/stray.md:stream",
    ],
)
@pytest.mark.parametrize("below", ["", "small/"])
def test_a_zip_with_a_path_that_leads_out_is_refused(name, below, saved, store, tmp_path):
    source = zipped(saved, tmp_path / "m.zip", below, {name: "evil"})
    with pytest.raises(ModelError, match="leads out of the bundle"):
        import_bundle(source)
    assert nothing_came(tmp_path, store)


def test_links_in_a_zip_are_refused_and_links_in_a_folder_not_followed(saved, store, tmp_path):
    secret = tmp_path / "secret.md"
    secret.write_text("secret")
    source = zipped(saved, tmp_path / "m.zip")
    with zipfile.ZipFile(source, "a") as archive:
        link = zipfile.ZipInfo("docs/stray.md")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, str(secret))
    with pytest.raises(ModelError, match="leads out of the bundle"):
        import_bundle(source)
    assert nothing_came(tmp_path, store)
    (saved / "docs" / "link.md").symlink_to(secret)
    (saved / "docs" / "more").symlink_to(tmp_path)
    assert names_in(import_bundle(saved)) == BUNDLE


@pytest.mark.parametrize("form", ["folder", "zip"])
@pytest.mark.parametrize(("limit", "value"), [("MAX_BUNDLE_BYTES", 20_000), ("MAX_BUNDLE_FILES", 3)])
def test_a_bundle_over_the_limits_is_refused(form, limit, value, saved, store, tmp_path, monkeypatch):
    source = saved if form == "folder" else zipped(saved, tmp_path / "m.zip")
    (saved / "docs" / "stray.md").write_text("x")
    monkeypatch.setattr(bundle, limit, value)
    with pytest.raises(ModelError, match=r"Expected a bundle of at most .* files and .* MB, .* has \d+ files"):
        import_bundle(source)
    monkeypatch.undo()
    assert nothing_came(tmp_path / "home", store)


def test_a_zip_bomb_is_refused_by_what_it_would_unpack_to(saved, store, tmp_path, monkeypatch):
    source = zipped(saved, tmp_path / "m.zip", more={"docs/zeros.txt": "0" * 30_000_000})
    assert source.stat().st_size < 1_000_000
    monkeypatch.setattr(bundle, "MAX_BUNDLE_BYTES", 10_000_000)
    with pytest.raises(ModelError, match="at most"):
        import_bundle(source)
    assert nothing_came(tmp_path / "home", store)


def test_a_zip_that_holds_more_than_it_says_is_refused(saved, store, tmp_path):
    source = zipped(saved, tmp_path / "m.zip", more={"docs/zeros.txt": "0" * 100_000})
    content = source.read_bytes()
    size, said = (n.to_bytes(4, "little") for n in (100_000, 10))
    assert content.count(size) == 2  # in the local header and in the directory
    source.write_bytes(content.replace(size, said))
    with pytest.raises(ModelError):
        import_bundle(source)
    assert nothing_came(tmp_path / "home", store)


def damage(source: Path, kind: str) -> None:
    content = bytearray(source.read_bytes())
    if kind == "cut off":
        del content[len(content) // 2 :]
    elif kind == "noise inside":
        with zipfile.ZipFile(source) as archive:
            start = archive.getinfo(WEIGHTS).header_offset + 30 + len(WEIGHTS)
        content[start : start + 400] = b"\xff" * 400
    elif kind == "no zip":
        content = bytearray(b"text")
    elif kind == "empty":
        content = bytearray()
    elif kind == "encrypted":  # the flag is set in both headers of each file
        for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            start = content.find(mark)
            while start >= 0:
                content[start + at] |= 1
                start = content.find(mark, start + 4)
    elif kind == "unknown compression":
        for mark, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
            start = content.find(mark)
            while start >= 0:
                content[start + at] = 77
                start = content.find(mark, start + 4)
    source.write_bytes(content)


@pytest.mark.parametrize("kind", ["cut off", "noise inside", "no zip", "empty", "encrypted", "unknown compression"])
def test_a_damaged_zip_is_refused_in_one_line(kind, saved, store, tmp_path):
    source = zipped(saved, tmp_path / "m.zip")
    damage(source, kind)
    with pytest.raises(ModelError, match="Expected a bundle folder or a zip") as raised:
        import_bundle(source)
    assert "\n" not in str(raised.value)
    assert nothing_came(tmp_path / "home", store)


@pytest.mark.parametrize("form", ["folder", "zip"])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / METADATA).unlink(), r"Expected configs/metadata\.json"),
        (lambda f: (f / METADATA).write_text("{"), "not valid JSON"),
        (lambda f: (f / METADATA).write_text('{"version": "1"}'), "no block 'medtl'"),
        (lambda f: (f / WEIGHTS).unlink(), "Expected weights at"),
        (lambda f: (f / WEIGHTS).write_bytes(b"x"), "damaged"),
        (lambda f: edit(f, lambda b: b.update(name="../stray")), "states the name"),
    ],
    ids=["no card", "bad card", "not ours", "no weights", "other weights", "evil name"],
)
def test_a_bad_bundle_is_not_imported_and_the_message_names_what_the_user_gave(
    form, spoil, message, saved, store, tmp_path
):
    spoil(saved)
    source = saved if form == "folder" else zipped(saved, tmp_path / "m.zip")
    with pytest.raises(ModelError, match=message) as raised:
        import_bundle(source)
    assert str(source) in str(raised.value)
    assert ".part-" not in str(raised.value)
    assert nothing_came(tmp_path / "home", store)


def test_a_name_that_is_taken_is_refused(saved, store, tmp_path):
    import_bundle(saved)
    before = (store / "small" / METADATA).read_bytes()
    edit(saved, lambda block: block.update(training={"other": 1}))
    with pytest.raises(ModelError, match="A model named small is here already"):
        import_bundle(saved)
    assert (store / "small" / METADATA).read_bytes() == before
    (tmp_path / "shipped" / "second").mkdir(parents=True)
    edit(saved, lambda block: block.update(name="second"))
    with pytest.raises(ModelError, match="A model named second is here already"):
        import_bundle(saved)
    assert [p.name for p in store.iterdir()] == ["small"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device"), MemoryError()])
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_an_import_that_is_interrupted_leaves_nothing(form, error, saved, store, tmp_path, monkeypatch):
    source = saved if form == "folder" else zipped(saved, tmp_path / "m.zip")

    def stop(*_):
        assert any(p.name.startswith(".part-") for p in store.iterdir())
        raise error

    monkeypatch.setattr(bundle, "check_weights", stop)
    with pytest.raises(ModelError if isinstance(error, OSError) else type(error)):
        import_bundle(source)
    assert list(store.iterdir()) == []


def test_nothing_to_import_is_said(tmp_path):
    with pytest.raises(ModelError, match="found nothing at"):
        import_bundle(tmp_path / "none.zip")


def test_a_store_that_cannot_be_made_is_said(saved, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"Could not import .* Check space and rights"):
        import_bundle(saved)
