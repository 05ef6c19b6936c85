"""The parts of the panel, one file each: they connect the widgets of the form with the logic, which has no Qt."""
