"""Training: `medtl train RECIPE`."""
