"""What may be in the repository: weights within the limits, no data, no paths of one machine."""

import ast
import hashlib
import json
import re
import subprocess
import tomllib
from pathlib import Path

import jsonschema
import pytest

from medtl.model.card import METADATA, load_card
from medtl.model.store import WEIGHTS

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "Resources" / "Models"
SCHEMA = ROOT.parent / "shared" / "schemas" / "meta_schema_20240725.json"
MB = 1_000_000

IMAGES = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd", ".dcm", ".npy", ".npz", ".tif", ".tiff", ".webp", ".bmp")
PICTURES = (".png", ".jpg", ".jpeg")  # of the program, not of patients: only in these folders
PICTURE_FOLDERS = (
    "docs",
    "Resources/Icons",
    "Resources/Screenshots",
    "MedTLSegment/Resources",
    "MedTLClassify/Resources",
)
UNSAFE = (".pt", ".pth", ".ckpt", ".pkl", ".pickle")


def git(*arguments: str, given: str = "") -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, input=given, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture(scope="module")
def files() -> list[Path]:
    """Every file that is committed or would be by `git add`."""
    try:
        top = git("rev-parse", "--show-toplevel").strip()
    except (OSError, subprocess.CalledProcessError):
        top = ""
    if not top or Path(top).resolve() != ROOT:
        pytest.skip("needs a git checkout, this is a plain copy of the files")
    names = git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def bundles() -> list[Path]:
    return sorted(path for path in MODELS.iterdir() if path.is_dir())


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_all_weights_ever_committed_stay_within_75_mb(files):
    if git("rev-parse", "--is-shallow-repository").strip() != "false":
        pytest.skip("needs the whole history, this is a shallow clone")
    listed = git("rev-list", "--objects", "--all")
    described = git("cat-file", "--batch-check=%(objectname) %(objectsize) %(rest)", given=listed)
    rows = [line.split(" ", 2) for line in described.splitlines()]
    sizes = {name: int(size) for name, size, path in rows if path.endswith(".safetensors")}
    for path in files:
        if path.suffix == ".safetensors":
            sizes[git("hash-object", str(path)).strip()] = path.stat().st_size
    assert sum(sizes.values()) <= 75 * MB, f"{len(sizes)} versions of weights: {sum(sizes.values()) / MB:.1f} MB"


def test_a_fresh_clone_stays_under_95_mb_checkout_and_history_together(files, tmp_path):
    if git("rev-parse", "--is-shallow-repository").strip() != "false":
        pytest.skip("needs the whole history, this is a shallow clone")
    git("clone", "--quiet", "--single-branch", ROOT.as_uri(), str(tmp_path / "clone"))
    size = sum(path.lstat().st_size for path in (tmp_path / "clone").rglob("*") if not path.is_dir())
    assert size < 95 * MB, f"{size / MB:.1f} MB; the Extensions Index takes 100 MB"


def test_nothing_but_weights_is_larger_than_2_mb(files):
    assert [relative(p) for p in files if p.suffix != ".safetensors" and p.stat().st_size > 2 * MB] == []


def test_no_image_data_and_no_pickled_weights_are_in_the_repository(files):
    assert [relative(p) for p in files if p.name.lower().endswith((*IMAGES, *UNSAFE))] == []
    pictures = [relative(p) for p in files if p.name.lower().endswith(PICTURES)]
    assert [p for p in pictures if not p.startswith(tuple(f"{folder}/" for folder in PICTURE_FOLDERS))] == []


MISTAKES = {
    "a path of one machine": r"(?<![\w.:/~-])/(work|tmp|root)/",
    "both sides of a merge": r"^(<{7} |={7}$|>{7} )",
}


@pytest.mark.parametrize("pattern", MISTAKES.values(), ids=MISTAKES)
def test_no_line_has_what_does_not_belong_there(pattern, files):
    found = []
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{relative(path)}:{n}" for n, line in enumerate(text.splitlines(), 1) if re.search(pattern, line)]
    assert found == []


def test_the_version_stands_in_one_place():
    assert "version" not in pyproject()["project"]
    assert pyproject()["project"]["dynamic"] == ["version"]
    assert pyproject()["tool"]["hatch"]["version"]["path"] == "medtl/__init__.py"
    stated = []
    for path in (ROOT / "medtl").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Assign) and any(getattr(t, "id", "") == "__version__" for t in node.targets):
                stated.append(relative(path))
    assert stated == ["medtl/__init__.py"]


def test_the_makefile_asks_for_the_versions_of_the_package():
    project = pyproject()["project"]
    parts = (*project["dependencies"], *project["optional-dependencies"]["dev"])
    known = {re.split("[,;]", part)[0].strip() for part in parts}
    asked = set(re.findall(r'"([A-Za-z-]+>=[\d.]+)"', (ROOT / "Makefile").read_text(encoding="utf-8")))
    assert {"torch", "torchvision", "SimpleITK"} <= {name.split(">=")[0] for name in asked}
    assert asked <= known


def test_the_licence_of_the_code_is_apache_2_unchanged():
    text = " ".join((ROOT / "LICENSE").read_text(encoding="utf-8").split())
    assert (
        hashlib.sha256(text.encode()).hexdigest() == "0ffddef9e48f8a09aed5caf2d44f7ba1c1be2d9b8e0a6f693b1635b2d5566645"
    )
    assert pyproject()["project"]["license"] == "Apache-2.0"


@pytest.mark.parametrize("bundle", bundles(), ids=lambda path: path.name)
def test_a_bundle_is_complete(bundle):
    weights = (WEIGHTS,) if load_card(bundle).networks else ()  # a model of plain numbers has none
    for name in ("LICENSE", "docs/README.md", METADATA, *weights):
        assert (bundle / name).is_file(), f"{bundle.name}/{name} is missing"
        assert (bundle / name).stat().st_size > 0


@pytest.mark.parametrize("bundle", bundles(), ids=lambda path: path.name)
def test_the_weights_of_a_bundle_stay_within_20_mb(bundle):
    assert sum(path.stat().st_size for path in bundle.rglob("*.safetensors")) <= 20 * MB


@pytest.mark.parametrize("bundle", bundles(), ids=lambda path: path.name)
def test_the_metadata_of_a_bundle_is_valid_by_monais_schema(bundle):
    if not SCHEMA.is_file():
        pytest.skip("needs MONAI's schema in ../shared/schemas, which is not here")
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    jsonschema.validate(metadata, json.loads(SCHEMA.read_text(encoding="utf-8")))


@pytest.mark.parametrize("bundle", bundles(), ids=lambda path: path.name)
def test_the_readme_lists_the_bundle(bundle):
    assert f"`{bundle.name}`" in (ROOT / "README.md").read_text(encoding="utf-8")
