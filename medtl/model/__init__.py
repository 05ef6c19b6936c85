"""Models: card, files, networks and device."""
