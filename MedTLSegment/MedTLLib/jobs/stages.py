"""The stages of the engine's jobs: their order, their share of the progress bar, their names for the user. No Qt."""

from slicer.i18n import tr as _

# Where each stage begins on the bar, by job, in the order of the work. Fine-tune's bar follows the time budget instead.
BEGIN: dict[str, dict[str, float]] = {
    "segment": {"load": 0.0, "read": 0.10, "prepare": 0.12, "infer": 0.20, "clean": 0.90, "write": 0.96},
    "classify": {"load": 0.0, "read": 0.10, "prepare": 0.12, "infer": 0.20, "heat": 0.70, "write": 0.96},
    "finetune": dict.fromkeys(("load", "read", "prepare", "encode", "check", "tune", "guard", "result", "write"), 0.0),
}
START, FILL = "start", "fill"  # before the engine's first stage; after its last, when the result goes into the scene
ALL = (START, *dict.fromkeys(stage for stages in BEGIN.values() for stage in stages), FILL)


def share_of_bar(job: str, stage: str, fraction: float) -> float:
    """The share of the whole bar, 0 to 1, at this fraction of a stage; 0 for a stage that the job does not have."""
    stages = list(BEGIN[job])
    if stage not in stages:
        return 0.0
    limits = [*BEGIN[job].values(), 1.0]
    begin, end = limits[stages.index(stage) :][:2]
    return begin + (end - begin) * min(max(fraction, 0.0), 1.0)


def stage_text(job: str, stage: str) -> str:
    """What the engine does in a stage; the stage itself where it has no name."""
    texts = {
        "load": _("Loading the model"),
        "read": _("Reading the SEED slices") if job == "finetune" else _("Reading the volume"),
        "prepare": _("Preparing the volume"),
        "infer": _("Classifying the slices") if job == "classify" else _("Segmenting"),
        "heat": _("Computing the heat map"),
        "clean": _("Cleaning up"),
        "write": _("Writing the result"),
        "encode": _("Encoding the SEED slices"),
        "check": _("Testing on held-out SEEDs"),
        "tune": _("Tuning"),
        "guard": _("Checking what the model knew"),
        "result": _("Segmenting this case"),
    }
    return str(texts.get(stage, stage))
