"""MedTL: segment tumours and organs, and classify tumours, in medical images on the user's own computer.

The public functions and types are those of `__all__`; `docs/python.md` shows them at work. They are loaded when first
used, so `import medtl` loads no torch.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .api import (
        TunedModel,
        classify,
        evaluate,
        finetune,
        load_model,
        measure,
        measure_lesions,
        models,
        read_labelmap,
        read_volume,
        segment,
        suggest,
        write_labelmap,
    )
    from .classification.classify import Classification, ClassifyOptions
    from .errors import Cancelled, DeviceError, InputError, MedTLError, ModelError
    from .evaluation.classification import ClassEvaluation
    from .evaluation.segmentation import Evaluation
    from .finetuning.files import CaseInput
    from .finetuning.run import FinetuneOptions
    from .finetuning.suggest import Suggestion
    from .model.bundle import Model
    from .model.store import ModelEntry
    from .results import MeasuredSegment, SegmentFigures
    from .segmentation import InferenceOptions, Segmentation
    from .volume import Geometry, Labelmap, Segment, Volume

_HOMES = {
    "api": (
        *("read_volume", "read_labelmap", "write_labelmap", "load_model", "models", "segment", "classify", "finetune"),
        *("suggest", "evaluate", "measure", "measure_lesions", "TunedModel"),
    ),
    "classification.classify": ("Classification", "ClassifyOptions"),
    "errors": ("Cancelled", "DeviceError", "InputError", "MedTLError", "ModelError"),
    "evaluation.classification": ("ClassEvaluation",),
    "evaluation.segmentation": ("Evaluation",),
    "finetuning.files": ("CaseInput",),
    "finetuning.run": ("FinetuneOptions",),
    "finetuning.suggest": ("Suggestion",),
    "model.bundle": ("Model",),
    "model.store": ("ModelEntry",),
    "results": ("MeasuredSegment", "SegmentFigures"),
    "segmentation": ("InferenceOptions", "Segmentation"),
    "volume": ("Geometry", "Labelmap", "Segment", "Volume"),
}

__all__ = [
    "Cancelled",
    "CaseInput",
    "ClassEvaluation",
    "Classification",
    "ClassifyOptions",
    "DeviceError",
    "Evaluation",
    "FinetuneOptions",
    "Geometry",
    "InferenceOptions",
    "InputError",
    "Labelmap",
    "MeasuredSegment",
    "MedTLError",
    "Model",
    "ModelEntry",
    "ModelError",
    "Segment",
    "SegmentFigures",
    "Segmentation",
    "Suggestion",
    "TunedModel",
    "Volume",
    "classify",
    "evaluate",
    "finetune",
    "load_model",
    "measure",
    "measure_lesions",
    "models",
    "read_labelmap",
    "read_volume",
    "segment",
    "suggest",
    "write_labelmap",
]


def __getattr__(name: str) -> Any:
    """A public function or type, loaded from its module when it is first used."""
    from importlib import import_module

    for module, names in _HOMES.items():
        if name in names:
            value = getattr(import_module(f".{module}", __name__), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
