"""Imports go down only: every file's imports, read from its source."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = "Testing/engine/test_imports.py"

# From the bottom up: a file may import what stands on lower lines. A folder counts as one name.
LAYERS = (
    {"errors"},
    {"progress", "console"},
    {"volume", "imagefile", "dicom", "segnrrd", "phantom"},
    {"card"},
    {"store"},
    {"bundle"},
    {"preprocess", "metrics"},
    {"gate", "preview", "measure", "pictures", "region", "report"},
    {"seed", "radiomics"},
    {"segment"},
    {"classify"},
    {"training", "archive"},
    {"blend", "material"},
    {"tuning"},
    {"guard"},
    {"leave_out"},
    {"finetune", "suggest"},
    {"this_case", "structure", "tuned_bundle"},
    {"finetune_files"},
    {"cli", "batch_segment", "classify_command", "finetune_command", "model_commands", "worker", "demo", "doctor"},
    {"__main__"},
)
# Within a line, only these arrows. volume is the face of the readers, which give what it defines.
READERS = {"imagefile", "dicom", "segnrrd"}
BESIDE = {
    *(("volume", reader) for reader in READERS),
    *((reader, "volume") for reader in READERS),
    ("dicom", "imagefile"),
    ("phantom", "volume"),
    ("cli", "doctor"),
    ("cli", "batch_segment"),
    ("cli", "classify_command"),
    ("cli", "finetune_command"),
    ("cli", "model_commands"),
}
# networks stands aside: it brings torch, so who imports it is listed. It imports errors alone.
NETWORKS_ANYWHERE = {"segment", "classify", "structure", "training"}
NETWORKS_IN_FUNCTIONS = {"bundle", "worker", "doctor"}

# What Slicer's own process and `medtl --help` load: no torch when they are imported.
TORCH_FREE = {
    *("errors", "progress", "console", "volume", *READERS, "phantom", "card", "preview", "store", "bundle", "seed"),
    *("blend", "gate", "measure", "cli", "batch_segment", "classify_command", "model_commands", "worker", "demo"),
    *("pictures", "region", "radiomics", "report"),
}
HEAVY = {"torch", "torchvision", "timm", "monai", "segmentation_models_pytorch"}
SLICER = {"slicer", "slicer_core", "qt", "ctk", "vtk", "vtkmodules", "MedTLLib", "MedTLClassifyLib"}
SLICER_SIDE_MAY = {"errors", "progress", "volume", "card", "store", "gate", "measure", "seed", "phantom", "report"}

RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


@dataclass(frozen=True)
class Import:
    """An import statement: `target` is the dotted name, `when` is module, function or typing."""

    target: str
    when: str
    line: int


def imports_of(source: str, package: str) -> Iterator[Import]:
    """Every import in `source`, a file of the dotted `package`; names imported from `medtl` itself are modules."""

    def walk(node: ast.AST, when: str) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (Import(alias.name, when, child.lineno) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                parts = package.split(".")[: len(package.split(".")) - child.level + 1] if child.level else []
                target = ".".join([*parts, *([child.module] if child.module else [])])
                if target == "medtl":
                    yield from (Import(f"medtl.{alias.name}", when, child.lineno) for alias in child.names)
                else:
                    yield Import(target, when, child.lineno)
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                for inner in child.body:
                    yield from walk(ast.Module([inner], []), "typing")
                for inner in child.orelse:
                    yield from walk(ast.Module([inner], []), when)
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                yield from walk(child, "function")
            else:
                yield from walk(child, when)

    yield from walk(ast.parse(source), "module")


def wrong_arrows(name: str, source: str, package: str = "medtl") -> list[str]:
    """What is wrong with the imports of a file of the engine's part `name`."""
    wrong = []
    for found in imports_of(source, package):
        top, _, rest = found.target.partition(".")
        part = rest.split(".")[0]
        if top in SLICER:
            wrong.append(f"line {found.line}: the engine never imports {top}")
        elif top in HEAVY and found.when == "module" and name in TORCH_FREE:
            wrong.append(f"line {found.line}: {top} only inside functions, {name} is loaded without torch")
        elif top == "medtl" and part not in ("", "__version__", name) and not arrow_allowed(name, part, found.when):
            wrong.append(f"line {found.line}: {name} may not import {part}; the order is LAYERS in {HERE}")
    return wrong


