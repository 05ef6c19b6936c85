"""A user in front of the panel of Classify; models that are only cards, and an engine that answers on demand."""

import hashlib
import json
from typing import Any

import numpy as np
import slicer
from panel_user import PHANTOM, ROOT, FakeWorker, User, accept_terms

from medtl.io.read import read_labelmap, read_volume
from medtl.io.write import write_image
from medtl.model.card import METADATA, Abstention, Coefficients, InputSpec, ModelCard, NetworkSpec, Term, TumourClass
from medtl.model.store import WEIGHTS, sha256_of_numbers, user_store
from medtl.typed_json import encode

MODULE = ROOT / "MedTLClassify" / "MedTLClassify.py"
BRAIN, RENAL = "brain-tumour-4class", "renal-malignancy"
WEIGHTS_TEXT = b"no weights: the engine is a fake"
CLASSES = {"glioma": "Glioma", "meningioma": "Meningioma", "pituitary": "Pituitary tumour", "notumor": "No tumour"}
GLIOMA = {"glioma": 0.91, "meningioma": 0.05, "pituitary": 0.03, "notumor": 0.01}
UNSURE = {"glioma": 0.41, "meningioma": 0.38, "pituitary": 0.15, "notumor": 0.06}
STRANGE = "The image is unlike those of training: score 31.20, limit 20.00."


def card(name: str, **changes: Any) -> ModelCard:
    """The card of a network with four classes."""
    given: dict[str, Any] = {
        "version": "1.0.0",
        "description": "Type of a brain tumour on MRI with contrast",
        "task": "classification",
        "labels": (),
        "networks": (NetworkSpec("classifier2d"),),
        "input": InputSpec(channels=("T1c",), scaling="picture", side=224),
        "sha256": hashlib.sha256(WEIGHTS_TEXT).hexdigest(),
        "classes": tuple(TumourClass(*pair) for pair in CLASSES.items()),
        "abstention": Abstention("energy", 20.0, 0.5),
    }
    return ModelCard(name, **(given | changes))


def renal() -> ModelCard:
    """The card of a model of plain numbers."""
    numbers = Coefficients(1.2, (Term("sphericity", 0.7, 0.1, -0.8), Term("volume", 40.0, 30.0, 0.9)), values=(2,))
    return card(
        RENAL,
        description="Benign or malignant, by the shape of a renal tumour",
        networks=(),
        input=InputSpec(channels=("CT",), scaling="picture"),
        sha256=sha256_of_numbers(numbers),
        classes=(TumourClass("benign", "Benign"), TumourClass("malignant", "Malignant")),
        coefficients=numbers,
        abstention=None,
    )


def install(*cards: ModelCard) -> None:
    """Put bundles of these cards into the user's store, and accept their terms."""
    for one in cards:
        folder = user_store() / one.name
        block = encode(one)
        head = {name: block.pop(name) for name in ("version", "description")}
        texts = {METADATA: json.dumps({**head, "medtl": {"schema": 1, **block}}), "LICENSE": "A test's own terms"}
        texts["docs/README.md"] = f"# {one.name}\n\nAccuracy 0.93 on 40 patients.\n"
        for name, text in texts.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
        if one.networks:
            (folder / WEIGHTS).parent.mkdir(exist_ok=True)
            (folder / WEIGHTS).write_bytes(WEIGHTS_TEXT)
    accept_terms()


