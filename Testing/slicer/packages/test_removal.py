"""What MedTL installed is removed, and nothing that was there before or that something else needs."""

import os
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import host
import pytest
import slicer
from site_user import PATIENCE, REST, Site, digests
from tiny_wheels import pack_of, wheel

from medtl.errors import Cancelled, InputError, MedTLError
from medtl.installation.record import RECORD, read_record, write_record
from medtl.installation.site import alone
from MedTLLib.packages import packages, removal


def names() -> list[str]:
    return [each.name for each in packages.removable()]


def remove(site: Site, *given: str) -> list[str]:
    """Remove packages and wait for the end; what was told meanwhile."""
    told: list[str] = []
    done: list[bool] = []
    errors: list[MedTLError] = []

    def on_progress(text: str, fraction: float | None) -> None:
        told.append(text)

    command = [str(site.python)]
    removal.remove(given, on_progress, lambda: done.append(True), errors.append, site._stop, command)
    host.process_until(lambda: done or errors, PATIENCE, "The end")
    if errors:
        raise errors[0]
    return told


def test_only_what_was_not_there_before_is_recorded(site: Site) -> None:
    site.add("einops", "0.1")  # too old: it is replaced
    site.add("SimpleITK", "2.5.7")
    assert names() == []
    site.install()
    assert names() == sorted(["torch", "torchvision", *(name for name in REST if name != "einops")])
    assert read_record(site.folder).keys() == set(names())


