"""Training and evaluation: `medtl train RECIPE`, `medtl evaluate`."""
