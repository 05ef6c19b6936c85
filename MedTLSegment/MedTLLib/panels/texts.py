"""What the job controls tell of a volume and of the engine."""

from slicer.i18n import tr as _

from MedTLLib import scene


def factsText(facts: scene.Facts) -> str:
    """Sequence, date and size of a volume in a line."""
    size = "×".join(str(n) for n in facts.size)
    spacing = "×".join(f"{mm:.3g}" for mm in facts.spacing)
    grid = _("{size} voxels of {spacing} mm").format(size=size, spacing=spacing)
    kind = " ".join(part for part in (facts.modality, facts.description) if part)
    return " · ".join(part for part in (kind, facts.date, grid, facts.frame) if part)


def stageText(stage: str) -> str:
    """What the engine does in a stage, for the user."""
    texts = {
        "load": _("Loading the model"),
        "read": _("Reading the volume"),
        "prepare": _("Preparing the volume"),
        "infer": _("Segmenting"),
        "clean": _("Cleaning up"),
        "write": _("Writing the result"),
    }
    return str(texts.get(stage, stage))
