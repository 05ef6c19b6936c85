"""Writing a model's result into a segmentation without touching what the user drew. No Qt."""
