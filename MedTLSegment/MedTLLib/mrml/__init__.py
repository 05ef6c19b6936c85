"""MRML nodes as the engine's values and back. No Qt."""