def arrow_allowed(name: str, part: str, when: str) -> bool:
    if part == "networks":
        return name in NETWORKS_ANYWHERE or (name in NETWORKS_IN_FUNCTIONS and when != "module")
    if name == "networks":
        return part == "errors"
    return part in RANK and (RANK[part] < RANK[name] or (name, part) in BESIDE)


def engine_files() -> list[Path]:
    return sorted((ROOT / "medtl").rglob("*.py"))


def slicer_files() -> list[Path]:
    return sorted(path for folder in ("MedTLSegment", "MedTLClassify") for path in (ROOT / folder).rglob("*.py"))


def part_of(path: Path) -> str:
    return path.relative_to(ROOT / "medtl").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", engine_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_of_the_engine_imports_only_what_lies_below(path):
    name = part_of(path)
    if name in ("__init__", "_models"):
        assert not list(imports_of(path.read_text(encoding="utf-8"), "medtl")), "medtl/__init__.py imports nothing"
        return
    assert name in RANK or name == "networks", f"{path.name} is new: give it a line in LAYERS in {HERE}"
    package = ".".join(path.relative_to(ROOT).parent.parts)
    assert wrong_arrows(name, path.read_text(encoding="utf-8"), package) == []


def test_the_slicer_side_imports_only_the_torch_free_part_of_the_engine():
    for path in slicer_files():
        for found in imports_of(path.read_text(encoding="utf-8"), ""):
            top, _, rest = found.target.partition(".")
            assert top not in HEAVY, f"{path}:{found.line}: {top} never loads in Slicer's process"
            part = rest.split(".")[0]
            assert top != "medtl" or part in {"", "__version__", *SLICER_SIDE_MAY}, (
                f"{path}:{found.line}: MedTLLib may import medtl.{{{', '.join(sorted(SLICER_SIDE_MAY))}}} alone"
            )


def test_everything_the_slicer_side_may_import_is_torch_free():
    assert SLICER_SIDE_MAY <= TORCH_FREE


@pytest.mark.parametrize(
    ("name", "source", "complaint"),
    [
        ("volume", "from .segment import x", "volume may not import segment"),
        ("volume", "from . import segment", "volume may not import segment"),
        ("volume", "def f():\n    import medtl.cli", "volume may not import cli"),
        ("segment", "from .finetune import x", "segment may not import finetune"),
        ("bundle", "from .networks import x", "bundle may not import networks"),
        ("phantom", "import torch.nn", "torch only inside functions"),
        ("cli", "try:\n    from timm import x\nexcept ImportError:\n    pass", "timm only inside functions"),
        ("segment", "def f():\n    import slicer.util", "never imports slicer"),
        ("volume", "from .novelty import x", "volume may not import novelty"),
    ],
)
def test_a_forbidden_arrow_is_found(name, source, complaint):
    assert complaint in " ".join(wrong_arrows(name, source))


@pytest.mark.parametrize(
    ("name", "source", "package"),
    [
        ("segment", "import torch\nfrom .networks import x\nfrom .volume import y", "medtl"),
        ("bundle", "def load():\n    import torch\n    from .networks import x", "medtl"),
        ("bundle", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .networks import x", "medtl"),
        ("training", "from ..segment import x\nfrom .dataset import y", "medtl.training"),
        ("cli", "from . import __version__", "medtl"),
    ],
)
def test_an_allowed_arrow_is_not_complained_about(name, source, package):
    assert wrong_arrows(name, source, package) == []


def test_importing_the_command_line_and_the_torch_free_part_loads_no_torch():
    names = ["medtl", *(f"medtl.{part_of(path)}" for path in engine_files() if part_of(path) in TORCH_FREE)]
    code = f"import sys, {', '.join(names)}\nprint(sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
