"""The model store: bundles found, listed, imported, exported, deleted; hostile ones leave nothing behind."""

import math
import os
import re
import stat
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from small_model import a_card, edit, save

from medtl.errors import InputError, ModelError
from medtl.io.into_place import owner_tag
from medtl.model import store as models
from medtl.model.bundle import load_model, save_bundle
from medtl.model.card import METADATA, Coefficients, Term, TumourClass
from medtl.model.store import WEIGHTS, delete_bundle, export_bundle, find_model, import_bundle, list_models


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch) -> Path:
    """The user's store, empty; no shipped models."""
    monkeypatch.setenv("MEDTL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(models, "shipped_folders", lambda: (tmp_path / "shipped", tmp_path / "wheel"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home" / "models"


@pytest.fixture
def saved(tmp_path) -> Path:
    (tmp_path / "work").mkdir()
    save(tmp_path / "work" / "small")
    return tmp_path / "work" / "small"


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
    assert models.user_store() == tmp_path / "home" / "models"
    monkeypatch.delenv("MEDTL_HOME")
    for system, variable, place in (("linux", "XDG_DATA_HOME", "data"), ("win32", "LOCALAPPDATA", "local")):
        monkeypatch.setattr(models.sys, "platform", system)
        monkeypatch.setenv(variable, str(tmp_path / place))
        assert models.user_store() == tmp_path / place / "MedTL" / "models"
    monkeypatch.setattr(models.sys, "platform", "darwin")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert models.user_store() == tmp_path / "Library" / "Application Support" / "MedTL" / "models"


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


def test_one_bad_folder_hides_no_other_model(saved, store, tmp_path):
    import_bundle(saved)
    pattern = "(" * 10_000 + ")" * 10_000
    for name in ("bad-pattern", "pipe", "no-numbers", "link"):
        save(store / name, replace(a_card(), name=name))
    edit(store / "bad-pattern", lambda block: block["gate"].update(sequence=pattern))
    edit(store / "no-numbers", lambda block: block["calibration"].update(temperature=math.inf))
    for name, put in (("pipe", os.mkfifo), ("link", lambda path: path.symlink_to("/dev/zero"))):
        (store / name / METADATA).unlink()
        put(store / name / METADATA)
    os.mkdir(os.fsencode(store) + b"/latin\xe9")  # noqa: PTH102
    (store / "red\x1b[31m").mkdir()
    (store / "circle").symlink_to(store / "circle")
    (store / "file-behind").symlink_to(saved / "LICENSE")
    found = {entry.name: entry.problem for entry in list_models()}
    assert found.pop("small") == ""
    assert sorted(found) == ["bad-pattern", "latin\\udce9", "link", "no-numbers", "pipe", "red\\x1b[31m"]
    assert all(problem and problem.isprintable() for problem in found.values())
    assert find_model("small") == store / "small"
    with pytest.raises(ModelError, match=r"Models here: small\."):
        find_model("latin\udce9")


def test_a_folder_that_may_not_be_read_is_listed_as_damaged(saved, store, monkeypatch):
    import_bundle(saved)
    save(store / "locked", replace(a_card(), name="locked"))
    opened = os.open

    def refuse(path, *args, **kwargs):
        if "locked" in str(path):
            raise PermissionError(13, "Permission denied")
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    found = {entry.name: entry.problem for entry in list_models()}
    assert found["small"] == ""
    assert "Permission denied" in found["locked"]


@pytest.mark.parametrize("kind", ["a file", "locked"])
def test_a_store_that_cannot_be_read_is_listed_with_the_reason(kind, store, tmp_path, monkeypatch):
    (tmp_path / "shipped").mkdir()
    save(tmp_path / "shipped" / "first", replace(a_card(), name="first"))
    if kind == "a file":
        store.parent.mkdir()
        store.write_text("")
    else:
        listed = Path.iterdir

        def refuse(path):
            if path == store:
                raise PermissionError(13, "Permission denied")
            return listed(path)

        monkeypatch.setattr(Path, "iterdir", refuse)
    first, second = list_models()
    assert (first.name, first.problem) == ("first", "")
    assert second.card is None
    assert re.search(r"model store .* cannot be read: (Not a directory|Permission denied)", second.problem)
    assert find_model("first") == tmp_path / "shipped" / "first"
    with pytest.raises(ModelError, match="cannot be read"):
        delete_bundle("first")


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
    with pytest.raises(ModelError, match="leads out of it"):
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
    with pytest.raises(ModelError, match="leads out of it"):
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
    monkeypatch.setattr(models, limit, value)
    with pytest.raises(ModelError, match=r"Expected a bundle of at most .* files and .* MB, .* has \d+ files"):
        import_bundle(source)
    monkeypatch.undo()
    assert nothing_came(tmp_path / "home", store)


def test_a_zip_bomb_is_refused_by_what_it_would_unpack_to(saved, store, tmp_path, monkeypatch):
    source = zipped(saved, tmp_path / "m.zip", more={"docs/zeros.txt": "0" * 30_000_000})
    assert source.stat().st_size < 1_000_000
    monkeypatch.setattr(models, "MAX_BUNDLE_BYTES", 10_000_000)
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


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=["bzip2", "lzma"])
def test_a_compression_whose_unpacking_has_no_bound_is_refused(kind, saved, store, tmp_path):
    source = zipped(saved, tmp_path / "m.zip")
    with zipfile.ZipFile(source, "a", kind) as archive:
        archive.writestr("docs/zeros.md", "0" * 100_000)
    with pytest.raises(ModelError, match=r"files are stored or deflated, .* has another compression"):
        import_bundle(source)
    assert nothing_came(tmp_path / "home", store)


