"""Sample data: the phantom, made on this computer when the user loads it."""

from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from medtl.phantom import head
from medtl.volume import Volume

from .mrml import views
from .mrml.scene import ras_of

NAME = "MedTLPhantom"


def register(icons: Path) -> None:
    """Add the phantom to the module Sample Data."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataCategory("MedTL", title=_("MedTL"))
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="MedTL",
        sampleName=NAME,
        thumbnailFileName=str(icons / f"{NAME}.png"),
        uris="https://localhost/made-on-demand",  # nothing is downloaded, but Sample Data requires one
        fileNames=f"{NAME}.nrrd",
        nodeNames=NAME,
        customDownloader=load,
    )


def load(source: Any = None) -> Any:
    """The node of a synthetic FLAIR head with a lesion, shown in the slice views; it takes a second or two to make."""
    node = volume_node(head(1).volume, NAME)
    views.show_volume(node)
    return node


def volume_node(volume: Volume, name: str = "") -> Any:
    """A volume node of an array and its place."""
    return slicer.util.addVolumeFromArray(volume.array, ras_of(volume.geometry), name or volume.name)
