"""The planes of the body in which slices lie."""

PLANES = ("axial", "coronal", "sagittal")