def test_what_is_unpacked_is_counted_over_all_files(saved, store, tmp_path, monkeypatch):
    source = zipped(saved, tmp_path / "m.zip", more={f"docs/{n}.md": "0" * 30_000 for n in range(3)})
    monkeypatch.setattr(models, "MAX_BUNDLE_BYTES", 60_000)
    monkeypatch.setattr(models, "check_size", lambda *_: None)
    with pytest.raises(ModelError, match="is larger than it says"):
        import_bundle(source)
    assert nothing_came(tmp_path / "home", store)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", [METADATA, "LICENSE", "docs/readme.MD"])
def test_a_zip_with_two_files_of_one_name_is_refused(name, saved, store, tmp_path):
    source = zipped(saved, tmp_path / "m.zip", more={name: "{}"})
    with pytest.raises(ModelError, match="two files of one name"):
        import_bundle(source)
    assert nothing_came(tmp_path / "home", store)


def test_texts_whose_names_no_system_takes_or_nobody_can_read_are_left_behind(saved, store, tmp_path):
    names = ("con.md", "LPT1.txt", "a\x1b[31m.md", "a\nb.md", "x" * 120 + ".md", ".hidden.md", "a\u202eb.md", "d./x.md")
    source = zipped(saved, tmp_path / "m.zip", more={f"docs/{name}": "x" for name in names})
    assert names_in(import_bundle(source)) == BUNDLE


@pytest.mark.parametrize("name", ["LICENSE", METADATA, WEIGHTS])
@pytest.mark.parametrize("verb", ["import", "export"])
def test_a_link_in_place_of_a_file_copies_nothing(verb, name, saved, store, tmp_path):
    (tmp_path / "secret").write_bytes((saved / name).read_bytes())
    (saved / name).unlink()
    (saved / name).symlink_to(tmp_path / "secret")
    with pytest.raises(ModelError, match="found a link"):
        import_bundle(saved) if verb == "import" else export_bundle(str(saved), tmp_path / "small.zip")
    assert nothing_came(tmp_path / "home", store)
    assert not (tmp_path / "small.zip").exists()


def test_a_folder_of_texts_that_is_a_link_is_passed_over(saved, store, tmp_path):
    (saved / "docs").rename(tmp_path / "elsewhere")
    (saved / "docs").symlink_to(tmp_path / "elsewhere")
    assert names_in(import_bundle(saved)) == [name for name in BUNDLE if not name.startswith("docs")]


def test_a_pipe_in_place_of_a_file_is_not_waited_for(saved, store, tmp_path):
    (saved / "LICENSE").unlink()
    os.mkfifo(saved / "LICENSE")
    with pytest.raises(ModelError, match="found a folder or a device"):
        import_bundle(saved)
    os.mkfifo(tmp_path / "pipe.zip")
    with pytest.raises(ModelError, match="Expected a bundle folder or a zip"):
        import_bundle(tmp_path / "pipe.zip")
    assert nothing_came(tmp_path / "home", store)


