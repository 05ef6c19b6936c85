"""Volumes, export and comparison of results. No Qt."""
