"""What Slicer's Extensions Index checks and asks for, as far as it needs no network."""

import ast
import json
import re
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from medtl.model.store import shipped_folders
from medtl.model.terms import terms_of

ROOT = Path(__file__).resolve().parents[2]
CMAKE = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
NAME = re.search(r"^project\((\w+)\)", CMAKE, re.MULTILINE)[1]
ENTRY = json.loads((ROOT / f"{NAME}.json").read_text(encoding="utf-8"))
SCHEMA = ROOT.parent / "shared" / "schemas" / "slicer-extension-catalog-entry-schema-v1.0.1.json"
MODULES = ("MedTLSegment", "MedTLClassify")
# Of https://citation-file-format.github.io, version 1.2.0: what must be there, and the types of what we state.
CITATION_REQUIRED = {"authors", "cff-version", "message", "title"}
CITATION_KEYS = CITATION_REQUIRED | {"abstract", "keywords", "license", "repository-code", "type"}
# What may be imported when Slicer reads a module: its own packages, those that it ships, ours, the standard library.
KNOWN = {"slicer", "vtk", "qt", "ctk", "SimpleITK", "numpy", "scipy", "medtl", "MedTLLib", "MedTLClassifyLib"}


def stated(name: str) -> str:
    """The value of EXTENSION_NAME, which must stand in one line: the index's script reads lines."""
    return re.search(rf'^set\(EXTENSION_{name} "([^"\n]*)"\)', CMAKE, re.MULTILINE)[1]


def scripts() -> list[Path]:
    """The Python files that Slicer loads: those of the modules."""
    return sorted(path for module in MODULES for path in (ROOT / module).rglob("*.py"))


def test_the_entry_has_what_is_required_and_no_other_key():
    required = {"$schema", "category", "scm_url"}
    optional = {"build_dependencies", "build_subdirectory", "enabled", "scm_revision", "scm_type", "tier"}
    assert required <= set(ENTRY) <= required | optional
    assert re.fullmatch(r"https://github\.com/[\w-]+/Slicer\w+\.git", ENTRY["scm_url"])
    assert not NAME.startswith("Slicer")
    assert ENTRY["tier"] in range(1, 6)


@pytest.mark.skipif(not SCHEMA.is_file(), reason="needs ../shared/schemas, which is not here")
def test_the_entry_is_valid_by_the_index_s_schema():
    jsonschema.validate(ENTRY, json.loads(SCHEMA.read_text(encoding="utf-8")))


def test_the_entry_agrees_with_the_cmake_file():
    depends = re.search(r'^set\(EXTENSION_DEPENDS "([^"\n]*)"\)', CMAKE, re.MULTILINE)[1]
    assert ENTRY["build_dependencies"] == depends.split(";") == ["PyTorch"]
    assert ENTRY["category"] == stated("CATEGORY")
    assert ENTRY["scm_url"] == f"{stated('HOMEPAGE')}.git"


def test_names_say_what_the_extension_does():
    assert re.search("tumour", NAME, re.IGNORECASE)
    for module in MODULES:
        source = (ROOT / module / f"{module}.py").read_text(encoding="utf-8")
        title = re.search(r'parent\.title = _\("(.*)"\)', source)[1]
        assert all(word in title for word in ("tumours", "MRI", "CT")), title


@pytest.mark.parametrize("text", [stated("DESCRIPTION"), README.split("\n## ")[0]], ids=["description", "README"])
def test_the_description_names_organ_modality_input_results_and_terms(text):
    words = text.casefold()
    for organ_or_modality in ("brain", "kidney", "liver", "organs", "mri", "flair", "t1 with contrast", "ct"):
        assert organ_or_modality in words
    for result in ("segmentation", "volume", "class"):
        assert result in words
    assert "not for diagnosis" in words
    bound = [terms_of(folder) for folder in shipped_folders()[0].iterdir() if folder.is_dir()]
    if any("NON-COMMERCIAL" in terms.summary for terms in bound):
        assert "NON-COMMERCIAL USE ONLY" in text


