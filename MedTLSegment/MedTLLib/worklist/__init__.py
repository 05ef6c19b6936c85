"""The case list in the scene: a case's volumes and segmentation loaded, saved, and taken out again. No Qt."""
