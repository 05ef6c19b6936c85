"""The CMake files list what is in the tree, and what they install works: against stubs of Slicer's macros."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
STUBS = ROOT / "Testing" / "cmake-stubs"
SCHEMA = ROOT.parent / "shared" / "schemas" / "slicer-extension-catalog-entry-schema-v1.0.1.json"
MACROS = ROOT.parent / "shared" / "slicer-api" / "cmake-5.12.json"
SCRIPTED_MODULES = "lib/Slicer-5.12/qt-scripted-modules"
RAW = "https://raw.githubusercontent.com/MedTL/SlicerMedTL/main/"
NAME = "MedTLTumourSegmentation"
MODULES = ("MedTLSegment", "MedTLClassify")
# Prints where the code was found and the first 16 digits of the weights, by the card and by the file.
LOAD = """
import hashlib, pathlib, MedTLLib, medtl
from medtl.model.store import WEIGHTS, shipped_folders
from medtl.model.card import load_card
folder = next(f for f in shipped_folders() if f.is_dir()) / "glioma-flair"
card = load_card(folder)
digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
for path in (MedTLLib.__file__, medtl.__file__, folder):
    print(pathlib.Path(path).resolve())
print(card.name, digest == card.sha256)
"""


def cmake() -> str:
    program = shutil.which("cmake", path=str(Path(sys.executable).parent)) or shutil.which("cmake")
    if program is None:
        pytest.skip("needs cmake, which is not here (pip install cmake)")
    return program


@pytest.fixture(scope="module")
def build(tmp_path_factory) -> Path:
    """The extension configured, with an install in `install/`."""
    folder = tmp_path_factory.mktemp("build")
    program = cmake()
    # Nothing is compiled: any program may stand for the compilers, so that none need be here.
    compilers = [f"-DCMAKE_{name}_COMPILER{end}" for name in ("C", "CXX") for end in (f"={program}", "_FORCED=ON")]
    run(program, "-S", ROOT, "-B", folder, f"-DSlicer_DIR={STUBS}", "-Wno-dev", *compilers)
    run(program, "--install", folder, "--prefix", folder / "install")
    return folder


def run(*command: object) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def listed(build: Path, target: str) -> list[str]:
    return (build / "lists" / f"{target}.txt").read_text(encoding="utf-8").splitlines()


def tree(folder: Path, pattern: str = "*") -> set[str]:
    """Files below the folder that belong to the repository, relative to ROOT."""
    found = (path.relative_to(ROOT) for path in folder.rglob(pattern) if path.is_file())
    return {path.as_posix() for path in found if not any(part.startswith((".", "__pyc")) for part in path.parts)}


def facts(build: Path) -> dict[str, str]:
    lines = (build / "extension.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_lists_every_script_and_every_resource_once(build, module):
    folder = ROOT / module
    expected = tree(folder, "*.py") | tree(folder / "Resources")
    found = listed(build, module)
    assert len(found) == len(set(found))
    assert {f"{module}/{name}" for name in found} == expected


def test_the_engine_and_every_model_are_listed_once(build):
    found = listed(build, "MedTLEngine")
    assert len(found) == len(set(found))
    assert set(found) == tree(ROOT / "medtl") | tree(ROOT / "Resources" / "Models")


def test_the_self_tests_of_both_modules_are_registered(build):
    assert listed(build, "tests") == [f"{module}.py" for module in MODULES]


def test_an_install_holds_the_same_files_with_their_subfolders(build):
    installed = build / "install" / SCRIPTED_MODULES
    found = {p.relative_to(installed).as_posix() for p in installed.rglob("*") if p.is_file()}
    assert found == {name for target in ("MedTLEngine", *MODULES) for name in listed(build, target)}


@pytest.mark.parametrize("place", ["build", "install", "source"])
def test_the_code_and_a_model_are_found_in_every_kind_of_tree(build, place, tmp_path):
    folder = {
        "build": build / SCRIPTED_MODULES,
        "install": build / "install" / SCRIPTED_MODULES,
        "source": ROOT / "MedTLSegment",  # as when it is named in Slicer's module paths
    }[place]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "MEDTL_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", LOAD], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    *paths, card = done.stdout.splitlines()
    beside = ROOT if place == "source" else folder
    assert card == "glioma-flair True"
    assert [Path(path) for path in paths] == [
        folder / "MedTLLib" / "__init__.py",
        beside / "medtl" / "__init__.py",
        beside / "Resources" / "Models" / "glioma-flair",
    ]


def test_a_file_that_is_not_there_stops_the_configuration(tmp_path):
    program = cmake()
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16.3...3.28)\nproject(x NONE)\nfind_package(Slicer REQUIRED)\n"
        "include(${Slicer_USE_FILE})\nslicerMacroBuildScriptedModule(NAME x SCRIPTS x.py)\n",
        encoding="utf-8",
    )
    command = [program, "-S", str(tmp_path), "-B", str(tmp_path / "b"), f"-DSlicer_DIR={STUBS}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "x.py" in done.stderr


def test_the_stubs_take_the_arguments_of_slicers_macros_and_no_others():
    if not MACROS.is_file():
        pytest.skip("needs ../shared/slicer-api, which is not here")
    real = json.loads(MACROS.read_text(encoding="utf-8"))["functions"]
    stubs = (STUBS / "UseSlicer.cmake").read_text(encoding="utf-8")
    parsed = re.findall(r'macro\((\w+)\)\s+cmake_parse_arguments\(\w+\s+"(.*?)"\s+"(.*?)"\s+"(.*?)"', stubs)
    assert len(parsed) == 3
    for name, *groups in parsed:
        macro = real[name]
        words = {word for group in groups for word in group.split(";") if word}
        kinds = ("options", "one_value", "multi_value", "value")
        assert words == {word for kind in kinds for word in macro.get(kind, [])}, name


# --- the Extensions Index ---


def entry() -> dict:
    return json.loads((ROOT / f"{NAME}.json").read_text(encoding="utf-8"))


def test_the_entry_for_the_extensions_index_is_valid():
    if not SCHEMA.is_file():
        pytest.skip("needs ../shared/schemas, which is not here")
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.validate(entry(), schema)
    assert entry()["$schema"] == schema["$id"]


def test_the_entry_says_what_the_cmake_file_says(build):
    assert facts(build)["NAME"] == NAME  # and the entry's file name
    assert entry()["category"] == facts(build)["CATEGORY"]
    assert entry()["build_dependencies"] == facts(build)["DEPENDS"].split(";")
    assert entry()["scm_url"] == facts(build)["HOMEPAGE"] + ".git"


def test_pictures_that_the_catalogue_shows_are_in_the_repository(build):
    urls = [facts(build)["ICONURL"], *facts(build)["SCREENSHOTURLS"].split()]
    assert all(url.startswith(RAW) for url in urls)
    assert [url for url in urls if not (ROOT / url.removeprefix(RAW)).is_file()] == []


@pytest.mark.parametrize(
    "path", ["Resources/Icons/MedTL.png", *(f"{module}/Resources/Icons/{module}.png" for module in MODULES)]
)
def test_an_icon_is_128_pixels_wide_and_high_and_transparent_at_its_corners(path):
    with Image.open(ROOT / path) as icon:
        assert icon.size == (128, 128)
        assert icon.convert("RGBA").getpixel((0, 0))[3] == 0


def test_the_icons_differ():
    icons = [ROOT / "Resources/Icons/MedTL.png", *(ROOT / f"{m}/Resources/Icons/{m}.png" for m in MODULES)]
    assert len({hashlib.sha256(icon.read_bytes()).hexdigest() for icon in icons}) == len(icons)
