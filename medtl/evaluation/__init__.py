"""Evaluation of models on cases with a reference."""