@pytest.mark.parametrize("other", ["Small", "SMALL"])
def test_a_name_that_differs_only_in_capitals_is_taken(other, saved, store):
    import_bundle(saved)
    edit(saved, lambda block: block.update(name=other))
    with pytest.raises(ModelError, match=f"A model named {other} is here already"):
        import_bundle(saved)


def test_a_model_that_appears_meanwhile_is_not_replaced(saved, store, monkeypatch):
    monkeypatch.setattr(models, "is_free", lambda name: bool(save(store / name)))
    with pytest.raises(ModelError, match="A model named small is here already"):
        import_bundle(saved)
    assert [path.name for path in store.iterdir()] == ["small"]


@pytest.mark.parametrize("kind", ["cut off", "noise inside", "no zip", "empty", "encrypted", "unknown compression"])
def test_a_damaged_zip_is_refused_in_one_line(kind, saved, store, tmp_path):
    source = zipped(saved, tmp_path / "m.zip")
    damage(source, kind)
    expected = "a zip whose files are stored or deflated" if "compression" in kind else "a bundle folder or a zip"
    with pytest.raises(ModelError, match=f"Expected {expected}") as raised:
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
        (lambda f: (f / WEIGHTS).unlink(), r"Expected models/model\.safetensors in"),
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


def test_what_a_killed_import_left_is_deleted_by_the_next_one(saved, store):
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait(30)
    machine = owner_tag().split("-")[0]
    left, living = (store / f".part-{machine}-{number}-abc" for number in (ended.pid, os.getpid()))
    for folder in (left, living):
        folder.mkdir(parents=True)
    (left / "weights").write_bytes(b"half")
    import_bundle(saved)
    assert sorted(p.name for p in store.iterdir()) == sorted([living.name, "small"])


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

    monkeypatch.setattr(models, "check_weights", stop)
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


# Out of the store


def test_an_exported_model_comes_back_the_same(saved, store, tmp_path):
    (saved / "docs" / "data.txt").write_text("text")
    (saved / "docs" / "photo.png").write_text("not a model's")
    import_bundle(saved)
    export_bundle("small", tmp_path / "small.zip")
    before = {name: (store / "small" / name).read_bytes() for name in names_in(store / "small")}
    delete_bundle("small")
    assert import_bundle(tmp_path / "small.zip") == store / "small"
    assert {name: (store / "small" / name).read_bytes() for name in names_in(store / "small")} == before
    export_bundle(str(saved), tmp_path / "of-a-folder.ZIP")
    with zipfile.ZipFile(tmp_path / "of-a-folder.ZIP") as archive:
        assert sorted(archive.namelist()) == [f"small/{name}" for name in sorted([*BUNDLE, "docs/data.txt"])]


def test_a_model_of_plain_numbers_travels_without_weights_and_damage_is_seen(store, tmp_path):
    numbers = Coefficients(0.5, (Term("volume", 30.0, 20.0, 0.4),), ((0.4, 0.5),))
    card = replace(
        a_card(),
        name="shape",
        task="classification",
        labels=(),
        networks=(),
        classes=(TumourClass("a", "A"), TumourClass("b", "B")),
        coefficients=numbers,
    )
    save_bundle(tmp_path / "shape", card, {}, "# Shape", "Terms", {})
    export_bundle(str(tmp_path / "shape"), tmp_path / "shape.zip")
    folder = import_bundle(tmp_path / "shape.zip")
    assert folder == store / "shape"
    assert sorted(f.name for f in folder.rglob("*") if f.is_file()) == ["LICENSE", "README.md", "metadata.json"]
    assert load_model("shape", task="classification").card.coefficients == numbers
    assert [(m.name, m.problem) for m in list_models()] == [("shape", "")]
    metadata = (folder / METADATA).read_text()
    (folder / METADATA).write_text(metadata.replace('"weight": 0.4', '"weight": 0.9'))
    assert "are damaged" in list_models()[0].problem
    # A bundle that an older MedTL wrote lacks the entries that were not known then.
    (folder / METADATA).write_text(re.sub(r',\s*"prevalence": null', "", metadata))
    assert "prevalence" not in (folder / METADATA).read_text()
    assert list_models()[0].problem == ""
    delete_bundle("shape")
    assert list_models() == ()


def test_an_export_replaces_a_file_only_when_told_to(saved, tmp_path):
    path = tmp_path / "small.zip"
    path.write_text("precious")
    with pytest.raises(InputError, match="exists already"):
        export_bundle(str(saved), path)
    assert path.read_text() == "precious"
    export_bundle(str(saved), path, force=True)
    assert import_bundle(path).name == "small"


