"""Imports go down only: every file's imports, read from its source, and what is loaded when a module is imported."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = "Testing/engine/test_imports.py"
PACKAGES = {"medtl": "medtl", "MedTLLib": "MedTLSegment/MedTLLib", "MedTLClassifyLib": "MedTLClassify/MedTLClassifyLib"}

# From the bottom up: a file may import what stands on lower lines. A name is a folder or a file of `medtl`; files of
# one folder may import each other where WITHIN says nothing else.
LAYERS = (
    {"errors", "memory", "broken_packages", "counted", "planes", "requirements"},
    {"progress", "results", "typed_json"},
    {"volume"},
    {"io"},
    {"phantom"},
    {"cases"},
    {"worklist"},
    {"model"},
    {"channels", "preprocess", "labels", "decision", "pack"},
    {"installation"},
    {"kept"},
    {"diameters"},
    {"measurement"},
    {"gate", "postprocess", "windows", "doubt", "upright", "registration"},
    {"drawing"},
    {"segmentation"},
    {"classification"},
    {"evaluation", "trend"},
    {"report"},
    {"training"},
    {"finetuning"},
    {"api"},
    {"commands", "worker_jobs"},
    {"worker"},
    {"other_python"},
    {"__main__"},
)
# The order within folders, again from the bottom up.
WITHIN = {
    "installation": ({"job", "pip", "record"}, {"installed", "site", "wheels"}, {"install"}, {"__main__"}),
    "io": (
        {"choice", "limits", "packed", "into_place"},
        {"header"},
        {"files"},
        {"itk", "seg_nrrd", "nrrd", "meta_image", "nifti", "voxels"},
        {"formats", "pictures", "dicom_file"},
        {"dicom_pixels"},
        {"dicom"},
        {"read", "write"},
        {"isolated"},
    ),
    "model": (
        {"card_text", "files", "label_looks", "series_name", "tuning_records"},
        {"card", "checkpoint", "device", "network"},
        {"rename", "terms"},
        {"monai_config", "monai_networks", "nnunet", "timm_networks", "unets"},
        {"store", "networks", "zoo"},
        {"acceptance", "bundle"},
        {"import_model", "fallback"},
    ),
    "windows": ({"resampling"}, {"prepare", "restore", "sliding"}),
    "classification": (
        {"frames", "region", "report"},
        {"network", "shape", "slices"},
        {"abstention"},
        {"classify"},
        {"files"},
    ),
    "trend": ({"studies", "same_label", "matching", "table"}, {"plot", "trend"}, {"files"}, {"checkerboard"}),
    "report": ({"classification", "pictures", "side"}, {"content"}, {"html"}, {"files"}),
    "evaluation": (
        {"metrics"},
        {"agreement", "segmentation", "classification", "reliability"},
        {"agreement_table"},
        {"bland_altman"},
    ),
    "worklist": (
        {"case", "lock"},
        {"places", "disk", "order", "find"},
        {"case_list"},
        {"table", "test_set"},
    ),
    "finetuning": (
        {"seed", "run", "output"},
        {"between_slices", "features"},
        {"decoder", "window_case", "blend"},
        {"slice_tuning", "window_tuning", "window_blend"},
        {"cases"},
        {"guard"},
        {"held_out"},
        {"finetune", "suggest"},
        {"case_result", "new_structure", "tuned_bundle"},
        {"files"},
    ),
    "commands": (
        {"console", "preview"},
        {"terms"},
        {
            "segment",
            "classify",
            "evaluate",
            "finetune",
            "measure",
            "models",
            "demo",
            "doctor",
            "environment",
            "pack",
            "report",
            "trend",
        },
        {"agree", "cases"},
        {"repair"},
        {"cli"},
    ),
}
# What Slicer's own process and `medtl --help` load: no torch when they are imported.
TORCH_FREE = {
    *(
        "errors",
        "memory",
        "broken_packages",
        "counted",
        "planes",
        "requirements",
        "installation",
        "kept",
        "progress",
        "results",
        "typed_json",
        "volume",
        "io",
        "phantom",
        "cases",
        "worklist",
    ),
    *("channels", "gate", "labels", "pack"),
    *(
        "diameters",
        "measurement",
        "worker",
        "worker_jobs",
        "model.card",
        "model.card_text",
        "model.checkpoint",
        "model.files",
        "model.import_model",
        "model.label_looks",
        "model.monai_config",
        "model.nnunet",
        "model.rename",
        "model.series_name",
        "model.acceptance",
        "model.store",
        "model.terms",
        "model.zoo",
    ),
    *(
        "model.bundle",
        "model.device",
        "model.tuning_records",
        "finetuning.seed",
        "finetuning.between_slices",
        "finetuning.run",
    ),
    *("finetuning.output",),
    *("classification.frames", "classification.region", "classification.shape", "classification.report"),
    *("commands.cli", "commands.console", "commands.segment", "commands.classify", "commands.models"),
    *("commands.evaluate", "commands.measure", "commands.terms", "commands.agree", "commands.cases"),
    *("commands.demo", "commands.pack", "commands.preview", "commands.trend", "commands.report"),
    *("doubt", "drawing", "registration", "report", "trend", "upright"),
}
HEAVY = {"torch", "torchvision", "timm", "monai", "segmentation_models_pytorch"}
SLICER = {"slicer", "slicer_core", "qt", "ctk", "vtk", "vtkmodules", "MedTLLib", "MedTLClassifyLib"}

# Slicer's side, from the bottom up, and what it may import of the engine: nothing that needs torch.
SLICER_LAYERS = (
    {"mrml", "packages"},
    {"samples", "prediction"},
    {"seeds", "results"},
    {"worklist"},
    {"jobs"},
    {"panels"},
    {"module"},
)
SLICER_SIDE_MAY = {
    *(
        "errors",
        "broken_packages",
        "counted",
        "planes",
        "requirements",
        "progress",
        "typed_json",
        "volume",
        "io",
        "phantom",
        "cases",
        "worklist",
        "gate",
        "diameters",
        "measurement",
        "labels",
        "results",
        "doubt",
    ),
    *("model.card", "model.card_text", "model.files", "model.import_model", "model.series_name"),
    *("model.store", "model.acceptance", "model.terms", "pack"),
    *("finetuning.seed", "classification.report"),
    *("report.side", "trend.plot", "trend.studies", "trend.table"),
    *("installation.installed", "installation.job", "kept"),
}


@dataclass(frozen=True)
class Import:
    """An import statement: `target` is the dotted name, `when` is module, function or typing."""

    target: str
    when: str
    line: int


def imports_of(source: str, package: str) -> Iterator[Import]:
    """Every import in `source`, a file of the dotted `package`; what is imported from a folder of ours are modules."""

    def walk(node: ast.AST, when: str) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (Import(alias.name, when, child.lineno) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                parts = package.split(".")[: len(package.split(".")) - child.level + 1] if child.level else []
                target = ".".join([*parts, *([child.module] if child.module else [])])
                names = [f".{alias.name}" for alias in child.names] if is_folder(target) else [""]
                yield from (Import(target + name, when, child.lineno) for name in names)
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


def is_folder(dotted: str) -> bool:
    top, *rest = dotted.split(".")
    return top in PACKAGES and (ROOT / PACKAGES[top]).joinpath(*rest).is_dir()


def rank_of(name: str, layers: tuple[set[str], ...]) -> int | None:
    return next((rank for rank, names in enumerate(layers) if name in names), None)


def arrow_allowed(importer: str, target: str) -> bool:
    """Whether a module of the engine may import another one; both without `medtl.`, as `io.read`."""
    (top, _, file), (other_top, _, other) = importer.partition("."), target.partition(".")
    if top == other_top:
        within = WITHIN.get(top)
        if within is None:
            return True
        mine, its = rank_of(file.split(".")[0], within), rank_of(other.split(".")[0], within)
    else:
        mine, its = rank_of(top, LAYERS), rank_of(other_top, LAYERS)
    return mine is not None and its is not None and its < mine


def wrong_arrows(importer: str, source: str, package: str = "") -> list[str]:
    """What is wrong with the imports of an engine's module, named without `medtl.`."""
    wrong = []
    for found in imports_of(source, package or ".".join(["medtl", *importer.split(".")[:-1]])):
        top, _, target = found.target.partition(".")
        if top in SLICER:
            wrong.append(f"line {found.line}: the engine never imports {top}")
        elif top in HEAVY and found.when == "module" and importer in TORCH_FREE:
            wrong.append(f"line {found.line}: {top} only inside functions, {importer} is loaded without torch")
        elif top == "medtl" and target not in ("", "__version__") and not arrow_allowed(importer, target):
            wrong.append(f"line {found.line}: {importer} may not import {target}; the order is LAYERS in {HERE}")
    return wrong


