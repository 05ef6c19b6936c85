"""Change over time: the segmentations of one patient at several dates."""
