"""The parts of the panel, one file each: they get the form's widgets and the logic, and hold no path and no array."""