def files_of(package: str) -> list[Path]:
    return sorted(path for path in (ROOT / PACKAGES[package]).rglob("*.py") if "_models" not in path.parts)


def module_of(path: Path, package: str = "medtl") -> str:
    """The dotted name below the package; of a folder's `__init__.py` the folder."""
    parts = path.relative_to(ROOT / PACKAGES[package]).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def is_torch_free(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in TORCH_FREE)


@pytest.mark.parametrize("path", files_of("medtl"), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_of_the_engine_imports_only_what_lies_below(path):
    name, source = module_of(path), path.read_text(encoding="utf-8")
    if path.name == "__init__.py" and name != "training.recipes":
        loaded = {found.target.split(".")[0] for found in imports_of(source, "medtl") if found.when == "module"}
        assert not loaded & {"medtl", *HEAVY}, "a folder's __init__.py loads nothing of ours"
        return
    assert rank_of(name.split(".")[0], LAYERS) is not None, f"{path.name} is new: give it a line in LAYERS in {HERE}"
    package = ".".join(path.relative_to(ROOT).parent.parts)
    assert wrong_arrows(name, source, package) == []


@pytest.mark.parametrize("package", ["MedTLLib", "MedTLClassifyLib"])
def test_slicers_side_imports_down_and_only_the_torch_free_part_of_the_engine(package):
    wrong = []
    for path in files_of(package):
        name = module_of(path, package)
        inside = ".".join([package, *name.split(".")[:-1]]).rstrip(".")
        mine = rank_of(name.split(".")[0], SLICER_LAYERS)
        for found in imports_of(path.read_text(encoding="utf-8"), inside):
            top, _, target = found.target.partition(".")
            folder = target.split(".")[0]
            its = rank_of(folder, SLICER_LAYERS)
            if top in HEAVY:
                wrong.append(f"{name}: {top} never loads in Slicer's process")
            elif top == "medtl" and target not in ("", "__version__"):
                if not any(target == may or target.startswith(f"{may}.") for may in SLICER_SIDE_MAY):
                    wrong.append(f"{name} may not import medtl.{target}")
            elif top == "MedTLClassifyLib" and package == "MedTLLib":
                wrong.append(f"{name} may not import {top}: it lies above")
            elif top == package == "MedTLLib" and folder != name.split(".")[0] and not (its or 0) < (mine or 0):
                wrong.append(f"{name} may not import {target}; the order is SLICER_LAYERS in {HERE}")
    assert wrong == []


def test_all_that_slicers_side_may_import_is_torch_free():
    assert all(is_torch_free(name) for name in SLICER_SIDE_MAY)


@pytest.mark.parametrize(
    ("name", "source", "complaint"),
    [
        ("volume", "from .segmentation import x", "volume may not import segmentation"),
        ("volume", "from . import segmentation", "volume may not import segmentation"),
        ("volume", "def f():\n    import medtl.commands.cli", "volume may not import commands.cli"),
        ("segmentation", "from .finetuning.finetune import x", "segmentation may not import finetuning.finetune"),
        ("io.files", "from .read import x", "io.files may not import io.read"),
        ("io.itk", "from ..model import card", "io.itk may not import model.card"),
        ("model.card", "from .bundle import x", "model.card may not import model.bundle"),
        ("phantom", "import torch.nn", "torch only inside functions"),
        ("commands.cli", "try:\n    from timm import x\nexcept ImportError:\n    pass", "timm only inside functions"),
        ("segmentation", "def f():\n    import slicer.util", "never imports slicer"),
        ("volume", "from .novelty import x", "volume may not import novelty"),
    ],
)
def test_a_forbidden_arrow_is_found(name, source, complaint):
    assert complaint in " ".join(wrong_arrows(name, source))


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("segmentation", "import torch\nfrom .model.networks import x\nfrom .volume import y"),
        ("model.bundle", "def load():\n    import torch\n    from .networks import x"),
        ("model.bundle", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .networks import x"),
        ("training.fit", "from ..segmentation import x\nfrom .dataset import y"),
        ("commands.cli", "from .. import __version__"),
    ],
)
def test_an_allowed_arrow_is_not_complained_about(name, source):
    assert wrong_arrows(name, source) == []


def test_importing_the_torch_free_part_loads_no_torch():
    names = [module_of(path) for path in files_of("medtl")]
    modules = ", ".join(["medtl", *(f"medtl.{name}" for name in names if is_torch_free(name))])
    code = f"import sys, {modules}\nprint(sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
