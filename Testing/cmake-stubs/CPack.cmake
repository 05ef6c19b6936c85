# Slicer packs here; the tests install instead.
