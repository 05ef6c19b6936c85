"""The report of a segmentation as one HTML file."""
