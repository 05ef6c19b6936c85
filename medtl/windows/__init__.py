"""Networks that see windows of a resampled volume, 2D or 3D (see `medtl.model.card.WindowSpec`)."""
