"""What can be done after a result, in a line for a new user. No Qt."""

from typing import Any

from slicer.i18n import tr as _

from medtl.labels import has_lesions

from ..mrml.tags import described


def next_steps(segmentation: Any | None) -> str:
    """The line; empty without a result. A class is offered where a segment is a tumour or another lesion."""
    if segmentation is None:
        return ""
    ids = segmentation.GetSegmentation().GetSegmentIDs()
    if any(has_lesions(each, described(segmentation, each).name) for each in ids):
        text = _(
            "Next: correct slices (SEED slices), improve the model on them (Fine-tune), find the class of the tumour "
            "(MedTL Classify), save the result (Export…)."
        )
        return str(text)
    return str(
        _("Next: correct slices (SEED slices), improve the model on them (Fine-tune), save the result (Export…).")
    )
