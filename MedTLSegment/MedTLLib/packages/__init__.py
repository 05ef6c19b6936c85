"""The Python packages that the engine needs in Slicer."""
