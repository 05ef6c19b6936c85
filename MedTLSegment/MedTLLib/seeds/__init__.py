"""SEED slices in the scene. No Qt."""
