"""How good a model is on cases with a reference."""