def test_the_readme_states_the_terms_of_each_model_as_its_bundle_does():
    for folder in shipped_folders()[0].iterdir():
        if folder.is_dir():
            (row,) = [line for line in README.splitlines() if line.startswith(f"| `{folder.name}` |")]
            assert terms_of(folder).name.casefold() in row.casefold()


def test_icon_and_screenshots_are_raw_addresses_of_files_that_are_here():
    for url in (stated("ICONURL"), *stated("SCREENSHOTURLS").split()):
        raw = re.fullmatch(r"https://raw\.githubusercontent\.com/[\w-]+/\w+/main/([\w./-]+\.png)", url)
        assert raw, url
        assert (ROOT / raw[1]).is_file(), url


def test_every_file_that_cmake_lists_is_here():
    for folder in (ROOT, *(ROOT / module for module in MODULES)):
        text = (folder / "CMakeLists.txt").read_text(encoding="utf-8").replace("${MODULE_NAME}", folder.name)
        names = re.findall(r"^  ([\w./-]+\.(?:py|png|ui|txt|md|json|safetensors))$", text, re.MULTILINE)
        assert len(names) > 5
        assert [name for name in names if not (folder / name).is_file()] == []


@pytest.mark.parametrize("path", scripts(), ids=lambda path: path.name)
def test_nothing_foreign_is_imported_at_file_scope(path):
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.split(".")[0])
    foreign = names - KNOWN - set(sys.stdlib_module_names)
    assert foreign <= {"packaging"}, "Slicer has packaging; others are imported inside functions"


@pytest.mark.parametrize("path", scripts(), ids=lambda path: path.name)
def test_no_packages_are_installed_when_a_file_is_read(path):
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            called = [each for each in ast.walk(node) if isinstance(each, ast.Call)]
            assert not any(re.search(r"\bpip|install", ast.unparse(each.func)) for each in called)


def test_the_citation_is_valid():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert CITATION_REQUIRED <= set(citation) <= CITATION_KEYS
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert citation["authors"] == [{"name": "The MedTL authors"}]
    assert citation["license"] == "Apache-2.0"
    assert f"{citation['repository-code']}.git" == ENTRY["scm_url"]
    assert all(isinstance(citation[key], str) and citation[key].strip() for key in ("message", "title", "abstract"))
    assert len(set(citation["keywords"])) == len(citation["keywords"])


def test_reviewers_questions_are_answered_with_links_that_lead_somewhere():
    page = ROOT / "docs" / "extension-review.md"
    text = page.read_text(encoding="utf-8")
    questions = re.split(r"^### ", text, flags=re.MULTILINE)[1:]
    assert len(questions) >= 12
    assert [question.splitlines()[0] for question in questions if "](" not in question] == []


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda p: p.name
)
def test_links_and_pictures_of_a_page_lead_to_files_and_headings_that_are_here(page):
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, heading = target.partition("#")
        if re.match(r"https?:", target):
            continue
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (heading and file.suffix == ".md" and heading not in headings(file)):
            wrong.append(target)
    assert wrong == []


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    found = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.casefold()).replace(" ", "-") for title in found}


def test_the_tutorial_has_a_picture_for_each_step_and_each_picture_is_small():
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    steps = re.split(r"^### ", text, flags=re.MULTILINE)[1:]
    assert len(steps) >= 8
    assert [step.splitlines()[0] for step in steps if "![" not in step] == []
    pictures = sorted((ROOT / "docs" / "pictures").glob("*.png"))
    assert [picture.name for picture in pictures if f"pictures/{picture.name})" not in text] == []
    assert [picture.name for picture in pictures if picture.stat().st_size > 60_000] == []
    assert sum(picture.stat().st_size for picture in pictures) <= 1_000_000
