"""The pictures of docs/tutorial.md, made by following it on the stand-in for Slicer, with the real engine.

    QT_QPA_PLATFORM=offscreen .venv-slicer/bin/python Testing/tutorial_pictures.py [--picture FILE] [--output DIR]

Each picture is the panel, 360 pixels wide, and beside it a slice as Slicer draws it, where the step shows one. The
volume is the phantom. `--picture` is a slice of a head on T1 with contrast, for the steps that need one; without it
these pictures stay as they are. Run it again when the panel changes, and look at each picture.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / name) for name in ("", "Testing", "Testing/slicer", "MedTLSegment", "MedTLClassify")]

import host  # noqa: E402

host.start()

import numpy as np  # noqa: E402
import qt  # noqa: E402
import slicer  # noqa: E402
from class_user import MODULE as CLASSIFY  # noqa: E402
from panel_user import LESION, User, paint, voxels  # noqa: E402
from PIL import Image  # noqa: E402

from medtl.io.read import read_volume  # noqa: E402
from medtl.model.card import load_card  # noqa: E402
from medtl.model.store import find_model, user_store  # noqa: E402
from medtl.phantom import head  # noqa: E402
from MedTLLib import samples  # noqa: E402
from MedTLLib.jobs.worker import Worker  # noqa: E402
from MedTLLib.mrml.scene import geometry_of  # noqa: E402
from MedTLLib.seeds import marks  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
WIDTH, SIDE, COLOURS = 360, 300, 64  # pixels of the panel and of the slice; colours of the palette
PATIENCE = 1800.0  # seconds
SEEDS = 5


class Tutorial:
    """A user who follows the tutorial; `keep` saves a picture of a step."""

    def __init__(self, folder: Path, python: str, pictures: Path) -> None:
        self.folder, self.pictures = folder, pictures
        self.worker = Worker([python, "-u", "-P", "-m", "medtl.worker"], folder / "engine")
        self.user = User(folder / "engine", self.worker)
        shutil.rmtree(user_store().parent / "accepted-terms")  # the tutorial accepts them
        self.user.widget.enter()

    def keep(self, name: str, slice_of: tuple[Any, ...] = (), panel: Any = None, centre: Any = None) -> None:
        """Save the panel, and a slice of a volume with a segmentation over it."""
        path = self.folder / "panel.png"
        host.screenshot(panel or self.user.widget.parent, path, WIDTH)
        parts = [Image.open(path).convert("RGB")]
        if slice_of:
            drawn = self.folder / "slice.png"
            host.render_slice(*slice_of, drawn, centre_ras=centre, orientation="Volume", size=SIDE)
            parts.append(Image.open(drawn).convert("RGB"))
        size = sum(part.width for part in parts) + 8 * (len(parts) - 1), max(part.height for part in parts)
        picture, x = Image.new("RGB", size, "white"), 0
        for part in parts:
            picture.paste(part, (x, 0))
            x += part.width + 8
        self.pictures.mkdir(parents=True, exist_ok=True)
        saved = self.pictures / f"{name}.png"
        picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(saved, optimize=True)
        print(f"{saved.name}: {picture.width}×{picture.height}, {saved.stat().st_size / 1000:.0f} KB")

    def accept(self, name: str = "") -> None:
        """Accept the terms on the next page, and save a picture of it."""

        def press(dialog: Any) -> Any:
            if name:
                self.keep(name, panel=dialog)
            return qt.QDialog.Accepted

        host.answer(press)

    def wait(self, run: Any, button: Any) -> None:
        """Press a button and wait for the end of its job."""
        qt.QTimer.singleShot(0, button.click)
        host.process_until(lambda: run.job is not None, PATIENCE, "The start")
        host.process_until(lambda: run.job is None, PATIENCE, "The result")
        for _turn in range(10):
            slicer.app.processEvents()

    def close(self) -> None:
        self.worker.stop()
        self.user.close()


def flair(tutorial: Tutorial) -> None:
    """The part on FLAIR: from an empty scene to an exported labelmap and a tuned model."""
    user, ui = tutorial.user, tutorial.user.ui
    tutorial.keep("1-empty")
    ui.sampleButton.click()
    volume = user.chosen.inputVolume
    truth = head(1).labelmap.array > 0
    depth = np.flatnonzero(truth.any((1, 2)))
    x, y, z, _one = geometry_of(volume).affine @ (*np.argwhere(truth).mean(0)[::-1], 1.0)  # LPS
    centre = (-x, -y, z)
    tutorial.keep("2-volume", (volume, None), centre=centre)
    tutorial.accept("3-terms")
    tutorial.wait(user.widget.segment.run, ui.segmentButton)
    slicer.mrmlScene.Clear()  # once more, with the engine loaded: a usual time is shown
    user.widget.enter()
    ui.sampleButton.click()
    volume = user.chosen.inputVolume
    tutorial.wait(user.widget.segment.run, ui.segmentButton)
    segmentation = user.chosen.resultSegmentation
    tutorial.keep("4-result", (volume, segmentation), centre=centre)

    path = tutorial.folder / "head.nrrd"
    host.answer(str(path))
    ui.exportButton.click()
    ui.resultLabel.text = ui.resultLabel.text.replace(str(tutorial.folder), "…")
    tutorial.keep("5-export")
    written = slicer.util.arrayFromVolume(slicer.util.loadLabelVolume(str(path))) if path.is_file() else None
    if written is None or not (written > 0).any():
        raise SystemExit(f"The export wrote no labels: {ui.resultLabel.text}")

    ui.seedsBox.collapsed = False
    card = load_card(find_model("glioma-flair"))
    mask = voxels(segmentation, volume, LESION)
    wrong = np.flatnonzero(mask.any((1, 2)) & ~truth.any((1, 2)))[
        :1
    ]  # a slice without a lesion is right when it is empty
    spread = depth[np.linspace(0, len(depth) - 1, SEEDS - len(wrong) + 2)[1:-1].round().astype(int)]
    for k in (*wrong, *spread):
        mask[k] = truth[k]
        paint(segmentation, volume, mask, LESION)
        marks.mark(segmentation, volume, card, int(k))
    ui.tableButton.click()
    user.widget.seeds.refresh()
    tutorial.keep("6-seeds", (volume, segmentation), centre=centre)
    ui.seedsBox.collapsed = True

    ui.finetuneBox.collapsed = False
    user.widget.finetune.update()
    tutorial.wait(user.widget.finetune.run, ui.tuneButton)
    tutorial.keep("7-finetune")
    ui.finetuneBox.collapsed = True


def t1c(tutorial: Tutorial, path: Path) -> None:
    """The part on T1 with contrast: segment the tumour, then find its class."""
    user, ui = tutorial.user, tutorial.user.ui
    slicer.mrmlScene.Clear()
    user.widget.enter()
    volume = samples.volume_node(read_volume(path), "T1 with contrast")
    ui.inputSelector.setCurrentNode(volume)
    ui.modelCombo.currentIndex = ui.modelCombo.findData("tumour-t1c")
    tutorial.accept()
    tutorial.wait(user.widget.segment.run, ui.segmentButton)
    segmentation = user.chosen.resultSegmentation
    tutorial.keep("8-t1c", (volume, segmentation))

    widget = host.load_module(CLASSIFY)
    widget.enter()
    widget.ui.inputSelector.setCurrentNode(volume)
    widget.ui.segmentationSelector.setCurrentNode(segmentation)
    widget.ui.modelCombo.currentIndex = widget.ui.modelCombo.findData("brain-tumour-4class")
    tutorial.accept()
    tutorial.wait(widget.classify.run, widget.ui.classifyButton)
    tutorial.keep("9-classify", panel=widget.parent)
    host.unload_module("MedTLClassify")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    given = os.environ.get("MEDTL_ENGINE_PYTHON", str(ROOT / ".venv" / "bin" / "python"))
    parser.add_argument("--python", default=given, help="interpreter of the engine")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="a slice on T1 with contrast")
    parser.add_argument("--output", type=Path, default=PICTURES, metavar="DIR")
    parser.add_argument("--only", choices=("flair", "t1c"), help="one part")
    options = parser.parse_args()
    parts: list[tuple[str, Callable[[Tutorial], None]]] = [("flair", flair)]
    if options.picture is not None:
        parts.append(("t1c", lambda tutorial: t1c(tutorial, options.picture)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "engine").mkdir()
        os.environ["MEDTL_HOME"] = str(folder / "home")
        slicer.app.userSettings().clear()
        host.open_views()
        host.open_layout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        tutorial = Tutorial(folder, options.python, options.output)
        for part, follow in parts:
            if options.only in (None, part):
                follow(tutorial)
        tutorial.close()
    if host.errors:
        raise SystemExit(host.errors[0])


if __name__ == "__main__":
    main()