def test_what_is_removed_is_what_was_installed_and_slicer_s_own_stays(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pip is the real one, that of this Python."""
    import pip

    shutil.rmtree(site.pip / "pip")
    (site.pip / "pip").symlink_to(Path(pip.__file__).parent)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    site.add("numpy", "2.1")
    site.add("SimpleITK", "2.5.7")
    before = digests(site.folder)
    wheels = tmp_path / "pack" / "wheels"
    wheels.mkdir(parents=True)
    for name in ("torch", "torchvision", *REST):
        wheel(wheels, name, "99.0", requires=["torch>=2"] if name == "torchvision" else [])
    site.install(pack=pack_of(wheels.parent))
    listed = packages.removable()
    assert [each.name for each in listed] == sorted(["torch", "torchvision", *REST])
    assert {each.version for each in listed} == {"99.0"}
    remove(site, "timm")
    assert "timm" not in names()
    assert {"torch", "monai"} < set(names())
    told = remove(site, *names())
    assert told[0].startswith("Removing ")
    assert digests(site.folder) == before
    assert packages.removable() == ()


def test_what_other_packages_need_is_not_offered_directly_or_through_another(site: Site) -> None:
    site.install()
    needs(site, "torch", "sympy")
    site.add("sympy", "1.0")
    record(site, "sympy", "1.0")
    needs(site, "timm", "torch")
    assert {"torch", "sympy", "timm"} < set(names())
    site.add("totalsegmentator", "2.0")  # installed by another extension
    needs(site, "totalsegmentator", "torch; python_version > '3'", "monai; extra == 'all'", "not a requirement !")
    assert not {"torch", "sympy"} & set(names())
    assert {"timm", "monai"} < set(names())


def test_what_the_requirements_of_other_extensions_name_is_not_offered(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install()
    module = tmp_path / "Other"
    (module / "Resources").mkdir(parents=True)
    (module / "Other.py").touch()
    (module / "Resources" / "requirements.txt").write_text("monai>=1.0  # for networks\nTIMM\n")
    (module / "requirements-dev.txt").write_text("-r other.txt\n??? \n")  # of another format
    found = SimpleNamespace(path=str(module / "Other.py"))
    ours = SimpleNamespace(path=str(removal.ROOT / "MedTLSegment" / "MedTLSegment.py"))
    manager = SimpleNamespace(
        modulesNames=lambda: ["Other", "MedTLSegment", "Compiled"],
        module=lambda name: {"Other": found, "MedTLSegment": ours}.get(name),
    )
    monkeypatch.setattr(type(slicer.app), "moduleManager", lambda self: manager)
    assert not {"monai", "timm"} & set(names())
    assert "einops" in names()  # named by MedTL's own requirements


def test_a_package_that_stays_and_needs_another_one_is_named(site: Site) -> None:
    site.install()
    needs(site, "torchvision", "torch")
    with pytest.raises(InputError, match="torchvision needs torch: tick torchvision, too, or leave torch"):
        remove(site, "torch")
    assert "torch" in names()
    remove(site, "torch", "torchvision")
    assert not {"torch", "torchvision"} & set(names())


def test_a_version_that_someone_else_installed_is_not_medtls(site: Site) -> None:
    site.install()
    (site.folder / "timm-99.0.dist-info").rename(site.folder / "timm-100.0.dist-info")
    metadata = site.folder / "timm-100.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("99.0", "100.0"))
    assert "timm" not in names()


def test_where_it_fails_the_reason_is_given_and_the_rest_is_still_known(site: Site) -> None:
    site.install()
    before = names()
    site.tell(fails={"uninstall": "ERROR: [WinError 5] Access is denied: 'torch.dll'"})
    with pytest.raises(InputError, match=r"timm could not be removed \(.*Access is denied.*Close other windows"):
        remove(site, "timm")
    assert names() == before


def test_a_cancel_ends_after_the_package_at_hand_and_what_is_left_has_what_it_needs(site: Site) -> None:
    site.install()
    needs(site, "torchvision", "torch")
    needs(site, "timm", "torchvision")
    kept = {name: digests(site.folder / name) for name in ("torch", "torchvision")}
    errors: list[MedTLError] = []
    site.tell(hangs="timm")
    given, command = ("torch", "torchvision", "timm"), [str(site.python)]
    running = removal.remove(
        given,
        lambda text, fraction: None,
        lambda: errors.append(InputError("done")),
        errors.append,
        site._stop,
        command,
    )
    here = site.pip / "pip" / "here"
    host.process_until(here.exists, PATIENCE, "pip")
    running.cancel()
    (site.pip / "pip" / "go").touch()
    host.process_until(lambda: errors, PATIENCE, "The end")
    (error,) = errors
    assert isinstance(error, Cancelled)
    assert str(error) == "The removal was cancelled. Removed before: timm."
    assert {name: digests(site.folder / name) for name in kept} == kept
    assert {"torch", "torchvision"} < set(names())
    assert [each.name for each in packages.missing() if each.name in given] == ["timm"]
    assert read_record(site.folder).keys() == set(names())
    site.tell()
    site.install()  # what the set-up page offers then
    assert [each.name for each in packages.missing() if each.name in given] == []


def test_packages_are_removed_before_those_that_they_need_also_in_a_circle(site: Site) -> None:
    site.install()
    needs(site, "monai", "einops")
    needs(site, "einops", "timm")
    assert removal.in_order(["timm", "einops", "monai", "gone"]) == ("monai", "einops", "timm", "gone")
    needs(site, "timm", "monai", "timm")
    assert removal.in_order(["timm", "einops", "monai"]) == ("timm", "monai", "einops")


def test_a_removal_that_was_killed_is_recognised_and_repaired(site: Site) -> None:
    site.install()
    (site.folder / "timm-99.0.dist-info" / "RECORD").write_text("timm/__init__.py,,\ntimm-99.0.dist-info/RECORD,,\n")
    assert packages.broken() == {}
    (site.folder / "timm").rename(site.folder / "~imm")  # as pip does before it deletes
    assert packages.broken() == {"timm": "of version 99.0 the code is gone: timm/__init__.py"}
    assert [each.name for each in packages.missing()] == ["timm"]
    site.install()
    assert packages.broken() == {}
    assert (site.folder / "timm" / "__init__.py").is_file()


def test_a_damaged_record_offers_nothing(site: Site) -> None:
    site.install()
    (site.folder / RECORD).write_text("[1, 2")
    assert packages.removable() == ()
    (site.folder / RECORD).write_text("[1, 2]")
    assert packages.removable() == ()


def test_while_another_slicer_installs_into_the_folder_nothing_is_removed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", tempfile.gettempdir())  # the lock lies there
    site.install()
    before, calls = digests(site.folder), len(site.calls)
    with alone(site.folder), pytest.raises(InputError, match=r"timm could not be removed .*Another Slicer installs"):
        remove(site, "timm")
    assert digests(site.folder) == before
    assert len(site.calls) == calls


def test_in_testing_mode_nothing_is_removed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.install()
    monkeypatch.setattr(type(slicer.app), "testingEnabled", staticmethod(lambda: True))
    with pytest.raises(InputError, match="testing mode"):
        remove(site, "timm")


def test_an_installation_that_was_cancelled_records_nothing(site: Site) -> None:
    site.tell(hangs="download")
    running = site.start()
    host.process_until((site.pip / "pip" / "here").exists, PATIENCE, "pip")
    running.cancel()
    site.wait()
    assert isinstance(site.error, Cancelled)
    assert not (site.folder / RECORD).exists()


def needs(site: Site, name: str, *needed: str) -> None:
    """Let an installed package say what it needs."""
    (info,) = site.folder.glob(f"{name.replace('-', '_')}-*.dist-info")
    with (info / "METADATA").open("a") as file:
        file.writelines(f"Requires-Dist: {each}\n" for each in needed)


def record(site: Site, name: str, version: str) -> None:
    """Let a package be one that MedTL installed."""
    write_record(site.folder, {**read_record(site.folder), name: version})
