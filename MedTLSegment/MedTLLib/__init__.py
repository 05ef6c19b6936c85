"""Slicer's side of MedTL: the only place where MRML, VTK and Qt meet the engine. No torch is ever imported here."""

import sys
from pathlib import Path

try:
    import medtl  # noqa: F401
except ModuleNotFoundError:  # a source tree: there only the folders of modules are on the path
    sys.path.append(str(Path(__file__).resolve().parents[2]))
