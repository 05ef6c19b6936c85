"""The case list of an annotator: which images there are, where their segmentations go, and how far the work is."""