class ClassWorker(FakeWorker):
    """`classified` answers the oldest job as the engine does."""

    def classified(
        self,
        probabilities: dict[str, float] = GLIOMA,
        reasons: tuple[str, ...] = (),
        warnings: tuple[str, ...] = (),
        heat: np.ndarray | None = None,
    ) -> None:
        """The answer of a network that looked at every slice; `heat` (Z, Y, X) is where."""
        request = self.requests[min(self.jobs) - 1]
        volume = read_volume(self.folder / request["input"])
        count = len(volume.array)
        if heat is None:
            heat = np.linspace(0, 1, volume.array.size, dtype=np.float32).reshape(volume.array.shape)
        write_image(self.folder / request["options"]["heatmap"], heat.astype(np.float32), volume.geometry)
        slices = [self.slice(k, count, probabilities) for k in range(count)]
        best = [max(one["probabilities"], key=one["probabilities"].get) for one in slices]
        self._answer(
            request,
            card(BRAIN),
            probabilities,
            reasons=list(reasons),
            warnings=list(warnings),
            plane="axial",
            score=12.3,
            threshold=20.0,
            votes={name: best.count(name) for name in sorted(set(best), key=best.count, reverse=True)},
            slices=slices,
            rule=f"The mean of the probabilities of {count} slices, weighed by attention.",
            heatmap=request["options"]["heatmap"],
        )

    @staticmethod
    def slice(k: int, count: int, probabilities: dict[str, float]) -> dict[str, Any]:
        """These probabilities in the middle, no tumour at both ends."""
        near = np.exp(-(((k - count / 2) / (count / 4)) ** 2))
        mixed = {name: near * p + (1 - near) * float(name == "notumor") for name, p in probabilities.items()}
        return {"index": k, "weight": near / count, "probabilities": mixed}

    def shape(
        self, malignant: float = 0.81, interval: tuple[float, float] = (0.62, 0.93), prevalence: float | None = None
    ) -> None:
        """The answer of a model of plain numbers."""
        request = self.requests[min(self.jobs) - 1]
        features = [
            {"name": "volume", "label": "Volume, mL", "value": 61.304, "contribution": 0.9},
            {"name": "sphericity", "label": "Sphericity", "value": 0.71, "contribution": -0.4},
        ]
        self._answer(
            request,
            renal(),
            {"benign": 1 - malignant, "malignant": malignant},
            features=features,
            interval=list(interval),
            prevalence=prevalence,
            rule="The shape of the segment alone; no grey value is looked at.",
        )

    def region(self) -> np.ndarray:
        """The voxels that the oldest job was handed as the segment, bool (Z, Y, X)."""
        options = self.requests[min(self.jobs) - 1]["options"]
        labels = read_labelmap(self.folder / options["segmentation"])
        (value,) = (segment.value for segment in labels.segments if segment.id == options["segment"])
        return labels.array == value

    def _answer(self, request: dict[str, Any], of: ModelCard, probabilities: dict[str, float], **more: Any) -> None:
        best = max(probabilities, key=probabilities.__getitem__)
        volume = read_volume(self.folder / request["input"])
        record: dict[str, Any] = {
            "class": best,
            "name": next(one.name for one in of.classes if one.id == best),
            "probabilities": probabilities,
            "score": None,
            "threshold": None,
            "reasons": [],
            "plane": None,
            "votes": {},
            "slices": [],
            "rule": "",
            "features": [],
            "interval": None,
            "prevalence": None,
            "image": {
                "sha256": hashlib.sha256(volume.array.tobytes()).hexdigest(),
                "size": list(volume.geometry.size),
                "spacing": list(volume.geometry.spacing),
                "modality": None,
                "description": None,
            },
            "input": request["input"],
            "segmentation": request["options"].get("segmentation"),
            "segment": request["options"].get("segment"),
            "heatmap": None,
            "warnings": [],
            "seconds": {"infer": 0.1},
        } | more
        record["abstained"] = bool(record["reasons"])
        facts = {"model": of.name, "version": of.version, "sha256": of.sha256}
        self.state = "ready"
        self.jobs.pop(min(self.jobs))[1]({**facts, "results": [record], "errors": []})
        slicer.app.processEvents()


class ClassUser(User):
    """Opens the panel of Classify and uses its controls."""

    module = MODULE
    make_worker = ClassWorker
    worker: ClassWorker

    def choose(self, model: str) -> None:
        self.ui.modelCombo.currentIndex = self.ui.modelCombo.findData(model)
        assert self.chosen.modelName == model

    def segmentation(self, volume: Any, *names: str) -> Any:
        """A segmentation with these segments, each the phantom's lesion, and it is chosen."""
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "tumours")
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        for name in names:
            node.GetSegmentation().AddEmptySegment(name, name.capitalize())
            mask = (PHANTOM.labelmap.array > 0).astype(np.uint8)
            slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, name, volume)
        self.ui.segmentationSelector.setCurrentNode(node)
        return node

    def classify(self, **answer: Any) -> Any:
        """Press Classify, wait for the answer of the network; the table node."""
        self.ui.classifyButton.click()
        self.worker.classified(**answer)
        return self.chosen.result

    def measure(self) -> Any:
        """Press Classify, wait for the answer of the model of plain numbers; the table node."""
        self.ui.classifyButton.click()
        self.worker.shape()
        return self.chosen.result

    def bars(self) -> list[tuple[str, int, str]]:
        """Name, length (of 1000) and text of each bar that is shown."""
        found = self.widget.classify.result._bars
        return [(str(name.text), int(bar.value), str(bar.format)) for name, bar in found if bar.visible]