@pytest.mark.parametrize(
    ("name", "path", "error", "message"),
    [
        ("work/small", "small.seg.nrrd", InputError, r"ends in \.zip"),
        ("work/small", "folder.zip", InputError, r"ends in \.zip"),
        ("work/small", "none/small.zip", InputError, "does not exist"),
        ("nothing", "small.zip", ModelError, "found 'nothing'"),
        ("work/torn", "small.zip", ModelError, "damaged"),
    ],
)
def test_an_export_that_cannot_be_is_refused_and_leaves_nothing(name, path, error, message, saved, tmp_path):
    save(tmp_path / "work" / "torn")
    (tmp_path / "work" / "torn" / WEIGHTS).write_bytes(b"")
    (tmp_path / "folder.zip").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(error, match=message):
        export_bundle(name, tmp_path / path, force=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_export_that_fills_the_disk_leaves_the_older_file(saved, tmp_path, monkeypatch):
    path = tmp_path / "small.zip"
    path.write_text("precious")

    def full(stream, out, *_):
        out.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(models, "copy", full)
    with pytest.raises(InputError, match="No space left on device"):
        export_bundle(str(saved), path, force=True)
    assert path.read_text() == "precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["small.zip", "work"]


def test_a_deleted_model_is_gone_and_nothing_else(saved, store):
    import_bundle(saved)
    save(store / "other", replace(a_card(), name="other"))
    assert delete_bundle("small") == store / "small"
    assert [m.name for m in list_models()] == ["other"]
    assert [p.name for p in store.iterdir()] == ["other"]
    assert saved.is_dir()


def test_a_damaged_model_can_be_deleted(saved, store):
    import_bundle(saved)
    (store / "small" / METADATA).write_text("{")
    delete_bundle("small")
    assert list(store.iterdir()) == []


def test_a_link_in_the_store_is_deleted_and_what_it_leads_to_stays(saved, store):
    store.mkdir(parents=True)
    (store / "small").symlink_to(saved)
    delete_bundle("small")
    assert list(store.iterdir()) == []
    assert names_in(saved) == BUNDLE


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("first", "comes with MedTL"),
        ("shipped/first", "comes with MedTL"),
        ("work/small", "elsewhere by hand"),
        ("home/models/second", "elsewhere by hand"),
        ("../models/second", "Models here: first, second"),
        *((name, "Models here: first, second") for name in ("none", "", ".", "..", "second/docs", "a file", ".part-x")),
        *((name, "Models here: first, second") for name in ("a\0b", "x" * 5000)),
    ],
    ids=lambda value: value[:20].replace("\0", "0"),
)
def test_only_a_model_of_the_user_s_store_can_be_deleted(name, message, saved, store, tmp_path):
    (tmp_path / "shipped").mkdir()
    save(tmp_path / "shipped" / "first", replace(a_card(), name="first"))
    store.mkdir(parents=True)
    save(store / "second", replace(a_card(), name="second"))
    (store / "a file").write_text("")
    (store / ".part-x").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ModelError, match=message):
        delete_bundle(name)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_model_that_is_half_deleted_is_listed_no_more(saved, store, monkeypatch):
    import_bundle(saved)

    def stuck(path, *args, **kwargs):
        raise KeyboardInterrupt  # as a kill in the middle of it

    monkeypatch.setattr("shutil.rmtree", stuck)
    monkeypatch.setattr("tempfile._shutil.rmtree", stuck)
    with pytest.raises(KeyboardInterrupt):
        delete_bundle("small")
    monkeypatch.undo()
    monkeypatch.setenv("MEDTL_HOME", str(store.parent))
    assert "small" not in [m.name for m in list_models()]
    assert import_bundle(saved) == store / "small"  # and its name is free


def test_a_model_that_cannot_be_moved_stays_whole(saved, store, monkeypatch):
    import_bundle(saved)

    def held(*_):
        raise PermissionError(13, "The file is in use")

    monkeypatch.setattr(Path, "rename", held)
    with pytest.raises(ModelError, match=r"Could not delete .*The file is in use"):
        delete_bundle("small")
    assert names_in(store / "small") == BUNDLE
    assert [p.name for p in store.iterdir()] == ["small"]
