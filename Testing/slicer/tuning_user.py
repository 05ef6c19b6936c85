"""An engine that makes the tuned model that the test says, and what a user of Fine-tune does before and after."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import host
import numpy as np
from panel_user import LESION, MODEL, PHANTOM, ROOT, SEGMENT, FakeWorker, User, paint, voxels

from medtl.io.read import read_volume
from medtl.io.write import write_labelmap
from medtl.model.card import load_card
from medtl.model.store import find_model, user_store
from medtl.volume import Labelmap
from MedTLLib.seeds import marks

TRUTH = PHANTOM.labelmap.array > 0
TUNED = f"{MODEL}-tuned-1"
SLICES = tuple(int(k) for k in np.flatnonzero(TRUTH.any(axis=(1, 2))))[:3]


def bundle(name: str, parent: str = MODEL, folder: str = "") -> Path:
    """A model in the user's store, made from a shipped one: a real card, weights that nobody loads."""
    target = user_store() / (folder or name)
    source = ROOT / "Resources" / "Models" / MODEL
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.safetensors"))
    weights = target / "models" / "model.safetensors"
    weights.parent.mkdir(exist_ok=True)
    weights.write_bytes(name.encode())
    path = target / "configs" / "metadata.json"
    metadata = json.loads(path.read_text(encoding="utf-8"))
    card = load_card(find_model(parent))
    metadata["medtl"] |= {
        "name": name,
        "sha256": hashlib.sha256(name.encode()).hexdigest(),
        "parent": {"name": parent, "sha256": card.sha256, "family": card.family},
    }
    path.write_text(json.dumps(metadata), encoding="utf-8")
    return target


def record(
    name: str, verdict: str = "better", seeds_n: int = 2, guard: str = "phantom heads", guard_n: int = 6
) -> dict[str, Any]:
    """The engine's answer."""
    change = {"better": 0.12, "same": 0.0, "worse": -0.3}[verdict]
    held_out = {"mean": change, "error": 0.02, "n": seeds_n} if seeds_n else {"mean": None, "error": None, "n": 0}
    on_guard = {"mean": 0.0, "error": 0.001, "n": guard_n} if guard != "none" else {"mean": None, "error": None, "n": 0}
    return {
        "output": str(user_store() / name),
        "name": name,
        "verdict": verdict,
        "before": {"seeds": 0.71 if seeds_n else None, "guard": 0.93 if guard != "none" else None},
        "after": {"seeds": 0.71 + change if seeds_n else None, "guard": 0.93 if guard != "none" else None},
        "change": {"seeds": held_out, "guard": {"kind": guard, **on_guard}},
        "alpha": 0.5,
        "steps": 100,
        "notes": ["The guard set is synthetic heads."],
        "seconds": 60.0,
    }


class TuningWorker(FakeWorker):
    """`tuned` answers the oldest job, `values` gives it figures to draw."""

    def values(self, **values: float) -> None:
        self.jobs[min(self.jobs)][3](values)

    def tuned(self, mask: np.ndarray | None = TRUTH, advised: float | None = None, **facts: Any) -> None:
        """The job's output is a new model and, for one case, this mask (Z, Y, X); it advises a longer time."""
        request = self.requests[min(self.jobs) - 1]
        name = request["output"]
        bundle(name, request["model"])
        answer = record(name, **facts) | ({"advised_budget": advised} if advised else {})
        if "result" in request["options"] and mask is not None:
            path = self.folder / request["options"]["result"]
            geometry = read_volume(path.parent / "image-0.nrrd").geometry
            write_labelmap(path, Labelmap(mask.astype(np.uint8), geometry, (SEGMENT,)))
            answer["result"] = str(path)
        self.state = "ready"
        self.jobs.pop(min(self.jobs))[1](answer)


class TuningUser(User):
    """Has the part Fine-tune of the panel open."""

    make_worker = TuningWorker
    worker: TuningWorker

    def open(self) -> None:
        super().open()
        self.ui.finetuneBox.collapsed = False

    def case(self, name: str = "head", slices: tuple[int, ...] = SLICES) -> tuple[Any, Any]:
        """Load a volume, Segment it, correct and mark slices; the volume and its segmentation."""
        volume = self.load(name=name)
        segmentation = self.segment()
        self.mark(segmentation, volume, slices)
        return volume, segmentation

    def mark(self, segmentation: Any, volume: Any, slices: tuple[int, ...]) -> None:
        """Say that these slices are right, and wait until the panel has seen it."""
        card = load_card(find_model(MODEL))
        for k in slices:
            marks.mark(segmentation, volume, card, k)
        self.wait()

    def wait(self) -> None:
        """Until the panel has caught up with the scene."""
        timer = self.widget.finetune._soon
        host.process_until(lambda: not timer.active, 5.0, "The panel's look at the scene")

    def paint_in(self, segmentation: Any, volume: Any, k: int) -> np.ndarray:
        """Paint into a slice as it is; where the segment is then."""
        mask = voxels(segmentation, volume)
        mask[k, :4, :4] = True
        paint(segmentation, volume, mask, LESION)
        self.wait()
        return mask

    def tune(self, **facts: Any) -> None:
        """Press Fine-tune and wait for its end."""
        self.ui.tuneButton.click()
        self.worker.tuned(**facts)

    def tuning(self) -> str:
        return str(self.ui.tuneStatusLabel.text)
